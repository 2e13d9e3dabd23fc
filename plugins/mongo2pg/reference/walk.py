"""Many documents read at once: where the values of their fields lie, found for all documents of one shape together.

Written against the BSON specification (bsonspec.org, version 1.1), with neither pymongo nor the mover's decoder. What it
cannot vouch for, it leaves: a document of a rare shape or with a value of a rare type, and all that is malformed.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np

from mongo2pg.reference.octets import Mask, Octets, Positions

DOUBLE: Final = 0x01
STRING: Final = 0x02
DOCUMENT: Final = 0x03
ARRAY: Final = 0x04
BINARY: Final = 0x05
OBJECT_ID: Final = 0x07
BOOLEAN: Final = 0x08
DATE: Final = 0x09
NULL: Final = 0x0A
INT32: Final = 0x10
INT64: Final = 0x12
DECIMAL: Final = 0x13

# A binary value of 16 bytes and subtype 3 is told apart from others, because more is kept of it. No type of BSON has this number.
OLD_UUID: Final = 0xE5

NUMBERS = (INT32, INT64, DOUBLE)
# How numpy reads those that are whole.
INTEGERS: dict[int, Literal["<i4", "<i8"]] = {INT32: "<i4", INT64: "<i8"}

# Bytes of a value, where its type says them.
FIXED = {DOUBLE: 8, OBJECT_ID: 12, BOOLEAN: 1, DATE: 8, NULL: 0, INT32: 4, INT64: 8, DECIMAL: 16}
# Fewer documents of one shape than this are read sooner field by field.
FEW = 128
# How often documents may be parted from others of another shape, each on average. Where ids are keys, no two have one shape,
# and to find that out of all of them would take the square of their number.
MOST_PARTINGS = 50
# What a key may be followed by is found by a look at one document; MongoDB itself nests no deeper than 100.
DEEPEST = 100

Path = tuple[str, ...]


@dataclass(frozen=True)
class Leaf:
    """The values of one field: their BSON type, and where each begins behind its key."""

    kind: int
    at: Positions

    def of(self, some: Positions | Mask) -> Leaf:
        """Those of some documents."""
        return Leaf(self.kind, self.at[some])


# Some of a number of documents, by their places among these.
Some: TypeAlias = slice | Positions
ALL, NOBODY = slice(None), slice(0)


class Trees(NamedTuple):
    """Documents that have some of the fields in question, and the parts of them that are alike in these, with the fields."""

    holders: Some
    parts: list[tuple[Some, dict[Path, Leaf]]]


@dataclass(frozen=True)
class Group:
    """Documents of one shape: which they are, and their fields in their order; a document's or array's fields follow it."""

    rows: Positions
    leaves: dict[Path, Leaf]

    def of(self, some: Mask) -> Group:
        """Some of the documents."""
        return Group(self.rows[some], {path: leaf.of(some) for path, leaf in self.leaves.items()})

    def values(self, path: Path) -> list[tuple[Some, Leaf]]:
        """The values at the path by type, and whose they are."""
        return [(ALL, self.leaves[path])] if path in self.leaves else []

    def everything(self) -> list[tuple[Path, Some, Leaf]]:
        """All values."""
        return [(path, ALL, leaf) for path, leaf in self.leaves.items()]

    def trees(self, path: Path) -> Trees:
        """Who has another value than null at the path, with what is below it."""
        there = path in self.leaves and self.leaves[path].kind != NULL
        return Trees(ALL, [(ALL, self.leaves)]) if there else Trees(NOBODY, [])

    def kept(self, keeps: Callable[[Path, int], bool]) -> Trees:
        """Who has fields that are to be kept, asked by path and type, with these and the documents around them."""
        kept: dict[Path, Leaf] = {}
        for path, leaf in self.leaves.items():
            if keeps(path, leaf.kind):
                kept |= {path[:end]: self.leaves[path[:end]] for end in range(1, len(path) + 1) if path[:end] not in kept}
        return Trees(ALL, [(ALL, kept)]) if kept else Trees(NOBODY, [])


@dataclass
class _Walk:
    """Documents that have been alike so far; `ends` are those of the documents around the place, the innermost last."""

    rows: Positions
    at: Positions
    ends: list[Positions]
    above: list[Path] = field(default_factory=lambda: [()])
    leaves: dict[Path, Leaf] = field(default_factory=dict)

    def only(self, some: Mask) -> _Walk:
        leaves = {path: leaf.of(some) for path, leaf in self.leaves.items()}
        return _Walk(self.rows[some], self.at[some], [end[some] for end in self.ends], [*self.above], leaves)


def walk(octets: Octets, starts: Positions, stops: Positions, whole: Set[Path] = frozenset()) -> list[Group]:
    """The documents between these positions, by shape; those that are in no group are left to others.

    Arrays and documents at the paths `whole` are not gone into: their values differ in number.
    """
    rows = np.flatnonzero(are_documents(octets, starts, stops))
    waiting = [_Walk(rows, starts[rows] + 4, [stops[rows]])]
    groups: list[Group] = []
    partings = len(rows) * MOST_PARTINGS
    while waiting:
        going = waiting.pop()
        while len(going.rows) >= FEW and going.ends:
            head = _head(octets, int(going.at[0]))
            same = octets.hold(going.at, head)
            if not same.all():
                others = int(np.count_nonzero(~same))
                partings -= others
                if others >= FEW and partings > 0:
                    waiting.append(going.only(~same))
                going = going.only(same)
                if len(going.rows) < FEW:
                    break
            going = _leave(going) if head == b"\0" else _step(octets, going, head, whole)
        if len(going.rows) >= FEW:
            groups.append(Group(going.rows, going.leaves))
    return groups


def are_documents(octets: Octets, starts: Positions, stops: Positions) -> Mask:
    """Where a document begins and ends as its length and its last byte say."""
    sizes = stops - starts
    sound: Mask = (sizes >= 5) & (octets.integers("<i4", starts) == sizes)
    sound &= octets.integers("u1", np.maximum(stops - 1, 0)) == 0
    return sound


def _head(octets: Octets, at: int) -> bytes:
    """Type, key and the zero byte behind it, and of a UUID of the old kind what makes it one; of a document's end the zero byte."""
    if octets.content[at : at + 1] == b"\0":
        return b"\0"
    end = octets.content.find(b"\0", at + 1) + 1
    is_old = octets.content[at] == BINARY and octets.content[end : end + len(_OLD)] == _OLD
    return octets.content[at : end + len(_OLD) if is_old else end]


