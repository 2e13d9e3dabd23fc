"""The DAG of the auth domain in a real Airflow: green when all is well, and red whatever goes wrong."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote, quote_plus

import pytest

from deepiri.auth import AUTH
from mongo2pg.files.staging import safe_name
from tests.documents import fill, oid, point, skill_tree, user, uuid_of

# Two chunks of users at one megabyte each: what is mapped has two instances.
USERS = 130
CONF = {"mode": "full", "chunk_mb": 1}
LABELS = ["users 0", "users 1, skilltrees 0, socialconnections 0, progresspoints 0"]
MAPPED = ("move.extract", "move.normalise", "move.load", "checksums", "round_trip")
TASKS = ("prepare", "plan", *MAPPED[:3], "delete", "settle", "row_counts", *MAPPED[3:], "references", "uniqueness", "gate")

# Every one of them must be nowhere but in the two databases and in staging.
PLANTED = "planted-secret"
SOURCE = {
    "users": [
        *(user(n, bio=f"{n} " * 3000, password=f"{PLANTED}-{n}") for n in range(1, USERS - 2)),
        user(200, email=..., password=f"{PLANTED}-rejected"),
        user(201, password={"hash": f"{PLANTED}-misfit"}),
        user(202, email="user1@example.com", password=f"{PLANTED}-duplicate", refreshTokens=[{"token": [f"{PLANTED}-list"]}, "x"]),
    ],
    "skilltrees": [skill_tree(301, oid(1)), skill_tree(302, oid(999))],
    "progresspoints": [point(401, oid(1)), point(402, oid(2)), point(403, oid(3))],
}
for document in SOURCE["users"][:5]:
    document["refreshTokens"][0]["token"] = f"{PLANTED}-token"

# The last four are more than was agreed: which run it was, and what a person wants to know of a red one.
REPORT = {
    **{"domain": str, "passed": bool, "collections": list, "tables": list, "checks": list},
    **{"run_id": str, "failures": list, "more_failures": int, "failed_tasks": list},
    # What a certificate shows besides.
    **{"run": dict, "versions": dict, "readings": list, "rejects": list, "differences": dict, "round_trip": list},
}
COLLECTION = {
    **dict.fromkeys(("source_before", "source_after", "read", "inserted", "updated", "unchanged", "superseded", "stale"), int),
    **{"collection": str, "rejected": dict, "misfits": dict, "arrays": list},
    # More than was agreed: values that a conversion changed, undeclared fields, the size of what was read, the watermark.
    **{"conversions": dict, "drift": dict, "bytes": int, "watermark": str},
}
ARRAY = {"path": str, "elements": int, "rows": int, "rejected": int, "of_parents_not_loaded": int}
TABLE = {"table": str, "rows": int, "source_checksum": str, "target_checksum": str}
CHECK = {"check": str, "table": str, "verdict": str}


class Ran(NamedTuple):
    """A finished run."""

    id: str
    state: str


# ------------------------------------------------------------------------------------------------------------- runs


@pytest.fixture(scope="module")
def empty(airflow) -> Any:
    """An Airflow that knows the DAG, a source with documents, and a target without a single table."""
    fill(airflow.source, **SOURCE)
    with airflow.target.connect(autocommit=True) as conn:
        conn.execute("DROP SCHEMA IF EXISTS migration CASCADE")
        conn.execute("DROP SCHEMA public CASCADE")
        conn.execute("CREATE SCHEMA public")
    airflow.client.wait_for_dag("auth")
    airflow.client.unpause("auth")
    return airflow


@pytest.fixture(scope="module")
def refused(empty) -> Ran:
    """The first run of all, with a parameter that nobody knows."""
    return run(empty, {"mode": "full", "chunk_md": 1})


@pytest.fixture(scope="module")
def left_by_refused(empty, refused: Ran) -> list[Any]:
    return rows(
        empty, "SELECT relname FROM pg_class WHERE relnamespace IN (to_regnamespace('public'), to_regnamespace('migration'))"
    )


@pytest.fixture(scope="module")
def green(empty, left_by_refused) -> Ran:
    """A full run into the empty target."""
    return run(empty, CONF)


def run(airflow, conf: dict[str, Any]) -> Ran:
    run_id = airflow.client.trigger("auth", conf)
    return Ran(run_id, airflow.client.wait_for_run("auth", run_id))


def clear(airflow, ran: Ran, *tasks: str) -> str:
    """Lets tasks run again with all that follow them; returns the state in which the run then ends."""
    before = gate_tries(airflow, ran)
    airflow.client.clear("auth", ran.id, list(tasks), downstream=True)
    # The run keeps its old state until the scheduler has seen what was cleared.
    wait_until(lambda: gate_tries(airflow, ran) != before, f"{tasks} did not run again")
    return airflow.client.wait_for_run("auth", ran.id)


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)


def gate_tries(airflow, ran: Ran) -> int:
    (gate,) = [task for task in airflow.client.tasks("auth", ran.id) if task["task_id"] == "gate"]
    return int(gate["try_number"])


@contextmanager
def failing(airflow, task: str) -> Iterator[None]:
    file = airflow.server.home / "fail" / task
    file.parent.mkdir(exist_ok=True)
    file.touch()
    try:
        yield
    finally:
        file.unlink()


# ---------------------------------------------------------------------------------------------- what a run left behind


def rows(airflow, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with airflow.target.connect(autocommit=True) as conn:
        found: list[tuple[Any, ...]] = conn.execute(query.encode(), values or None).fetchall()
        return found


def image(airflow) -> dict[str, Any]:
    return {t.name: rows(airflow, f"SELECT xmin::text, xmax::text, t::text FROM {t.name} t ORDER BY id") for t in AUTH.tables}


def report(airflow, ran: Ran) -> dict[str, Any]:
    file = airflow.staging / "auth" / safe_name(ran.id) / "report.json"
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def states(airflow, ran: Ran, dag: str = "auth") -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for task in airflow.client.tasks(dag, ran.id):
        found.setdefault(task["task_id"], set()).add(task["state"])
    return found


def log(airflow, ran: Ran, task_id: str, map_index: int = -1, dag: str = "auth") -> str:
    return str(airflow.client.log_text(dag, ran.id, task_id, map_index=map_index))


def audits(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("AUDIT ")) for line in text.splitlines() if line.startswith("AUDIT ")]


# ------------------------------------------------------------------------------------------------ refused, then green


def test_an_unknown_param_is_refused_by_prepare_before_anything_is_written(empty, refused: Ran, left_by_refused) -> None:
    assert refused.state == "failed"
    found = states(empty, refused)
    assert (found["prepare"], found["gate"]) == ({"failed"}, {"failed"})
    assert set().union(*(found[task] for task in found if task not in ("prepare", "gate"))) == {"upstream_failed"}
    text = log(empty, refused, "prepare")
    assert "nothing was written, because:" in text
    assert (
        "unknown parameter 'chunk_md': the parameters are mode, from, to, collections, lookback_minutes, scan_limit_mb, chunk_mb"
        in text
    )
    assert left_by_refused == []


def test_the_report_of_a_run_that_could_not_begin_says_that_nothing_ran(empty, refused: Ran) -> None:
    found = report(empty, refused)
    assert (found["passed"], found["failed_tasks"][:2]) == (False, ["prepare", "checksums"])
    assert {check["verdict"] for check in found["checks"]} == {"not_run"}
    assert "the task prepare did not succeed" in log(empty, refused, "gate")


@pytest.mark.parametrize(
    "conf",
    [{"mode": "everything"}, {"mode": None}, {"chunk_mb": 0}, {"chunk_mb": "64"}, {"collections": ["user"]}],
)
def test_a_bad_value_is_refused_when_the_run_is_triggered(empty, conf: dict[str, Any]) -> None:
    from demo.rest import ApiError

    with pytest.raises(ApiError, match=r"is not one of|is less than|is not of type|is not a '.*date-time|is not valid") as refusal:
        empty.client.trigger("auth", conf)
    assert refusal.value.status == 400


def test_a_full_run_goes_green_and_its_rows_are_there(empty, green: Ran) -> None:
    assert green.state == "success", log(empty, green, "gate")
    assert set(states(empty, green)) == set(TASKS)
    assert set().union(*states(empty, green).values()) == {"success"}
    counts = {table.name: rows(empty, f"SELECT count(*) FROM {table.name}")[0][0] for table in AUTH.tables}
    assert counts == {
        "users": USERS - 2,
        "user_roles": 2 * (USERS - 2),
        "user_sessions": USERS - 2,
        "skill_trees": 1,
        "skills": 2,
        "social_connections": 0,
        "progress_points": 3,
    }
    assert rows(empty, "SELECT name, password FROM users WHERE id = %s", uuid_of(7)) == [("User 7", f"{PLANTED}-7")]
    assert rows(empty, "SELECT state, mode, started_by FROM migration.runs WHERE run_id = %s", green.id) == [
        ("passed", "full", "admin")
    ]


def test_each_mapped_task_bears_the_name_of_its_chunks(empty, green: Ran) -> None:
    labels: dict[str, list[str]] = {}
    for task in sorted(empty.client.tasks("auth", green.id), key=lambda task: task["map_index"]):
        if task["map_index"] >= 0:
            labels.setdefault(task["task_id"], []).append(task["rendered_map_index"])
    assert labels == dict.fromkeys(MAPPED, LABELS)


def test_the_report_has_the_shape_that_was_agreed(empty, green: Ran) -> None:
    found = report(empty, green)
    assert_shape(found, REPORT)
    for collection in found["collections"]:
        assert_shape(collection, COLLECTION)
        assert_kinds(collection["rejected"], int)
        assert_kinds(collection["misfits"], int)
        for array in collection["arrays"]:
            assert_shape(array, ARRAY)
    for table in found["tables"]:
        assert_shape(table, TABLE)
    for check in found["checks"]:
        assert_shape(check, CHECK)
    assert {check["verdict"] for check in found["checks"]} == {"passed"}
    assert {check["check"] for check in found["checks"]} == {
        "accounting",
        "deletes",
        "limits",
        "live",
        "row_counts",
        "checksums",
        "references",
        "rejects",
        "round_trip",
        "uniqueness",
    }
    assert [collection["collection"] for collection in found["collections"]] == [c.name for c in AUTH.collections]
    assert [table["table"] for table in found["tables"]] == [t.name for t in AUTH.tables]


def test_the_report_says_what_became_of_every_document_pp_42(empty, green: Ran) -> None:
    found = report(empty, green)
    users, trees, *_ = found["collections"]
    assert {key: users[key] for key in ("source_before", "source_after", "read", "inserted", "updated", "unchanged")} == {
        "source_before": USERS,
        "source_after": USERS,
        "read": USERS,
        "inserted": USERS - 2,
        "updated": 0,
        "unchanged": 0,
    }
    assert (users["rejected"], users["misfits"]) == ({"required": 1, "duplicate_key": 1}, {"password": 1, "refreshTokens.token": 1})
    assert users["arrays"] == [
        {"path": "roles", "elements": 2 * USERS, "rows": 2 * (USERS - 2), "rejected": 0, "of_parents_not_loaded": 4},
        {"path": "refreshTokens", "elements": USERS + 1, "rows": USERS - 2, "rejected": 1, "of_parents_not_loaded": 2},
    ]
    assert trees["rejected"] == {"orphan": 1}
    for table in found["tables"]:
        assert table["rows"] == rows(empty, f"SELECT count(*) FROM {table['table']}")[0][0]
        assert table["source_checksum"] == table["target_checksum"]
        assert len(table["source_checksum"]) == 32
    assert rows(empty, "SELECT report FROM migration.runs WHERE run_id = %s", green.id) == [(found,)]


def test_every_task_leaves_a_line_that_a_machine_reads(empty, green: Ran) -> None:
    for task in empty.client.tasks("auth", green.id):
        found = audits(log(empty, green, task["task_id"], task["map_index"]))
        assert found, task["task_id"]
        for facts in found:
            assert facts["stage"] == task["task_id"].removeprefix("move.")
            assert (facts["domain"], facts["run_id"]) == ("auth", green.id)
            assert facts["peak_rss_mb"] > 0
    lines = [
        facts
        for task in empty.client.tasks("auth", green.id)
        for facts in audits(log(empty, green, task["task_id"], task["map_index"]))
    ]
    assert sum(line["documents"] for line in lines if line["stage"] == "extract") == sum(map(len, SOURCE.values()))
    assert sum(line["read"] for line in lines if line["stage"] == "load") == sum(map(len, SOURCE.values()))
    assert [line["passed"] for line in lines if line["stage"] == "gate"] == [True]


@pytest.fixture(scope="module")
def rows_before(empty, green: Ran) -> dict[str, Any]:
    return image(empty)


@pytest.fixture(scope="module")
def latest(empty, rows_before) -> Ran:
    """A second run over the same documents: from now on the books speak of this one."""
    return run(empty, CONF)


def test_a_second_run_changes_nothing_in_postgresql(empty, rows_before, latest: Ran) -> None:
    assert latest.state == "success"
    assert image(empty) == rows_before
    assert {row[1] for found in rows_before.values() for row in found} == {"0"}
    users = report(empty, latest)["collections"][0]
    assert (users["inserted"], users["updated"], users["unchanged"]) == (0, 0, USERS - 2)


# ----------------------------------------------------------------------------------------------------------- red


def test_tampering_is_found_by_tasks_that_are_cleared_and_named(empty, latest: Ran) -> None:
    with empty.target.connect(autocommit=True) as conn:
        changed, gone = uuid_of(5), uuid_of(402)
        conn.execute("UPDATE users SET name = 'USER 5', password = %s WHERE id = %s", (f"{PLANTED}-changed", changed))
        conn.execute("CREATE TABLE public.kept AS SELECT * FROM progress_points WHERE id = %s", (gone,))
        conn.execute("DELETE FROM progress_points WHERE id = %s", (gone,))
        copied = conn.execute(
            """
            INSERT INTO user_sessions SELECT gen_random_uuid(), user_id, 7, source_id, token, created_at, expires_at, extra
            FROM user_sessions WHERE user_id = %s RETURNING id::text
            """,
            (uuid_of(1),),
        ).fetchone()[0]
    assert clear(empty, latest, "row_counts", "checksums") == "failed"
    found = states(empty, latest)
    assert (found["row_counts"], found["checksums"], found["gate"]) == ({"failed"}, {"failed"}, {"failed"})
    assert {state for task, both in found.items() for state in both if task not in ("row_counts", "checksums", "gate")} == {
        "success"
    }
    counted = log(empty, latest, "row_counts")
    assert "progress_points: expected {'rows': 3}, found {'rows': 2" in counted
    assert f"user_sessions: expected {{'rows': {USERS - 2}}}, found {{'rows': {USERS - 1}" in counted
    compared = "\n".join(log(empty, latest, "checksums", at) for at in range(len(LABELS)))
    assert f"users {changed}: column name should be 'User 5', is 'USER 5'" in compared
    assert f"users {changed}: column password should be 'hmac:" in compared
    assert f"progress_points {gone}: the row is missing in PostgreSQL" in compared
    assert f"user_sessions {copied}: PostgreSQL has a row that no document explains" in compared
    verdict = log(empty, latest, "gate")
    for sentence in (
        "the run of auth is red",
        "the task checksums",
        "checksums of users: failed",
        "checksums of user_sessions: failed",
        "row_counts of progress_points: failed",
    ):
        assert sentence in verdict
    assert report(empty, latest)["passed"] is False

    with empty.target.connect(autocommit=True) as conn:
        conn.execute("UPDATE users SET name = 'User 5', password = %s WHERE id = %s", (f"{PLANTED}-5", changed))
        conn.execute("DELETE FROM user_sessions WHERE id = %s", (copied,))
        conn.execute("INSERT INTO progress_points SELECT * FROM public.kept")
        conn.execute("DROP TABLE public.kept")
    assert clear(empty, latest, "row_counts", "checksums") == "success"
    assert report(empty, latest)["passed"] is True


@pytest.mark.parametrize("task", TASKS[::-1])
def test_whichever_task_fails_the_run_ends_red(empty, latest: Ran, task: str) -> None:
    """The run was green before, so that its books are full of passed checks; what follows the task runs again."""
    with failing(empty, task):
        assert clear(empty, latest, task) == "failed"
    found = states(empty, latest)
    assert found[task] == {"failed"}
    assert found["gate"] == {"failed"}
    assert f"told to fail: {task}" in log(empty, latest, task, 0 if task in MAPPED else -1)
    if task != "gate":
        assert any(line.startswith(f"- the task {task}") for line in log(empty, latest, "gate").splitlines())
        assert report(empty, latest)["passed"] is False
        file = empty.staging / "auth" / safe_name(latest.id) / "report.json"
        booked = rows(empty, "SELECT state, report_sha256 FROM migration.runs WHERE run_id = %s", latest.id)
        assert booked == [("failed", hashlib.sha256(file.read_bytes()).hexdigest())], "books and file tell the same"


def test_after_all_these_failures_the_run_can_be_cleared_and_goes_green(empty, latest: Ran) -> None:
    assert clear(empty, latest, "prepare") == "success"
    assert report(empty, latest)["passed"] is True


def test_a_run_that_begins_again_has_no_report_until_its_gate_writes_one(empty, latest: Ran) -> None:
    folder = empty.staging / "auth" / safe_name(latest.id)
    empty.client.clear("auth", latest.id, ["prepare"])
    wait_until(lambda: not any(folder.glob("report.*")), "it is still there")
    # What is cleared at the moment in which a run ends is overlooked by Airflow's scheduler.
    assert empty.client.wait_for_run("auth", latest.id) == "success"
    assert clear(empty, latest, "gate") == "success"
    assert report(empty, latest)["passed"] is True


def test_the_row_of_a_document_that_vanished_goes_with_the_next_run(empty, latest: Ran) -> None:
    empty.source.progresspoints.delete_one({"_id": oid(402)})
    second = run(empty, CONF)
    assert second.state == "success"
    (line,) = [line for line in audits(log(empty, second, "delete")) if line["collection"] == "progresspoints"]
    assert (line["deleted"], line["rejected"]) == (1, {})
    assert rows(empty, "SELECT count(*) FROM progress_points WHERE id = %s", uuid_of(402)) == [(0,)]


def test_no_secret_is_in_any_log_report_or_check(empty, latest: Ran) -> None:
    """The last test: by now every task failed once and every kind of message was written."""
    passwords = [empty.server.source.password, empty.target.password]
    secrets = {PLANTED, *passwords, *map(quote, passwords), *map(quote_plus, passwords)}
    files = [file for file in (empty.server.home / "logs").rglob("*") if file.is_file() and "dag_id=auth" in str(file)]
    files += list(empty.server.logs.glob("*.log"))
    files += list((empty.staging / "auth").rglob("*.json"))
    assert len([file for file in files if file.name.startswith("attempt=")]) > 50
    for file in files:
        text = file.read_text(errors="replace")
        assert [secret for secret in secrets if secret in text] == [], file
    for table in ("checks", "differences", "runs", "passes", "collections"):
        text = str(rows(empty, f"SELECT t::text FROM migration.{table} t"))
        assert [secret for secret in secrets if secret in text] == [], table


# ----------------------------------------------------------------------------------------------------------- shapes


def assert_shape(got: dict[str, Any], want: dict[str, type]) -> None:
    assert {key: type(value) for key, value in got.items()} == want


def assert_kinds(got: dict[str, Any], kind: type) -> None:
    assert {type(value) for value in got.values()} <= {kind}
