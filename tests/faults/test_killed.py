"""A task's process is killed with kill -9, its retry goes on, and rows, rejects and checks are those of a clean run."""

from __future__ import annotations

import random

import pytest

from tests.faults.conftest import EVERYTHING, GROUNDS
from tests.faults.grounds import Ground, finish, outcome
from tests.faults.tasks import attempt

# On each ground.
KILLS = 25 if EVERYTHING else 1
# A reconcile's, too.
pytestmark = pytest.mark.parametrize("ground", [*GROUNDS, "damaged"], indirect=True)


def test_a_clean_run_passes_and_rejects_for_every_reason_that_settle_has(ground: Ground) -> None:
    got = ground.clean.outcome
    assert got["runs"][-1][4] == "passed"
    assert {reject[6] for reject in got["rejects"]} >= {"required", "type_mismatch", "duplicate_key", "orphan"}
    assert {check[5] for check in got["checks"]} == {"passed"}
    assert got["held"] == []


def steps_of(ground: Ground, task: str) -> int:
    return sum(of_task == task for of_task, _ in ground.clean.steps)


@pytest.mark.skipif(not EVERYTHING, reason="one of make faults: a run for each of some 60 steps")
def test_a_task_killed_after_any_of_its_steps_does_nothing_twice_and_leaves_nothing_out(ground: Ground) -> None:
    for task, step in [(each, step) for each in ground.tasks for step in range(steps_of(ground, each))]:
        with ground.job() as job:
            killed = attempt(job, fatal=(task, step))
            assert (killed.code, killed.next) == (-9, task)
            finish(job, killed)
            assert outcome(job) == ground.clean.outcome, f"killed after step {step} of {task}"


def test_a_run_killed_in_each_of_its_tasks_does_nothing_twice_and_leaves_nothing_out_pp_40(
    ground: Ground, chance: random.Random
) -> None:
    first = None
    with ground.job() as job:
        for task in ground.tasks:
            killed = attempt(job, first, fatal=(task, chance.randrange(steps_of(ground, task))))
            assert (killed.code, killed.next) == (-9, task)
            first = task
        finish(job, killed)
        assert outcome(job) == ground.clean.outcome


def test_a_run_killed_at_any_moment_ends_like_one_that_was_not(ground: Ground, chance: random.Random) -> None:
    for _ in range(KILLS):
        with ground.job() as job:
            moment = chance.uniform(0, ground.clean.seconds)
            killed = attempt(job, after=moment)
            finish(job, killed)
            assert outcome(job) == ground.clean.outcome, f"killed in {killed.next}, {moment:.3f} s after its start"
