"""A cursor of the source dies while a chunk is read: the task fails, no chunk is ever short, and the next attempt completes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from pymongo.cursor import RawBatchCursor
from pymongo.errors import CursorNotFound, OperationFailure

from benchmarks.documents import FIRST_BATCH
from benchmarks.replay_server import ReplayServer
from deepiri.auth import AUTH
from mongo2pg import books
from mongo2pg.files.staging import read_json
from tests.documents import COLLECTIONS, fill, oid, point, user
from tests.mover import Mover

# Several batches: the first holds 101 documents, the others as many as fit into 16 MB.
POINTS = 1_000
LARGE = "x" * 60_000
# There is a cursor after the first three of them; not after the last.
BATCH = 2


def documents() -> dict[str, list[dict[str, Any]]]:
    return {"users": [user(1)], "progresspoints": [point(10 + n, oid(1), metadata=LARGE) for n in range(POINTS)]}


@pytest.fixture
def conn(target: Any) -> Iterator[Any]:
    with target.connect() as conn:
        yield conn


def after_batch(patch: pytest.MonkeyPatch, number: int, act: Callable[[RawBatchCursor[Any]], None]) -> None:
    """Acts once, when batch `number` of all that are read has come."""
    batches = 0
    read = RawBatchCursor.next

    def reading(cursor: RawBatchCursor[Any]) -> Any:
        nonlocal batches
        batch = read(cursor)
        if cursor.collection.name == "progresspoints":
            batches += 1
            if batches == number:
                act(cursor)
        return batch

    patch.setattr(RawBatchCursor, "next", reading)


def extract_fails_then_completes(mover: Mover, patch: pytest.MonkeyPatch, act: Callable[[RawBatchCursor[Any]], None]) -> None:
    run = mover.run("run")
    run.prepare()
    run.plan()
    with patch.context() as during:
        after_batch(during, BATCH, act)
        with pytest.raises(CursorNotFound):
            run.extract()
    points = run.staging.collection(run.key.plan_id, "progresspoints")
    assert not points.raw_manifest(0).exists()
    assert not points.raw(0).exists()
    run.carry()
    assert read_json(points.manifest(0))["documents"] == POINTS
    assert run.verify()["passed"] is True
    assert mover.rows("SELECT count(*), count(DISTINCT id) FROM progress_points") == [(POINTS, POINTS)]


def test_a_cursor_killed_while_it_is_read_never_ends_a_chunk_early_pp_29(
    mongo_database: Any, conn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(mongo_database, **documents())

    def kill(cursor: RawBatchCursor[Any]) -> None:
        answer = mongo_database.command("killCursors", "progresspoints", cursors=[bson.Int64(cursor.cursor_id or 0)])
        assert answer["cursorsKilled"] == [cursor.cursor_id]

    extract_fails_then_completes(Mover(mongo_database, conn, tmp_path / "staging"), monkeypatch, kill)


def replayed() -> ReplayServer:
    there = documents()
    return ReplayServer({"source": {name: [bson.encode(each) for each in there.get(name, [])] for name in COLLECTIONS}})


def test_a_fail_over_that_takes_all_cursors_along_never_ends_a_chunk_early_pp_29(
    conn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replayed() as server, MongoClient[Any](server.uri) as client:

        def fail_over(_: RawBatchCursor[Any]) -> None:
            server.faults.kill_cursors_after = 1

        extract_fails_then_completes(Mover(client["source"], conn, tmp_path / "staging", AUTH), monkeypatch, fail_over)


def test_a_reader_that_stalls_longer_than_the_cursor_lives_starts_the_chunk_again_pp_30(
    conn: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replayed() as server, MongoClient[Any](server.uri) as client:

        def stall(_: RawBatchCursor[Any]) -> None:
            server.faults.cursor_seconds = 0.2
            time.sleep(0.5)

        extract_fails_then_completes(Mover(client["source"], conn, tmp_path / "staging", AUTH), monkeypatch, stall)


def test_a_server_that_gives_fewer_documents_than_it_counts_is_no_witness_of_what_is_missing(conn: Any, tmp_path: Path) -> None:
    with replayed() as server, MongoClient[Any](server.uri) as client:
        server.faults.ends_early = True
        run = Mover(client["source"], conn, tmp_path / "staging", AUTH).move("run")
        run.row_counts()
        (found,) = [check for check in books.read_checks(conn, run.key) if check.verdict != "passed"]
        assert (found.check, found.subject) == ("accounting", "progresspoints")
        assert found.detail == f"the server counts {POINTS:,} documents and gives {FIRST_BATCH}"


def test_a_document_that_comes_twice_does_not_stand_for_one_that_does_not_come(conn: Any, tmp_path: Path) -> None:
    with replayed() as server, MongoClient[Any](server.uri) as client:
        there = [bson.encode(user(number)) for number in (1, 2)]
        server.put("source", "users", there[:1] * 2)
        run = Mover(client["source"], conn, tmp_path / "staging", AUTH.only(["users"])).move("run")
        server.put("source", "users", there)
        run.row_counts()
        (found,) = [check for check in books.read_checks(conn, run.key) if check.verdict != "passed"]
        assert (found.check, found.subject) == ("accounting", "users")
        assert found.detail == f'{{"$oid":"{oid(2)}"}} is in the source and was not read'


def test_a_collection_that_the_user_may_not_read_any_more_does_not_pass_for_one_that_is_gone(conn: Any, tmp_path: Path) -> None:
    users = AUTH.only(["users"])
    optional = replace(users, collections=(replace(users.collections[0], optional=True),))
    with replayed() as server, MongoClient[Any](server.uri) as client:
        server.put("source", "users", [bson.encode(user(number)) for number in (1, 2)])
        mover = Mover(client["source"], conn, tmp_path / "staging", optional)
        mover.passed("first")
        server.faults.hidden = frozenset({"users"})
        with pytest.raises(OperationFailure, match="not authorized"):
            mover.run("second").delete_alone()
        assert mover.rows("SELECT count(*) FROM users") == [(2,)]
