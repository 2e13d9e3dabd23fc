"""Documents that are gone from MongoDB: their rows go as declared, nothing else does, and what hangs on them is kept."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, Timestamp
from pymongo import MongoClient
from pymongo.database import Database

from benchmarks.replay_server import ReplayServer
from deepiri.auth import AUTH
from deepiri.registry import DOMAINS
from demo.postgres import PostgresLogin
from mongo2pg import books
from mongo2pg.databases.lookup import find_ids, read_documents
from mongo2pg.errors import DeleteError
from mongo2pg.run import Run
from mongo2pg.settling import deletes
from mongo2pg.target import scripts
from tests.documents import connection, fill, oid, point, skill_tree, user, uuid_of
from tests.hostile import HOSTILE, THINGS, write_sql
from tests.mover import EACH, Mover, counts, outcome
from tests.spoken import Spoken

ANN, BOB, CLEO = oid(1), oid(2), oid(3)


@pytest.fixture
def mover(mongo_database: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path) -> Iterator[Mover]:
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path)


def ids(mover: Mover, table: str) -> list[str]:
    return mover.column(f"SELECT id::text FROM {table} ORDER BY id")


def deleted(mover: Mover, run_id: str) -> dict[str, int]:
    """Rows that the run's delete took out, by collection; those without any are left out."""
    rows = mover.rows(
        """
        SELECT collection, cardinality(deleted_ids) FROM migration.passes
        WHERE stage = 'delete' AND run_id = %s AND deleted_ids <> '{}'
        """,
        run_id,
    )
    return dict(rows)


def test_of_the_source_no_more_ids_are_kept_than_a_page_of_rows_has(mongo_database: Database[dict[str, Any]]) -> None:
    mongo_database.users.insert_many([user(number) for number in range(1, 1_000)])
    page = [(uuid.UUID(uuid_of(number)).bytes, False) for number in (1, 500, 999, 1_000)]
    assert deletes._at_source(mongo_database, "users", page) == {root_id for root_id, _ in page[:3]}


# ------------------------------------------------------------------------------------------------------- full runs


def test_for_single_documents_the_primary_is_asked_whoever_is_read_else() -> None:
    spoken = Spoken()
    with (
        ReplayServer({"db": {"users": [bson.encode(user(1))]}}, replica_set="rs0") as server,
        MongoClient[Any](server.uri, readPreference="secondaryPreferred", event_listeners=[spoken]) as client,
    ):
        assert client.db.users.find_one({}, {"_id": 1}) == {"_id": ANN}
        assert find_ids(client.db, "users", [f'{{"$oid": "{ANN}"}}']) == {f'{{"$oid": "{ANN}"}}': [ANN]}
        assert len(list(read_documents(client.db, "users", [ANN]))) == 1
    read, *asked = spoken.asked["find"]
    assert read["$readPreference"]["mode"] == "secondaryPreferred"
    assert ["$readPreference" in each for each in asked] == [False, False]


@pytest.mark.parametrize(("chunk_bytes", "page"), [(1 << 20, 100_000), (EACH, 1)], ids=["one chunk", "many chunks"])
def test_a_row_goes_with_all_its_child_rows_once_its_document_is_gone_pp_38(
    mover: Mover, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, page: int
) -> None:
    monkeypatch.setattr(deletes, "PAGE", page)
    trees = [skill_tree(11, ANN), skill_tree(12, CLEO)]
    fill(mover.database, users=[user(1), user(2), user(3)], skilltrees=trees, progresspoints=[point(31, ANN)])
    mover.passed("first", chunk_bytes)
    before = mover.image()
    mover.database.users.delete_one({"_id": BOB})
    mover.database.skilltrees.delete_one({"_id": oid(12)})
    report = mover.passed("second", chunk_bytes)
    assert outcome(report["users"]) == (2, 0, 0, 2, {})
    assert ids(mover, "users") == [uuid_of(1), uuid_of(3)]
    assert mover.column("SELECT DISTINCT user_id::text FROM user_roles ORDER BY 1") == [uuid_of(1), uuid_of(3)]
    assert mover.column("SELECT DISTINCT skill_tree_id::text FROM skills") == [uuid_of(11)]
    assert deleted(mover, "second") == {"users": 1, "skilltrees": 1}
    kept = {name: [row for row in rows if row in mover.image()[name]] for name, rows in before.items()}
    assert mover.image() == kept, "no other row was touched"
    assert mover.rejects() == set()


