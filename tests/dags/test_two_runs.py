"""Two first runs of one domain at once, in a real Airflow: the later one waits, without a worker and without a try of its own."""

from __future__ import annotations

from typing import Any

from tests.dags.test_auth_run import Ran, log, rows
from tests.documents import NOON, oid

DAG = "challenge"
CHALLENGES = 3


def challenge(number: int) -> dict[str, Any]:
    return {"_id": oid(number), "userId": oid(1), "type": "quiz", "title": "Once more", "createdAt": NOON, "updatedAt": NOON}


def test_the_later_of_two_first_runs_waits_until_the_other_has_ended(airflow: Any) -> None:
    airflow.source.drop_collection("challenges")
    airflow.source.challenges.insert_many([challenge(number) for number in range(CHALLENGES)])
    with airflow.target.connect(autocommit=True) as conn:
        conn.execute("DROP SCHEMA IF EXISTS migration CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    airflow.client.wait_for_dag(DAG)
    airflow.client.unpause(DAG)
    ids = [airflow.client.trigger(DAG, {"mode": "full"}, name) for name in ("one", "another")]
    ran = [Ran(run_id, airflow.client.wait_for_run(DAG, run_id)) for run_id in ids]
    assert [run.state for run in ran] == ["success", "success"], [log(airflow, run, "gate", dag=DAG) for run in ran]
    first, later = sorted(ran, key=lambda run: airflow.client.run(DAG, run.id)["end_date"])
    assert f"run {first.id} has the first load of challenges: this run waits" in log(airflow, later, "plan", dag=DAG)
    assert {task["try_number"] for task in airflow.client.tasks(DAG, later.id)} == {1}
    booked = "SELECT sum(read)::int, sum(inserted)::int FROM migration.passes WHERE run_id = %s AND stage = 'load'"
    assert [rows(airflow, booked, run.id) for run in (first, later)] == [[(CHALLENGES, CHALLENGES)], [(CHALLENGES, 0)]]
