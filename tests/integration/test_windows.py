"""Windows of the change key: which documents they move, down to the millisecond, and which they can only count."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from pymongo import MongoClient
from pymongo.database import Database

from benchmarks.replay_server import ReplayServer
from deepiri.auth import AUTH
from mongo2pg.databases.source import _sampled_bytes
from mongo2pg.databases.window import Window, find_index
from mongo2pg.documents.decode import DBPointer, Symbol
from mongo2pg.errors import PrepareError
from mongo2pg.files.planned import beside, is_plannable
from mongo2pg.files.staging import read_json
from mongo2pg.model import Domain
from mongo2pg.moving.extract import extract_chunk
from mongo2pg.moving.rehearsal import rehearse
from mongo2pg.planning.modes import DRY_RUN, Request
from mongo2pg.planning.plan import plan_collection, plan_window
from mongo2pg.planning.prepare import prepare
from tests.documents import NOON, fill, oid, skill_tree, user, uuid_of
from tests.mover import EACH, Mover, counts, outcome
from tests.spoken import Spoken
from tests.standing import reading

MS = timedelta(milliseconds=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def mover(mongo_database: Database[dict[str, Any]], target: Any, tmp_path: Path) -> Iterator[Mover]:
    fill(mongo_database)
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path / "staging", Domain("auth", (AUTH.collection("users"),)))


def window(mover: Mover, start: datetime, end: datetime, chunk_bytes: int = 64 << 20, **fields: Any) -> dict[str, Any]:
    """A window moved and verified; returns the report's counts of users."""
    run = mover.run(f"window {start} {end} {chunk_bytes} {random.random()}")
    run.move(chunk_bytes, Window(start, end, **fields))
    return counts(run)["users"]


def names(mover: Mover) -> list[str]:
    return mover.column("SELECT name FROM users ORDER BY id")


def test_the_bounds_are_exact_to_the_millisecond_pp_27(mover: Mover) -> None:
    start, end = NOON, NOON + HOUR
    moments = [start - MS, start, start + MS, end - MS, end, end + MS]
    mover.passed("empty")
    fill(mover.database, users=[user(number, name=str(number), updatedAt=at) for number, at in enumerate(moments)])
    mover.database.users.create_index("updatedAt")
    assert outcome(window(mover, start, end))[:2] == (3, 3)
    assert names(mover) == ["1", "2", "3"]
    assert outcome(window(mover, end, end + MS))[:2] == (1, 1)
    assert outcome(window(mover, start - MS, end + 2 * MS)) == (6, 2, 0, 4, {})


@pytest.mark.parametrize("indexed", [True, False], ids=["indexed", "scanned"])
def test_windows_that_meet_move_what_one_full_run_moves_pp_25_pp_27(mover: Mover, indexed: bool) -> None:
    chance = random.Random(27)
    mover.passed("empty")
    documents = [
        user(number, updatedAt=NOON + chance.randrange(-5, 30_005) * MS, name="x" * chance.randrange(3000)) for number in range(300)
    ]
    fill(mover.database, users=documents)
    if indexed:
        mover.database.users.create_index("updatedAt")
    read = inserted = 0
    for second in range(-5, 35, 5):
        start = NOON + timedelta(seconds=second)
        report = outcome(window(mover, start, start + timedelta(seconds=5), chunk_bytes=20_000))
        read, inserted = read + report[0], inserted + report[1]
    assert (read, inserted) == (300, 300)
    report = mover.passed("full")["users"]
    assert outcome(report) == (300, 0, 0, 300, {})


def test_a_window_is_cut_by_its_change_keys_and_planned_for_what_it_reads_pp_23_pp_24(mover: Mover) -> None:
    mover.passed("empty")
    fill(mover.database, users=[user(number, updatedAt=NOON + number * MS) for number in range(500)])
    mover.database.users.create_index("updatedAt")
    run = mover.run("window")
    run.prepare()
    run.plan(EACH * 20_000, {c.name: Window(NOON + 100 * MS, NOON + 400 * MS) for c in mover.domain.collections})
    plan = read_json(run.staging.collection(run.key.plan_id, "users").plan)
    assert plan["source_before"] == 300
    assert 3 <= len(plan["bounds"]) <= 12
    # What comes and goes at the ends of the window while it is read changes nothing for the documents that stay.
    mover.database.users.delete_many({"updatedAt": {"$lt": NOON + 110 * MS}})
    mover.database.users.insert_many([user(1000 + n, updatedAt=NOON + 399 * MS) for n in range(3)])
    for stage in (run.extract, run.normalise, run.load, run.settle):
        stage()
    assert outcome(counts(run)["users"])[:2] == (293, 293)


