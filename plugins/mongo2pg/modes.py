"""What a run was asked for, and what it therefore reads of each collection: everything, a window, or nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from mongo2pg import books
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.errors import NothingToDoError, PrepareError
from mongo2pg.model import Domain
from mongo2pg.window import Window

FULL, WINDOW, INCREMENTAL, REPLAY, DRY_RUN = "full", "window", "incremental", "replay", "dry_run"
# Clocks of the services' hosts differ, and a document is written some time after its `updatedAt` was set.
LOOKBACK = timedelta(minutes=10)


class Request(NamedTuple):
    """The run's mode, the ends that a person gave, and the interval that a schedule or a backfill gave."""

    mode: str = FULL
    start: datetime | None = None
    end: datetime | None = None
    interval: tuple[datetime, datetime] | None = None
    backfill: bool = False
    lookback: timedelta = LOOKBACK


def refuse(request: Request) -> None:
    """Raises PrepareError where the request contradicts itself."""
    faults = []
    if request.mode == WINDOW and not (request.start and request.end):
        faults.append("mode window moves what changed from one moment to another: give both, from and to")
    if request.mode not in (WINDOW, DRY_RUN) and (request.start or request.end):
        faults.append(f"from and to belong to mode window, and this is mode {request.mode}: leave them empty or change the mode")
    if request.mode == DRY_RUN and bool(request.start) != bool(request.end):
        faults.append("a dry run of a window needs both ends: give from and to, or neither for a dry run of everything")
    if request.start and request.end and request.start >= request.end:
        faults.append(f"from ({request.start.isoformat()}) must lie before to ({request.end.isoformat()})")
    if faults:
        raise PrepareError(faults)


def what_moves(conn: Connection, domain: Domain, request: Request, now: str) -> tuple[Domain, dict[str, Window]]:
    """The collections that the run moves, and the window of each that it does not read in full; `now` is the source's clock.

    A schedule moves windows only: it passes over a collection that has no complete full run.
    """
    if request.mode == DRY_RUN:
        window = Window(request.start, request.end, request.lookback) if request.start and request.end else None
        return domain, {collection.name: window for collection in domain.collections if window}
    planned = windows(conn, domain, request, now)
    return (domain.only(planned) if request.mode == INCREMENTAL and request.interval else domain), planned


def passed_over(asked: Domain, moved: Domain) -> list[Check]:
    """A failed check for each collection that was asked for and is not moved: the others are, and the run is red."""
    return [
        Check("full_run", collection.name, "failed", detail=f"no full run is complete: trigger {asked.name} for it with mode full")
        for collection in asked.collections
        if collection not in moved.collections
    ]


def windows(conn: Connection, domain: Domain, request: Request, now: str) -> dict[str, Window]:
    """The window of each collection that is not to be read in full; `now` is the source's clock.

    Raises PrepareError for a window before the first full run, and NothingToDoError where a schedule asks for one. A schedule goes
    back to the watermark where that lies before its interval: a run that failed or never took place leaves no gap.
    """
    if request.mode not in (WINDOW, INCREMENTAL):
        return {}
    marks = {collection.name: watermark(conn, domain, collection.name) for collection in domain.collections}
    moved = {name: mark for name, mark in marks.items() if mark is not None}
    if request.mode == WINDOW and request.start and request.end:
        if missing := sorted(marks.keys() - moved.keys()):
            raise PrepareError([f"{name} has no complete full run yet: run {domain.name} with mode full first" for name in missing])
        return dict.fromkeys(marks, Window(request.start, request.end, request.lookback))
    if request.interval is None:
        return {name: Window(mark, max(mark, datetime.fromisoformat(now)), request.lookback) for name, mark in moved.items()}
    if not moved:
        raise NothingToDoError(
            f"no full run of {domain.name} is complete yet, so there is nothing that this window could add to: "
            f"trigger {domain.name} with mode full"
        )
    start, end = request.interval
    return {name: Window(start if request.backfill else min(start, mark), end, request.lookback) for name, mark in moved.items()}


def watermark(conn: Connection, domain: Domain, collection: str) -> datetime | None:
    """Up to where the collection has been moved; None before its first full run is complete."""
    moment = books.watermark(conn, RunKey(domain.name, ""), collection)
    return moment and moment.astimezone(UTC)
