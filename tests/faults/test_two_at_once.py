"""A task and its own retry at once: the first one lives on, cut off from Airflow, while the second does the same work."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import psycopg
import pytest

from deepiri.auth import AUTH
from mongo2pg import books
from mongo2pg.books import Check, RunKey
from mongo2pg.errors import StagingError, TransientError
from mongo2pg.run import STAGES, Run
from tests.documents import fill, user, uuid_of
from tests.faults.grounds import Ground, outcome
from tests.faults.tasks import perform, perform_from
from tests.mover import Mover


@contextmanager
def the_first_stops(
    patch: pytest.MonkeyPatch, place: str, *, after: bool = False
) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Whoever calls the function first waits before it, or after it: it sets one event and waits for the other."""
    waits, goes_on = threading.Event(), threading.Event()
    function: Callable[..., Any] = resolve_name(place)

    def slow(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named) if after else None
        if not waits.is_set():
            waits.set()
            assert goes_on.wait(60)
        return result if after else function(*arguments, **named)

    patch.setattr(place, slow)
    try:
        yield waits, goes_on
    finally:
        goes_on.set()


def stopped_before_its_first_commit(patch: pytest.MonkeyPatch) -> AbstractContextManager[tuple[threading.Event, threading.Event]]:
    """The first thread that has copied rows of a chunk waits before it commits."""
    return the_first_stops(patch, "mongo2pg.books.record_pass")


def stopped_while_it_writes(patch: pytest.MonkeyPatch) -> AbstractContextManager[tuple[threading.Event, threading.Event]]:
    """The first thread that has written a batch of a file, which is written as a table, too, waits before it goes on."""
    return the_first_stops(patch, "pyarrow.parquet.ParquetWriter.write_table", after=True)


def waiting_for_a_lock(target: str) -> bool:
    with psycopg.connect(target, autocommit=True) as conn:
        row = conn.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
        return bool(row and row[0])


