"""The names of a chunk's documents (`document_ids`): made for many at once, and watched for one that comes twice."""

from __future__ import annotations

import operator
from base64 import b64encode

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from mongo2pg.batches.arrow import pa
from mongo2pg.batches.elements import Content, Positions
from mongo2pg.batches.jsontexts import fixed_texts, object_id_texts, octets_of
from mongo2pg.documents.bson_types import BINARY, INT32, INT64, OBJECT_ID, STRING
from mongo2pg.documents.document_ids import MALFORMED, document_id, of_bytes
from mongo2pg.files.parquet import open_parquet
from mongo2pg.files.staging import CollectionStaging


def names_of(content: Content, starts: Positions, documents: pa.BinaryArray) -> pa.StringArray:
    """What `document_ids.of_bytes` says of each of these documents, which begin at these positions."""
    # Where mongod puts the `_id`, and where its value begins then: behind a length, a type and a key.
    first, at = content.holds(starts + 5, b"_id\0"), starts + 9
    kinds, room = np.where(first, content.octets(starts + 4), 0), content.int32s(starts) - 10
    usual = (kinds == OBJECT_ID) & (room >= 12)
    ids = fixed_texts(object_id_texts(content.object_ids(at[usual]))).view(pa.string())
    if usual.all():
        return ids
    others = np.flatnonzero(~usual)
    odd = _by_kind(content, kinds[others], at[others], room[others])
    for row in [row for row, name in enumerate(odd) if name is None]:
        odd[row] = of_bytes(documents[int(others[row])].as_py())
    order = np.empty(len(starts), np.int64)
    order[usual], order[others] = np.arange(len(ids)), np.arange(len(ids), len(starts))
    return pa.concat_arrays([ids, pa.array(odd, pa.string())]).take(pa.array(order))


def _by_kind(content: Content, kinds: NDArray[np.uint8], at: Positions, room: Positions) -> NDArray[np.object_]:
    """The name of each of these `_id`s, which have so many bytes, as far as it is of a usual type; None for the others."""
    names = np.full(len(at), None, object)
    for kind, size, numbers in ((INT32, 4, content.int32s), (INT64, 8, content.int64s)):
        rows = (kinds == kind) & (room >= size)
        names[rows] = list(map(str, numbers(at[rows]).tolist()))
    head = content.blocks(at, 5)
    for subtype in (3, 4):
        rows = (kinds == BINARY) & (room >= 21) & (head == [16, 0, 0, 0, subtype]).all(axis=1)
        values = content.blocks(at[rows] + 5, 16).tobytes()
        names[rows] = [
            f'{{"$binary":{{"base64":"{b64encode(values[start : start + 16]).decode()}","subType":"{subtype:02d}"}}}}'
            for start in range(0, len(values), 16)
        ]
    length = content.int32s(at)
    rows = (kinds == STRING) & (length >= 1) & (length <= room - 4) & (content.octets(at + 3 + length) == 0)
    names[rows] = list(map(_of_text, content.slices(at[rows] + 4, at[rows] + 3 + length[rows]).to_pylist()))
    return names


def _of_text(text: bytes) -> str | None:
    try:
        return document_id(text.decode())
    except UnicodeDecodeError:
        return None


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
