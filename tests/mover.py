"""Runs of the auth domain between a test's two databases, stage by stage and in any order of chunks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from pymongo.database import Database

from deepiri.auth import AUTH
from mongo2pg.model import Domain
from mongo2pg.planning.plan import CHUNK_BYTES
from mongo2pg.run import Run

# A chunk for each document: how they are cut is then the same on every server and in every run.
EACH = 1


@dataclass
class Mover:
    """Both ends and a staging folder; every run of it has the same connection."""

    database: Database[Any]
    conn: psycopg.Connection[Any]
    staging: Path
    domain: Domain = AUTH

    def run(self, run_id: str) -> Run:
        return Run(self.database, self.conn, self.domain, self.staging, run_id)

    def staged(self, run_id: str, chunk_bytes: int = CHUNK_BYTES, *, backwards: bool = False) -> Run:
        """A run up to the frames, with its chunks in or against their order."""
        run = self.run(run_id)
        run.prepare()
        run.plan(chunk_bytes)
        if backwards:
            run.lots = [{**lot, "chunks": lot["chunks"][::-1]} for lot in run.lots[::-1]]
        run.extract()
        run.normalise()
        return run

    def move(self, run_id: str, chunk_bytes: int = CHUNK_BYTES, *, backwards: bool = False) -> Run:
        """A run up to the settled tables."""
        run = self.staged(run_id, chunk_bytes, backwards=backwards)
        run.carry("load")
        return run

    def passed(self, run_id: str, chunk_bytes: int = CHUNK_BYTES, *, backwards: bool = False) -> dict[str, Any]:
        """A whole run, all of whose checks must pass; returns the report's counts by collection."""
        run = self.move(run_id, chunk_bytes, backwards=backwards)
        return counts(run)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the target; tables are found without their schema."""
        with self.conn.transaction():
            self.conn.execute("SET LOCAL search_path = public, pg_catalog")
            return self.conn.execute(query.encode(), values).fetchall()

    def column(self, query: str, *values: Any) -> list[Any]:
        return [row[0] for row in self.rows(query, *values)]

    def rejects(self, state: str = "open") -> set[tuple[str, str, str, str]]:
        """(collection, `_id` as hex or as JSON, path, reason) of the rejects in that state."""
        return set(
            self.rows(
                """
                SELECT collection, coalesce(document_id ->> '$oid', document_id::text), path, reason
                FROM migration.rejects WHERE state = %s
                """,
                state,
            )
        )

    def image(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table with the transactions that made and marked it: equal images mean that nothing was written."""
        return {
            table.name: self.conn.execute(
                sql.SQL("SELECT xmin::text, xmax::text, t::text FROM {} t ORDER BY id").format(sql.Identifier("public", table.name))
            ).fetchall()
            for table in self.domain.tables
        }


def counts(run: Run) -> dict[str, Any]:
    """Verifies the run and returns its collections' counts; every check must have passed."""
    report = run.verify()
    assert report["failures"] == [], report["failures"]
    assert report["passed"] is True
    return {collection["collection"]: collection for collection in report["collections"]}


def outcome(collection: dict[str, Any]) -> tuple[int, int, int, int, dict[str, int]]:
    """(read, inserted, updated, unchanged, rejected) of a collection in a report."""
    read, inserted, updated, unchanged, rejected = (
        collection[name] for name in ("read", "inserted", "updated", "unchanged", "rejected")
    )
    return read, inserted, updated, unchanged, rejected
