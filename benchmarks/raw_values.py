"""BSON looked at where it lies: elements are found by their lengths, nothing is decoded that nobody asks for.

Written against bsonspec.org 1.1 and sharing no code with the mover: documents that no decoder accepts pass through here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any, NamedTuple

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.decimal128 import Decimal128

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)

DOUBLE, STRING, DOCUMENT, ARRAY, NULL, INT32, INT64 = 0x01, 0x02, 0x03, 0x04, 0x0A, 0x10, 0x12

# Bytes of a value where they are fixed, and what is added to the length that stands in front of it where they are not.
_FIXED = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0}
_MEASURED = {0x02: 4, 0x0D: 4, 0x0E: 4, 0x03: 0, 0x04: 0, 0x0F: 0, 0x05: 5, 0x0C: 16}

# What `$type` calls them (manual, "BSON Types").
TYPE_NAMES = {
    0x01: "double",
    0x02: "string",
    0x03: "object",
    0x04: "array",
    0x05: "binData",
    0x06: "undefined",
    0x07: "objectId",
    0x08: "bool",
    0x09: "date",
    0x0A: "null",
    0x0B: "regex",
    0x0C: "dbPointer",
    0x0D: "javascript",
    0x0E: "symbol",
    0x0F: "javascriptWithScope",
    0x10: "int",
    0x11: "timestamp",
    0x12: "long",
    0x13: "decimal",
    0x7F: "maxKey",
    0xFF: "minKey",
}

_int = struct.Struct("<i").unpack_from


class UnreadableError(Exception):
    """The bytes cannot be followed any further."""


# What bytes that lead nowhere raise, here or when they are looked at.
_LOST = (UnreadableError, IndexError, KeyError, ValueError, struct.error)


class Value(NamedTuple):
    """A BSON type and the bytes of a value of it."""

    kind: int
    content: bytes


def elements(raw: bytes) -> Iterator[tuple[bytes, Value]]:
    """Key and value of each element of a document or array; `UnreadableError` where the bytes lead nowhere."""
    at, end = 4, len(raw) - 1
    try:
        while at < end:
            kind = raw[at]
            stop = raw.index(0, at + 1)
            key, at = raw[at + 1 : stop], stop + 1
            size = _size(raw, kind, at, end)
            yield key, Value(kind, raw[at : at + size])
            at += size
    except _LOST as fault:
        raise UnreadableError from fault


def _size(raw: bytes, kind: int, at: int, end: int) -> int:
    """Bytes of the value at this place, which must not lie beyond the end."""
    size = _FIXED.get(kind)
    if size is None:
        if kind == 0x0B:
            size = raw.index(0, raw.index(0, at) + 1) + 1 - at
        else:
            (stated,) = _int(raw, at)
            size = stated + _MEASURED[kind]
            if stated < 0:
                raise UnreadableError
    if at + size > end:
        raise UnreadableError
    return size


def length(raw: bytes) -> int:
    """How many elements of a document or array can be followed."""
    at, end, found = 4, len(raw) - 1, 0
    with suppress(*_LOST):
        while at < end:
            value = raw.index(0, at + 1) + 1
            at = value + _size(raw, raw[at], value, end)
            found += 1
    return found


def field(raw: bytes, key: bytes) -> Value | None:
    """The first element of that key, None where there is none or the bytes before it cannot be followed."""
    at, end, named = 4, len(raw) - 1, key + b"\0"
    with suppress(*_LOST):
        while at < end:
            value = raw.index(0, at + 1) + 1
            behind = value + _size(raw, raw[at], value, end)
            if raw.startswith(named, at + 1):
                return Value(raw[at], raw[value:behind])
            at = behind
    return None


def at_path(raw: bytes, path: list[bytes]) -> Value | None:
    """The value at a path as expressions see it (manual, "Field Paths"): through an array, the array of its elements' values."""
    value = field(raw, path[0])
    if len(path) == 1 or value is None:
        return value
    if value.kind == DOCUMENT:
        return at_path(value.content, path[1:])
    if value.kind != ARRAY:
        return None
    inner = (at_path(item.content, path[1:]) for item in items(value) if item.kind == DOCUMENT)
    return array([item for item in inner if item is not None])


