"""Whether a cell is what the value of a field must become in its column.

A rule says yes only where it is certain; a no means that somebody has to look closer, by the plain rules of `texts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import bson
import numpy as np
from bson.decimal128 import Decimal128

from mongo2pg.model import Column
from mongo2pg.reference.arrays import elements_of
from mongo2pg.reference.cells import Cells
from mongo2pg.reference.id_words import ids_of
from mongo2pg.reference.octets import Mask, Octets, laid
from mongo2pg.reference.texts import EARLIEST_MS, LATEST_MS, text_of
from mongo2pg.reference.walk import (
    ARRAY,
    BINARY,
    BOOLEAN,
    DATE,
    DECIMAL,
    DOUBLE,
    INTEGERS,
    NULL,
    NUMBERS,
    OBJECT_ID,
    OLD_UUID,
    STRING,
    Leaf,
)

EPOCH_2000_MS = 946_684_800_000
# Whole numbers up to here have a double each.
EXACT = 1 << 53
# The type of a text as an element of an array (pg_type.dat).
_TEXT_OID = 25

Rule = Callable[[Column, Octets, Leaf, Cells], Mask]


def agrees(column: Column, octets: Octets, leaf: Leaf | None, cells: Cells) -> Mask | None:
    """Where the cell is what the field's value (None: it is missing) becomes in this column; None where no rule says."""
    if leaf is None or leaf.kind == NULL:
        if column.default is not None:
            given = bson.encode({"": column.default})
            # Behind the length of this document come the value's type and its empty key.
            return agrees(replace(column, default=None), Octets(given), Leaf(given[4], np.full(len(cells.at), 6)), cells)
        return None if column.required else cells.null
    rule = _RULES.get((column.type, leaf.kind))
    return rule(column, octets, leaf, cells) & ~cells.null if rule else None


def _id(column: Column, octets: Octets, leaf: Leaf, cells: Cells) -> Mask:
    made = ids_of(octets, leaf)
    if made is None:
        return np.zeros(len(leaf.at), np.bool_)
    ids, found = made
    found &= cells.sizes == 16
    for place, due in enumerate(ids.T):
        found &= cells.octets.words(">u8", cells.at + 8 * place) == due
    return found


def _reference(column: Column, octets: Octets, leaf: Leaf, cells: Cells) -> Mask:
    return _id(column, octets, leaf, cells) if column.references else np.zeros(len(leaf.at), np.bool_)


def _text(column: Column, octets: Octets, leaf: Leaf, cells: Cells) -> Mask:
    at, sizes = leaf.at + 4, octets.integers("<i4", leaf.at) - 1
    found = cells.same(octets, at, sizes)
    if column.enum:
        found &= octets.are(at, sizes, [name.encode() for name in column.enum])
    if column.aliases:
        found &= ~octets.are(at, sizes, [name.encode() for name, _ in column.aliases])
    if column.longest is not None:
        found &= sizes <= column.longest
    return found


def _texts(column: Column, octets: Octets, leaf: Leaf, cells: Cells) -> Mask:
    elements, found = elements_of(octets, leaf)
    # Dimensions, whether there are NULLs, the elements' type; of one dimension its length and its first number.
    found &= cells.octets.integers(">i4", cells.at + 4) == 0
    found &= cells.octets.integers(">i4", cells.at + 8) == _TEXT_OID
    counts = np.bincount(elements.holders, minlength=len(leaf.at))
    some = counts > 0
    found &= cells.octets.integers(">i4", cells.at) == some
    found &= ~some | ((cells.octets.integers(">i4", cells.at + 12) == counts) & (cells.octets.integers(">i4", cells.at + 16) == 1))
    # Behind that stand the texts in their order, each behind its size: where, that of the elements before says.
    elements = elements.of(np.lexsort((elements.numbers, elements.holders)))
    holders, strings = elements.holders, elements.kinds == STRING
    steps = np.where(strings, octets.integers("<i4", elements.values) + 3, 4)
    begin, first = np.where(some, cells.at + 20, cells.at + 12), np.cumsum(counts) - counts
    before = np.concatenate([[0], np.cumsum(steps)])
    at = begin[holders] + before[:-1] - before[first[holders]]
    there = Cells(cells.octets, at + 4, cells.octets.integers(">i4", at))
    good = strings & _text(column, octets, Leaf(STRING, elements.values), there) & (there.sizes >= 0)
    found[holders[~good]] = False
    found &= begin + before[first + counts] - before[first] == cells.at + cells.sizes
    return found


