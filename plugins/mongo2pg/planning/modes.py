"""What a run can be asked for. DAG files read this at every parse: it imports nothing heavy."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from mongo2pg.errors import PrepareError

FULL, WINDOW, INCREMENTAL, REPLAY, DELETES, DRY_RUN = "full", "window", "incremental", "replay", "deletes", "dry_run"
# As the trigger form explains them.
MODES = {
    INCREMENTAL: "incremental: what changed since the last run; everything, where nothing was moved yet or the declaration changed",
    FULL: "full: every document",
    WINDOW: "window: what changed between from and to",
    REPLAY: "replay: the documents of open rejects once more, from the stored bytes",
    DELETES: "deletes: take out the rows whose document is gone; reads ids alone and moves nothing",
    DRY_RUN: "dry run: what would be read and rejected; writes nothing",
}
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
    if request.mode == WINDOW and request.interval:
        faults.append("a run of a backfill moves the window of its own interval: take mode incremental, without from and to")
    elif request.mode == WINDOW and not (request.start and request.end):
        faults.append("mode window moves what changed from one moment to another: give both, from and to")
    if request.mode not in (WINDOW, DRY_RUN) and (request.start or request.end):
        faults.append(f"from and to belong to mode window, and this is mode {request.mode}: leave them empty or change the mode")
    if request.mode == DRY_RUN and bool(request.start) != bool(request.end):
        faults.append("a dry run of a window needs both ends: give from and to, or neither for a dry run of everything")
    if request.start and request.end and request.start >= request.end:
        faults.append(f"from ({request.start.isoformat()}) must lie before to ({request.end.isoformat()})")
    if faults:
        raise PrepareError(faults)
