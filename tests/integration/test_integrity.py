"""References and unique keys are checked by the rows: constraints that were dropped, disabled or never validated hide nothing."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bson import ObjectId
from psycopg.types.json import Jsonb

from deepiri.auth import AUTH
from deepiri.engagement import ENGAGEMENT
from mongo2pg import books
from mongo2pg.books import Check
from mongo2pg.databases.window import Window
from mongo2pg.files.staging import RunStaging
from mongo2pg.model import Domain
from mongo2pg.run import Run
from mongo2pg.verdict import across
from mongo2pg.verdict.across import settle_across
from mongo2pg.verdict.owed import owed_checks
from tests.conftest import PostgresWithMover
from tests.documents import NOON, connection, fill, oid, point, skill_tree, user, uuid_of
from tests.mover import Mover

ANN, BOB, NOBODY = oid(1), oid(2), oid(900)
STRANGER = uuid_of(901)
USERS = [user(1), user(2), user(3, roles=["reader", "reader"])]
OBJECTIVES = [
    {"_id": oid(401), "userId": ANN, "title": "a", "odysseyId": oid(501), "seasonId": str(NOBODY), "createdAt": NOON},
    {"_id": oid(402), "userId": ANN, "title": "b", "odysseyId": NOBODY, "createdAt": NOON},
    {"_id": oid(403), "userId": NOBODY, "title": "c", "createdAt": NOON},
]
ODYSSEYS = [{"_id": oid(501), "userId": ANN, "title": "o", "objectives": [oid(401), NOBODY], "createdAt": NOON}]


@pytest.fixture(scope="module")
def loaded(postgres: PostgresWithMover, mongo_admin: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run of auth, green."""
    database = mongo_admin["integrity"]
    fill(
        database,
        users=USERS,
        skilltrees=[skill_tree(101, ANN), skill_tree(102, NOBODY)],
        socialconnections=[connection(201, ANN, BOB), connection(202, BOB, NOBODY)],
        progresspoints=[point(number, ANN) for number in range(1000, 1010)],
    )
    with postgres.database() as login, login.connect() as conn:
        run = Run(database, conn, AUTH, tmp_path_factory.mktemp("staging"), "run")
        run.move()
        report = run.verify()
        assert report["failures"] == []
        yield run
    mongo_admin.drop_database(database.name)


@pytest.fixture
def conn(loaded: Run) -> Iterator[psycopg.Connection[Any]]:
    """The run's connection in a transaction that is taken back."""
    with loaded.conn.transaction(force_rollback=True):
        loaded.conn.execute("SET LOCAL search_path = public, pg_catalog")
        yield loaded.conn


def failed(checks: list[Check]) -> dict[str, Check]:
    return {check.subject: check for check in checks if check.verdict != "passed"}


def found(conn: psycopg.Connection[Any], check: str) -> list[tuple[str, str, str, str, str | None]]:
    rows = conn.execute(
        "SELECT table_name, id::text, column_name, kind, target FROM migration.differences WHERE check_name = %s ORDER BY 1, 2, 3",
        (check,),
    )
    return rows.fetchall()


# ------------------------------------------------------------------------------------------------------- references


