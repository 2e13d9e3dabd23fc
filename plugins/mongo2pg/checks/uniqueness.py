"""Uniqueness: no two rows share a primary key, a unique key or a child key, whatever constraints say or fail to say."""

from __future__ import annotations

from typing import Any

from psycopg import sql

from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.checks.differences import booked_differences, describe
from mongo2pg.files.staging import RunStaging
from mongo2pg.model import Collection, Domain, Table
from mongo2pg.queries import target
from mongo2pg.target.guards import ENFORCED, Guard, judge_tables, reading_tables, rows_to_check, state_of


def keys(table: Table) -> list[tuple[str, ...]]:
    """The primary key and every other key of the table, by column names."""
    return [("id",), *table.unique]


def check_uniqueness(conn: Connection, run: RunKey, domain: Domain, staging: RunStaging) -> list[Check]:
    """The check `uniqueness` of every table; every row that shares a key stands in migration.differences.

    All rows after a full reading, else those of the documents that were read and what no constraint vouches for. A constraint
    that is missing or guards nothing fails the check even where the rows are right.
    """

    def judge(_collection: Collection, table: Table, found: list[Guard], full: bool) -> Check:
        return _check_table(conn, run, table, found, full=full)

    return judge_tables(conn, run, domain, staging, "uniqueness", judge)


def _check_table(conn: Connection, run: RunKey, table: Table, found: list[Guard], *, full: bool) -> Check:
    facts: dict[str, Any] = {}
    faults: list[str] = []
    duplicates = 0
    for key in keys(table):
        name = ", ".join(key)
        state = state_of(found, "p" if key == ("id",) else "pu", key)
        if state != ENFORCED:
            faults.append(f"the constraint on ({name}) is {state}")
        count = _find_duplicates(conn, run, table, key, whole=full or state != ENFORCED)
        duplicates += count
        facts[name] = {"duplicates": count, "constraint": state}
    named = booked_differences(conn, run, "uniqueness", table.name)[1] if duplicates else []
    detail = "; ".join([*faults, *map(describe, named)]) or None
    passed = not faults and not duplicates
    return Check(
        "uniqueness",
        table.name,
        "passed" if passed else "failed",
        {"duplicates": 0},
        {"duplicates": duplicates, "keys": facts},
        detail,
    )


def _find_duplicates(conn: Connection, run: RunKey, table: Table, key: tuple[str, ...], *, whole: bool) -> int:
    """Writes down every row whose key another row has, too."""
    columns = sql.SQL(", ").join(map(sql.Identifier, key))
    candidates = (
        sql.SQL("true")
        if whole
        else sql.SQL("({columns}) IN (SELECT {own} FROM {table} x WHERE {rows})").format(
            columns=columns,
            own=sql.SQL(", ").join(sql.Identifier("x", name) for name in key),
            table=target(table.name),
            rows=rows_to_check(table, whole=False),
        )
    )
    statement = sql.SQL(
        """
        INSERT INTO migration.differences (domain, run_id, check_name, table_name, chunk, id, column_name, kind)
        SELECT %s, %s, 'uniqueness', %s, -1, t.id, %s, 'duplicate' FROM {table} t
        JOIN (SELECT {columns} FROM {table} WHERE {candidates} GROUP BY {columns} HAVING count(*) > 1) AS d USING ({columns})
        """
    ).format(table=target(table.name), columns=columns, candidates=candidates)
    values = (run.domain, run.run_id, table.name, ", ".join(key))
    if not whole:
        return conn.execute(statement, values).rowcount
    with reading_tables(conn):
        if key == ("id",) and _all_differ(conn, table):
            return 0
        return conn.execute(statement, values).rowcount


def _all_differ(conn: Connection, table: Table) -> bool:
    """Whether no id occurs twice. Rows stand nearly in the order of their ids, and what is in order is sorted in no time."""
    row = conn.execute(sql.SQL("SELECT count(id) = count(DISTINCT id) FROM {}").format(target(table.name))).fetchone()
    return bool(row and row[0])