def test_a_document_deleted_and_inserted_again_under_its_id_is_its_new_self_pp_38(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2)], skilltrees=[skill_tree(11, BOB)])
    mover.passed("first")
    mover.database.users.delete_one({"_id": BOB})
    mover.database.users.insert_one(user(2, name="Bob again", roles=["phoenix"]))
    mover.passed("second")
    assert mover.rows("SELECT name, role FROM users u JOIN user_roles r ON r.user_id = u.id WHERE u.id = %s", uuid_of(2)) == [
        ("Bob again", "phoenix")
    ]
    mover.database.users.delete_one({"_id": BOB})
    mover.database.skilltrees.delete_one({"_id": oid(11)})
    mover.passed("third")
    assert ids(mover, "users") == [uuid_of(1)]
    mover.database.users.insert_one(user(2, name="Bob for good"))
    mover.passed("fourth")
    assert mover.rows("SELECT name FROM users WHERE id = %s", uuid_of(2)) == [("Bob for good",)]


def test_a_document_that_takes_the_id_of_one_that_is_gone_takes_its_row_pp_38(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2)], skilltrees=[skill_tree(11, ANN)])
    mover.passed("first")
    trees = mover.image()["skill_trees"]
    mover.database.users.delete_one({"_id": ANN})
    mover.database.users.insert_one(user(1, _id=str(ANN), name="Ann by her text"))
    mover.passed("second")
    assert mover.rows("SELECT name, extra -> '_id' FROM users WHERE id = %s", uuid_of(1)) == [("Ann by her text", str(ANN))]
    assert mover.image()["skill_trees"] == trees, "what hangs on the row is not touched"
    mover.database.users.delete_one({"_id": str(ANN)})
    mover.database.users.insert_one(user(1))
    mover.passed("third")
    assert mover.rows("SELECT name, extra FROM users WHERE id = %s", uuid_of(1)) == [("User 1", None)]
    assert mover.rejects() == set()


def test_a_document_inserted_again_before_the_lock_is_free_keeps_its_row_pp_38(mover: Mover, target: PostgresLogin) -> None:
    fill(mover.database, users=[user(1), user(2)])
    mover.passed("first")
    run = mover.staged("second")
    run.load()
    mover.database.users.delete_one({"_id": BOB})
    with target.connect() as other:
        books.open_session(other)
        with other.transaction():
            books.lock_collection(other, "auth", "users")
            thread = threading.Thread(target=run.delete)
            thread.start()
            while not other.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone():
                pass
            mover.database.users.insert_one(user(2))
    thread.join()
    assert ids(mover, "users") == [uuid_of(1), uuid_of(2)]
    run.settle()
    counts(run)


def test_a_document_deleted_after_this_run_read_it_is_left_to_the_next_one(mover: Mover) -> None:
    fill(mover.database, users=[user(1)], progresspoints=[point(31, ANN), point(32, ANN)])
    mover.passed("first")
    run = mover.staged("second")
    run.load()
    mover.database.progresspoints.delete_one({"_id": oid(32)})
    run.delete()
    run.settle()
    counts(run)
    assert ids(mover, "progress_points") == [uuid_of(31), uuid_of(32)]
    mover.passed("third")
    assert ids(mover, "progress_points") == [uuid_of(31)]


