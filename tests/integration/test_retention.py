"""Staged files of runs long ago go; what later runs ask for stays, and so do the reports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from deepiri.auth import AUTH
from mongo2pg.databases.window import Window
from mongo2pg.files.retention import remove_staged
from mongo2pg.files.staging import RunStaging, remove_folder
from mongo2pg.model import Domain
from tests.documents import NOON, fill, oid, user
from tests.mover import Mover, outcome

README = Path(__file__).parents[2] / "README.md"
WINDOW = Window(NOON - timedelta(days=1), NOON + timedelta(days=1))


@pytest.fixture
def mover(mongo_database: Database[dict[str, Any]], target: Any, tmp_path: Path) -> Iterator[Mover]:
    fill(mongo_database, users=[user(1, updatedAt=NOON), user(2, email=..., updatedAt=NOON)])
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path / "staging", Domain("auth", (AUTH.collection("users"),)))


def removed(mover: Mover, alive: str = "") -> list[str]:
    """The runs of which what they staged more than 30 days ago is gone now, while one is under way."""
    return remove_staged(mover.conn, "auth", mover.staging, 30, lambda run_id: run_id == alive)


def left_by(mover: Mover, run_id: str) -> set[str]:
    return {each.name for each in RunStaging(mover.staging, "auth", run_id).folder.iterdir()}


def test_what_old_runs_staged_goes_and_their_reports_and_the_last_full_reading_stay(mover: Mover) -> None:
    mover.passed("first")
    mover.passed("second")
    window = mover.run("window")
    window.move(window=WINDOW)
    assert window.verify()["passed"]
    mover.run("begun").prepare()
    mover.conn.execute("UPDATE migration.runs SET finished_at = now() - interval '29 days'")
    assert removed(mover) == []
    mover.conn.execute("UPDATE migration.runs SET finished_at = now() - interval '31 days' WHERE run_id <> 'begun'")
    assert sorted(removed(mover)) == ["first", "window"]
    reports = {"plan.json", "report.json", "report.html"}
    assert left_by(mover, "first") == left_by(mover, "window") == reports
    assert left_by(mover, "second") > reports
    assert removed(mover) == []
    assert outcome(mover.passed("third")["users"]) == (2, 0, 0, 1, {"required": 1})
    # Now another one is the last full reading.
    assert removed(mover) == ["second"]


def test_what_a_run_staged_that_was_given_up_long_ago_goes_and_what_one_that_is_under_way_stays(mover: Mover) -> None:
    mover.passed("first")
    for run_id in ("given-up", "under-way"):
        mover.staged(run_id)
    assert removed(mover, "under-way") == []
    mover.conn.execute("UPDATE migration.runs SET started_at = now() - interval '31 days' WHERE run_id <> 'first'")
    assert removed(mover, "under-way") == ["given-up"]
    assert left_by(mover, "given-up") == {"plan.json"}
    assert left_by(mover, "under-way") > {"plan.json"}


def test_a_run_that_is_called_as_the_folder_above_takes_no_other_along(mover: Mover) -> None:
    mover.passed("..")  # Airflow takes it
    mover.passed("second")
    mover.conn.execute("UPDATE migration.runs SET finished_at = now() - interval '31 days'")
    assert removed(mover) == [".."]
    assert left_by(mover, "second") > {"plan.json", "report.json", "report.html"}


def test_a_run_that_is_cleared_and_begins_again_stages_anew_what_may_go_later(mover: Mover) -> None:
    for run_id in ("first", "second"):
        mover.passed(run_id)
    mover.conn.execute("UPDATE migration.runs SET finished_at = now() - interval '31 days'")
    assert removed(mover) == ["first"]
    mover.passed("first")
    mover.conn.execute("UPDATE migration.runs SET finished_at = now() - interval '31 days'")
    assert removed(mover) == ["second"]


def test_a_run_that_is_judged_again_blames_no_row_on_a_window_whose_files_are_gone(mover: Mover) -> None:
    run = mover.move("full")
    fill(mover.database, users=[user(3, updatedAt=NOON)])
    window = mover.run("window")
    window.move(window=WINDOW)
    for folder in window.staging.plan_folders():
        remove_folder(folder)
    counted = {(check.check, check.subject): check for check in run.row_counts()}
    assert counted["row_counts", "users"].verdict == "passed"
    assert counted["row_counts", "users"].actual["changes_of_other_runs"]


def test_the_readme_s_statements_remove_old_closed_rejects_and_their_documents_alone(mover: Mover) -> None:
    mover.passed("first")
    mover.database.users.update_one({"_id": oid(2)}, {"$set": {"email": "2@example.com"}})
    fill(mover.database, users=[user(3, email=...)])
    mover.passed("second")
    (statements,) = re.findall(r"```sql\n(DELETE FROM migration\.rejects.*?)```", README.read_text(), re.DOTALL)
    documents = "SELECT count(*) FROM migration.reject_documents"
    mover.conn.execute(statements.encode())
    assert (len(mover.rejects("resolved") | mover.rejects("superseded")), mover.column(documents)) == (1, [2])
    mover.conn.execute("UPDATE migration.rejects SET closed_at = closed_at - interval '2 years'")
    mover.conn.execute(statements.encode())
    assert (len(mover.rejects("resolved") | mover.rejects("superseded")), mover.column(documents)) == (0, [1])
    assert len(mover.rejects()) == 1
