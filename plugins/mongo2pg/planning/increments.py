"""What a run therefore reads of each collection that it was asked for: everything, a window, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from mongo2pg import books
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.databases.window import Window
from mongo2pg.errors import NothingToDoError, PrepareError
from mongo2pg.model import Domain
from mongo2pg.planning.modes import INCREMENTAL, WINDOW, Request


def what_moves(conn: Connection, domain: Domain, request: Request, now: str) -> tuple[Domain, dict[str, Window]]:
    """The collections that the run moves, and the window of each that it does not read in full; `now` is the source's clock.

    A schedule moves windows only: it passes over a collection that has no complete full run by its present declaration.
    """
    planned = windows(conn, domain, request, now)
    return (domain.only(planned) if request.mode == INCREMENTAL and request.interval else domain), planned


def passed_over(asked: Domain, moved: Domain) -> list[Check]:
    """A failed check for each collection that was asked for and is not moved: the others are, and the run is red."""
    return [
        Check(
            "full_run",
            collection.name,
            "failed",
            detail=f"no full run by its present declaration is complete: trigger {asked.name} for it with mode full",
        )
        for collection in asked.collections
        if collection not in moved.collections
    ]


def windows(conn: Connection, domain: Domain, request: Request, now: str) -> dict[str, Window]:
    """The window of each collection that is not to be read in full; `now` is the source's clock.

    Raises PrepareError for a window before the first full run, and NothingToDoError where a schedule asks for one. A schedule goes
    back to the watermark where that lies before its interval: a run that failed or never took place leaves no gap.

    Raises PrepareError for a watermark beyond the source's clock, too, unless the window was given.

    Of a collection whose declaration changed since its last full run, rows that no window reads would stay as the old one made
    them: it is read in full where a person left that to the run, and else PrepareError.
    """
    if request.mode not in (WINDOW, INCREMENTAL):
        return {}
    marks = {collection.name: watermark(conn, domain, collection.name) for collection in domain.collections}
    changed = books.changed(conn, domain)
    moved = {name: mark for name, mark in marks.items() if mark is not None and name not in changed}
    if request.mode == WINDOW and request.start and request.end:
        if missing := sorted(marks.keys() - moved.keys() - changed):
            raise PrepareError([f"{name} has no complete full run yet: run {domain.name} with mode full first" for name in missing])
        _refuse_changed(domain, changed)
        return dict.fromkeys(marks, Window(request.start, request.end, request.lookback))
    if not request.backfill:
        _refuse_ahead(domain, moved, request, now)
    if request.interval is None:
        return {name: Window(mark, max(mark, datetime.fromisoformat(now)), request.lookback) for name, mark in moved.items()}
    if request.backfill or not moved:
        _refuse_changed(domain, changed)
    if not moved:
        raise NothingToDoError(
            f"no full run of {domain.name} is complete yet, so there is nothing that this window could add to: "
            f"trigger {domain.name} with mode full"
        )
    start, end = request.interval
    return {name: Window(start if request.backfill else min(start, mark), end, request.lookback) for name, mark in moved.items()}


def _refuse_ahead(domain: Domain, marks: Mapping[str, datetime], request: Request, now: str) -> None:
    """From a watermark that lies after the source's clock nothing would be found, and what is written until then never."""
    if ahead := [name for name, mark in marks.items() if mark - request.lookback > datetime.fromisoformat(now)]:
        raise PrepareError(
            [
                f"{name} is moved up to {marks[name].isoformat()}, as the books have it, and the source's clock says {now}: "
                f"the clock of this server or of an earlier one was wrong, set it right, and run {domain.name} with mode full"
                for name in sorted(ahead)
            ]
        )


def _refuse_changed(domain: Domain, changed: set[str]) -> None:
    if changed:
        raise PrepareError(
            [
                f"the declaration of {name} has changed since its last full run: run {domain.name} with mode full"
                for name in sorted(changed)
            ]
        )


def watermark(conn: Connection, domain: Domain, collection: str) -> datetime | None:
    """Up to where the collection has been moved; None before its first full run is complete."""
    moment = books.watermark(conn, RunKey(domain.name, ""), collection)
    return moment and moment.astimezone(UTC)