def test_references_of_a_clean_run_say_what_the_source_s_orphans_became(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    checks = {check.subject: check for check in loaded.references()}
    assert set(checks) == {"user_roles", "user_sessions", "skill_trees", "skills", "social_connections", "progress_points"}
    assert checks["social_connections"].actual == {
        "orphans": 0,
        "columns": {
            "user_id": {"orphans": 0, "foreign_key": "enforced", "rejected": 0},
            "connected_user_id": {"orphans": 0, "foreign_key": "enforced", "rejected": 1},
        },
    }
    assert checks["skill_trees"].actual["columns"]["user_id"]["rejected"] == 1


ORPHANS = [
    ("its constraint was dropped", "ALTER TABLE {table} DROP CONSTRAINT {table}_{column}_fkey", "missing"),
    (
        "its constraint never looked at the rows",
        "ALTER TABLE {table} DROP CONSTRAINT {table}_{column}_fkey;"
        "ALTER TABLE {table} ADD CONSTRAINT {table}_{column}_fkey FOREIGN KEY ({column}) REFERENCES {parent} (id) NOT VALID",
        "not valid",
    ),
]


@pytest.mark.parametrize(
    ("table", "column", "parent", "number"),
    [("progress_points", "user_id", "users", 1003), ("skills", "skill_tree_id", "skill_trees", None)],
    ids=["a root's reference", "a child's parent"],
)
@pytest.mark.parametrize(("prepare", "state"), [case[1:] for case in ORPHANS], ids=[case[0] for case in ORPHANS])
def test_an_orphan_is_named_although(
    loaded: Run, conn: psycopg.Connection[Any], table: str, column: str, parent: str, number: int | None, prepare: str, state: str
) -> None:
    steps = prepare.format(table=table, column=column, parent=parent).split(";")
    row_id = uuid_of(number) if number else str(conn.execute(f"SELECT min(id::text) FROM {table}".encode()).fetchone()[0])
    conn.execute(steps[0].encode())
    conn.execute(f"UPDATE {table} SET {column} = %s WHERE id = %s".encode(), (STRANGER, row_id))
    for step in steps[1:]:
        conn.execute(step.encode())
    got = failed(loaded.references())
    assert list(got) == [table]
    assert found(conn, "references") == [(table, row_id, column, "orphan", STRANGER)]
    assert got[table].actual["columns"][column] == {"orphans": 1, "foreign_key": state, "rejected": 0}
    assert f"the foreign key of {column} to {parent} is {state}" in str(got[table].detail)
    assert f"{table} {row_id}: {column} refers to {STRANGER}, which is not there" in str(got[table].detail)
    assert loaded.report()["passed"] is False


def test_a_dropped_foreign_key_fails_although_every_row_is_right(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    conn.execute("ALTER TABLE progress_points DROP CONSTRAINT progress_points_user_id_fkey")
    got = failed(loaded.references())
    assert list(got) == ["progress_points"]
    assert got["progress_points"].detail == "the foreign key of user_id to users is missing"


def test_rows_that_came_in_behind_disabled_triggers_are_named(
    postgres: PostgresWithMover, loaded: Run, conn: psycopg.Connection[Any]
) -> None:
    # What a replica, a restore or `--disable-triggers` does; only a superuser may.
    with postgres.server.superuser.connect(dbname=loaded.conn.info.dbname, autocommit=True) as admin:
        admin.execute("SET session_replication_role = replica")
        admin.execute("INSERT INTO public.progress_points (id, user_id) VALUES (%s, %s)", (uuid_of(777), STRANGER))
        admin.execute(
            "INSERT INTO public.user_roles (id, user_id, ordinal, role) VALUES (%s, %s, 0, 'twice')", (uuid_of(778), uuid_of(1))
        )
        try:
            assert list(failed(loaded.references())) == ["progress_points"]
            got = failed(loaded.uniqueness())
            assert found(conn, "references") == [("progress_points", uuid_of(777), "user_id", "orphan", STRANGER)]
            twice = found(conn, "uniqueness")
        finally:
            admin.execute("DELETE FROM public.progress_points WHERE id = %s", (uuid_of(777),))
            admin.execute("DELETE FROM public.user_roles WHERE id = %s", (uuid_of(778),))
    assert list(got) == ["user_roles"]
    assert got["user_roles"].actual["keys"]["user_id, ordinal"] == {"duplicates": 2, "constraint": "enforced"}
    assert {(table, column, kind) for table, _, column, kind, _ in twice} == {("user_roles", "user_id, ordinal", "duplicate")}
    assert uuid_of(778) in {row_id for _, row_id, *_ in twice}


# ------------------------------------------------------------------------------------------------------- uniqueness

KEYS = [
    ("the primary key", "progress_points", "progress_points_pkey", "id", "id = '{0}' WHERE id = '{1}'", (1001, 1002)),
    ("a unique key", "users", "users_email_key", "email", "email = 'user1@example.com' WHERE id = '{1}'", (1, 2)),
    (
        "a unique key of two columns",
        "social_connections",
        "social_connections_user_id_connected_user_id_key",
        "user_id, connected_user_id",
        "",
        (201, 203),
    ),
]


@pytest.mark.parametrize(
    ("table", "constraint", "key", "change", "numbers"), [case[1:] for case in KEYS], ids=[case[0] for case in KEYS]
)
def test_two_rows_with_one_key_are_named_without_its_constraint(
    loaded: Run,
    conn: psycopg.Connection[Any],
    table: str,
    constraint: str,
    key: str,
    change: str,
    numbers: tuple[int, int],
) -> None:
    conn.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}".encode())
    if change:
        conn.execute(f"UPDATE {table} SET {change.format(*map(uuid_of, numbers))}".encode())
    else:
        conn.execute(
            f"INSERT INTO {table} (id, user_id, connected_user_id) SELECT %s, user_id, connected_user_id FROM {table}".encode(),
            (uuid_of(203),),
        )
    got = failed(loaded.uniqueness())
    assert list(got) == [table]
    assert {row[2:4] for row in found(conn, "uniqueness")} == {(key, "duplicate")}
    assert len(found(conn, "uniqueness")) == 2
    assert got[table].actual["keys"][key] == {"duplicates": 2, "constraint": "missing"}
    assert f"the constraint on ({key}) is missing" in str(got[table].detail)


def test_a_child_key_without_its_constraint_is_reported_although_no_row_breaks_it(
    loaded: Run, conn: psycopg.Connection[Any]
) -> None:
    conn.execute("ALTER TABLE skills DROP CONSTRAINT skills_skill_tree_id_skill_name_key")
    got = failed(loaded.uniqueness())
    assert list(got) == ["skills"]
    assert got["skills"].detail == "the constraint on (skill_tree_id, skill_name) is missing"


def test_a_clean_run_names_every_key_and_its_constraint(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    checks = {check.subject: check for check in loaded.uniqueness()}
    assert set(checks) == {table.name for table in AUTH.tables}
    fine = {"duplicates": 0, "constraint": "enforced"}
    assert checks["user_roles"].actual == {
        "duplicates": 0,
        "keys": {"id": fine, "user_id, ordinal": fine, "user_id, role": fine},
    }


# ------------------------------------------------------------------------------------------- optional references, windows


@pytest.fixture
def engagement(mongo_database: Any, target: Any, tmp_path: Path) -> Iterator[Mover]:
    fill(mongo_database, users=USERS)
    for collection in ENGAGEMENT.collections:
        mongo_database.create_collection(collection.name)
    mongo_database.objectives.insert_many(OBJECTIVES)
    mongo_database.odysseys.insert_many(ODYSSEYS)
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path / "staging", ENGAGEMENT)


def test_references_into_a_domain_that_is_not_loaded_wait_for_it(engagement: Mover) -> None:
    run = engagement.move("alone")
    run.verify()
    checks = {check.subject: check for check in run.references()}
    assert checks["momentum"].actual["columns"] == {
        "user_id": {"foreign_key": "the table that it refers to is not loaded yet"},
    }


@pytest.mark.parametrize("neighbours", [(), (ENGAGEMENT,)], ids=["nobody judged them", "the other domain's settling judged them"])
def test_references_that_waited_are_judged_once_both_domains_are_there(engagement: Mover, neighbours: tuple[Domain, ...]) -> None:
    engagement.move("alone").verify()
    users = Run(engagement.database, engagement.conn, AUTH, engagement.staging, "users", neighbours)
    users.move()
    assert users.verify()["failures"] == []
    settle_across(engagement.database, engagement.conn, [AUTH, ENGAGEMENT], engagement.staging)
    ((verdict, columns),) = engagement.rows(
        "SELECT verdict, actual -> 'columns' FROM migration.checks"
        " WHERE (run_id, check_name, subject) = ('alone', 'references', 'objectives')"
    )
    assert verdict == "passed"
    assert columns["user_id"] == {"orphans": 0, "foreign_key": "enforced", "rejected": 1}
    report = RunStaging(engagement.staging, "engagement", "alone").folder / "report.json"
    assert json.loads(report.read_text())["passed"] is True


def moved_with_strays(engagement: Mover) -> Run:
    """A run whose references into the other domain wait; 21 of them will turn out to lead nowhere, beside the one there is."""
    strays = [{**OBJECTIVES[2], "_id": ObjectId(), "userId": ObjectId()} for _ in range(21)]
    engagement.database.objectives.insert_many(strays)
    return engagement.move("alone")


@pytest.mark.parametrize("neighbours", [(), (ENGAGEMENT,)], ids=["nobody judged them", "the other domain's settling judged them"])
@pytest.mark.parametrize(("given", "passed"), [({}, False), ({"max_orphan_ratio": 1}, True)], ids=["defaults", "as it was given"])
def test_a_run_that_is_judged_again_is_held_to_its_own_limits_and_its_report_names_the_one_before(
    engagement: Mover, caplog: pytest.LogCaptureFixture, given: dict[str, Any], passed: bool, neighbours: tuple[Domain, ...]
) -> None:
    run = moved_with_strays(engagement)
    engagement.conn.execute("UPDATE migration.runs SET params = params || %s", (Jsonb(given),))
    run.verify()
    path = RunStaging(engagement.staging, "engagement", "alone").folder / "report.json"
    first = hashlib.sha256(path.read_bytes()).hexdigest()
    Run(engagement.database, engagement.conn, AUTH, engagement.staging, "users", neighbours).move()
    with caplog.at_level(logging.INFO):
        settle_across(engagement.database, engagement.conn, [AUTH, ENGAGEMENT], engagement.staging)
    report = json.loads(path.read_text())
    assert report["passed"] is passed
    assert report["run"]["replaces"] == first
    assert first in path.with_suffix(".html").read_text()
    assert f'"report_sha256": "{hashlib.sha256(path.read_bytes()).hexdigest()}"' in caplog.text
    assert {table["table"]: table["rows"] for table in report["tables"]}["objectives"] == 2


@pytest.mark.parametrize("step", ["_verify_again", "_judge_again"])
def test_who_is_killed_between_settling_across_domains_and_judging_them_leaves_that_to_the_next_attempt(
    engagement: Mover, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    moved_with_strays(engagement).verify()
    Run(engagement.database, engagement.conn, AUTH, engagement.staging, "users").move()
    place = (engagement.database, engagement.conn, [AUTH, ENGAGEMENT], engagement.staging)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(across, step, killed)
        with pytest.raises(KeyboardInterrupt):
            settle_across(*place)
    settle_across(*place)
    report = json.loads((RunStaging(engagement.staging, "engagement", "alone").folder / "report.json").read_text())
    assert {table["table"]: table["rows"] for table in report["tables"]}["objectives"] == 2
    # 22 orphans of 24 documents are more than what passes as dirt.
    assert [(each["check"], each["table"], each["verdict"]) for each in report["failures"]] == [("limits", "objectives", "failed")]


def test_optional_references_that_lead_nowhere_are_counted_and_one_that_was_cleared_in_vain_is_named(engagement: Mover) -> None:
    auth = Mover(engagement.database, engagement.conn, engagement.staging, AUTH)
    auth.passed("users")
    run = engagement.move("full")
    assert run.verify()["failures"] == []
    checks = {check.subject: check for check in run.references()}
    columns = checks["objectives"].actual["columns"]
    assert columns["user_id"] == {"orphans": 0, "foreign_key": "enforced", "rejected": 1}
    assert columns["odyssey_id"] == {"orphans": 0, "foreign_key": "enforced", "rejected": 0, "cleared": 1}
    assert columns["season_id"] == {"orphans": 0, "foreign_key": "enforced", "rejected": 0, "cleared": 1}
    assert checks["odyssey_objectives"].actual["columns"]["objective_id"]["rejected"] == 1
    engagement.rows(
        "UPDATE objectives SET odyssey_id = NULL, extra = jsonb_build_object('odysseyId', jsonb_build_object('$oid', %s::text))"
        " WHERE id = %s RETURNING 1",
        str(oid(501)),
        uuid_of(401),
    )
    got = failed(run.references())
    assert list(got) == ["objectives"]
    assert got["objectives"].actual["columns"]["odyssey_id"]["cleared_in_vain"] == 1
    assert found(engagement.conn, "references") == [("objectives", uuid_of(401), "odyssey_id", "different", None)]


def test_a_window_looks_at_the_rows_that_it_read_and_at_all_where_a_constraint_is_gone(loaded: Run) -> None:
    window = Run(loaded.database, loaded.conn, AUTH, loaded.staging.root, "window")
    window.move(window=Window(NOON, NOON.replace(hour=13, minute=30)))  # the first user, and all points of the day
    assert window.verify()["failures"] == []
    with loaded.conn.transaction(force_rollback=True):
        loaded.conn.execute("ALTER TABLE public.user_roles DROP CONSTRAINT user_roles_user_id_fkey")
        loaded.conn.execute("INSERT INTO public.user_roles VALUES (gen_random_uuid(), %s, 0, 'reader')", (STRANGER,))
        got = failed(window.references())
    assert got["user_roles"].actual["columns"]["user_id"] == {"orphans": 1, "foreign_key": "missing", "rejected": 0}


# ---------------------------------------------------------------------------------------------- what a run owes


def test_what_no_task_checked_is_booked_as_not_run_and_the_run_is_red(loaded: Run, conn: psycopg.Connection[Any]) -> None:
    conn.execute("DELETE FROM migration.checks WHERE run_id = 'run'")
    loaded.references()  # its task was the only one that was not killed
    report = loaded.report()
    assert report["passed"] is False
    booked = set(conn.execute("SELECT check_name, subject, chunk, verdict FROM migration.checks WHERE run_id = 'run'").fetchall())
    owed = set(owed_checks(AUTH, loaded.key, loaded.staging))
    assert {(*each, "passed" if each.check == "references" else "not_run") for each in owed} == booked
    assert {(c.check, c.subject) for c in owed} >= {
        *((check, table.name) for table in AUTH.tables for check in ("checksums", "row_counts", "uniqueness")),
        *((check, c.name) for c in AUTH.collections for check in ("accounting", "limits", "rejects", "deletes")),
        ("references", "skills"),
        ("accounting", "users.roles"),
    }
    conn.execute("SET LOCAL search_path = pg_catalog")
    loaded.uniqueness()
    verdicts = conn.execute("SELECT DISTINCT verdict FROM migration.checks WHERE check_name = 'uniqueness'").fetchall()
    assert verdicts == [("passed",)], "a check that runs later takes the place of what was booked"


CHECKED = {
    "row_counts": {"accounting", "limits", "row_counts"},
    "checksums": {"checksums", "rejects"},
    "references": {"references"},
    "uniqueness": {"uniqueness"},
    "round_trip": {"round_trip"},
}


@pytest.mark.parametrize("stage", CHECKED)
def test_a_task_that_dies_leaves_no_verdict_of_an_earlier_time(loaded: Run, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    assert loaded.verify()["passed"] is True

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(books, "forget_differences", die)
        with pytest.raises(KeyboardInterrupt):
            getattr(loaded, stage)()
    report = loaded.report()
    assert report["passed"] is False
    assert {check["check"] for check in report["checks"] if check["verdict"] == "not_run"} == CHECKED[stage]
    getattr(loaded, stage)()
    assert loaded.report()["passed"] is True
