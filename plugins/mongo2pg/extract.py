"""Reads a chunk and keeps each document's bytes exactly as the server sent them."""

from __future__ import annotations

import logging
import struct
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pymongo.database import Database

from mongo2pg.decode import OPTIONS, MalformedError, decode_batch, malformed_id
from mongo2pg.plan import Reading, reading, server_time
from mongo2pg.progress import Progress
from mongo2pg.staging import CollectionStaging, parquet_writer, read_json, write_json
from mongo2pg.values import extended_json

log = logging.getLogger(__name__)

RAW_SCHEMA = pa.schema([("_id", pa.string()), ("bson", pa.binary())])
# A row group is what later stages hold at once, several times over as Python values.
ROW_GROUP_BYTES = 8 << 20

Offsets = NDArray[np.int64]


def extract_chunk(database: Database[Any], staging: CollectionStaging, chunk: int) -> dict[str, Any]:
    """Writes the chunk's raw file and its commit mark, and returns what the mark says; a chunk that has one is left alone.

    A cursor that dies raises: a chunk is never short without an error.
    """
    mark = staging.raw_manifest(chunk)
    if mark.exists():
        return read_json(mark)
    plan = read_json(staging.plan)
    started = time.monotonic()
    read_time = server_time(database)
    documents = size = 0
    progress = Progress(log, f"extract {staging.collection} {chunk}", plan["source_before"] // len(plan["bounds"]))
    with parquet_writer(staging.raw(chunk), RAW_SCHEMA) as (writer, file):
        for joined, offsets in _row_groups(_batches(database, staging.collection, reading(staging, chunk))):
            table = raw_table(joined, offsets)
            writer.write_table(table, row_group_size=max(1, table.num_rows))
            documents += table.num_rows
            size += len(joined)
            progress.update(documents)
    seconds = time.monotonic() - started
    manifest = {
        "plan_id": staging.plan_id,
        "collection": staging.collection,
        "chunk": chunk,
        "bounds": plan["bounds"][chunk],
        "query": plan["query"],
        "read_concern": plan["read_concern"],
        "read_time": read_time,
        "read_until": server_time(database),
        "documents": documents,
        "bytes": size,
        "seconds": round(seconds, 3),
        "raw": {"sha256": file.sha256, "rows": documents, "bytes": file.size},
    }
    write_json(mark, manifest)
    return manifest


def _batches(database: Database[Any], name: str, how: Reading) -> Iterator[bytes]:
    with database[name].with_options(codec_options=OPTIONS).find_raw_batches(how.query) as cursor:
        if how.low is not None:
            cursor.min(list(how.low.items()))
        if how.high is not None:
            cursor.max(list(how.high.items()))
        if how.hint is not None:
            cursor.hint(how.hint)
        yield from cursor


def _row_groups(batches: Iterator[bytes]) -> Iterator[tuple[bytes, Offsets]]:
    """Documents one behind the other, with the offsets of their ends, up to the size of a row group or one document larger."""
    waiting: list[bytes] = []
    size = 0
    for batch in batches:
        waiting.append(batch)
        size += len(batch)
        if size >= ROW_GROUP_BYTES:
            yield from _pieces(b"".join(waiting))
            waiting, size = [], 0
    if size:
        yield from _pieces(b"".join(waiting))


def _pieces(joined: bytes) -> Iterator[tuple[bytes, Offsets]]:
    # A batch of few large documents is a multiple of a row group: 16 MB hold two with 100,000 elements each.
    offsets = _offsets(joined)
    first = 0
    while first < len(offsets) - 1:
        beyond = int(np.searchsorted(offsets, offsets[first] + ROW_GROUP_BYTES, "right"))
        last = max(first + 1, beyond - 1)
        whole = first == 0 and last == len(offsets) - 1
        yield (joined if whole else joined[offsets[first] : offsets[last]]), offsets[first : last + 1] - offsets[first]
        first = last


def _offsets(joined: bytes) -> Offsets:
    """Where each document begins, by the length that it states, and where the last one ends."""
    offsets = [0]
    position, end = 0, len(joined)
    unpack = struct.Struct("<i").unpack_from
    while position < end:
        position += unpack(joined, position)[0]
        offsets.append(position)
    return np.array(offsets, np.int64)


def raw_table(joined: bytes, offsets: Offsets) -> pa.Table:
    """The raw frame of documents that lie one behind the other; their bytes are not copied."""
    starts = offsets.astype(np.int32)
    documents = pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, pa.py_buffer(starts), pa.py_buffer(joined)])
    return pa.table({"_id": _id_texts(joined, offsets[:-1], documents), "bson": documents}, schema=RAW_SCHEMA)


_OBJECT_ID_FIRST = np.frombuffer(b"\x07_id\0", np.uint8)
_OID_TEXT = np.frombuffer(b'{"$oid":"' + b"0" * 24 + b'"}', np.uint8)
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)


def _id_texts(joined: bytes, starts: Offsets, documents: pa.Array) -> pa.Array:
    """Each document's `_id` as relaxed Extended JSON, without decoding where it is an ObjectId in front, as nearly always."""
    everything = np.frombuffer(joined, np.uint8)
    if len(joined) >= 21 and starts[-1] + 21 <= len(joined):
        heads = everything[starts[:, None] + np.arange(4, 21)]
        if (heads[:, :5] == _OBJECT_ID_FIRST).all():
            text = np.broadcast_to(_OID_TEXT, (len(starts), len(_OID_TEXT))).copy()
            text[:, 9:33:2] = _HEX[heads[:, 5:] >> 4]
            text[:, 10:33:2] = _HEX[heads[:, 5:] & 0x0F]
            ends = np.arange(len(starts) + 1, dtype=np.int32) * len(_OID_TEXT)
            return pa.Array.from_buffers(pa.string(), len(starts), [None, pa.py_buffer(ends), pa.py_buffer(text.tobytes())])
    return pa.array([id_text(document.as_py()) for document in documents], pa.string())


def id_text(raw: bytes) -> str:
    """The `_id` of one document as relaxed Extended JSON, or a digest of the bytes where none can be read."""
    (document,) = decode_batch([raw])
    if isinstance(document, MalformedError) or "_id" not in document:
        return malformed_id(raw)
    return extended_json(document["_id"], keep_nul=True)