# Its length and its subtype.
_OLD = b"\x10\0\0\0\3"


def are_old_uuids(octets: Octets, at: Positions) -> Mask:
    """Which binary values are UUIDs of the old kind (BSON specification, "Binary subtypes")."""
    return octets.hold(at, _OLD)


def _leave(going: _Walk) -> _Walk:
    at_end = going.at + 1 == going.ends[-1]
    if not at_end.all():
        going = going.only(at_end)
    going.ends.pop()
    going.above.pop()
    going.at = going.at + 1
    return going


_NOBODY = _Walk(np.zeros(0, np.int64), np.zeros(0, np.int64), [])


def _step(octets: Octets, going: _Walk, head: bytes, whole: Set[Path]) -> _Walk:
    name = head.removesuffix(_OLD)
    try:
        path = (*going.above[-1], name[1:-1].decode())
    except UnicodeDecodeError:
        return _NOBODY
    kind, at = head[0], going.at + len(name)
    if path in going.leaves or not name.endswith(b"\0") or len(path) > DEEPEST:
        return _NOBODY
    ends = value_ends(octets, kind, at)
    if ends is None:
        return _NOBODY
    going.leaves[path] = Leaf(kind if name == head else OLD_UUID, at)
    going.at = ends
    sound = (ends > 0) & (ends < going.ends[-1])
    if not sound.all():
        going, at, ends = going.only(sound), at[sound], ends[sound]
    if kind in (DOCUMENT, ARRAY) and path not in whole:
        going.at = at + 4
        going.ends.append(ends)
        going.above.append(path)
    return going


def value_ends(octets: Octets, kind: int, at: Positions) -> Positions | None:
    """Where the values of this type end that begin here; 0 where they are malformed, None for a rare type."""
    if (size := FIXED.get(kind)) is not None:
        ends = at + size
        return np.where(octets.integers("u1", at) <= 1, ends, 0) if kind == BOOLEAN else ends
    if kind == STRING:
        stated = octets.integers("<i4", at)
        ends = at + 4 + np.maximum(stated, 1)
        return np.where((stated >= 1) & (octets.integers("u1", ends - 1) == 0) & (ends <= len(octets.content)), ends, 0)
    if kind in (DOCUMENT, ARRAY):
        ends = at + np.maximum(octets.integers("<i4", at), 5)
        return np.where(are_documents(octets, at, ends) & (ends <= len(octets.content)), ends, 0)
    if kind == BINARY:
        stated = octets.integers("<i4", at)
        ends = at + 5 + np.maximum(stated, 0)
        # Subtype 2 has its length a second time.
        return np.where((stated >= 0) & (octets.integers("u1", at + 4) != 2) & (ends <= len(octets.content)), ends, 0)
    return None
