"""BSON bytes to Python values, losing nothing and naming what cannot be read.

pymongo's C decoder does the work. It is lossless for all but a few documents (it reads a symbol as a string, a repeated
key as its last value, …), and those give themselves away: encoded again they are not the bytes they came from, or they
hold the key `$ref`, with which pymongo makes a DBRef of what is a document like any other. Only they are read by the
exact reader below, which follows the BSON specification (bsonspec.org, version 1.1).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bson
from bson.binary import Binary, UuidRepresentation
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion, TypeRegistry
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.errors import InvalidBSON
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

# mongod refuses documents nested deeper (manual, "MongoDB Limits and Thresholds"); the bound protects Python's stack.
MAX_DEPTH = 200


@dataclass(frozen=True)
class Symbol:
    """BSON type 0x0E, deprecated; pymongo would read it as a string."""

    name: str


def _as_asked(value: Any) -> Any:
    """An `_id` as a query names it: a symbol is equal to its string to MongoDB, and pymongo writes none."""
    return value.name if isinstance(value, Symbol) else value


# Dates as milliseconds: Python's calendar ends in the year 9999, BSON's does not.
OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS,
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    type_registry=TypeRegistry(fallback_encoder=_as_asked),
)


@dataclass(frozen=True)
class Undefined:
    """BSON type 0x06, deprecated; pymongo would read it as null."""


@dataclass(frozen=True)
class DBPointer:
    """BSON type 0x0C, deprecated; pymongo would read it as a DBRef document."""

    collection: str
    id: ObjectId


@dataclass(frozen=True)
class OddRegex:
    """A regular expression with options that pymongo does not know and would drop."""

    pattern: str
    options: str


class MalformedError(Exception):
    """The bytes break the BSON specification, or hold what no mapping can keep: a key that occurs twice."""


def split(joined: bytes) -> Iterator[bytes]:
    """The documents that lie one behind the other, each by the length that it states."""
    position, end = 0, len(joined)
    while position < end:
        start = position
        position += struct.unpack_from("<i", joined, position)[0]
        yield joined[start:position]


def decode_batch(raws: list[bytes]) -> list[dict[str, Any] | MalformedError]:
    """Each document as a dict, or as the `MalformedError` that tells why it has no faithful reading."""
    documents = _by_pymongo(raws)
    # One document of a batch may be special: find it.
    return [*documents] if documents is not None else [_decode_one(raw) for raw in raws]


_REF = b"$ref\0"


def _by_pymongo(raws: list[bytes]) -> list[dict[str, Any]] | None:
    """The documents; None where pymongo's reading of one is not faithful, or there is none."""
    joined = b"".join(raws)
    try:
        documents = bson.decode_all(joined, OPTIONS) if _REF not in joined else None
        if documents is not None and [bson.encode(document, codec_options=OPTIONS) for document in documents] == raws:
            return documents
    except (bson.errors.BSONError, RecursionError, ValueError, OverflowError):
        pass
    return None


def _decode_one(raw: bytes) -> dict[str, Any] | MalformedError:
    if documents := _by_pymongo([raw]):
        return documents[0]
    try:
        return decode_exactly(raw)
    except MalformedError as fault:
        return fault


def value_at(content: bytes, path: str) -> Any:
    """The value at a dotted path (array positions as numbers) of a document; None where there is none."""
    (document,) = decode_batch([content])
    if isinstance(document, MalformedError):
        return None
    value: Any = document
    for key in path.split("."):
        if isinstance(value, list):
            value = value[int(key)] if key.isdecimal() and int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def decode_exactly(raw: bytes) -> dict[str, Any]:
    """The document with every BSON type told apart; raises `MalformedError`."""
    if len(raw) < 5 or struct.unpack_from("<i", raw)[0] != len(raw):
        raise MalformedError("the length of the document is not the length it states")
    return _document(raw, 0, len(raw), depth=1)


