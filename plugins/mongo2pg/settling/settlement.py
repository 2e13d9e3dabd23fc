"""What settling does to rows: takes them out with all that hangs on them, and clears references."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from psycopg import sql
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Connection, RunKey
from mongo2pg.documents.document_ids import compact
from mongo2pg.errors import PermanentError
from mongo2pg.model import Column, Table
from mongo2pg.queries import incoming, target
from mongo2pg.settling.losses import Losses
from mongo2pg.settling.places import Loser, Place
from mongo2pg.target import schema

# Documents that are taken to the rejects at once, each with 1.3 kB of names and places in memory: their bytes are read as they go.
AT_ONCE = 50_000


class Settlement(Losses):
    """The places under settlement and what can be done to their rows.

    `leaving` names rows, by table, that go in the same transaction: no book tells of a reference of theirs.
    """

    def __init__(self, conn: Connection, run: RunKey, places: Iterable[Place], database: Database[Any] | None = None) -> None:
        super().__init__(conn, run, database)
        self.places = {place.collection.table: place for place in places}
        self.constrained = schema.foreign_keys(conn)
        self.leaving: dict[str, set[str]] = {}
        # Whose dependents are being released: a table and its rows that go, then one that refers to it, and so on.
        self._going: list[tuple[str, list[str]]] = []

    def sides(self, place: Place, table: Table, column: Column) -> list[sql.Identifier]:
        """Where a reference is judged: in the held rows always, in the target as long as no constraint does it."""
        held = [incoming(table.name)] if place.held else []
        return held + ([] if (table.name, column.name) in self.constrained else [target(table.name)])

    def reject_documents(self, place: Place, side: sql.Identifier, ids: list[str], path: str, reason: str) -> int:
        """Takes whole documents, held or loaded (`side`), to the rejects; whatever hangs on loaded ones goes first."""
        for some in _portions(ids):
            self._reject_documents(place, side, some, path, reason)
        return len(ids)

    def _reject_documents(self, place: Place, side: sql.Identifier, ids: list[str], path: str, reason: str) -> None:
        root, *children = place.tables
        rows = self.conn.execute(
            sql.SQL(
                """
                SELECT id::text, migration.document_id(id, extra)::text, (extra -> '_id')::text FROM {} WHERE id = ANY(%s::uuid[])
                """
            ).format(side),
            (ids,),
        )
        losers = [Loser(root_id, compact(document_id), path, reason, kept=kept) for root_id, document_id, kept in rows]
        if side == target(root.name):
            self._reject_loaded(place, losers)
            return
        self.lose(place, losers)
        for table in children:
            gone = self._delete(incoming(table.name), table.parent_key, ids)
            if table.child:
                place.outcome.move_elements(table.child.path, "of_parents_not_loaded", gone)
        self._delete(side, "id", ids)
        if not place.bulk:  # a first load has no older version of anything
            named = [(loser.root_id, loser.document_id) for loser in losers]
            books.mark_stale(self.conn, place.run, place.collection.name, target(root.name), named)

    def _reject_loaded(self, place: Place, losers: list[Loser]) -> None:
        ids = [loser.root_id for loser in losers]
        counted, gone = self.condemn(place, losers)
        self.take_back(place, counted)
        place.deletion.deleted_ids += gone
        for table in place.tables:
            if table.child:
                rows = self._delete(target(table.name), table.parent_key, counted)
                place.outcome.move_elements(table.child.path, "of_parents_not_loaded", rows)
        self.take_out(place, ids)

    def take_out(self, place: Place, ids: list[str]) -> None:
        """These root rows go with their child rows: no mark of theirs stays, and whatever hangs on them goes first.

        Rows of one table that need each other go at once, or each would be in the way of the others.
        """
        root, *children = place.tables
        self.leaving.setdefault(root.name, set()).update(ids)
        books.forget_stale(self.conn, place.run, place.collection.name, ids)
        for table in children:  # first, for they may name rows that go, too
            self._delete(target(table.name), table.parent_key, ids)
        if self._going and self._going[-1][0] == root.name:
            self._going[-1][1].extend(ids)
            self._release_dependents(root.name, ids)
            return
        self._going.append((root.name, list(ids)))
        self._release_dependents(root.name, ids)
        self._delete(target(root.name), "id", self._going.pop()[1])

    def reject_elements(self, place: Place, table: Table, column: Column, side: sql.Identifier, ids: list[str]) -> None:
        """Takes child rows whose reference leads nowhere to the rejects; their documents stay."""
        for some in _portions(ids):
            self._reject_elements(place, table, column, side, some)

    def _reject_elements(self, place: Place, table: Table, column: Column, side: sql.Identifier, ids: list[str]) -> None:
        assert table.child is not None  # noqa: S101 - elements have rows in child tables
        loaded = side == target(table.name)
        root = target(place.collection.table) if loaded else incoming(place.collection.table)
        rows = self.conn.execute(
            sql.SQL(
                """
                SELECT r.id::text, migration.document_id(r.id, r.extra)::text, (r.extra -> '_id')::text, {place}::text
                FROM {side} x JOIN {root} r ON r.id = x.{parent} WHERE x.id = ANY(%s::uuid[])
                """
            ).format(
                place=sql.Identifier("x", table.child.key or "ordinal"),
                side=side,
                root=root,
                parent=sql.Identifier(table.parent_key),
            ),
            (ids,),
        )
        path = table.child.path
        losers = [
            Loser(root_id, compact(name), ".".join(filter(None, (path, where, column.path))), "orphan", element=True, kept=kept)
            for root_id, name, kept, where in rows
        ]
        if loaded:
            counted, _ = self.condemn(place, losers)
            place.outcome.move_elements(path, "rejected", len(counted))
        else:
            self.lose(place, losers)
            place.outcome.move_elements(path, "rejected", len(ids))
        self._delete(side, "id", ids)

    def clear(self, place: Place, table: Table, column: Column, side: sql.Identifier, ids: list[str]) -> None:
        """Makes optional references NULL; the original goes to `extra` and is counted as a misfit."""
        if not ids:
            return
        books.note_cleared(self.conn, place.run, place.collection.name, side, table.owner, column.name, column.references, ids)
        path = column.path.split(".") if column.path else ["value"]
        kinds = self.conn.execute(
            sql.SQL(
                """
                WITH cleared AS (
                    UPDATE {side} x SET {column} = NULL, extra = CASE
                        WHEN x.extra #> %(path)s IS NOT NULL THEN x.extra  -- no ObjectId or UUID: kept when it was read
                        ELSE migration.with_extra(x.extra, %(path)s, migration.document_id(x.{column}, NULL)) END
                    WHERE x.id = ANY(%(ids)s::uuid[])
                    RETURNING extra #> %(path)s AS original
                )
                SELECT CASE WHEN jsonb_typeof(original) = 'string' THEN 'string' WHEN original ? '$oid' THEN 'objectId'
                            WHEN original ? '$binary' THEN 'binData' ELSE jsonb_typeof(original) END, count(*)
                FROM cleared GROUP BY 1
                """
            ).format(side=side, column=sql.Identifier(column.name)),
            {"path": path, "ids": ids},
        )
        full = ".".join(filter(None, (table.child.path if table.child else "", column.path)))
        for kind, count in kinds:
            place.outcome.misfits[full, kind, "orphan"] += count

    def _release_dependents(self, table_name: str, ids: list[str]) -> None:
        """Before a root row goes, nothing may hang on it by a constraint: nothing is ever deleted through a cascade."""
        known = set()
        for place in self.places.values():
            for table in place.tables:
                known.add((table.name, table.parent_key))
                for column in table.references:
                    if column.references != table_name or (table.name, column.name) not in self.constrained:
                        continue
                    known.add((table.name, column.name))
                    found = self.conn.execute(
                        sql.SQL("SELECT id::text FROM {} WHERE {} = ANY(%s::uuid[])").format(
                            target(table.name), sql.Identifier(column.name)
                        ),
                        (ids,),
                    )
                    named = [row[0] for row in found]
                    going = self.leaving.get(table.name, set())
                    dependents = [each for each in named if each not in going]
                    if not column.required:
                        self.clear(place, table, column, target(table.name), dependents)
                        self._let_go(table, column, [each for each in named if each in going])
                    elif table.child:
                        self.reject_elements(place, table, column, target(table.name), dependents)
                    else:
                        self.reject_documents(place, target(table.name), dependents, column.path, "orphan")
        for stranger, column_name in sorted(schema.referring_columns(self.conn, table_name) - known):
            raise PermanentError(
                f"rows of {table_name} must go, but {column_name} of {stranger}, which no declaration here names as a reference, "
                "refers to them: drop its foreign key or declare it"
            )

    def _let_go(self, table: Table, column: Column, ids: list[str]) -> None:
        """Rows that go as well, perhaps later, are not in the way of those that they name; nobody reads them again."""
        if ids:
            query = sql.SQL("UPDATE {} SET {} = NULL WHERE id = ANY(%s::uuid[])").format(
                target(table.name), sql.Identifier(column.name)
            )
            self.conn.execute(query, (ids,))

    def delete_rows(self, place: Place, ids: list[str]) -> None:
        """Takes root rows and their child rows out of the target."""
        for table in reversed(place.tables):
            self._delete(target(table.name), table.owner, ids)

    def _delete(self, side: sql.Identifier, column: str, ids: list[str]) -> int:
        query = sql.SQL("DELETE FROM {} WHERE {} = ANY(%s::uuid[])").format(side, sql.Identifier(column))
        return self.conn.execute(query, (ids,)).rowcount

    # --- the books ---

    def record_deletions(self, places: Iterable[Place], read_time: str, started: float) -> None:
        """A pass for each of these collections, with what went at that time of the source and what was read for it."""
        for place in places:
            run = self.run._replace(domain=place.run.domain)
            self._record(run, place, "delete", {"read_time": read_time, **place.deletion.facts()}, started)

    def record(self, places: Iterable[Place], started: float) -> None:
        """A pass for each of these collections, with the signed changes of what the chunks of their run counted."""
        for place in places:
            self._record(place.run, place, "settle", place.outcome.facts(), started)

    def _record(self, run: RunKey, place: Place, stage: str, facts: dict[str, Any], started: float) -> None:
        seconds = round(time.monotonic() - started, 3)
        books.record_pass(self.conn, run, place.collection.name, stage, None, {**facts, "seconds": seconds})


def _portions(ids: list[str]) -> Iterator[list[str]]:
    return (ids[first : first + AT_ONCE] for first in range(0, len(ids), AT_ONCE))
