"""A dry run tells what a run would read and what of it would be rejected, and writes nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from deepiri.auth import AUTH
from mongo2pg.moving.rehearsal import rehearse
from mongo2pg.planning.modes import DRY_RUN, Request
from tests.documents import NOON, fill, skill_tree, user

HOUR = timedelta(hours=1)


@pytest.fixture
def conn(target: Any) -> Any:
    with target.connect() as conn:
        yield conn


def test_a_dry_run_foretells_rejects_misfits_and_drift_of_each_collection(mongo_database: Any, conn: Any) -> None:
    fill(
        mongo_database,
        users=[user(1, updatedAt=NOON), user(2, email=..., updatedAt=NOON), user(3, bio=7, nickname="Bo", updatedAt=NOON + HOUR)],
        skilltrees=[skill_tree(11, user(1)["_id"])],
    )
    mongo_database.drop_collection("socialconnections")
    everything = rehearse(mongo_database, conn, AUTH, Request(DRY_RUN))
    assert everything["tables_to_create"] == [table.name for table in AUTH.tables]
    assert everything["differences"] == []
    users, trees, connections = (everything["collections"][name] for name in ("users", "skilltrees", "socialconnections"))
    assert (users["scope"], users["documents"], users["sampled"], users["chunks"]) == ("full", 3, 3, 1)
    assert (users["rejected"], users["misfits"], users["drift"]) == ({"required": 1}, {"bio": 1}, ["nickname"])
    assert (trees["documents"], trees["rejected"]) == (1, {})
    assert (connections["documents"], connections["sampled"]) == (0, 0)
    assert conn.execute("SELECT to_regnamespace('migration'), to_regclass('public.users')").fetchone() == (None, None)

    window = rehearse(mongo_database, conn, AUTH, Request(DRY_RUN, NOON + HOUR, NOON + 2 * HOUR, lookback=timedelta(0)))
    users = window["collections"]["users"]
    assert (users["scope"], users["documents"], users["sampled"], users["rejected"]) == ("window", 1, 1, {})
