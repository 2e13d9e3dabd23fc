"""The target's rows by column, and whether a cell is what the value of a field must become.

A rule says yes only where it is certain; a no means that somebody has to look closer, by the plain rules of `texts`. The
forms are those of PostgreSQL's send functions: integers and doubles big-endian, timestamptz in microseconds since 2000,
uuid as its bytes; jsonb comes as text (PostgreSQL manual, COPY, "Binary Format"; src/backend/utils/adt).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

import numpy as np
from bson.decimal128 import Decimal128

from mongo2pg.model import Column
from mongo2pg.reference.extended_json import float_text
from mongo2pg.reference.octets import ESCAPED, Mask, Octets, Positions, Words
from mongo2pg.reference.texts import EARLIEST_MS, LATEST_MS
from mongo2pg.reference.walk import (
    ARRAY,
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
    Leaf,
    Path,
    Some,
    elements_of,
)

EPOCH_2000_MS = 946_684_800_000
# Whole numbers up to here have a double each.
EXACT = 1 << 53
# The type of a text as an element of an array (pg_type.dat).
_TEXT_OID = 25


@dataclass(frozen=True)
class Cells:
    """One column of rows: where each cell's bytes begin and how many they are; -1 for NULL."""

    octets: Octets
    at: Positions
    sizes: Positions

    def of(self, some: Some) -> Cells:
        """Those of some rows, in that order."""
        return Cells(self.octets, self.at[some], self.sizes[some])

    @property
    def null(self) -> Mask:
        return self.sizes < 0

    def integers(self, kind: Literal["u1", ">i4", ">i8"]) -> Positions:
        """The cells as integers; what a cell of another size gives means nothing."""
        return self.octets.integers(kind, self.at)


def cells_in(content: bytes, sizes: Positions) -> Cells:
    """The cells of one column that lie one behind the other. ValueError if the sizes are not those of the content."""
    ends = np.cumsum(np.maximum(sizes, 0))
    if len(content) != ends[-1:].sum():
        raise ValueError(f"cells of {ends[-1:].sum()} bytes came as {len(content)}")
    return Cells(Octets(content), ends - np.maximum(sizes, 0), sizes)


@dataclass(frozen=True)
class StoredRows:
    """The rows of a table, by column."""

    count: int
    columns: dict[str, Cells] = field(default_factory=dict)


# --- one column ------------------------------------------------------------------------------------------------------

Rule = Callable[[Column, Octets, Leaf, Cells], Mask]


def agrees(column: Column, octets: Octets, leaf: Leaf | None, cells: Cells) -> Mask | None:
    """Where the cell is what the field's value (None: it is missing) becomes in this column; None where no rule says."""
    if leaf is None or leaf.kind == NULL:
        return None if column.required or column.default is not None else cells.null
    rule = _RULES.get((column.type, leaf.kind))
    return rule(column, octets, leaf, cells) & ~cells.null if rule else None


def uuid_words(octets: Octets, at: Positions) -> tuple[Words, Words]:
    """The UUIDs that carry the ObjectIds at these positions (docs/identity.md), as two big-endian numbers each.

    Their digits in groups of 12, 3 and 9, each of the first two followed by the digit 8; six zeros at the end.
    """
    high, low = octets.words(">u8", at), octets.words(">u8", at + 4) & np.uint64(0xFFFFFFFF)
    first, second, third = high >> np.uint64(16), high >> np.uint64(4) & np.uint64(0xFFF), high & np.uint64(0xF)
    one = first << np.uint64(16) | np.uint64(0x8000) | second
    return one, np.uint64(8 << 60) | third << np.uint64(56) | low << np.uint64(24)


def _object_id(column: Column, octets: Octets, leaf: Leaf, cells: Cells) -> Mask:
    one, other = uuid_words(octets, leaf.at)
    there, beyond = (cells.octets.words(">u8", cells.at + start) for start in (0, 8))
    found: Mask = (cells.sizes == 16) & (there == one) & (beyond == other)
    return found


def _text(column: Column, octets: Octets, leaf: Leaf, cells: Cells) -> Mask:
    at, sizes = leaf.at + 4, octets.integers("<i4", leaf.at) - 1
    found: Mask = cells.sizes == sizes
    found[found] = octets.same(at[found], sizes[found], cells.octets, cells.at[found])
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
INTEGERS: dict[int, Literal["<i4", "<i8"]] = {INT32: "<i4", INT64: "<i8"}
_NUMBERS = (INT32, INT64, DOUBLE)


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


