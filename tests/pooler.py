"""A pooler before PostgreSQL that lends sessions as PgBouncer does, for whole connections or for single transactions."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from demo.postgres import PostgresLogin

# SSLRequest and GSSENCRequest of PostgreSQL's protocol; here both are declined.
_ENCRYPTION = (80877103, 80877104)


@contextmanager
def pooler(login: PostgresLogin, *, by_transaction: bool) -> Iterator[PostgresLogin]:
    """The way into the same database through the pooler."""
    free: list[socket.socket] = []
    opened: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(client: socket.socket) -> None:
            server = socket.create_connection((login.host, login.port))
            opened.append(server)
            with client, suppress(OSError, EOFError):
                _log_in(client, server)
                if by_transaction and not free:
                    free.append(server)
                while message := _message(client):
                    if message[:1] == b"X":
                        return
                    # The one that was given back last, as PgBouncer has it.
                    server = free.pop() if by_transaction else server
                    while _pass(client, server, message) != b"I":
                        message = _message(client)
                    if by_transaction:
                        free.append(server)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    opened.append(client)
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield replace(login, port=listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
    for each in opened:
        each.close()


def _log_in(client: socket.socket, server: socket.socket) -> None:
    size = _exactly(client, 4)
    first = _exactly(client, struct.unpack("!i", size)[0] - 4)
    if struct.unpack_from("!i", first)[0] in _ENCRYPTION:
        client.sendall(b"N")
        return _log_in(client, server)
    server.sendall(size + first)
    while (kind := (message := _message(server))[:1]) != b"Z":
        # The number of a process that the client is told belongs to the pooler, as does the right to cancel.
        client.sendall(struct.pack("!ciii", b"K", 12, 1_000_000, 0) if kind == b"K" else message)
        if kind == b"R" and struct.unpack_from("!i", message, 5)[0] in (10, 11):
            server.sendall(_message(client))
    client.sendall(message)
    return None


def _pass(client: socket.socket, server: socket.socket, message: bytes) -> bytes:
    """Passes a request on, and all that is answered; returns the state of the transaction after it."""
    server.sendall(message)
    if message[:1] not in b"QS":
        return b""
    while (answer := _message(server))[:1] != b"Z":
        client.sendall(answer)
    client.sendall(answer)
    return answer[-1:]


def _message(end: socket.socket) -> bytes:
    head = _exactly(end, 5)
    return head + _exactly(end, struct.unpack("!i", head[1:])[0] - 4)


def _exactly(end: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = end.recv(size - len(parts))
        if not part:
            raise EOFError
        parts += part
    return parts
