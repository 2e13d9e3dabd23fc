"""The program that measures a later window: one percent of the rows changed, against a bare `INSERT … ON CONFLICT` of those rows.

Both start from the same table, vacuumed and with all its pages on the disk, and change every hundredth row. Of ours the
stages that write count, `load` and `settle`; of the bare statement itself and its commit, not how its rows came into the
temporary table.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import bson
import psycopg
from psycopg import sql
from pymongo import MongoClient

from benchmarks.data import DATA_SETS, DATABASE, END
from benchmarks.documents import read_folder
from benchmarks.limit import copy, finished_rows
from benchmarks.replay_server import ReplayServer
from mongo2pg.databases.window import Window
from mongo2pg.run import Run

COLLECTION = DATA_SETS["progresspoints"].collection
(TABLE,) = COLLECTION.tables
# One row in so many is changed.
EVERY = 100


class Merging:
    """A table of many rows, and windows that change some of them."""

    def __init__(self, server: ReplayServer, client: MongoClient[Any], conn: psycopg.Connection, staging: Path) -> None:
        self.server, self.database, self.conn, self.staging = server, client[DATABASE], conn, staging
        everything = server.databases[DATABASE][COLLECTION.name].natural
        self.chosen = [everything[at] for at in range(0, len(everything), EVERY)]
        self.rounds = 0

    def fill(self) -> None:
        """The first load, of everything."""
        run = self._run("full")
        run.move()
        self.conn.execute("VACUUM (FREEZE, ANALYZE)")

    def ours(self) -> dict[str, float]:
        """A window through the stages."""
        run = self._window()
        return self._cost(load=run.load, settle=run.settle)

    def bare(self) -> dict[str, float]:
        """The rows of a window as somebody writes them who has them already."""
        run = self._window()
        rows = finished_rows(run.staging.folder, TABLE)
        self.conn.execute(sql.SQL("CREATE TEMP TABLE changed (LIKE public.{})").format(sql.Identifier(TABLE.name)))
        copy(self.conn, TABLE, rows, sql.Identifier("pg_temp", "changed"))
        self.conn.execute("ANALYZE changed")
        columns = [column.name for column in TABLE.columns if column.name != "id"]
        statement = sql.SQL("INSERT INTO public.{} SELECT * FROM changed ON CONFLICT (id) DO UPDATE SET {}").format(
            sql.Identifier(TABLE.name), sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(c)) for c in columns)
        )
        cost = self._cost(insert=lambda: self.conn.execute(statement))
        self.conn.execute("DROP TABLE changed")
        return cost

    def _window(self) -> Run:
        """A window up to its frames: the chosen documents with new times and values."""
        self.rounds += 1
        start = END + timedelta(days=self.rounds)
        documents = [bson.decode(raw) for raw in self.chosen]
        for at, document in enumerate(documents):
            document |= {"timestamp": start + timedelta(milliseconds=at), "value": float(self.rounds + at)}
        self.server.put(DATABASE, COLLECTION.name, [bson.encode(document) for document in documents])
        run = self._run(f"window-{self.rounds}")
        run.prepare()
        window = Window(start, start + timedelta(days=1))
        run.plan(moved={collection.name: window for collection in run.domain.collections})
        run.extract()
        run.normalise()
        return run

    def _run(self, run_id: str) -> Run:
        return Run(self.database, self.conn, DATA_SETS["progresspoints"].domain, self.staging, run_id)

    def _cost(self, **steps: Callable[[], Any]) -> dict[str, float]:
        """Seconds of each step and of all, and the WAL that they wrote."""
        self.conn.execute(sql.SQL("VACUUM public.{}").format(sql.Identifier(TABLE.name)))
        self.conn.execute("CHECKPOINT")
        before, moments = self._written(), [time.perf_counter()]
        for step in steps.values():
            step()
            moments.append(time.perf_counter())
        seconds = {name: round(end - begin, 6) for name, (begin, end) in zip(steps, pairwise(moments), strict=True)}
        return {**seconds, "seconds": round(moments[-1] - moments[0], 6), "wal_mb": round((self._written() - before) / 1e6, 3)}

    def _written(self) -> int:
        """Bytes of WAL since the server began."""
        row = self.conn.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        return int(row[0]) if row else 0


def main() -> None:
    """Measures both in turns and writes what each round cost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.merging", description=__doc__)
    parser.add_argument("files", type=Path, help="the documents of the first load")
    parser.add_argument("--staging", type=Path, required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--costs", type=Path, required=True, help="the file to write")
    given = parser.parse_args()
    with (
        ReplayServer(read_folder(given.files)) as server,
        closing(MongoClient[Any](server.uri)) as client,
        psycopg.connect(os.environ["TARGET"]) as conn,
    ):
        merging = Merging(server, client, conn, given.staging)
        merging.fill()
        costs: dict[str, list[dict[str, float]]] = {"ours": [], "bare": []}
        for _ in range(given.runs):
            costs["ours"].append(merging.ours())
            costs["bare"].append(merging.bare())
        rows = {"table": len(merging.chosen) * EVERY, "changed": len(merging.chosen)}
    given.costs.write_text(json.dumps({"rows": rows, **costs}))


if __name__ == "__main__":
    main()