@pytest.mark.parametrize("again", [False, True], ids=["gone for good", "inserted again"])
def test_what_was_read_before_a_delete_and_is_loaded_after_it_is_read_again_pp_38(mover: Mover, again: bool) -> None:
    fill(mover.database, users=[user(1), user(2), user(3)])
    mover.passed("first")
    late = mover.staged("late")
    mover.database.users.delete_one({"_id": BOB})
    mover.run("alone").delete_alone()
    assert ids(mover, "users") == [uuid_of(1), uuid_of(3)]
    if again:
        mover.database.users.insert_one(user(2, name="Bob again"))
    late.carry("load")
    counts(late)
    assert mover.column("SELECT name FROM users ORDER BY id") == ["User 1", *["Bob again"] * again, "User 3"]


def test_the_e_mail_of_a_vanished_user_is_free(mover: Mover) -> None:
    fill(mover.database, users=[user(2, email="a@x")])
    mover.passed("first")
    fill(mover.database, users=[user(1, email="a@x")])
    mover.passed("second")
    assert mover.rows("SELECT id::text, email FROM users") == [(uuid_of(1), "a@x")]


def test_a_loser_on_whom_a_vanished_document_s_row_hangs_goes_after_that_row(mover: Mover) -> None:
    fill(mover.database, users=[user(3, email="a@x")], skilltrees=[skill_tree(11, CLEO)])
    mover.passed("first")
    fill(mover.database, users=[user(1, email="a@x"), user(3, email="a@x")])
    mover.passed("second")
    assert mover.rejects() == {("users", str(CLEO), "email", "duplicate_key")}
    assert ids(mover, "skill_trees") == []


def test_rejects_and_stale_marks_of_vanished_documents_are_closed(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2), user(3, email=None)])
    mover.passed("first")
    fill(mover.database, users=[user(1), user(2, email=None), user(3, email=None)])
    mover.passed("second")
    assert mover.column("SELECT root_id::text FROM migration.stale") == [uuid_of(2)]
    mover.database.users.delete_many({"_id": {"$in": [BOB, CLEO]}})
    run = mover.run("alone")
    run.delete_alone()
    report = run.report()
    assert report["passed"] is True
    assert {(check["check"], check["verdict"]) for check in report["checks"]} == {("deletes", "passed")}
    assert mover.rejects() == set()
    assert mover.column("SELECT count(*) FROM migration.stale") == [0]
    assert ids(mover, "users") == [uuid_of(1)]
    mover.passed("third")


def test_a_reject_whose_id_looks_like_that_of_a_malformed_document_is_closed(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2, _id="the $malformed one", email=None)])
    mover.passed("first")
    mover.database.users.delete_one({"email": None})
    mover.run("alone").delete_alone()
    assert mover.rejects() == set()


def test_rejects_of_vanished_documents_are_closed_whatever_their_ids_are(
    mongo_database: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "INCLUDE", write_sql(tmp_path / "sql"))
    ids = [value for value in IDS if value != "text"]
    mongo_database.create_collection("things")
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path / "staging", HOSTILE)
        mongo_database.codes.insert_many([{"_id": value, "n": number} for number, value in enumerate(ids)])
        run = mover.move("first")
        assert {failure["check"] for failure in run.verify()["failures"]} == {"limits"}, "each lacks its code"
        mongo_database.codes.delete_many({"n": {"$mod": [2, 0]}})
        mover.run("alone").delete_alone()
        numbers = [bson.decode(raw)["n"] for (raw,) in mover.rows(OPEN_DOCUMENTS)]
        assert sorted(numbers) == list(range(1, len(ids), 2))


OPEN_DOCUMENTS = (
    "SELECT bson FROM migration.reject_documents WHERE sha256 IN (SELECT document FROM migration.rejects WHERE state = 'open')"
)


# ------------------------------------------------------------------------------------------------- what hangs on a row


