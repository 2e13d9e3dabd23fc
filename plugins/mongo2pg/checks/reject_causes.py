"""Every reject of the books must have its cause: else a mover that rejects everything would verify green.

A cause lies in the document, then the reference rejects it, too; or in other rows, then the target shows it: the row
that is referred to is not there, or another document with a smaller `_id` has the key. Other runs go on meanwhile: for a run's
own rejects the books may show it, too (`books.came_after`). What is rejected for cause is expected in no table; everything is
judged in the temporary tables of `expected`. And what is kept of it must be the document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from psycopg import sql

from mongo2pg import books
from mongo2pg.books import Connection, RunKey
from mongo2pg.checks.expected import DOCUMENT, REJECTS, VERSIONS, rows_of
from mongo2pg.model import Child, Collection, Column, Domain, Table
from mongo2pg.queries import incoming, target
from mongo2pg.reference.agreement import Ids
from mongo2pg.reference.id_order import id_order

# Reasons that settle gives: their cause lies in other rows, not in the document.
SETTLED = ("orphan", "duplicate_key")


class Booked(NamedTuple):
    """Which rejects of the books are held against the documents; `run`: all of these belong to the documents at hand, which are a
    chunk of this run's plan.

    `partial`: they come from a run that read a part of its collection. To such a one a row of a document that it did not read
    keeps its key, whatever its `_id`: the next full run judges both.
    """

    where: sql.Composable
    run: RunKey | None
    partial: bool = False


def of_chunk(run: RunKey, collection: str, chunk: int, *, partial: bool) -> Booked:
    """The open rejects that a run booked for a chunk."""
    key = sql.SQL(", ").join(map(sql.Literal, (*run, collection, chunk)))
    return Booked(sql.SQL("(domain, run_id, plan_id, collection, chunk) = ({})").format(key), run, partial=partial)


def of_collection(domain: str, collection: str) -> Booked:
    """All open rejects of a collection, for documents that are any part of it."""
    key = sql.SQL(", ").join(map(sql.Literal, (domain, collection)))
    return Booked(sql.SQL("(domain, collection) = ({})").format(key), None)


def any_booked(conn: Connection, booked: Booked) -> bool:
    """Whether the books have open rejects of them at all."""
    found = sql.SQL("SELECT EXISTS (SELECT FROM migration.rejects WHERE {} AND state = 'open')").format(booked.where)
    return conn.execute(found).fetchone() == (True,)


def name_booked(conn: Connection, booked: Booked, apart: sql.Composable) -> None:
    """Notes which rejects of the books, but those `apart`, wait to be explained."""
    conn.execute(
        """
        DROP TABLE IF EXISTS pg_temp.mongo2pg_booked, pg_temp.mongo2pg_settled;
        CREATE TEMP TABLE mongo2pg_settled (
            document_id jsonb, path text, reason text, element boolean, kept bytea, rejected_at timestamptz,
            document bigint, root_id uuid, confirmed boolean
        ) ON COMMIT DROP
        """
    )
    conn.execute(
        sql.SQL(
            """
            CREATE TEMP TABLE mongo2pg_booked ON COMMIT DROP AS
            SELECT DISTINCT document_id, path, reason, element, document AS kept, rejected_at FROM (
                SELECT * FROM migration.rejects WHERE {} AND state = 'open'
            ) AS r WHERE NOT EXISTS (SELECT FROM ({}) AS apart (named) WHERE apart.named = r.document_id)
            """
        ).format(booked.where, apart)
    )


def count_booked(conn: Connection) -> int:
    """How many of them still wait."""
    return _count(conn, sql.SQL("pg_temp.mongo2pg_booked"))


def booked_ids(conn: Connection, booked: Booked) -> Ids:
    """The ids of the documents that the books have open rejects of, of those that an ObjectId names."""
    rows = conn.execute(
        sql.SQL(
            """
            SELECT DISTINCT migration.uuid_from_objectid(document_id ->> '$oid') FROM migration.rejects
            WHERE {} AND state = 'open' AND jsonb_typeof(document_id) = 'object' AND document_id ? '$oid'
            """
        ).format(booked.where)
    )
    found = b"".join(row[0].bytes for row in rows)
    return np.frombuffer(found, ">u8").astype(np.uint64).reshape(-1, 2)


def asks_who_was_read(conn: Connection, booked: Booked) -> bool:
    """Whether a cause depends on which documents are at hand (see `Booked`), so that none may be left out beforehand."""
    duplicates = sql.SQL("migration.rejects WHERE {} AND state = 'open' AND reason = 'duplicate_key' AND NOT element")
    return booked.partial and _count(conn, duplicates.format(booked.where)) > 0


def judge_rejects(
    conn: Connection, domain: Domain, collection: Collection, references: Sequence[tuple[Table, Column]], booked: Booked
) -> int:
    """Holds the booked rejects of a portion's documents against the reference's and the target; returns how many are its own.

    Faults go to `mongo2pg_differences`; the rows of documents and elements that are rejected for cause leave the expected.
    What was judged waits no longer.
    """
    _find_unbooked(conn, collection)
    settled = _find_settled(conn, collection)
    _confirm_orphans(conn, references, is_nowhere)
    _confirm_duplicates(conn, domain.name, collection, partial=booked.partial)
    if settled and booked.run and _any_unconfirmed(conn):
        _confirm_orphans(conn, references, partial(_came_since, booked.run, domain, collection))
    _find_uncaused(conn, collection)
    _find_altered(conn, collection, booked)
    for table in collection.tables:
        conn.execute(
            sql.SQL(
                "DELETE FROM {} x USING pg_temp.mongo2pg_settled s WHERE NOT s.element AND s.reason = ANY(%s) AND x.{} = s.document"
            ).format(incoming(table.name), DOCUMENT),
            (list(SETTLED),),
        )
    conn.execute(
        sql.SQL(
            """
            DELETE FROM pg_temp.mongo2pg_booked WHERE document_id IN (
                SELECT document_id FROM {} UNION SELECT document_id FROM pg_temp.mongo2pg_settled)
            """
        ).format(REJECTS)
    )
    return _count(conn, REJECTS)


def judge_unread(conn: Connection, collection: Collection) -> None:
    """What still waits after all documents is without cause: none of them explains it."""
    conn.execute(
        """
        TRUNCATE pg_temp.mongo2pg_settled;
        INSERT INTO pg_temp.mongo2pg_settled (document_id, path, reason, element, confirmed)
        SELECT document_id, path, reason, element, false FROM pg_temp.mongo2pg_booked
        """
    )
    _find_uncaused(conn, collection)


def is_nowhere(column: Column) -> sql.Composable:
    """Whether the row that the expected row `x` refers to is not there."""
    return sql.SQL("NOT EXISTS (SELECT FROM {} p WHERE p.id = x.{})").format(target(column.references), sql.Identifier(column.name))


def _count(conn: Connection, table: sql.Composable) -> int:
    row = conn.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
    return int(row[0]) if row else 0


def _find_unbooked(conn: Connection, collection: Collection) -> None:
    conn.execute(
        sql.SQL(
            """
            INSERT INTO pg_temp.mongo2pg_differences (root_id, document, document_id, table_name, kind, source)
            SELECT o.root_id, o.document, o.document_id, %s, 'reject', format(
                '%%s %%s (%%s) must be rejected but is not in the books',
                o.document_id, coalesce(nullif(o.path, ''), 'document'), o.reason)
            FROM {} o WHERE NOT EXISTS (
                SELECT FROM pg_temp.mongo2pg_booked b
                WHERE (b.document_id, b.path, b.reason, b.element) = (o.document_id, o.path, o.reason, o.element))
            ORDER BY o.document_id, o.path
            """
        ).format(REJECTS),
        (collection.table,),
    )


def _find_settled(conn: Connection, collection: Collection) -> int:
    """The booked rejects of these documents that the documents alone do not explain, each with its document's row if it has one.

    Returns how many they are.
    """
    conn.execute("TRUNCATE pg_temp.mongo2pg_settled")
    return conn.execute(
        sql.SQL(
            """
            INSERT INTO pg_temp.mongo2pg_settled
            SELECT b.*, r.document, r.root_id, false FROM pg_temp.mongo2pg_booked b LEFT JOIN ({rows}) AS r USING (document_id)
            WHERE NOT EXISTS (
                SELECT FROM {rejects} o
                WHERE (o.document_id, o.path, o.reason, o.element) = (b.document_id, b.path, b.reason, b.element)
            ) AND (r.document IS NOT NULL OR EXISTS (SELECT FROM {rejects} o WHERE o.document_id = b.document_id))
            """
        ).format(rows=rows_of(collection, sql.SQL("SELECT document_id FROM pg_temp.mongo2pg_booked")), rejects=REJECTS)
    ).rowcount


def _any_unconfirmed(conn: Connection) -> bool:
    return _count(conn, sql.SQL("pg_temp.mongo2pg_settled WHERE NOT confirmed")) > 0


def _came_since(run: RunKey, domain: Domain, collection: Collection, column: Column) -> sql.Composable:
    """Whether it was not there yet when this run judged: the reject `s` was opened before another run brought it."""
    judged = books.judged_at(run, collection.name, sql.SQL("s.rejected_at"))
    return books.came_after(run, domain, column.references, sql.Identifier("x", column.name), judged)


def _confirm_orphans(
    conn: Connection, references: Sequence[tuple[Table, Column]], is_cause: Callable[[Column], sql.Composable]
) -> None:
    for table, column in references:
        conn.execute(
            sql.SQL(
                """
                UPDATE pg_temp.mongo2pg_settled s SET confirmed = true FROM {expected} x
                WHERE s.reason = 'orphan' AND s.element = {is_element} AND s.document = x.{document} AND s.path = {path}
                  AND NOT s.confirmed AND x.{column} IS NOT NULL AND {is_cause}
                """
            ).format(
                expected=incoming(table.name),
                is_element=sql.Literal(table.child is not None),
                document=DOCUMENT,
                path=_path_of(table.child, column),
                column=sql.Identifier(column.name),
                is_cause=is_cause(column),
            )
        )
        if table.child:
            conn.execute(
                sql.SQL(
                    "DELETE FROM {} x USING pg_temp.mongo2pg_settled s WHERE s.confirmed AND s.document = x.{} AND s.path = {}"
                ).format(incoming(table.name), DOCUMENT, _path_of(table.child, column))
            )


def _path_of(child: Child | None, column: Column) -> sql.Composable:
    """The path of a column's value in its document, as the books write it."""
    if child is None:
        return sql.Literal(column.path)
    below = f".{column.path}" if column.path else ""
    return sql.SQL("{} || x.{}::text || {}").format(
        sql.Literal(f"{child.path}."), sql.Identifier(child.key or "ordinal"), sql.Literal(below)
    )