def _date(column: Column, octets: Octets, leaf: Leaf, cells: Cells) -> Mask:
    ms = octets.integers("<i8", leaf.at)
    fits = (ms >= EARLIEST_MS) & (ms <= LATEST_MS)
    microseconds = (np.where(fits, ms, 0) - EPOCH_2000_MS) * 1000
    found: Mask = (cells.sizes == 8) & fits & (cells.integers(">i8") == microseconds)
    return found


_RULES: dict[tuple[str, int], Rule] = {
    ("uuid", OBJECT_ID): _object_id,
    ("text", STRING): _text,
    ("text[]", ARRAY): _texts,
    ("boolean", BOOLEAN): _boolean,
    **{(name, kind): _whole for name in _WHOLE for kind in _NUMBERS},
    **{("double precision", kind): _double for kind in _NUMBERS},
    ("timestamptz", DATE): _date,
}

# --- jsonb -----------------------------------------------------------------------------------------------------------


def agrees_as_json(octets: Octets, leaves: dict[Path, Leaf], path: Path, cells: Cells) -> Mask | None:
    """Where the cell, a text, is the value at the path in relaxed Extended JSON, as jsonb writes it; None where no rule says."""
    if path not in leaves or leaves[path].kind == NULL:
        return cells.null
    text = _Text(octets, cells)
    below: dict[Path, list[Path]] = {}
    for inner in leaves:
        if len(inner) > len(path) and inner[: len(path)] == path:
            below.setdefault(inner[:-1], []).append(inner)
    return text.result() if _follow(text, leaves, path, below) else None


def _follow(text: _Text, leaves: dict[Path, Leaf], path: Path, below: dict[Path, list[Path]]) -> bool:
    leaf = leaves[path]
    if leaf.kind == ARRAY:
        for number, inner in enumerate(below.get(path, [])):
            if inner[-1] != str(number):
                return False
            text.expect(b", " if number else b"[")
            if not _follow(text, leaves, inner, below):
                return False
        text.expect(b"]" if path in below else b"[]")
        return True
    if leaf.kind == DOCUMENT:
        # jsonb sorts keys by their size in bytes, then by these (PostgreSQL manual, 8.14; jsonb_util.c, lengthCompareJsonbString).
        keys = sorted((len(inner[-1].encode()), inner[-1].encode(), inner) for inner in below.get(path, []))
        for number, (_, _, inner) in enumerate(keys):
            text.expect(b", " if number else b"{")
            text.expect(json.dumps(inner[-1], ensure_ascii=False).encode() + b": ")
            if not _follow(text, leaves, inner, below):
                return False
        text.expect(b"}" if keys else b"{}")
        return True
    rule = _JSON.get(leaf.kind)
    if rule is None:
        return False
    rule(text, leaf)
    return True


class _Text:
    """JSON that is compared from left to right: `at` is how far it was the expected one."""

    def __init__(self, octets: Octets, cells: Cells) -> None:
        self.octets, self._cells = octets, cells
        self._at = cells.at.copy()
        self._found = ~cells.null
        self._due = b""

    def expect(self, text: bytes) -> None:
        """The same text in all of them; it is compared when something else follows."""
        self._due += text

    def expect_bytes(self, octets: Octets, at: Positions, sizes: Positions) -> None:
        """A text of its own in each of them."""
        self._compare()
        self._found &= octets.same(at, sizes, self._cells.octets, self._at)
        self._at = self._at + sizes

    def expect_escaped(self, at: Positions, sizes: Positions) -> None:
        """The same, with what JSON escapes of it."""
        some = self.octets.escaped(at, sizes)
        if not some.any():
            self.expect_bytes(self.octets, at, sizes)
            return
        self._compare()
        texts = [ESCAPED.sub(_escape, text) for text in self.octets.slices(at[some], (at + sizes)[some])]
        sizes = sizes.copy()
        sizes[some] = list(map(len, texts))
        starts, escaped = np.cumsum(sizes[some]) - sizes[some], Octets(b"".join(texts))
        self._found[some] &= escaped.same(starts, sizes[some], self._cells.octets, self._at[some])
        self._found[~some] &= self.octets.same(at[~some], sizes[~some], self._cells.octets, self._at[~some])
        self._at = self._at + sizes

    def expect_each(self, values: Positions, shown: Callable[[int], str]) -> None:
        """The text of each value."""
        distinct, which = np.unique(values, return_inverse=True)
        self.expect_texts([shown(value).encode() for value in distinct.tolist()], which)

    def expect_texts(self, texts: Sequence[bytes], which: Positions) -> None:
        """One of the texts in each of them."""
        sizes = np.fromiter(map(len, texts), np.int64, len(texts))
        starts = np.cumsum(sizes) - sizes
        self.expect_bytes(Octets(b"".join(texts)), starts[which], sizes[which])

    def result(self) -> Mask:
        self._compare()
        self._found &= self._at == self._cells.at + self._cells.sizes
        return self._found

    def _compare(self) -> None:
        self._found &= self._cells.octets.hold(self._at, self._due)
        self._at = self._at + len(self._due)
        self._due = b""