def followed(raw: bytes) -> list[tuple[bytes, Value]]:
    """The elements of a document or array as far as they can be followed."""
    found: list[tuple[bytes, Value]] = []
    with suppress(UnreadableError):
        found.extend(elements(raw))
    return found


def items(value: Value) -> list[Value]:
    """The values in an array or document, as far as they can be followed."""
    return [item for _, item in followed(value.content)]


def document(pairs: Iterable[tuple[bytes, Value]]) -> bytes:
    """The document of these elements."""
    body = b"".join([b"%c%b\0%b" % (value.kind, key, value.content) for key, value in pairs])
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def array(values: Iterable[Value]) -> Value:
    """The array of these values."""
    return Value(ARRAY, document((b"%d" % at, value) for at, value in enumerate(values)))


def encode(value: Any) -> Value:
    """A Python value as pymongo writes it."""
    encoded = bson.encode({"": value}, codec_options=OPTIONS)
    return Value(encoded[4], encoded[6:-1])


def decode(value: Value) -> Any:
    """A value as pymongo reads it."""
    return bson.decode(document([(b"", value)]), OPTIONS)[""]


def number(value: Value | None) -> int | float | Decimal | None:
    """A number of any type, None for anything else."""
    if value is None:
        return None
    match value.kind:
        case 0x01:
            return float(struct.unpack("<d", value.content)[0])
        case 0x10 | 0x12:
            return int.from_bytes(value.content, "little", signed=True)
        case 0x13:
            return Decimal128.from_bid(value.content).to_decimal()
    return None


def is_true(value: Value | None) -> bool:
    """As conditions judge a value: missing, null, undefined, false and zero are false."""
    if value is None or value.kind in (0x06, NULL):
        return False
    return value.content != b"\0" if value.kind == 0x08 else number(value) != 0


MISSING = (5,)  # an index holds null for a field that is not there


def order_key(value: Value) -> tuple[Any, ...]:
    """A key that orders values as the server compares them (manual, "Comparison/Sort Order"); equal for 5 and 5.0."""
    kind, content = value
    match kind:
        case 0xFF:
            return (-1,)
        case 0x06:
            return (0,)
        case 0x0A:
            return MISSING
        case 0x01 | 0x10 | 0x12 | 0x13:
            found = Decimal(number(value) or 0)
            return (10, 0, 0) if found.is_nan() else (10, 1, found)
        case 0x02 | 0x0E:
            return (15, content[4:-1])
        case 0x03:
            return (20, tuple((order_key(item)[0], key, order_key(item)) for key, item in elements(content)))
        case 0x04:
            return (25, tuple((order_key(item)[0], order_key(item)) for item in items(value)))
        case 0x05:
            return (30, _int(content)[0], content[4:])
        case 0x07:
            return (35, content)
        case 0x08:
            return (40, content)
        case 0x09:
            return (45, int.from_bytes(content, "little", signed=True))
        case 0x11:
            return (47, int.from_bytes(content, "little"))
        case 0x0B:
            return (50, *content.split(b"\0")[:2])
        case 0x0C:
            return (55, _int(content)[0], content[4:])
        case 0x0D:
            return (60, content[4:-1])
        case 0x0F:
            code_end = 8 + _int(content, 4)[0]
            return (65, content[8:code_end], order_key(Value(DOCUMENT, content[code_end:])))
    return (127,)


def bracket(value: Value) -> tuple[Any, ...]:
    """How the keys begin that a range with this bound may find: of its type, NaN apart; anyhow where the bound ends all types."""
    key = order_key(value)
    if value.kind in (0x7F, 0xFF):
        return ()
    return key[:2] if key[0] == 10 else key[:1]