def test_a_row_that_hangs_on_one_that_goes_is_a_reject_with_its_present_document(mover: Mover) -> None:
    fill(
        mover.database,
        users=[user(1), user(2)],
        skilltrees=[skill_tree(11, ANN), skill_tree(12, BOB)],
        socialconnections=[connection(21, ANN, BOB), connection(22, BOB, ANN)],
    )
    mover.passed("first")
    mover.database.users.delete_one({"_id": BOB})
    mover.database.skilltrees.update_one({"_id": oid(12)}, {"$set": {"skillPoints": 99}})
    mover.run("alone").delete_alone()
    assert ids(mover, "users") == [uuid_of(1)]
    assert ids(mover, "skill_trees") == [uuid_of(11)]
    assert mover.rejects() == {
        ("skilltrees", str(oid(12)), "userId", "orphan"),
        ("socialconnections", str(oid(21)), "connectedUserId", "orphan"),
        ("socialconnections", str(oid(22)), "userId", "orphan"),
    }
    (raw,) = mover.database.skilltrees.find_raw_batches({"_id": oid(12)})
    (kept,) = mover.column(
        "SELECT bson FROM migration.reject_documents JOIN migration.rejects ON document = sha256 WHERE collection = 'skilltrees'"
    )
    assert bytes(kept) == raw, "the document as it is now, not as a run read it"
    assert mover.rows(
        """
        SELECT collection, read, rejected, arrays, cardinality(deleted_ids) FROM migration.passes
        WHERE stage = 'delete' AND run_id = 'alone' ORDER BY 1
        """
    ) == [
        ("progresspoints", 0, {}, {}, 0),
        ("skilltrees", 1, {"orphan": 1}, {"skills": {"elements": 2, "of_parents_not_loaded": 2}}, 0),
        ("socialconnections", 2, {"orphan": 2}, {}, 0),
        ("users", 0, {}, {}, 1),
    ]
    report = mover.passed("second")
    assert [each["rejected"] for each in report.values()] == [{}, {"orphan": 1}, {"orphan": 2}, {}]


def test_a_full_run_rejects_what_it_read_itself_and_its_sums_close(mover: Mover) -> None:
    world = {"skilltrees": [skill_tree(11, ANN), skill_tree(12, BOB)], "progresspoints": [point(31, BOB), point(32, ANN)]}
    fill(mover.database, users=[user(1), user(2)], **world)
    mover.passed("first")
    fill(mover.database, users=[user(1)], **world)
    report = mover.passed("second", EACH)
    assert outcome(report["skilltrees"]) == (2, 0, 0, 1, {"orphan": 1})
    assert outcome(report["progresspoints"]) == (2, 0, 0, 1, {"orphan": 1})
    again = mover.passed("third")
    assert outcome(again["skilltrees"]) == (2, 0, 0, 1, {"orphan": 1})


def test_a_row_whose_new_owner_is_still_to_come_moves_to_that_owner(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2)], skilltrees=[skill_tree(12, BOB)])
    mover.passed("first")
    fill(mover.database, users=[user(1), user(3)], skilltrees=[skill_tree(12, CLEO)])
    run = mover.staged("second")
    run.lots = [{**lot, "chunks": lot["chunks"][::-1]} for lot in run.lots[::-1]]  # the tree before its owner
    run.load()
    assert mover.column("SELECT count(*) > 0 FROM migration.held WHERE collection = 'skilltrees'") == [True]
    run.delete()
    run.settle()
    report = counts(run)
    assert report["skilltrees"]["rejected"] == {}
    assert mover.rows("SELECT id::text, user_id::text FROM skill_trees") == [(uuid_of(12), uuid_of(3))]
    assert mover.rejects() == set()


def test_a_stale_row_that_hangs_on_one_that_goes_leaves_its_reject_as_it_is(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2)], skilltrees=[skill_tree(12, BOB)])
    mover.passed("first")
    fill(mover.database, users=[user(1), user(2)], skilltrees=[skill_tree(12, oid(9))])
    mover.passed("second")
    mover.database.users.delete_one({"_id": BOB})
    mover.run("alone").delete_alone()
    assert ids(mover, "skill_trees") == []
    assert mover.rejects() == {("skilltrees", str(oid(12)), "userId", "orphan")}
    assert mover.column("SELECT count(*) FROM migration.stale") == [0]
    mover.passed("third")


