"""The measurements: each data set by all contenders in turns, the DAGs, a series of sizes, a later window."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.contenders import CONTENDERS, Place, merging
from benchmarks.data import DATA_SETS, DATABASE, DIRTY, DataSet
from benchmarks.measure import Measured, RunError, measure
from benchmarks.measure_replay import read_rate
from benchmarks.servers import Servers, Source
from benchmarks.warm_airflow import WarmAirflow
from demo.console import say
from demo.postgres import PostgresLogin

# Ten times what the slowest contender needs for its largest data set: who takes longer hangs.
MOST_SECONDS = 600
# The series: a hundredth, a tenth and all of a size.
STEPS = (100, 10, 1)


class Bench:
    """Measurements against the same servers; each says what it is doing."""

    def __init__(self, servers: Servers, runs: int) -> None:
        self.servers, self.runs = servers, runs
        self.data = servers.folder / "data"
        self.data.mkdir(exist_ok=True)

    def data_set(self, data_set: DataSet, contenders: list[str]) -> dict[str, Any]:
        """All contenders on one data set, taking turns."""
        say(f"\n{data_set.name}, {data_set.documents:,} documents")
        files = data_set.files(self.data)
        runs: dict[str, list[Measured]] = {name: [] for name in contenders}
        rows: dict[str, int] = {}
        costs: dict[str, list[list[dict[str, Any]]]] = {}
        with self.servers.source(files) as source, scratch(self.servers.folder / "frames") as frames:
            rate = read_rate(source.port, DATABASE, data_set.name)
            if "limit" in contenders:  # which needs finished rows
                with self._place(data_set, source, frames) as place:
                    self._run("ours_unverified", place)
                    place.scratch.joinpath("staging").rename(frames / "staging")
            for number in range(self.runs):
                for name in contenders:
                    with self._place(data_set, source, frames) as place:
                        measured = self._run(name, place)
                        rows[name] = self.rows(data_set, place.target)
                        if place.costs.exists():
                            stages = json.loads(place.costs.read_text())
                            costs.setdefault(name, []).append([*stages, report.rest(stages, measured)])
                    runs[name].append(measured)
                    self._say(number, name, measured)
        return {
            "documents": data_set.documents,
            "mb": round(sum(file.stat().st_size for file in files.rglob(f"{data_set.name}.bson")) / 1e6, 1),
            "source_mb_per_s": round(rate),
            "rows": next(iter(rows.values()), 0),
            "contenders": {name: report.summary(data_set.documents, rows[name], runs[name]) for name in contenders},
            "profile": {name: report.profile(each) for name, each in costs.items()},
        }

    def dags(self, data_sets: list[DataSet], found: dict[str, Any]) -> None:
        """Adds what the data sets' DAGs take in a warm Airflow."""
        say("\nThe DAGs in a warm Airflow")
        with WarmAirflow(self.servers) as airflow:
            for data_set in data_sets:
                runs, rows = airflow.measure(data_set, self.runs, lambda target: self.rows(data_set, target))  # noqa: B023
                for number, measured in enumerate(runs):
                    self._say(number, data_set.name, measured)
                found[data_set.name]["contenders"]["ours_dag"] = report.summary(data_set.documents, rows, runs)
                found[data_set.name]["rows"] = rows

    def series(self, most: int) -> dict[str, Any]:
        """Ours alone on growing collections, by the collections' names."""
        sets = [DATA_SETS["progresspoints"].sized(most // step) for step in STEPS]
        return {f"{each.name}_{each.documents}": self.data_set(each, ["ours"]) for each in sets}

    def dirty(self, documents: int) -> dict[str, Any]:
        """Ours alone on documents half of which are dirty, by the collection's name."""
        return {DIRTY.name: self.data_set(DIRTY.sized(documents), ["ours", "ours_unverified"])}

    def merge(self, documents: int) -> dict[str, Any]:
        """A window that changes one percent of a table, and the bare statement."""
        say(f"\nA window that changes 1 % of {documents:,} rows")
        data_set = DATA_SETS["progresspoints"].sized(documents)
        with self._place(data_set, Source(0), Path()) as place:
            command = merging(place, data_set.files(self.data), self.runs)
            measure(self.servers.children, "merging", command.words, self._log("merging"), command.env, MOST_SECONDS)
            found = json.loads(place.costs.read_text())
        return report.merge_summary(found)

    def rows(self, data_set: DataSet, target: PostgresLogin) -> int:
        """The rows that somebody made of the collection; RunError where no table has one for each document that is clean."""
        others = {each.name for each in data_set.domain.tables} - set(data_set.tables)
        rows = self.servers.rows(target, others)
        if data_set.make and data_set.documents not in rows.values():
            raise RunError(f"{data_set.documents:,} documents became {rows or 'nothing'}")
        return sum(rows.values())

    def _run(self, name: str, place: Place) -> Measured:
        command = CONTENDERS[name](place)
        measured = measure(self.servers.children, name, command.words, self._log(name), command.env, MOST_SECONDS)
        if place.result.exists():
            measured = measured._replace(seconds=json.loads(place.result.read_text())["seconds"])
        return measured

    def _log(self, name: str) -> Path:
        log = self.servers.folder / f"{name}.log"
        log.unlink(missing_ok=True)
        return log

    def _say(self, number: int, name: str, measured: Measured) -> None:
        say(f"  {number + 1}/{self.runs}  {name:16} {measured.seconds:7.2f} s  {measured.peak_rss_mb:6.0f} MB")

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
