"""Fills MongoDB with the sample data, beside whatever else starts at that time."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable

from demo.mongo import MongoLogin
from demo.sample import documents

# Enough to make the round trips cheap, little enough to stop within a moment.
BATCH = 1000


class Seeding:
    """A thread that inserts every document of the collections; `finish` waits for it, `cancel` ends it after its batch."""

    def __init__(self, login: MongoLogin, collections: Iterable[str], scale: float) -> None:
        self.inserted = 0
        self._login, self._collections, self._scale = login, tuple(collections), scale
        self._cancelled = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="seeding", daemon=True)
        self._thread.start()

    def finish(self) -> int:
        """Return how many documents were inserted, or raise what stopped it."""
        self._thread.join()
        if self._failure:
            raise self._failure
        return self.inserted

    def cancel(self) -> None:
        self._cancelled.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        try:
            with self._login.connect() as client:
                for collection in self._collections:
                    rest = documents(collection, self._scale)
                    while batch := list(itertools.islice(rest, BATCH)):
                        if self._cancelled.is_set():
                            return
                        client.get_default_database()[collection].insert_many(batch, ordered=False)
                        self.inserted += len(batch)
        except Exception as failure:  # `finish` raises it where it can be shown
            self._failure = failure