def _confirm_duplicates(conn: Connection, domain: str, collection: Collection, *, partial: bool) -> None:
    confirmed = [
        number
        for number, loser, holder, read in _claims(conn, domain, collection)
        if id_order(holder) < id_order(loser) or (partial and not read and holder != loser)
    ]
    conn.execute("UPDATE pg_temp.mongo2pg_settled SET confirmed = true WHERE document = ANY(%s)", (confirmed,))


def _claims(conn: Connection, domain: str, collection: Collection) -> Iterator[tuple[int, str, str, bool]]:
    """(number, `_id` of the rejected document, `_id` of the one whose row has its key or its id, whether that row is what one of
    the documents at hand becomes) of each reject as duplicate."""
    root = collection.tables[0]
    # Whose row an id is, two names tell; which of two documents is smaller, what their rows keep of their `_id`s.
    names = sql.SQL("s.document_id::text, migration.document_id(t.id, t.extra)::text")
    kept = sql.SQL(
        "coalesce(x.extra -> '_id', s.document_id)::text, coalesce(t.extra -> '_id', migration.document_id(t.id, t.extra))::text"
    )
    slots: list[tuple[str, sql.Composable, sql.Composable]] = [("_id", sql.SQL("t.id = s.root_id"), names)]
    for key in root.unique:
        path = ",".join(column.path for column in root.columns if column.name in key)
        same_key = sql.SQL(" AND ").join(sql.SQL("t.{0} = x.{0}").format(sql.Identifier(name)) for name in key)
        slots.append((path, same_key, kept))
    for path, same, ids in slots:
        with conn.cursor() as cursor:
            # Row by row, without a cursor of the server's: psycopg cannot close one whose connection ends meanwhile.
            yield from cursor.stream(
                sql.SQL(
                    """
                    SELECT s.document, {ids}, EXISTS (
                        SELECT FROM {expected} y
                        WHERE y.id = t.id AND migration.document_id(y.id, y.extra) = migration.document_id(t.id, t.extra)
                    ) AND NOT EXISTS (
                        SELECT FROM migration.stale o WHERE (o.domain, o.collection, o.root_id) = ({domain}, {collection}, t.id))
                    FROM pg_temp.mongo2pg_settled s JOIN {expected} x ON x.{document} = s.document JOIN {target} t ON {same}
                    WHERE s.reason = 'duplicate_key' AND NOT s.element AND s.path = %s
                    """
                ).format(
                    expected=incoming(root.name),
                    document=DOCUMENT,
                    target=target(root.name),
                    same=same,
                    ids=ids,
                    domain=domain,
                    collection=collection.name,
                ),
                (path,),
            )


