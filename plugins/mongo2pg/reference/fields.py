"""Documents of many shapes read at once: which of them has each field, and where its value lies.

`walk` goes through documents of one shape together, and leaves those whose shape few others have; optional fields alone make
thousands of shapes. Here a round reads one more field of every document, whatever it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeAlias

import numpy as np

from mongo2pg.reference import walk
from mongo2pg.reference.arrays import elements_of
from mongo2pg.reference.octets import Mask, Octets, Positions, Words, first_bytes
from mongo2pg.reference.walk import (
    ARRAY,
    BINARY,
    DEEPEST,
    DOCUMENT,
    NOBODY,
    NULL,
    OLD_UUID,
    Group,
    Leaf,
    Path,
    Some,
    Trees,
    are_documents,
    are_old_uuids,
)

# So many documents, or so many bytes of them, are read sooner at once than one by one.
MANY, MANY_BYTES = 48, 64 << 10
# To compare one field of documents that are alike costs what so many bytes of documents cost that are read one by one.
FIELD_BYTES = 1 << 10
# And to go one level deeper costs what these do.
LEVEL_BYTES = 8 << 10
# An array or a document in a document that is larger than this is hardly like another one: that is not worth finding out.
LARGE_BYTES = 4 << 10
# Paths that are told apart: where ids are keys, each document has its own.
MOST_PATHS = 2_000


@dataclass(frozen=True)
class Fields:
    """Documents and their fields, ordered by path: each names its document by a place in `rows`, its path by one in `paths`."""

    rows: Positions
    paths: Sequence[Path]
    holders: Positions
    names: Positions
    kinds: Positions
    at: Positions
    # Of a document, on average.
    size: int

    def of(self, some: Mask) -> Fields:
        """Some of the documents."""
        going = some[self.holders]
        places = np.cumsum(some) - 1
        names, kinds, at = (fact[going] for fact in (self.names, self.kinds, self.at))
        return Fields(self.rows[some], self.paths, places[self.holders[going]], names, kinds, at, self.size)

    def values(self, path: Path) -> list[tuple[Some, Leaf]]:
        """The values at the path by type, and whose they are."""
        if path not in self._places:
            return []
        first, last = np.searchsorted(self.names, [self._places[path], self._places[path] + 1])
        kinds = self.kinds[first:last]
        found: list[tuple[Some, Leaf]] = []
        for kind in np.unique(kinds).tolist():
            these = first + np.flatnonzero(kinds == kind)
            found.append((self.holders[these], Leaf(kind, self.at[these])))
        return found

    def everything(self) -> list[tuple[Path, Some, Leaf]]:
        """All values."""
        return [(path, holders, leaf) for path in self.paths for holders, leaf in self.values(path)]

    def trees(self, path: Path) -> Trees:
        """Who has another value than null at the path, with what is below it."""
        below = self._below(path)
        if path in self._places:
            below &= (self.names != self._places[path]) | (self.kinds != NULL)
        return self._alike(below)

    def kept(self, keeps: Callable[[Path, int], bool]) -> Trees:
        """Who has fields that are to be kept, asked by path and type, with these and the documents around them."""
        facts, which = np.unique(self._facts, return_inverse=True)
        kept = np.array([keeps(self.paths[fact >> 8], fact & 0xFF) for fact in facts.tolist()], np.bool_)[which]
        kept_paths = map(self.paths.__getitem__, set(self.names[kept].tolist()))
        left = {self.paths[name] for name in set(self.names[~kept].tolist())}
        wanted = kept.copy()
        for path in left & {each[:end] for each in kept_paths for end in range(1, len(each))}:
            there = np.zeros(len(self.rows), np.bool_)
            there[self.holders[kept & self._below(path)]] = True
            wanted |= (self.names == self._places[path]) & there[self.holders]
        return self._alike(wanted)

    @cached_property
    def _places(self) -> dict[Path, int]:
        return {path: place for place, path in enumerate(self.paths)}

    @cached_property
    def _facts(self) -> Positions:
        """Path and type of each field in one number."""
        return self.names << 8 | self.kinds

    def _below(self, path: Path) -> Mask:
        """The fields at the path and below it."""
        return np.array([each[: len(path)] == path for each in self.paths], np.bool_)[self.names]

    def _alike(self, wanted: Mask) -> Trees:
        """The documents by which of these fields they have, and of which types; in no part are those that too few are like."""
        holders, facts, at = self.holders[wanted], self._facts[wanted], self.at[wanted]
        counts = np.bincount(holders, minlength=len(self.rows))
        whose = np.flatnonzero(counts)
        marks = np.zeros(len(self.rows), np.uint64)
        np.add.at(marks, holders, _mixed(facts.astype(np.uint64)))
        _, part, sizes = np.unique(marks[whose], return_inverse=True, return_counts=True)
        parts = np.full(len(self.rows), -1)
        parts[whose] = np.where(sizes[part] * self.size >= FIELD_BYTES * counts[whose], part, -1)
        order = np.lexsort((holders, facts, parts[holders]))
        order = order[parts[holders[order]] >= 0]
        ends = np.flatnonzero(np.diff(parts[holders[order]], append=-1)) + 1
        found = []
        for these in np.split(order, ends[:-1]):
            count = int(sizes[parts[holders[these[0]]]]) if len(these) else 0
            if not count or len(these) % count:
                continue
            by_field = these.reshape(-1, count)
            of_field, of_document = facts[by_field], holders[by_field]
            # Their marks are the same; whether their fields are, too, only these themselves say.
            if (of_field == of_field[:, :1]).all() and (of_document == of_document[0]).all():
                leaves = {
                    self.paths[fact >> 8]: Leaf(fact & 0xFF, at[each])
                    for fact, each in zip(of_field[:, 0].tolist(), by_field, strict=True)
                }
                found.append((of_document[0], dict(sorted(leaves.items(), key=_number))))
        return Trees(whose, found) if len(whose) else Trees(NOBODY, [])


def _number(field: tuple[Path, Leaf]) -> int:
    """By this the elements of an array come in their order; that of other fields does not matter."""
    last = field[0][-1]
    return int(last) if len(last) < _DIGITS and last.isascii() and last.isdigit() else 0


# No document is large enough for an array with numbers of so many digits, and Python reads no number of any size.
_DIGITS = 10


Documents: TypeAlias = Group | Fields


def documents_between(octets: Octets, starts: Positions, stops: Positions, whole: Set[Path] = frozenset()) -> list[Documents]:
    """The documents between these positions, those of one shape together; those that are nowhere are left to be read one by one.

    Arrays and documents at the paths `whole` are not gone into: their values differ in number.
    """
    groups = walk.walk(octets, starts, stops, whole)
    left = np.ones(len(starts), np.bool_)
    for group in groups:
        left[group.rows] = False
    rest = np.flatnonzero(left)
    if not pay(len(rest), int((stops - starts)[rest].sum())):
        return [*groups]
    return [*groups, fields_of(octets, starts[rest], stops[rest], rest, whole)]


def pay(documents: int, size: int) -> bool:
    """Whether so many documents, of so many bytes together, are worth being read at once."""
    return documents >= MANY or size >= MANY_BYTES


class _Level(NamedTuple):
    """Fields equally deep in their documents."""

    holders: Positions
    names: Positions
    kinds: Positions
    at: Positions

    def of(self, some: Mask) -> _Level:
        return _Level(*(fact[some] for fact in self))


def fields_of(octets: Octets, starts: Positions, stops: Positions, rows: Positions, whole: Set[Path]) -> Fields:
    """All fields of the documents between these positions, whose numbers are `rows`, but for documents that are left out.

    Those are malformed, have a value of a rare type or a field twice, or something that hardly another one has: such a key, so
    deep a field, so large an array or document inside.
    """
    sound = are_documents(octets, starts, stops)
    paths: list[Path] = [()]
    size = int((stops - starts).sum()) // max(len(rows), 1)
    first = np.flatnonzero(sound)
    level = _Level(first, np.zeros(len(first), np.int64), np.full(len(first), DOCUMENT), starts[first])
    found: list[_Level] = []
    for _ in range(DEEPEST):
        if len(level.holders) * size <= LEVEL_BYTES:
            break
        level = _inside(octets, level, paths, sound)
        found.append(level)
        open_ = np.array([path not in whole for path in paths], np.bool_)
        level = level.of(((level.kinds == DOCUMENT) | (level.kinds == ARRAY)) & open_[level.names])
        large = octets.integers("<i4", level.at) > LARGE_BYTES
        sound[level.holders[large]] = False
        level = level.of(~large)
    sound[level.holders] = False  # of those few nothing more was read
    holders, names, kinds, at = (np.concatenate([each[fact] for each in found]) if found else _NONE for fact in range(4))
    order = np.lexsort((holders, names))
    twice = (np.diff(holders[order]) == 0) & (np.diff(names[order]) == 0)
    sound[holders[order[:-1][twice]]] = False
    return Fields(rows, paths, holders[order], names[order], kinds[order], at[order], size).of(sound)


_NONE = np.zeros(0, np.int64)
_ODD = np.uint64(0x9E3779B97F4A7C15)


def _inside(octets: Octets, level: _Level, paths: list[Path], sound: Mask) -> _Level:
    """The fields and elements of these documents and arrays; new paths are added, and documents that are not `sound` are noted."""
    facts: list[tuple[Positions, ...]] = []
    for kind in (DOCUMENT, ARRAY):
        of_kind = level.of(level.kinds == kind)
        elements, read = elements_of(octets, Leaf(kind, of_kind.at))
        sound[of_kind.holders[~read]] = False
        above = (of_kind.holders[elements.holders], of_kind.names[elements.holders])
        facts.append((*above, elements.kinds, elements.keys, elements.values))
    holders, parents, kinds, keys, at = (np.concatenate(each) for each in zip(*facts, strict=True))
    kinds = np.where((kinds == BINARY) & are_old_uuids(octets, at), OLD_UUID, kinds)
    names, named = _name(octets, paths, parents, keys, at - 1 - keys)
    sound[holders[~named]] = False
    return _Level(holders, names, kinds, at).of(sound[holders])


def _name(octets: Octets, paths: list[Path], parents: Positions, keys: Positions, sizes: Positions) -> tuple[Positions, Mask]:
    """The places of these keys, each below its parent, in `paths`, which grows; and for which of them that holds."""
    start, end = (octets.words("<u8", at) & first_bytes(sizes) for at in (keys, keys + np.maximum(sizes - 8, 0)))
    marks: Words = _mixed(start) ^ end
    marks = _mixed(marks ^ (parents << 32 | sizes).astype(np.uint64))
    _, first, which, counts = np.unique(marks, return_index=True, return_inverse=True, return_counts=True)
    places = np.zeros(len(first), np.int64)
    for each in np.argsort(-counts, kind="stable")[: max(MOST_PATHS - len(paths), 0)].tolist():
        at, size, parent = (int(fact[first[each]]) for fact in (keys, sizes, parents))
        try:
            key = octets.content[at : at + size].decode()
        except UnicodeDecodeError:
            continue
        places[each] = len(paths)
        paths.append((*paths[parent], key))
    names, like = places[which], first[which]
    # Their marks are the same; whether the keys are, too, only these themselves say. No path but the first is nobody's.
    named: Mask = (names > 0) & (parents == parents[like]) & (sizes == sizes[like])
    named[named] = octets.same(keys[named], sizes[named], octets, keys[like[named]])
    return names, named


def _mixed(words: Words) -> Words:
    mixed: Words = (words ^ words >> np.uint64(31)) * _ODD
    return mixed ^ mixed >> np.uint64(29)
