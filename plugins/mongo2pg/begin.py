"""From what a run was asked for to its plan: whose turn it is, what moves, and whose first load this run does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Connection, RunKey
from mongo2pg.databases.snapshot import LOCAL
from mongo2pg.databases.source import server_time
from mongo2pg.databases.window import SCAN_LIMIT, Window
from mongo2pg.files.planned import Lot
from mongo2pg.files.staging import RunStaging
from mongo2pg.model import Domain
from mongo2pg.planning.besides import besides
from mongo2pg.planning.claim import claim, refuse_owned
from mongo2pg.planning.increments import passed_over, what_moves
from mongo2pg.planning.modes import DELETES, Request
from mongo2pg.planning.plan import CHUNK_BYTES, plan_domain, refuse_other_plan
from mongo2pg.settling.deletes import plan_deletes


def begin(
    database: Database[Any] | None,
    conn: Connection,
    run: RunKey,
    asked: Domain,
    request: Request,
    staging: RunStaging,
    alive: Callable[[str], bool],
    *,
    chunk_bytes: int = CHUNK_BYTES,
    scan_limit: int = SCAN_LIMIT,
    read_concern: str = LOCAL,
) -> list[Lot]:
    """Plans the run, makes that its present plan, and returns its lots; none of a run of deletes, which moves nothing.

    A replay has no `database`. Raises OwnedError as long as another run, `alive` by its id, is at the first load of a collection
    that was asked for; PrepareError, PermanentError or NothingToDoError where a collection has no complete first load yet and the
    request needs one. In all these cases, and of the collections that the run does not move in any, nothing is changed.
    """
    if request.mode == DELETES:
        plan_deletes(conn, asked, staging)
        return []
    refuse_owned(conn, run, asked, alive)
    if database is None:
        from mongo2pg.moving.replay import plan_replay  # with Arrow, which every other run plans without

        lots = plan_replay(conn, asked, staging)
        _take(conn, run, asked, staging, lots, alive)
        return lots
    moved, windows = what_moves(conn, asked, request, server_time(database))
    lots = plan_moves(
        *(database, conn, run, moved, windows, staging, alive),
        chunk_bytes=chunk_bytes, scan_limit=scan_limit, read_concern=read_concern,
    )  # fmt: skip
    books.write_checks(conn, run._replace(plan_id=lots[0]["plan_id"]), passed_over(asked, moved))
    return lots


def plan_moves(
    database: Database[Any],
    conn: Connection,
    run: RunKey,
    moved: Domain,
    windows: Mapping[str, Window],
    staging: RunStaging,
    alive: Callable[[str], bool],
    *,
    chunk_bytes: int = CHUNK_BYTES,
    scan_limit: int = SCAN_LIMIT,
    read_concern: str = LOCAL,
) -> list[Lot]:
    """The same, where it is known what moves: collections that `windows` does not name are read in full."""
    others = besides(database, conn, run, moved, windows, alive)
    lots = plan_domain(database, moved, staging, chunk_bytes, windows, scan_limit, read_concern, others)
    _take(conn, run, moved, staging, lots, alive)
    return lots


def _take(conn: Connection, run: RunKey, moved: Domain, staging: RunStaging, lots: list[Lot], alive: Callable[[str], bool]) -> None:
    planned = run._replace(plan_id=lots[0]["plan_id"])
    with conn.transaction():
        claim(conn, planned, moved, alive)
        refuse_other_plan(staging, planned.plan_id)  # under the locks of `claim`: what others plan from here on they claim later
        books.forget_checks(conn, planned)
