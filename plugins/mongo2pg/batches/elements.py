"""Where the elements of many BSON documents lie, found for all documents at once and without a Python object for any.

All documents of a batch take a step together, from one element to the next. Those whose next element has the same type
and key, nearly always all, are one `Field`: arrays of positions. On the way each length, each terminator and each key is
checked, so that a document that comes through is one that `decode.decode_exactly` would read. A document that does not
come through is only marked: `decode` says what is the matter with it.
"""

from __future__ import annotations

import struct
from collections.abc import Container, Iterator
from enum import Enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mongo2pg.batches.arrow import pa
from mongo2pg.documents.bson_types import (
    ARRAY,
    BINARY,
    BOOLEAN,
    DATE,
    DECIMAL,
    DOCUMENT,
    DOUBLE,
    INT32,
    INT64,
    NULL,
    OBJECT_ID,
    STRING,
)

Positions = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Bytes of the values whose type alone tells their length. Rare types are not here: they are left to `decode`.
_FIXED = {DOUBLE: 8, OBJECT_ID: 12, BOOLEAN: 1, DATE: 8, NULL: 0, INT32: 4, INT64: 8, DECIMAL: 16}
# Of these `walk` has seen all that can be wrong with a value.
PLAIN = frozenset({DOUBLE, OBJECT_ID, BOOLEAN, DATE, NULL, INT32, INT64})
# The end of a value that breaks the specification: beyond every document.
_NOWHERE = 1 << 62

# Keys told apart in one step. Where there are more, the keys are data (a map keyed by ids) and no shape is shared.
MOST_KEYS = 64
# With fewer documents than this still on their way, a step for all costs more than a step for each.
NARROW = 8
# The elements that a front of narrow width may go on for before the rest of its documents is left to `decode`.
LONGEST_TAIL = 64

_LOW, _HIGH = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)


class Keys(Enum):
    """What a walk makes of keys: it tells them apart, wants an array's `0`, `1`, `2` …, or leaves them to the caller."""

    NAMES = "names"
    ORDINALS = "ordinals"
    ANY = "any"


class Field(NamedTuple):
    """Elements of one type and key: the document that holds each (by number), where it begins, and where its value does.

    `first` tells the elements in front of their documents from those that follow another one.
    """

    kind: int
    key: bytes
    first: bool
    owner: Positions
    begin: Positions
    at: Positions

    def of(self, some: Mask) -> Field:
        """Some of the elements."""
        return self._replace(owner=self.owner[some], begin=self.begin[some], at=self.at[some])


class Content:
    """The bytes of a batch, one part behind the other, read at many positions at once.

    Positions beyond the end read something, but fail nothing.
    """

    def __init__(self, *parts: pa.Buffer | bytes | memoryview) -> None:
        octets = [np.frombuffer(part, np.uint8) for part in parts]
        self.size = sum(map(len, octets))
        # Eight bytes are read from anywhere; zeros, because a search for one ends there.
        self._octets = np.concatenate([*octets, np.zeros(16, np.uint8)])
        self.buffer = pa.py_buffer(self._octets).slice(0, self.size)
        # One number for each byte, overlapping: nothing in BSON is aligned.
        self._words: NDArray[np.uint64] = np.ndarray(self.size + 8, "<u8", self._octets, 0, (1,))
        self._int32s: NDArray[np.int32] = np.ndarray(self.size + 8, "<i4", self._octets, 0, (1,))
        self._int64s: NDArray[np.int64] = np.ndarray(self.size + 8, "<i8", self._octets, 0, (1,))
        self._doubles: NDArray[np.float64] = np.ndarray(self.size + 8, "<f8", self._octets, 0, (1,))

    def _inside(self, at: Positions) -> Positions:
        inside: Positions = np.minimum(at, self.size)
        return inside

    def octets(self, at: Positions) -> NDArray[np.uint8]:
        return self._octets.take(at, mode="clip")

    def words(self, at: Positions) -> NDArray[np.uint64]:
        """The eight bytes at each position, as a little-endian number."""
        return self._words[self._inside(at)]

    def int32s(self, at: Positions) -> Positions:
        return self._int32s[self._inside(at)].astype(np.int64)

    def int64s(self, at: Positions) -> NDArray[np.int64]:
        return self._int64s[self._inside(at)]

    def doubles(self, at: Positions) -> NDArray[np.float64]:
        return self._doubles[self._inside(at)]

    def blocks(self, at: Positions, size: int) -> NDArray[np.uint8]:
        """So many bytes at each position, at most 16: an n × size array."""
        pairs = np.stack([self.words(at), self.words(at + 8)], axis=1)
        return pairs.view(np.uint8)[:, :size]

    def object_ids(self, at: Positions) -> NDArray[np.uint8]:
        """An n × 12 array of bytes."""
        return self.blocks(at, 12)

    def piece(self, start: int, end: int) -> bytes:
        return self._octets[start:end].tobytes()

    def holds(self, at: Positions, text: bytes) -> Mask:
        """At which positions these bytes stand."""
        same = np.ones(len(at), np.bool_)
        for offset in range(0, len(text), 8):
            part = text[offset : offset + 8]
            found = self.words(at + offset)
            if len(part) < 8:
                found &= np.uint64((1 << 8 * len(part)) - 1)
            same &= found == np.uint64(int.from_bytes(part, "little"))
        return same

    def after_zero(self, at: Positions) -> Positions:
        """The position behind the first zero byte from each position on."""
        end = at.copy()
        open_ = np.arange(len(at))
        while open_.size:
            word = self.words(end[open_])
            zeros = (word - _LOW) & ~word & _HIGH  # the lowest bit that is set tells the first zero byte
            step = (np.bitwise_count((zeros & -zeros) - np.uint64(1)) >> 3).astype(np.int64)  # 8 where there is none
            end[open_] += np.where(zeros != 0, step + 1, 8)
            open_ = open_[(zeros == 0) & (end[open_] < self.size)]
        return end

    def slices(self, start: Positions, end: Positions, missing: Mask | None = None) -> pa.Array:
        """The bytes from each start to each end, one slice behind the other in the buffer; null where one is missing."""
        # Start, end, start, end … are the offsets of an array of which every second value is a slice, the others are gaps.
        bounds = np.empty(2 * len(start), np.int32)
        bounds[0::2], bounds[1::2] = start, end
        if missing is not None:
            bounds.reshape(-1, 2)[missing] = 0
            np.maximum.accumulate(bounds, out=bounds)
        if not len(bounds):
            return pa.array([], pa.binary())
        both = pa.Array.from_buffers(pa.binary(), len(bounds) - 1, [None, pa.py_buffer(bounds), self.buffer])
        return both.take(pa.array(np.arange(0, len(bounds), 2), mask=missing))


