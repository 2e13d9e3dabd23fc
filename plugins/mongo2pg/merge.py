"""Incoming rows into a target that has rows already: only what differs is written.

The incoming rows of a collection stand in temporary tables that bear the names of their targets. A row whose image is
the same as the target's is passed over before anything is written: a guarded `ON CONFLICT … DO UPDATE` would lock it,
and a run that changes nothing would still set xmax and write WAL for every row.
"""

from __future__ import annotations

from typing import NamedTuple

from psycopg import sql

from mongo2pg.books import Connection, RunKey
from mongo2pg.model import Collection, Table
from mongo2pg.queries import incoming, names, same_image, target


class Merged(NamedTuple):
    """What became of the incoming documents: ids of the new and of the changed ones, and how many were the same."""

    inserted: list[str]
    updated: list[str]
    unchanged: int


def merge(conn: Connection, run: RunKey, collection: Collection) -> Merged:
    """Makes the target's rows those of the incoming documents, child rows as sets: absent ones go, the others stay."""
    root, *children = collection.tables
    for table in collection.tables:
        conn.execute(sql.SQL("ANALYZE {}").format(incoming(table.name)))
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
    conn.execute("ANALYZE pg_temp.mongo2pg_merge")
    for child in children:
        _delete_absent(conn, child)
    _update(conn, root, "JOIN pg_temp.mongo2pg_merge m ON m.id = i.id AND m.changed")
    _insert(conn, root, "JOIN pg_temp.mongo2pg_merge m ON m.id = i.id AND m.is_new")
    for child in children:
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
        FROM (SELECT id, is_new, NOT is_new AND (changed OR id IN (SELECT id FROM pg_temp.mongo2pg_touched)) AS differs
              FROM pg_temp.mongo2pg_merge) AS outcome
        """
    ).fetchone()
    return Merged(*(row or ([], [], 0)))


def _delete_absent(conn: Connection, child: Table) -> None:
    """Child rows whose element is gone from its array."""
    conn.execute(
        sql.SQL(
            """
            WITH gone AS (
                DELETE FROM {target} t USING pg_temp.mongo2pg_merge m
                WHERE t.{parent} = m.id AND NOT m.is_new AND NOT EXISTS (SELECT FROM {incoming} i WHERE i.id = t.id)
                RETURNING m.id
            )
            INSERT INTO pg_temp.mongo2pg_touched SELECT DISTINCT id FROM gone
            """
        ).format(target=target(child.name), parent=sql.Identifier(child.parent_key), incoming=incoming(child.name))
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
            owner=sql.Identifier(table.parent_key or "id"),
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
            owner=sql.Identifier(table.parent_key or "id"),
        )
    )
