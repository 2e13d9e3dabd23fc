"""What a window reads besides its own documents, as they are now: those whose turn has come, and those that were left behind.

A rejected orphan whose parent has come since; a document whose optional reference was cleared, and the row that it names is
there now; a document that a run held for its settle and that ended before.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, NamedTuple

from psycopg import sql
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Connection, RunKey
from mongo2pg.databases import lookup
from mongo2pg.documents.decode import value_at
from mongo2pg.documents.document_ids import document_id
from mongo2pg.documents.identity import id_from_value
from mongo2pg.files.planned import is_plannable
from mongo2pg.model import Collection, Column, Domain
from mongo2pg.queries import target
from mongo2pg.target import schema

# Documents of each kind and collection that a window reads besides its own, one query by their `_id`s; the others follow with the
# next windows.
MOST = 1_000


class _Orphan(NamedTuple):
    value: Any  # of its `_id`
    parent: str


def besides(
    database: Database[Any], conn: Connection, run: RunKey, domain: Domain, windows: Iterable[str], alive: Callable[[str], bool]
) -> dict[str, list[Any]]:
    """The `_id`s of these documents, by collection, of those of which a window is read: a full reading meets all of them anyway.

    What a plan cannot hold is left to full runs. `alive` says of a run's id whether that one goes on.
    """
    found: dict[str, list[Any]] = {}
    complete = schema.complete_tables(conn) if windows else set[str]()
    for collection in map(domain.collection, windows):
        named = _adoptable(conn, domain, collection, complete)
        left = books.left_behind(conn, run, collection.name, collection.table, MOST, alive)
        kept = _fulfilled(conn, run, collection, complete)
        asked = lookup.find_ids(database, collection.name, {*left, *kept}, {name: text for name, text in kept.items() if text})
        named |= {document_id(value): value for values in asked.values() for value in values if is_plannable(value)}
        if named:
            found[collection.name] = list(named.values())
    return found


def _fulfilled(conn: Connection, run: RunKey, collection: Collection, complete: set[str]) -> dict[str, str | None]:
    """Documents of which an optional reference was cleared and leads to a row now, with what their rows keep of their `_id`s."""
    parents = {column.references for table in collection.tables for column in table.references if not column.required}
    found: dict[str, str | None] = {}
    for parent in sorted(parents & complete):
        found |= books.cleared_in_vain(conn, run, collection.name, target(collection.table), parent, target(parent), MOST)
    return found


def _adoptable(conn: Connection, domain: Domain, collection: Collection, complete: set[str]) -> dict[str, Any]:
    """Up to `MOST` documents with an open reject `orphan` whose parent's row is there now: their `_id`s by their names."""
    found: dict[str, Any] = {}
    for column, prefix in _references(collection):
        if len(found) >= MOST or column.references not in complete:
            continue
        with closing(_orphans(conn, domain, collection, column, prefix)) as orphans:
            while len(found) < MOST and (some := list(islice(orphans, MOST))):
                present = _present(conn, column.references, [each.parent for each in some])
                found |= {document_id(each.value): each.value for each in some if each.parent in present}
    return dict(islice(found.items(), MOST))


def _references(collection: Collection) -> Iterator[tuple[Column, str]]:
    """The required references, each with the path of the array that it stands in: only they make orphans."""
    for table in collection.tables:
        for column in table.references:
            if column.required:
                yield column, table.child.path if table.child else ""


def _orphans(conn: Connection, domain: Domain, collection: Collection, column: Column, prefix: str) -> Generator[_Orphan]:
    """In the order of the books, but for those whose parent is known to be missing still: their documents need not be read.

    Those whose `_id` a plan cannot hold are left to full runs and replays.
    """
    with conn.transaction(), conn.cursor("mongo2pg_orphans") as cursor:
        cursor.execute(
            sql.SQL(
                """
                SELECT r.path, d.bson FROM migration.rejects r JOIN migration.reject_documents d ON d.sha256 = r.document
                WHERE r.state = 'open' AND r.reason = 'orphan' AND (r.domain, r.collection) = (%s, %s) AND r.element = %s
                  AND starts_with(r.path, %s) AND right(r.path, length(%s)) = %s
                  AND (r.parent_id IS NULL OR EXISTS (SELECT FROM {parents} p WHERE p.id = r.parent_id))
                ORDER BY r.document_id
                """
            ).format(parents=target(column.references)),
            (domain.name, collection.name, bool(prefix), f"{prefix}." if prefix else "", column.path, column.path),
        )
        for path, bson in cursor:
            content = bytes(bson)
            value, parent = value_at(content, "_id"), value_at(content, path)
            if parent is not None and is_plannable(value):
                yield _Orphan(value, str(id_from_value(parent)))


def _present(conn: Connection, table: str, ids: Sequence[str]) -> set[str]:
    rows = conn.execute(sql.SQL("SELECT id::text FROM {} WHERE id = ANY(%s::uuid[])").format(target(table)), (list(ids),))
    return {row[0] for row in rows}
