"""The documents of a query as the server sent them, without a Python object for each."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import bson
from pymongo.synchronous.cursor import RawBatchCursor

from mongo2pg.batches.elements import end_of
from mongo2pg.documents.bson_types import ARRAY, DOCUMENT

_EMPTY = b"\5\0\0\0\0"
# No name in a server's reply is longer.
_NAME = 64


class ArrayCursor(RawBatchCursor[dict[str, Any]]):
    """Yields the batch of each reply as the BSON array that it is.

    pymongo's own raw batches cost as much as decoded ones: it makes an object of each document, only to join their bytes.
    Here it gets to see the replies without their documents, and these stay where the socket put them.
    """

    def _unpack_response(
        self,
        response: Any,
        cursor_id: int | None,
        codec_options: Any,
        user_fields: Mapping[str, Any] | None = None,
        legacy_response: bool = False,
    ) -> list[Any]:
        reply = memoryview(response.raw_command_response())
        holder = _find(reply, 0, b"cursor", DOCUMENT)
        for name in ("firstBatch", "nextBatch"):
            batch = _find(reply, holder[0], name.encode(), ARRAY) if holder else None
            if holder and batch:
                start, end = batch
                rest = bytearray(b"".join((reply[:start], _EMPTY, reply[end:])))
                for document in (0, holder[0]):
                    (size,) = struct.unpack_from("<i", rest, document)
                    struct.pack_into("<i", rest, document, size - (end - start) + len(_EMPTY))
                decoded = bson.decode(bytes(rest))
                decoded["cursor"][name] = [reply[start:end]] if end - start > len(_EMPTY) else []
                return [decoded]
        return super()._unpack_response(response, cursor_id, codec_options, user_fields, legacy_response)


def _find(raw: memoryview, start: int, name: bytes, kind: int) -> tuple[int, int] | None:
    """Where the value of this name and type lies in the document; None where there is none before a value of a rare type."""
    position, last = start + 4, start + struct.unpack_from("<i", raw, start)[0] - 1
    while position < last:
        found, zero, _ = bytes(raw[position + 1 : position + 1 + _NAME]).partition(b"\0")
        at = position + 1 + len(found) + 1
        end = end_of(raw, raw[position], at) if zero else 0
        if not end:
            return None
        if (raw[position], found) == (kind, name):
            return at, end
        position = end
    return None