def test_a_load_and_its_retry_at_once_load_the_chunk_once(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    with ground.job() as job, ThreadPoolExecutor(2) as threads:
        for task in ("prepare", "plan", "extract", "normalise"):
            perform(job, task)
        with stopped_before_its_first_commit(monkeypatch) as (waits, goes_on):
            first = threads.submit(perform, job, "load")
            assert waits.wait(60)
            retry = threads.submit(perform, job, "load")
            while not waiting_for_a_lock(job.target):
                assert not retry.done()
            goes_on.set()
            first.result(60)
            retry.result(60)
        perform_from(job, "delete")
        assert outcome(job) == ground.clean.outcome


def test_a_load_that_waited_while_another_run_claimed_the_first_load_writes_nothing(first_load: Ground) -> None:
    with first_load.job() as job, ThreadPoolExecutor(1) as threads:
        for task in ("prepare", "plan", "extract", "normalise"):
            perform(job, task)
        with psycopg.connect(job.target, autocommit=True) as conn:
            with conn.transaction():
                for collection in AUTH.collections:
                    books.lock_collection(conn, "auth", collection.name)
                late = threads.submit(perform, job, "load")
                while not waiting_for_a_lock(job.target):
                    assert not late.done()
                for collection in AUTH.collections:
                    books.set_phase(conn, RunKey("auth", "another run", "its plan"), collection.name, "bulk")
            with pytest.raises(StagingError, match="belongs to run another run"):
                late.result(60)
            for table in AUTH.tables:
                assert conn.execute(f"SELECT count(*) FROM public.{table.name}".encode()).fetchone() == (0,)


@pytest.mark.parametrize("task", ["extract", "normalise"])
def test_two_attempts_that_write_the_same_files_at_once_never_write_into_each_others(
    first_load: Ground, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    with first_load.job() as job, ThreadPoolExecutor(1) as threads:
        for each in STAGES[: STAGES.index(task)]:
            perform(job, each)
        with stopped_while_it_writes(monkeypatch) as (waits, goes_on):
            first = threads.submit(perform, job, task)
            assert waits.wait(60)
            perform(job, task)
            goes_on.set()
        first.result(60)
        perform_from(job, STAGES[STAGES.index(task) + 1])
        assert outcome(job) == first_load.clean.outcome


def test_an_attempt_that_ends_after_its_retry_leaves_what_that_one_read(
    mongo_database: Any, target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(mongo_database, users=[user(1, name="as the first attempt read it")])
    with target.connect() as conn, ThreadPoolExecutor(1) as threads:
        mover = Mover(mongo_database, conn, tmp_path)
        run = mover.run("run")
        run.prepare()
        run.plan()
        with stopped_while_it_writes(monkeypatch) as (waits, goes_on):
            first = threads.submit(run.extract)
            assert waits.wait(60)
            mongo_database.users.update_one({}, {"$set": {"name": "as the retry read it"}})
            run.extract()
            run.normalise()
            run.load()
            goes_on.set()
        first.result(60)
        run.carry("delete")
        assert run.verify()["failures"] == []
        assert mover.column("SELECT name FROM users") == ["as the retry read it"]
        # A run that reads the document later looks at what this one read.
        mover.passed("another run")


@pytest.mark.parametrize("place", ["mongo2pg.planning.plan.write_pointer", "mongo2pg.begin.claim"])
def test_a_plan_that_is_made_late_takes_nothing_from_its_retry_s(
    ground: Ground, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    with ground.job() as job, ThreadPoolExecutor(1) as threads:
        perform(job, "prepare")
        with the_first_stops(monkeypatch, place) as (waits, _):
            first = threads.submit(perform, job, "plan")
            assert waits.wait(60)
            for task in ("plan", "extract", "normalise", "load"):
                perform(job, task)
        with pytest.raises(TransientError, match="another attempt has made a plan"):
            first.result(60)
        perform_from(job, "delete")
        assert outcome(job) == ground.clean.outcome


def plan_and_reconcile(run: Run) -> Iterator[None]:
    run.prepare_reconcile(repair=False)
    run.plan_reconcile()
    yield
    run.compare()
    run.rows()


def plan_and_delete(run: Run) -> Iterator[None]:
    run.plan_delete()
    yield
    run.delete()


@pytest.mark.parametrize(
    ("place", "steps"),
    [("mongo2pg.planning.plan.write_pointer", plan_and_reconcile), ("mongo2pg.settling.deletes.write_pointer", plan_and_delete)],
)
def test_a_plan_whose_end_is_late_leaves_what_its_retry_has_checked(
    mongo_database: Any,
    target: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    steps: Callable[[Run], Iterator[None]],
) -> None:
    fill(mongo_database, users=[user(1)])
    with target.connect() as conn, target.connect() as other, ThreadPoolExecutor(1) as threads:
        users = AUTH.only(["users"])
        Mover(mongo_database, conn, tmp_path, users).move("full")
        one, retry = (Mover(mongo_database, each, tmp_path, users).run("later") for each in (conn, other))
        with the_first_stops(monkeypatch, place, after=True) as (waits, _):
            first = threads.submit(next, steps(one))
            assert waits.wait(60)
            assert list(steps(retry)) == [None]
        with pytest.raises(TransientError, match="another attempt has made a plan"):
            first.result(60)
        assert retry.report()["failures"] == []


def test_a_gate_that_ends_after_its_retry_leaves_one_report_and_it_is_what_the_checks_say(
    mongo_database: Any, target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(mongo_database, users=[user(1)])
    with target.connect() as conn, target.connect() as other, ThreadPoolExecutor(2) as threads:
        users = AUTH.only(["users"])
        run = Mover(mongo_database, conn, tmp_path, users).move("run")
        run.verify()
        retry = Mover(mongo_database, other, tmp_path, users).run("run")
        retry.resume()
        with the_first_stops(monkeypatch, "mongo2pg.verdict.certificate.write", after=True) as (waits, goes_on):
            first = threads.submit(run.report)
            assert waits.wait(60)
            books.write_checks(other, run.key, [Check("limits", "users", "failed")])
            second = threads.submit(retry.report)
            while not waiting_for_a_lock(target.conninfo) and not second.done():
                pass
            goes_on.set()
        assert (first.result(60)["passed"], second.result(60)["passed"]) == (True, False)
        booked = conn.execute("SELECT state, report_sha256 FROM migration.runs WHERE run_id = 'run'").fetchone()
        assert booked == ("failed", hashlib.sha256((run.staging.folder / "report.json").read_bytes()).hexdigest())


def test_a_comparison_that_ends_after_its_retry_leaves_that_one_s_word(
    mongo_database: Any, target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(mongo_database, users=[user(1), user(2)])
    with target.connect(autocommit=True) as conn, target.connect(autocommit=True) as other, ThreadPoolExecutor(1) as threads:
        users = AUTH.only(["users"])
        Mover(mongo_database, conn, tmp_path, users).passed("full")
        one, retry = (Mover(mongo_database, each, tmp_path, users).run("reconcile") for each in (conn, other))
        one.prepare_reconcile()
        one.plan_reconcile()
        retry.resume()
        with the_first_stops(monkeypatch, "mongo2pg.reconciling.reconcile.Reconciler._checks", after=True) as (waits, _):
            first = threads.submit(one.compare)
            assert waits.wait(60)
            other.execute("UPDATE public.users SET name = 'somebody else' WHERE email = 'user1@example.com'")
            retry.compare()
        first.result(60)
        verdicts = {check.subject: check.verdict for check in books.read_checks(conn, one.key) if check.check == "reconcile"}
        assert verdicts == {table.name: "failed" if table.name == "users" else "passed" for table in users.tables}
        with the_first_stops(monkeypatch, "mongo2pg.reconciling.reconcile.find_gone", after=True) as (waits, _):
            first = threads.submit(one.rows)
            assert waits.wait(60)
            other.execute("INSERT INTO public.users (id, email) VALUES (%s, 'nobody@example.com')", (uuid_of(99),))
            retry.rows()
        first.result(60)
        retry.repair()
        assert retry.report()["failures"] == []
        query = "SELECT count(*) FROM public.users WHERE name = 'somebody else' OR email LIKE 'nobody@%'"
        assert other.execute(query).fetchone() == (0,)
