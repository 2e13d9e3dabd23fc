"""Who is measured, and how each is started: with the same source, an empty database of its own, and an empty folder."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.data import DATABASE, DataSet
from demo.postgres import PostgresLogin

REPOSITORY = Path(__file__).resolve().parent.parent


class Place(NamedTuple):
    """Where one run takes place."""

    data_set: DataSet
    source_port: int
    target: PostgresLogin
    scratch: Path
    # Staging of an earlier run of ours, for the limit.
    frames: Path
    # Process ids of the servers, whose CPU the profile shows.
    servers: Mapping[str, int]

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.source_port}/{DATABASE}"

    @property
    def costs(self) -> Path:
        """What each stage of ours cost."""
        return self.scratch / "costs.json"

    @property
    def result(self) -> Path:
        """Seconds by the program's own clock, which then count."""
        return self.scratch / "result.json"


class Command(NamedTuple):
    """A program and what it finds in its environment."""

    words: list[str]
    env: dict[str, str]


def ours_verified(place: Place) -> Command:
    """All stages and all checks."""
    command = ours_unverified(place)
    return command._replace(words=[*command.words, "--verify"])


def ours_unverified(place: Place) -> Command:
    """All stages, to tables with their keys, constraints and indexes; no checks."""
    return _own_program(
        "benchmarks.ours", place.data_set.name, "--uri", place.uri, "--staging", str(place.scratch / "staging"),
        *(word for name, pid in place.servers.items() for word in ("--server", f"{name}={pid}")),
        "--costs", str(place.costs), "--started", str(time.monotonic()),
        target=place.target,
    )  # fmt: skip


def limit(place: Place) -> Command:
    """Binary COPY of the same finished rows, then the same keys and indexes."""
    name, frames, result = place.data_set.name, str(place.frames), str(place.result)
    return _own_program("benchmarks.limit", name, "--staging", frames, "--result", result, target=place.target)


def _own_program(module: str, *words: str, target: PostgresLogin) -> Command:
    env = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}", "TARGET": target.conninfo}
    return Command([sys.executable, "-m", module, *words], env)


CONTENDERS: dict[str, Callable[[Place], Command]] = {
    "ours": ours_verified,
    "ours_unverified": ours_unverified,
    "limit": limit,
}