def test_a_second_window_after_one_update_moves_exactly_that_document_pp_26(mover: Mover) -> None:
    fill(mover.database, users=[user(number, updatedAt=NOON) for number in range(20)])
    mover.passed("full")
    mover.database.users.update_one({"_id": oid(7)}, {"$set": {"name": "new", "updatedAt": NOON + HOUR}})
    assert outcome(window(mover, NOON + MS, NOON + 2 * HOUR)) == (1, 0, 1, 0, {})
    assert mover.column("SELECT id::text FROM users WHERE name = 'new'") == [uuid_of(7)]


def test_a_late_writer_is_caught_by_the_lookback_pp_28(mover: Mover) -> None:
    mover.passed("empty")
    fill(mover.database, users=[user(1, updatedAt=NOON - 5 * MS), user(2, updatedAt=NOON - 6 * MS)])
    assert outcome(window(mover, NOON, NOON + HOUR))[0] == 0
    assert outcome(window(mover, NOON, NOON + HOUR, lookback=5 * MS))[:2] == (1, 1)


@pytest.fixture
def family(mover: Mover) -> Mover:
    """A skill tree whose owner comes a day later, with a window."""
    mover.domain = Domain("auth", (AUTH.collection("users"), AUTH.collection("skilltrees")))
    fill(mover.database, users=[user(1)], skilltrees=[skill_tree(11, oid(2)), skill_tree(12, oid(3))])
    mover.passed("full")
    mover.database.users.insert_one(user(2, updatedAt=NOON + 24 * HOUR))
    run = mover.run("window")
    run.move(window=Window(NOON + 23 * HOUR, NOON + 25 * HOUR))
    assert outcome(counts(run)["users"])[:2] == (1, 1)
    assert mover.rejects() == {("skilltrees", str(oid(11)), "userId", "orphan"), ("skilltrees", str(oid(12)), "userId", "orphan")}
    return mover


def test_an_orphan_whose_parent_comes_with_a_window_is_loaded_by_a_replay(family: Mover) -> None:
    replay = family.run("replay")
    replay.replay()
    assert outcome(counts(replay)["skilltrees"])[:2] == (2, 1)
    assert family.rejects() == {("skilltrees", str(oid(12)), "userId", "orphan")}
    assert family.column("SELECT user_id::text FROM skill_trees") == [uuid_of(2)]


def test_an_orphan_whose_parent_has_come_is_loaded_by_the_next_window_as_it_is_then(family: Mover) -> None:
    family.database.skilltrees.update_one({"_id": oid(11)}, {"$set": {"skillPoints": 77}})
    run = family.run("next window")
    run.move(window=Window(NOON + 25 * HOUR, NOON + 26 * HOUR))
    assert outcome(counts(run)["skilltrees"]) == (1, 1, 0, 0, {})
    assert family.rejects() == {("skilltrees", str(oid(12)), "userId", "orphan")}
    assert family.column("SELECT skill_points FROM skill_trees") == [77]


def test_an_orphan_that_lies_in_the_window_is_read_once(family: Mover) -> None:
    family.database.skilltrees.update_one({"_id": oid(11)}, {"$set": {"updatedAt": NOON + 26 * HOUR}})
    run = family.run("next window")
    run.move(window=Window(NOON + 25 * HOUR, NOON + 27 * HOUR))
    assert outcome(counts(run)["skilltrees"]) == (1, 1, 0, 0, {})


