"""Where runs are disturbed: a source, a target to begin with, and what a run that nothing disturbs makes of them."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from deepiri.auth import AUTH
from mongo2pg.run import STAGES
from tests.documents import NOON, connection, oid, point, skill_tree, user
from tests.faults.tasks import Attempt, Job, attempt

NUMBERS = itertools.count(1)
# Users in three chunks, points in two. So few that all `_id`s are in the sample: every run has the same bounds.
CHUNK_BYTES = 6_000
USERS, POINTS = 40, 40


def documents() -> dict[str, list[dict[str, Any]]]:
    """The auth domain with some of all that can go wrong: rejects, misfits, orphans, duplicates, shared ids."""
    users = [user(n) for n in range(1, USERS)]
    users += [user(901, email=...), user(902, email="user1@example.com"), user(903, isActive="perhaps", bio=7)]
    users += [user(904, refreshTokens=[{"token": "a"}, "no document"]), user(905, _id=str(oid(2)), email="two@example.com")]
    return {
        "users": users,
        "skilltrees": [skill_tree(1000 + n, oid(n)) for n in range(1, 9)] + [skill_tree(1101, oid(999))],
        "socialconnections": [connection(1200 + n, oid(n), oid(n + 1)) for n in range(1, 9)],
        "progresspoints": [point(1300 + n, oid(1 + n % 30)) for n in range(POINTS)] + [point(1401, oid(998))],
    }


def changed_documents() -> dict[str, list[dict[str, Any]]]:
    """The same domain later: users came, changed their e-mail addresses, lost roles; one broke, one was mended; points went."""
    later = documents()
    users = {str(document["_id"]): document for document in later["users"]}
    for number in range(5, 15):
        users[str(oid(number))] |= {"name": f"renamed {number}", "roles": ["writer"], "updatedAt": NOON + timedelta(days=50)}
    one, other = users[str(oid(20))], users[str(oid(21))]
    one["email"], other["email"] = other["email"], one["email"]
    users[str(oid(901))] |= {"email": "found@example.com"}
    del users[str(oid(22))]["email"]
    later["users"] = [*users.values(), *(user(n) for n in range(USERS, USERS + 10))]
    later["skilltrees"][0]["skills"]["coding"]["level"] = 4
    later["progresspoints"] = later["progresspoints"][3:] + [point(1500 + n, oid(n)) for n in range(1, 20)]
    return later


@dataclass(frozen=True)
class Clean:
    """The run that nothing disturbed."""

    outcome: dict[str, Any]
    steps: list[tuple[str, str]]
    seconds: float


@dataclass
class Ground:
    """A source, and a target that every run finds as it was: `template` is the database that is copied for it."""

    source: str
    server: Any  # PostgresWithMover
    folder: Path
    template: str = "template0"
    staged: Path | None = None
    tasks: tuple[str, ...] = STAGES
    clean: Clean = field(init=False)

    def __post_init__(self) -> None:
        with self.job() as job:
            started = time.monotonic()
            made = attempt(job)
            assert (made.code, made.next) == (0, None)
            self.clean = Clean(outcome(job), made.steps, time.monotonic() - started)

    @contextlib.contextmanager
    def job(self) -> Iterator[Job]:
        """A run that is still to begin, in a copy of the target and of the staging folder of earlier runs."""
        number = next(NUMBERS)
        name, staging = f"faults_{number}", self.folder / f"staging_{number}"
        if self.staged:
            shutil.copytree(self.staged, staging)
        self.copy_target(name)
        target = self.server.server.login(name, "mover", self.server.password).conninfo
        yield Job(self.source, target, staging, "run", CHUNK_BYTES, self.tasks)
        self.server.server.drop_database(name)
        shutil.rmtree(staging, ignore_errors=True)

    def copy_target(self, name: str) -> None:
        with self.server.server.superuser.connect(autocommit=True) as conn:
            conn.execute(
                sql.SQL("CREATE DATABASE {} OWNER mover TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(self.template))
            )


def finish(job: Job, disturbed: Attempt) -> None:
    """What Airflow's retries do after a kill."""
    if disturbed.next:
        made = attempt(job, disturbed.next)
        assert (made.code, made.next) == (0, None)


def outcome(job: Job) -> dict[str, Any]:
    """All that a run leaves behind: every row of every table as text, rejects, marks, checks and the report."""
    with psycopg.connect(job.target, autocommit=True) as conn:
        conn.execute("SET search_path = public, migration, pg_catalog; SET TimeZone = 'UTC'")

        def rows(query: str) -> list[Any]:
            return conn.execute(query.encode()).fetchall()

        return {
            **{table.name: rows(f"SELECT t::text FROM {table.name} t ORDER BY 1") for table in AUTH.tables},
            "rejects": rows(
                """
                SELECT domain, collection, document_id::text, path, element, bson_type, reason, document, run_id, chunk, state
                FROM rejects ORDER BY 1, 2, 3, 4, 11, 9
                """
            ),
            "reject documents": rows("SELECT sha256, bson FROM reject_documents ORDER BY 1"),
            "stale": rows("SELECT domain, collection, root_id, run_id FROM stale ORDER BY 1, 2, 3"),
            "held": rows("SELECT * FROM held"),
            "checks": rows(
                """
                SELECT domain, run_id, check_name, subject, chunk, verdict, expected, actual, detail
                FROM checks ORDER BY 1, 2, 3, 4, 5
                """
            ),
            "differences": rows(
                """
                SELECT domain, run_id, check_name, table_name, chunk, id, column_name, kind, source, target
                FROM differences ORDER BY 1, 2, 3, 4, 5, 6, 7
                """
            ),
            "phases": rows("SELECT domain, collection, phase, owner_run, full_run FROM collections ORDER BY 1, 2"),
            "runs": [_timeless(*row) for row in rows("SELECT domain, run_id, mode, params, state, report FROM runs ORDER BY 1, 2")],
        }


def _timeless(*run: Any) -> tuple[Any, ...]:
    """A run without what says when it was."""
    *told, report = run
    if report:
        collections = [{key: value for key, value in each.items() if key != "watermark"} for each in report["collections"]]
        kept = {key: value for key, value in report.items() if key not in ("run", "readings")}
        report = {**kept, "collections": collections}
    return (*told, report)
