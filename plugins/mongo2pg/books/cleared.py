"""Optional references that are NULL because the row they name was not there; it may come."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from mongo2pg.books.entries import Connection, RunKey


def note_cleared(
    conn: Connection, run: RunKey, collection: str, rows: sql.Identifier, owner: str, column: str, parent: str, ids: list[str]
) -> None:
    """Before the column of these `rows` becomes NULL; `owner` is the column that names their document's row."""
    conn.execute(
        sql.SQL(
            """
            INSERT INTO migration.cleared (domain, collection, root_id, parent_table, parent_id)
            SELECT %s, %s, {owner}, %s, {column} FROM {rows} WHERE id = ANY(%s::uuid[])
            """
        ).format(owner=sql.Identifier(owner), column=sql.Identifier(column), rows=rows),
        (run.domain, collection, parent, ids),
    )


def forget_cleared(conn: Connection, run: RunKey, collection: str, read: sql.Composable) -> None:
    """Of documents that are judged anew: `read` is a query for the ids of their rows."""
    conn.execute(
        sql.SQL("DELETE FROM migration.cleared WHERE (domain, collection) = (%s, %s) AND root_id IN ({})").format(read),
        (run.domain, collection),
    )


def cleared_in_vain(
    conn: Connection, run: RunKey, collection: str, table: sql.Identifier, parent: str, parents: sql.Identifier, most: int
) -> dict[str, str | None]:
    """Documents, up to so many, whose reference to the `parent` table was cleared although its row is there now.

    By their names, with what their rows keep of their `_id`s. A stale row's newer version is a reject: it was read, and would be in
    vain once more.
    """
    rows = conn.execute(
        sql.SQL(
            """
            SELECT DISTINCT migration.document_id(t.id, t.extra)::text, (t.extra -> '_id')::text
            FROM migration.cleared c JOIN {table} t ON t.id = c.root_id
            WHERE (c.domain, c.collection, c.parent_table) = (%s, %s, %s)
              AND EXISTS (SELECT FROM {parents} p WHERE p.id = c.parent_id)
              AND NOT EXISTS (
                SELECT FROM migration.stale s WHERE (s.domain, s.collection, s.root_id) = (c.domain, c.collection, c.root_id))
            LIMIT %s
            """
        ).format(table=table, parents=parents),
        (run.domain, collection, parent, most),
    )
    return dict(rows.fetchall())


def cleared_of(
    conn: Connection, run: RunKey, collection: str, table: sql.Identifier, parent: str, parent_ids: Sequence[str]
) -> dict[str, str | None]:
    """Documents of which a reference to one of these rows of the `parent` table was cleared, named as by `cleared_in_vain`."""
    rows = conn.execute(
        sql.SQL(
            """
            SELECT DISTINCT migration.document_id(t.id, t.extra)::text, (t.extra -> '_id')::text
            FROM migration.cleared c JOIN {table} t ON t.id = c.root_id
            WHERE (c.domain, c.collection, c.parent_table) = (%s, %s, %s) AND c.parent_id IN (SELECT unnest(%s::uuid[]))
            """
        ).format(table=table),
        (run.domain, collection, parent, list(parent_ids)),
    )
    return dict(rows.fetchall())
