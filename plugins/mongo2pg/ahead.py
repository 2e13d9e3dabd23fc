"""One step ahead: what comes next is made while what is there is used. It pays where both sides wait for a server or compute
without Python's lock, as numpy and pyarrow do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def ahead(items: Generator[Item]) -> Generator[Item]:
    """The items in their order; each is made by a second thread while the one before it is in use.

    Two items are in memory at once. What fails in the thread is raised here.
    """
    with ThreadPoolExecutor(1) as thread:
        try:
            coming = thread.submit(next, items, None)
            while (item := coming.result()) is not None:
                coming = thread.submit(next, items, None)
                yield item
        finally:
            thread.submit(items.close).result()  # after what is still being made


def side_by_side(work: Callable[[Item], Made], items: Iterable[Item], light: Callable[[Item], bool]) -> Generator[Made]:
    """What `work` makes of the items, in their order; of light items two are worked on at once, of others one, and it alone."""
    with ThreadPoolExecutor(2) as threads:
        coming: deque[Future[Made]] = deque()
        for item in items:
            while coming and (len(coming) == 2 or not light(item)):
                yield coming.popleft().result()
            coming.append(threads.submit(work, item))
            if not light(item):
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()
