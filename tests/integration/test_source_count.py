"""A source that was written since it was read: each document that makes the counts differ is explained, or is a fault."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from deepiri.auth import AUTH
from mongo2pg.checks.source_count import SourceCount
from mongo2pg.databases.source import server_time
from mongo2pg.databases.window import Window
from mongo2pg.documents.document_ids import document_id
from mongo2pg.files.staging import read_json
from mongo2pg.model import Domain
from tests.documents import NOON, fill, oid, user
from tests.mover import EACH, Mover

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture
def mover(mongo_database: Database[dict[str, Any]], target: Any, tmp_path: Path) -> Iterator[Mover]:
    fill(mongo_database)
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path / "staging", Domain("auth", (AUTH.collection("users"),)))


def counted(mover: Mover, window: Window | None = None) -> SourceCount:
    """What was read of the users, a chunk for each document."""
    run = mover.run("run")
    run.prepare()
    run.plan(EACH, window and {"users": window})
    run.extract()
    staged = run.staging.collection(run.key.plan_id, "users")
    plan = read_json(staged.plan)
    manifests = [read_json(staged.raw_manifest(chunk)) for chunk in range(len(plan["bounds"]))]
    assert len(manifests) > 1
    return SourceCount(mover.database, AUTH.collection("users"), staged, plan, manifests)


def made(mover: Mover, ago: timedelta) -> ObjectId:
    """An ObjectId of a client whose clock, or whose network, was so late."""
    moment = datetime.fromisoformat(server_time(mover.database)) - ago
    return ObjectId(ObjectId.from_datetime(moment).binary[:4] + ObjectId().binary[4:])


def test_documents_that_came_or_went_are_explained_and_one_that_was_there_and_not_read_is_named(mover: Mover) -> None:
    fill(mover.database, users=[user(number) for number in range(6)])
    source, users = counted(mover), mover.database.users
    assert source.explain_documents().explained == 0
    users.delete_one({"_id": oid(2)})
    late, old = made(mover, 5 * MINUTE), made(mover, HOUR)
    now = datetime.fromisoformat(server_time(mover.database))
    users.insert_many([user(6, _id=ObjectId()), user(7, _id=late), user(8, _id=old), user(9, updatedAt=now)])
    found = source.explain_documents()
    assert found.explained == 4
    assert found.unexplained == {document_id(old): f"{document_id(old)} is in the source and was not read"}


def test_a_document_that_goes_from_one_range_of_a_window_to_another_was_read_all_the_same(mover: Mover) -> None:
    mover.passed("first")
    fill(mover.database, users=[user(number, updatedAt=NOON + number * MINUTE) for number in range(6)])
    mover.database.users.create_index("updatedAt")
    source = counted(mover, Window(NOON, NOON + HOUR))
    mover.database.users.update_one({"_id": oid(0)}, {"$set": {"updatedAt": NOON + 5 * MINUTE}})
    assert source.explain_documents().unexplained == {}


def test_arrays_that_grew_are_explained_by_their_documents_other_bytes(mover: Mover) -> None:
    fill(mover.database, users=[user(number) for number in range(6)])
    source = counted(mover)
    assert source.explain_elements().explained == 0
    for number in (1, 4):
        mover.database.users.update_one({"_id": oid(number)}, {"$push": {"roles": "late"}})
    found = source.explain_elements()
    assert (found.explained, found.unexplained) == (2, {})
