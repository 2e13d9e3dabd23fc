"""Documents that no chunk can judge alone, held in `migration.held` as they would be stored, for `settle` to judge."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from mongo2pg.books import Connection, RunKey
from mongo2pg.model import Collection, Table
from mongo2pg.queries import incoming, names

_HOLD = sql.SQL("SELECT id FROM pg_temp.mongo2pg_hold")


def name_held(conn: Connection, ids: Sequence[str]) -> None:
    """Says which incoming documents `hold` shall move, by their root ids."""
    conn.execute("DROP TABLE IF EXISTS pg_temp.mongo2pg_hold")
    conn.execute("CREATE TEMP TABLE mongo2pg_hold (id uuid) ON COMMIT DROP")
    conn.execute("INSERT INTO pg_temp.mongo2pg_hold SELECT unnest(%s::uuid[])", (list(ids),))


def held_images(table: Table) -> sql.Composed:
    """A query for what a plan (its first parameter) holds of the table (its second): each image, a row `image`, is read once."""
    return sql.SQL(
        """
        SELECT h.*, h.row_image::{incoming} AS image FROM migration.held h WHERE (h.plan_id, h.table_name) = (%s, %s)
        OFFSET 0  -- without it, PostgreSQL reads an image again for each of its columns
        """
    ).format(incoming=incoming(table.name))


def hold(conn: Connection, run: RunKey, collection: Collection) -> int:
    """Moves the incoming documents named in `mongo2pg_hold`, root rows and child rows, to `migration.held`; returns how many."""
    root, *children = collection.tables
    count = 0
    for table in collection.tables:
        owner = sql.Identifier(table.owner)
        moved = conn.execute(
            sql.SQL(
                """
                INSERT INTO migration.held (domain, collection, run_id, plan_id, document_id, root_id, table_name, row_image)
                SELECT %s, %s, %s, %s, migration.document_id(r.id, r.extra), r.id, %s, ROW({columns})::text
                FROM {incoming} i JOIN {root} r ON r.id = i.{owner}
                WHERE i.{owner} IN ({only})
                """
            ).format(
                columns=names(table.stored, "i"), incoming=incoming(table.name), root=incoming(root.name), owner=owner, only=_HOLD
            ),
            (run.domain, collection.name, run.run_id, run.plan_id, table.name),
        ).rowcount
        if table is root:
            count = moved
    if count:
        for table in (*children, root):
            owner = sql.Identifier(table.owner)
            conn.execute(sql.SQL("DELETE FROM {} i WHERE i.{} IN ({})").format(incoming(table.name), owner, _HOLD))
    return count
