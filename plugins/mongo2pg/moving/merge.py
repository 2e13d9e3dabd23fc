"""Incoming rows into a target that has rows already: only what differs is written.

The incoming rows of a collection stand in temporary tables that bear the names of their targets. A row whose image is
the same as the target's is passed over before anything is written: a guarded `ON CONFLICT … DO UPDATE` would lock it,
and a run that changes nothing would still set xmax and write WAL for every row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from psycopg import sql

from mongo2pg.books import Connection, RunKey
from mongo2pg.model import Collection, Table
from mongo2pg.queries import incoming, names, same_image, target

# Where a table has at most so many times the rows that come in, reading all of it costs no more than looking each up.
MANY_TIMES = 4


class Merged(NamedTuple):
    """What became of the incoming documents: ids of the new and of the changed ones, and how many were the same."""

    inserted: list[str]
    updated: list[str]
    unchanged: int


def merge(conn: Connection, run: RunKey, collection: Collection) -> Merged:
    """Makes the target's rows those of the incoming documents, child rows as sets: absent ones go, the others stay.

    The incoming tables have been analyzed.
    """
    root, *children = collection.tables
    conn.execute("DROP TABLE IF EXISTS pg_temp.mongo2pg_merge, pg_temp.mongo2pg_touched")
    conn.execute(
        sql.SQL(
            """
            CREATE TEMP TABLE mongo2pg_merge ON COMMIT DROP AS
            SELECT i.id, t.id IS NULL AS is_new, t.id IS NOT NULL AND NOT ({same}) AS changed
            FROM {incoming} i LEFT JOIN {target} t ON t.id = i.id
            """
        ).format(same=same_image(root, "i", "t"), incoming=incoming(root.name), target=target(root.name))
    )
    conn.execute("CREATE TEMP TABLE mongo2pg_touched (id uuid) ON COMMIT DROP")
    # Of rows that are gone or stale PostgreSQL expects one, and would read the whole list for each of many.
    conn.execute("CREATE INDEX ON pg_temp.mongo2pg_merge (id); ANALYZE pg_temp.mongo2pg_merge")
    bounds = conn.execute(
        """
        SELECT (SELECT id FROM pg_temp.mongo2pg_merge ORDER BY id LIMIT 1)::text,
               (SELECT id FROM pg_temp.mongo2pg_merge ORDER BY id DESC LIMIT 1)::text
        """
    ).fetchone() or (None, None)
    for child in children:
        _delete_absent(conn, child, bounds)
    # New ones first: a changed one may refer to them. No unique key is in the way, for whoever claims that of another row is held.
    _insert(conn, root, "JOIN pg_temp.mongo2pg_merge m ON m.id = i.id AND m.is_new")
    _update(conn, root, "JOIN pg_temp.mongo2pg_merge m ON m.id = i.id AND m.changed")
    for child in children:
        with _looked_up(conn, child):
            _update(conn, child, "")
            _insert(conn, child, "")
    # What was read again and fits is stale no longer.
    conn.execute(
        """
        DELETE FROM migration.stale
        WHERE domain = %s AND collection = %s AND root_id IN (SELECT id FROM pg_temp.mongo2pg_merge)
        """,
        (run.domain, collection.name),
    )
    row = conn.execute(
        """
        SELECT coalesce(array_agg(id::text) FILTER (WHERE is_new), '{}'),
               coalesce(array_agg(id::text) FILTER (WHERE differs), '{}'),
               count(*) FILTER (WHERE NOT is_new AND NOT differs)
        FROM (
            SELECT m.id, is_new, NOT is_new AND (changed OR t.id IS NOT NULL) AS differs
            FROM pg_temp.mongo2pg_merge m LEFT JOIN (SELECT DISTINCT id FROM pg_temp.mongo2pg_touched) AS t ON t.id = m.id
        ) AS outcome
        """
    ).fetchone()
    return Merged(*(row or ([], [], 0)))


@contextmanager
def _looked_up(conn: Connection, child: Table) -> Iterator[None]:
    """Rows that meet a table several times their number are looked up in it one by one.

    Their ids lie all over the table. PostgreSQL takes them for neighbours, as root rows are, and would read all of it for each
    chunk: 18 times the time for four times the rows.
    """
    row = conn.execute(
        "SELECT t.reltuples > %s * i.reltuples FROM pg_class t, pg_class i WHERE (t.oid, i.oid) = (%s::regclass, %s::regclass)",
        (MANY_TIMES, target(child.name).as_string(conn), incoming(child.name).as_string(conn)),
    ).fetchone()
    if row != (True,):
        yield
        return
    conn.execute("SET LOCAL enable_mergejoin = off; SET LOCAL enable_hashjoin = off")
    yield
    conn.execute("SET LOCAL enable_mergejoin TO DEFAULT; SET LOCAL enable_hashjoin TO DEFAULT")


def _delete_absent(conn: Connection, child: Table, bounds: tuple[str | None, str | None]) -> None:
    """Child rows whose element is gone from its array."""
    conn.execute(
        sql.SQL(
            """
            WITH gone AS (
                DELETE FROM {target} t USING pg_temp.mongo2pg_merge m
                WHERE t.{parent} BETWEEN {low}::uuid AND {high}::uuid  -- says how few rows of a large table can be meant
                  AND t.{parent} = m.id AND NOT m.is_new AND NOT EXISTS (SELECT FROM {incoming} i WHERE i.id = t.id)
                RETURNING m.id
            )
            INSERT INTO pg_temp.mongo2pg_touched SELECT DISTINCT id FROM gone
            """
        ).format(
            target=target(child.name),
            parent=sql.Identifier(child.parent_key),
            incoming=incoming(child.name),
            low=bounds[0],
            high=bounds[1],
        )
    )


def _update(conn: Connection, table: Table, which: str) -> None:
    columns = [column for column in table.stored if column.name != "id"]
    conn.execute(
        sql.SQL(
            """
            WITH changed AS (
                UPDATE {target} t SET ({columns}) = ROW({values})
                FROM {incoming} i {which}
                WHERE t.id = i.id AND NOT ({same})
                RETURNING i.{owner} AS id
            )
            INSERT INTO pg_temp.mongo2pg_touched SELECT DISTINCT id FROM changed
            """
        ).format(
            target=target(table.name),
            columns=names(columns),
            values=names(columns, "i"),
            incoming=incoming(table.name),
            which=sql.SQL(which),
            same=same_image(table, "i", "t"),
            owner=sql.Identifier(table.owner),
        )
    )


def _insert(conn: Connection, table: Table, which: str) -> None:
    conn.execute(
        sql.SQL(
            """
            WITH new AS (
                INSERT INTO {target} ({columns})
                SELECT {values} FROM {incoming} i {which}
                WHERE NOT EXISTS (SELECT FROM {target} t WHERE t.id = i.id)
                RETURNING {owner} AS id
            )
            INSERT INTO pg_temp.mongo2pg_touched SELECT DISTINCT id FROM new
            """
        ).format(
            target=target(table.name),
            columns=names(table.stored),
            values=names(table.stored, "i"),
            incoming=incoming(table.name),
            which=sql.SQL(which),
            owner=sql.Identifier(table.owner),
        )
    )
