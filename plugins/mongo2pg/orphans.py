"""Rejected orphans whose parent has come since: a window reads their documents again, as they are now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from psycopg import sql

from mongo2pg import schema
from mongo2pg.books import Connection
from mongo2pg.decode import value_at
from mongo2pg.identity import id_from_value
from mongo2pg.model import Collection, Column, Domain
from mongo2pg.planned import is_plannable
from mongo2pg.queries import target

# Documents that a window reads besides its own, one query by their `_id`s; the others follow with the next windows.
MOST = 1_000


class _Orphan(NamedTuple):
    document_id: Any
    parent: str


def adoptable(conn: Connection, domain: Domain, windows: Iterable[str]) -> dict[str, list[Any]]:
    """The `_id`s of up to `MOST` documents with an open reject `orphan` whose parent's row is there now.

    By collection, of those of which a window is read: a full reading meets its orphans anyway.
    """
    return {name: found for name in windows if (found := _of(conn, domain, domain.collection(name)))}


def _of(conn: Connection, domain: Domain, collection: Collection) -> list[Any]:
    found: dict[str, Any] = {}
    complete = schema.complete_tables(conn)
    for column, prefix in _references(collection):
        if len(found) >= MOST or column.references not in complete:
            continue
        orphans = _orphans(conn, domain, collection, column, prefix)
        while some := list(islice(orphans, MOST)):
            present = _present(conn, column.references, [each.parent for each in some])
            found |= {repr(each.document_id): each.document_id for each in some if each.parent in present}
            if len(found) >= MOST:
                break
    return list(found.values())[:MOST]


def _references(collection: Collection) -> Iterator[tuple[Column, str]]:
    """The required references, each with the path of the array that it stands in: only they make orphans."""
    for table in collection.tables:
        for column in table.references:
            if column.required:
                yield column, table.child.path if table.child else ""


def _orphans(conn: Connection, domain: Domain, collection: Collection, column: Column, prefix: str) -> Iterator[_Orphan]:
    """In the order of the books; those whose `_id` a plan cannot hold are left to full runs and replays."""
    with conn.transaction(), conn.cursor("mongo2pg_orphans") as cursor:
        cursor.execute(
            """
            SELECT r.path, d.bson FROM migration.rejects r JOIN migration.reject_documents d ON d.sha256 = r.document
            WHERE r.state = 'open' AND r.reason = 'orphan' AND (r.domain, r.collection) = (%s, %s) AND r.element = %s
              AND starts_with(r.path, %s) AND right(r.path, length(%s)) = %s
            ORDER BY r.document_id
            """,
            (domain.name, collection.name, bool(prefix), f"{prefix}." if prefix else "", column.path, column.path),
        )
        for path, bson in cursor:
            content = bytes(bson)
            document_id, parent = value_at(content, "_id"), value_at(content, path)
            if parent is not None and is_plannable(document_id):
                yield _Orphan(document_id, str(id_from_value(parent)))


def _present(conn: Connection, table: str, ids: Sequence[str]) -> set[str]:
    rows = conn.execute(sql.SQL("SELECT id::text FROM {} WHERE id = ANY(%s::uuid[])").format(target(table)), (list(ids),))
    return {row[0] for row in rows}
