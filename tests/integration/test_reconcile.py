"""Reconcile: everything is compared with its source, whatever windows saw; a repair writes what differs and nothing else."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from benchmarks.replay_server import ReplayServer
from demo.postgres import PostgresLogin
from mongo2pg.databases import lookup
from mongo2pg.databases.window import Window
from mongo2pg.errors import PermanentError, RepairError
from mongo2pg.target import schema, scripts
from tests.documents import NOON, fill, oid, point, skill_tree, user, uuid_of
from tests.hostile import HOSTILE, as_bytes, connect_mover, framed, write_sql
from tests.mover import Mover
from tests.score.corruptions import (
    OWNERS,
    SET_UP,
    STRUCTURES,
    VALUES,
    Found,
    Ground,
    a_row_that_no_document_explains,
    change_value,
    one_document_twice_and_another_missing,
)
from tests.score.data import code, thing


@pytest.fixture
def mover(mongo_database: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path) -> Iterator[Mover]:
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path)


@pytest.fixture
def hostile(mover: Mover, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mover:
    monkeypatch.setattr(scripts, "INCLUDE", write_sql(tmp_path / "sql"))
    mover.domain = HOSTILE
    return mover


def differences(mover: Mover, run_id: str) -> set[Found]:
    """(table, id, column, kind) of what the run found at first."""
    return set(
        mover.rows(
            """
            SELECT table_name, id::text, column_name, kind FROM migration.differences
            WHERE run_id = %s AND check_name <> 'repair'
            """,
            run_id,
        )
    )


def contents(mover: Mover) -> dict[str, list[str]]:
    return {table.name: mover.column(f"SELECT t::text FROM {table.name} t ORDER BY id") for table in mover.domain.tables}


def versions(mover: Mover) -> dict[str, set[tuple[str, str]]]:
    """The rows of each table with the transaction that wrote them."""
    return {table.name: set(mover.rows(f"SELECT id::text, xmin::text FROM {table.name}")) for table in mover.domain.tables}


def failed(report: dict[str, Any]) -> set[tuple[str, str]]:
    return {(failure["check"], failure["table"]) for failure in report["failures"]}


# ------------------------------------------------------------------------------------------------------- corruptions


def test_of_25_random_corruptions_a_repair_mends_exactly_those_and_a_second_pass_finds_nothing(hostile: Mover) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    hostile.database.things.insert_many(thing(number, chance) for number in range(1, 301))
    hostile.database.codes.insert_many(code(number, chance) for number in range(1, 61))
    hostile.move("first", 60_000)
    good, before = contents(hostile), versions(hostile)
    owed = corrupt(hostile, seed, 25)

    report = hostile.run("reconcile").reconcile(repair=True, max_repair_ratio=0.2, chunk_bytes=60_000)

    # A row that hangs on another document is one too many for that one's chunk, and missing or different for its own.
    moved = {(table, row, None, "extra") for table, row, column, _ in owed if column in OWNERS.values()}
    found = differences(hostile, "reconcile")
    assert (owed - found, found - owed - moved) == (set(), set())
    assert report["failures"] == []
    assert report["passed"] is True
    assert contents(hostile) == good
    touched = {row for _, row, _, _ in owed}
    for table, rows in versions(hostile).items():
        assert {row for row in before[table] - rows if row[0] not in touched} == set(), table

    after = versions(hostile)
    assert hostile.run("again").reconcile(repair=True)["passed"] is True
    assert differences(hostile, "again") == set()
    assert versions(hostile) == after


def corrupt(mover: Mover, seed: int, number: int) -> set[Found]:
    """So many kinds of corruption, each in documents of its own; returns the differences that they make."""
    # What a constraint forbids is a test of its own.
    structures = [
        kind for kind in STRUCTURES if "dropped_constraint" not in kind.__name__ and "dropped_foreign" not in kind.__name__
    ]
    kinds: list[Any] = random.Random(seed).sample([*VALUES, *structures], number)
    # Rows of no document come last, or another kind would befall them.
    kinds.sort(key=[a_row_that_no_document_explains, one_document_twice_and_another_missing].__contains__)
    with mover.conn.transaction():
        mover.conn.execute("SET LOCAL search_path = public, pg_catalog")
        mover.conn.execute(SET_UP)
        ground = Ground(mover.conn, seed)
        owed = [change_value(ground, *kind[1:]) if isinstance(kind, tuple) else kind(ground) for kind in kinds]
    return set().union(*owed)


# ------------------------------------------------------------------------------------------- what windows never saw


ANN, BOB, CLEO, DAN, EVE = map(oid, range(1, 6))
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def test_what_no_window_sees_is_found_and_repaired_and_nothing_else_is_written(mover: Mover) -> None:
    fill(
        mover.database,
        users=[user(number) for number in range(1, 9)],
        skilltrees=[skill_tree(11, ANN), skill_tree(12, BOB)],
        progresspoints=[point(31, ANN), point(32, ANN, timestamp=LONG_AGO), point(33, ANN)],
    )
    mover.passed("first")
    before, users = contents(mover), mover.database.users
    users.update_one({"_id": ANN}, {"$set": {"name": "Ann, by hand"}})
    users.update_one({"_id": CLEO}, {"$pull": {"roles": "reader"}})
    users.update_one({"_id": DAN}, {"$unset": {"email": ""}})
    users.delete_one({"_id": BOB})
    users.insert_one(user(9, updatedAt=None))
    mover.database.progresspoints.delete_many({"_id": {"$in": [oid(32), oid(33)]}})  # the first of them had expired
    expected = {
        ("users", uuid_of(1), "name", "different"),
        ("users", uuid_of(2), None, "extra"),
        ("users", uuid_of(9), None, "missing"),
        ("users", uuid_of(4), None, "extra"),
        ("users", None, None, "reject"),
        ("progress_points", uuid_of(33), None, "extra"),
    }

    report = mover.run("look").reconcile()
    assert report["passed"] is False
    found = differences(mover, "look")
    assert {each for each in found if each[0] in ("users", "progress_points")} == expected
    assert {table for table, *_ in found} == {"users", "progress_points", "user_roles", "user_sessions"}
    assert contents(mover) == before, "nothing is written without being asked"

    written = versions(mover)
    report = mover.run("repair").reconcile(repair=True)
    assert (report["passed"], report["failures"]) == (True, [])
    assert mover.rows("SELECT id::text, name FROM users WHERE id = ANY(%s) ORDER BY id", [uuid_of(n) for n in (1, 2, 4, 9)]) == [
        (uuid_of(1), "Ann, by hand"),
        (uuid_of(4), "User 4"),  # its newer version is rejected
        (uuid_of(9), "User 9"),
    ]
    assert mover.column("SELECT role FROM user_roles WHERE user_id = %s", uuid_of(3)) == ["writer"]
    assert mover.rejects() == {("users", str(DAN), "email", "required"), ("skilltrees", str(oid(12)), "userId", "orphan")}
    assert mover.column("SELECT id::text FROM progress_points ORDER BY id") == [uuid_of(31), uuid_of(32)]
    kept = {table: rows & versions(mover)[table] for table, rows in written.items()}
    assert len(kept["users"]) == 6, "of eight users one was changed and one went"
    assert kept["social_connections"] == written["social_connections"]

    assert mover.run("again").reconcile()["passed"] is True
    assert differences(mover, "again") == set()


def test_what_differs_when_the_comparison_is_repeated_is_repaired_too(mover: Mover) -> None:
    fill(mover.database, users=[user(number) for number in range(1, 4)])
    mover.passed("first")
    damage = "UPDATE public.users SET name = 'damaged' WHERE email LIKE 'user1%'"
    mover.conn.execute(damage)
    run = mover.run("repair")
    assert run.reconcile(repair=True)["passed"] is True
    mover.conn.execute(damage)
    run.repair()
    assert mover.column("SELECT name FROM users WHERE id = %s", uuid_of(1)) == ["damaged"], "a repair goes by its comparison"
    assert run.report()["passed"] is False

    for task in ("compare", "rows", "repair"):  # as somebody does who clears `compare` with what comes after it
        getattr(run, task)()

    assert mover.column("SELECT name FROM users WHERE id = %s", uuid_of(1)) == ["User 1"]
    report = run.report()
    assert (report["passed"], report["collections"][0]["updated"]) == (True, 1)


def test_more_than_a_share_is_not_repaired_but_counted(mover: Mover) -> None:
    fill(mover.database, users=[user(number) for number in range(1, 41)])
    mover.passed("first")
    mover.database.users.update_many({"_id": {"$lte": oid(20)}}, {"$set": {"name": "the same"}})
    mover.database.users.delete_one({"_id": oid(30)})
    before = contents(mover)
    with pytest.raises(RepairError) as refused:
        mover.run("repair").reconcile(repair=True, max_repair_ratio=0.5)
    assert refused.value.beyond == {"users": (21, 39)}
    assert "users: 21 of 39 documents and rows (53.8%)" in str(refused.value)
    assert contents(mover) == before
    assert mover.run("again").reconcile(repair=True, max_repair_ratio=0.6)["passed"] is True
    assert mover.column("SELECT count(*) FROM users WHERE name = 'the same'") == [20]


def test_a_key_that_a_window_left_to_the_later_document_goes_to_the_smaller_id(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(5, email="a@x")], skilltrees=[skill_tree(11, EVE)])
    mover.passed("first")
    mover.database.users.insert_one(user(3, email="a@x"))
    hour = Window(NOON + timedelta(hours=3), NOON + timedelta(hours=4))
    mover.run("window").move(window=hour)
    assert mover.rejects() == {("users", str(CLEO), "email", "duplicate_key")}, "to a window the first one keeps it"
    assert failed(mover.run("look").reconcile()) == {("reconcile", "users")}
    report = mover.run("repair").reconcile(repair=True)
    assert report["failures"] == []
    assert mover.column("SELECT id::text FROM users WHERE email = 'a@x'") == [uuid_of(3)]
    assert mover.rejects() == {
        ("users", str(EVE), "email", "duplicate_key"),
        ("skilltrees", str(oid(11)), "userId", "orphan"),
    }
    assert mover.run("again").reconcile()["passed"] is True


def test_rows_behind_dropped_constraints_are_found_and_the_constraint_comes_back_with_the_last_of_them(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2), user(3)])
    mover.passed("first")
    with mover.conn.transaction():
        mover.conn.execute("ALTER TABLE public.user_roles DROP CONSTRAINT user_roles_user_id_fkey")
        mover.conn.execute("UPDATE public.user_roles SET user_id = %s WHERE user_id = %s", (uuid_of(99), uuid_of(1)))
        mover.conn.execute(
            "INSERT INTO public.user_roles SELECT gen_random_uuid(), %s, 9, role, extra FROM public.user_roles LIMIT 1",
            (uuid_of(98),),
        )
    assert ("references", "user_roles") in failed(mover.run("look").reconcile())
    with pytest.raises(PermanentError, match=rf"user_roles_user_id_fkey.*{uuid_of(98)}.*remove the rows that the checks"):
        mover.run("refused").reconcile(repair=True)
    with mover.conn.transaction():
        mover.conn.execute("DELETE FROM public.user_roles WHERE user_id = %s", (uuid_of(98),))
    assert mover.run("repair").reconcile(repair=True)["failures"] == []
    assert ("user_roles", "user_id") in schema.foreign_keys(mover.conn)
    assert mover.column("SELECT count(*) FROM user_roles WHERE user_id = %s", uuid_of(1)) == [2]


def test_nothing_is_reconciled_before_the_first_full_run(mover: Mover) -> None:
    fill(mover.database, users=[user(1)])
    with pytest.raises(PermanentError, match="users has no complete first run: run auth with mode full first"):
        mover.run("early").reconcile()


def test_a_rejected_document_that_changed_is_found_although_it_is_rejected_for_the_same_reason(mover: Mover) -> None:
    fill(
        mover.database,
        users=[user(1), user(2, email="a@x"), user(3, email=5), user(4, roles=["r", 5])],
        skilltrees=[skill_tree(11, EVE)],
    )
    mover.passed("first")
    assert mover.run("look").reconcile()["passed"]
    mover.database.users.update_many({"_id": {"$in": [CLEO, DAN]}}, {"$set": {"newer": True}})
    mover.database.skilltrees.update_one({"_id": oid(11)}, {"$set": {"newer": True}})
    changed = {(name, str(_id)) for name, _id in (("users", CLEO), ("users", DAN), ("skill_trees", oid(11)))}
    report = mover.run("changed").reconcile()
    assert not report["passed"]
    told = mover.rows("SELECT table_name, source FROM migration.differences WHERE run_id = 'changed' AND kind = 'reject'")
    assert {(table, name) for table, source in told for _, name in changed if name in source} == {
        ("users", str(CLEO)), ("users", str(DAN)), ("skill_trees", str(oid(11)))
    }  # fmt: skip
    assert all("is rejected, but other bytes than its own are kept" in source for _, source in told)
    assert mover.run("repair").reconcile(repair=True)["failures"] == []
    assert mover.run("again").reconcile()["passed"]
    kept = mover.column(
        "SELECT bson FROM migration.rejects JOIN migration.reject_documents ON sha256 = document WHERE state = 'open'"
    )
    assert [b"newer" in bson for bson in kept] == [True] * 3


def test_a_rejected_document_whose_bytes_were_damaged_in_the_books_is_found(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(3, email=5)])
    run = mover.move("first")
    mover.conn.execute("UPDATE migration.reject_documents SET bson = bson || 'x'")
    assert ("rejects", "users") in failed(run.verify())
    assert ("reconcile", "users") in failed(mover.run("look").reconcile())


def test_damaged_bytes_of_a_reject_are_never_replayed_and_a_repair_keeps_the_right_ones(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(3, email=5)])
    mover.passed("first")
    kept = mover.column("SELECT bson FROM migration.reject_documents")
    mover.conn.execute("UPDATE migration.reject_documents SET bson = overlay(bson PLACING '\\x06' FROM length(bson) FOR 1)")
    with pytest.raises(PermanentError, match="users: what is kept of 1 rejected documents is not what was rejected: run reconcile"):
        mover.run("replay").replay()
    assert mover.run("repair").reconcile(repair=True)["failures"] == []
    assert mover.column("SELECT bson FROM migration.reject_documents") == kept
    again = mover.run("again")
    again.replay()
    assert again.verify()["failures"] == []


# -------------------------------------------------------------------------------------------------- a moving target


def after_reading(monkeypatch: pytest.MonkeyPatch, happen: Callable[[], None]) -> None:
    """Lets something happen to the source after the documents were read in their chunk, and after each reading by `_id`."""
    find_ids = lookup.find_ids

    def found(*args: Any) -> Any:
        happen()
        return find_ids(*args)

    monkeypatch.setattr(lookup, "find_ids", found)


def test_a_document_that_a_window_moves_meanwhile_is_no_difference(
    mover: Mover, target: PostgresLogin, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(mover.database, users=[user(1), user(2)])
    mover.passed("first")
    mover.database.users.update_one({"_id": ANN}, {"$set": {"name": "Ann"}})
    with target.connect() as other:
        windows = iter(["meanwhile"])

        def move() -> None:
            for run_id in windows:
                Mover(mover.database, other, mover.staging).move(run_id)

        after_reading(monkeypatch, move)
        report = mover.run("reconcile").reconcile()
    assert report["passed"] is True
    assert differences(mover, "reconcile") == set()
    users = next(table for table in report["tables"] if table["table"] == "users")
    assert (users["rows"], users["source_checksum"]) == (2, users["target_checksum"])


def test_a_document_that_changes_at_every_look_is_counted_and_no_difference(mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(mover.database, users=[user(1), user(2), user(3)])
    mover.passed("first")
    mover.database.users.update_one({"_id": BOB}, {"$set": {"name": "Bob"}})
    numbers = itertools.count()
    after_reading(
        monkeypatch, lambda: mover.database.users.update_one({"_id": ANN}, {"$set": {"name": f"Ann {next(numbers)}"}}) and None
    )
    mover.database.users.update_one({"_id": ANN}, {"$set": {"name": "Ann"}})
    mover.run("reconcile").reconcile()
    assert differences(mover, "reconcile") == {("users", uuid_of(2), "name", "different")}
    assert mover.column(
        "SELECT actual -> 'changing_documents' FROM migration.checks WHERE (check_name, subject) = ('reconcile', 'users')"
    ) == [1]


# ------------------------------------------------------------------------------------------------------- odd documents


def test_a_row_that_lost_the_id_of_its_document_is_given_back_to_it(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2, _id="a name")], skilltrees=[skill_tree(11, "a name")])
    mover.passed("first")
    good, before = contents(mover), versions(mover)
    with mover.conn.transaction():
        mover.conn.execute("UPDATE public.users SET extra = NULL WHERE extra ? '_id'")
    assert mover.run("look").reconcile()["passed"] is False
    report = mover.run("repair").reconcile(repair=True)
    assert (report["passed"], report["failures"]) == (True, [])
    assert contents(mover) == good
    assert before["skill_trees"] == versions(mover)["skill_trees"], "what hangs on the row is not touched"
    assert mover.rejects() == set()


@pytest.mark.parametrize("loaded", [ANN, str(ANN)], ids=["the larger", "the smaller"])
def test_of_two_documents_that_share_an_id_the_one_that_was_not_loaded_is_found(mover: Mover, loaded: Any) -> None:
    fill(mover.database, users=[user(1, _id=loaded), user(2)])
    mover.passed("first")
    mover.database.users.insert_one(user(9, _id=str(ANN) if loaded is ANN else ANN))
    assert ("reconcile", "users") in failed(mover.run("look").reconcile())


def test_of_two_documents_that_share_an_id_the_smaller_one_gets_the_row_though_only_the_other_was_loaded(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2)])
    mover.passed("first")
    mover.database.users.insert_one(user(9, _id=str(ANN)))  # a string sorts before an ObjectId
    assert ("reconcile", "users") in failed(mover.run("look").reconcile())
    assert mover.run("repair").reconcile(repair=True)["failures"] == []
    assert mover.rows("SELECT name, extra FROM users WHERE id = %s", uuid_of(1)) == [("User 9", {"_id": str(ANN)})]
    assert mover.rejects() == {("users", str(ANN), "_id", "duplicate_key")}
    assert mover.run("again").reconcile()["passed"] is True


def test_a_document_that_breaks_the_specification_is_moved_by_its_id_and_without_one_by_a_full_run(
    target: PostgresLogin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scripts, "INCLUDE", write_sql(tmp_path / "sql"))
    sound = {"_id": oid(1), "name": "sound"}
    broken = framed(b"\x07_id\0" + oid(2).binary + b"\x02name\0\x03\0\0\0\xff\xfe\0")
    nameless = framed(b"\x02name\0\x02\0\0\0x\0")
    with ReplayServer({}) as server, MongoClient[dict[str, Any]](server.uri) as client, target.connect() as conn:
        hostile = connect_mover(server, client, conn, tmp_path / "staging")
        hostile.move([sound])
        server.put("hostile", "things", [as_bytes(sound), broken])
        assert failed(hostile.mover.run("look").reconcile()) == {("reconcile", "things")}
        assert failed(hostile.mover.run("repair").reconcile(repair=True)) == set()
        assert hostile.mover.column("SELECT bson FROM migration.reject_documents") == [broken]
        server.put("hostile", "things", [as_bytes(sound), broken, nameless])
        assert failed(hostile.mover.run("nameless").reconcile(repair=True)) == {("reconcile", "things")}
        hostile.move([sound, broken, nameless])
        assert hostile.mover.run("again").reconcile()["passed"] is True
