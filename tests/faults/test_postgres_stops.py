"""PostgreSQL stops at once, in the middle of a COPY or of a commit, and starts again; the next attempt completes."""

from __future__ import annotations

import itertools
import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo.postgres import Postgres
from demo.processes import Children
from mongo2pg.run import STAGES
from tests.faults.conftest import EVERYTHING
from tests.faults.grounds import Ground, outcome
from tests.faults.tasks import Job, perform, perform_from

STOPS = 12 if EVERYTHING else 1


class OwnPostgres:
    """A server that no other test uses."""

    def __init__(self, children: Children, folder: Path) -> None:
        self.server = Postgres(children, folder)
        self.server.start()
        self.password = self.server.create_role("mover")
        with self.server.superuser.connect(autocommit=True) as conn:
            # What was committed must be there after a crash, as on a server that is not for tests alone.
            conn.execute("ALTER ROLE mover SET synchronous_commit = on")

    def login(self, database: str) -> str:
        return self.server.login(database, "mover", self.password).conninfo

    def crash(self) -> None:
        """What `pg_ctl stop -m immediate` does, and then a start: it recovers as from a crash."""
        process = self.server.child.popen if self.server.child else None
        assert process is not None
        process.send_signal(signal.SIGQUIT)
        process.wait(60)
        self.server.stop()
        self.server.start()


@pytest.fixture(scope="module")
def own_postgres(children: Children, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPostgres]:
    own = OwnPostgres(children, tmp_path_factory.mktemp("postgres"))
    yield own
    own.server.remove()


@contextmanager
def crash_at(own: OwnPostgres, owner: type, name: str, number: int) -> Iterator[None]:
    """Has the server crash once, just before call `number` of a method of psycopg."""
    calls = itertools.count(1)
    method = getattr(owner, name)

    def crashing(*arguments: Any, **named: Any) -> Any:
        if next(calls) == number:
            own.crash()
        return method(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, crashing)
        yield


MOMENTS = [
    ("load", "COPY", psycopg.Copy, "finish"),
    ("load", "commit", psycopg.Transaction, "__exit__"),
    ("settle", "commit", psycopg.Transaction, "__exit__"),
    ("checksums", "COPY", psycopg.Copy, "finish"),
]


@pytest.mark.parametrize(("task", "step", "owner", "method"), MOMENTS)
def test_a_server_that_stops_in_mid_copy_or_before_a_commit_costs_an_attempt_and_no_row(
    first_load: Ground, own_postgres: OwnPostgres, chance: random.Random, task: str, step: str, owner: type, method: str
) -> None:
    for stop in range(STOPS):
        database = f"stopped_{task}_{step}_{stop}".lower()
        own_postgres.server.create_database(database, "mover")
        with first_load.job() as elsewhere:

            def job(elsewhere: Job = elsewhere, database: str = database) -> Job:
                """The server has another port after each start."""
                return replace(elsewhere, target=own_postgres.login(database))

            for each in STAGES[: STAGES.index(task)]:
                perform(job(), each)
            number = chance.randint(1, first_load.clean.steps.count((task, step)))
            with crash_at(own_postgres, owner, method, number), pytest.raises(psycopg.OperationalError):
                perform(job(), task)
            perform_from(job(), task)
            assert outcome(job()) == first_load.clean.outcome, f"stopped before {step} number {number} of {task}"
