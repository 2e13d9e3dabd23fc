"""Documents as pymongo decodes them, and a proof for each that it holds what its bytes say."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import bson
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion

# Dates as Python's own where they fit, beyond the years 1 and 9999 as `DatetimeMS`.
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_AUTO)


class Missing:
    """The type of `MISSING`, the value of a field that is not there."""


MISSING: Final = Missing()


class Unreadable(Exception):  # noqa: N818 — a verdict on a document, not an error of this code
    """The document breaks the BSON specification or repeats a key."""


@dataclass(frozen=True)
class Odd:
    """A deprecated BSON value that pymongo would turn into something else, with its Extended JSON."""

    extended_json: dict[str, Any]
    may_be_reference: bool = True


def read_all(raws: Sequence[bytes]) -> list[dict[str, Any] | None]:
    """The documents, each as `read` gives it; None for one that is unreadable."""
    try:
        documents = bson.decode_all(b"".join(raws), CODEC)
    except Exception:
        documents = []
    if len(documents) != len(raws):
        return [_read_or_none(raw) for raw in raws]
    if _are_faithful(documents, raws):
        return [*documents]
    return [document if _is_faithful(document, raw) else _read_or_none(raw) for document, raw in zip(documents, raws, strict=True)]


def read(raw: bytes) -> dict[str, Any]:
    """The document, decoded by pymongo; where pymongo does not give back the very bytes, element by element. `Unreadable`."""
    try:
        document = bson.decode(raw, CODEC)
        if _is_faithful(document, raw):
            return document
    except Exception:  # noqa: S110 — whatever pymongo says of such bytes, the reading below judges them
        pass
    if len(raw) < 5 or struct.unpack("<i", raw[:4])[0] != len(raw):
        raise Unreadable
    return _read_document(raw, 1)


def read_id(raw: bytes) -> Any:
    """The first `_id` of a document that is unreadable as a whole; MISSING where its bytes lead to none that can be read."""
    try:
        kind, content = next((kind, content) for kind, key, content in _elements(raw[:-1] + b"\0") if key == b"_id")
        return _read_value(kind, content, 1)
    except (Unreadable, StopIteration, ValueError, struct.error, IndexError):
        return MISSING


def _read_or_none(raw: bytes) -> dict[str, Any] | None:
    try:
        return read(raw)
    except Unreadable:
        return None


def _is_faithful(document: dict[str, Any], raw: bytes) -> bool:
    """Whether encoding gives back the very bytes: then no key was repeated and no value turned into another type."""
    # pymongo makes a DBRef of every document with the keys `$ref` and `$id`, and encodes it as it was.
    try:
        return b"$ref\0" not in raw and bson.encode(document, codec_options=CODEC) == raw
    except Exception:
        return False


def _are_faithful(documents: Sequence[dict[str, Any]], raws: Sequence[bytes]) -> bool:
    """Whether all of them are: asked at once, as the elements of one array, which is nearly always the whole answer."""
    if any(b"$ref\0" in raw for raw in raws):
        return False
    elements = b"".join(chain.from_iterable((b"\x03%d\0" % at, raw) for at, raw in enumerate(raws)))
    try:
        # Before the first element: length, type and empty name of the array, its length. After the last: two ends.
        return bson.encode({"": documents}, codec_options=CODEC)[10:-2] == elements
    except Exception:
        return False


# Bytes of a value by its BSON type, where they are fixed (bsonspec.org).
_FIXED = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0}


def _elements(raw: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    if len(raw) < 5 or raw[-1:] != b"\0":
        raise Unreadable
    at = 4
    while at < len(raw) - 1:
        kind = raw[at]
        end = raw.index(b"\0", at + 1)
        key = raw[at + 1 : end]
        at = end + 1
        size = _FIXED.get(kind)
        if kind == 0x0B:
            size = raw.index(b"\0", raw.index(b"\0", at) + 1) + 1 - at
        if size is None:
            (stated,) = struct.unpack_from("<i", raw, at)
            if kind in (0x02, 0x0D, 0x0E):
                size = 4 + stated
            elif kind in (0x03, 0x04, 0x0F):
                size = stated
            elif kind == 0x05:
                size = 5 + stated
            elif kind == 0x0C:
                size = 4 + stated + 12
            else:
                raise Unreadable
            if stated < 0:
                raise Unreadable
        if at + size > len(raw) - 1:
            raise Unreadable
        yield kind, key, raw[at : at + size]
        at += size


def _read_document(raw: bytes, depth: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if depth > 200:
        raise Unreadable
    try:
        for kind, name, content in _elements(raw):
            key = name.decode()
            if key in document:
                raise Unreadable
            document[key] = _read_value(kind, content, depth)
    except (ValueError, struct.error, IndexError) as fault:
        raise Unreadable from fault
    return document


def _read_value(kind: int, content: bytes, depth: int) -> Any:
    if kind == 0x03:
        return _read_document(content, depth + 1)
    if kind == 0x04:
        if depth >= 200:
            raise Unreadable
        values = []
        for inner, name, part in _elements(content):
            name.decode()  # an array's keys mean nothing, yet they must be text
            values.append(_read_value(inner, part, depth + 1))
        return values
    if kind == 0x06:
        return Odd({"$undefined": True}, may_be_reference=False)
    if kind == 0x08 and content not in (b"\0", b"\1"):
        raise Unreadable
    if kind == 0x0B:
        pattern, options, _ = (part.decode() for part in content.split(b"\0"))
        if set(options) - set("ilmsux"):
            return Odd({"$regularExpression": {"pattern": pattern, "options": options}}, may_be_reference=False)
    if kind == 0x0F:
        code_end = 8 + struct.unpack_from("<i", content, 4)[0]
        scope = content[code_end:]
        if not 9 <= code_end <= len(content) or len(scope) < 5 or struct.unpack_from("<i", scope)[0] != len(scope):
            raise Unreadable
        return Code(_one(0x02, content[4:code_end]), _read_document(scope, depth + 1))
    if kind == 0x0E:
        return Odd({"$symbol": _one(0x02, content)})
    if kind == 0x0C:
        return Odd({"$dbPointer": {"$ref": _one(0x02, content[:-12]), "$id": {"$oid": content[-12:].hex()}}})
    return _one(kind, content)


def _one(kind: int, content: bytes) -> Any:
    """One value, decoded by pymongo as the only element of a document."""
    try:
        return bson.decode(struct.pack("<i", len(content) + 7) + bytes([kind]) + b"\0" + content + b"\0", CODEC)[""]
    except Exception as fault:
        raise Unreadable from fault
