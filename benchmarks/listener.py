"""Connections: a thread for each reads requests and sends what answers them, or fails on purpose."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.wire import Buffer, Request, WireError, read_request, send

# The kernel's buffer for a connection: a batch leaves in few pieces.
SEND_BUFFER = 4 << 20


@dataclass
class Faults:
    """What goes wrong on purpose. All but `delay` and what is said to stay strike once and are None then."""

    # Batches after which all cursors are gone, as after a fail-over.
    kill_cursors_after: int | None = None
    # Bytes of replies after which the connection ends in the middle of a message.
    close_after: int | None = None
    # Seconds before each batch.
    delay: float = 0
    # Whether a moment that a reading names is forgotten, as after mongod's minSnapshotHistoryWindowInSeconds. Stays.
    snapshots_are_gone: bool = False
    # Seconds by which the time of the replica set is ahead of this server's clock. Stays.
    cluster_time_ahead: int = 0
    # Seconds after which a cursor is gone that nobody asked for a batch, as after mongod's cursorTimeoutMillis.
    cursor_seconds: float | None = None
    # Whether every result ends with its first batch, as though there was no more. Stays.
    ends_early: bool = False
    # Fields of which an index is still being built: lists have it, and a hint of it is refused. Stays.
    building: frozenset[str] = frozenset()
    # Collections that this user may not read: no list has them, and each query for them is refused. Stays.
    hidden: frozenset[str] = frozenset()


class Listener:
    """Listens on 127.0.0.1 and has `answer` answer each request, until `close`."""

    def __init__(self, answer: Callable[[Request], list[Buffer]], faults: Faults, port: int) -> None:
        self._answer, self._faults = answer, faults
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._socket = socket.create_server(("127.0.0.1", port), backlog=64)
        self.port: int = self._socket.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, name="replay listener", daemon=True)
        self._acceptor.start()

    def close(self) -> None:
        """Ends the listener and all connections."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._acceptor.join()
        with self._lock:
            still_open = dict(self._connections)
        for connection in still_open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in still_open.values():
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            thread = threading.Thread(target=self._serve, args=(connection,), name="replay connection", daemon=True)
            with self._lock:
                self._connections[connection] = thread
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        # A peer that goes away, or talks nonsense, ends its connection and nothing else.
        with connection, connection.makefile("rb") as stream, suppress(OSError, WireError, ValueError):
            while request := read_request(stream):
                parts = self._answer(request)
                if request.wants_reply and not self._send(connection, parts):
                    break
        with self._lock:
            self._connections.pop(connection, None)

    def _send(self, connection: socket.socket, parts: list[Buffer]) -> bool:
        size = sum(map(len, parts))
        if self._faults.close_after is not None:
            if size > self._faults.close_after:
                send(connection, [b"".join(parts)[: self._faults.close_after]])
                self._faults.close_after = None
                return False
            self._faults.close_after -= size
        send(connection, parts)
        return True
