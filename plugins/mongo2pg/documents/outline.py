"""As much of a document as its bytes tell without being decoded: its `_id`, and how many elements its arrays have.

Where a document is malformed, this is what can still be said of it, and a server says the same: it follows lengths, takes
the first of two elements with one key, and ends where the bytes lead nowhere.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final

from bson.errors import InvalidBSON

from mongo2pg.documents.bson_types import ARRAY, BINARY, DOCUMENT, STRING
from mongo2pg.documents.decode import MalformedError, read_value
from mongo2pg.model import Child


class Unreadable:
    """The type of `UNREADABLE`, which stands for an `_id` that is not there or cannot be read."""


UNREADABLE: Final = Unreadable()

# Bytes of a value by its BSON type where they are fixed, and what is added to the length that stands in front where not.
_FIXED = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0}
_MEASURED = {STRING: 4, 0x0D: 4, 0x0E: 4, DOCUMENT: 0, ARRAY: 0, 0x0F: 0, BINARY: 5, 0x0C: 16}
_REGEX = 0x0B


def own_id(raw: bytes) -> Any:
    """The document's `_id`; `UNREADABLE` where the bytes do not lead to one, or its value breaks the specification."""
    found = _first(raw, 0, len(raw), b"_id")
    if found is None:
        return UNREADABLE
    kind, start, end = found
    try:
        value, stop = read_value(raw[start:end] + b"\0", kind, 0, end - start + 1)
    except (MalformedError, InvalidBSON, ValueError, IndexError, struct.error):
        return UNREADABLE
    return value if stop == end - start else UNREADABLE


def count_elements(raw: bytes, child: Child) -> int:
    """How many elements of the document's array or map there are for a child table."""
    kind, start, end = DOCUMENT, 0, len(raw)
    for key in child.path.encode().split(b"."):
        found = _first(raw, start, end, key) if kind == DOCUMENT else None
        if found is None:
            return 0
        kind, start, end = found
    if kind != (DOCUMENT if child.kind == "map" else ARRAY):
        return 0
    return sum(1 for _ in _elements(raw, start, end))


def _first(raw: bytes, start: int, end: int, key: bytes) -> tuple[int, int, int] | None:
    return next(((kind, at, stop) for name, kind, at, stop in _elements(raw, start, end) if name == key), None)


def _elements(raw: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Key, BSON type, beginning and end of each value of the document or array, as far as they can be followed."""
    position, last = start + 4, end - 1
    while position < last:
        kind = raw[position]
        stop = raw.find(b"\0", position + 1, last)
        size = _size(raw, kind, stop + 1, last)
        if stop < 0 or size is None or stop + 1 + size > last:
            return
        yield raw[position + 1 : stop], kind, stop + 1, stop + 1 + size
        position = stop + 1 + size


def _size(raw: bytes, kind: int, at: int, last: int) -> int | None:
    if kind == _REGEX:
        options = raw.find(b"\0", at, last) + 1
        end = raw.find(b"\0", options, last) + 1 if options else 0
        return end - at if end else None
    if kind in _FIXED:
        return _FIXED[kind]
    if kind not in _MEASURED or at + 4 > last:
        return None
    stated: int = struct.unpack_from("<i", raw, at)[0]
    return stated + _MEASURED[kind] if stated >= 0 else None