def test_a_window_asks_for_ids_of_types_that_nobody_writes_any_more(mover: Mover) -> None:
    mover.database.users.insert_many([user(1, _id="s", updatedAt=NOON), user(2, _id={"deep": "s"}, updatedAt=NOON)])
    besides = [Symbol("s"), {"deep": Symbol("s")}]
    users = mover.domain.collection("users")
    plan = plan_window(mover.database, users, "plan", Window(NOON + HOUR, NOON + 2 * HOUR), 64 << 20, 1 << 30, besides)
    assert plan["source_before"] == 2
    assert all(map(is_plannable, besides))
    assert not any(map(is_plannable, [DBPointer("users", oid(1)), {"deep": DBPointer("users", oid(1))}]))


def test_an_orphan_that_is_gone_from_the_source_waits_for_a_full_run(family: Mover) -> None:
    family.database.skilltrees.delete_one({"_id": oid(11)})
    run = family.run("next window")
    run.move(window=Window(NOON + 25 * HOUR, NOON + 26 * HOUR))
    assert outcome(counts(run)["skilltrees"]) == (0, 0, 0, 0, {})
    family.passed("full again")
    assert family.rejects() == {("skilltrees", str(oid(12)), "userId", "orphan")}


@pytest.mark.parametrize("order", [1, -1], ids=["as they were read", "backwards"])
def test_a_document_that_moves_on_while_its_window_is_read_counts_as_it_was_read_last(mover: Mover, order: int) -> None:
    mover.domain = Domain("auth", tuple(map(AUTH.collection, ("users", "skilltrees"))))
    mover.passed("empty")
    now = datetime.now(UTC).replace(microsecond=0)
    hours = [now - number * HOUR for number in (4, 3, 2, 1)]
    fill(
        mover.database,
        users=[user(number, name="old", updatedAt=at) for number, at in enumerate(hours)],
        skilltrees=[skill_tree(10 + number, oid(9), updatedAt=at) for number, at in enumerate(hours)],  # held, for want of a user
    )
    run = mover.run("window")
    for collection in (mover.database.users, mover.database.skilltrees):
        collection.create_index("updatedAt")
    run.prepare()
    run.plan(EACH, dict.fromkeys((each.name for each in mover.domain.collections), Window(now - 5 * HOUR, now + HOUR)))
    for collection in (mover.database.users, mover.database.skilltrees):
        extract_chunk(mover.database, run.staging.collection(run.key.plan_id, collection.name), 0)
        collection.update_one({"updatedAt": hours[0]}, {"$set": {"name": "new", "updatedAt": now}})
    run.extract()
    run.normalise()
    run.lots = [{**lot, "chunks": lot["chunks"][::order]} for lot in run.lots[::order]]
    run.carry("load")
    found = counts(run)
    assert names(mover) == ["new", "old", "old", "old"]
    assert {name: found[name]["rejected"] for name in ("users", "skilltrees")} == {"users": {}, "skilltrees": {"orphan": 4}}
    assert mover.column("SELECT count(*) FROM migration.rejects WHERE state = 'open'") == [4]


def test_a_document_of_a_window_can_move_into_what_goes_on_to_the_plan_and_nowhere_else(mover: Mover) -> None:
    mover.database.users.create_index("updatedAt")
    now = datetime.now(UTC).replace(microsecond=0)
    mover.database.users.insert_many([user(number, updatedAt=now - number * HOUR) for number in (4, 3, 2, 1)])
    run, window = mover.run("window"), Window(now - 5 * HOUR, now, timedelta(minutes=90))
    run.prepare()
    run.plan(EACH, {"users": window})
    staging = run.staging.collection(run.key.plan_id, "users")
    # Ranges begin 5, 3, 2 and 1 hours ago; two end in the last 90 minutes. The documents without a key come last.
    assert [beside(staging, chunk) for chunk in range(5)] == [[2, 3, 4], [2, 3, 4], [0, 1, 3, 4], [0, 1, 2, 4], [0, 1, 2, 3]]


def test_of_two_windows_that_claim_one_slot_the_first_one_keeps_it_until_a_full_run(mover: Mover) -> None:
    mover.passed("empty")
    fill(mover.database, users=[user(1, email="a@x", updatedAt=NOON), user(2, email="a@x", updatedAt=NOON + HOUR)])
    window(mover, NOON + HOUR, NOON + 2 * HOUR)
    window(mover, NOON, NOON + HOUR)
    assert (names(mover), mover.rejects()) == (["User 2"], {("users", str(oid(1)), "email", "duplicate_key")})
    mover.passed("full")
    assert (names(mover), mover.rejects()) == (["User 1"], {("users", str(oid(2)), "email", "duplicate_key")})


