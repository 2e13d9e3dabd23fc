"""What a run reads of the books after years of runs: as much as on the first day."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from deepiri.auth import AUTH
from mongo2pg.databases.window import Window
from mongo2pg.model import Domain
from mongo2pg.run import Run
from tests.documents import fill, oid, point, user
from tests.mover import Mover

HOUR = timedelta(hours=1)
# Rows of a table of the books that two windows may differ in (the twenty plans before are read), of which ageing adds many more.
FEW, MANY = 1_000, 4_000
TWO = Domain("auth", (AUTH.collection("users"), AUTH.collection("progresspoints")))


@pytest.fixture
def mover(mongo_database: Database[dict[str, Any]], target: Any, tmp_path: Path) -> Iterator[Mover]:
    fill(mongo_database, users=[user(1), user(2)], progresspoints=[point(1, oid(1))])
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path / "staging", TWO)


def window(mover: Mover, run_id: str) -> Run:
    """A window in which user 1 was changed, with all its checks."""
    now = datetime.now(UTC)
    mover.database.users.update_one({"_id": oid(1)}, {"$set": {"bio": run_id, "updatedAt": now}})
    run = mover.run(run_id)
    run.move(window=Window(now - HOUR, now + HOUR))
    report = run.verify()
    assert report["failures"] == []
    return run


def rows_read(mover: Mover) -> dict[str, int]:
    """How many rows of each table of the books were read so far, by whatever way."""
    mover.conn.execute("SELECT pg_stat_force_next_flush()")
    query = """
        SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables
        WHERE schemaname = 'migration'
    """
    return dict(mover.rows(query))


def read_by_a_window(mover: Mover, run_id: str) -> dict[str, int]:
    before = rows_read(mover)
    window(mover, run_id)
    return {table: count - before[table] for table, count in rows_read(mover).items()}


def aged(mover: Mover, statement: str) -> None:
    """Books of years, as one statement makes them (`%s`: of how many runs or entries), and as PostgreSQL's statistics know them."""
    mover.conn.execute(statement.encode(), (MANY,))
    for table in ("runs", "passes", "checks", "rejects", "reject_documents", "held", "stale", "cleared"):
        mover.conn.execute(f"ANALYZE migration.{table}".encode())


def reads_no_more_after(mover: Mover, statement: str) -> None:
    """A window reads no more of the books after the statement than it did before."""
    mover.passed("first")
    window(mover, "second")
    young = read_by_a_window(mover, "third")
    aged(mover, statement)
    old = read_by_a_window(mover, "fourth")
    assert {table: (young[table], count) for table, count in old.items() if count > young[table] + FEW} == {}


def test_a_window_reads_no_passes_of_years_ago(mover: Mover) -> None:
    reads_no_more_after(
        mover,
        """
        INSERT INTO migration.passes (domain, run_id, plan_id, collection, stage, chunk, read_time, read_until, read, committed_at)
        SELECT 'auth', 'old ' || n, md5(n::text), collection, stage, 0, at, at, 1, at
        FROM generate_series(1, %s) n, unnest(ARRAY['users', 'progresspoints']) AS collection,
            unnest(ARRAY['load', 'delete']) AS stage, LATERAL (SELECT now() - n * interval '1 hour' AS at) AS moment
        """,
    )


def test_a_window_reads_no_checks_of_years_ago(mover: Mover) -> None:
    reads_no_more_after(
        mover,
        """
        INSERT INTO migration.checks (domain, run_id, check_name, subject, chunk, verdict, expected, actual, checked_at)
        SELECT domain, 'old ' || n, check_name, subject, chunk, verdict, expected, actual, now() - n * interval '1 hour'
        FROM migration.checks, generate_series(1, %s) n WHERE run_id = 'third' AND subject IN ('users', 'progresspoints')
        """,
    )
