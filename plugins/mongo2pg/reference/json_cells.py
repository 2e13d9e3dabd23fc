"""Whether a cell of a jsonb column, or `extra`, is the text that PostgreSQL makes of the JSON of a field."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np
from bson.decimal128 import Decimal128

from mongo2pg.reference.cells import Cells
from mongo2pg.reference.extended_json import float_text
from mongo2pg.reference.octets import ESCAPED, Mask, Octets, Positions, laid
from mongo2pg.reference.walk import (
    ARRAY,
    BINARY,
    BOOLEAN,
    DATE,
    DECIMAL,
    DOCUMENT,
    DOUBLE,
    INTEGERS,
    NULL,
    NUMBERS,
    OBJECT_ID,
    OLD_UUID,
    STRING,
    Leaf,
    Path,
)


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
        escaped, starts, longer = laid(texts)
        sizes = sizes.copy()
        sizes[some] = longer
        self._found[some] &= escaped.same(starts, sizes[some], self._cells.octets, self._at[some])
        self._found[~some] &= self.octets.same(at[~some], sizes[~some], self._cells.octets, self._at[~some])
        self._at = self._at + sizes

    def expect_each(self, values: Positions, shown: Callable[[int], str]) -> None:
        """The text of each value."""
        distinct, which = np.unique(values, return_inverse=True)
        self.expect_texts([shown(value).encode() for value in distinct.tolist()], which)

    def expect_texts(self, texts: Sequence[bytes], which: Positions) -> None:
        """One of the texts in each of them."""
        octets, starts, sizes = laid(texts)
        self.expect_bytes(octets, starts[which], sizes[which])

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


def _json_binary(text: _Text, leaf: Leaf) -> None:
    ends = leaf.at + 5 + text.octets.integers("<i4", leaf.at)
    values = text.octets.slices(leaf.at + 4, ends)  # the subtype and the data
    shown = [b'{"$binary": {"base64": "%b", "subType": "%02x"}}' % (b64encode(value[1:]), value[0]) for value in values]
    text.expect_texts(shown, np.arange(len(leaf.at)))


_JSON: dict[int, Callable[[_Text, Leaf], None]] = {
    STRING: _json_string,
    **dict.fromkeys(NUMBERS, _json_number),
    BOOLEAN: _json_boolean,
    NULL: lambda text, leaf: text.expect(b"null"),
    OBJECT_ID: _json_object_id,
    DATE: _json_date,
    DECIMAL: _json_decimal,
    **dict.fromkeys((BINARY, OLD_UUID), _json_binary),
}
