"""Reconcile: everything is compared with its source, whatever windows saw; a repair writes what differs and nothing else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from demo.postgres import PostgresLogin
from mongo2pg import schema
from tests.hostile import HOSTILE, write_sql
from tests.mover import Mover
from tests.score.corruptions import (
    OWNERS,
    SET_UP,
    STRUCTURES,
    VALUES,
    Found,
    Ground,
    a_row_that_no_document_explains,
    change_value,
    one_document_twice_and_another_missing,
)
from tests.score.data import code, thing


@pytest.fixture
def mover(mongo_database: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path) -> Iterator[Mover]:
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path)


@pytest.fixture
def hostile(mover: Mover, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mover:
    monkeypatch.setattr(schema, "INCLUDE", write_sql(tmp_path / "sql"))
    mover.domain = HOSTILE
    return mover


def differences(mover: Mover, run_id: str) -> set[Found]:
    """(table, id, column, kind) of what the run found at first."""
    return set(
        mover.rows(
            """
            SELECT table_name, id::text, column_name, kind FROM migration.differences
            WHERE run_id = %s AND check_name IN ('reconcile', 'unexplained_rows')
            """,
            run_id,
        )
    )


def contents(mover: Mover) -> dict[str, list[str]]:
    return {table.name: mover.column(f"SELECT t::text FROM {table.name} t ORDER BY id") for table in mover.domain.tables}


def versions(mover: Mover) -> dict[str, set[tuple[str, str]]]:
    """The rows of each table with the transaction that wrote them."""
    return {table.name: set(mover.rows(f"SELECT id::text, xmin::text FROM {table.name}")) for table in mover.domain.tables}


def failed(report: dict[str, Any]) -> set[tuple[str, str]]:
    return {(failure["check"], failure["table"]) for failure in report["failures"]}


# ------------------------------------------------------------------------------------------------------- corruptions


def test_of_25_random_corruptions_a_repair_mends_exactly_those_and_a_second_pass_finds_nothing(hostile: Mover) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    hostile.database.things.insert_many(thing(number, chance) for number in range(1, 301))
    hostile.database.codes.insert_many(code(number, chance) for number in range(1, 61))
    hostile.move("first", 60_000)
    good, before = contents(hostile), versions(hostile)
    owed = corrupt(hostile, seed, 25)

    report = hostile.run("reconcile").reconcile(repair=True, max_repair_ratio=0.2, chunk_bytes=60_000)

    # A row that hangs on another document is one too many for that one's chunk, and missing or different for its own.
    moved = {(table, row, None, "extra") for table, row, column, _ in owed if column in OWNERS.values()}
    found = differences(hostile, "reconcile")
    assert (owed - found, found - owed - moved) == (set(), set())
    assert report["failures"] == []
    assert report["passed"] is True
    assert contents(hostile) == good
    touched = {row for _, row, _, _ in owed}
    for table, rows in versions(hostile).items():
        assert {row for row in before[table] - rows if row[0] not in touched} == set(), table

    after = versions(hostile)
    assert hostile.run("again").reconcile(repair=True)["passed"] is True
    assert differences(hostile, "again") == set()
    assert versions(hostile) == after


def corrupt(mover: Mover, seed: int, number: int) -> set[Found]:
    """So many kinds of corruption, each in documents of its own; returns the differences that they make."""
    kinds: list[Any] = random.Random(seed).sample([*VALUES, *STRUCTURES], number)
    # Rows of no document come last, or another kind would befall them.
    kinds.sort(key=[a_row_that_no_document_explains, one_document_twice_and_another_missing].__contains__)
    with mover.conn.transaction():
        mover.conn.execute("SET LOCAL search_path = public, pg_catalog")
        mover.conn.execute(SET_UP)
        ground = Ground(mover.conn, seed)
        owed = [change_value(ground, *kind[1:]) if isinstance(kind, tuple) else kind(ground) for kind in kinds]
    return set().union(*owed)
