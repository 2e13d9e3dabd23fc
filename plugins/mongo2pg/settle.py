"""Judges what no chunk could judge alone, once all chunks are in: references, unique keys and ids that two documents share.

The order in which chunks, runs or domains came plays no part. A required reference to a row that is not there takes its
document (or its array element) to the rejects; an optional one becomes NULL and the original stays in `extra`. Of
documents that claim one unique slot the smallest `_id` in BSON order wins. After a first load the keys, constraints and
indexes are built here. Everything happens in one transaction: a settle that is killed has not happened.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from bson.codec_options import DatetimeConversion
from bson.json_util import RELAXED_JSON_OPTIONS, JSONOptions
from bson.json_util import loads as from_extended_json
from psycopg import sql

from mongo2pg import books, identity, schema
from mongo2pg.books import Connection, RejectRow, RunKey
from mongo2pg.errors import PermanentError
from mongo2pg.load import hold, name_held
from mongo2pg.merge import merge
from mongo2pg.model import Collection, Column, Domain, Table
from mongo2pg.queries import create_incoming, incoming, names, target
from mongo2pg.rejects import compact, documents_of, value_at
from mongo2pg.staging import RunStaging
from mongo2pg.values import bson_type

log = logging.getLogger(__name__)

_READ_IDS: JSONOptions = RELAXED_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS)


@dataclass
class Outcome:
    """What settle changed of a collection's counts; signed, added to what its chunks recorded."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    misfits: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    arrays: dict[str, Counter[str]] = field(default_factory=dict)

    def move_elements(self, path: str, kind: str, count: int) -> None:
        """Elements that had become rows and no longer are: `kind` says what they are now."""
        if count:
            self.arrays.setdefault(path, Counter()).update({"rows": -count, kind: count})


@dataclass(frozen=True)
class _Loser:
    """A document, or an array element of it, on its way to the rejects; `document_id` is compact Extended JSON."""

    root_id: str
    document_id: str
    path: str
    reason: str
    element: bool = False


def settle_domain(conn: Connection, run: RunKey, domain: Domain, staging: RunStaging) -> dict[str, Outcome]:
    """Settles every collection of the domain and returns, per collection, what changed; harmless when it runs again."""
    started = time.monotonic()
    with conn.transaction():
        for collection in domain.collections:
            books.lock_collection(conn, run, collection.name)
        settler = _Settler(conn, run, domain, staging)
        settler.judge_shared_ids()
        settler.open_held(domain.collections)
        settler.judge()
        settler.clear_dangling_options()
        settler.apply()
        settler.write_rejects()
        schema.build_post_data(conn, domain)
        settler.record(time.monotonic() - started)
        books.complete(conn, run, domain)
    with conn.transaction():
        for name in sorted(settler.bulk):
            for table in domain.collection(name).tables:
                conn.execute(sql.SQL("ANALYZE {}").format(target(table.name)))
    return settler.outcomes


