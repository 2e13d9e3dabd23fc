"""The rows that documents must become beside those that the target has of them, a table at a time, as PostgreSQL compares them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psycopg import sql

from mongo2pg.books import Connection
from mongo2pg.checks.differences import digest
from mongo2pg.checks.expected import DOCUMENT, REJECTS
from mongo2pg.model import Collection, Column, Table
from mongo2pg.queries import digests, exact_values, incoming, names, row_hash, target

# The root ids of the documents that are compared.
IDS = sql.Identifier("pg_temp", "mongo2pg_ids")
# Rows, and their checksum.
Sum = dict[str, Any]
NOTHING: Sum = {"rows": 0, "sum": [0, 0]}


def plus(one: Sum, other: Sum) -> Sum:
    """The sum of disjoint rows."""
    return {"rows": one["rows"] + other["rows"], "sum": [sum(parts) for parts in zip(one["sum"], other["sum"], strict=True)]}


def agreed_rows(table: Table) -> sql.Composed:
    """A query for the expected rows of the documents in which nothing differs."""
    return sql.SQL(
        "SELECT * FROM {} e WHERE NOT EXISTS (SELECT FROM pg_temp.mongo2pg_differences d WHERE d.root_id = e.{})"
    ).format(incoming(table.name), sql.Identifier(table.owner))


def compare_table(conn: Connection, table: Table, expects_else: Callable[[Table], bool]) -> tuple[Sum, Sum]:
    """Rows and checksum of what must be there and of what is; where they differ, notes each difference.

    Before that, it asks whether something else must be there than is expected (`expects_else`, which puts it right).
    """
    theirs = sql.SQL("SELECT t.* FROM {target} t WHERE t.{owner} IN (SELECT id FROM {ids})").format(
        target=target(table.name), owner=sql.Identifier(table.owner), ids=IDS
    )
    source = checksum(conn, table, sql.SQL("SELECT * FROM {}").format(incoming(table.name)))
    found = checksum(conn, table, theirs)
    if source != found and expects_else(table):
        source = checksum(conn, table, sql.SQL("SELECT * FROM {}").format(incoming(table.name)))
    if source == found:
        return source, found
    if table.child:
        # And rows that should be theirs but hang on another parent. To look for these may read the whole table: that pays only
        # where something is amiss.
        theirs += sql.SQL(
            """
            UNION ALL SELECT t.* FROM {target} t JOIN {expected} e ON e.id = t.id
            WHERE t.{owner} NOT IN (SELECT id FROM {ids})
            """
        ).format(target=target(table.name), expected=incoming(table.name), owner=sql.Identifier(table.owner), ids=IDS)
        found = checksum(conn, table, theirs)
    _find_differences(conn, table, theirs)
    return source, found


def checksum(conn: Connection, table: Table, rows: sql.Composable) -> Sum:
    """Rows and the sums of two digests per row: order plays no part, and equal rows do not cancel out."""
    # OFFSET 0 keeps the hashes apart from the digests; merged, the planner would make each twice.
    low, high = digests()
    row = conn.execute(
        sql.SQL(
            """
            SELECT count(*), coalesce(sum({low}), 0), coalesce(sum({high}), 0)
            FROM (SELECT {hash} FROM ({rows}) AS r OFFSET 0) AS hashes
            """
        ).format(low=low, high=high, hash=row_hash(exact_values(table, "r")), rows=rows)
    ).fetchone()
    count, *sums = row or (0, 0, 0)
    return {"rows": count, "sum": list(map(int, sums))}


def _find_differences(conn: Connection, table: Table, theirs: sql.Composable) -> None:
    """A row of `mongo2pg_differences` for each column that differs and for each row that only one side has."""
    columns = [column for column in table.stored if column.name != "id"]
    # Images first: they settle most rows at once, and a row that two of them have alike is never taken apart.
    conn.execute(
        sql.SQL(
            """
            INSERT INTO pg_temp.mongo2pg_differences (root_id, document, table_name, id, column_name, kind, source, target)
            SELECT coalesce(e.{owner}, t.{owner}), e.{document}, {table}, coalesce(e.id, t.id), d.column_name,
                   CASE WHEN t.id IS NULL THEN 'missing' WHEN e.id IS NULL THEN 'extra' ELSE 'different' END, d.source, d.target
            FROM {expected} e FULL JOIN ({theirs}) AS t ON t.id = e.id
            CROSS JOIN LATERAL (
                SELECT NULL::text AS column_name, NULL::text AS source, NULL::text AS target WHERE e.id IS NULL OR t.id IS NULL
                UNION ALL
                SELECT c.name, CASE WHEN c.name = ANY({sensitive}) THEN {e_digest} ELSE c.source END,
                       CASE WHEN c.name = ANY({sensitive}) THEN {t_digest} ELSE c.target END
                FROM (VALUES {pairs}) AS c (name, source, target)
                WHERE e.id IS NOT NULL AND t.id IS NOT NULL AND c.source IS DISTINCT FROM c.target
            ) AS d
            WHERE e.id IS NULL OR t.id IS NULL OR ROW({left})::text <> ROW({right})::text
            """
        ).format(
            table=sql.Literal(table.name),
            owner=sql.Identifier(table.owner),
            document=DOCUMENT,
            expected=incoming(table.name),
            theirs=theirs,
            sensitive=sql.Literal([column.name for column in columns if column.sensitive]),
            e_digest=digest(sql.SQL("c.source")),
            t_digest=digest(sql.SQL("c.target")),
            pairs=sql.SQL(", ").join(map(_pair, columns)),
            left=names(columns, "e"),
            right=names(columns, "t"),
        )
    )


def name_documents(conn: Connection, collection: Collection) -> None:
    """Tells with each difference whose it is: of the document whose row it must be, or, of an extra row, of one that has its id."""
    root = incoming(collection.table)
    conn.execute(
        sql.SQL(
            """
            UPDATE pg_temp.mongo2pg_differences d
            SET document_id = migration.document_id(e.id, e.extra), kept = e.extra -> '_id'
            FROM {root} e WHERE d.document_id IS NULL AND d.document = e.{document}
            """
        ).format(document=DOCUMENT, root=root)
    )
    conn.execute(
        sql.SQL(
            """
            UPDATE pg_temp.mongo2pg_differences d SET document = n.document, document_id = n.document_id, kept = n.kept
            FROM (
                SELECT DISTINCT ON (root_id) root_id, document, document_id, kept FROM (
                    SELECT 1 AS rank, id AS root_id, {document} AS document,
                           migration.document_id(id, extra) AS document_id, extra -> '_id' AS kept
                    FROM {root} WHERE id IN (SELECT root_id FROM pg_temp.mongo2pg_differences)
                    UNION ALL
                    SELECT 2, root_id, document, document_id, NULL FROM pg_temp.mongo2pg_settled WHERE document IS NOT NULL
                    UNION ALL
                    SELECT 3, root_id, document, document_id, NULL FROM {rejects}
                ) AS known ORDER BY root_id, rank, document
            ) AS n
            WHERE d.document IS NULL AND d.root_id = n.root_id
            """
        ).format(document=DOCUMENT, root=root, rejects=REJECTS)
    )


def _pair(column: Column) -> sql.Composable:
    return sql.SQL("({name}, e.{column}::text, t.{column}::text)").format(
        name=sql.Literal(column.name), column=sql.Identifier(column.name)
    )
