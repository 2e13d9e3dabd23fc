"""One step ahead: what comes next is made while what is there is used."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def ahead(items: Generator[Item]) -> Generator[Item]:
    """The items in their order; each is made by a second thread while the one before it is in use.

    It pays where both sides wait for a server or compute without Python's lock, as numpy, pyarrow and zstd do. Two items
    are in memory at once. What fails in the thread is raised here.
    """
    with ThreadPoolExecutor(1) as thread:
        try:
            coming = thread.submit(next, items, None)
            while (item := coming.result()) is not None:
                coming = thread.submit(next, items, None)
                yield item
        finally:
            thread.submit(items.close).result()  # after what is still being made