def _find_uncaused(conn: Connection, collection: Collection) -> None:
    conn.execute(
        sql.SQL(
            """
            INSERT INTO pg_temp.mongo2pg_differences (root_id, document, document_id, table_name, kind, source)
            SELECT root_id, coalesce(s.document, (SELECT min(o.document) FROM {} o WHERE o.document_id = s.document_id)),
                document_id, %(table)s, 'reject',
                format('%%s %%s (%%s) is rejected ', document_id, coalesce(nullif(path, ''), 'document'), reason) || CASE
                    WHEN document IS NOT NULL AND reason = 'orphan' THEN 'although the row it refers to is there'
                    WHEN document IS NOT NULL AND reason = 'duplicate_key' AND NOT element
                        THEN 'although no smaller _id holds its key'
                    ELSE 'without that cause' END
            FROM pg_temp.mongo2pg_settled s WHERE NOT confirmed ORDER BY document_id, path
            """
        ).format(REJECTS),
        {"table": collection.table},
    )


def _find_altered(conn: Connection, collection: Collection, booked: Booked) -> None:
    """The documents of which the books keep other bytes: a replay would load these.

    To a run's own chunk it may be a later version, which a neighbour's settle read: there the bytes must be what their name says.
    """
    conn.execute(
        sql.SQL(
            """
            INSERT INTO pg_temp.mongo2pg_differences (root_id, document, document_id, table_name, kind, source)
            WITH r AS (
                SELECT root_id, document, document_id, path, reason, kept FROM pg_temp.mongo2pg_settled
                UNION ALL
                SELECT o.root_id, o.document, o.document_id, o.path, o.reason, b.kept FROM {rejects} o
                JOIN pg_temp.mongo2pg_booked b USING (document_id, path, reason, element)
            ), d AS MATERIALIZED (  -- each document is hashed once, however many of its elements are rejects
                SELECT sha256, sha256(bson) AS found FROM migration.reject_documents WHERE sha256 IN (SELECT kept FROM r)
            )
            SELECT DISTINCT r.root_id, r.document, r.document_id, %s, 'reject', format(
                '%%s %%s (%%s) is rejected, but other bytes than its own are kept',
                r.document_id, coalesce(nullif(r.path, ''), 'document'), r.reason)
            FROM r JOIN {versions} v ON v.document = r.document JOIN d ON d.sha256 = r.kept
            WHERE d.found <> {should}
            """
        ).format(rejects=REJECTS, versions=VERSIONS, should=sql.Identifier("d" if booked.run else "v", "sha256")),
        (collection.table,),
    )
