"""Results on their way to a client, batch by batch."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass

from benchmarks.documents import FIRST_BATCH
from benchmarks.listener import Faults
from benchmarks.query import CommandError, Found
from benchmarks.wire import Buffer, Request, cursor_reply

CURSOR_NOT_FOUND = 43  # mongod's src/mongo/base/error_codes.yml


@dataclass
class Cursor:
    """What is left of a result."""

    found: Found
    position: int
    namespace: bytes
    used: float = 0  # when its last batch left, by the monotonic clock


class Cursors:
    """The server's open cursors; any connection may ask for the next batch of each."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._open: dict[int, Cursor] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def first(
        self, request: Request, found: Found, namespace: str, batch_size: int | None, *, single: bool = False
    ) -> list[Buffer]:
        """The first batch of a result, which is the only one if `single`."""
        cursor = Cursor(found, 0, namespace.encode())
        most = FIRST_BATCH if batch_size is None else batch_size
        return self._batch(request, b"firstBatch", cursor, most, next(self._numbers), single=single)

    def next(self, request: Request, number: int, batch_size: int) -> list[Buffer]:
        """The next batch of a cursor."""
        cursor = self._open.get(number)
        if cursor is None or self._timed_out(cursor):
            raise CommandError(CURSOR_NOT_FOUND, "CursorNotFound", f"cursor id {number} not found")
        return self._batch(request, b"nextBatch", cursor, batch_size or len(cursor.found.positions), number)

    def kill(self, number: int) -> bool:
        """Whether there was such a cursor."""
        return self._open.pop(number, None) is not None

    def _batch(
        self, request: Request, name: bytes, cursor: Cursor, most: int, number: int, *, single: bool = False
    ) -> list[Buffer]:
        time.sleep(self._faults.delay)
        documents, positions = cursor.found
        parts, cursor.position = documents.batch(positions, cursor.position, most)
        if single or self._faults.ends_early or cursor.position >= len(positions):
            self._open.pop(number, None)
            number = 0
        else:
            cursor.used = time.monotonic()
            self._open[number] = cursor
        self._strike()
        return cursor_reply(request, name, parts, number, cursor.namespace)

    def _timed_out(self, cursor: Cursor) -> bool:
        allowed = self._faults.cursor_seconds
        if allowed is None or time.monotonic() - cursor.used <= allowed:
            return False
        self._faults.cursor_seconds = None
        return True

    def _strike(self) -> None:
        with self._lock:
            if self._faults.kill_cursors_after is None:
                return
            self._faults.kill_cursors_after -= 1
            if self._faults.kill_cursors_after <= 0:
                self._faults.kill_cursors_after = None
                self._open.clear()
