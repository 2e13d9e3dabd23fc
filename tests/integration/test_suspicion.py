"""A window that moved less than it seems goes red with the reason, although every sum closes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from deepiri.auth import AUTH
from mongo2pg import books
from mongo2pg.databases import window
from mongo2pg.databases.source import server_time
from mongo2pg.files.staging import read_json
from mongo2pg.model import Domain
from mongo2pg.planning import plan
from mongo2pg.planning.modes import INCREMENTAL, WINDOW, Request
from mongo2pg.run import Run
from tests.documents import NOON, fill, user
from tests.mover import Mover

HOUR = timedelta(hours=1)


@pytest.fixture
def mover(mongo_database: Database[dict[str, Any]], target: Any, tmp_path: Path) -> Iterator[Mover]:
    fill(mongo_database)
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path / "staging", Domain("auth", (AUTH.collection("users"),)))
        mover.passed("first")
        yield mover


def moved(mover: Mover, run_id: str, start: datetime, end: datetime) -> Run:
    run = mover.run(run_id)
    run.follow(Request(WINDOW, start, end, lookback=timedelta(0)))
    return run


def reason(run: Run) -> str | None:
    """Why the run's check `progress` failed; None where it passed."""
    report = run.verify()
    (check,) = [check for check in books.read_checks(run.conn, run.key) if check.check == "progress"]
    assert report["passed"] is (check.verdict == "passed")
    return check.detail


def test_a_change_key_that_no_document_has_is_a_mistyped_one(mover: Mover) -> None:
    users = [user(number, createdAt=..., updatedAt=...) for number in range(1, 22)]
    fill(mover.database, users=users[:20])
    assert reason(moved(mover, "few have none", NOON - HOUR, NOON + HOUR)) is None
    fill(mover.database, users=users)
    said = "no document has a date in updatedAt, the declared change key: windows see none of their changes"
    assert reason(moved(mover, "nobody has one", NOON - HOUR, NOON + HOUR)) == said
    mover.database.users.update_one({}, {"$set": {"updatedAt": NOON - 2 * HOUR}})
    assert reason(moved(mover, "one has", NOON - HOUR, NOON + HOUR)) is None


