"""`make bench`: ours, the limit and the peers side by side; same servers, same data, a PostgreSQL that waits for its disk.

    make bench                                              all of it, into benchmarks/results
    make bench ARGS="--data progresspoints=20000 --contenders ours,limit --runs 1"      a quick look, into .bench/results

`ours` is all stages and checks by two workers, from the start of a fresh process on; `ours_live` reads the source a second time
besides; `ours_one_worker` is that by one process, a stage after the other, with what each costs; `ours_unverified` is `ours`
without the checks; `limit` what nobody can beat: binary COPY of the finished rows from memory, and the same keys and indexes;
`ours_dag` a run of the domain's DAG in a warm Airflow. The contenders take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import readme, report
from benchmarks.bench import Bench
from benchmarks.contenders import CONTENDERS, PEERS_FOLDER, REPOSITORY
from benchmarks.data import DATA_SETS, DIRTY
from benchmarks.measure import RunError
from benchmarks.servers import Servers
from demo.console import say
from demo.folder import DemoFolder
from demo.processes import DemoError
from demo.rest import ApiError

# Enough for a median.
RUNS = 3
ALL = [*CONTENDERS, "ours_dag"]
# What can be measured, and its size by default: documents of a data set, of the largest of a series, rows of a table.
SIZES = {
    **{name: each.documents for name, each in DATA_SETS.items()},
    "scaling": 2_000_000,
    "dirty": DIRTY.documents,
    "merge": 1_000_000,
}


def arguments(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", action="append", metavar="NAME[=SIZE]", help=f"of {', '.join(SIZES)}; all by default")
    parser.add_argument("--contenders", help=f"comma-separated, of {', '.join(ALL)}; all by default")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--results", type=Path, help="the folder to write into")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / ".bench", help="where servers, data and logs lie")
    given = parser.parse_args(words)
    whole = not given.data and not given.contenders and given.runs >= RUNS
    given.folder = given.folder.absolute()
    given.results = (given.results or (readme.RESULTS if whole else given.folder / "results")).absolute()
    given.contenders = given.contenders.split(",") if given.contenders else ALL
    if unknown := set(given.contenders) - set(ALL):
        parser.error(f"no such contender: {', '.join(sorted(unknown))}")
    given.data = dict(_sized(parser, text) for text in given.data or SIZES)
    return given


def _sized(parser: argparse.ArgumentParser, text: str) -> tuple[str, int]:
    name, _, size = text.partition("=")
    if name not in SIZES or not (size or "1").isdigit():
        parser.error(f"{text} is not of the form NAME[=SIZE], NAME one of {', '.join(SIZES)}")
    return name, int(size or SIZES[name])


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, with the servers up."""
    details: dict[str, Any] = {"machine": machine(), "data_sets": {}, "series": {}, "dirty": {}, "merge": None}
    sets = [DATA_SETS[name].sized(size) for name, size in given.data.items() if name in DATA_SETS]
    folder = DemoFolder(given.folder)
    with contextlib.closing(folder):
        folder.open()
        with Servers(folder) as servers:
            bench = Bench(servers, given.runs)
            contenders = [name for name in given.contenders if name in CONTENDERS]
            for data_set in sets:
                details["data_sets"][data_set.name] = bench.data_set(data_set, contenders)
            if "scaling" in given.data:
                details["series"] = bench.series(given.data["scaling"])
            if "dirty" in given.data:
                details["dirty"] = bench.dirty(given.data["dirty"])
            if "merge" in given.data:
                details["merge"] = bench.merge(given.data["merge"])
            if "ours_dag" in given.contenders and sets:
                bench.dags(sets, details["data_sets"])
    return details


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "measured_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "python": platform.python_version(),
        "system": platform.platform(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def write(results: Path, details: dict[str, Any]) -> None:
    """The results as files; the plot where its environment is installed."""
    results.mkdir(parents=True, exist_ok=True)
    for name, content in (("details.json", details), ("latest.json", report.short(details))):
        (results / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    python = PEERS_FOLDER / "plot" / "bin" / "python"
    if python.exists() and details["data_sets"]:
        subprocess.run([python, REPOSITORY / "benchmarks" / "plot.py", results], check=True)
    if results == readme.RESULTS:
        readme.README.write_text(readme.with_figures(readme.README.read_text(), results))


def main() -> int:
    """Every expected end is an exit status and a sentence; everything that was started has ended then."""
    given = arguments(sys.argv[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    try:
        details = measure(given)
    except (DemoError, ApiError, RunError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped before the end; nothing was written.", file=sys.stderr)
        return 130
    write(given.results, details)
    say(report.text(details))
    say(f"\n{time.monotonic() - began:.0f} s in all. The results are in {given.results}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
