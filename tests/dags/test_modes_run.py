"""A domain in a real Airflow as its users drive it: by its schedule, by a backfill, and by every mode of the trigger form."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from tests.dags.test_auth_run import Ran, log, rows, states

DAG = "notification"
DAYS = 3
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
# The days before yesterday: the schedule has a run for yesterday itself.
FIRST_DAY = TODAY - timedelta(days=DAYS + 2)


def notification(at: datetime, **fields: Any) -> dict[str, Any]:
    return {
        "_id": ObjectId(),
        "userId": ObjectId(),
        "type": "badge",
        "title": "You have won",
        "channels": ["push"],
        "priority": "low",
        "status": "sent",
        "createdAt": at,
        "updatedAt": at,
        **fields,
    }


@pytest.fixture(scope="module")
def asleep(airflow) -> Any:
    """A source of one day's documents, an empty target, and the DAG still paused."""
    for name in ("notifications", "pushsubscriptions"):
        airflow.source.drop_collection(name)
        airflow.source.create_collection(name)
    airflow.source.notifications.insert_many([notification(FIRST_DAY - timedelta(hours=hour)) for hour in range(1, 11)])
    with airflow.target.connect(autocommit=True) as conn:
        conn.execute("DROP SCHEMA IF EXISTS migration CASCADE")
        conn.execute("DROP SCHEMA public CASCADE")
        conn.execute("CREATE SCHEMA public")
    airflow.client.wait_for_dag(DAG)
    return airflow