class _Settler:
    """One settling of one domain; the public methods are its steps, in the order in which `settle_domain` calls them."""

    def __init__(self, conn: Connection, run: RunKey, domain: Domain, staging: RunStaging) -> None:
        self.conn, self.run, self.domain, self.staging = conn, run, domain, staging
        self.collections = in_reference_order(domain)
        self.by_table = {collection.table: collection for collection in domain.collections}
        self.bulk = {c.name for c in domain.collections if books.phase(conn, run, c.name)[0] == "bulk"}
        self.constrained = schema.foreign_keys(conn)
        self.outcomes = {c.name: Outcome() for c in domain.collections}
        self.losers: dict[str, list[_Loser]] = {c.name: [] for c in domain.collections}

    # --- ids that two documents share ---

    def judge_shared_ids(self) -> None:
        """Of documents whose `_id`s reach one UUID the smallest stays; it takes the row of one already loaded."""
        for collection in self.collections:
            claims: dict[str, dict[str, bool]] = {}
            for root_id, document, held in self.conn.execute(
                sql.SQL(
                    """
                    SELECT root_id::text, document_id::text, true FROM migration.held
                    WHERE domain = %(domain)s AND table_name = %(table)s
                    UNION ALL
                    SELECT t.id::text, migration.document_id(t.id, t.extra)::text, false FROM {target} t
                    WHERE t.id IN (SELECT root_id FROM migration.held WHERE domain = %(domain)s AND table_name = %(table)s)
                    """
                ).format(target=target(collection.table)),
                {"domain": self.run.domain, "table": collection.table},
            ):
                claims.setdefault(root_id, {}).setdefault(compact(document), held)
            for root_id, documents in claims.items():
                winner = min(documents, key=_bson_order)
                for document in documents.keys() - {winner}:
                    self._lose_shared_id(collection, _Loser(root_id, document, "_id", "duplicate_key"), documents[document])

    def _lose_shared_id(self, collection: Collection, loser: _Loser, held: bool) -> None:
        outcome = self.outcomes[collection.name]
        if held:
            self.conn.execute(
                "DELETE FROM migration.held WHERE domain = %s AND collection = %s AND root_id = %s AND document_id = %s::jsonb",
                (self.run.domain, collection.name, loser.root_id, loser.document_id),
            )
        else:
            self._take_back(collection, [loser.root_id])
        content = self._document(collection, loser)
        if content is None:
            raise PermanentError(
                f"{collection.name}: the row {loser.root_id} came from the document {loser.document_id}, which this run did not "
                "read, and another document claims its id; remove that row"
            )
        for child in collection.children:
            elements = value_at(content, child.path)
            outcome.move_elements(child.path, "of_parents_not_loaded", len(elements) if isinstance(elements, list | dict) else 0)
        self._lose(collection, [loser])

    # --- held documents, as rows again ---

    def open_held(self, collections: Sequence[Collection]) -> None:
        """The held rows of these collections in temporary tables that bear their targets' names."""
        for collection in collections:
            for table in collection.tables:
                self.conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(incoming(table.name)))
                self.conn.execute(create_incoming(table))
                self.conn.execute(
                    sql.SQL(
                        """
                        INSERT INTO {incoming} SELECT {columns}
                        FROM migration.held h, LATERAL (SELECT (h.row_image::{incoming}).*) AS r
                        WHERE h.domain = %s AND h.table_name = %s
                        """
                    ).format(incoming=incoming(table.name), columns=names(table.columns, "r")),
                    (self.run.domain, table.name),
                )
                self.conn.execute(sql.SQL("ANALYZE {}").format(incoming(table.name)))
            self.conn.execute(
                "DELETE FROM migration.held WHERE domain = %s AND collection = %s", (self.run.domain, collection.name)
            )

    # --- judgement ---

    def judge(self) -> None:
        """Rounds over all collections until one rejects nothing: whoever goes may orphan others or free a slot."""
        while sum(self._judge_collection(collection) for collection in self.collections):
            pass
        for collection in self.collections:
            for table in collection.tables[1:]:
                for column in table.references:
                    if column.required and self._can_judge(column):
                        self._reject_orphaned_elements(collection, table, column)

    def _judge_collection(self, collection: Collection) -> int:
        root = collection.tables[0]
        lost = 0
        for column in root.references:
            if column.required and self._can_judge(column):
                for side in self._sides(root, column):
                    lost += self._reject_documents(collection, side, self._without_parent(side, column), column.path, "orphan")
        for key in root.unique:
            path = ",".join(column.path for column in root.columns if column.name in key)
            for side, ids in self._slot_losers(collection, root, key):
                lost += self._reject_documents(collection, side, ids, path, "duplicate_key")
        return lost

    def _can_judge(self, column: Column) -> bool:
        """A reference into another domain waits until that one's table is complete."""
        return column.references in self.by_table or schema.is_complete(self.conn, column.references)

    def _sides(self, table: Table, column: Column) -> list[sql.Identifier]:
        """Where a reference is judged: in the held rows always, in the target as long as no constraint does it."""
        return [incoming(table.name)] + ([] if (table.name, column.name) in self.constrained else [target(table.name)])

    def _dangles(self, column: Column) -> sql.Composed:
        """Whether x's column names a row that neither is there nor comes with this settle."""
        name = sql.Identifier(column.name)
        parents = [target(column.references)]
        if column.references in self.by_table:
            parents.append(incoming(column.references))
        return sql.SQL("x.{} IS NOT NULL AND ").format(name) + sql.SQL(" AND ").join(
            sql.SQL("NOT EXISTS (SELECT FROM {} p WHERE p.id = x.{})").format(parent, name) for parent in parents
        )

    def _without_parent(self, side: sql.Identifier, column: Column) -> list[str]:
        rows = self.conn.execute(sql.SQL("SELECT x.id::text FROM {} x WHERE {}").format(side, self._dangles(column)))
        return [row[0] for row in rows]

    def _slot_losers(self, collection: Collection, root: Table, key: tuple[str, ...]) -> list[tuple[sql.Identifier, list[str]]]:
        """The ids that give way, by where their rows stand. A held row stands for its own row in the target, too."""
        columns = sql.SQL(", ").join(map(sql.Identifier, key))
        everyone = sql.SQL(
            """
            SELECT id, extra, true AS held, {columns} FROM {incoming}
            UNION ALL
            SELECT id, extra, false, {columns} FROM {target} t WHERE NOT EXISTS (SELECT FROM {incoming} i WHERE i.id = t.id)
            """
        ).format(columns=columns, incoming=incoming(root.name), target=target(root.name))
        among = everyone if collection.name in self.bulk else sql.SQL("SELECT {} FROM {}").format(columns, incoming(root.name))
        rows = self.conn.execute(
            sql.SQL(
                """
                SELECT slot, id::text, migration.document_id(id, extra)::text, held FROM (
                    SELECT id, extra, held, ROW({columns})::text AS slot, count(*) OVER (PARTITION BY {columns}) AS claims
                    FROM ({everyone}) AS e JOIN (SELECT DISTINCT {columns} FROM ({among}) AS a) AS w USING ({columns})
                ) AS claimed WHERE claims > 1
                """
            ).format(everyone=everyone, among=among, columns=columns)
        ).fetchall()
        read = self._documents(collection, [root_id for _, root_id, _, held in rows if not held])
        slots: dict[str, list[tuple[tuple[Any, ...], str, bool]]] = {}
        for slot, root_id, document_id, held in rows:
            # A row whose document this run did not read keeps its slot: nobody knows yet that it must go.
            unread = not held and uuid.UUID(root_id).bytes not in read
            slots.setdefault(slot, []).append(((not unread, _bson_order(document_id)), root_id, held))
        losers = [(root_id, held) for claims in slots.values() for _, root_id, held in sorted(claims)[1:]]
        return [
            (incoming(root.name), [root_id for root_id, held in losers if held]),
            (target(root.name), [root_id for root_id, held in losers if not held]),
        ]

    # --- taking rows away ---

    def _reject_documents(self, collection: Collection, side: sql.Identifier, ids: list[str], path: str, reason: str) -> int:
        if not ids:
            return 0
        outcome = self.outcomes[collection.name]
        root, *children = collection.tables
        rows = self.conn.execute(
            sql.SQL("SELECT id::text, migration.document_id(id, extra)::text FROM {} WHERE id = ANY(%s::uuid[])").format(side),
            (ids,),
        )
        self._lose(collection, [_Loser(root_id, compact(document_id), path, reason) for root_id, document_id in rows])
        loaded = side == target(root.name)
        if loaded:
            self._take_back(collection, ids)
            self._release_dependents(collection, ids)
        for table in children:
            gone = self._delete(target(table.name) if loaded else incoming(table.name), table.parent_key, ids)
            if table.child:
                outcome.move_elements(table.child.path, "of_parents_not_loaded", gone)
        self._delete(side, "id", ids)
        return len(ids)

    def _delete(self, side: sql.Identifier, column: str, ids: list[str]) -> int:
        query = sql.SQL("DELETE FROM {} WHERE {} = ANY(%s::uuid[])").format(side, sql.Identifier(column))
        return self.conn.execute(query, (ids,)).rowcount

    def _lose(self, collection: Collection, losers: list[_Loser]) -> None:
        self.losers[collection.name] += losers
        self.outcomes[collection.name].rejected.update(loser.reason for loser in losers if not loser.element)

    def _take_back(self, collection: Collection, ids: list[str]) -> None:
        """Documents that a chunk of this run counted as loaded no longer are."""
        outcome = self.outcomes[collection.name]
        inserted, updated = self.conn.execute(
            """
            SELECT (SELECT count(*) FROM unnest(%(ids)s::uuid[]) AS i WHERE EXISTS (
                        SELECT FROM migration.passes WHERE (domain, run_id, plan_id, collection, stage) = (%(domain)s, %(run_id)s,
                            %(plan_id)s, %(collection)s, 'load') AND i = ANY(inserted_ids))),
                   (SELECT count(*) FROM unnest(%(ids)s::uuid[]) AS i WHERE EXISTS (
                        SELECT FROM migration.passes WHERE (domain, run_id, plan_id, collection, stage) = (%(domain)s, %(run_id)s,
                            %(plan_id)s, %(collection)s, 'load') AND i = ANY(updated_ids)))
            """,
            {"ids": ids, "collection": collection.name, **self.run._asdict()},
        ).fetchone() or (0, 0)
        if collection.name in self.bulk:
            inserted = len(ids)
        outcome.inserted -= inserted
        outcome.updated -= updated
        outcome.unchanged -= len(ids) - inserted - updated

    def _release_dependents(self, collection: Collection, ids: list[str]) -> None:
        """Before a root row goes, nothing may hang on it by a constraint: nothing is ever deleted through a cascade."""
        for other in self.collections:
            for table in other.tables:
                for column in table.references:
                    if column.references != collection.table or (table.name, column.name) not in self.constrained:
                        continue
                    found = self.conn.execute(
                        sql.SQL("SELECT id::text FROM {} WHERE {} = ANY(%s::uuid[])").format(
                            target(table.name), sql.Identifier(column.name)
                        ),
                        (ids,),
                    )
                    dependents = [row[0] for row in found]
                    if not column.required:
                        self._clear(other, table, column, target(table.name), dependents)
                    elif table.child:
                        self._reject_elements(other, table, column, target(table.name), dependents)
                    else:
                        self._reject_documents(other, target(table.name), dependents, column.path, "orphan")
        foreign = self.conn.execute(
            """
            SELECT DISTINCT conrelid::regclass::text FROM pg_constraint
            WHERE contype = 'f' AND confrelid = to_regclass(%s) AND NOT conrelid::regclass::text = ANY(%s)
            """,
            (f"public.{collection.table}", [f"{schema}{t.name}" for t in self.domain.tables for schema in ("", "public.")]),
        ).fetchall()
        for (table_name,) in foreign:
            log.info("%s: rows of %s may refer to rows that go; that domain's next run judges them", collection.name, table_name)

    def _reject_orphaned_elements(self, collection: Collection, table: Table, column: Column) -> None:
        for side in self._sides(table, column):
            self._reject_elements(collection, table, column, side, self._without_parent(side, column))

    def _reject_elements(self, collection: Collection, table: Table, column: Column, side: sql.Identifier, ids: list[str]) -> None:
        if not ids or not table.child:
            return
        root = target(collection.table) if side == target(table.name) else incoming(collection.table)
        place = sql.Identifier("x", table.child.key or "ordinal")
        rows = self.conn.execute(
            sql.SQL(
                """
                SELECT r.id::text, migration.document_id(r.id, r.extra)::text, {place}::text
                FROM {side} x JOIN {root} r ON r.id = x.{parent} WHERE x.id = ANY(%s::uuid[])
                """
            ).format(place=place, side=side, root=root, parent=sql.Identifier(table.parent_key)),
            (ids,),
        )
        self._lose(
            collection,
            [
                _Loser(
                    root_id, compact(document_id), ".".join(filter(None, (table.child.path, where, column.path))), "orphan", True
                )
                for root_id, document_id, where in rows
            ],
        )
        self.outcomes[collection.name].move_elements(table.child.path, "rejected", len(ids))
        self._delete(side, "id", ids)

    # --- optional references ---

    def clear_dangling_options(self) -> None:
        """An optional reference to a row that is not there becomes NULL; the original goes to `extra` and is counted."""
        for collection in self.collections:
            for table in collection.tables:
                for column in table.references:
                    if not column.required and self._can_judge(column):
                        for side in self._sides(table, column):
                            self._clear(collection, table, column, side, self._without_parent(side, column))

    def _clear(self, collection: Collection, table: Table, column: Column, side: sql.Identifier, ids: list[str]) -> None:
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
            self.outcomes[collection.name].misfits[full, kind, "orphan"] += count

    # --- putting rows in ---

    def apply(self) -> None:
        """The held documents that stay, into the target; references to rows that come later are filled in at the end."""
        later: list[tuple[Table, Column]] = []
        self.conn.execute(
            "CREATE TEMP TABLE mongo2pg_later (table_name text, id uuid, column_name text, value uuid) ON COMMIT DROP"
        )
        for collection in self.collections:
            for table in collection.tables:
                for column in table.references:
                    if not column.required and column.references in self.by_table and column.references != table.name:
                        later.append((table, column))
                        self._put_off(table, column)
            self._apply(collection)
        for table, column in later:
            self.conn.execute(
                sql.SQL(
                    """
                    UPDATE {target} t SET {column} = l.value FROM pg_temp.mongo2pg_later l
                    WHERE l.table_name = %s AND l.column_name = %s AND t.id = l.id
                    """
                ).format(target=target(table.name), column=sql.Identifier(column.name)),
                (table.name, column.name),
            )

    def _put_off(self, table: Table, column: Column) -> None:
        self.conn.execute(
            sql.SQL(
                """
                WITH early AS (
                    SELECT id, {column} AS value FROM {incoming} x
                    WHERE {column} IS NOT NULL AND NOT EXISTS (SELECT FROM {parent} p WHERE p.id = x.{column})
                ), noted AS (
                    INSERT INTO pg_temp.mongo2pg_later SELECT %s, id, %s, value FROM early
                )
                UPDATE {incoming} x SET {column} = NULL FROM early WHERE early.id = x.id
                """
            ).format(column=sql.Identifier(column.name), incoming=incoming(table.name), parent=target(column.references)),
            (table.name, column.name),
        )

    def _apply(self, collection: Collection) -> None:
        """Rounds: a row whose unique slot another held row is about to leave waits for that one."""
        while waiting := self._waiting(collection):
            count = self.conn.execute(sql.SQL("SELECT count(*) FROM {}").format(incoming(collection.table))).fetchone()
            if count == (len(waiting),):
                # They wait for each other: no order of updates exists, so the keys are built again after this statement.
                schema.drop_unique_keys(self.conn, collection.table)
                break
            name_held(self.conn, waiting)
            hold(self.conn, self.run, collection)
            self._merge(collection)
            self.open_held([collection])
        self._merge(collection)

    def _waiting(self, collection: Collection) -> list[str]:
        if collection.name in self.bulk:
            return []
        found: set[str] = set()
        for key in collection.unique:
            same_key = sql.SQL(" AND ").join(sql.SQL("t.{0} = i.{0}").format(sql.Identifier(name)) for name in key)
            rows = self.conn.execute(
                sql.SQL("SELECT i.id::text FROM {} i JOIN {} t ON {} AND t.id <> i.id").format(
                    incoming(collection.table), target(collection.table), same_key
                )
            )
            found |= {row[0] for row in rows}
        return sorted(found)

    def _merge(self, collection: Collection) -> None:
        outcome = self.outcomes[collection.name]
        inserted, updated, unchanged = merge(self.conn, collection)
        outcome.inserted += len(inserted)
        outcome.updated += len(updated)
        outcome.unchanged += unchanged

    # --- the books ---

    def _documents(self, collection: Collection, ids: Sequence[str]) -> dict[bytes, Any]:
        staging = self.staging.collection(self.run.plan_id, collection.name)
        return documents_of(staging, collection, [uuid.UUID(root_id).bytes for root_id in ids])

    def _document(self, collection: Collection, loser: _Loser) -> bytes | None:
        staged = self._documents(collection, [loser.root_id]).get(uuid.UUID(loser.root_id).bytes, [])
        return next((document.bson for document in staged if document.document_id == loser.document_id), None)

    def write_rejects(self) -> None:
        """Opens a reject for every loser; those of documents that are gone from the source are resolved."""
        for collection in self.domain.collections:
            losers = self.losers[collection.name]
            staged = self._documents(collection, sorted({loser.root_id for loser in losers}))
            rows = []
            for loser in losers:
                found = [d for d in staged.get(uuid.UUID(loser.root_id).bytes, []) if d.document_id == loser.document_id]
                if not found:
                    raise PermanentError(
                        f"{collection.name}: the document {loser.document_id} must be rejected but is not in staging"
                    )
                kind = bson_type(value_at(found[0].bson, loser.path.split(",")[0]))
                rows.append(
                    RejectRow(loser.document_id, loser.path, loser.element, kind, loser.reason, found[0].bson, found[0].chunk)
                )
            books.add_rejects(self.conn, self.run, collection.name, rows)
            books.resolve_gone(self.conn, self.run, collection.name)

    def record(self, seconds: float) -> None:
        """A pass for each collection, with the signed changes."""
        for name, outcome in self.outcomes.items():
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
                "seconds": round(seconds, 3),
            }
            books.record_pass(self.conn, self.run, name, "settle", books.next_settle(self.conn, self.run, name), facts)


def in_reference_order(domain: Domain) -> list[Collection]:
    """The collections so that each comes after those that its required references point to."""
    tables = {collection.table: collection.name for collection in domain.collections}
    graph: dict[str, set[str]] = {
        collection.name: {
            tables[column.references]
            for table in collection.tables
            for column in table.references
            if column.required and column.references in tables and column.references != collection.table
        }
        for collection in domain.collections
    }
    try:
        return [domain.collection(name) for name in TopologicalSorter(graph).static_order()]
    except CycleError as fault:
        raise PermanentError(f"required references go in a circle: {' → '.join(fault.args[1])}; declare one as optional") from None


def _bson_order(document_id: str) -> tuple[Any, ...]:
    return identity.bson_order(from_extended_json(document_id, json_options=_READ_IDS))
