"""Documents come back from their rows; whatever a row lost or changed is named by its path, and every leniency is counted."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from bson import Binary, DatetimeMS, Decimal128, Int64, Regex, Timestamp
from pymongo import MongoClient

from benchmarks.replay_server import ReplayServer
from mongo2pg.books import Check
from mongo2pg.checks import round_trip
from mongo2pg.run import Run
from mongo2pg.target import scripts
from tests.conftest import PostgresWithMover
from tests.documents import fill, oid, user, uuid_of
from tests.hostile import HOSTILE, write_sql
from tests.mover import Mover
from tests.score.mutants import replaced
from tests.unit.raw_bson import document

FULL: dict[str, Any] = {
    "_id": oid(1),
    "name": "as it is",
    "at": DatetimeMS(1_700_000_000_123),
    "count": 7,
    "total": Int64(2**60 + 1),
    "ratio": 0.1,
    "price": Decimal128("1.10"),
    "active": True,
    "owner": oid(77),
    "blob": b"\x00\xff",
    "tags": ["red", 'with "quote"'],
    "payload": {"z": [1, None, "x"], "nested": {"pattern": Regex("a.c", "im"), "stamp": Timestamp(5, 6)}},
    "meta": {"level": 3},
    "parts": [{"_id": oid(10), "label": "a", "size": 1}, {"_id": oid(11), "label": "b", "size": 2}],
    "scores": [0.5, 1.5],
    "labels": {"key": {"value": {"a": 1}, "rank": 0}},
}
# One after another, each equivalence alone: (counted as, table, fields).
LENIENT: list[tuple[str, str, dict[str, Any]]] = [
    ("null_as_missing", "things", {"name": None}),
    ("null_as_missing", "things", {"meta": None}),
    ("null_as_missing", "things", {"parts": None}),
    ("empty_as_missing", "things", {"parts": []}),
    ("empty_as_missing", "things", {"labels": {}}),
    ("empty_document", "things", {"meta": {}}),
    ("number_type", "things", {"count": Int64(7)}),
    ("number_type", "things", {"ratio": 7}),
    ("number_type", "things", {"price": 7}),
    ("number_type", "things", {"payload": [Int64(7)]}),
    ("decimal_form", "things", {"price": Decimal128("1E+3")}),
    ("decimal_form", "things", {"price": Decimal128("-0")}),
    ("ignored_field", "things", {"__v": 3}),
    ("null_as_missing", "thing_parts", {"parts": [{"label": None}]}),
    ("number_type", "thing_scores", {"scores": [1]}),
    ("null_as_missing", "thing_labels", {"labels": {"key": {"rank": None}}}),
]
# Nothing is lenient with these: what the columns cannot hold stands in `extra`, to the type.
KEPT: list[dict[str, Any]] = [
    {"count": "7", "ratio": Decimal128("0.1"), "active": 1, "at": "2025", "tags": ["a", 5], "meta": [1], "parts": {"a": 1}},
    {"owner": str(oid(77))},
    {"owner": Binary(bytes(range(16)), 3)},
    {"blob": Binary(b"x", 5)},
    {"payload": {"$oid": "no id"}, "nick": {"$date": "no date"}, "meta": {"level": 1, "more": Int64(2**40)}},
    {"name": "a\0b", "nick": "a\0b"},
    {"payload": [-0.0, 1e300, float("inf")], "ratio": -0.0, "price": Decimal128("NaN")},
    {"at": DatetimeMS(-62_200_000_000_000), "payload": DatetimeMS(2**50)},
    {"parts": [{"_id": "text", "label": 5, "more": None}, {"label": "b", "size": 2.5}], "scores": [float("nan"), -0.0]},
    {"labels": {"a.b": {"rank": "x", "value": 1.5}, "": {"rank": 1}}},
    {"parts": [{"label": "a"}, None, 5, {"label": "b"}], "scores": [1.5, "no", None]},  # elements that are rejected
]
DOCUMENTS = [
    FULL,
    *({"_id": oid(100 + at), "name": "lenient", **fields} for at, (_, _, fields) in enumerate(LENIENT)),
    *({"_id": oid(200 + at), "name": "kept", **fields} for at, fields in enumerate(KEPT)),
    {"name": "order", "_id": oid(300)},
    {"_id": "text", "name": "another kind of _id"},
    {"_id": 5.0, "name": "a number"},
]


@pytest.fixture(scope="module")
def loaded(postgres: PostgresWithMover, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("round-trip")
    with (
        ReplayServer({"hostile": {"things": list(map(document, DOCUMENTS)), "codes": []}}) as server,
        MongoClient[dict[str, Any]](server.uri) as client,
        postgres.database() as login,
        login.connect() as conn,
    ):
        run = Run(client["hostile"], conn, HOSTILE, folder / "staging", "run")
        with replaced(scripts, "INCLUDE", write_sql(folder / "sql")):
            run.move()
        assert run.verify()["failures"] == []
        yield run


@pytest.fixture
def conn(loaded: Run) -> Iterator[psycopg.Connection[Any]]:
    with loaded.conn.transaction(force_rollback=True):
        loaded.conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        loaded.conn.execute("SET LOCAL search_path = public, pg_catalog")
        yield loaded.conn


def found(conn: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    return conn.execute(
        """
        SELECT table_name, column_name, kind, source, target FROM migration.differences WHERE check_name = 'round_trip'
        ORDER BY table_name, column_name, kind
        """
    ).fetchall()


def of_table(checks: list[Check], table: str) -> Check:
    (check,) = [check for check in checks if check.subject == table]
    return check


def test_every_document_comes_back_and_every_leniency_is_counted(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    checks = loaded.round_trip(1)
    assert {check.verdict for check in checks} == {"passed"}
    assert of_table(checks, "things").actual["documents"] == len(DOCUMENTS)
    assert of_table(checks, "thing_parts").actual["rejected"] == 2
    assert of_table(checks, "thing_scores").actual["rejected"] == 2


@pytest.mark.parametrize("at", range(len(LENIENT)), ids=[f"{name} {json.dumps(f, default=str)}" for name, _, f in LENIENT])
def test_what_is_lenient_is_counted_as_what_it_is(
    loaded: Run, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    name, table, fields = LENIENT[at]
    only(monkeypatch, oid(100 + at))
    checks = loaded.round_trip(1)
    used = {each.subject: each.actual["equivalences"] for each in checks if each.actual.get("equivalences")}
    assert used == {table: {name: 1}}, fields


@pytest.mark.parametrize("at", range(len(KEPT)))
def test_what_extra_keeps_comes_back_to_the_type(
    loaded: Run, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    only(monkeypatch, oid(200 + at))
    checks = loaded.round_trip(1)
    assert {check.verdict for check in checks} == {"passed"}
    used = {name for check in checks for name in check.actual["equivalences"]}
    assert used <= {"number_type", "field_order"} if at in (2, 4, 8) else used <= {"field_order"}


def only(monkeypatch: pytest.MonkeyPatch, document_id: Any) -> None:
    """Rebuilds this document and no other."""
    sampled = round_trip._sampled

    def one(*args: Any) -> Iterator[tuple[list[str], list[bytes]]]:
        for names, raws in sampled(*args):
            chosen = [at for at, name in enumerate(names) if str(document_id) in name]
            yield [names[at] for at in chosen], [raws[at] for at in chosen]

    monkeypatch.setattr(round_trip, "_sampled", one)


DAMAGE = [
    ("a text", "things", "name = 'as it was'", "name", '"as it is"', "as it was"),
    ("a text that is gone", "things", "name = NULL", "name", '"as it is"', None),
    ("a microsecond", "things", "at = at + interval '1 us'", "at", '{"$date":"2023-11-14T22:13:20.123Z"}', "1700000000123.001000"),
    ("a zero of a numeric", "things", "price = 1.1", "price", '{"$numberDecimal":"1.10"}', "1.1"),
    ("the last bit of a double", "things", "ratio = 0.10000000000000002", "ratio", "0.1", "0.10000000000000002"),
    ("an integer", "things", "total = total + 1", "total", "1152921504606846977", "1152921504606846978"),
    ("a reference", "things", f"owner = '{uuid_of(78)}'", "owner", f'{{"$oid":"{oid(77)}"}}', uuid_of(78)),
    ("an array's order", "things", "tags = ARRAY[tags[2], tags[1]]", "tags", None, '["with \\"quote\\"", "red"]'),
    ("null inside jsonb", "things", "payload = jsonb_set(payload, '{z,1}', '0')", "payload", None, None),
    ("an undeclared field", "things", "extra = '{\"nick\": 1}'", "nick", None, "1"),
    ("a binary", "things", "blob = '\\x00fe'", "blob", None, "\\x00fe"),
    ("a nested field", "things", "meta_level = NULL", "meta.level", "3", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("table", "change", "path", "source", "target"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE]
)
def test_a_field_that_comes_back_as_something_else_is_named_by_its_path(
    loaded: Run, conn: psycopg.Connection[Any], table: str, change: str, path: str, source: str | None, target: str | None
) -> None:
    assert conn.execute(f"UPDATE {table} SET {change} WHERE id = %s".encode(), (uuid_of(1),)).rowcount == 1
    checks = loaded.round_trip(1)
    ((got_table, got_path, kind, got_source, got_target),) = found(conn)
    assert (got_table, got_path, kind) == (table, path, "rebuilt")
    assert {each.subject for each in checks if each.verdict == "failed"} == {table}
    if source is not None:
        assert got_source == source
    if target is not None:
        assert got_target == target
    assert loaded.report()["passed"] is False


ELEMENTS = [
    ("DELETE FROM thing_parts WHERE ordinal = 1 AND thing_id = %s", [("parts.1", "rebuilt")]),
    ("UPDATE thing_parts SET ordinal = 1 - ordinal WHERE thing_id = %s", [
        (path, "rebuilt") for path in ("_id", "_id", "label", "label", "size", "size")
    ]),
    ("UPDATE thing_parts SET ordinal = 5 WHERE ordinal = 1 AND thing_id = %s", [("parts.1", "rebuilt"), (None, "extra")]),
    ("UPDATE thing_parts SET source_id = NULL WHERE ordinal = 1 AND thing_id = %s", [("_id", "rebuilt")]),
]  # fmt: skip


@pytest.mark.parametrize(("change", "want"), ELEMENTS, ids=["lost", "swapped", "moved", "its own _id"])
def test_an_element_that_does_not_come_back_is_named(
    loaded: Run, conn: psycopg.Connection[Any], change: str, want: list[tuple[str | None, str]]
) -> None:
    conn.execute(change.encode(), (uuid_of(1),))
    loaded.round_trip(1)
    assert [row[1:3] for row in found(conn)] == want
    assert {row[0] for row in found(conn)} == {"thing_parts"}


def test_a_document_without_a_row_is_missing(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    conn.execute("DELETE FROM things WHERE id = %s", (uuid_of(300),))
    loaded.round_trip(1)
    assert found(conn) == [("things", None, "missing", None, None)]


def test_the_sample_is_the_same_every_time_and_no_smaller_than_agreed(
    loaded: Run, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_trip, "AT_LEAST", 5)
    staged = loaded.staging.collection(loaded.key.plan_id, "things")
    manifest = round_trip.read_json(staged.manifest(0))

    def chosen(sample: float) -> list[str]:
        return [name for names, _ in round_trip._sampled(staged, 0, manifest, sample) for name in names]

    assert chosen(0.3) == chosen(0.3)
    assert len(chosen(0.3)) == -(-len(DOCUMENTS) * 3 // 10)
    assert len(chosen(0)) == 5
    assert set(chosen(0)) < set(chosen(0.3)) < set(chosen(1))
    assert len(chosen(1)) == len(DOCUMENTS)


def test_a_table_that_differs_everywhere_is_complete_in_the_books_and_short_in_the_log(
    loaded: Run, conn: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(round_trip, "ROWS", 7)
    conn.execute("UPDATE things SET name = 'x'")
    with caplog.at_level(logging.INFO):
        loaded.round_trip(1)
    assert len(found(conn)) >= len(DOCUMENTS) - 1
    assert len([line for line in caplog.messages if "comes back as" in line]) == round_trip.SHOWN


def test_a_sensitive_value_is_shown_as_a_digest(mongo_database: Any, target: Any, tmp_path: Any) -> None:
    fill(mongo_database, users=[user(1, password="first-secret", hobby="third-secret")])
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path / "staging")
        run = mover.move("run")
        mover.rows("UPDATE users SET password = 'second-secret', name = 'Z', extra = NULL WHERE id = %s RETURNING 1", uuid_of(1))
        checks = run.round_trip()
        rows = {row[1]: row[3:] for row in found(conn)}
    assert rows["name"] == ('"User 1"', "Z")
    assert set(rows) == {"name", "password", "hobby"}
    assert [text[:5] for text in (*rows["password"], rows["hobby"][0])] == ["hmac:"] * 3
    assert "secret" not in str(checks)
