"""The program that is measured as `ours`: a domain's stages one after another in a fresh process, as a first user would run them.

It says what each stage cost: seconds, and the CPU of this process, of PostgreSQL and of the source.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from pymongo import MongoClient

from benchmarks.data import DATA_SETS
from benchmarks.measure import cpu_seconds
from mongo2pg.run import MOVE, VERIFY, Run


class Stages:
    """What each stage cost, in their order."""

    def __init__(self, servers: dict[str, int]) -> None:
        self._servers = servers
        self.costs: list[dict[str, Any]] = []

    @contextmanager
    def stage(self, name: str, since: float | None = None) -> Iterator[None]:
        """Notes what the block costs, or what this process has cost since that moment."""
        before, started = self._cpu(own=since is None), time.monotonic() if since is None else since
        yield
        cpu = {each: round(seconds - before[each], 3) for each, seconds in self._cpu().items()}
        self.costs.append({"stage": name, "seconds": round(time.monotonic() - started, 3), "cpu": cpu})

    def _cpu(self, *, own: bool = True) -> dict[str, float]:
        return {"ours": sum(os.times()[:4]) if own else 0.0} | {name: cpu_seconds(pid) for name, pid in self._servers.items()}


def main() -> None:
    """Moves the data set's domain, verifies it if asked to, and writes the costs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ours", description=__doc__)
    parser.add_argument("data_set", choices=DATA_SETS)
    parser.add_argument("--uri", required=True, help="of the database to read")
    parser.add_argument("--staging", type=Path, required=True)
    parser.add_argument("--verify", choices=["staged", "live"], help="also check everything, live against a second reading, too")
    parser.add_argument("--started", type=float, required=True, help="when this process was started, on the monotonic clock")
    parser.add_argument("--server", action="append", default=[], metavar="NAME=PID", help="whose CPU to report, too")
    parser.add_argument("--costs", type=Path, required=True, help="the file to write")
    given = parser.parse_args()
    stages = Stages({name: int(pid) for name, pid in (pair.split("=") for pair in given.server)})
    with stages.stage("imports", since=given.started):
        domain = DATA_SETS[given.data_set].domain
    with MongoClient[Any](given.uri) as client, psycopg.connect(os.environ["TARGET"]) as conn:
        run = Run(client.get_default_database(), conn, domain, given.staging, "bench")
        checks = {"staged": VERIFY, "live": (*VERIFY, "live")}
        for name in ("prepare", "plan", *MOVE, *([*checks[given.verify], "report"] if given.verify else [])):
            with stages.stage(name):
                outcome = getattr(run, name)()
        if given.verify and not outcome["passed"]:
            raise SystemExit(f"the run is red: {json.dumps(outcome['failures'])[:2000]}")
    given.costs.write_text(json.dumps(stages.costs))


if __name__ == "__main__":
    main()
    # As Airflow ends the processes of its tasks: everything is committed and closed, and pymongo would have us wait for its
    # threads, which look twice a second whether they shall end.
    os._exit(0)