def platform_of_one_user(database: Database[Any], domains: Any) -> None:
    """Ann and Bob with one document each in every collection that has an owner."""
    for domain in domains:
        for collection in domain.collections:
            database.drop_collection(collection.name)
            database.create_collection(collection.name)
    fill(
        database,
        users=[user(1), user(2)],
        skilltrees=[skill_tree(1, ANN), skill_tree(2, BOB)],
        socialconnections=[connection(1, ANN, BOB)],
        progresspoints=[point(1, ANN), point(2, BOB)],
    )
    for number, owner in ((1, ANN), (2, BOB)):
        key = {"_id": oid(number), "userId": owner}
        other = BOB if owner == ANN else ANN
        database.tasks.insert_one({**key, "title": "task"})
        database.taskversions.insert_one({**key, "taskId": oid(number), "version": 1, "changedBy": other})
        database.taskdependencies.insert_one({**key, "taskId": oid(number), "dependsOn": oid(3 - number)})
        for name in ("momenta", "streaks", "boosts", "rewards"):
            database[name].insert_one(key)
        database.objectives.insert_one({**key, "odysseyId": oid(3 - number), "subtasks": [{"id": "a", "title": "b"}]})
        database.odysseys.insert_one({**key, "objectives": [oid(number)], "seasonId": oid(3 - number)})
        contributors = [{"userId": other, "momentum": 1}, {"userId": owner, "momentum": 2}]
        database.seasons.insert_one({**key, "odysseys": [oid(number)], "highlights": {"topContributors": contributors}})
        database.notifications.insert_one(key)
        database.pushsubscriptions.insert_one({**key, "endpoint": f"https://push/{number}"})
        database.webhooks.insert_one({**key, "logs": [{"event": "x"}]})
        database.challenges.insert_one({**key, "taskId": oid(3 - number), "participants": [{"userId": other, "attempts": 1}]})
        database.analyticsevents.insert_one({**key, "eventType": "x"})


def test_a_user_who_is_removed_leaves_rejects_in_all_domains_and_every_sum_closes(
    mongo_database: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path
) -> None:
    platform_of_one_user(mongo_database, DOMAINS)
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path)
        runs = {}
        for domain in DOMAINS:
            runs[domain.name] = run = Run(mongo_database, conn, domain, tmp_path, "first", DOMAINS)
            run.move()
            assert run.verify()["failures"] == []
        before = {table.name: len(ids(mover, table.name)) for domain in DOMAINS for table in domain.tables}
        mongo_database.users.delete_one({"_id": BOB})
        run = Run(mongo_database, conn, AUTH, tmp_path, "second", DOMAINS)
        run.move()
        assert run.verify()["failures"] == []
        owners = {
            (collection.name, collection.table)
            for domain in DOMAINS
            for collection in domain.collections
            if collection.name not in ("users", "socialconnections", "analyticsevents")
        }
        assert {(name, value, reason) for name, value, _, reason in mover.rejects() if value == str(oid(2))} >= {
            (name, str(oid(2)), "orphan") for name, _ in owners
        }
        for domain in DOMAINS:
            for collection in domain.collections:
                rejected = {value for name, value, path, _ in mover.rejects() if name == collection.name and "." not in path}
                there = ids(mover, collection.table)
                total = before[collection.table] - (1 if collection.name == "users" else 0)
                assert len(there) + len(rejected) == total, collection.name
                assert set(there) == set(there) - {uuid_of(oid(2))} or collection.name == "analyticsevents"
        # Each domain's last run is still true: its sums close, its rows and rejects are as its checks expect them.
        for domain in DOMAINS[1:]:
            report = runs[domain.name].verify()
            assert report["failures"] == [], domain.name
        # And what each domain makes of the source anew is what is there already.
        image = {domain.name: Mover(mongo_database, conn, tmp_path, domain).image() for domain in DOMAINS}
        for domain in DOMAINS:
            again = Run(mongo_database, conn, domain, tmp_path, "third", DOMAINS)
            again.move()
            assert again.verify()["failures"] == []
        assert {domain.name: Mover(mongo_database, conn, tmp_path, domain).image() for domain in DOMAINS} == image


