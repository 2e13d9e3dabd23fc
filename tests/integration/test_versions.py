"""Which version of a document wins, whatever the order in which overlapping windows are loaded: the one that was read later."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from deepiri.auth import AUTH
from mongo2pg.databases.window import Window
from mongo2pg.model import Domain
from mongo2pg.run import Run
from tests.documents import NOON, fill, oid, user, uuid_of
from tests.mover import Mover, counts

HOUR = timedelta(hours=1)
WINDOWS = [Window(NOON, NOON + 2 * HOUR), Window(NOON + HOUR, NOON + 3 * HOUR), Window(NOON - HOUR, NOON + 4 * HOUR)]


@pytest.fixture
def mover(mongo_database: Database[dict[str, Any]], target: Any, tmp_path: Path) -> Iterator[Mover]:
    fill(mongo_database)
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path / "staging", Domain("auth", (AUTH.collection("users"),)))


def staged(mover: Mover, run_id: str, moved: Window | None) -> Run:
    """A run whose documents are read, and nothing of it is loaded."""
    run = mover.run(run_id)
    run.prepare()
    run.plan(moved={"users": moved} if moved else None)
    run.extract()
    run.normalise()
    return run


def write(mover: Mover, number: int, **fields: Any) -> None:
    """User `number` with these fields and no other change."""
    mover.database.users.update_one({"_id": oid(number)}, {"$set": fields})


# What the change key of a document may do from one reading to the next.
KEYS: dict[str, list[Any]] = {
    "raised": [NOON + HOUR, NOON + 1.5 * HOUR, NOON + 1.8 * HOUR],
    "equal": [NOON + HOUR] * 3,
    "lowered": [NOON + 1.8 * HOUR, NOON + 1.5 * HOUR, NOON + HOUR],
    "null at first": [None, NOON + HOUR, NOON + 1.5 * HOUR],
    "out of every other window": [NOON, NOON + 2 * HOUR, NOON + 3.5 * HOUR],
}


@pytest.mark.parametrize("keys", KEYS.values(), ids=KEYS)
def test_overlapping_windows_end_in_the_same_rows_in_every_order_of_loading(mover: Mover, keys: list[Any]) -> None:
    fill(mover.database, users=[user(number, updatedAt=NOON + HOUR) for number in range(1, 4)])
    mover.passed("full")
    for attempt, order in enumerate(itertools.permutations(range(3))):
        runs = []
        for turn, key in enumerate(keys):
            # Each reading sees another version; one user changes every time, one once, one never.
            write(mover, 1, name=f"version {attempt}.{turn}", updatedAt=key)
            if turn == 1:
                write(mover, 2, name=f"version {attempt}", roles=["writer"] * (attempt % 2), updatedAt=key)
            runs.append(staged(mover, f"{order} {turn}", WINDOWS[turn]))
        for turn in order:
            runs[turn].load()
            runs[turn].settle()
        assert mover.column("SELECT name FROM users ORDER BY id") == [f"version {attempt}.2", f"version {attempt}", "User 3"], order
        assert mover.column("SELECT role FROM user_roles WHERE user_id = %s", uuid_of(2)) == ["writer"] * (attempt % 2)
        for run in runs:
            counts(run)


def test_a_chunk_whose_documents_nobody_else_read_is_not_read_again(mover: Mover) -> None:
    fill(mover.database, users=[user(1, updatedAt=NOON), user(2, updatedAt=NOON + 2 * HOUR)])
    mover.passed("full")
    early, late = staged(mover, "early", Window(NOON, NOON + HOUR)), staged(mover, "late", Window(NOON + HOUR, NOON + 3 * HOUR))
    late.load()
    write(mover, 1, name="newer")
    early.load()
    assert mover.column("SELECT name FROM users ORDER BY id") == ["User 1", "User 2"]


def test_a_full_run_that_was_read_before_a_window_does_not_undo_it(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2)])
    mover.passed("full")
    full = staged(mover, "again", None)
    write(mover, 1, name="newer", roles=[], updatedAt=NOON)
    window = mover.run("window")
    window.move(window=Window(NOON, NOON + HOUR))
    full.carry("load")
    assert mover.column("SELECT name FROM users ORDER BY id") == ["newer", "User 2"]
    assert mover.column("SELECT role FROM user_roles WHERE user_id = %s", uuid_of(1)) == []
    counts(window)
    counts(full)


def test_a_replay_does_not_bring_back_what_a_window_has_replaced(mover: Mover) -> None:
    fill(mover.database, users=[user(1, email=None), user(2)])
    mover.passed("full")
    assert len(mover.rejects()) == 1
    replay = mover.run("replay")
    replay.stage_replay()
    write(mover, 1, email="late@example.com", name="newer", updatedAt=NOON)
    mover.run("window").move(window=Window(NOON, NOON + HOUR))
    replay.load()
    replay.settle()
    assert mover.column("SELECT name FROM users ORDER BY id") == ["newer", "User 2"]
    assert mover.rejects() == set()
    counts(replay)


def test_a_second_reading_that_was_interrupted_is_made_again(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2)])
    mover.passed("full")
    run = staged(mover, "interrupted", None)
    run.staging.collection(run.key.plan_id, "users").manifest(0).unlink()
    write(mover, 1, name="newer")
    run.carry("load")
    counts(run)
