"""Whatever one changes in the target, the books or the source after a load, the right check finds it and says where."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from deepiri.auth import AUTH
from mongo2pg.books import Check
from mongo2pg.checks import count, expected
from mongo2pg.checks.compare import compare_documents, in_portions
from mongo2pg.checks.differences import SHOWN
from mongo2pg.checks.reject_causes import of_collection
from mongo2pg.documents.decode import split
from mongo2pg.reference import fields
from mongo2pg.run import Run
from tests.documents import NOON, connection, fill, oid, point, skill_tree, user, uuid_of
from tests.standing import WAYS, reading

ROOT = Path(__file__).resolve().parents[2]
ANN, BOB, CLEO, DAN = oid(1), oid(2), oid(3), oid(4)
NOBODY = oid(900)
POINTS = 3 * SHOWN

USERS = [
    user(1, preferences={"theme": "dark", "volume": 7, "ratio": 1.5, "nested": {"b": 1, "a": [1, 2, 3]}}),
    user(2, roles=["reader"], profilePicture=...),
    user(3, bio="", nickname="Kleo", isActive="yes"),  # a field nobody declared, and a misfit
    user(4, roles=["reader", 5, "reader", "writer"]),  # one element that is no text, one that is repeated
    user(5, email=...),  # rejected: required
    user(6, email="user2@example.com", roles=["ghost"]),  # rejected: Bob came first
    user(7, email="twice@example.com", roles=[], refreshTokens=[]),
    {**user(7, email="twice@example.com", roles=[], refreshTokens=[]), "_id": oid(8)},  # rejected, the same but for its id
]
SKILL_TREES = [skill_tree(101, ANN), skill_tree(102, BOB), skill_tree(103, NOBODY)]  # the last one is an orphan
CONNECTIONS = [connection(201, ANN, BOB), connection(202, BOB, CLEO)]
PASSWORDS = [document["password"] for document in USERS]
TOKENS = [session["token"] for document in USERS for session in document["refreshTokens"]]


@pytest.fixture(scope="module")
def loaded(postgres, mongo_admin, tmp_path_factory) -> Iterator[Run]:
    """A run that moved everything and whose checks all passed."""
    database = mongo_admin["verification"]
    points = [point(number, (ANN, BOB, CLEO)[number % 3]) for number in range(1000, 1000 + POINTS)]
    points[0]["value"] = -0.0
    fill(database, users=USERS, skilltrees=SKILL_TREES, socialconnections=CONNECTIONS, progresspoints=points)
    with postgres.database() as login, login.connect() as conn:
        run = Run(database, conn, AUTH, tmp_path_factory.mktemp("staging"), "run")
        run.move()
        report = run.verify()
        assert report["failures"] == []
        assert report["passed"]
        yield run
    mongo_admin.drop_database(database.name)


@pytest.fixture(autouse=True, params=[*WAYS, "projected"])
def small_portions(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """A few documents are judged at once, so that what belongs together comes in several portions; by both steps of `checksums`."""
    monkeypatch.setattr(expected, "BATCH_BYTES", 1)
    monkeypatch.setattr(expected, "PORTION_BYTES", 2000)
    monkeypatch.setattr(fields, "MANY", 1_000)
    with reading(request.param) if request.param in WAYS else contextlib.nullcontext():
        yield


@pytest.fixture
def conn(loaded: Run) -> Iterator[psycopg.Connection[Any]]:
    """The run's connection in a transaction that is taken back: what a test breaks is whole again for the next one."""
    with loaded.conn.transaction(force_rollback=True):
        loaded.conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        loaded.conn.execute("SET LOCAL search_path = public, pg_catalog")
        yield loaded.conn


class Named(NamedTuple):
    """A difference as the books have it."""

    check: str
    table: str
    id: str | None
    column: str | None
    kind: str


