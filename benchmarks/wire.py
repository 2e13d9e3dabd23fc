"""Messages of MongoDB's wire protocol, as far as a client that reads needs them: OP_MSG, and OP_QUERY for the first hello.

A batch of documents goes out as a slice of the memory in which it lies, between a head and a tail: nothing is copied.
"""

from __future__ import annotations

import itertools
import socket
import struct
from collections.abc import Sequence
from typing import IO, NamedTuple

from benchmarks.raw_values import DOCUMENT, Value, array, elements

Buffer = bytes | memoryview

OP_REPLY, OP_QUERY, OP_COMPRESSED, OP_MSG = 1, 2004, 2012, 2013
CHECKSUM_PRESENT, MORE_TO_COME = 1, 2
# mongod's own limit of a message (src/mongo/rpc/message.h).
MAX_MESSAGE_BYTES = 48_000_000
HEADER = struct.Struct("<iiii")
OK = b"\x01ok\0" + struct.pack("<d", 1.0)

_reply_ids = itertools.count(1)


class WireError(Exception):
    """The peer sent something that is no message of the protocol."""


class Request(NamedTuple):
    """A command as it came: its elements in order, and how it wants to be answered."""

    id: int
    opcode: int
    arguments: dict[bytes, Value]
    wants_reply: bool = True

    @property
    def name(self) -> str:
        return next(iter(self.arguments), b"").decode(errors="replace")


def read_request(stream: IO[bytes]) -> Request | None:
    """The next request; None where the peer has gone."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    length, request_id, _, opcode = HEADER.unpack(header)
    if not HEADER.size < length <= MAX_MESSAGE_BYTES:
        raise WireError(f"a message of {length} bytes")
    body = stream.read(length - HEADER.size)
    if len(body) < length - HEADER.size:
        return None
    if opcode == OP_MSG:
        return _message(request_id, body)
    if opcode == OP_QUERY:
        # flags, the collection's name, numbers to skip and to return, the query
        start = body.index(0, 4) + 9
        return Request(request_id, opcode, dict(elements(body[start : start + _size(body, start)])))
    raise WireError(f"a message of the unknown kind {opcode}")


def _message(request_id: int, body: bytes) -> Request:
    (flags,) = struct.unpack_from("<I", body)
    at, end = 4, len(body) - (4 if flags & CHECKSUM_PRESENT else 0)
    arguments: dict[bytes, Value] = {}
    sequences: dict[bytes, Value] = {}
    while at < end:
        kind, start = body[at], at + 1
        at = start + _size(body, start)
        if kind == 0:
            arguments = dict(elements(body[start:at]))
            continue
        name_end = body.index(0, start + 4)
        sequences[body[start + 4 : name_end]] = array(_documents(body[name_end + 1 : at]))
    return Request(request_id, OP_MSG, arguments | sequences, wants_reply=not flags & MORE_TO_COME)


def _documents(joined: bytes) -> list[Value]:
    found, at = [], 0
    while at < len(joined):
        size = _size(joined, at)
        found.append(Value(DOCUMENT, joined[at : at + size]))
        at += size
    return found


def _size(body: bytes, at: int) -> int:
    size: int = struct.unpack_from("<i", body, at)[0]
    if size < 5 or at + size > len(body):
        raise WireError("a length that points outside its message")
    return size


def reply(request: Request, body: Buffer) -> list[Buffer]:
    """A document as the answer to the request."""
    return _framed(request, [body])


def cursor_reply(request: Request, field: bytes, batch: Sequence[Buffer], cursor_id: int, namespace: bytes) -> list[Buffer]:
    """A batch of a cursor as the answer; `batch` holds array elements ready to go, `field` is firstBatch or nextBatch."""
    size = sum(map(len, batch))
    tail = b"\x12id\0" + struct.pack("<q", cursor_id) + b"\x02ns\0" + struct.pack("<i", len(namespace) + 1) + namespace + b"\0"
    array_size = 4 + size + 1
    cursor_size = 4 + 1 + len(field) + 1 + array_size + len(tail) + 1
    head = struct.pack("<i", 4 + 8 + cursor_size + len(OK) + 1) + b"\x03cursor\0" + struct.pack("<i", cursor_size)
    head += b"\x04" + field + b"\0" + struct.pack("<i", array_size)
    return _framed(request, [head, *batch, b"\0" + tail + b"\0" + OK + b"\0"])


def _framed(request: Request, parts: list[Buffer]) -> list[Buffer]:
    size = sum(map(len, parts))
    if request.opcode == OP_QUERY:
        # flags, cursor id, first document, number of documents
        prefix, opcode = struct.pack("<iqii", 8, 0, 0, 1), OP_REPLY
    else:
        prefix, opcode = struct.pack("<IB", 0, 0), OP_MSG
    header = HEADER.pack(HEADER.size + len(prefix) + size, next(_reply_ids), request.id, opcode)
    return [header + prefix, *parts]


def send(connection: socket.socket, parts: Sequence[Buffer]) -> None:
    """Sends all of the parts, one behind the other."""
    waiting = [memoryview(part) for part in parts if len(part)]
    while waiting:
        sent = connection.sendmsg(waiting)
        while waiting and sent >= len(waiting[0]):
            sent -= len(waiting.pop(0))
        if sent:
            waiting[0] = waiting[0][sent:]
