"""What settling does to rows: takes them to the rejects, clears references, and keeps the sums closed meanwhile."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from mongo2pg import books, schema
from mongo2pg.books import Connection, RejectRow, RunKey
from mongo2pg.errors import PermanentError
from mongo2pg.merge import Merged
from mongo2pg.model import Collection, Column, Table
from mongo2pg.queries import incoming, target
from mongo2pg.rejects import StagedDocument, compact, documents_of, value_at
from mongo2pg.staging import CollectionStaging
from mongo2pg.values import bson_type


@dataclass
class Outcome:
    """What settle changed of a collection's counts; signed, added to what its chunks recorded."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    misfits: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    arrays: dict[str, Counter[str]] = field(default_factory=dict)
    inserted_ids: list[str] = field(default_factory=list)
    updated_ids: list[str] = field(default_factory=list)

    def add(self, merged: Merged) -> None:
        """Held documents found their place."""
        self.inserted += len(merged.inserted)
        self.updated += len(merged.updated)
        self.unchanged += merged.unchanged
        self.inserted_ids += merged.inserted
        self.updated_ids += merged.updated

    def move_elements(self, path: str, kind: str, count: int) -> None:
        """Elements that had become rows and no longer are: `kind` says what they are now."""
        if count:
            self.arrays.setdefault(path, Counter()).update({"rows": -count, kind: count})


@dataclass(frozen=True)
class Loser:
    """A document, or an array element of it, on its way to the rejects; `document_id` is compact Extended JSON."""

    root_id: str
    document_id: str
    path: str
    reason: str
    element: bool = False


@dataclass
class Place:
    """A collection under settlement: the run that read it, its files, and what becomes of it.

    `own` tells the collections of the domain that settles from those of its neighbours, whose rows may have to go with
    rows of this domain. `bulk`: its first load settles now, so that no constraint exists yet.
    """

    collection: Collection
    run: RunKey
    staging: CollectionStaging
    own: bool
    bulk: bool
    outcome: Outcome = field(default_factory=Outcome)
    losers: list[Loser] = field(default_factory=list)

    def documents(self, root_ids: Sequence[str]) -> dict[bytes, list[StagedDocument]]:
        """The documents that this run read for these rows; those of earlier runs are not among them."""
        return documents_of(self.staging, self.collection, [uuid.UUID(root_id).bytes for root_id in root_ids])