def verify(run: Run) -> tuple[list[Check], list[Named], set[tuple[str, str]]]:
    """All checks, every difference that they wrote down, and which of them failed."""
    run.conn.execute("SET LOCAL search_path = pg_catalog")
    checks = run.row_counts() + run.checksums()
    rows = run.conn.execute(
        "SELECT check_name, table_name, id::text, column_name, kind FROM migration.differences ORDER BY 1, 2, 3, 4"
    )
    return checks, [Named(*row) for row in rows], {(c.check, c.subject) for c in checks if c.verdict != "passed"}


def row_id(conn: psycopg.Connection[Any], query: str) -> str:
    row = conn.execute(query.encode()).fetchone()
    assert row, query
    return str(row[0])


# ------------------------------------------------------------------------------------------- values, one at a time

VALUES = [
    ("the case of one character", "users", 1, "name", "'user 1'"),
    ("a trailing space", "users", 1, "name", "'User 1 '"),
    ("a composed for a decomposed letter", "users", 1, "name", "U&'User 1\\0301'"),
    ("an empty text that becomes NULL", "users", 3, "bio", "NULL"),
    ("a NULL that becomes an empty text", "users", 2, "profile_picture", "''"),
    ("a text that becomes NULL", "users", 1, "bio", "NULL"),
    ("true that becomes false", "users", 1, "is_active", "false"),
    ("false for a misfit", "users", 3, "is_active", "false"),
    ("one millisecond later", "users", 1, "created_at", "created_at + interval '1 ms'"),
    ("one microsecond later", "users", 1, "updated_at", "updated_at + interval '1 us'"),
    ("a date that becomes NULL", "users", 1, "updated_at", "NULL"),
    ("a number inside jsonb", "users", 1, "preferences", "jsonb_set(preferences, '{volume}', '8')"),
    ("the scale of a number inside jsonb", "users", 1, "preferences", "jsonb_set(preferences, '{ratio}', '1.50')"),
    ("the order of an array inside jsonb", "users", 1, "preferences", "jsonb_set(preferences, '{nested,a}', '[1, 3, 2]')"),
    ("a null inside jsonb for an absent key", "users", 1, "preferences", "preferences || '{\"more\": null}'"),
    ("jsonb null for NULL", "users", 2, "extra", "'null'"),
    ("the extra fields removed", "users", 3, "extra", "NULL"),
    ("one extra field removed", "users", 3, "extra", "extra - 'nickname'"),
    ("a password", "users", 1, "password", "'secret'"),
    ("an integer by one", "skill_trees", 101, "skill_points", "skill_points + 1"),
    ("an integer that becomes zero for NULL", "social_connections", 201, "metadata_shared_challenges", "NULL"),
    ("an owner", "progress_points", 1001, "user_id", f"'{uuid_of(1)}'"),
    ("the last bit of a double", "progress_points", 1001, "value", "value + 2e-14"),
    ("minus zero that becomes zero", "progress_points", 1000, "value", "0"),
    ("a double that becomes NaN", "progress_points", 1001, "value", "'NaN'"),
    ("an enum's value", "social_connections", 201, "status", "'blocked'"),
]


@pytest.mark.parametrize(("table", "number", "column", "value"), [case[1:] for case in VALUES], ids=[case[0] for case in VALUES])
def test_a_changed_value_is_named_by_table_id_and_column(
    loaded: Run, conn: psycopg.Connection[Any], table: str, number: int, column: str, value: str
) -> None:
    changed = conn.execute(f"UPDATE {table} SET {column} = {value} WHERE id = %s".encode(), (uuid_of(number),))
    assert changed.rowcount == 1
    checks, got, failed = verify(loaded)
    assert got == [Named("checksums", table, uuid_of(number), column, "different")]
    assert failed == {("checksums", table)}
    (check,) = [check for check in checks if check.verdict == "failed"]
    assert f"{table} {uuid_of(number)}: column {column} should be " in str(check.detail)
    assert loaded.report()["passed"] is False


