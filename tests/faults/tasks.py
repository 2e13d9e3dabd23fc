"""The tasks of a run, as Airflow has them: one after another, each with connections of its own, in a process that may die.

A process performs the tasks from a given one on and says which of them it has finished. After one that was killed another
begins with the first task that was not finished: that is what Airflow's retry does.
"""

from __future__ import annotations

import multiprocessing.forkserver
import os
import signal
import sys
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd  # noqa: F401 - pyarrow looks for it at its first list, and it takes longer than all tasks together
import psycopg
import pytest
from pymongo import MongoClient

from deepiri.auth import AUTH
from mongo2pg import books
from mongo2pg.run import STAGES, Run
from tests.faults import wrong_clock
from tests.faults.steps import watch


@dataclass(frozen=True)
class Job:
    """One run of the auth domain: both ends, its staging, its id, and its tasks in their order."""

    source: str
    target: str
    staging: Path
    run_id: str
    chunk_bytes: int
    tasks: tuple[str, ...] = STAGES


def perform(job: Job, task: str) -> None:
    """One task, with everything that it needs opened before and closed after it."""
    with MongoClient[Any](job.source) as client, psycopg.connect(job.target) as conn:
        run = Run(client.get_default_database(), conn, AUTH, job.staging, job.run_id)
        given = {"plan": [job.chunk_bytes], "plan_reconcile": [job.chunk_bytes], "repair": [1]}.get(task, [])
        if task.startswith("plan"):
            books.open_session(conn)
        elif not task.startswith("prepare"):
            run.resume()
        getattr(run, task)(*given)


def perform_from(job: Job, first: str) -> None:
    """This task and all that follow it."""
    for task in job.tasks[job.tasks.index(first) :]:
        perform(job, task)


# ------------------------------------------------------------------------------------------------ in another process


@dataclass
class Attempt:
    """What a process came to that performed these tasks: its exit code, -9 for one that was killed."""

    tasks: tuple[str, ...]
    code: int = 0
    finished: list[str] = field(default_factory=list)
    # Of each step that it reached: the task and the kind of step.
    steps: list[tuple[str, str]] = field(default_factory=list)

    @property
    def next(self) -> str | None:
        """The task that a retry begins with; None once all are finished."""
        return next((task for task in self.tasks if task not in self.finished), None)


def attempt(
    job: Job, first: str | None = None, *, fatal: tuple[str, int] | None = None, after: float | None = None, clock: int = 0
) -> Attempt:
    """Performs the tasks, from `first` on, in a process that kills itself at a step of one, or is killed `after` so many seconds.

    `fatal` names the task and the number of the step, from 0 on. The clock of the process is ahead by `clock` seconds.
    """
    made = Attempt(job.tasks[job.tasks.index(first) if first else 0 :])
    ours, theirs = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_perform_and_say, args=(job, made.tasks, fatal, clock, theirs))
    process.start()
    theirs.close()
    with ours:
        if after is not None:
            process.join(after)
            process.kill()
        try:
            while True:
                kind, *content = ours.recv()
                if kind == "error":
                    pytest.fail(f"after {made.finished} of {made.tasks}:\n{content[0]}")
                elif kind == "finished":
                    made.finished.append(*content)
                else:
                    made.steps.append((content[0], kind))
        except EOFError:
            pass
    process.join()
    made.code = process.exitcode
    process.close()
    return made


def _perform_and_say(job: Job, tasks: tuple[str, ...], fatal: tuple[str, int] | None, clock: int, said: Any) -> None:
    current = tasks[0]
    reached_of: Counter[str] = Counter()

    def reached(kind: str) -> None:
        said.send((kind, current))
        if (current, reached_of[current]) == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        reached_of[current] += 1

    watch(reached)
    if clock:
        wrong_clock.shift(clock)
    try:
        for current in tasks:
            perform(job, current)
            reached("end")
            said.send(("finished", current))
    except Exception:
        said.send(("error", traceback.format_exc()))


# Processes are forked from one that has imported everything and done nothing: each is there in milliseconds.
CONTEXT = multiprocessing.get_context("forkserver")
STAGE_MODULES = (
    "moving.extract",
    "moving.normalise",
    "moving.load",
    "moving.versions",
    "checks.count",
    "checks.verify",
    "checks.round_trip",
    "verdict.gate",
    "reconciling.reconcile",
    "reconciling.repair",
)
CONTEXT.set_forkserver_preload([__name__, *(f"mongo2pg.{name}" for name in STAGE_MODULES)])


def start_forkserver() -> None:
    """Starts the process that is forked; it looks for modules where the environment says, not where this process does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        multiprocessing.forkserver.ensure_running()