class Settlement:
    """The places under settlement and what can be done to their rows; one transaction, which the caller holds."""

    def __init__(self, conn: Connection, places: Iterable[Place]) -> None:
        self.conn = conn
        self.places = {place.collection.table: place for place in places}
        self.constrained = schema.foreign_keys(conn)

    def sides(self, place: Place, table: Table, column: Column) -> list[sql.Identifier]:
        """Where a reference is judged: in the held rows always, in the target as long as no constraint does it."""
        held = [incoming(table.name)] if place.own else []
        return held + ([] if (table.name, column.name) in self.constrained else [target(table.name)])

    def reject_documents(self, place: Place, side: sql.Identifier, ids: list[str], path: str, reason: str) -> int:
        """Takes whole documents, held or loaded (`side`), to the rejects; whatever hangs on loaded ones goes first."""
        if not ids:
            return 0
        root, *children = place.collection.tables
        rows = self.conn.execute(
            sql.SQL("SELECT id::text, migration.document_id(id, extra)::text FROM {} WHERE id = ANY(%s::uuid[])").format(side),
            (ids,),
        )
        self.lose(place, [Loser(root_id, compact(document_id), path, reason) for root_id, document_id in rows])
        loaded = side == target(root.name)
        if loaded:
            self.take_back(place, ids)
            books.forget_stale(self.conn, place.run, place.collection.name, ids)
            self._release_dependents(root.name, ids)
        for table in children:
            gone = self._delete(target(table.name) if loaded else incoming(table.name), table.parent_key, ids)
            if table.child:
                place.outcome.move_elements(table.child.path, "of_parents_not_loaded", gone)
        self._delete(side, "id", ids)
        if not loaded:
            books.mark_stale(self.conn, place.run, place.collection.name, target(root.name), ids)
        return len(ids)

    def reject_elements(self, place: Place, table: Table, column: Column, side: sql.Identifier, ids: list[str]) -> None:
        """Takes child rows whose reference leads nowhere to the rejects; their documents stay."""
        if not ids or not table.child:
            return
        root = target(place.collection.table) if side == target(table.name) else incoming(place.collection.table)
        rows = self.conn.execute(
            sql.SQL(
                """
                SELECT r.id::text, migration.document_id(r.id, r.extra)::text, {place}::text
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
            Loser(root_id, compact(document_id), ".".join(filter(None, (path, where, column.path))), "orphan", element=True)
            for root_id, document_id, where in rows
        ]
        self.lose(place, losers)
        place.outcome.move_elements(path, "rejected", len(ids))
        self._delete(side, "id", ids)

    def clear(self, place: Place, table: Table, column: Column, side: sql.Identifier, ids: list[str]) -> None:
        """Makes optional references NULL; the original goes to `extra` and is counted as a misfit."""
        if not ids:
            return
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
        """Notes losers; `write_rejects` opens their rejects."""
        place.losers += losers
        place.outcome.rejected.update(loser.reason for loser in losers if not loser.element)

    def take_back(self, place: Place, ids: list[str]) -> None:
        """Documents that a chunk of the run counted as loaded no longer are."""
        outcome = place.outcome
        inserted, updated = self.conn.execute(
            """
            WITH passes AS (
                SELECT inserted_ids, updated_ids FROM migration.passes
                WHERE (domain, run_id, plan_id, collection) = (%(domain)s, %(run_id)s, %(plan_id)s, %(collection)s)
            )
            SELECT count(*) FILTER (WHERE EXISTS (SELECT FROM passes WHERE i = ANY(inserted_ids))),
                   count(*) FILTER (WHERE EXISTS (SELECT FROM passes WHERE i = ANY(updated_ids)))
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
            for table in place.collection.tables:
                known.add(table.name)
                for column in table.references:
                    if column.references != table_name or (table.name, column.name) not in self.constrained:
                        continue
                    found = self.conn.execute(
                        sql.SQL("SELECT id::text FROM {} WHERE {} = ANY(%s::uuid[])").format(
                            target(table.name), sql.Identifier(column.name)
                        ),
                        (ids,),
                    )
                    dependents = [row[0] for row in found]
                    if not column.required:
                        self.clear(place, table, column, target(table.name), dependents)
                    elif table.child:
                        self.reject_elements(place, table, column, target(table.name), dependents)
                    else:
                        self.reject_documents(place, target(table.name), dependents, column.path, "orphan")
        for stranger in schema.referring_tables(self.conn, table_name) - known:
            raise PermanentError(
                f"rows of {table_name} must go to the rejects, but {stranger}, which no declaration here names, refers to them: "
                "drop its foreign key or declare that table"
            )

    def delete_rows(self, place: Place, ids: list[str]) -> None:
        """Takes root rows and their child rows out of the target."""
        for table in reversed(place.collection.tables):
            self._delete(target(table.name), table.parent_key or "id", ids)

    def _delete(self, side: sql.Identifier, column: str, ids: list[str]) -> int:
        query = sql.SQL("DELETE FROM {} WHERE {} = ANY(%s::uuid[])").format(side, sql.Identifier(column))
        return self.conn.execute(query, (ids,)).rowcount

    # --- the books ---

    def write_rejects(self) -> None:
        """Opens a reject for every loser, with the bytes that the run read."""
        for place in self.places.values():
            staged = place.documents(sorted({loser.root_id for loser in place.losers}))
            rows = []
            for loser in place.losers:
                found = [d for d in staged.get(uuid.UUID(loser.root_id).bytes, []) if d.document_id == loser.document_id]
                if not found:
                    raise PermanentError(
                        f"{place.collection.name}: the document {loser.document_id} must be rejected "
                        f"({loser.reason} at {loser.path}), but run {place.run.run_id} did not read it: "
                        f"run {place.run.domain} again in full"
                    )
                kind = bson_type(value_at(found[0].bson, loser.path.split(",")[0]))
                rows.append(
                    RejectRow(loser.document_id, loser.path, loser.element, kind, loser.reason, found[0].bson, found[0].chunk)
                )
            books.add_rejects(self.conn, place.run, place.collection.name, rows)

    def record(self, seconds: float) -> None:
        """A pass for each collection of the domain, and for each neighbour that lost something, with the signed changes."""
        for place in self.places.values():
            outcome = place.outcome
            if not place.own and not place.losers and not outcome.misfits:
                continue
            facts = {
                "inserted": outcome.inserted,
                "updated": outcome.updated,
                "unchanged": outcome.unchanged,
                "rejected": dict(outcome.rejected),
                "misfits": [
                    {"path": path, "bson_type": kind, "reason": reason, "count": count}
                    for (path, kind, reason), count in sorted(outcome.misfits.items())
                ],
                "arrays": {path: dict(counts) for path, counts in outcome.arrays.items()},
                "inserted_ids": outcome.inserted_ids,
                "updated_ids": outcome.updated_ids,
                "seconds": round(seconds, 3),
            }
            name = place.collection.name
            books.record_pass(self.conn, place.run, name, "settle", books.next_settle(self.conn, place.run, name), facts)
