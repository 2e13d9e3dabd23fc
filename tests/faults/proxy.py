"""A TCP proxy on this machine that cuts a connection after a given byte, in either direction."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple

TO_SERVER, TO_CLIENT = "to the server", "to the client"
# With this on a socket, closing it sends a reset, as a firewall or a dying host does, and no orderly end.
RESET = struct.pack("ii", 1, 0)
PIECE = 1 << 16


class Cut(NamedTuple):
    """A cut that is still to come: in which direction, after which byte of all that pass, and how."""

    direction: str
    at: int
    reset: bool


class Proxy:
    """Passes on what clients and one server say to each other until it is closed; counts the bytes of each direction."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self.passed = {TO_SERVER: 0, TO_CLIENT: 0}
        self.cuts = 0
        self._cut: Cut | None = None
        self._lock = threading.Lock()
        self._connections: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._acceptor = self._start(self._accept)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def cut_after(self, direction: str, count: int, *, reset: bool) -> None:
        """Cuts all connections, once, as soon as `count` more bytes have passed in this direction."""
        with self._lock:
            self._cut = Cut(direction, self.passed[direction] + count, reset)

    def close(self) -> None:
        """Ends the listener, all connections and all threads."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._acceptor.join()  # a connection that it has just taken is among those that end now
        self._end_connections(reset=False)
        for thread in self._threads:
            thread.join()

    def _start(self, body: object, *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=body, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._connections.append((client, server))
            self._start(self._pass_on, TO_SERVER, client, server)
            self._start(self._pass_on, TO_CLIENT, server, client)

    def _pass_on(self, direction: str, from_: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while piece := from_.recv(PIECE):
                to.sendall(piece[: self._before_the_cut(direction, len(piece))])
                self._cut_if_due(direction, len(piece))
        for end in (from_, to):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _before_the_cut(self, direction: str, size: int) -> int:
        with self._lock:
            if self._cut and self._cut.direction == direction:
                return max(0, min(size, self._cut.at - self.passed[direction]))
            return size

    def _cut_if_due(self, direction: str, size: int) -> None:
        with self._lock:
            self.passed[direction] += size
            cut = self._cut
            if not cut or cut.direction != direction or cut.at > self.passed[direction]:
                return
            self.cuts += 1
            self._cut = None
        self._end_connections(reset=cut.reset)

    def _end_connections(self, *, reset: bool) -> None:
        with self._lock:
            connections, self._connections = self._connections, []
        for end in (end for pair in connections for end in pair):
            with suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                    # Wakes the thread that reads from it, without a word to the other side before the reset.
                    end.shutdown(socket.SHUT_RD)
                else:
                    end.shutdown(socket.SHUT_RDWR)
            end.close()
