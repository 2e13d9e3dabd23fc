"""All seven domains in one target: the order of the runs plays no part, and a second run changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from psycopg import Connection, sql
from pymongo.database import Database

from deepiri.registry import DOMAINS
from demo.postgres import PostgresLogin
from demo.sample import DOMAINS as SAMPLE
from demo.sample import documents
from mongo2pg.model import Domain
from mongo2pg.run import Run
from mongo2pg.verdict.across import settle_across

# Some of every kind of dirt, in seconds.
SCALE = 0.05
# Several chunks for the larger collections.
CHUNK_BYTES = 150_000


@pytest.fixture
def platform(mongo_database: Database[dict[str, Any]]) -> Database[dict[str, Any]]:
    for collections in SAMPLE.values():
        for collection in collections:
            mongo_database[collection].insert_many(documents(collection, SCALE))
    return mongo_database


def run_all(source: Database[Any], conn: Connection[Any], order: Sequence[Domain], staging: Path, run_id: str) -> None:
    for domain in order:
        run = Run(source, conn, domain, staging, run_id, DOMAINS)
        run.move(CHUNK_BYTES)
        report = run.verify()
        assert report["passed"], (domain.name, report["failures"])


def test_where_nothing_was_moved_there_is_no_reference_to_judge(source: Any, target: Any, tmp_path: Path) -> None:
    with source.connect() as client, target.connect(autocommit=True) as conn:
        assert settle_across(client["nothing"], conn, DOMAINS, tmp_path) == []


def images(conn: Connection[Any]) -> dict[str, list[str]]:
    """Every row of every table as text."""
    return {
        table.name: [
            row[0]
            for row in conn.execute(sql.SQL("SELECT t::text FROM {} t ORDER BY id").format(sql.Identifier("public", table.name)))
        ]
        for domain in DOMAINS
        for table in domain.tables
    }


def versions(conn: Connection[Any]) -> dict[str, list[tuple[str, str, str]]]:
    return {
        table.name: conn.execute(
            sql.SQL("SELECT id::text, xmin::text, xmax::text FROM {} ORDER BY id").format(sql.Identifier("public", table.name))
        ).fetchall()
        for domain in DOMAINS
        for table in domain.tables
    }


def rejects(conn: Connection[Any]) -> list[tuple[Any, ...]]:
    return conn.execute(
        "SELECT collection, document_id::text, path, reason FROM migration.rejects WHERE state = 'open' ORDER BY 1, 2, 3"
    ).fetchall()


def test_the_domains_end_in_the_same_rows_in_whatever_order_they_run_and_a_second_run_sets_neither_xmin_nor_xmax(
    platform: Database[dict[str, Any]], target: PostgresLogin, target_16: PostgresLogin, tmp_path: Path
) -> None:
    with target.connect() as forwards, target_16.connect() as backwards:
        run_all(platform, forwards, DOMAINS, tmp_path / "forwards", "first")
        settle_across(platform, forwards, DOMAINS, tmp_path / "forwards")
        before = versions(forwards)
        run_all(platform, forwards, DOMAINS, tmp_path / "forwards", "second")
        assert settle_across(platform, forwards, DOMAINS, tmp_path / "forwards") == []
        assert versions(forwards) == before
        # The second round is what an orphan of the first gets: its slot may have become free.
        run_all(platform, backwards, DOMAINS[::-1], tmp_path / "backwards", "first")
        run_all(platform, backwards, DOMAINS[::-1], tmp_path / "backwards", "second")
        assert images(backwards) == images(forwards)
        assert rejects(backwards) == rejects(forwards)
        count = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND connamespace = 'public'::regnamespace"
        assert forwards.execute(count).fetchone() == backwards.execute(count).fetchone()
