"""The elements of many arrays, or maps, found at once."""

from __future__ import annotations

from itertools import chain
from typing import NamedTuple

import numpy as np

from mongo2pg.reference.octets import Mask, Octets, Positions, laid
from mongo2pg.reference.walk import ARRAY, BINARY, FIXED, STRING, Leaf, value_ends

# Fewer arrays, or maps, than this have their elements found sooner one after the other.
FEW_GOING = 128


class Elements(NamedTuple):
    """Elements of arrays or maps: in which of these each is, its number there, type, key and value."""

    holders: Positions
    numbers: Positions
    kinds: Positions
    keys: Positions
    values: Positions
    ends: Positions

    def of(self, some: Positions | Mask) -> Elements:
        """Some of them."""
        return Elements(*(fact[some] for fact in self))


def elements_of(octets: Octets, holders: Leaf) -> tuple[Elements, Mask]:
    """The elements of all these arrays, or maps, and which of the holders could be read to their ends."""
    at, last = holders.at + 4, holders.at + octets.integers("<i4", holders.at) - 1
    sound = np.ones(len(at), np.bool_)
    rows = np.flatnonzero(at < last)
    at, last = at[rows], last[rows]
    found: list[Elements] = []
    number = 0
    while len(rows) >= FEW_GOING:
        elements = _elements_at(octets, rows, np.full(len(rows), number), at)
        good = elements.ends <= last
        if holders.kind == ARRAY:
            good &= octets.hold(elements.keys, b"%d\0" % number)
        sound[rows[~good]] = False
        found.append(elements.of(good))
        number += 1
        at = elements.ends
        going = good & (at < last)
        rows, at, last = rows[going], at[going], last[going]
    if len(rows):
        starts = [_starts(octets.content, *each) for each in zip(at.tolist(), last.tolist(), strict=True)]
        sizes = np.array(list(map(len, starts)), np.int64)
        numbers = number + np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        begin = np.array(list(chain.from_iterable(starts)), np.int64)
        elements = _elements_at(octets, np.repeat(rows, sizes), numbers, begin)
        # Each must end where the next one begins, the last one with its holder.
        due = np.roll(begin, -1)
        due[np.cumsum(sizes) - 1] = last
        good = elements.ends == due
        if holders.kind == ARRAY:
            good &= _are_numbers(octets, elements)
        sound[elements.holders[~good]] = False
        found.append(elements)
    return Elements(*(np.concatenate(facts) for facts in zip(*found, strict=True))) if found else _NO_ELEMENTS, sound


_NO_ELEMENTS = Elements(*(np.zeros(0, np.int64) for _ in range(6)))


def _elements_at(octets: Octets, rows: Positions, numbers: Positions, at: Positions) -> Elements:
    """The elements that begin there; one that cannot be read ends beyond all bytes."""
    kinds, keys, zeros = octets.integers("u1", at), at + 1, octets.zeros
    values = zeros[np.minimum(np.searchsorted(zeros, keys), len(zeros) - 1)] + 1
    ends = np.zeros(len(rows), np.int64)
    for kind in np.unique(kinds).tolist():
        of_kind = kinds == kind
        reached = value_ends(octets, kind, values[of_kind])
        if reached is not None:
            ends[of_kind] = reached
    ends[ends < values] = len(octets.content) + 1
    return Elements(rows, numbers, kinds, keys, values, ends)


def _starts(content: bytes, at: int, last: int) -> list[int]:
    """Where elements begin that follow one another up to the last byte of an array or map, if they are what their types say."""
    found = [at]
    while at < last:
        kind, value = content[at], content.find(b"\0", at + 1) + 1
        size = FIXED.get(kind)
        if size is None:
            stated = int.from_bytes(content[value : value + 4], "little")
            size = stated + {STRING: 4, BINARY: 5}.get(kind, 0)
        at = value + max(size, 0)
        found.append(at)
    return found[:-1]


def _are_numbers(octets: Octets, elements: Elements) -> Mask:
    """Whether the keys are the elements' numbers."""
    distinct, which = np.unique(elements.numbers, return_inverse=True)
    texts, starts, sizes = laid([b"%d" % number for number in distinct.tolist()])
    found: Mask = elements.values - 1 - elements.keys == sizes[which]
    of_text = which[found]
    found[found] = octets.same(elements.keys[found], sizes[of_text], texts, starts[of_text])
    return found
