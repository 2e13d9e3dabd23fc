"""A source that is written all the time is followed by windows: what they miss is what the documentation says, and no more."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from deepiri.auth import AUTH
from mongo2pg.files.staging import read_json
from mongo2pg.model import Domain
from mongo2pg.planning.modes import INCREMENTAL, Request
from mongo2pg.run import Run
from tests.documents import NOON, fill, oid, user
from tests.mover import Mover, counts

WINDOWS, USERS = 5, 60


class Writer(threading.Thread):
    """Inserts, changes and deletes users at random until it is stopped; `silent` are those last changed behind the change key."""

    def __init__(self, database: Database[Any], chance: random.Random) -> None:
        super().__init__()
        self.users, self.chance = database.users, chance
        self.there = [oid(number) for number in range(1, USERS)]
        self.gone: list[ObjectId] = []
        self.silent: set[ObjectId] = set()
        self.numbers = iter(range(1_000, 100_000))
        self.stopped = threading.Event()
        self.fault: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stopped.wait(0.01):
                self.act()
        except BaseException as fault:  # a thread's failure is the test's
            self.fault = fault

    def stop(self) -> None:
        self.stopped.set()
        self.join()
        assert self.fault is None

    def act(self) -> None:
        act = self.chance.choice([self.insert, self.change, self.change, self.change_silently, self.delete, self.insert_again])
        act()

    def any(self) -> ObjectId:
        return self.chance.choice(self.there)

    def content(self) -> dict[str, Any]:
        """New values for all that changes, an array among it; one in twenty lacks what is required."""
        number = next(self.numbers)
        fields = {"name": f"version {number}", "roles": ["a", "b", "c"][: self.chance.randrange(4)]}
        return {**fields, "email": None if self.chance.random() < 0.05 else f"{number}@example.com"}

    def insert(self, document_id: ObjectId | None = None) -> None:
        document_id = document_id or ObjectId()
        now = datetime.now(UTC)
        self.users.insert_one(user(1, _id=document_id, refreshTokens=[], createdAt=now, updatedAt=now, **self.content()))
        self.there.append(document_id)

    def insert_again(self) -> None:
        if self.gone:
            self.insert(self.gone.pop())

    def change(self) -> None:
        document_id = self.any()
        self.users.update_one({"_id": document_id}, {"$set": {**self.content(), "updatedAt": datetime.now(UTC)}})
        self.silent.discard(document_id)

    def change_silently(self) -> None:
        document_id = self.any()
        self.users.update_one({"_id": document_id}, {"$set": self.content()})
        self.silent.add(document_id)

    def delete(self) -> None:
        document_id = self.any()
        self.users.delete_one({"_id": document_id})
        self.there.remove(document_id)
        self.gone.append(document_id)
        self.silent.discard(document_id)


@pytest.fixture
def mover(mongo_database: Database[dict[str, Any]], target: Any, tmp_path: Path) -> Iterator[Mover]:
    fill(mongo_database, users=[user(number, updatedAt=NOON) for number in range(1, USERS)])
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path, Domain("auth", (AUTH.collection("users"),)))


def differing(run: Run) -> set[ObjectId]:
    """The documents that a reconcile found to differ from their rows."""
    staged = run.staging.collection(run.key.plan_id, "users")
    texts = [text for _, chunk in run.chunks() for text in read_json(staged.manifest(chunk))["differing"]]
    return {ObjectId(text.split('"')[3]) for text in texts}


def test_windows_follow_a_source_that_is_written_and_miss_only_changes_behind_the_change_key_pp_28_pp_32(mover: Mover) -> None:
    seed = time.time_ns()
    print("seed", seed)
    mover.passed("first")
    writer = Writer(mover.database, random.Random(seed))
    writer.change_silently()  # of a document that no window reads
    writer.start()
    try:
        for number in range(WINDOWS):
            run = mover.run(f"window {number}")
            run.follow(Request(INCREMENTAL, lookback=timedelta(seconds=2)))
            counts(run)
            mover.run(f"deletes {number}").delete_alone(max_delete_ratio=1)
    finally:
        writer.stop()
    assert writer.silent
    counts_of_last = mover.run("last window")
    counts_of_last.follow(Request(INCREMENTAL, lookback=timedelta(seconds=2)))
    counts(counts_of_last)
    mover.run("last deletes").delete_alone(max_delete_ratio=1)

    reconcile = mover.run("reconcile")
    report = reconcile.reconcile()
    assert {failure["check"] for failure in report["failures"]} == {"reconcile"}
    found = differing(reconcile)
    assert found
    assert found <= writer.silent

    assert mover.run("repair").reconcile(repair=True, max_repair_ratio=1)["passed"] is True
    again = mover.run("again")
    assert again.reconcile()["passed"] is True
    assert differing(again) == set()