def test_a_document_that_vanished_with_its_owner_in_another_domain_is_deleted_and_no_reject(
    mongo_database: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path
) -> None:
    platform_of_one_user(mongo_database, DOMAINS)
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path)
        for domain in DOMAINS:
            Run(mongo_database, conn, domain, tmp_path, "first", DOMAINS).move()
        mongo_database.users.delete_one({"_id": BOB})
        mongo_database.rewards.delete_one({"_id": oid(2)})
        run = Run(mongo_database, conn, AUTH, tmp_path, "second", DOMAINS)
        run.delete_alone()
        assert ids(mover, "rewards") == [uuid_of(1)]
        assert not [each for each in mover.rejects() if each[0] == "rewards"]
        assert deleted(mover, "second") == {"users": 1, "rewards": 1}


# ----------------------------------------------------------------------------------------------------------- the brake


def test_more_deletes_than_the_brake_allows_delete_nothing_and_say_how_many(mover: Mover) -> None:
    fill(mover.database, users=[user(number) for number in range(1, 201)], progresspoints=[point(1000, ANN)])
    mover.passed("first")
    before = mover.image()
    mover.database.users.delete_many({"_id": {"$gt": oid(160)}})
    mover.database.progresspoints.delete_many({})
    run = mover.staged("second")
    run.load()
    with pytest.raises(DeleteError) as caught:
        run.delete()
    assert str(caught.value) == (
        "nothing was deleted, because more than 10.0% of a collection would be:\n"
        "- users: 40 of 200 rows (20.0%) have no document in MongoDB any more\n"
        "if the connection points at the right database, run again with a higher max_delete_ratio"
    )
    assert mover.image() == before
    run.settle()
    report = run.verify()
    assert ("deletes", "users") in {(failure["check"], failure["table"]) for failure in report["failures"]}
    run.delete(max_delete_ratio=0.2)
    counts(run)
    assert mover.column("SELECT count(*) FROM users") == [160]
    assert mover.column("SELECT count(*) FROM progress_points") == [0], "twenty may go, whatever their share"


def test_an_empty_source_deletes_nothing(mover: Mover) -> None:
    fill(mover.database, users=[user(number) for number in range(1, 30)])
    mover.passed("first")
    fill(mover.database)
    run = mover.staged("second")
    run.load()
    with pytest.raises(DeleteError, match=r"29 of 29 rows \(100\.0%\)"):
        run.delete()
    assert mover.column("SELECT count(*) FROM users") == [29]


# ------------------------------------------------------------------------------------------------------------- policies


def test_rows_of_a_collection_that_a_ttl_index_trims_outlive_their_documents(mover: Mover) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=800)
    old = [point(number, ANN, timestamp=long_ago + timedelta(minutes=number)) for number in range(31, 61)]
    fill(mover.database, users=[user(1)], progresspoints=[*old, point(71, ANN), point(72, ANN), point(73, ANN)])
    mover.database.progresspoints.update_one({"_id": oid(73)}, {"$unset": {"timestamp": ""}})
    mover.passed("first")
    # 29 expire, one that will is still there, one was deleted before its time, and so was one that can never expire.
    mover.database.progresspoints.delete_many({"_id": {"$in": [oid(number) for number in (*range(31, 60), 72, 73)]}})
    mover.passed("second")
    assert ids(mover, "progress_points") == [uuid_of(number) for number in (*range(31, 61), 71)]
    assert deleted(mover, "second") == {"progresspoints": 2}
    (check,) = mover.column(
        "SELECT actual FROM migration.checks WHERE (run_id, check_name, subject) = ('second', 'row_counts', 'progress_points')"
    )
    assert check == {"rows": 2, "stale": 0, "kept": 29}