@pytest.mark.parametrize("gone", [False, True], ids=["there still", "gone"])
def test_of_two_documents_that_share_an_id_the_one_that_has_the_row_keeps_it_until_a_full_run(mover: Mover, gone: bool) -> None:
    fill(mover.database, users=[user(1), user(2)])
    mover.passed("first")
    if gone:
        mover.database.users.delete_one({"_id": oid(1)})
    text = user(9, _id=str(oid(1)), updatedAt=NOON + 24 * HOUR)  # a string sorts before an ObjectId
    mover.database.users.insert_one(text)
    report = window(mover, NOON + 23 * HOUR, NOON + 25 * HOUR)
    assert outcome(report) == (1, 0, 0, 0, {"duplicate_key": 1})
    assert (names(mover), mover.rejects()) == (["User 1", "User 2"], {("users", f'"{oid(1)}"', "_id", "duplicate_key")})
    replay = mover.run("replay")
    replay.replay()
    counts(replay)
    assert names(mover) == ["User 1", "User 2"]
    mover.passed("full")
    left = set() if gone else {("users", str(oid(1)), "_id", "duplicate_key")}
    assert (names(mover), mover.rejects()) == (["User 9", "User 2"], left)


def test_of_two_documents_of_a_window_that_claim_one_slot_the_larger_must_not_have_it(
    mover: Mover,
) -> None:
    mover.passed("empty")
    twins = [
        user(number, email="a@x", password="", name="", bio="", roles=[], refreshTokens=[], updatedAt=NOON) for number in (1, 2)
    ]
    fill(mover.database, users=twins)
    run = mover.run("window")
    run.move(window=Window(NOON, NOON + HOUR))
    assert counts(run)["users"]["rejected"] == {"duplicate_key": 1}
    mover.conn.execute("UPDATE public.users SET id = %s", (uuid_of(2),))
    mover.conn.execute("UPDATE migration.rejects SET document_id = %s", (f'{{"$oid": "{oid(1)}"}}',))
    with reading("by shape"):
        (fault,) = [check for check in run.checksums() if check.verdict != "passed"]
    assert (fault.check, fault.detail) == (
        "rejects",
        f'{{"$oid": "{oid(1)}"}} email (duplicate_key) is rejected although no smaller _id holds its key',
    )


OTHER_TYPES: list[Any] = [
    ..., None, "2025-03-14T12:00:00Z", 5, Int64(5), 1.5, Decimal128("1"), True, Timestamp(1741953600, 1), {"at": NOON}, [NOON], [],
    [NOON, "x"], [[NOON]], oid(5), Binary(b"x"), Regex("x"), MinKey(), MaxKey(),
]  # fmt: skip


def undated(moment: datetime) -> list[dict[str, Any]]:
    """A document for each type that is no date, with an `_id` made at the moment."""
    made = ObjectId.from_datetime(moment).binary[:4]
    fields = [{} if value is ... else {"updatedAt": value} for value in OTHER_TYPES]
    return [
        {"_id": ObjectId(made + number.to_bytes(8, "big")), "email": f"{moment:%H%M}-{number}@example.com", **field}
        for number, field in enumerate(fields)
    ]


@pytest.mark.parametrize("index", ["none", "plain", "descending", "sparse"])
def test_documents_without_a_date_go_by_the_time_of_their_id_and_are_counted_pp_28(mover: Mover, index: str) -> None:
    mover.passed("empty")
    old, new = undated(NOON - 100 * HOUR), undated(NOON + HOUR / 2)
    fill(mover.database, users=[*old, *new, user(1, updatedAt=NOON)])
    if index != "none":
        key = [("updatedAt", -1 if index == "descending" else 1)]
        mover.database.users.create_index(key, **({"sparse": True} if index == "sparse" else {}))
    report = window(mover, NOON, NOON + HOUR)
    assert outcome(report)[:2] == (len(new) + 1, len(new) + 1)
    assert report["without_key"] == {"documents": len(old) + len(new), "moved": len(new), "left": len(old)}


