"""What a run reads of the books after years of runs: as much as on the first day."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from deepiri.auth import AUTH
from mongo2pg import books
from mongo2pg.books import RunKey
from mongo2pg.checks.differences import SHOWN
from mongo2pg.databases.window import Window
from mongo2pg.model import Domain
from mongo2pg.run import Run
from tests.documents import fill, oid, point, user, uuid_of
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


OPEN_REJECTS = """
    WITH kept AS (
        INSERT INTO migration.reject_documents SELECT sha256(n::text::bytea), '\\x0500000000' FROM generate_series(1, %s) n
        RETURNING sha256
    )
    INSERT INTO migration.rejects
        (domain, collection, document_id, path, element, bson_type, reason, document, run_id, plan_id, chunk, parent_id)
    SELECT 'auth', collection, to_jsonb(encode(sha256, 'hex')), 'userId', false, 'objectId', 'orphan', sha256, 'old', 'old', 0,
           gen_random_uuid()
    FROM kept, unnest(ARRAY['users', 'progresspoints']) AS collection
"""


def test_a_window_reads_no_document_of_an_orphan_whose_parent_is_missing_still(mover: Mover) -> None:
    mover.passed("first")
    aged(mover, OPEN_REJECTS)
    assert read_by_a_window(mover, "second")["reject_documents"] < FEW


def test_an_orphan_is_booked_with_the_id_of_its_parent(mover: Mover) -> None:
    mover.passed("first")
    mover.database.progresspoints.insert_one(point(2, oid(7), timestamp=datetime.now(UTC)))
    window(mover, "second")
    assert mover.column("SELECT parent_id::text FROM migration.rejects WHERE state = 'open'") == [uuid_of(7)]


def read_by_loading(mover: Mover, table: str, statement: str) -> int:
    """How many rows of a table of the books a window of one document reads when it is loaded, where the statement made many."""
    mover.passed("first")
    now = datetime.now(UTC)
    mover.database.users.update_one({"_id": oid(1)}, {"$set": {"bio": "new", "updatedAt": now}})
    run = mover.run("second")
    run.prepare()
    run.plan(moved={collection.name: Window(now - HOUR, now + HOUR) for collection in TWO.collections})
    run.extract()
    run.normalise()
    aged(mover, statement.replace("{plan_id}", run.key.plan_id))
    before = rows_read(mover)[table]
    run.load()
    return rows_read(mover)[table] - before


def test_a_chunk_is_loaded_without_a_look_at_the_rejects_of_others(mover: Mover) -> None:
    assert read_by_loading(mover, "rejects", OPEN_REJECTS) < FEW


HELD = """
    INSERT INTO migration.held (domain, collection, run_id, plan_id, document_id, root_id, table_name, row_image)
    SELECT 'auth', 'users', 'second', '{plan_id}', to_jsonb(n), md5(n::text)::uuid, 'users', '()' FROM generate_series(1, %s) n
"""


def test_a_chunk_is_loaded_without_a_look_at_what_its_own_plan_holds(mover: Mover) -> None:
    assert read_by_loading(mover, "held", HELD) < FEW


def test_of_what_was_left_behind_no_more_is_in_memory_than_a_window_reads(mover: Mover) -> None:
    mover.passed("first")
    aged(mover, HELD.replace("generate_series(1, %s)", "generate_series(1, 10 * %s)"))
    tracemalloc.start()
    found = books.left_behind(mover.conn, RunKey("auth", "third"), "users", "users", 10, lambda run_id: False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 10
    assert peak < 1 << 20


def test_the_report_counts_stale_rows_without_having_them_sent(mover: Mover) -> None:
    mover.passed("first")
    aged(
        mover,
        """
        INSERT INTO migration.stale (domain, collection, root_id, run_id)
        SELECT 'auth', 'users', md5(n::text)::uuid, 'old' FROM generate_series(1, 25 * %s) n
        """,
    )
    run = window(mover, "second")
    run.report()  # what is loaded and compiled for the first one is no matter of rows
    tracemalloc.start()
    report = run.report()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [each["stale"] for each in report["collections"]] == [25 * MANY, 0]
    assert peak < 5 << 20


def test_the_report_of_thousands_of_chunks_that_differ_can_be_read(mover: Mover) -> None:
    mover.passed("first")
    run = window(mover, "second")
    aged(
        mover,
        """
        INSERT INTO migration.checks (domain, run_id, check_name, subject, chunk, verdict, detail)
        SELECT 'auth', 'second', 'checksums', 'users', n, 'failed', 'differs' FROM generate_series(10, 9 + %s) n
        """,
    )
    report = run.report()
    assert (report["passed"], len(report["failures"]), report["more_failures"]) == (False, SHOWN, MANY - SHOWN)
    assert f"{MANY - SHOWN:,} more of the same checks" in (run.staging.folder / "report.html").read_text()