def ends(content: Content, kind: int, at: Positions) -> Positions:
    """Where the values of this type at these positions end; beyond everything where they break the specification."""
    if kind in _FIXED:
        end = at + _FIXED[kind]
        return end if kind != BOOLEAN else np.where(content.octets(at) <= 1, end, _NOWHERE)
    size = content.int32s(at) if kind in (STRING, DOCUMENT, ARRAY, BINARY) else None
    if size is None:
        return np.full(len(at), _NOWHERE)
    if kind == BINARY:
        return np.where((size >= 0) & (content.octets(at + 4) != 2), at + 5 + size, _NOWHERE)
    end, least = (at + 4 + size, 1) if kind == STRING else (at + size, 5)
    return np.where((size >= least) & (content.octets(end - 1) == 0), end, _NOWHERE)


def walk(
    content: Content, starts: Positions, stops: Positions, keys: Keys, known: Container[bytes] | None = None
) -> tuple[list[Field], Mask]:
    """The elements of the documents (or arrays, or maps) that lie from `starts` to `stops`, and which did not come through.

    With `Keys.NAMES` a document in which a key occurs twice does not come through, nor does one with a key that is not `known`,
    where these are given; with `Keys.ANY` nothing is said of keys, not even that they are text. What is found of a document that
    did not come through may be wrong, and is not all of it.
    """
    last = stops - 1
    bad = (stops - starts < 5) | (content.int32s(starts) != stops - starts) | (content.octets(last) != 0)
    at = starts + 4
    fields: list[Field] = []
    front = np.flatnonzero(~bad & (at < last))
    step = 0
    while front.size:
        if front.size < NARROW and keys is not Keys.NAMES:
            fields += _one_by_one(content, front, at, last, bad, keys, step)
            break
        if front.size < NARROW and step > LONGEST_TAIL:
            bad[front] = True
            break
        parts = (
            _by_name(content, front, at[front], last, bad, known)
            if keys is Keys.NAMES
            else _by_type(content, front, at[front], bad, keys, step)
        )
        for kind, key, owner, value in parts:
            end = ends(content, kind, value)
            fits = end <= last[owner]
            if not fits.all():
                bad[owner[~fits]] = True
                owner, value, end = owner[fits], value[fits], end[fits]
            if owner.size:
                fields.append(Field(kind, key, step == 0, owner, at[owner], value))
                at[owner] = end
        front = front[~bad[front] & (at[front] < last[front])]
        step += 1
    if keys is Keys.NAMES:
        _refuse_repeated(fields, bad)
    return fields, bad


# A next element's type and key, the documents that have it, and where its values lie.
_Part = tuple[int, bytes, Positions, Positions]


