"""Reads a chunk and keeps each document's bytes exactly as the server sent them."""

from __future__ import annotations

import logging
import operator
import struct
import time
from collections.abc import Generator, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow.compute as pc
from bson.errors import InvalidBSON
from numpy.typing import NDArray
from pymongo.database import Database

from mongo2pg.ahead import ahead
from mongo2pg.batches.arrow import pa
from mongo2pg.batches.elements import Content, Positions
from mongo2pg.batches.jsontexts import fixed_texts, object_id_texts, octets_of
from mongo2pg.databases.raw_batches import ArrayCursor
from mongo2pg.databases.snapshot import LOCAL, as_planned
from mongo2pg.databases.source import server_time
from mongo2pg.documents.bson_types import DOCUMENT
from mongo2pg.documents.decode import OPTIONS
from mongo2pg.documents.document_ids import MALFORMED, of_bytes
from mongo2pg.files.parquet import open_parquet, parquet_writer
from mongo2pg.files.planned import Reading, reading
from mongo2pg.files.staging import CollectionStaging, read_json, write_json
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
        "read_concern": LOCAL if latest else plan["read_concern"],
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


class Names:
    """Watches the names of a chunk's documents for one that comes twice: no MongoDB stores it, and yet it can be read.

    A document that was deleted and inserted again during a scan is, and one that a sharded cluster has on two shards.
    """

    def __init__(self) -> None:
        self._last: str | None = None
        self._ascend = True

    def add(self, names: pa.Array) -> None:
        """Takes the next ones. As long as they ascend, as they do in the order of the index, none comes twice."""
        if self._ascend and len(names):
            self._ascend = (self._last is None or self._last < names[0].as_py()) and _ascend(names)
            self._last = names[-1].as_py()

    def superseded(self, staging: CollectionStaging, chunk: int, sha256: str) -> list[int]:
        """The rows of the raw file whose document comes again: the later reading is the newer version."""
        if self._ascend:
            return []
        with open_parquet(staging.raw(chunk), sha256) as raw:
            found = raw.read(columns=["_id"]).column(0).combine_chunks()
        if _all_differ(found):
            return []
        names = found.dictionary_encode()
        code, rows = np.asarray(names.indices), np.arange(len(names))
        last = np.zeros(len(names.dictionary), np.int64)
        np.maximum.at(last, code, rows)
        # Documents without a readable `_id` are not one document because they look alike.
        nameless = np.asarray(pc.starts_with(names.dictionary, MALFORMED))
        return np.flatnonzero((last[code] != rows) & ~nameless[code]).tolist()


def _digits(names: pa.Array) -> NDArray[np.uint8] | None:
    """The 24 digits of each name, n × 24 bytes; None where not all of them are ObjectIds."""
    bounds, octets = octets_of(names)
    size = len(_OBJECT_ID_NAME)
    if octets.size != size * len(names) or not (np.diff(bounds) == size).all():
        return None
    return np.ascontiguousarray(octets.reshape(-1, size)[:, 9:33])


def _ascend(names: pa.Array) -> bool:
    # By numpy: the first call of one of Arrow's kernels in this thread would cost 80 MB beside documents of 16 MB.
    digits = _digits(names)
    if digits is None:
        texts = names.to_pylist()
        return all(map(operator.lt, texts, texts[1:]))
    # As numbers of eight digits, the first ones the weightiest.
    first, second, third = digits.view(">u8").astype(np.uint64).T
    after = third[1:] > third[:-1]
    for part in (second, first):
        after = (part[1:] > part[:-1]) | ((part[1:] == part[:-1]) & after)
    return bool(after.all())


def _all_differ(names: pa.Array) -> bool:
    """True if no name occurs twice; of names that are not all ObjectIds it says nothing."""
    digits = _digits(names)
    if digits is None:
        return False
    # Eight of the digits at a time, mixed by odd numbers: where no two mixtures are the same, no two names are.
    mixed = digits.view(np.uint64) @ _ODD
    mixed.sort()
    return bool((mixed[1:] != mixed[:-1]).all())


_OBJECT_ID_NAME = '{"$oid":"' + "0" * 24 + '"}'
_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)


def _raw_table(content: Content, starts: Positions, stops: Positions) -> pa.Table:
    documents = content.slices(starts, stops)
    usual = content.holds(starts + 4, _OBJECT_ID_FIRST) & (stops - starts >= _WITH_OBJECT_ID)
    odd = [of_bytes(documents[row].as_py()).encode() for row in np.flatnonzero(~usual).tolist()]
    ids = [fixed_texts(object_id_texts(content.object_ids(starts[usual] + 9))), pa.array(odd, pa.binary())]
    order = np.empty(len(starts), np.int64)
    order[usual], order[~usual] = np.arange(len(starts) - len(odd)), np.arange(len(starts) - len(odd), len(starts))
    texts = ids[0] if not odd else pa.concat_arrays(ids).take(pa.array(order))
    return pa.table({"_id": texts.view(pa.string()), "bson": documents}, schema=RAW_SCHEMA)


# How nearly all documents begin: their `_id` is an ObjectId and stands in front, where mongod puts it.
_OBJECT_ID_FIRST = b"\x07_id\0"
# The least that holds one: length, type and key, the ObjectId, a zero byte.
_WITH_OBJECT_ID = 4 + len(_OBJECT_ID_FIRST) + 12 + 1
