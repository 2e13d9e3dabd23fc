"""The DAG reconcile in a real Airflow: it names what differs, and repairs it when it is asked to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deepiri.auth import AUTH
from mongo2pg.files.staging import safe_name
from mongo2pg.run import Run
from tests.documents import fill, oid, point, skill_tree, user, uuid_of

CONF = {"domain": "auth", "collections": ["users", "progresspoints"]}


@pytest.fixture(scope="module")
def damaged(airflow: Any) -> Any:
    """A loaded domain of which a value was changed, a row lost, and two documents written without touching their change keys."""
    fill(
        airflow.source,
        users=[user(number) for number in range(1, 31)],
        skilltrees=[skill_tree(301, oid(1))],
        progresspoints=[point(401, oid(1)), point(402, oid(2))],
    )
    with airflow.target.connect() as conn:
        conn.execute("DROP SCHEMA IF EXISTS migration CASCADE")
        conn.execute("DROP SCHEMA public CASCADE")
        conn.execute("CREATE SCHEMA public")
        conn.commit()
        Run(airflow.source, conn, AUTH, airflow.staging, "first").move()
        conn.execute("UPDATE public.users SET name = 'USER 5' WHERE id = %s", (uuid_of(5),))
        conn.execute("DELETE FROM public.progress_points WHERE id = %s", (uuid_of(402),))
    airflow.source.users.update_one({"_id": oid(6)}, {"$set": {"name": "Six"}})
    airflow.source.users.delete_one({"_id": oid(7)})
    airflow.client.wait_for_dag("reconcile")
    airflow.client.unpause("reconcile")
    return airflow


def run(airflow: Any, **conf: Any) -> tuple[str, str]:
    run_id = airflow.client.trigger("reconcile", {**CONF, **conf})
    return run_id, airflow.client.wait_for_run("reconcile", run_id)


def report(airflow: Any, run_id: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((airflow.staging / "reconcile" / safe_name(run_id) / "report.json").read_text())
    own = airflow.staging / "auth" / safe_name(f"reconcile__{run_id}") / "report.json"
    assert json.loads(own.read_text()) == content
    return content


def states(airflow: Any, run_id: str) -> dict[str, str]:
    return {task["task_id"]: task["state"] for task in airflow.client.tasks("reconcile", run_id)}


def names(airflow: Any) -> list[tuple[str, str]]:
    ids = [uuid_of(number) for number in (5, 6, 7)]
    with airflow.target.connect() as conn:
        return conn.execute("SELECT id::text, name FROM public.users WHERE id = ANY(%s)", (ids,)).fetchall()


def test_differences_turn_a_reconcile_red_and_change_nothing_until_it_is_asked_to_repair(damaged: Any) -> None:
    before = names(damaged)
    run_id, state = run(damaged)
    assert state == "failed"
    assert states(damaged, run_id) == {
        **{"prepare": "success", "plan": "success"},
        **{"compare": "failed", "rows": "failed", "repair": "upstream_failed", "gate": "failed"},
    }
    found = report(damaged, run_id)
    assert found["failed_tasks"] == ["compare_0", "rows"]
    assert {(c["check"], c["table"]) for c in found["failures"]} == {
        ("reconcile", "users"),
        ("reconcile", "progress_points"),
        ("unexplained_rows", "users"),
    }
    text = damaged.client.log_text("reconcile", run_id, "compare", map_index=0)
    assert f"users {uuid_of(5)}: column name should be 'User 5', is 'USER 5'" in text
    assert names(damaged) == before

    run_id, state = run(damaged, repair=True)
    assert state == "success", damaged.client.log_text("reconcile", run_id, "gate")
    assert set(states(damaged, run_id).values()) == {"success"}
    assert sorted(names(damaged)) == [(uuid_of(5), "User 5"), (uuid_of(6), "Six")]
    found = report(damaged, run_id)
    assert (found["passed"], found["failures"]) == (True, [])
    counts = {each["collection"]: (each["read"], each["inserted"], each["updated"]) for each in found["collections"]}
    assert counts == {"users": (2, 0, 2), "progresspoints": (1, 1, 0)}
    assert found["differences"]["total"] == 4, "what was found stays in the books"