def _document(raw: bytes, start: int, end: int, depth: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, value in _elements(raw, start, end, depth):
        if key in document:
            raise MalformedError(f"the key {key!r} occurs twice in one document")
        document[key] = value
    return document


def _elements(raw: bytes, start: int, end: int, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise MalformedError(f"nested deeper than {MAX_DEPTH} levels")
    if raw[end - 1] != 0:
        raise MalformedError("a document does not end with a zero byte")
    position = start + 4
    while position < end - 1:
        kind = raw[position]
        key, position = _cstring(raw, position + 1, end)
        try:
            value, position = read_value(raw, kind, position, end, depth)
        except (struct.error, IndexError, InvalidBSON, ValueError) as fault:
            raise MalformedError(f"the value of {key!r} (BSON type 0x{kind:02X}) cannot be read") from fault
        if position > end - 1:
            raise MalformedError(f"the value of {key!r} runs over the end of its document")
        yield key, value


def read_value(raw: bytes, kind: int, at: int, end: int, depth: int = 1) -> tuple[Any, int]:
    """The value of this BSON type that begins at `at`, and where it ends; raises one of several errors where it is none."""
    match kind:
        case 0x01:
            return struct.unpack_from("<d", raw, at)[0], at + 8
        case 0x02:
            return _string(raw, at)
        case 0x03:
            size = _size(raw, at, end)
            return _document(raw, at, at + size, depth + 1), at + size
        case 0x04:
            size = _size(raw, at, end)
            return [value for _, value in _elements(raw, at, at + size, depth + 1)], at + size
        case 0x05:
            return _binary(raw, at)
        case 0x06:
            return Undefined(), at
        case 0x07:
            return _object_id(raw, at, end), at + 12
        case 0x08:
            if raw[at] > 1:
                raise ValueError("a boolean is 0 or 1")
            return raw[at] == 1, at + 1
        case 0x09:
            return DatetimeMS(struct.unpack_from("<q", raw, at)[0]), at + 8
        case 0x0A:
            return None, at
        case 0x0B:
            pattern, at = _cstring(raw, at, end)
            options, at = _cstring(raw, at, end)
            known = set(options) <= set("ilmsux")
            return Regex(pattern, options) if known else OddRegex(pattern, options), at
        case 0x0C:
            name, at = _string(raw, at)
            return DBPointer(name, _object_id(raw, at, end)), at + 12
        case 0x0D:
            code, at = _string(raw, at)
            return Code(code), at
        case 0x0E:
            name, at = _string(raw, at)
            return Symbol(name), at
        case 0x0F:
            size = _size(raw, at, end, least=14)
            code, inner = _string(raw, at + 4)
            if inner + _size(raw, inner, at + size) != at + size:
                raise ValueError("the scope does not fill its value")
            return Code(code, _document(raw, inner, at + size, depth + 1)), at + size
        case 0x10:
            return struct.unpack_from("<i", raw, at)[0], at + 4
        case 0x11:
            increment, time = struct.unpack_from("<II", raw, at)
            return Timestamp(time, increment), at + 8
        case 0x12:
            return Int64(struct.unpack_from("<q", raw, at)[0]), at + 8
        case 0x13:
            if at + 16 > end:
                raise ValueError("a decimal has 16 bytes")
            return Decimal128.from_bid(raw[at : at + 16]), at + 16
        case 0xFF:
            return MinKey(), at
        case 0x7F:
            return MaxKey(), at
    raise MalformedError(f"0x{kind:02X} is no BSON type")


def _size(raw: bytes, at: int, end: int, least: int = 5) -> int:
    size: int = struct.unpack_from("<i", raw, at)[0]
    if size < least or at + size > end:
        raise ValueError("a length is out of bounds")
    return size


def _cstring(raw: bytes, at: int, end: int) -> tuple[str, int]:
    stop = raw.find(b"\0", at, end)
    if stop < 0:
        raise MalformedError("a key or pattern does not end inside its document")
    return _utf8(raw[at:stop]), stop + 1


def _string(raw: bytes, at: int) -> tuple[str, int]:
    size = struct.unpack_from("<i", raw, at)[0]
    if size < 1 or at + 4 + size > len(raw) or raw[at + 3 + size] != 0:
        raise ValueError("a string's length is wrong")
    return _utf8(raw[at + 4 : at + 3 + size]), at + 4 + size


def _object_id(raw: bytes, at: int, end: int) -> ObjectId:
    if at + 12 > end:
        raise ValueError("an ObjectId has 12 bytes")
    return ObjectId(raw[at : at + 12])


def _binary(raw: bytes, at: int) -> tuple[Any, int]:
    size, subtype = struct.unpack_from("<iB", raw, at)
    if size < 0 or at + 5 + size > len(raw):
        raise ValueError("a binary's length is wrong")
    content = raw[at + 5 : at + 5 + size]
    if subtype == 2:  # "Binary (Old)" repeats its length inside
        if struct.unpack_from("<i", content)[0] != size - 4:
            raise ValueError("an old binary's lengths differ")
        content = content[4:]
    return (content if subtype == 0 else Binary(content, subtype)), at + 5 + size


def _utf8(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as fault:
        raise MalformedError("a text is not valid UTF-8") from fault