def _json_string(text: _Text, leaf: Leaf) -> None:
    text.expect(b'"')
    text.expect_escaped(leaf.at + 4, text.octets.integers("<i4", leaf.at) - 1)
    text.expect(b'"')


def _escape(found: re.Match[bytes]) -> bytes:
    # As jsonb writes it (src/backend/utils/adt/json.c, escape_json).
    sign = found[0]
    return _SHORT.get(sign) or b"\\u%04x" % sign[0]


_SHORT = {b'"': b'\\"', b"\\": b"\\\\", b"\b": b"\\b", b"\f": b"\\f", b"\n": b"\\n", b"\r": b"\\r", b"\t": b"\\t"}


def _json_number(text: _Text, leaf: Leaf) -> None:
    if leaf.kind == DOUBLE:
        text.expect_each(text.octets.integers("<i8", leaf.at), _double_text)  # by their bits, so that -0.0 is not 0.0
    else:
        text.expect_each(text.octets.integers(INTEGERS[leaf.kind], leaf.at), str)


def _double_text(bits: int) -> str:
    value = float(np.int64(bits).view(np.float64))
    if -1e15 < value < 1e15 and (value or bits == 0):
        # jsonb keeps the digits of a number and writes them without an exponent.
        return repr(value) if "e" not in repr(value) else format(Decimal(repr(value)), "f")
    return f'{{"$numberDouble": "{float_text(value)}"}}'


def _json_boolean(text: _Text, leaf: Leaf) -> None:
    text.expect_each(text.octets.integers("u1", leaf.at), lambda value: "true" if value else "false")


def _json_object_id(text: _Text, leaf: Leaf) -> None:
    text.expect(b'{"$oid": "')
    text.expect_bytes(Octets(text.octets.hexadecimal(leaf.at, 12)), np.arange(len(leaf.at)) * 24, np.full(len(leaf.at), 24))
    text.expect(b'"}')


def _json_date(text: _Text, leaf: Leaf) -> None:
    text.expect_each(text.octets.integers("<i8", leaf.at), _date_text)


def _date_text(ms: int) -> str:
    # Relaxed Extended JSON writes the years from 1970 to 9999 as ISO 8601 does, and milliseconds where there are any.
    if not 0 <= ms < 253_402_300_800_000:
        return f'{{"$date": {{"$numberLong": "{ms}"}}}}'
    shown = str(np.datetime64(ms, "ms"))
    return f'{{"$date": "{shown.removesuffix(".000")}Z"}}'


def _json_decimal(text: _Text, leaf: Leaf) -> None:
    values = map(Decimal128.from_bid, text.octets.slices(leaf.at, leaf.at + 16))
    text.expect_texts([b'{"$numberDecimal": "%s"}' % str(value).encode() for value in values], np.arange(len(leaf.at)))


_JSON: dict[int, Callable[[_Text, Leaf], None]] = {
    STRING: _json_string,
    **dict.fromkeys(_NUMBERS, _json_number),
    BOOLEAN: _json_boolean,
    NULL: lambda text, leaf: text.expect(b"null"),
    OBJECT_ID: _json_object_id,
    DATE: _json_date,
    DECIMAL: _json_decimal,
}
