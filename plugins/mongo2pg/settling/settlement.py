"""What settling does to rows: takes them to the rejects, clears references, and keeps the sums closed meanwhile."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from psycopg import sql
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Connection, RejectRow, RunKey
from mongo2pg.databases import lookup
from mongo2pg.documents import identity
from mongo2pg.documents.bson_types import bson_type
from mongo2pg.documents.decode import value_at
from mongo2pg.documents.document_ids import compact
from mongo2pg.documents.outline import count_elements, own_id
from mongo2pg.errors import PermanentError
from mongo2pg.model import Column, Table
from mongo2pg.queries import incoming, target
from mongo2pg.settling.places import Loser, Named, Place
from mongo2pg.target import schema

if TYPE_CHECKING:
    from mongo2pg.files.staged_documents import StagedDocument

# Documents that are taken to the rejects at once, each with 1.3 kB of names and places in memory: their bytes are read as they go.
AT_ONCE = 50_000


class Settlement:
    """The places under settlement and what can be done to their rows; one transaction, which the caller holds.

    With a `database`, which only a replay lacks, a document that a place's run did not read, or perhaps not last, is read now,
    before its row goes. `leaving` names rows, by table, that go in the same transaction: no book tells of a reference of theirs.
    `staying` are the documents that have an id which others claim, too.
    """

    def __init__(self, conn: Connection, run: RunKey, places: Iterable[Place], database: Database[Any] | None = None) -> None:
        self.conn, self.run, self.database = conn, run, database
        self.places = {place.collection.table: place for place in places}
        self.constrained = schema.foreign_keys(conn)
        self.leaving: dict[str, set[str]] = {}
        # Whose dependents are being released: a table and its rows that go, then one that refers to it, and so on.
        self._going: list[tuple[str, list[str]]] = []
        self.staying: set[Named] = set()

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
        counted, gone = self._condemn(place, losers)
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
            counted, _ = self._condemn(place, losers)
            place.outcome.move_elements(path, "rejected", len(counted))
        else:
            self.lose(place, losers)
            place.outcome.move_elements(path, "rejected", len(ids))
        self._delete(side, "id", ids)

    # --- the documents of rows that go ---

    def superseded(self, place: Place, ids: list[str]) -> set[str]:
        """Those of these rows whose document has a newer version in the rejects or among the held: that one counts."""
        rows = self.conn.execute(
            """
            SELECT root_id::text FROM migration.stale WHERE (domain, collection) = (%s, %s) AND root_id = ANY(%s::uuid[])
            UNION
            SELECT root_id::text FROM migration.held WHERE (domain, collection) = (%s, %s) AND root_id = ANY(%s::uuid[])
            """,
            (place.run.domain, place.collection.name, ids) * 2,
        )
        return {row[0] for row in rows}

    def _condemn(self, place: Place, losers: list[Loser]) -> tuple[list[str], list[str]]:
        """Sees to a reject for each of these loaded documents, or elements.

        Returns the root ids, one per loser, that the place's run had counted as loaded, and those whose document is gone.
        """
        superseded = self.superseded(place, [loser.root_id for loser in losers])
        losers = [loser for loser in losers if loser.root_id not in superseded]
        read: list[Loser] = []
        unread: list[Loser] = []
        gone: list[str] = []
        for loser, document in place.read(losers):
            (read if document else unread).append(replace(loser, document=document))
        known, late = self._by_last_reading(place, read)
        counted: list[str] = []
        if self.database is None:
            if late or unread:
                raise self._unread(place, [*late, *unread][0])
        else:
            counted, gone = self._reject_as_they_are_now(self.database, place, late)
            if place.own:  # of what has gone meanwhile this run's own reading is the last one
                last, gone = set(gone), []
                known += [loser for loser in late if loser.root_id in last]
            gone += self._reject_as_they_are_now(self.database, place, unread)[1]
        self.lose(place, known)
        return counted + [loser.root_id for loser in known], gone

    def _by_last_reading(self, place: Place, losers: list[Loser]) -> tuple[list[Loser], list[Loser]]:
        """These documents, read by the place's run, apart: those that no run has read since, and those that one may have.

        A neighbour's are all read again where they can be: a later run may have read a newer version than its last full one.
        """
        if self.database is not None and not place.own:
            return [], losers
        chunks = {loser.document.chunk for loser in losers if loser.document}
        late = {chunk for chunk in chunks if books.loads_after(self.conn, place.run, place.collection.name, chunk)}
        sides: tuple[list[Loser], list[Loser]] = [], []
        for loser in losers:
            sides[loser.document is not None and loser.document.chunk in late].append(loser)
        return sides

    def _reject_as_they_are_now(self, database: Database[Any], place: Place, losers: list[Loser]) -> tuple[list[str], list[str]]:
        """Rejects documents as the source has them at this moment; returns the root ids of those there and of those gone."""
        name = place.collection.name
        kept = {loser.document_id: loser.kept for loser in losers if loser.kept}
        there = lookup.find_ids(database, name, {loser.document_id for loser in losers}, kept)
        ids = {str(identity.id_from_value(value)): value for values in there.values() for value in values}
        by_root: dict[str, list[Loser]] = {}
        for loser in losers:
            by_root.setdefault(loser.root_id, []).append(loser)
        present: list[str] = []

        def rejects() -> Iterator[RejectRow]:
            for content in lookup.read_documents(database, name, [ids[root_id] for root_id in by_root if root_id in ids]):
                found = by_root.get(str(identity.id_from_value(own_id(content))), [])
                for loser in found:
                    present.append(loser.root_id)
                    self._count_as_read_now(place, loser, content)
                    yield _reject_row(loser, content, loser.document.chunk if loser.document else -1)

        run = place.run if losers and losers[0].document else RunKey(place.run.domain, self.run.run_id, self.run.plan_id)
        books.add_rejects(self.conn, run, name, rejects())
        there_now = set(present)
        return present, [loser.root_id for loser in losers if loser.root_id not in there_now]

    def _count_as_read_now(self, place: Place, loser: Loser, content: bytes) -> None:
        if loser.element:
            return
        if loser.document:  # the place's run read a version of it, too: there it is rejected instead of loaded
            place.outcome.rejected[loser.reason] += 1
            return
        place.deletion.read += 1
        place.deletion.rejected[loser.reason] += 1
        for child in place.collection.children:
            count = count_elements(content, child)
            place.deletion.arrays.setdefault(child.path, Counter()).update(elements=count, of_parents_not_loaded=count)

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

    def lose(self, place: Place, losers: list[Loser]) -> None:
        """Opens a reject for each of these, with the bytes that the place's run read."""
        if not losers:
            return
        documents = [loser for loser in losers if not loser.element]
        place.outcome.rejected.update(loser.reason for loser in documents)
        place.fallen += [loser for loser in documents if (place.collection.name, loser.document_id) in self.staying]
        of_document: dict[StagedDocument, list[Loser]] = {}
        for loser, document in place.read(losers):
            if document is None:
                raise self._unread(place, loser)
            of_document.setdefault(document, []).append(loser)
        rejects = (
            _reject_row(loser, content, document.chunk)
            for document, content in place.contents(of_document)
            for loser in of_document[document]
        )
        books.add_rejects(self.conn, place.run, place.collection.name, rejects)

    def _unread(self, place: Place, loser: Loser) -> PermanentError:
        return PermanentError(
            f"{place.collection.name}: the document {loser.document_id} must be rejected ({loser.reason} at {loser.path}), "
            f"but run {place.run.run_id} did not read it: run {place.run.domain} again in full"
        )

    def take_back(self, place: Place, ids: list[str]) -> None:
        """Documents that a chunk of the run counted as loaded no longer are."""
        outcome = place.outcome
        inserted, updated = self.conn.execute(
            """
            WITH passes AS (
                SELECT inserted_ids, updated_ids FROM migration.passes
                WHERE (domain, run_id, plan_id, collection) = (%(domain)s, %(run_id)s, %(plan_id)s, %(collection)s)
            )
            -- Sets, which PostgreSQL hashes: `= ANY (array)` would search an array from its beginning for each id.
            SELECT count(*) FILTER (WHERE i IN (SELECT unnest(inserted_ids) FROM passes)),
                   count(*) FILTER (WHERE i IN (SELECT unnest(updated_ids) FROM passes))
            FROM unnest(%(ids)s::uuid[]) AS i
            """,
            {"ids": ids, "collection": place.collection.name, **place.run._asdict()},
        ).fetchone() or (0, 0)
        if books.was_bulk(self.conn, place.run, place.collection.name):
            inserted = len(ids)
        outcome.inserted -= inserted
        outcome.updated -= updated
        outcome.unchanged -= len(ids) - inserted - updated

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


def _reject_row(loser: Loser, content: bytes, chunk: int) -> RejectRow:
    kind = bson_type(value_at(content, loser.path.split(",")[0]))
    return RejectRow(loser.document_id, loser.path, loser.element, kind, loser.reason, content, chunk)
