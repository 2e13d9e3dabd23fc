"""The ids of the rows that documents must become, as the reference reads them: many at once, 16 bytes each."""

from __future__ import annotations

import binascii
from collections.abc import Collection, Iterator
from typing import Any, TypeAlias

import numpy as np
import orjson
import pyarrow.compute as pc
from bson.binary import Binary
from numpy.typing import NDArray

from mongo2pg.batches.arrow import pa
from mongo2pg.batches.jsontexts import octets_of
from mongo2pg.books import Connection, Load
from mongo2pg.files.parquet import open_parquet
from mongo2pg.files.staging import CollectionStaging, read_json
from mongo2pg.reference.documents import read_all
from mongo2pg.reference.id_words import uuid_words
from mongo2pg.reference.ids import packed
from mongo2pg.reference.octets import Mask, Octets

Ids: TypeAlias = NDArray[np.uint8]


def root_ids(staging: CollectionStaging, manifest: dict[str, Any], without: Collection[str] = ()) -> Iterator[Ids]:
    """The ids of a chunk's documents, but for those of these names, in no particular order; n × 16 bytes each time."""
    left_out = pa.array(without, pa.string())
    with open_parquet(staging.raw(manifest["chunk"]), manifest["raw"]["sha256"]) as raw:
        for group in range(raw.num_row_groups):
            names = raw.read_row_group(group, columns=["_id"]).column(0).combine_chunks()
            wanted = pc.invert(pc.is_in(names, left_out)) if without else None
            names = names if wanted is None else names.filter(wanted)
            usual, object_ids = _object_ids(names)
            yield _carrying(object_ids)
            if not usual.all():
                others = list(map(_named, names.filter(pa.array(~usual)).to_pylist()))
                yield np.frombuffer(packed([value for value in others if value is not _UNTOLD]), np.uint8).reshape(-1, 16)
                untold = np.flatnonzero(~usual)[[value is _UNTOLD for value in others]]
                if len(untold):
                    documents = raw.read_row_group(group, columns=["bson"]).column(0)
                    odd = (documents if wanted is None else documents.filter(wanted)).take(pa.array(untold))
                    values = [document["_id"] for document in read_all(odd.to_pylist()) if document and "_id" in document]
                    yield np.frombuffer(packed(values), np.uint8).reshape(-1, 16)


def _object_ids(names: pa.Array) -> tuple[Mask, NDArray[np.uint8]]:
    """Which of these names spell ObjectIds, and those, n × 12 bytes."""
    bounds, texts = octets_of(names)
    usual: Mask = np.diff(bounds) == len(_NAME)
    spelt = (texts if usual.all() else octets_of(names.filter(pa.array(usual)))[1]).reshape(-1, len(_NAME))
    right = (spelt[:, _AROUND] == _NAME[_AROUND]).all(axis=1)
    usual[usual] = right
    digits = spelt[:, ~_AROUND] if right.all() else spelt[right][:, ~_AROUND]
    return usual, np.frombuffer(binascii.unhexlify(digits.tobytes()), np.uint8).reshape(-1, 12)


def _named(name: str) -> Any:
    """The `_id` that a name tells as it is (`document_ids`): all but one that the name knows by its row, or not at all."""
    if name.startswith(_UUID_NAME):
        return Binary(binascii.a2b_base64(name[len(_UUID_NAME) : -len(_UUID_END)]), 4)  # of either kind they are the id
    return _UNTOLD if name.startswith("{") else orjson.loads(name)


_UNTOLD = object()
_UUID_NAME, _UUID_END = '{"$binary":{"base64":"', '","subType":"04"}}'
_NAME = np.frombuffer(b'{"$oid":"' + bytes(24) + b'"}', np.uint8)
_AROUND = _NAME > 0


def _carrying(object_ids: NDArray[np.uint8]) -> Ids:
    """The UUIDs that carry these ObjectIds."""
    words = uuid_words(Octets(object_ids.tobytes()), np.arange(len(object_ids)) * 12)
    return np.stack(words, axis=1).astype(">u8").view(np.uint8)


def name_read(conn: Connection, staging: CollectionStaging, others: list[Load]) -> None:
    """The ids of all documents that this run and those others read, in a temporary table."""
    conn.execute("DROP TABLE IF EXISTS pg_temp.mongo2pg_read; CREATE TEMP TABLE mongo2pg_read (id uuid) ON COMMIT DROP")
    own = [(staging, chunk) for chunk in range(len(read_json(staging.plan)["bounds"]))]
    theirs = [(staging.of_run(load.run_id, load.plan_id), load.chunk) for load in others]
    with conn.cursor() as cursor, cursor.copy("COPY pg_temp.mongo2pg_read FROM STDIN (FORMAT binary)") as copy:
        copy.write(COPY_BEGIN)
        for staged, chunk in own + theirs:
            for ids in root_ids(staged, read_json(staged.manifest(chunk))):
                copy.write(copied(ids))
        copy.write(COPY_END)
    conn.execute("ANALYZE pg_temp.mongo2pg_read")


def copied(ids: Ids) -> bytes:
    """The ids as the rows of a binary COPY; in front of the first and behind the last come `COPY_BEGIN` and `COPY_END`."""
    rows = np.empty((len(ids), 22), np.uint8)
    rows[:, :6] = np.frombuffer(b"\0\1\0\0\0\x10", np.uint8)  # one column, of 16 bytes
    rows[:, 6:] = ids
    return rows.tobytes()


# Signature, flags and the length of an extension; the trailer (PostgreSQL manual, COPY, "Binary Format").
COPY_BEGIN, COPY_END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


def hash_sum(ids: Ids) -> int:
    """The sum of PostgreSQL's `uuid_hash_extended(id, 0)` over the ids, modulo 2^64.

    It is the function by which PostgreSQL assigns rows to hash partitions, so it stays what it is: lookup3 by Bob Jenkins
    (src/common/hashfn.c), here with 16 bytes and no seed.
    """
    words = np.ascontiguousarray(ids).view("<u4")
    start = np.uint32((0x9E3779B9 + 16 + 3923095) & 0xFFFFFFFF)
    x, y, z = (words[:, at] + start for at in range(3))
    for bits in (4, 6, 8, 16, 19, 4):
        x, y, z = y, z + y, (x - z) ^ _turned(z, bits)
    x, y, z = z, x + words[:, 3], y
    for bits in (14, 11, 25, 16, 4, 14, 24):
        x, y, z = y, z, (x ^ z) - _turned(z, bits)
    return int((y.astype(np.uint64) << np.uint64(32) | z).sum())


def _turned(words: NDArray[np.uint32], bits: int) -> NDArray[np.uint32]:
    return words << np.uint32(bits) | words >> np.uint32(32 - bits)
