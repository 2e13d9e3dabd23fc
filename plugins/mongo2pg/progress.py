"""A line about every ten seconds while something long goes on: how far, how fast, how long to go."""

from __future__ import annotations

import logging
import time

# Short enough that a watcher sees life, long enough that a log stays readable.
SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts towards an expected number and logs rate and time to go; silent for anything shorter than ten seconds."""

    def __init__(self, log: logging.Logger, what: str, expected: int) -> None:
        self._log, self._what, self._expected = log, what, expected
        self._started = self._last = time.monotonic()

    def update(self, done: int) -> None:
        """Call it as often as you like with the number done so far."""
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES:
            return
        self._last = now
        rate = done / (now - self._started)
        left = max(0, self._expected - done) / rate if rate else 0.0
        self._log.info(
            "%s: %s of about %s, %s/s, %.0f s to go", self._what, f"{done:,}", f"{self._expected:,}", f"{rate:,.0f}", left
        )
