"""The program that is measured as `ours`: a run of a domain in a fresh process, as a first user would start it.

Two workers share the tasks in the DAG's order, as an executor's do: lots beside each other, then checks beside each other. With
one worker all stages come one after another in this process. It says what each step cost: seconds, and the CPU of ours, of
PostgreSQL and of the source.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import mongo2pg  # noqa: F401  # first, for what it says to libraries that are loaded later

# isort: split
import psycopg
from pymongo import MongoClient

from benchmarks.data import EVERY
from benchmarks.measure import cpu_seconds
from mongo2pg.databases.source import stored_bytes
from mongo2pg.files.planned import Lot
from mongo2pg.run import MOVE, MOVE_LOT, VERIFY, Run

# A worker for each of the two cores that the figures are meant for.
WORKERS = 2
# Less than the default: several for each worker, so that both have work until the end.
CHUNK_BYTES = 9 << 20
# The checks of lots, which do not wait for each other.
CHECK_LOT = ("checksums", "live", "round_trip")
# What moving lots loads besides.
MOVING = ("mongo2pg.moving.extract", "mongo2pg.moving.normalise", "mongo2pg.moving.versions", "mongo2pg.moving.load")


class Stages:
    """What each stage cost, in their order: one begins where the one before it ended, the first where this process was started."""

    def __init__(self, servers: Mapping[str, int], started: float) -> None:
        self._servers, self._ended = servers, started
        self._cpu = self._cpu_seconds() | {"ours": 0.0}
        self.costs: list[dict[str, Any]] = []

    def end(self, name: str) -> None:
        """Notes what has been spent since the end of the stage before."""
        cpu, now = self._cpu_seconds(), time.monotonic()
        spent = {who: round(seconds - self._cpu[who], 3) for who, seconds in cpu.items()}
        self.costs.append({"stage": name, "seconds": round(now - self._ended, 3), "cpu": spent})
        self._cpu, self._ended = cpu, now

    def _cpu_seconds(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in {"ours": os.getpid(), **self._servers}.items()}


def load_modules() -> None:
    """Imports what moves lots now, so that no stage has to."""
    for name in MOVING:
        importlib.import_module(name)


def one_after_another(run: Run, checks: tuple[str, ...], stages: Stages) -> None:
    """The run by this process alone."""
    for name in ("prepare", "plan", *MOVE, *checks):
        getattr(run, name)()
        stages.end(name)


class Workers:
    """Processes that take tasks off one queue, each with connections of its own: forks of this one, where nothing may be open.

    They load numpy and Arrow while this one, which does without, prepares and plans.
    """

    def __init__(self, start: Callable[[], Run]) -> None:
        self._pool = ProcessPoolExecutor(WORKERS, multiprocessing.get_context("fork"), _begin, (start,))
        self._pool.submit(int)  # here they are forked

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)  # those that wait behind one that failed

    def share(self, run: Run, checks: tuple[str, ...], stages: Stages) -> None:
        """The run by all workers; what no two can do at once is done by this process."""
        run.prepare()
        stages.end("prepare")
        largest = max(stored_bytes(run.database, collection.name) for collection in run.domain.collections)
        run.plan(min(CHUNK_BYTES, largest // WORKERS + 1))
        stages.end("plan")
        self._all([(MOVE_LOT, [lot]) for lot in run.lots])
        stages.end(", ".join(MOVE_LOT))
        for name in MOVE[len(MOVE_LOT) :]:
            getattr(run, name)()
            stages.end(name)
        if checks:
            # The longest first.
            of_lots = [((name,), [lot]) for name in CHECK_LOT if name in checks for lot in run.lots]
            self._all([*of_lots, *(((name,), run.lots) for name in checks if name not in CHECK_LOT)])
            stages.end("checks")

    def _all(self, tasks: list[tuple[tuple[str, ...], list[Lot]]]) -> None:
        for done in [self._pool.submit(_task, *task) for task in tasks]:
            done.result()


# The run of a worker's process.
_own: Run


def _begin(start: Callable[[], Run]) -> None:
    global _own
    load_modules()
    _own = start()


def _task(stages: tuple[str, ...], lots: list[Lot]) -> None:
    _own.resume()
    _own.lots = lots
    for stage in stages:
        getattr(_own, stage)()


def main() -> None:
    """Moves the data set's domain, verifies it if asked to, and writes the costs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ours", description=__doc__)
    parser.add_argument("data_set", choices=EVERY)
    parser.add_argument("--uri", required=True, help="of the database to read")
    parser.add_argument("--staging", type=Path, required=True)
    parser.add_argument("--verify", choices=["staged", "live"], help="also check everything, live against a second reading, too")
    parser.add_argument("--workers", type=int, choices=[1, WORKERS], default=WORKERS)
    parser.add_argument("--started", type=float, required=True, help="when this process was started, on the monotonic clock")
    parser.add_argument("--server", action="append", default=[], metavar="NAME=PID", help="whose CPU to report, too")
    parser.add_argument("--costs", type=Path, required=True, help="the file to write")
    given = parser.parse_args()
    stages = Stages({name: int(pid) for name, pid in (pair.split("=") for pair in given.server)}, given.started)
    domain = EVERY[given.data_set].domain
    checks = {None: (), "staged": VERIFY, "live": (*VERIFY, "live")}[given.verify]

    def start() -> Run:
        client, conn = MongoClient[Any](given.uri), psycopg.connect(os.environ["TARGET"])
        return Run(client.get_default_database(), conn, domain, given.staging, "bench")

    if given.workers == 1:
        load_modules()
    with Workers(start) if given.workers > 1 else nullcontext() as workers:
        stages.end("imports")
        run = start()
        share = workers.share if workers else one_after_another
        share(run, checks, stages)
        if checks:
            report = run.report()
            stages.end("report")
            if not report["passed"]:
                raise SystemExit(f"the run is red: {json.dumps(report['failures'])[:2000]}")
        run.conn.close()
    given.costs.write_text(json.dumps(stages.costs))


if __name__ == "__main__":
    main()
    # As Airflow ends the processes of its tasks: everything is committed and closed, and pymongo would have us wait for its
    # threads, which look twice a second whether they shall end.
    os._exit(0)
