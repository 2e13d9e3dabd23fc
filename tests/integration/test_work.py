"""What a run does for what is amiss: as much for many documents as for one, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bson
import psycopg
import pytest
from psycopg import sql
from pymongo.database import Database

from mongo2pg.books import rejects
from mongo2pg.files import staged_documents
from mongo2pg.settling import settlement
from tests.documents import fill, oid, skill_tree, user, uuid_of
from tests.mover import Mover


@pytest.fixture
def mover(mongo_database: Database[dict[str, Any]], target: Any, tmp_path: Path) -> Iterator[Mover]:
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path)


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked of PostgreSQL inside of the block, statement by statement."""
    asked: list[str] = []
    execute = psycopg.Cursor.execute

    def noted(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(query.as_string(self.connection) if isinstance(query, sql.Composable) else query)
        return execute(self, query, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", noted)
        yield asked


def twins(number: int) -> list[dict[str, Any]]:
    """Two documents of one id."""
    return [user(number, email=f"{number}@oid"), user(number, _id=str(oid(number)), email=f"{number}@text")]


def settling(mover: Mover, monkeypatch: pytest.MonkeyPatch, count: int) -> tuple[int, int]:
    """How many statements a first load of so many twins takes to settle, and how many looks into its files."""
    fill(mover.database, users=[twin for number in range(count) for twin in twins(number)])
    run = mover.staged(f"{count} pairs")
    run.load()
    looks: list[Any] = []
    found = staged_documents.documents_of

    def noted(*args: Any) -> Any:
        looks.append(args)
        return found(*args)

    with monkeypatch.context() as patch, statements(monkeypatch) as asked:
        patch.setattr(staged_documents, "documents_of", noted)
        run.settle()
    assert len(mover.rejects()) == count
    return len(asked), len(looks)


def test_settle_asks_as_often_for_many_documents_that_share_ids_as_for_two(mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    few = settling(mover, monkeypatch, 1)
    mover.conn.execute("DROP SCHEMA migration CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    assert settling(mover, monkeypatch, 6) == few


def test_a_first_load_looks_for_no_older_versions_of_what_it_rejects_and_a_later_one_does(
    mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    marking = "INSERT INTO migration.stale"
    fill(mover.database, users=[user(1), user(2, email=...)])
    run = mover.staged("first")
    with statements(monkeypatch) as asked:
        run.load()
    assert [text for text in asked if marking in text] == []
    run.carry("delete")
    fill(mover.database, users=[user(1, email=...), user(2, email=...)])
    run = mover.staged("second")
    with statements(monkeypatch) as asked:
        run.load()
    assert len([text for text in asked if marking in text]) == 1
    assert mover.column("SELECT root_id::text FROM migration.stale") == [uuid_of(1)]


def test_rows_on_another_parent_are_looked_for_only_where_something_differs(mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(mover.database, users=[user(1), user(2)], skilltrees=[skill_tree(11, oid(1)), skill_tree(12, oid(2))])
    run = mover.move("run")
    elsewhere = 'FROM "public"."skills" t JOIN'
    with statements(monkeypatch) as asked:
        assert {check.verdict for check in run.checksums()} == {"passed"}
    assert [text for text in asked if elsewhere in text] == []
    (skill,) = mover.column("SELECT min(id::text) FROM skills WHERE skill_tree_id = %s", uuid_of(11))
    moved = "UPDATE skills SET skill_tree_id = %s, skill_name = 'moved' WHERE id = %s RETURNING 1"
    assert mover.rows(moved, uuid_of(12), skill) == [(1,)]
    with statements(monkeypatch) as asked:
        assert "failed" in {check.verdict for check in run.checksums()}
    assert [text for text in asked if elsewhere in text]


@pytest.mark.parametrize("batch", [1, 2, 1_000])
def test_rejects_are_the_same_however_many_are_sent_at_once(mover: Mover, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(rejects, "BATCH", batch)
    documents = [
        *(user(number, email=...) for number in (1, 2, 3)),
        user(4, email=f"{4}@x", roles=["a", 5, "b", {"c": 1}, 6]),
        user(5, email="5@x"),
    ]
    fill(mover.database, users=documents)
    mover.passed("run")
    assert mover.rejects() == {
        *(("users", str(oid(number)), "email", "required") for number in (1, 2, 3)),
        *(("users", str(oid(4)), f"roles.{place}", "type_mismatch") for place in (1, 3, 4)),
    }
    query = "SELECT document_id ->> '$oid', bson FROM migration.rejects JOIN migration.reject_documents ON sha256 = document"
    assert {name: bson.decode(raw) for name, raw in mover.rows(query)} == {
        str(oid(number)): mover.database.users.find_one({"_id": oid(number)}) for number in range(1, 5)
    }


@pytest.mark.parametrize("at_once", [1, 2, 1_000])
def test_settle_rejects_the_same_documents_however_many_it_takes_at_once(
    mover: Mover, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(settlement, "AT_ONCE", at_once)
    fill(
        mover.database,
        users=[user(1), *(user(number, email="same@x") for number in (2, 3, 4))],
        skilltrees=[skill_tree(11, oid(1)), skill_tree(12, oid(3)), *(skill_tree(number, oid(99)) for number in (13, 14, 15))],
    )
    lost = {
        *(("users", str(oid(number)), "email", "duplicate_key") for number in (3, 4)),
        *(("skilltrees", str(oid(number)), "userId", "orphan") for number in (12, 13, 14, 15)),
    }
    for run_id in ("first", "again"):  # rows that were loaded, then documents that are held
        mover.passed(run_id)
        assert mover.rejects() == lost
        assert mover.column("SELECT id::text FROM users ORDER BY id") == [uuid_of(1), uuid_of(2)]
        assert mover.column("SELECT DISTINCT skill_tree_id::text FROM skills") == [uuid_of(11)]
    kept = mover.column(
        "SELECT bson FROM migration.rejects JOIN migration.reject_documents ON sha256 = document WHERE state = 'open'"
    )
    assert {bson.decode(raw)["_id"] for raw in kept} == {oid(number) for number in (3, 4, 12, 13, 14, 15)}
