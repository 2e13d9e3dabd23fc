"""A month of daily windows, forwards, backwards and four at once: the same rows and rejects as one full run, by checksum."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from bson import ObjectId
from pymongo.database import Database

from deepiri.auth import AUTH
from mongo2pg.model import Domain
from mongo2pg.planning.modes import INCREMENTAL, Request
from mongo2pg.run import Run
from tests.documents import NOON, fill, user
from tests.mover import Mover, counts

DAYS, EACH_DAY = 30, 3
DAY = timedelta(days=1)
FIRST = NOON.replace(hour=0, minute=0, second=0, microsecond=0)
USERS = Domain("auth", (AUTH.collection("users"),))


def a_month() -> list[dict[str, Any]]:
    """Users of every day at any time of it, one a week without a change key, e-mail addresses taken twice, and a reject."""
    chance = random.Random(30)
    documents = []
    for day in range(DAYS):
        for number in range(day * EACH_DAY, (day + 1) * EACH_DAY):
            at = FIRST + day * DAY + timedelta(milliseconds=chance.randrange(86_400_000))
            documents.append(user(number, updatedAt=at, roles=["reader"] * chance.randrange(2)))
        if day % 7 == 0:
            made = ObjectId.from_datetime(FIRST + day * DAY + timedelta(hours=5))
            documents.append(user(1000 + day, _id=made, updatedAt=None))
    # Of one day each: of documents in different windows the one that was loaded first has it until the next full run.
    documents[9]["email"] = documents[8]["email"]
    documents[21]["email"] = documents[20]["email"]
    del documents[33]["email"]
    # On the very bounds: the first instant of a day, and the last one.
    documents[40]["updatedAt"], documents[41]["updatedAt"] = FIRST + 12 * DAY, FIRST + 13 * DAY - timedelta(milliseconds=1)
    return documents


def content(conn: psycopg.Connection[Any]) -> dict[str, Any]:
    """A checksum of each table's rows, and the open rejects."""
    sums = {
        table.name: conn.execute(
            f"SELECT count(*), md5(string_agg(t::text, ';' ORDER BY t.id)) FROM public.{table.name} t".encode()
        ).fetchone()
        for table in USERS.tables
    }
    rejects = conn.execute(
        "SELECT document_id::text, path, reason FROM migration.rejects WHERE state = 'open' ORDER BY 1, 2"
    ).fetchall()
    return {**sums, "rejects": rejects}


@pytest.fixture(scope="module")
def one_full_run(mongo_admin: Any, postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    database = mongo_admin["backfill"]
    fill(database, users=a_month())
    with postgres.database() as login, login.connect() as conn:
        Mover(database, conn, tmp_path_factory.mktemp("full"), USERS).move("full")
        expected = content(conn)
    assert expected["users"][0] == DAYS * EACH_DAY + 5 - 3
    assert sorted(reject[2] for reject in expected["rejects"]) == ["duplicate_key", "duplicate_key", "required"]
    mongo_admin.drop_database("backfill")
    return expected


class Month:
    """Daily runs into one target, each with a connection of its own, as Airflow's are."""

    def __init__(self, database: Database[Any], target: Any, staging: Path) -> None:
        self.database, self.target, self.staging = database, target, staging

    def day(self, number: int) -> None:
        start: datetime = FIRST + number * DAY
        with self.target.connect() as conn:
            run = Run(self.database, conn, USERS, self.staging, f"backfill {number}")
            run.follow(Request(INCREMENTAL, interval=(start, start + DAY), backfill=True))
            if number % 6 == 0:
                counts(run)


def one_after_another(month: Month, days: list[int]) -> None:
    for number in days:
        month.day(number)


def four_at_once(month: Month, days: list[int]) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(month.day, days))


@pytest.mark.parametrize(
    ("how", "days"),
    [
        pytest.param(one_after_another, list(range(DAYS)), id="forwards"),
        pytest.param(one_after_another, list(range(DAYS))[::-1], id="backwards"),
        pytest.param(four_at_once, list(range(DAYS)), id="four at once"),
    ],
)
def test_thirty_daily_windows_end_in_the_rows_of_one_full_run(
    mongo_database: Database[Any],
    target: Any,
    tmp_path: Path,
    one_full_run: dict[str, Any],
    how: Callable[[Month, list[int]], None],
    days: list[int],
) -> None:
    fill(mongo_database)
    with target.connect() as conn:
        Mover(mongo_database, conn, tmp_path, USERS).passed("empty")
        mongo_database.users.insert_many(a_month())
        how(Month(mongo_database, target, tmp_path), days)
        assert content(conn) == one_full_run
