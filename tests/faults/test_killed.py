"""A task's process is killed with kill -9, its retry goes on, and rows, rejects and checks are those of a clean run."""

from __future__ import annotations

import random

import pytest

from tests.faults.conftest import EVERYTHING, GROUNDS
from tests.faults.grounds import Ground, finish, outcome
from tests.faults.tasks import TASKS, attempt

# On each ground.
KILLS = 25 if EVERYTHING else 2


def test_a_clean_run_passes_and_rejects_for_every_reason_that_settle_has(ground: Ground) -> None:
    got = ground.clean.outcome
    assert got["runs"][-1][4] == "passed"
    assert {reject[6] for reject in got["rejects"]} >= {"required", "type_mismatch", "duplicate_key", "orphan"}
    assert {check[5] for check in got["checks"]} == {"passed"}
    assert got["held"] == []


def grounds_and_tasks() -> list[tuple[str, str]]:
    """All; in the short form a merge is disturbed only where it differs from a first load."""
    return [(ground, task) for ground in GROUNDS for task in TASKS if EVERYTHING or ground != "merge" or task in ("load", "settle")]


@pytest.mark.parametrize(("ground", "task"), grounds_and_tasks(), indirect=["ground"])
def test_a_task_killed_after_any_of_its_steps_does_nothing_twice_and_leaves_nothing_out_pp_40(
    ground: Ground, task: str, chance: random.Random
) -> None:
    steps = [number for number, (of_task, _) in enumerate(ground.clean.steps) if of_task == task]
    if not EVERYTHING:  # one of each kind
        chance.shuffle(steps)
        steps = list({ground.clean.steps[number]: number for number in steps}.values())
    assert steps
    for number in steps:
        with ground.job() as job:
            killed = attempt(job, fatal=number)
            assert (killed.code, killed.next) == (-9, task)
            finish(job, killed)
            assert outcome(job) == ground.clean.outcome, f"killed after step {number}, {ground.clean.steps[number][1]} of {task}"


def test_a_run_killed_at_any_moment_ends_like_one_that_was_not(ground: Ground, chance: random.Random) -> None:
    for _ in range(KILLS):
        with ground.job() as job:
            moment = chance.uniform(0, ground.clean.seconds)
            killed = attempt(job, after=moment)
            finish(job, killed)
            assert outcome(job) == ground.clean.outcome, f"killed in {killed.next}, {moment:.3f} s after its start"


def test_a_run_killed_again_and_again_ends_like_one_that_was_not(ground: Ground, chance: random.Random) -> None:
    with ground.job() as job:
        task: str | None = "prepare"
        kills = 0
        while task:
            killed = attempt(job, task, fatal=chance.randrange(12))
            kills += killed.code == -9
            task = killed.next
        assert kills > 5
        assert outcome(job) == ground.clean.outcome