def _by_name(
    content: Content, front: Positions, begin: Positions, last: Positions, bad: Mask, known: Container[bytes] | None
) -> Iterator[_Part]:
    for _ in range(MOST_KEYS):
        head = _head(content, int(begin[0]), int(last[front[0]]))
        if head is None:
            bad[front[0]] = True
            front, begin = front[1:], begin[1:]
        else:
            same = content.holds(begin, head)
            if known is None or head[1:-1] in known:
                yield head[0], head[1:-1], front[same], begin[same] + len(head)
            else:
                bad[front[same]] = True
            front, begin = front[~same], begin[~same]
        if not front.size:
            return
    bad[front] = True


def _by_type(content: Content, front: Positions, begin: Positions, bad: Mask, keys: Keys, step: int) -> Iterator[_Part]:
    if keys is Keys.ORDINALS:
        name = b"%d\0" % step
        value = begin + 1 + len(name)
        named = content.holds(begin + 1, name)
        if not named.all():
            bad[front[~named]] = True
            front, begin, value = front[named], begin[named], value[named]
    else:
        value = content.after_zero(begin + 1)
    kinds = content.octets(begin)
    for kind in np.flatnonzero(np.bincount(kinds)).tolist():
        same = kinds == kind
        yield kind, b"", front[same], value[same]


def _head(content: Content, begin: int, last: int) -> bytes | None:
    """Type, key and the zero byte behind it; None where the key is not one."""
    size = 32
    while (found := content.piece(begin, min(begin + size, last)).find(b"\0", 1)) < 0:
        if begin + size >= last:
            return None
        size *= 8
    head = content.piece(begin, begin + found + 1)
    try:
        head[1:-1].decode()
    except UnicodeDecodeError:
        return None
    return head


def _refuse_repeated(fields: list[Field], bad: Mask) -> None:
    by_key: dict[bytes, list[Positions]] = {}
    for field in fields:
        by_key.setdefault(field.key, []).append(field.owner)
    for owners in by_key.values():
        if len(owners) > 1:
            seen = np.zeros(len(bad), np.bool_)
            for owner in owners:  # nobody stands in one of them twice
                bad[owner[seen[owner]]] = True
                seen[owner] = True


def _one_by_one(
    content: Content, front: Positions, at: Positions, last: Positions, bad: Mask, keys: Keys, step: int
) -> list[Field]:
    """The rest of a few long arrays: each hop depends on the one before, so here they are made one after another."""
    found: dict[tuple[int, bool], tuple[list[int], list[int], list[int]]] = {}
    for number in front.tolist():
        base = int(at[number])
        raw = content.piece(base, int(last[number]) + 1)
        position, ordinal = 0, step
        while position < len(raw) - 1:
            value = raw.find(b"\0", position + 1) + 1
            end = end_of(raw, raw[position], value) if value else 0
            if not 0 < end < len(raw) or (keys is Keys.ORDINALS and raw[position + 1 : value - 1] != b"%d" % ordinal):
                bad[number] = True
                break
            owners, begins, values = found.setdefault((raw[position], ordinal == 0), ([], [], []))
            owners.append(number)
            begins.append(base + position)
            values.append(base + value)
            position, ordinal = end, ordinal + 1
    return [
        Field(kind, b"", first, *(np.array(numbers, np.int64) for numbers in columns)) for (kind, first), columns in found.items()
    ]


_INT32 = struct.Struct("<i").unpack_from


def end_of(raw: bytes | memoryview, kind: int, at: int) -> int:
    """As `ends`, for one value; 0 where it breaks the specification."""
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return 0 if kind == BOOLEAN and at < len(raw) and raw[at] > 1 else at + fixed
    if kind not in (STRING, DOCUMENT, ARRAY, BINARY) or at + 5 > len(raw):
        return 0
    size: int = _INT32(raw, at)[0]
    if kind == BINARY:
        return at + 5 + size if size >= 0 and raw[at + 4] != 2 else 0
    end, least = (at + 4 + size, 1) if kind == STRING else (at + size, 5)
    return end if size >= least and end <= len(raw) and raw[end - 1] == 0 else 0


def together(fields: list[Field]) -> tuple[Positions, Positions, Positions]:
    """Owner, begin and at of all elements, in the order in which they lie in the buffer."""
    if len(fields) == 1 and (len(fields[0].at) < 2 or bool((np.diff(fields[0].at) > 0).all())):
        return fields[0].owner, fields[0].begin, fields[0].at
    if not fields:
        nothing = np.zeros(0, np.int64)
        return nothing, nothing, nothing
    owner, begin, at = (np.concatenate([getattr(field, name) for field in fields]) for name in ("owner", "begin", "at"))
    order = np.argsort(at, kind="stable")  # runs in order: merged, not sorted
    return owner[order], begin[order], at[order]
