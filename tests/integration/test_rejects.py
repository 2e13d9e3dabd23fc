"""Rejects as a place of work: limits, replay through a mended declaration, and rows whose newer version is rejected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import ObjectId
from pymongo.database import Database

from deepiri.auth import AUTH
from demo.postgres import PostgresLogin
from mongo2pg import books
from mongo2pg.errors import PermanentError
from mongo2pg.model import Column, Domain
from mongo2pg.moving import load, replay
from mongo2pg.run import Run

ALICE, BOB = ObjectId("0123456789abcdef00000001"), ObjectId("0123456789abcdef00000002")
ALICE_ID, BOB_ID = "01234567-89ab-8cde-8f00-000001000000", "01234567-89ab-8cde-8f00-000002000000"


@pytest.fixture
def source(mongo_database: Database[dict[str, Any]]) -> Database[dict[str, Any]]:
    for collection in AUTH.collections:
        mongo_database.create_collection(collection.name)
    mongo_database.users.insert_one({"_id": ALICE, "email": "alice@example.org", "roles": ["admin"]})
    return mongo_database


def open_rejects(conn: Any) -> list[tuple[Any, ...]]:
    return list(
        conn.execute(
            "SELECT collection, document_id->>'$oid', path, reason FROM migration.rejects WHERE state = 'open' ORDER BY 1, 2, 3"
        ).fetchall()
    )


def with_numbers_as_emails() -> Domain:
    """The auth domain after somebody mended the declaration: an e-mail may be missing, and has a default."""
    users = AUTH.collection("users")
    columns = tuple(Column("email", "text", required=True, default="unknown") if c.name == "email" else c for c in users.columns)
    return replace(AUTH, collections=tuple(replace(c, columns=columns) if c.name == "users" else c for c in AUTH.collections))


def test_a_replay_takes_rejects_through_the_mended_declaration_without_the_source(
    source: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path
) -> None:
    source.users.insert_one({"_id": BOB, "roles": ["user"], "refreshTokens": [{"token": "t"}]})
    with target.connect() as conn:
        first = Run(source, conn, AUTH, tmp_path, "first")
        first.move()
        assert first.verify()["passed"]
        assert open_rejects(conn) == [("users", str(BOB), "email", "required")]
        again = Run(source, conn, with_numbers_as_emails(), tmp_path, "again")
        again.database = None  # type: ignore[assignment]  # whoever asks the source fails
        again.replay()
        report = again.verify()
        assert report["passed"], report["failures"]
        assert open_rejects(conn) == []
        assert conn.execute("SELECT email FROM public.users WHERE id = %s", (BOB_ID,)).fetchone() == ("unknown",)
        assert conn.execute("SELECT count(*) FROM public.user_sessions WHERE user_id = %s", (BOB_ID,)).fetchone() == (1,)
        assert conn.execute("SELECT state, count(*) FROM migration.rejects GROUP BY 1").fetchall() == [("resolved", 1)]


def test_what_a_replay_holds_in_memory_does_not_grow_with_its_rejects(
    source: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.users.insert_many([{"name": f"no e-mail {number}"} for number in range(9)])
    monkeypatch.setattr(replay, "ROW_GROUP_BYTES", 1)  # a document in each row group
    fetched: list[int] = []
    ahead: list[int] = []
    documents_at, add_rejects = load.documents_at, books.add_rejects

    def counted(*arguments: Any) -> Iterator[tuple[int, bytes]]:
        for row, document in documents_at(*arguments):
            fetched.append(row)
            yield row, document

    def noted(conn: Any, run: Any, collection: str, rejects: Iterable[Any]) -> None:
        def each() -> Iterator[Any]:
            for number, reject in enumerate(rejects, 1):
                ahead.append(len(fetched) - number)
                yield reject

        add_rejects(conn, run, collection, each())

    with target.connect() as conn:
        Run(source, conn, AUTH, tmp_path, "first").move()
        monkeypatch.setattr(load, "documents_at", counted)
        monkeypatch.setattr(books, "add_rejects", noted)
        again = Run(source, conn, AUTH, tmp_path, "again")
        again.replay()
        assert (len(fetched), max(ahead)) == (9, 0)
        assert len(open_rejects(conn)) == 9
        kept = conn.execute(
            """
            SELECT r.document_id ->> '$oid', d.bson
            FROM migration.rejects r JOIN migration.reject_documents d ON d.sha256 = r.document WHERE r.state = 'open'
            """
        )
        assert [name for name, content in kept if str(bson.decode(content)["_id"]) != name] == []


def test_a_replay_that_changes_nothing_leaves_the_rejects_open_and_is_green(
    source: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path
) -> None:
    source.users.insert_one({"_id": BOB})
    with target.connect() as conn:
        Run(source, conn, AUTH, tmp_path, "first").move()
        again = Run(source, conn, AUTH, tmp_path, "again")
        again.replay()
        assert again.verify()["passed"]
        assert open_rejects(conn) == [("users", str(BOB), "email", "required")]
        assert conn.execute("SELECT count(*) FROM migration.rejects").fetchone() == (1,)


def test_a_replay_finds_the_parent_of_an_orphan(source: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path) -> None:
    source.skilltrees.insert_one({"_id": ObjectId("0123456789abcdef00000003"), "userId": BOB})
    source.users.insert_one({"_id": BOB})
    with target.connect() as conn:
        Run(source, conn, AUTH, tmp_path, "first").move()
        assert [reject[3] for reject in open_rejects(conn)] == ["orphan", "required"]
        again = Run(source, conn, with_numbers_as_emails(), tmp_path, "again")
        again.replay()
        assert again.verify()["passed"]
        assert open_rejects(conn) == []
        assert conn.execute("SELECT user_id::text FROM public.skill_trees").fetchall() == [(BOB_ID,)]


def test_a_replay_before_the_first_full_run_is_refused(
    source: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path
) -> None:
    with target.connect() as conn, pytest.raises(PermanentError, match="run auth with mode full before a replay"):
        Run(source, conn, AUTH, tmp_path, "first").replay()


def test_the_last_good_row_stays_and_is_stale_while_the_newer_version_is_rejected(
    source: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path
) -> None:
    with target.connect() as conn:
        Run(source, conn, AUTH, tmp_path, "first").move()
        source.users.update_one({"_id": ALICE}, {"$unset": {"email": ""}, "$set": {"bio": "new"}})
        second = Run(source, conn, AUTH, tmp_path, "second")
        second.move()
        report = second.verify()
        users = next(c for c in report["collections"] if c["collection"] == "users")
        assert (report["passed"], users["stale"], users["rejected"]) == (True, 1, {"required": 1})
        assert conn.execute("SELECT email, bio FROM public.users").fetchall() == [("alice@example.org", None)]
        assert conn.execute("SELECT role FROM public.user_roles").fetchall() == [("admin",)]

        source.users.update_one({"_id": ALICE}, {"$set": {"email": "alice@example.org"}})
        third = Run(source, conn, AUTH, tmp_path, "third")
        third.move()
        report = third.verify()
        assert (report["passed"], [c["stale"] for c in report["collections"]]) == (True, [0, 0, 0, 0])
        assert conn.execute("SELECT email, bio FROM public.users").fetchall() == [("alice@example.org", "new")]


def test_a_row_of_a_rejected_document_that_the_books_do_not_call_stale_is_a_difference(
    source: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path
) -> None:
    with target.connect() as conn:
        Run(source, conn, AUTH, tmp_path, "first").move()
        source.users.update_one({"_id": ALICE}, {"$unset": {"email": ""}})
        second = Run(source, conn, AUTH, tmp_path, "second")
        second.move()
        conn.execute("DELETE FROM migration.stale")
        report = second.verify()
        assert not report["passed"]
        assert f"users {ALICE_ID}: PostgreSQL has a row that no document explains" in str(report["failures"])


def test_more_rejects_than_the_limit_turn_the_run_red_and_say_why(
    source: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path
) -> None:
    source.users.insert_many([{"email": number} for number in range(21)])
    with target.connect() as conn:
        run = Run(source, conn, AUTH, tmp_path, "first")
        run.move()
        report = run.verify()
        (failure,) = report["failures"]
        assert (failure["check"], failure["table"]) == ("limits", "users")
        assert failure["detail"].startswith("21 rejected documents are 95.5% of 22, more than 1.0%")


def test_twenty_rejects_pass_whatever_their_share(source: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path) -> None:
    source.users.insert_many([{"email": number} for number in range(20)])
    with target.connect() as conn:
        run = Run(source, conn, AUTH, tmp_path, "first")
        run.move()
        assert run.verify()["passed"]


def test_a_field_that_misfits_everywhere_turns_the_run_red(
    source: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path
) -> None:
    source.users.insert_many([{"email": f"{number}@example.org", "bio": number} for number in range(30)])
    with target.connect() as conn:
        run = Run(source, conn, AUTH, tmp_path, "first")
        run.move()
        (failure,) = run.verify()["failures"]
        assert "30 misfits of bio are 96.8% of 31" in failure["detail"]


def test_a_document_with_many_bad_elements_is_stored_once(
    source: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path
) -> None:
    source.users.insert_one({"_id": BOB, "email": "bob@example.org", "refreshTokens": [None] * 19})
    with target.connect() as conn:
        Run(source, conn, AUTH, tmp_path, "first").move()
        counts = "SELECT (SELECT count(*) FROM migration.rejects), (SELECT count(*) FROM migration.reject_documents)"
        assert conn.execute(counts).fetchone() == (19, 1)


def test_a_field_that_nobody_declared_is_reported_with_types_count_and_first_document(
    source: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path
) -> None:
    source.users.insert_one(
        {"_id": BOB, "email": "bob@example.org", "theme": "dark", "refreshTokens": [{"token": "t", "device": 7}]}
    )
    source.users.update_one({"_id": ALICE}, {"$set": {"theme": 3}})
    with target.connect() as conn:
        run = Run(source, conn, AUTH, tmp_path, "first")
        run.move()
        users = next(c for c in run.verify()["collections"] if c["collection"] == "users")
        assert users["drift"] == {
            "theme": {"count": 2, "bson_types": {"int": 1, "string": 1}, "first_id": f'{{"$oid":"{ALICE}"}}'},
            "refreshTokens.device": {"count": 1, "bson_types": {"int": 1}, "first_id": f'{{"$oid":"{BOB}"}}'},
        }
