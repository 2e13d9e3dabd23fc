"""Airflow's own retries after a kill -9: every task of a run dies once when its work is done, and nobody has heard of it."""

from __future__ import annotations

from typing import Any

from tests.dags.test_auth_run import Ran, log, rows, states
from tests.documents import NOON, oid

DAG = "external_bridge"
TASKS = (
    *("prepare", "plan", "move.extract", "move.normalise", "move.load", "delete", "settle"),
    *("row_counts", "checksums", "references", "uniqueness", "round_trip", "gate"),
)
WEBHOOKS = 20


def webhook(number: int) -> dict[str, Any]:
    calls = [{"event": "push", "status": "success", "attempt": 1}, {"event": "ping", "status": "failed", "attempt": 2}]
    return {"_id": oid(number), "userId": oid(1), "events": ["push"], "logs": calls, "createdAt": NOON, "updatedAt": NOON}


def test_each_task_is_killed_after_its_work_and_the_run_ends_as_if_none_had_been_pp_40_pp_42(airflow: Any) -> None:
    airflow.source.drop_collection("webhooks")
    airflow.source.webhooks.insert_many([webhook(number) for number in range(WEBHOOKS)])
    with airflow.target.connect(autocommit=True) as conn:
        conn.execute("DROP SCHEMA IF EXISTS migration CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    folder = airflow.server.home / "kill" / DAG
    folder.mkdir(parents=True)
    for task in TASKS:
        (folder / task).touch()
    airflow.client.wait_for_dag(DAG)
    airflow.client.unpause(DAG)
    run_id = airflow.client.trigger(DAG, {"mode": "full"})
    ran = Ran(run_id, airflow.client.wait_for_run(DAG, run_id))
    assert list(folder.iterdir()) == []
    assert ran.state == "success", log(airflow, ran, "gate", dag=DAG)
    assert set(states(airflow, ran, DAG)) == set(TASKS)
    assert {task["task_id"]: task["try_number"] for task in airflow.client.tasks(DAG, run_id)} == dict.fromkeys(TASKS, 2)
    found = rows(airflow, "SELECT count(*), count(DISTINCT id) FROM webhooks")
    assert found + rows(airflow, "SELECT count(*), count(DISTINCT id) FROM webhook_logs") == [
        (WEBHOOKS, WEBHOOKS),
        (2 * WEBHOOKS, 2 * WEBHOOKS),
    ]
    booked = rows(
        airflow, "SELECT sum(read)::int, sum(inserted)::int FROM migration.passes WHERE run_id = %s AND stage = 'load'", run_id
    )
    assert booked == [(WEBHOOKS, WEBHOOKS)]