def _boolean(column: Column, octets: Octets, leaf: Leaf, cells: Cells) -> Mask:
    found: Mask = (cells.sizes == 1) & (cells.integers("u1") == octets.integers("u1", leaf.at))
    return found


_WHOLE: dict[str, tuple[Literal[">i4", ">i8"], int]] = {"integer": (">i4", 4), "bigint": (">i8", 8)}


def _whole(column: Column, octets: Octets, leaf: Leaf, cells: Cells) -> Mask:
    kind, size = _WHOLE[column.type]
    there = cells.integers(kind)
    found: Mask = cells.sizes == size
    if leaf.kind == DOUBLE:
        value = octets.doubles(leaf.at)
        # -0.0 and whatever has a fraction is no whole number.
        found &= (np.abs(value) < EXACT) & ~((value == 0) & np.signbit(value)) & (np.abs(there) < EXACT)
        found &= there.astype(np.float64) == value
    else:
        found &= there == octets.integers(INTEGERS[leaf.kind], leaf.at)
    return found


def _double(column: Column, octets: Octets, leaf: Leaf, cells: Cells) -> Mask:
    there = cells.integers(">i8")
    found: Mask = cells.sizes == 8
    if leaf.kind == DOUBLE:
        # The same bits, so that -0.0 is not 0.0; NaN has many.
        found &= (there == octets.integers("<i8", leaf.at)) & ~np.isnan(octets.doubles(leaf.at))
    else:
        value = octets.integers(INTEGERS[leaf.kind], leaf.at)
        exact = (value >= -EXACT) & (value <= EXACT)
        found &= exact & (there == value.astype(np.float64).view(np.int64))
    return found


def _numeric(column: Column, octets: Octets, leaf: Leaf, cells: Cells) -> Mask:
    values: list[Any]
    if leaf.kind == DECIMAL:
        values = list(map(Decimal128.from_bid, octets.slices(leaf.at, leaf.at + 16)))
    elif leaf.kind == DOUBLE:
        values = octets.doubles(leaf.at).tolist()
    else:
        values = octets.integers(INTEGERS[leaf.kind], leaf.at).tolist()
    return cells.same(*laid([text_of(value, column)[0].encode() for value in values]))


def _bytes(column: Column, octets: Octets, leaf: Leaf, cells: Cells) -> Mask:
    # Of another subtype `extra` keeps the original.
    plain: Mask = octets.integers("u1", leaf.at + 4) == 0
    return plain & cells.same(octets, leaf.at + 5, octets.integers("<i4", leaf.at))


def _date(column: Column, octets: Octets, leaf: Leaf, cells: Cells) -> Mask:
    ms = octets.integers("<i8", leaf.at)
    fits = (ms >= EARLIEST_MS) & (ms <= LATEST_MS)
    microseconds = (np.where(fits, ms, 0) - EPOCH_2000_MS) * 1000
    found: Mask = (cells.sizes == 8) & fits & (cells.integers(">i8") == microseconds)
    return found


_RULES: dict[tuple[str, int], Rule] = {
    ("uuid", OBJECT_ID): _id,
    **{("uuid", kind): _id for kind in (BINARY, OLD_UUID)},
    ("uuid", STRING): _reference,
    **{("uuid", kind): _reference for kind in INTEGERS},
    ("text", STRING): _text,
    ("text[]", ARRAY): _texts,
    ("boolean", BOOLEAN): _boolean,
    **{(name, kind): _whole for name in _WHOLE for kind in NUMBERS},
    **{("double precision", kind): _double for kind in NUMBERS},
    **{("numeric", kind): _numeric for kind in (*NUMBERS, DECIMAL)},
    ("bytea", BINARY): _bytes,
    ("timestamptz", DATE): _date,
}
