"""Collections in memory: every document's bytes as they came, laid out so that any run of them can be sent as it lies.

Documents stand as elements of one BSON array, so a batch is a slice of it. An array's keys count from 0; here they count
from the document's place in the collection, which no driver looks at.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.raw_values import MISSING, UnreadableError, Value, field, order_key
from benchmarks.raw_values import document as make_document
from benchmarks.wire import Buffer

# What mongod puts into one batch at most (BSONObjMaxUserSize), and documents in a first batch that names no size.
BATCH_BYTES = 16 << 20
FIRST_BATCH = 101
# Rows looked at together when keys are taken out: the index array of so many stays small.
_STRIPE = 1 << 16

Positions = range | NDArray[np.int64]


class Documents:
    """Documents in an order; `take` says where each of a batch lies."""

    def __init__(self, documents: Sequence[bytes]) -> None:
        parts: list[bytes] = []
        for at, document in enumerate(documents):
            parts += (b"\x03%d\0" % at, document)
        self.elements = memoryview(b"".join(parts))
        lengths = np.fromiter(map(len, parts), np.int64, len(parts))
        ends = np.cumsum(lengths)
        # Where element n begins, and its document in it; one more for the end of the last.
        self._starts = np.concatenate([np.zeros(1, np.int64), ends[1::2]])
        self._bodies = ends[0::2]

    def __len__(self) -> int:
        return len(self._bodies)

    def __getitem__(self, at: int) -> bytes:
        return bytes(self.elements[self._bodies[at] : self._starts[at + 1]])

    def __iter__(self) -> Iterator[bytes]:
        return map(self.__getitem__, range(len(self)))

    @property
    def size(self) -> int:
        return int((self._starts[1:] - self._bodies).sum())

    def batch(self, positions: Positions, start: int, most: int) -> tuple[list[Buffer], int]:
        """Up to `most` documents from `positions[start]` on, as array elements; and where the next batch starts.

        A batch has at most BATCH_BYTES, but at least one document.
        """
        stop = min(start + most, len(positions))
        if stop <= start:
            return [], start
        if isinstance(positions, range):
            first, last = positions[start], positions[stop - 1] + 1
            limit = int(np.searchsorted(self._starts, self._starts[first] + BATCH_BYTES, "right")) - 1
            last = max(first + 1, min(last, limit))
            return [self.elements[self._starts[first] : self._starts[last]]], start + last - first
        wanted = positions[start:stop]
        sizes = np.cumsum(self._starts[wanted + 1] - self._starts[wanted])
        count = max(1, int(np.searchsorted(sizes, BATCH_BYTES, "right")))
        spans = zip(self._starts[wanted[:count]].tolist(), self._starts[wanted[:count] + 1].tolist(), strict=True)
        return [b"".join([self.elements[low:high] for low, high in spans])], start + count

    @cached_property
    def object_ids(self) -> NDArray[np.bytes_] | None:
        """The `_id`s, where all are ObjectIds and stand in front, as nearly always."""
        count = len(self)
        packed = np.empty((count, 12), np.uint8)
        everything = np.frombuffer(self.elements, np.uint8)
        wanted = np.frombuffer(b"\x07_id\0", np.uint8)
        for low in range(0, count, _STRIPE):
            bodies = self._bodies[low : low + _STRIPE]
            if bodies[-1] + 21 > len(everything):
                return None
            heads = everything[bodies[:, None] + np.arange(4, 21)]
            if not (heads[:, :5] == wanted).all():
                return None
            packed[low : low + _STRIPE] = heads[:, 5:]
        # Comparing such arrays passes over zeros at the end, which changes no order among values of one length.
        return packed.reshape(-1).view("S12")


class Collection:
    """A collection: its documents in natural order, and in the order of the index on `_id` once that is asked for."""

    def __init__(self, documents: Sequence[bytes]) -> None:
        self.natural = Documents(documents)
        self.cache: dict[bytes, list[bytes]] = {}

    @cached_property
    def by_id(self) -> IdIndex:
        return IdIndex(self.natural)

    @cached_property
    def ids(self) -> Documents:
        """The documents `{_id: …}` alone, in natural order."""
        packed = self.natural.object_ids
        if packed is None:
            return Documents([id_document(raw) for raw in self.natural])
        head, joined = struct.pack("<i", 22) + b"\x07_id\0", packed.tobytes()
        return Documents([head + joined[at : at + 12] + b"\0" for at in range(0, len(joined), 12)])


def id_document(raw: bytes) -> bytes:
    """`{_id: …}` of a document, `{}` where it has none that can be found."""
    value = field(raw, b"_id")
    return make_document([(b"_id", value)] if value else [])


class IdIndex:
    """The documents in the order of their `_id`s over all types, as the server's index has them."""

    def __init__(self, natural: Documents) -> None:
        packed = natural.object_ids
        if packed is not None:
            order = np.argsort(packed, kind="stable")
            self._object_ids: NDArray[np.bytes_] | None = packed[order]
            self._keys: list[tuple[Any, ...]] = []
        else:
            keys = [id_key(raw) for raw in natural]
            order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
            self._object_ids = None
            self._keys = [keys[at] for at in order]
        in_order = bool((order == np.arange(len(natural))).all())
        self.documents = natural if in_order else Documents([natural[at] for at in order.tolist()])

    def position(self, value: Value, *, after: bool = False) -> int:
        """How many documents come before the value, or before and with it."""
        key = order_key(value)
        if self._object_ids is None:
            return (bisect_right if after else bisect_left)(self._keys, key)
        if key[0] != 35:
            return 0 if key[0] < 35 else len(self._object_ids)
        side: Callable[..., Any] = np.searchsorted
        return int(side(self._object_ids, np.array(key[1], "S12"), "right" if after else "left"))

    def within(self, beginning: tuple[Any, ...]) -> range:
        """The documents whose keys begin so ("type bracketing"); all for no beginning."""
        if not beginning:
            return range(len(self.documents))
        if self._object_ids is not None:
            return range(len(self._object_ids) if beginning == (35,) else 0)
        following = (*beginning[:-1], beginning[-1] + 1)
        return range(bisect_left(self._keys, beginning), bisect_left(self._keys, following))


def id_key(raw: bytes) -> tuple[Any, ...]:
    """Where the document stands in the index on `_id`."""
    try:
        return order_key(field(raw, b"_id") or Value(0x0A, b""))
    except (UnreadableError, IndexError, ValueError, struct.error):
        return MISSING


def split(joined: bytes) -> list[bytes]:
    """The documents of a file in which they stand one behind the other, as mongodump writes them."""
    found, at, end = [], 0, len(joined)
    unpack = struct.Struct("<i").unpack_from
    while at < end:
        size = unpack(joined, at)[0] if at + 4 <= end else 0
        if size < 5 or at + size > end:
            raise ValueError(f"no document begins at byte {at}")
        found.append(joined[at : at + size])
        at += size
    return found


def read_folder(folder: Path) -> dict[str, dict[str, Collection]]:
    """Databases and collections from `<folder>/<database>/<collection>.bson`."""
    return {
        database.name: {file.stem: Collection(split(file.read_bytes())) for file in sorted(database.glob("*.bson"))}
        for database in sorted(folder.iterdir())
        if database.is_dir()
    }
