"""Reads a chunk and keeps each document's bytes exactly as the server sent them."""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Generator, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from bson.errors import InvalidBSON
from pymongo.database import Database

from mongo2pg.ahead import ahead
from mongo2pg.batches.arrow import pa
from mongo2pg.batches.elements import Content, Positions
from mongo2pg.batches.jsontexts import octets_of
from mongo2pg.databases.raw_batches import ArrayCursor
from mongo2pg.databases.snapshot import as_planned, usual
from mongo2pg.databases.source import server_time
from mongo2pg.documents.bson_types import DOCUMENT
from mongo2pg.documents.decode import OPTIONS
from mongo2pg.files.parquet import parquet_writer
from mongo2pg.files.planned import Reading, reading
from mongo2pg.files.staging import CollectionStaging, read_json, write_json
from mongo2pg.moving.names import Names, names_of
from mongo2pg.progress import Progress

log = logging.getLogger(__name__)

RAW_SCHEMA = pa.schema([("_id", pa.string()), ("bson", pa.binary())])
# A row group is what later stages hold at once, several times over: small enough that a processor's cache holds much of
# it, large enough that what a column costs once does not count.
ROW_GROUP_BYTES = 2 << 20
# An empty document: its length and a zero byte.
SMALLEST = 5


def extract_chunk(database: Database[Any], staging: CollectionStaging, chunk: int, *, latest: bool = False) -> dict[str, Any]:
    """Writes the chunk's raw file and its commit mark, and returns what the mark says; a chunk that has one is left alone.

    A cursor that dies raises: a chunk is never short without an error. `latest`: as the documents are now, although the plan
    has a snapshot.
    """
    mark = staging.raw_manifest(chunk)
    if mark.exists():
        return read_json(mark)
    plan = read_json(staging.plan)
    started = time.monotonic()
    documents = size = 0
    progress = Progress(log, f"extract {staging.collection} {chunk}", plan["source_before"] // len(plan["bounds"]))
    names = Names()
    with (
        as_planned(database, {} if latest else plan) as (seen, snapshot_time),
        parquet_writer(staging.raw(chunk), RAW_SCHEMA, unless=mark) as (writer, file),
    ):
        read_time = snapshot_time or server_time(database)
        for table in ahead(_row_groups(_batches(seen, staging.collection, reading(staging, chunk)))):
            writer.write_table(table, row_group_size=table.num_rows)
            names.add(table["_id"].chunk(0))
            documents += table.num_rows
            size += octets_of(table["bson"].chunk(0))[1].size
            progress.update(documents)
    if mark.exists():  # another attempt, which Airflow began as it took this one for dead, has read the chunk meanwhile
        return read_json(mark)
    seconds = time.monotonic() - started
    manifest = {
        "plan_id": staging.plan_id,
        "collection": staging.collection,
        "chunk": chunk,
        "bounds": plan["bounds"][chunk],
        "query": plan["query"],
        "read_concern": usual(database) if latest else plan["read_concern"],
        "read_time": read_time,
        "read_until": snapshot_time or server_time(database),
        "documents": documents,
        "bytes": size,
        "superseded": names.superseded(staging, chunk, file.sha256),
        "seconds": round(seconds, 3),
        "raw": {"sha256": file.sha256, "rows": documents, "bytes": file.size},
    }
    write_json(mark, manifest)
    return manifest


def _batches(database: Database[Any], name: str, how: Reading) -> Generator[memoryview]:
    """The documents of the chunk as BSON arrays, one for each reply of the server."""
    collection = database[name].with_options(codec_options=OPTIONS)
    with ArrayCursor(collection, how.query, min=how.low, max=how.high, hint=how.hint) as cursor:
        yield from cursor


def _row_groups(batches: Generator[memoryview]) -> Generator[pa.Table]:
    """Raw tables, each up to the size of a row group or one document larger. The next reply is read meanwhile."""
    waiting: list[memoryview] = []
    for batch in ahead(batches):
        waiting.append(batch)
        if sum(map(len, waiting)) >= ROW_GROUP_BYTES:
            yield from _tables(waiting)
            waiting = []
    if waiting:
        yield from _tables(waiting)


def _tables(arrays: list[memoryview]) -> Iterator[pa.Table]:
    starts, stops = document_bounds(arrays)
    content = Content(*arrays)
    # A batch of few large documents is a multiple of a row group: 16 MB hold two with 100,000 elements each.
    sizes = np.cumsum(stops - starts)
    parts = -(-int(sizes[-1]) // ROW_GROUP_BYTES)
    cuts = np.searchsorted(sizes, sizes[-1] / parts * np.arange(1, parts)) + 1
    for first, beyond in pairwise(np.unique([0, *cuts, len(starts)]).tolist()):
        yield _raw_table(content, starts[first:beyond], stops[first:beyond])


def document_bounds(arrays: Sequence[memoryview | bytes]) -> tuple[Positions, Positions]:
    """Where the documents of these arrays begin and end when the arrays lie one behind the other.

    Raises InvalidBSON where a document does not end where it says: nobody can tell any more what is whose. What is wrong
    inside of a document is its own affair.
    """
    found: list[tuple[Positions, Positions]] = []
    base = 0
    for array in arrays:
        starts, sizes = _hop(bytes(array))
        found.append((base + starts, base + starts + sizes))
        base += len(array)
    begin, end = zip(*found, strict=True) if found else ([_NONE], [_NONE])
    return np.concatenate(begin), np.concatenate(end)


_NONE = np.zeros(0, np.int64)


def _hop(array: bytes) -> tuple[Positions, Positions]:
    starts: list[int] = []
    size_at = struct.Struct("<i").unpack_from
    position, last, head = 4, len(array) - 1, 0
    try:
        while position < last:
            # Before a document stand its type and its key, which is its number: mostly as long as the one before.
            if array[position + head - 1] or not head:
                head = array.index(0, position + 1) + 1 - position
            position += head
            size = size_at(array, position)[0]
            starts.append(position)
            if size < SMALLEST:
                break
            position += size
    except (struct.error, IndexError, ValueError):
        position = -1
    octets, begin = np.frombuffer(array, np.uint8), np.array(starts, np.int64)
    length = octets.take(begin[:, None] + np.arange(4), mode="clip").view("<i4").ravel().astype(np.int64)
    heads = np.append(4, begin[:-1] + length[:-1])[: len(begin)]
    wrong = np.flatnonzero(octets.take(heads, mode="clip") != DOCUMENT)
    if len(wrong) or position != last or array[last:] != b"\0":
        at = max((int(wrong[0]) if len(wrong) else len(starts)) - 1, 0)
        raise InvalidBSON(f"document {at} of a reply has no end where it says, or the reply was cut off behind it")
    return begin, length


def _raw_table(content: Content, starts: Positions, stops: Positions) -> pa.Table:
    documents = content.slices(starts, stops)
    return pa.table({"_id": names_of(content, starts, documents), "bson": documents}, schema=RAW_SCHEMA)