def test_a_number_whose_halves_give_the_same_when_laid_over_one_another_is_another(
    loaded: Run, conn: psycopg.Connection[Any]
) -> None:
    changed = conn.execute("UPDATE skills SET xp = %s WHERE xp = 1200", ((1 << 32) + 1201,))
    _, got, failed = verify(loaded)
    assert [(each.table, each.column) for each in got] == [("skills", "xp")] * changed.rowcount
    assert failed == {("checksums", "skills")}


def test_anybody_can_have_postgresql_work_out_a_sum_of_a_table_again(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    (documented,) = re.findall(r"```sql\n(SELECT count.*?)```", (ROOT / "docs" / "verification.md").read_text(), re.DOTALL)
    count, *sums = conn.execute(documented).fetchone() or ()
    (check,) = (check for check in verify(loaded)[0] if (check.check, check.subject) == ("checksums", "progress_points"))
    assert check.expected == check.actual == {"rows": count, "sum": list(map(int, sums))}


def test_documents_between_which_many_rows_lie_are_asked_for_one_by_one(
    loaded: Run, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expected, "PORTION_BYTES", 1 << 20)
    documents = [document for batch in loaded.database["progresspoints"].find_raw_batches() for document in split(batch)]
    collection = AUTH.collection("progresspoints")
    for some in (documents, documents[::40]):
        with compare_documents(conn, AUTH, collection, in_portions(some), of_collection("auth", "progresspoints")) as comparison:
            assert comparison.count() == 0
            source, present = comparison.sums["progress_points"]
            assert source == present
            assert source["rows"] == comparison.documents == len(some)
            (asked,) = conn.execute("SELECT to_regclass('pg_temp.mongo2pg_asked') IS NOT NULL").fetchone() or ()
    assert asked == (fields.MANY == 1)


def test_the_order_of_keys_inside_jsonb_is_no_difference(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    turned = {"nested": {"a": [1, 2, 3], "b": 1}, "ratio": 1.5, "volume": 7, "theme": "dark"}
    conn.execute("UPDATE users SET preferences = %s WHERE id = %s", (json.dumps(turned), uuid_of(1)))
    assert verify(loaded)[1:] == ([], set())


def test_values_that_change_places_do_not_cancel_out_pp_37(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    conn.execute(
        "UPDATE users SET bio = CASE id WHEN %(a)s THEN %(b_bio)s ELSE %(a_bio)s END WHERE id IN (%(a)s, %(b)s)",
        {"a": uuid_of(1), "b": uuid_of(2), "a_bio": "Bio of 1", "b_bio": "Bio of 2"},
    )
    assert verify(loaded)[1] == [Named("checksums", "users", uuid_of(n), "bio", "different") for n in (1, 2)]


def test_values_that_change_columns_do_not_cancel_out(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    conn.execute("UPDATE users SET name = bio, bio = name WHERE id = %s", (uuid_of(1),))
    assert verify(loaded)[1] == [Named("checksums", "users", uuid_of(1), column, "different") for column in ("bio", "name")]


# ------------------------------------------------------------------------------------------------------------- rows


def test_a_root_row_that_is_gone_is_missing_with_its_children(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    skills = [row[0] for row in conn.execute("SELECT id::text FROM skills WHERE skill_tree_id = %s", (uuid_of(101),))]
    conn.execute("DELETE FROM skill_trees WHERE id = %s", (uuid_of(101),))
    _, got, failed = verify(loaded)
    want = [Named("checksums", "skill_trees", uuid_of(101), None, "missing")]
    assert got == want + [Named("checksums", "skills", each, None, "missing") for each in sorted(skills)]
    assert failed == {(check, table) for check in ("checksums", "row_counts") for table in ("skill_trees", "skills")}


def test_a_root_row_that_nobody_read_is_extra(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    conn.execute("INSERT INTO progress_points (id, user_id) VALUES (%s, %s)", (uuid_of(777), uuid_of(1)))
    checks, got, failed = verify(loaded)
    assert got == [Named("row_counts", "progress_points", uuid_of(777), None, "extra")]
    assert failed == {("row_counts", "progress_points")}
    (check,) = [check for check in checks if check.verdict == "failed"]
    assert (check.expected["rows"], check.actual["rows"]) == (POINTS, POINTS + 1)
    assert f"progress_points {uuid_of(777)}" in str(check.detail)


def test_a_row_under_another_id_is_a_missing_and_an_extra_row_although_the_counts_agree(
    loaded: Run, conn: psycopg.Connection[Any]
) -> None:
    conn.execute("UPDATE progress_points SET id = %s WHERE id = %s", (uuid_of(777), uuid_of(1001)))
    _, got, failed = verify(loaded)
    assert got == [
        Named("checksums", "progress_points", uuid_of(1001), None, "missing"),
        Named("row_counts", "progress_points", uuid_of(777), None, "extra"),
    ]
    assert failed == {("checksums", "progress_points"), ("row_counts", "progress_points")}


def test_where_the_root_rows_are_those_of_the_documents_their_ids_are_not_sent_to_postgresql(
    loaded: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(count, "name_read", refuse)
    assert {check.verdict for check in loaded.row_counts()} == {"passed"}, "although documents are rejected"


@pytest.mark.parametrize(
    ("number", "insert"),
    [
        (5, "INSERT INTO users (id, email, created_at) VALUES (%s, 'user5@example.com', NULL)"),
        (6, "INSERT INTO users (id, email, created_at) VALUES (%s, 'user6@example.com', NULL)"),
        (103, f"INSERT INTO skill_trees (id, user_id) VALUES (%s, '{uuid_of(4)}')"),
    ],
    ids=["its value was missing", "it was a duplicate", "it was an orphan"],
)
def test_the_row_of_a_rejected_document_is_extra(loaded: Run, conn: psycopg.Connection[Any], number: int, insert: str) -> None:
    conn.execute(insert.encode(), (uuid_of(number),))
    table = insert.split()[2]
    _, got, failed = verify(loaded)
    assert got == [Named("checksums", table, uuid_of(number), None, "extra")]
    assert {("checksums", table), ("row_counts", table)} == failed


# ------------------------------------------------------------------------------------------------------- child rows


def test_positions_that_change_places_are_named_row_by_row(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    ids = [row[0] for row in conn.execute("SELECT id::text FROM user_roles WHERE user_id = %s", (uuid_of(1),))]
    conn.execute("UPDATE user_roles SET ordinal = 1 - ordinal WHERE user_id = %s", (uuid_of(1),))
    _, got, failed = verify(loaded)
    assert got == [Named("checksums", "user_roles", each, "ordinal", "different") for each in sorted(ids)]
    assert failed == {("checksums", "user_roles")}


def test_a_child_row_that_hangs_on_a_sibling_is_named(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    session = row_id(conn, f"SELECT id FROM user_sessions WHERE user_id = '{uuid_of(1)}'")
    conn.execute("UPDATE user_sessions SET user_id = %s, ordinal = 9 WHERE id = %s", (uuid_of(2), session))
    assert verify(loaded)[1] == [
        Named("checksums", "user_sessions", session, column, "different") for column in ("ordinal", "user_id")
    ]


def test_a_lost_child_row_is_missing(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    skill = row_id(conn, f"SELECT id FROM skills WHERE skill_tree_id = '{uuid_of(102)}' AND skill_name = 'coding'")
    conn.execute("DELETE FROM skills WHERE id = %s", (skill,))
    _, got, failed = verify(loaded)
    assert got == [Named("checksums", "skills", skill, None, "missing")]
    assert failed == {("checksums", "skills"), ("row_counts", "skills")}


def test_a_child_row_that_is_there_twice_is_extra_pp_37(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    copy = row_id(
        conn,
        f"""
        INSERT INTO user_sessions SELECT gen_random_uuid(), user_id, 1, source_id, token, created_at, expires_at, extra
        FROM user_sessions WHERE user_id = '{uuid_of(1)}' RETURNING id
        """,
    )
    _, got, failed = verify(loaded)
    assert got == [Named("checksums", "user_sessions", copy, None, "extra")]
    assert failed == {("checksums", "user_sessions"), ("row_counts", "user_sessions")}


def test_a_child_row_of_a_row_that_nobody_read_is_counted(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    conn.execute("INSERT INTO users (id, email) VALUES (%s, 'new@example.com')", (uuid_of(777),))
    conn.execute("INSERT INTO user_roles VALUES (gen_random_uuid(), %s, 0, 'reader')", (uuid_of(777),))
    _, got, failed = verify(loaded)
    assert got == [Named("row_counts", "users", uuid_of(777), None, "extra")]
    assert failed == {("row_counts", "users"), ("row_counts", "user_roles")}


def test_a_rejected_element_that_has_a_row_is_extra(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    role = row_id(conn, f"INSERT INTO user_roles VALUES (gen_random_uuid(), '{uuid_of(4)}', 1, '5') RETURNING id")
    assert verify(loaded)[1] == [Named("checksums", "user_roles", role, None, "extra")]


# ---------------------------------------------------------------------------------------------------- much at once


def test_a_table_that_differs_everywhere_is_complete_in_the_books_and_short_in_the_log(
    loaded: Run, conn: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    conn.execute("UPDATE progress_points SET metric = 'x', value = 1e300, metadata = '[]', timestamp = NULL")
    checks, got, _ = verify(loaded)
    columns = ("metadata", "metric", "timestamp", "value")
    assert [(row.id, row.column) for row in got] == [
        (uuid_of(number), column) for number in range(1000, 1000 + POINTS) for column in columns
    ]
    shown = [line for line in caplog.messages if line.startswith("progress_points ") and "should be" in line]
    assert len(shown) == SHOWN
    assert any(f"… and {4 * POINTS - SHOWN} more" in line for line in caplog.messages)
    (check,) = [check for check in checks if check.verdict == "failed"]
    assert str(check.detail).count("should be") == SHOWN


def test_long_values_are_complete_in_the_books_and_shown_from_where_they_part(
    loaded: Run, conn: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    conn.execute("UPDATE progress_points SET metric = 'focus' || repeat('x', 300000) || id::text")
    checks, got, _ = verify(loaded)
    assert len(got) == POINTS
    assert conn.execute("SELECT DISTINCT length(target), source FROM migration.differences").fetchall() == [(300041, "focus")]
    lines = [line for line in caplog.messages if "should be" in line]
    assert len(lines) == SHOWN
    assert {len(line) < 500 for line in lines} == {True}
    assert f"progress_points {uuid_of(1000)}: column metric should be 'focus', is 'focusxxx" in lines[0]
    (check,) = [check for check in checks if check.verdict == "failed"]
    assert len(str(check.detail)) < 20_000
    assert len(json.dumps(loaded.report()["differences"])) < 20_000


def test_an_empty_target_is_a_missing_row_for_every_expected_one(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    count = sum(int(row_id(conn, f"SELECT count(*) FROM {table.name}")) for table in AUTH.tables)
    conn.execute("DELETE FROM users")
    _, got, failed = verify(loaded)
    # Rejects that a row of the target explained have lost their cause.
    assert len([row for row in got if row.kind == "missing"]) == count
    assert failed >= {(check, table.name) for check in ("checksums", "row_counts") for table in AUTH.tables}


def test_verified_again_after_a_repair_the_differences_are_gone(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    conn.execute("UPDATE users SET bio = 'x' WHERE id = %s", (uuid_of(1),))
    assert verify(loaded)[1]
    conn.execute("UPDATE public.users SET bio = 'Bio of 1' WHERE id = %s", (uuid_of(1),))
    assert verify(loaded)[1:] == ([], set())
    assert loaded.report()["passed"] is True


# ------------------------------------------------------------------------------------------------- sensitive values


def test_sums_and_differences_are_the_same_however_documents_are_portioned(
    loaded: Run, conn: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    conn.execute("UPDATE public.users SET name = 'somebody else' WHERE id = %s", (uuid_of(1),))
    conn.execute("UPDATE public.progress_points SET value = 7 WHERE id = %s", (uuid_of(1000 + POINTS - 1),))
    conn.execute("SET LOCAL search_path = pg_catalog")
    in_portions = loaded.checksums()
    assert [check.subject for check in in_portions if check.verdict != "passed"] == ["users", "progress_points"]
    monkeypatch.setattr(expected, "PORTION_BYTES", 1 << 30)
    assert loaded.checksums() == in_portions


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("users", "password", "'changed-password'"),
        ("users", "extra", '\'{"passwordHistory": ["changed-password"]}\''),
        ("user_sessions", "token", "'changed-password'"),
        ("user_sessions", "extra", '\'{"old": "changed-password"}\''),
    ],
)
def test_a_sensitive_value_appears_as_a_digest_only(
    loaded: Run, conn: psycopg.Connection[Any], caplog: pytest.LogCaptureFixture, table: str, column: str, value: str
) -> None:
    caplog.set_level(logging.DEBUG)
    conn.execute(f"UPDATE {table} SET {column} = {value}".encode())
    checks, got, failed = verify(loaded)
    assert failed == {("checksums", table)}
    assert got
    rows = conn.execute("SELECT source, target FROM migration.differences").fetchall()
    assert {text[:5] for row in rows for text in row if text} == {"hmac:"}
    assert len({row[1] for row in rows}) == 1, "equal values have one digest"
    everything = "\n".join([*caplog.messages, str(checks), json.dumps(loaded.report()), str(rows)])
    for secret in ("changed-password", *PASSWORDS, *TOKENS):
        assert secret not in everything


def test_a_null_in_the_place_of_a_sensitive_value_is_told_from_a_digest(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    conn.execute("UPDATE users SET password = NULL WHERE id = %s", (uuid_of(1),))
    verify(loaded)
    (row,) = conn.execute("SELECT source LIKE 'hmac:%', target FROM migration.differences").fetchall()
    assert row == (True, None)


# ---------------------------------------------------------------------------------------------------------- rejects


@pytest.mark.parametrize(
    ("collection", "number", "path", "reason"),
    [("users", 5, "email", "required"), ("users", 4, "roles.1", "type_mismatch"), ("users", 4, "roles.2", "duplicate_key")],
)
def test_a_reject_that_is_gone_from_the_books_is_found(
    loaded: Run, conn: psycopg.Connection[Any], collection: str, number: int, path: str, reason: str
) -> None:
    gone = conn.execute("DELETE FROM migration.rejects WHERE document_id ->> '$oid' = %s AND path = %s", (str(oid(number)), path))
    assert gone.rowcount == 1
    checks, got, failed = verify(loaded)
    assert got == [Named("checksums", collection, None, None, "reject")]
    assert failed == {("rejects", collection)}
    (check,) = [check for check in checks if check.verdict == "failed"]
    assert check.detail == f'{{"$oid": "{oid(number)}"}} {path} ({reason}) must be rejected but is not in the books'


@pytest.mark.parametrize(("collection", "table", "number"), [("users", "users", 6), ("skilltrees", "skill_trees", 103)])
def test_a_settled_reject_that_is_gone_from_the_books_is_a_missing_row(
    loaded: Run, conn: psycopg.Connection[Any], collection: str, table: str, number: int
) -> None:
    conn.execute("DELETE FROM migration.rejects WHERE document_id ->> '$oid' = %s", (str(oid(number)),))
    _, got, failed = verify(loaded)
    assert Named("checksums", table, uuid_of(number), None, "missing") in got
    assert failed >= {("checksums", table)}


@pytest.mark.parametrize(
    ("collection", "number", "path", "reason", "element", "said"),
    [
        ("users", 1, "email", "required", False, "is rejected without that cause"),
        ("users", 1, "roles.0", "type_mismatch", True, "is rejected without that cause"),
        ("users", 1, "email", "duplicate_key", False, "is rejected although no smaller _id holds its key"),
        ("users", 1, "_id", "duplicate_key", False, "is rejected although no smaller _id holds its key"),
        ("users", 1, "name", "duplicate_key", False, "is rejected although no smaller _id holds its key"),
        ("users", 1, "roles.0", "orphan", True, "is rejected although the row it refers to is there"),
        ("users", 1, "refreshTokens.0.token", "orphan", True, "is rejected although the row it refers to is there"),
        ("users", 1, "refreshTokens.7.token", "orphan", True, "is rejected although the row it refers to is there"),
        ("skilltrees", 101, "userId", "orphan", False, "is rejected although the row it refers to is there"),
        ("skilltrees", 101, "skillPoints", "orphan", False, "is rejected although the row it refers to is there"),
        ("users", 4242, "email", "required", False, "is rejected without that cause"),
        ("users", 4242, "email", "orphan", False, "is rejected without that cause"),
        ("users", 5, "email", "orphan", False, "is rejected without that cause"),
    ],
)
def test_a_reject_without_a_cause_is_found(
    loaded: Run,
    conn: psycopg.Connection[Any],
    collection: str,
    number: int,
    path: str,
    reason: str,
    element: bool,
    said: str,
) -> None:
    key = json.dumps({"$oid": str(oid(number))})
    conn.execute("DELETE FROM migration.rejects WHERE document_id = %s::jsonb", (key,))
    conn.execute(
        """
        INSERT INTO migration.rejects (domain, collection, document_id, path, element, bson_type, reason, document,
            run_id, plan_id, chunk)
        SELECT domain, %s, %s, %s, %s, 'string', %s, document, run_id, plan_id, 0 FROM migration.rejects LIMIT 1
        """,
        (collection, key, path, element, reason),
    )
    checks, _, failed = verify(loaded)
    assert ("rejects", collection) in failed
    (check,) = [check for check in checks if check.check == "rejects" and check.verdict == "failed"]
    assert f"{path} ({reason}) {said}" in str(check.detail)


def test_a_duplicate_that_won_although_its_id_is_larger_is_found(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    smaller, larger = (json.dumps({"$oid": str(oid(number))}) for number in (7, 8))
    assert conn.execute("UPDATE users SET id = %s WHERE id = %s", (uuid_of(8), uuid_of(7))).rowcount == 1
    assert conn.execute("UPDATE migration.rejects SET document_id = %s WHERE document_id = %s", (smaller, larger)).rowcount == 1
    checks, _, failed = verify(loaded)
    assert failed == {("rejects", "users")}
    (check,) = [check for check in checks if check.verdict == "failed"]
    assert check.detail == f'{{"$oid": "{oid(7)}"}} email (duplicate_key) is rejected although no smaller _id holds its key'


def test_rejecting_everything_does_not_verify(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    conn.execute("DELETE FROM users")
    for collection, documents in (("users", USERS), ("skilltrees", SKILL_TREES)):
        for document in documents:
            conn.execute(
                """
                INSERT INTO migration.rejects (domain, collection, document_id, path, element, bson_type, reason, document,
                    run_id, plan_id, chunk)
                SELECT domain, %s, %s, '', false, 'object', 'malformed', document, run_id, plan_id, 0
                FROM migration.rejects LIMIT 1 ON CONFLICT DO NOTHING
                """,
                (collection, json.dumps({"$oid": str(document["_id"])})),
            )
    _, _, failed = verify(loaded)
    assert failed >= {("rejects", "users"), ("rejects", "skilltrees"), ("checksums", "users"), ("checksums", "skill_trees")}


# ------------------------------------------------------------------------------------------------------- accounting

OF_THE_LOAD = "WHERE collection = 'users' AND stage = 'load'"
BOOKS = [
    ("a lost pass", "DELETE FROM migration.passes"),
    ("one more inserted", "UPDATE migration.passes SET inserted = inserted + 1"),
    ("one more read", "UPDATE migration.passes SET read = read + 1"),
    ("rejects too many", "UPDATE migration.passes SET rejected = '{\"required\": 9}'"),
    ("rejects too few", "UPDATE migration.passes SET rejected = '{}'"),
]


@pytest.mark.parametrize("change", [case[1] for case in BOOKS], ids=[case[0] for case in BOOKS])
def test_books_whose_sums_do_not_close_fail(loaded: Run, conn: psycopg.Connection[Any], change: str) -> None:
    assert conn.execute(f"{change} {OF_THE_LOAD}".encode()).rowcount == 1
    assert ("accounting", "users") in verify(loaded)[2]
    assert loaded.report()["passed"] is False


def test_a_settling_that_the_books_lost_leaves_fewer_rows_than_they_say(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    conn.execute("DELETE FROM migration.passes WHERE collection = 'users' AND stage = 'settle'")
    assert verify(loaded)[2] == {("row_counts", table) for table in ("users", "user_roles", "user_sessions")}


def test_array_elements_that_the_books_lost_fail(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    assert conn.execute(f"UPDATE migration.passes SET arrays = jsonb_set(arrays, '{{roles,elements}}', '2') {OF_THE_LOAD}".encode())
    assert verify(loaded)[2] == {("accounting", "users.roles")}


def test_an_array_that_has_grown_at_the_server_since_is_explained(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    users = loaded.database.users
    users.update_one({"_id": ANN}, {"$push": {"roles": "late"}})
    try:
        checks, _, failed = verify(loaded)
    finally:
        users.update_one({"_id": ANN}, {"$pop": {"roles": 1}})
    assert failed == set()
    (check,) = [check for check in checks if (check.check, check.subject) == ("accounting", "users.roles")]
    assert check.expected["server"] == check.expected["read"] + 1
    assert check.expected["changed"] == 1


def test_a_document_that_was_not_read_fails_and_is_named(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    loaded.database.users.insert_one(user(30))
    try:
        checks, _, failed = verify(loaded)
    finally:
        loaded.database.users.delete_one({"_id": oid(30)})
    assert ("accounting", "users") in failed
    (check,) = [check for check in checks if (check.check, check.subject) == ("accounting", "users")]
    assert f'{{"$oid":"{oid(30)}"}} is in the source and was not read' in str(check.detail)


def test_a_document_that_was_deleted_since_is_explained(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    loaded.database.progresspoints.delete_one({"_id": oid(1001)})
    try:
        checks, got, failed = verify(loaded)
    finally:
        loaded.database.progresspoints.insert_one(point(1001, BOB))
    (check,) = [check for check in checks if (check.check, check.subject) == ("accounting", "progresspoints")]
    assert check.expected == {"source_before": POINTS, "source_after": POINTS - 1, "read": POINTS, "explained": 1}
    assert (got, failed) == ([], set())


def test_a_check_that_did_not_run_is_never_passed(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    verify(loaded)
    conn.execute("DELETE FROM migration.checks WHERE check_name = 'checksums' AND subject = 'skills'")
    report = loaded.report()
    assert report["passed"] is False
    assert {"check": "checksums", "table": "skills", "verdict": "not_run"} in report["checks"]


def test_the_expectation_holds_a_date_to_the_millisecond(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    row = conn.execute("SELECT created_at FROM users WHERE id = %s", (uuid_of(1),)).fetchone()
    assert row == (NOON,)