def test_a_window_that_reads_nothing_while_the_source_has_newer_documents_pp_26(
    mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(mover.database, users=[user(1, updatedAt=NOON)])
    assert reason(moved(mover, "all is well", NOON - HOUR, NOON + HOUR)) is None
    # As the mover of another project had it: dates were compared as texts, nothing was found, the run was green.
    for module in (plan, window):
        monkeypatch.setattr(module, "in_range", lambda collection, low, high: {"updatedAt": {"$gte": str(low), "$lt": str(high)}})
    assert reason(moved(mover, "as text", NOON - HOUR, NOON + HOUR)) == (
        "no document was read, and the source has one of 2025-03-14T12:00:00.123000+00:00"
    )


def test_an_array_of_later_dates_hides_no_newer_document(mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(mover.database, users=[user(1, updatedAt=NOON), user(2, updatedAt=[NOON + HOUR / 2])])
    mover.database.users.create_index([("updatedAt", 1)])
    monkeypatch.setattr(plan, "in_range", lambda collection, low, high: {"updatedAt": {"$gte": str(low), "$lt": str(high)}})
    monkeypatch.setattr(window, "in_range", plan.in_range)
    assert reason(moved(mover, "as text", NOON - HOUR, NOON + HOUR)) == (
        "no document was read, and the source has one of 2025-03-14T12:00:00.123000+00:00"
    )


def test_a_window_of_before_there_were_object_ids(mover: Mover) -> None:
    domain = Domain("auth", (replace(AUTH.collection("users"), change_key="_id"),))
    mover.domain = domain
    mover.passed("full")
    assert reason(moved(mover, "long ago", datetime(1960, 1, 1, tzinfo=UTC), datetime(1961, 1, 1, tzinfo=UTC))) is None


def test_the_same_documents_again_while_the_source_moved_on_pp_33(mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(mover.database, users=[user(number, updatedAt=NOON + number * HOUR) for number in range(4)])
    assert reason(moved(mover, "one", NOON, NOON + 2 * HOUR)) is None
    # Idle, or a window that is moved once more: nothing to suspect.
    assert reason(moved(mover, "again", NOON, NOON + 2 * HOUR)) is None
    real = plan.plan_window

    def stuck(database: Any, collection: Any, plan_id: str, moved: window.Window, *arguments: Any) -> dict[str, Any]:
        """Reads the first window for ever, and says otherwise."""
        made = real(database, collection, plan_id, window.Window(NOON, NOON + 2 * HOUR), *arguments)
        return {**made, "window": {"start": (NOON + 2 * HOUR).isoformat(), "end": (NOON + 4 * HOUR).isoformat(), "lookback": 0}}

    monkeypatch.setattr(plan, "plan_window", stuck)
    found = reason(moved(mover, "stuck", NOON + 2 * HOUR, NOON + 4 * HOUR))
    assert found
    assert found.startswith("the same 2 documents were read as by the window before, which ended at 2025-03-14T14:00:00.123000")


def test_the_same_documents_again_because_each_was_written_again(mover: Mover) -> None:
    for hour in range(1, 4):
        fill(mover.database, users=[user(number, updatedAt=NOON + hour * HOUR, name=f"hour {hour}") for number in range(2)])
        assert reason(moved(mover, f"hour {hour}", NOON + hour * HOUR, NOON + (hour + 1) * HOUR)) is None
    assert mover.column("SELECT name FROM users") == ["hour 3", "hour 3"]


def test_a_document_that_was_written_with_an_earlier_time_after_the_reading(mover: Mover) -> None:
    run = mover.run("late writer")
    run.follow(Request(INCREMENTAL))
    end = read_json(run.staging.collection(run.key.plan_id, "users").plan)["window"]["end"]
    sign_up(mover, 1, datetime.fromisoformat(end) - timedelta(milliseconds=1))
    assert reason(run) is None


def test_a_watermark_that_stands_still_while_the_source_moves_pp_33(mover: Mover) -> None:
    (mark,) = mover.column("SELECT watermark FROM migration.collections")
    sign_up(mover, 1)
    run = mover.run("moves")
    run.follow(Request(INCREMENTAL))
    assert reason(run) is None
    # Something sets it back between settle and the checks.
    mover.conn.execute("UPDATE migration.collections SET watermark = %s", (mark,))
    assert "the watermark stands at" in str(reason(run))


def test_a_clock_of_the_source_that_is_a_little_behind_the_watermark_pp_33(mover: Mover) -> None:
    """By less than the lookback: further ahead no run begins."""
    mover.conn.execute("UPDATE migration.collections SET watermark = watermark + interval '5 minutes'")
    idle = mover.run("idle")
    idle.follow(Request(INCREMENTAL))
    assert reason(idle) is None
    fill(mover.database, users=[user(1, updatedAt=datetime.fromisoformat(server_time(mover.database)) + 2 * HOUR)])
    run = mover.run("behind")
    run.follow(Request(INCREMENTAL))
    assert "which the source's own clock" in str(reason(run))


def test_a_share_of_rejects_that_jumps(mover: Mover) -> None:
    fill(mover.database, users=[user(number, updatedAt=NOON) for number in range(5_000)])
    assert reason(moved(mover, "clean", NOON, NOON + HOUR)) is None
    bad = [user(10_000 + number, updatedAt=NOON + HOUR, email=None) for number in range(25)]
    fill(mover.database, users=[*(user(5_000 + number, updatedAt=NOON + HOUR) for number in range(4_000)), *bad])
    run = moved(mover, "dirty", NOON + HOUR, NOON + 2 * HOUR)
    # Far below the limit for all rejects, and far above what this collection ever had.
    assert reason(run) == "0.62% of the documents were rejected, in the runs before 0.00%: look at what changed at the source"


def sign_up(mover: Mover, number: int, changed: datetime | None = None) -> None:
    """A user who is made now, as the source's clock or the service's has it."""
    moment = changed or datetime.fromisoformat(server_time(mover.database))
    mover.database.users.insert_one(user(number, _id=ObjectId(), createdAt=moment, updatedAt=moment))