def test_the_declaration_can_leave_documents_without_a_date_to_reconcile_pp_28(mover: Mover) -> None:
    mover.domain = Domain("auth", (replace(AUTH.collection("users"), unkeyed="reconcile"),))
    mover.passed("empty")
    fill(mover.database, users=[*undated(NOON), user(1, updatedAt=NOON)])
    report = window(mover, NOON, NOON + HOUR)
    assert outcome(report)[:2] == (1, 1)
    assert report["without_key"] == {"documents": len(OTHER_TYPES), "moved": 0, "left": len(OTHER_TYPES)}


# ------------------------------------------------------------------------------------------------ what a window may cost


@pytest.mark.parametrize("value", [NOON, [NOON]], ids=["a date", "an array"])
def test_to_ask_an_index_for_arrays_the_server_explains_a_query_and_runs_none(mover: Mover, mongo: Any, value: Any) -> None:
    fill(mover.database, users=[user(1, updatedAt=value)])
    mover.database.users.create_index("updatedAt")
    spoken = Spoken()
    with MongoClient[dict[str, Any]](mongo.admin.uri, event_listeners=[spoken]) as client:
        index = find_index(client[mover.database.name], AUTH.collection("users"))
    assert index == ("updatedAt_1", value != NOON)
    (explained,) = spoken.of["explain"]
    assert "queryPlanner" in explained
    assert "executionStats" not in explained


def test_the_index_on_id_is_named_by_its_key_for_a_clustered_collection_may_call_it_anything(mover: Mover, mongo: Any) -> None:
    fill(mover.database, users=[*undated(NOON), *(user(number, updatedAt=NOON) for number in range(3))])
    spoken = Spoken()
    with MongoClient[dict[str, Any]](mongo.admin.uri, event_listeners=[spoken]) as client:
        mover.database = client[mover.database.name]
        mover.passed("first", EACH)
        mover.passed("looks for deletes")
        window(mover, NOON, NOON + HOUR)
    hints = [asked["hint"] for command in ("find", "aggregate") for asked in spoken.asked[command] if "hint" in asked]
    assert len(hints) > 10
    assert all(hint == {"_id": 1} for hint in hints)


def test_an_index_that_is_still_being_built_finds_nothing() -> None:
    with ReplayServer({"source": {"users": []}}) as server, MongoClient[Any](server.uri) as client:
        server.faults.building = frozenset({"updatedAt"})
        assert list(client.source.users.index_information()) == ["_id_", "updatedAt_1"]
        assert find_index(client.source, AUTH.collection("users")) is None


def test_mongod_before_6_0_is_told_that_a_sample_may_be_sorted_on_disk(mover: Mover, mongo: Any) -> None:
    fill(mover.database, users=[user(number, updatedAt=NOON) for number in range(9)])
    spoken = Spoken()
    with MongoClient[dict[str, Any]](mongo.admin.uri, event_listeners=[spoken]) as client:
        source = client[mover.database.name]
        assert _sampled_bytes(source, "users") > 0
        whole = plan_collection(source, AUTH.collection("users"), "plan", chunk_bytes=EACH)
        assert len(whole["bounds"]) > 1
        rehearse(source, mover.conn, AUTH.only(["users"]), Request(DRY_RUN))
        rehearse(source, mover.conn, AUTH.only(["users"]), Request(DRY_RUN, NOON, NOON + HOUR))
    samples = [asked for asked in spoken.asked["aggregate"] if any("$sample" in step for step in asked["pipeline"])]
    assert [asked.get("allowDiskUse") for asked in samples] == [True] * 4


def test_a_collection_too_large_to_be_scanned_for_a_window_is_refused_with_the_command_for_its_index(mover: Mover) -> None:
    place = (mover.database, mover.conn, mover.domain, mover.staging)
    prepare(*place, scan_limit=0)  # of a collection that windows are not read of yet nothing is asked
    mover.passed("first")
    fill(mover.database, users=[user(number) for number in range(3)])
    prepare(*place, scan_limit=10_000)
    with pytest.raises(PrepareError, match=r"users has no index on its .*: db\.users\.createIndex\(\{\"updatedAt\": 1\}\)"):
        prepare(*place, scan_limit=100)
    mover.database.users.create_index("updatedAt")
    prepare(*place, scan_limit=100)