def test_a_row_that_no_document_explains_is_found_although_the_collection_expires(mover: Mover) -> None:
    fill(mover.database, users=[user(1)], progresspoints=[point(31, ANN)])
    run = mover.move("first")
    mover.conn.execute(
        "INSERT INTO public.progress_points (id, user_id, timestamp) VALUES (%s, %s, now())", (uuid_of(99), uuid_of(1))
    )
    failures = {(failure["check"], failure["table"]) for failure in run.verify()["failures"]}
    assert failures == {("row_counts", "progress_points")}


@pytest.mark.parametrize("back", [oid(2), str(oid(2))], ids=["under its id", "under an id that reaches its row"])
def test_a_marked_row_stays_with_the_time_and_is_unmarked_when_its_document_is_back(
    mongo_database: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: Any
) -> None:
    monkeypatch.setattr(scripts, "INCLUDE", marking(write_sql(tmp_path / "sql")))
    domain = replace(HOSTILE, collections=(replace(THINGS, deletes="mark"), *HOSTILE.collections[1:]))
    for collection in domain.collections:
        mongo_database.create_collection(collection.name)
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path / "staging", domain)
        mongo_database.things.insert_many([{"_id": oid(n), "name": f"n{n}", "parts": [{"label": "a"}]} for n in (1, 2, 3)])
        mover.passed("first")
        started = conn.execute("SELECT now()").fetchone()
        mongo_database.things.delete_one({"_id": oid(2)})
        mover.passed("second")
        marks = dict(mover.rows("SELECT name, deleted_at FROM things"))
        assert {name for name, mark in marks.items() if mark} == {"n2"}
        assert started is not None
        assert abs(marks["n2"] - started[0]) < timedelta(minutes=10)
        assert mover.column("SELECT count(*) FROM thing_parts") == [3], "child rows stay with their row"
        image = mover.image()
        mover.passed("third")
        assert mover.image() == image, "a row is marked once"
        mongo_database.things.insert_one({"_id": back, "name": "n2", "parts": [{"label": "a"}]})
        mover.passed("fourth")
        assert mover.column("SELECT deleted_at FROM things") == [None] * 3


def marking(include: Path) -> Path:
    pre_data = include / HOSTILE.name / "pre_data.sql"
    pre_data.write_text(
        pre_data.read_text().replace(
            "meta_level integer, extra jsonb\n", "meta_level integer, extra jsonb,\n    deleted_at timestamptz\n"
        )
    )
    return include


# ------------------------------------------------------------------------------------------------------- `_id`s of any type

IDS: list[Any] = [
    *(-5, Int64(2**53 + 1), 0.5, Decimal128("1.10"), DatetimeMS(-1), DatetimeMS(0), Timestamp(1, 2), False, True),
    *("", "text", "a\0b", str(oid(500)), oid(501), oid(502), oid(503), Code("f()")),
    *({}, {"a": 1, "b": {"c": None}}, {"b": {"c": None}, "a": 1}, {"longer": 1, "a": 2}),
    *(b"", b"bytes", Binary(bytes(range(16)), 4), Binary(bytes(range(16, 32)), 3)),
]


@pytest.mark.parametrize("page", [1, 4, 100_000])
@pytest.mark.parametrize("half", [0, 1])
def test_ids_of_every_type_are_found_gone_and_no_other(
    mongo_database: Database[dict[str, Any]],
    target: PostgresLogin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    page: int,
    half: int,
) -> None:
    monkeypatch.setattr(scripts, "INCLUDE", write_sql(tmp_path / "sql"))
    monkeypatch.setattr(deletes, "PAGE", page)
    for collection in HOSTILE.collections:
        mongo_database.create_collection(collection.name)
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path / "staging", HOSTILE)
        mongo_database.things.insert_many([{"_id": value, "count": number} for number, value in enumerate(IDS)])
        mover.passed("first")
        for value in IDS[half::2]:
            assert mongo_database.things.delete_one({"_id": value}).deleted_count == 1
        mover.run("alone").delete_alone()
        assert mover.column("SELECT count FROM things ORDER BY 1") == list(range(len(IDS)))[1 - half :: 2]
        mover.passed("second")
