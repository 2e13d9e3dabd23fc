"""Judges what no chunk could judge alone, once all chunks are in: references, unique keys and ids that two documents share.

The order in which chunks, runs or domains came plays no part. A required reference to a row that is not there takes its
document (or its array element) to the rejects; an optional one becomes NULL and the original stays in `extra`. Of
documents that claim one unique slot the smallest `_id` in BSON order wins. After a first load the keys, constraints and
indexes are built here. Everything happens in one transaction: a settle that is killed has not happened.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import Rollback, sql
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Connection, RunKey
from mongo2pg.databases.source import server_time
from mongo2pg.errors import StagingError
from mongo2pg.files.planned import FULL, WINDOW
from mongo2pg.files.staging import RunStaging, read_json
from mongo2pg.model import Domain, Table
from mongo2pg.queries import comma, target
from mongo2pg.settling.places import Deletion, Loser, Named, Outcome, beside, lock_places
from mongo2pg.settling.settle_rounds import Settler
from mongo2pg.settling.shared_ids import hold_loaded_twins, judge_shared_ids
from mongo2pg.target import schema

# 6,000 rows show how few or many values a key has, and where its ranges lie to a twentieth of the table; the default of 100 reads
# 30,000, a tenth of the time that settling a small first load takes.
STATISTICS = 20


def settle_domain(
    database: Database[Any] | None,
    conn: Connection,
    run: RunKey,
    domain: Domain,
    staging: RunStaging,
    neighbours: Sequence[Domain] = (),
) -> dict[str, Outcome]:
    """Settles every collection of the domain and returns, per collection, what changed; harmless when it runs again.

    `neighbours` are the other domains of the target. Where their rows refer to rows of this domain, they are judged too
    as soon as both sides are complete, and the foreign keys between them are built. A row that must go although this run did not
    read its document is rejected with the document as the `database` has it now; a replay, which has none, raises PermanentError.
    """
    started = time.monotonic()
    everyone = [domain, *beside(domain, neighbours)]
    with conn.transaction():
        lock_places(conn, everyone)
        _check_loaded(conn, run, domain, staging)
        settler = _judged(lambda: Settler(conn, run, domain, staging, everyone, database))
        settler.clear_dangling_options()
        settler.apply()
        loaded = {table.name for table in domain.tables}
        schema.build_post_data(conn, [each for each in everyone if each is domain or settler.knows(each)], loaded)
        settler.resolve_rejects()
        settler.record([place for place in settler.places.values() if place.own or place.outcome != Outcome()], started)
        if database is not None and (told := [place for place in settler.places.values() if place.deletion != Deletion()]):
            settler.record_deletions(told, server_time(database), started)
        plans = {place.collection.name: read_json(place.staging.plan) for place in settler.own}
        books.complete(conn, run, {name: plan["fingerprint"] for name, plan in plans.items() if plan["scope"] == FULL})
        for name, plan in plans.items():
            _move_watermark(conn, run, name, plan)
    _analyze(conn, [table for place in settler.own if place.bulk for table in place.collection.tables])
    return {
        place.collection.name: place.outcome
        for place in settler.places.values()
        if place.own or place.outcome != Outcome() or place.deletion != Deletion()
    }


def _judged(begin: Callable[[], Settler]) -> Settler:
    """A settler that has judged everything. Who won an id and is rejected for something else leaves that id to others: then all is
    judged anew without him."""
    unfit: dict[Named, Loser] = {}
    while True:
        settler = begin()
        with settler.conn.transaction() as attempt:
            hold_loaded_twins(settler, settler.own)
            settler.staying = judge_shared_ids(settler, settler.holding, unfit) - unfit.keys()
            settler.open_held(settler.holding)
            settler.judge()
            if not settler.fallen:
                return settler
            raise Rollback(attempt)
        unfit |= settler.fallen


def _analyze(conn: Connection, tables: Sequence[Table]) -> None:
    """Statistics of what joins and looks up, for the checks that follow: of part of the rows that PostgreSQL would look at.

    Where only some columns were looked at, autovacuum still holds the table for one that nobody has analyzed, and sees to all of
    them in its own time.
    """
    if not tables:
        return
    each = [sql.SQL("{} ({})").format(target(table.name), comma(map(sql.Identifier, _keys(table)))) for table in tables]
    with conn.transaction():
        conn.execute("SELECT set_config('default_statistics_target', %s, true)", (str(STATISTICS),))
        conn.execute(sql.SQL("ANALYZE {}").format(comma(each)))


def _keys(table: Table) -> list[str]:
    """The columns of the table's keys, references and indexes."""
    wanted = {"id", *itertools.chain.from_iterable(table.unique)}
    return [column.name for column in table.columns if column.name in wanted or column.references]


def _check_loaded(conn: Connection, run: RunKey, domain: Domain, staging: RunStaging) -> None:
    """What is not loaded cannot be settled: the watermark would pass over it."""
    loaded, mixed = books.loaded_chunks(conn, run), books.loaded_otherwise(conn, run)
    phases = books.phases(conn, run.domain, [collection.name for collection in domain.collections])
    for name, (phase, owner_run, owner_plan) in phases.items():
        plan, declared = read_json(staging.collection(run.plan_id, name).plan), domain.collection(name).fingerprint
        if plan.get("fingerprint", declared) != declared:
            raise StagingError(f"{name} was loaded by another declaration than the present one; clear the task `plan`")
        if name in mixed:
            raise StagingError(f"another run loaded {name} by another declaration meanwhile; clear the task `plan`")
        missing = set(range(len(plan["bounds"]))) - loaded.get(name, set())
        if missing:
            raise StagingError(
                f"{name}: chunk {min(missing)} of the present plan is not loaded; clear the failed tasks of this run, or, where "
                "none failed but this one, the task `plan` with all that follows"
            )
        if phase == "bulk" and (owner_run, owner_plan) != (run.run_id, run.plan_id):
            raise StagingError(f"the first load of {name} belongs to run {owner_run}; clear the task `plan`")


def _move_watermark(conn: Connection, run: RunKey, collection: str, plan: Mapping[str, Any]) -> None:
    """To the end of the window, or to when the plan was made: what is written later may have been read, or not."""
    if plan["scope"] == FULL:
        books.move_watermark(conn, run, collection, None, plan["planned_at"])
    elif plan["scope"] == WINDOW:
        end = min(plan["window"]["end"], plan["planned_at"], key=datetime.fromisoformat)
        books.move_watermark(conn, run, collection, plan["window"]["start"], end)