def ended(airflow, wanted: str, number: int, seconds: float = 240) -> list[Ran]:
    """The runs whose id begins so, when there are as many and all have ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = airflow.client.request("GET", f"/dags/{DAG}/dagRuns", params={"limit": 100})["dag_runs"]
        runs = [Ran(run["dag_run_id"], run["state"]) for run in found if run["dag_run_id"].startswith(wanted)]
        if len(runs) >= number and {run.state for run in runs} <= {"success", "failed"}:
            return runs
        time.sleep(0.5)
    raise TimeoutError(f"no {number} runs {wanted} have ended after {seconds:.0f} s")


def run(airflow, **conf: Any) -> Ran:
    run_id = airflow.client.trigger(DAG, conf)
    return Ran(run_id, airflow.client.wait_for_run(DAG, run_id))


def marked(airflow, task: str, state: str, **conf: Any) -> Ran:
    """A run of which somebody marked a task in Airflow before it could begin."""
    airflow.client.request("PATCH", f"/dags/{DAG}", json={"is_paused": True})
    run_id = airflow.client.trigger(DAG, conf)
    airflow.client.request("PATCH", f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/{task}", json={"new_state": state})
    airflow.client.unpause(DAG)
    return Ran(run_id, airflow.client.wait_for_run(DAG, run_id))


def passed(airflow, ran: Ran) -> None:
    said = {task: log(airflow, ran, task, dag=DAG) for task, found in states(airflow, ran, DAG).items() if "failed" in found}
    assert ran.state == "success", said


def booked(airflow, ran: Ran) -> list[tuple[Any, ...]]:
    """(collection, read, inserted, updated, unchanged) of what the run loaded."""
    return rows(
        airflow,
        """
        SELECT collection, sum(read)::int, sum(inserted)::int, sum(updated)::int, sum(unchanged)::int
        FROM migration.passes WHERE run_id = %s AND stage = 'load' GROUP BY 1 ORDER BY 1
        """,
        ran.id,
    )


@pytest.fixture(scope="module")
def scheduled(asleep) -> Ran:
    asleep.client.unpause(DAG)
    (run,) = ended(asleep, "scheduled__", 1)
    return run


@pytest.fixture(scope="module")
def first(asleep, scheduled: Ran) -> Ran:
    """The first run by hand, with the form as it stands, but that whole numbers are written with a point."""
    return run(asleep, chunk_mb=64.0, retention_days=30.0, scan_limit_mb=1024.0)


@pytest.fixture(scope="module")
def backfilled(asleep, first: Ran) -> list[Ran]:
    """Past days, backwards and all at once, after changes in each of them."""
    old = list(asleep.source.notifications.find().sort("_id", 1))
    for day in range(DAYS):
        at = FIRST_DAY + timedelta(days=day, hours=12)
        asleep.source.notifications.insert_many([notification(at), notification(at + timedelta(hours=11))])
        asleep.source.notifications.update_one(
            {"_id": old[day]["_id"]}, {"$set": {"status": "read", "channels": [], "updatedAt": at}}
        )
    last_day = FIRST_DAY + timedelta(days=DAYS - 1)
    command = ["backfill", "create", "--dag-id", DAG, "--from-date", FIRST_DAY.isoformat(), "--to-date", last_day.isoformat()]
    done = subprocess.run(
        [sys.executable, "-m", "airflow", *command, "--run-backwards", "--max-active-runs", str(DAYS)],
        env=asleep.server.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    return ended(asleep, "backfill__", DAYS)


@pytest.fixture(scope="module")
def incremental(asleep, backfilled: list[Ran]) -> Ran:
    """The form as it stands, after a good document and one that lacks its owner."""
    now = datetime.now(UTC)
    asleep.source.notifications.insert_many([notification(now), notification(now, userId=None)])
    return run(asleep)


def test_a_schedule_before_the_first_full_run_is_skipped_with_a_sentence_and_not_red(asleep, scheduled: Ran) -> None:
    passed(asleep, scheduled)
    assert set().union(*states(asleep, scheduled, DAG).values()) == {"skipped"}
    assert "trigger notification with mode full" in log(asleep, scheduled, "prepare", dag=DAG)
    interval = asleep.client.run(DAG, scheduled.id)
    ends = [datetime.fromisoformat(interval[end]) for end in ("data_interval_start", "data_interval_end")]
    assert ends[1] - ends[0] == timedelta(days=1)


def test_a_first_run_by_hand_moves_everything(asleep, first: Ran) -> None:
    passed(asleep, first)
    assert booked(asleep, first) == [("notifications", 10, 10, 0, 0), ("pushsubscriptions", 0, 0, 0, 0)]


def test_a_green_run_tells_watermark_and_counts_with_its_asset(asleep, first: Ran) -> None:
    events = asleep.client.request("GET", "/assets/events", params={"source_dag_id": DAG})["asset_events"]
    (event,) = [event for event in events if event["source_run_id"] == first.id]
    told = event["extra"]["collections"]["notifications"]
    assert (told["read"], told["inserted"]) == (10, 10)
    ((watermark,),) = rows(asleep, "SELECT watermark FROM migration.collections WHERE collection = 'notifications'")
    assert datetime.fromisoformat(told["watermark"]) <= watermark


def test_a_backfill_of_days_at_once_and_backwards_moves_each_day_and_no_other(asleep, backfilled: list[Ran]) -> None:
    for each in backfilled:
        passed(asleep, each)
        assert booked(asleep, each) == [("notifications", 3, 2, 1, 0), ("pushsubscriptions", 0, 0, 0, 0)]
    assert len(backfilled) == DAYS
    assert rows(asleep, "SELECT status, channels, count(*)::int FROM notifications GROUP BY 1, 2 ORDER BY 1") == [
        ("read", [], DAYS),
        ("sent", ["push"], 10 + DAYS),
    ]


def test_an_increment_moves_what_came_since_the_last_run(asleep, incremental: Ran) -> None:
    passed(asleep, incremental)
    assert booked(asleep, incremental)[0] == ("notifications", 2, 1, 0, 0)


def test_a_replay_tries_what_was_rejected_once_more(asleep, incremental: Ran) -> None:
    replay = run(asleep, mode="replay")
    passed(asleep, replay)
    assert booked(asleep, replay)[0] == ("notifications", 1, 0, 0, 0)
    assert rows(asleep, "SELECT path, reason FROM migration.rejects WHERE state = 'open'") == [("userId", "required")]


def test_a_dry_run_tells_what_would_be_rejected_and_writes_nothing(asleep, incremental: Ran) -> None:
    before = rows(asleep, "SELECT count(*) FROM migration.runs")
    dry = run(asleep, mode="dry_run")
    passed(asleep, dry)
    assert states(asleep, dry, DAG)["gate"] == {"skipped"}
    assert "1 would be rejected {'required': 1}" in log(asleep, dry, "plan", dag=DAG)
    assert rows(asleep, "SELECT count(*) FROM migration.runs") == before


def test_a_window_moves_the_collections_that_were_picked(asleep, backfilled: list[Ran]) -> None:
    day = {"from": FIRST_DAY.isoformat(), "to": (FIRST_DAY + timedelta(days=1)).isoformat()}
    window = run(asleep, mode="window", collections=["notifications"], **day)
    passed(asleep, window)
    assert booked(asleep, window) == [("notifications", 3, 0, 0, 3)]


def test_deletes_alone_take_out_what_is_gone_and_move_nothing_and_by_its_id_a_dry_run_takes_out_no_more(
    asleep, backfilled: list[Ran]
) -> None:
    ((before,),) = rows(asleep, "SELECT count(*) FROM notifications")
    asleep.source.notifications.delete_one({"status": "read"})
    deletes = run(asleep, mode="deletes")
    passed(asleep, deletes)
    assert rows(asleep, "SELECT count(*) FROM notifications") == [(before - 1,)]
    found = states(asleep, deletes, DAG)
    assert {task for task, state in found.items() if state == {"success"}} == {"prepare", "plan", "delete", "gate"}
    assert {task for task, state in found.items() if state == {"skipped"}} == found.keys() - {
        *("prepare", "plan", "delete", "gate")
    }

    # Airflow forgets the run, whose plan is left.
    asleep.client.request("DELETE", f"/dags/{DAG}/dagRuns/{deletes.id}")
    asleep.source.notifications.delete_one({"status": "sent"})
    asleep.client.trigger(DAG, {"mode": "dry_run"}, deletes.id)
    dry = Ran(deletes.id, asleep.client.wait_for_run(DAG, deletes.id))
    passed(asleep, dry)
    assert rows(asleep, "SELECT count(*) FROM notifications") == [(before - 1,)]
    assert {task for task, state in states(asleep, dry, DAG).items() if state == {"success"}} == {"prepare", "plan"}


def test_what_contradicts_itself_is_refused_in_words(asleep, first: Ran) -> None:
    refused = run(asleep, mode="full", to="2025-01-01T00:00:00Z")
    assert refused.state == "failed"
    assert "from and to belong to mode window" in log(asleep, refused, "prepare", dag=DAG)


@pytest.mark.parametrize(
    ("task", "state", "conf"),
    [("prepare", "success", {}), ("prepare", "skipped", {}), ("plan", "success", {"mode": "dry_run"})],
)
def test_a_task_that_was_marked_by_hand_and_did_nothing_makes_the_run_red(asleep, first: Ran, task: str, state: str, conf) -> None:
    ran = marked(asleep, task, state, **conf)
    assert (ran.state, states(asleep, ran, DAG)[task]) == ("failed", {state})
    if state == "success":
        assert f"the task {'prepare' if task == 'prepare' else 'move.load'} did not succeed" in log(asleep, ran, "gate", dag=DAG)
    assert not rows(asleep, "SELECT FROM migration.runs WHERE run_id = %s AND state = 'passed'", ran.id)
