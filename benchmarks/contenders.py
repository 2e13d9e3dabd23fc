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
PROGRAMS = REPOSITORY / "benchmarks" / "peers"
# Where `make bench` installs each peer, in an environment of its own.
PEERS_FOLDER = REPOSITORY / ".bench" / "peers"

# No peer reports home: each has its switch, and whoever overlooks it meets a proxy that is not there and goes on at once.
SILENCE = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "SLING_DISABLE_TELEMETRY": "TRUE",
    "DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
}


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
    return command._replace(words=[*command.words, "--verify", "staged"])


def ours_live(place: Place) -> Command:
    """The same, and the source read a second time."""
    command = ours_unverified(place)
    return command._replace(words=[*command.words, "--verify", "live"])


def ours_one_worker(place: Place) -> Command:
    """That by one process, a stage after the other: its profile says what each costs."""
    command = ours_live(place)
    return command._replace(words=[*command.words, "--workers", "1"])


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
    env["OPENBLAS_NUM_THREADS"] = "1"  # as in a task of Airflow (mongo2pg.dag.tasks)
    # The peers find their modules compiled from the second run on; so do we, whatever this shell says.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return Command([sys.executable, "-m", module, *words], env)


def merging(place: Place, files: Path, runs: int) -> Command:
    """A later window of ours and the bare statement, in turns."""
    return _own_program(
        "benchmarks.merging", str(files), "--staging", str(place.scratch / "staging"), "--runs", str(runs),
        "--costs", str(place.costs), target=place.target,
    )  # fmt: skip


def ingestr(place: Place) -> Command:
    """Top-level fields as columns, nested ones as jsonb."""
    source, name = f"mongodb://127.0.0.1:{place.source_port}", place.data_set.name
    return _peer(
        place, _bin("ingestr") / "ingestr", "ingest", "--source-uri", source, "--source-table", f"{DATABASE}.{name}",
        "--dest-uri", place.target.dsn, "--dest-table", f"public.ingestr_{name}", "--yes", "--progress", "log",
    )  # fmt: skip


def sling(place: Place) -> Command:
    """The whole document as one jsonb column."""
    (binary,) = _bin("sling").parent.glob("lib/python3*/site-packages/sling_linux_amd64/bin/sling-linux-amd64")
    name = place.data_set.name
    return _peer(
        place, binary, "run", "--src-conn", "SOURCE", "--src-stream", f"{DATABASE}.{name}",
        "--tgt-conn", "TARGET", "--tgt-object", f"public.sling_{name}", "--mode", "full-refresh",
        SOURCE=place.uri, TARGET=f"{place.target.dsn}?sslmode=disable",
    )  # fmt: skip


def dlt(place: Place) -> Command:
    """Nested fields as columns, arrays as child tables."""
    return _peer(place, _bin("dlt") / "python", str(PROGRAMS / "dlt_pipeline.py"), place.uri, place.data_set.name)


def pandas(place: Place) -> Command:
    """Nested fields as columns, an array of documents as a second table."""
    arrays = [child.path for child in place.data_set.collection.children if child.kind == "documents"]
    return _peer(place, _bin("pandas") / "python", str(PROGRAMS / "pandas_script.py"), place.uri, place.data_set.name, *arrays)


def _bin(peer: str) -> Path:
    return PEERS_FOLDER / peer / "bin"


def _peer(place: Place, program: Path, *words: str, **env: str) -> Command:
    home = str(place.scratch)
    mine = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": home, "TMPDIR": home, "DSN": place.target.dsn, **SILENCE, **env}
    return Command([str(program), *words], mine)


CONTENDERS: dict[str, Callable[[Place], Command]] = {
    "ours": ours_verified,
    "ours_live": ours_live,
    "ours_one_worker": ours_one_worker,
    "ours_unverified": ours_unverified,
    "limit": limit,
    "ingestr": ingestr,
    "sling": sling,
    "dlt": dlt,
    "pandas": pandas,
}
