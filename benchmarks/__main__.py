"""`make bench`: ours, the limit and the peers side by side; same servers, same data, a PostgreSQL that waits for its disk.

    make bench                                              all of it, into benchmarks/results
    make bench ARGS="--data progresspoints=20000 --contenders ours,limit --runs 1"      a quick look, into .bench/results

`ours` is all stages and checks in a fresh process, imports included; `ours_unverified` the same without the checks; `limit`
what nobody can beat: binary COPY of the finished rows from memory, and the same keys and indexes. The contenders take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.contenders import CONTENDERS, REPOSITORY, Place
from benchmarks.data import DATA_SETS, DataSet
from benchmarks.measure import Measured, RunError, measure
from benchmarks.servers import Servers, Source
from demo.console import say, table
from demo.folder import DemoFolder
from demo.processes import DemoError

RUNS = 3
# Ten times what the slowest contender needs for the largest data set: who takes longer hangs.
MOST_SECONDS = 600
RESULTS = REPOSITORY / "benchmarks" / "results"


class Bench:
    """The measurements of one command; each of its methods is one of them."""

    def __init__(self, servers: Servers, contenders: list[str], runs: int) -> None:
        self.servers, self.contenders, self.runs = servers, contenders, runs

    def data_set(self, data_set: DataSet) -> dict[str, Any]:
        """All contenders on one data set, taking turns."""
        say(f"\n{data_set.name}, {data_set.documents:,} documents")
        files = data_set.files(self.servers.folder / "data")
        runs: dict[str, list[Measured]] = {name: [] for name in self.contenders}
        rows: dict[str, dict[str, int]] = {}
        costs: dict[str, list[list[dict[str, Any]]]] = {}
        with self.servers.source(files) as source, scratch(self.servers.folder / "frames") as frames:
            # The limit needs finished rows; and whoever comes first should not read the programs from the disk.
            with self._place(data_set, source, frames) as place:
                self._run("ours_unverified", place)
                place.scratch.joinpath("staging").rename(frames / "staging")
            for number in range(self.runs):
                for name in self.contenders:
                    with self._place(data_set, source, frames) as place:
                        measured = self._run(name, place)
                        rows[name] = self._rows(name, place)
                        if place.costs.exists():
                            costs.setdefault(name, []).append(json.loads(place.costs.read_text()))
                    runs[name].append(measured)
                    say(f"  {number + 1}/{self.runs}  {name:16} {measured.seconds:7.2f} s  {measured.peak_rss_mb:6.0f} MB")
        found = {
            "documents": data_set.documents,
            "bytes": sum(file.stat().st_size for file in files.rglob(f"{data_set.name}.bson")),
            "rows": max(sum(tables.values()) for tables in rows.values()),
            "contenders": {
                name: report.summary(data_set.documents, sum(rows[name].values()), runs[name]) for name in self.contenders
            },
            "profile": {name: report.profile(each) for name, each in costs.items()},
        }
        show(found)
        return found

    def _run(self, name: str, place: Place) -> Measured:
        log = self.servers.folder / f"{name}.log"
        log.unlink(missing_ok=True)
        command = CONTENDERS[name](place)
        measured = measure(self.servers.children, name, command.words, log, command.env, MOST_SECONDS)
        if place.result.exists():
            measured = measured._replace(seconds=json.loads(place.result.read_text())["seconds"])
        return measured

    def _rows(self, name: str, place: Place) -> dict[str, int]:
        """The rows that the contender left; RunError where no table has a row for each document."""
        others = {each.name for each in place.data_set.domain.tables} - set(place.data_set.tables)
        rows = self.servers.rows(place.target, others)
        if place.data_set.documents not in rows.values():
            raise RunError(f"{name} ended well but {place.data_set.documents:,} documents became {rows or 'nothing'}")
        return rows

    @contextlib.contextmanager
    def _place(self, data_set: DataSet, source: Source, frames: Path) -> Iterator[Place]:
        pids = {"PostgreSQL": self.servers.postgres_pid, "the source": source.pid}
        with self.servers.database() as target, scratch(self.servers.folder / "scratch") as folder:
            yield Place(data_set, source.port, target, folder, frames, pids)


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """An empty folder, gone afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def show(found: dict[str, Any]) -> None:
    """A data set's tables."""
    say(f"\n{table(*report.contenders_table(found))}")
    for name, stages in found["profile"].items():
        say(f"\n  {name}, stage by stage")
        say(table(*report.profile_table(stages)))
        if (percent := report.checking_percent(stages)) is not None:
            say(f"  Verification costs {percent:.0f} % of extract + normalise + load.")


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


def arguments(words: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", action="append", metavar="NAME[=SIZE]", help=f"of {', '.join(DATA_SETS)}; all by default")
    parser.add_argument("--contenders", help=f"comma-separated, of {', '.join(CONTENDERS)}; all by default")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--results", type=Path, help="the folder to write into")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / ".bench", help="where servers, data and logs lie")
    given = parser.parse_args(words)
    whole = not given.data and not given.contenders and given.runs >= RUNS
    given.folder = given.folder.absolute()
    given.results = (given.results or (RESULTS if whole else given.folder / "results")).absolute()
    given.contenders = given.contenders.split(",") if given.contenders else list(CONTENDERS)
    if unknown := set(given.contenders) - CONTENDERS.keys():
        parser.error(f"no such contender: {', '.join(sorted(unknown))}")
    given.data = [_sized(parser, text) for text in given.data or DATA_SETS]
    return given


def _sized(parser: argparse.ArgumentParser, text: str) -> DataSet:
    name, _, size = text.partition("=")
    if name not in DATA_SETS or not (size or "1").isdigit():
        parser.error(f"{text} is not of the form NAME[=SIZE], NAME one of {', '.join(DATA_SETS)}")
    return DATA_SETS[name].sized(int(size)) if size else DATA_SETS[name]


def run(given: argparse.Namespace) -> None:
    """Measures and writes the results."""
    began = time.monotonic()
    folder = DemoFolder(given.folder)
    with contextlib.closing(folder):
        folder.open()
        details: dict[str, Any] = {"machine": machine(), "data_sets": {}}
        with Servers(folder) as servers:
            (servers.folder / "data").mkdir(exist_ok=True)
            bench = Bench(servers, given.contenders, given.runs)
            for data_set in given.data:
                details["data_sets"][data_set.name] = bench.data_set(data_set)
    given.results.mkdir(parents=True, exist_ok=True)
    for name, content in (("details.json", details), ("latest.json", report.short(details))):
        (given.results / name).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    say(f"\n{time.monotonic() - began:.0f} s in all. The results are in {given.results}.")


def main() -> int:
    """Every expected end is an exit status and a sentence; everything that was started has ended then."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run(arguments(sys.argv[1:]))
    except (DemoError, RunError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
