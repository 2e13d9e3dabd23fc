"""A domain in a real Airflow as its users drive it: by its schedule, by a backfill, and by every mode of the trigger form."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from tests.dags.test_auth_run import Ran, log, rows, states

DAG = "notification"
DAYS = 4
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
    """A source of two days' documents, an empty target, and the DAG still paused."""
    for name in ("notifications", "pushsubscriptions"):
        airflow.source.drop_collection(name)
        airflow.source.create_collection(name)
    airflow.source.notifications.insert_many([notification(FIRST_DAY - timedelta(hours=hour)) for hour in range(1, 21)])
    with airflow.target.connect(autocommit=True) as conn:
        conn.execute("DROP SCHEMA IF EXISTS migration CASCADE")
        conn.execute("DROP SCHEMA public CASCADE")
        conn.execute("CREATE SCHEMA public")
    airflow.client.wait_for_dag(DAG)
    return airflow


def ended(airflow, wanted: str, number: int, seconds: float = 600) -> list[Ran]:
    """The runs whose id begins so, when there are as many and all have ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = airflow.client.request("GET", f"/dags/{DAG}/dagRuns", params={"limit": 100})["dag_runs"]
        runs = [Ran(run["dag_run_id"], run["state"]) for run in found if run["dag_run_id"].startswith(wanted)]
        if len(runs) >= number and {run.state for run in runs} <= {"success", "failed"}:
            return runs
        time.sleep(1)
    raise TimeoutError(f"no {number} runs {wanted} have ended after {seconds:.0f} s")


@pytest.fixture(scope="module")
def scheduled(asleep) -> Ran:
    asleep.client.unpause(DAG)
    (run,) = ended(asleep, "scheduled__", 1)
    return run


def run(airflow, conf: dict[str, Any]) -> Ran:
    run_id = airflow.client.trigger(DAG, conf)
    return Ran(run_id, airflow.client.wait_for_run(DAG, run_id, 600))


@pytest.fixture(scope="module")
def first(asleep, scheduled: Ran) -> Ran:
    """The first run by hand, with the form as it stands."""
    return run(asleep, {})


@pytest.fixture(scope="module")
def backfilled(asleep, first: Ran) -> list[Ran]:
    """Four past days, backwards and all at once, after changes in each of them."""
    documents = list(asleep.source.notifications.find())
    for day in range(DAYS):
        at = FIRST_DAY + timedelta(days=day, hours=12)
        asleep.source.notifications.insert_many([notification(at), notification(at + timedelta(hours=11))])
        asleep.source.notifications.update_one(
            {"_id": documents[day]["_id"]}, {"$set": {"status": "read", "channels": [], "updatedAt": at}}
        )
    asked = {
        "dag_id": DAG,
        "from_date": FIRST_DAY.isoformat(),
        "to_date": (FIRST_DAY + timedelta(days=DAYS - 1)).isoformat(),
        "run_backwards": True,
        "max_active_runs": DAYS,
        "reprocess_behavior": "none",
        "dag_run_conf": {},
    }
    asleep.client.request("POST", "/backfills", json=asked)
    return ended(asleep, "backfill__", DAYS)


def test_a_schedule_before_the_first_full_run_is_skipped_with_a_sentence_and_not_red(asleep, scheduled: Ran) -> None:
    assert scheduled.state == "success", log(asleep, scheduled, "prepare", dag=DAG)
    assert set().union(*states(asleep, scheduled, DAG).values()) == {"skipped"}
    assert "trigger notification with mode full" in log(asleep, scheduled, "prepare", dag=DAG)


def test_a_first_run_by_hand_moves_everything(asleep, first: Ran) -> None:
    assert first.state == "success", log(asleep, first, "gate", dag=DAG)
    assert rows(asleep, "SELECT count(*) FROM notifications") == [(20,)]


def test_a_green_run_tells_watermark_and_counts_with_its_asset(asleep, first: Ran) -> None:
    events = asleep.client.request("GET", "/assets/events", params={"source_dag_id": DAG})["asset_events"]
    (event,) = [event for event in events if event["source_run_id"] == first.id]
    told = event["extra"]["collections"]["notifications"]
    assert (told["read"], told["inserted"]) == (20, 20)
    ((watermark,),) = rows(asleep, "SELECT watermark FROM migration.collections WHERE collection = 'notifications'")
    assert datetime.fromisoformat(told["watermark"]) <= watermark


def test_a_backfill_of_four_days_at_once_and_backwards_ends_in_the_rows_of_a_full_run(asleep, backfilled: list[Ran]) -> None:
    assert [run.state for run in backfilled] == ["success"] * DAYS, [log(asleep, run, "gate", dag=DAG) for run in backfilled]
    assert rows(asleep, "SELECT count(*) FROM notifications") == [(20 + 2 * DAYS,)]
    read = rows(asleep, "SELECT sum(read) FROM migration.passes WHERE collection = 'notifications' AND run_id LIKE 'backfill%'")
    assert read == [(3 * DAYS,)]
    full = run(asleep, {"mode": "full"})
    assert full.state == "success", log(asleep, full, "gate", dag=DAG)
    outcome = rows(asleep, "SELECT sum(inserted), sum(updated), sum(unchanged) FROM migration.passes WHERE run_id = %s", full.id)
    assert outcome == [(0, 0, 20 + 2 * DAYS)]


@pytest.mark.parametrize(
    ("conf", "sentence"),
    [
        ({"mode": "window", "from": "2025-01-01T00:00:00Z"}, "give both, from and to"),
        ({"mode": "full", "to": "2025-01-01T00:00:00Z"}, "from and to belong to mode window"),
        ({"mode": "window", "from": "2025-01-02T00:00:00Z", "to": "2025-01-01T00:00:00Z"}, "must lie before to"),
    ],
)
def test_what_contradicts_itself_is_refused_in_words(asleep, first: Ran, conf: dict[str, Any], sentence: str) -> None:
    refused = run(asleep, conf)
    assert refused.state == "failed"
    assert sentence in log(asleep, refused, "prepare", dag=DAG)


def test_a_window_moves_the_collections_that_were_picked(asleep, backfilled: list[Ran]) -> None:
    conf = {
        "mode": "window",
        "from": FIRST_DAY.isoformat(),
        "to": (FIRST_DAY + timedelta(days=1)).isoformat(),
        "collections": ["notifications"],
    }
    window = run(asleep, conf)
    assert window.state == "success", log(asleep, window, "gate", dag=DAG)
    passes = rows(asleep, "SELECT collection, sum(read) FROM migration.passes WHERE run_id = %s GROUP BY 1", window.id)
    assert passes == [("notifications", 3)]


def test_a_dry_run_tells_what_would_be_rejected_and_writes_nothing(asleep, backfilled: list[Ran]) -> None:
    asleep.source.notifications.insert_one(notification(TODAY, userId=None))
    before = rows(asleep, "SELECT count(*) FROM migration.runs")
    dry = run(asleep, {"mode": "dry_run"})
    assert dry.state == "success"
    assert states(asleep, dry, DAG)["gate"] == {"skipped"}
    assert "1 would be rejected {'required': 1}" in log(asleep, dry, "plan", dag=DAG)
    assert rows(asleep, "SELECT count(*) FROM migration.runs") == before
