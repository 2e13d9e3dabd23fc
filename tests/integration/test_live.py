"""The source read a second time: what was staged is what it has, but for what was written since."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from demo.postgres import PostgresLogin
from mongo2pg.checks import live as second
from mongo2pg.checks.live import is_live
from mongo2pg.documents.decode import split
from mongo2pg.files.staging import read_json, write_json
from mongo2pg.moving import extract
from mongo2pg.run import Run
from tests.documents import fill, oid, point, user
from tests.mover import Mover

ANN, BOB, CLEO, DAN = map(oid, range(1, 5))
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def mover(mongo_database: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path) -> Iterator[Mover]:
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path)


def live(run: Run) -> dict[str, tuple[str, dict[str, int]]]:
    """Verdict and counts other than zero, by collection, of a run in one chunk each."""
    return {check.subject: (check.verdict, {kind: n for kind, n in check.actual.items() if n}) for check in run.live()}


def test_documents_written_after_they_were_read_are_counted_by_what_their_change_keys_say(mover: Mover) -> None:
    fill(mover.database, users=[user(number) for number in range(1, 7)], progresspoints=[point(31, ANN, timestamp=LONG_AGO)])
    run = mover.move("first")
    assert live(run)["users"] == ("passed", {"same": 6})
    users, now = mover.database.users, datetime.now(UTC)
    users.update_one({"_id": ANN}, {"$set": {"name": "Ann", "updatedAt": now}})
    users.update_one({"_id": BOB}, {"$unset": {"updatedAt": ""}})
    users.delete_one({"_id": CLEO})
    users.insert_one({**user(7), "_id": ObjectId()})
    assert live(run)["users"] == ("passed", {"same": 3, "changed": 2, "untold": 1, "gone": 1, "new": 1})
    users.update_one({"_id": DAN}, {"$set": {"name": "Dan"}})
    users.insert_one(user(8))
    users.insert_one(user(9, updatedAt=...))
    users.insert_one(user(10, _id="ten", updatedAt=...))
    mover.database.progresspoints.insert_one(point(32, ANN, timestamp=LONG_AGO))
    (check, *_) = run.live()
    assert (check.check, check.subject, check.verdict) == ("live", "users", "failed")
    assert check.detail is not None
    assert f'{{"$oid":"{DAN}"}} has other bytes than those that were read' in check.detail
    for number in (8, 9):
        assert f'{{"$oid":"{oid(number)}"}} was not read' in check.detail
    assert '"ten"' not in check.detail
    assert check.actual == {"same": 2, "changed": 3, "new": 4, "gone": 1, "untold": 2}
    assert run.live()[3].verdict == "failed"


def test_a_reading_that_lost_or_changed_a_document_is_found_by_the_second_one(
    mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(mover.database, users=[user(number) for number in range(1, 5)])
    batches = extract._batches

    def faulty(*args: Any) -> Iterator[bytes]:
        for batch in batches(*args):
            yield bytes(batch).replace(b"Bio of 3", b"Bio of 8")

    monkeypatch.setattr(extract, "_batches", faulty)
    run = mover.move("first")
    assert {check.verdict for check in run.checksums()} == {"passed"}, "the rows are those of what was staged"
    assert live(run)["users"] == ("failed", {"same": 3, "changed": 1})


def test_a_document_that_the_second_reading_does_not_meet_is_asked_for(mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(mover.database, users=[user(number) for number in range(1, 5)])
    run = mover.move("first")
    batches = second._batches

    def without_two(*args: Any) -> Iterator[bytes]:
        for batch in batches(*args):
            yield b"".join(each for each in split(batch) if ANN.binary not in each and BOB.binary not in each)

    monkeypatch.setattr(second, "_batches", without_two)
    assert live(run)["users"] == ("passed", {"same": 4})
    mover.database.users.delete_one({"_id": ANN})
    assert live(run)["users"] == ("passed", {"same": 3, "gone": 1})
    mover.database.users.update_one({"_id": BOB}, {"$set": {"name": "Bob"}})
    assert live(run)["users"] == ("failed", {"same": 2, "gone": 1, "changed": 1})


def test_the_source_is_read_again_where_that_was_asked_for_or_costs_little(mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(mover.database, users=[user(1)])
    run = mover.move("first")
    staged = run.staging.collection(run.key.plan_id, "users")
    assert [is_live(choice, staged) for choice in ("auto", "live", "staged")] == [True, True, False]
    size = read_json(staged.plan)["estimated_bytes"]
    for limit, wanted in [(size, True), (size - 1, False)]:
        monkeypatch.setattr("mongo2pg.checks.live.LIVE_UP_TO", limit)
        assert is_live("auto", staged) is wanted
    write_json(staged.plan, {**read_json(staged.plan), "scope": "window"})
    assert [is_live(choice, staged) for choice in ("auto", "live", "staged")] == [False, True, False]
    write_json(staged.plan, {**read_json(staged.plan), "scope": "rejects"})
    assert [is_live(choice, staged) for choice in ("auto", "live", "staged")] == [False, False, False]
