"""BSON written by hand (bsonspec.org, version 1.1), for documents that no driver would write."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import bson
from bson.code import Code

from mongo2pg.documents.decode import OPTIONS, DBPointer, Symbol, Undefined


@dataclass(frozen=True)
class Pairs:
    """A document as its keys and values in order; a key may occur twice."""

    items: tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Raw:
    """A value as its BSON type and its bytes, right or wrong."""

    kind: int
    content: bytes


def document(content: dict[str, Any] | Pairs) -> bytes:
    items = content.items if isinstance(content, Pairs) else content.items()
    return _framed((key, _typed(value)) for key, value in items)


def _framed(elements: Iterable[tuple[str, Raw]]) -> bytes:
    body = b"".join(bytes([value.kind]) + key.encode() + b"\0" + value.content for key, value in elements)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def _typed(value: Any) -> Raw:
    if isinstance(value, Raw):
        return value
    if isinstance(value, dict | Pairs):
        return Raw(0x03, document(value))
    if isinstance(value, list):
        return Raw(0x04, _framed((str(at), _typed(item)) for at, item in enumerate(value)))
    if isinstance(value, Undefined):
        return Raw(0x06, b"")
    if isinstance(value, DBPointer):
        return Raw(0x0C, string(value.collection) + value.id.binary)
    if isinstance(value, Symbol):
        return Raw(0x0E, string(value.name))
    if type(value) is Code and value.scope is not None:
        inside = string(str(value)) + document(value.scope)
        return Raw(0x0F, struct.pack("<i", len(inside) + 4) + inside)
    encoded = bson.encode({"": value}, codec_options=OPTIONS)
    return Raw(encoded[4], encoded[6:-1])


def string(text: str) -> bytes:
    content = text.encode() + b"\0"
    return struct.pack("<i", len(content)) + content
