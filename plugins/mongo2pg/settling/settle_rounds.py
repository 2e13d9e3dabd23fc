"""The rounds in which a settle judges held documents and references, and puts in what stays."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from psycopg import sql
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Connection, RunKey
from mongo2pg.documents.document_ids import compact
from mongo2pg.files.planned import FULL, REJECTS, REPAIR, WINDOW, scope
from mongo2pg.files.staging import RunStaging, read_json
from mongo2pg.model import Column, Domain, Table
from mongo2pg.moving.held import held_images, hold, name_held
from mongo2pg.moving.merge import merge
from mongo2pg.queries import create_incoming, incoming, target
from mongo2pg.settling.places import Loser, Place, find_places
from mongo2pg.settling.settlement import Settlement
from mongo2pg.settling.unique_slots import slot_losers, unguarded
from mongo2pg.target import schema

log = logging.getLogger(__name__)


class Settler(Settlement):
    """One settling of one domain; the public methods are its steps, in the order in which `settle_domain` calls them."""

    def __init__(
        self,
        conn: Connection,
        run: RunKey,
        domain: Domain,
        staging: RunStaging,
        everyone: Sequence[Domain],
        database: Database[Any] | None,
    ) -> None:
        self.domain, self.staging = domain, staging
        super().__init__(conn, run, find_places(conn, run, domain, staging, everyone), database)
        self.own = [place for place in self.places.values() if place.own]
        self.references = self._references()
        # Who may keep a slot only a run can say that has read all documents.
        self.unguarded = {p.collection.table: unguarded(conn, p) if scope(p.staging) == FULL else set() for p in self.own}

    @property
    def holding(self) -> list[Place]:
        """The collections of which this plan holds documents."""
        return [place for place in self.own if place.held]

    def knows(self, domain: Domain) -> bool:
        """Whether all collections of a domain are complete, by its present declaration: another one's keys its next run builds."""
        return all(each.table in self.places for each in domain.collections) and not books.changed(self.conn, domain)

    def resolve_rejects(self) -> None:
        """Closes the rejects that are none any more: of documents that are gone, or that fit the present declaration."""
        for place in self.own:
            name, how = place.collection.name, scope(place.staging)
            if how in (WINDOW, REPAIR):
                continue  # what it did not read may be rejected still
            if how == REJECTS:
                from mongo2pg.moving.versions import read_ids  # with Arrow, which other runs settle without

                replayed = [compact(text) for text in read_ids(place.staging, read_json(place.staging.manifest(0)))]
                began = books.loaded_at(self.conn, self.run, name)
                count = books.resolve_rejects(self.conn, self.run, name, replayed, opened_before=began)
            else:
                count = books.resolve_unread(self.conn, self.run, name)
            if count:
                log.info("%s: %s rejects resolved", place.collection.name, count)

    # --- held documents, as rows again ---

    def open_held(self, places: Sequence[Place]) -> None:
        """The rows of these collections that this plan holds, in temporary tables that bear their targets' names."""
        for place in places:
            for table in place.tables:
                self.conn.execute(create_incoming(table))
                opened = self.conn.execute(
                    sql.SQL("INSERT INTO {} SELECT (h.image).* FROM ({}) AS h").format(incoming(table.name), held_images(table)),
                    (self.run.plan_id, table.name),
                ).rowcount
                if opened:
                    self.conn.execute(sql.SQL("ANALYZE {}").format(incoming(table.name)))
            self.conn.execute(
                "DELETE FROM migration.held WHERE plan_id = %s AND collection = %s", (self.run.plan_id, place.collection.name)
            )

    def superseded(self, place: Place, losers: Sequence[Loser]) -> set[str]:
        if not place.held:
            return super().superseded(place, losers)
        # Who shared such a row's id with what is held has been judged: of two that this plan read, one is a reject by now.
        query = sql.SQL("SELECT id::text FROM {} WHERE id = ANY(%s::uuid[])").format(incoming(place.collection.table))
        ids = [loser.root_id for loser in losers]
        return super().superseded(place, losers) | {row[0] for row in self.conn.execute(query, (ids,))}

    # --- judgement ---

    def judge(self) -> None:
        """Rounds over all collections until one rejects nothing: whoever goes may orphan others or free a slot.

        A collection after the other, each to its end: nobody shall lose a slot to a document that is an orphan by then.
        """
        for place in self.holding:  # what is cleared of them is found anew
            read = sql.SQL("SELECT id FROM {}").format(incoming(place.collection.table))
            books.forget_cleared(self.conn, self.run, place.collection.name, read)
        while sum(self._judge_place(place) for place in self.places.values()):
            pass
        for place, table, column in self.references:
            if column.required and table.child:
                for side in self.sides(place, table, column):
                    self.reject_elements(place, table, column, side, self._without_parent(side, column))

    def clear_dangling_options(self) -> None:
        """An optional reference to a row that is not there becomes NULL; the original goes to `extra` and is counted."""
        for place, table, column in self.references:
            if not column.required:
                for side in self.sides(place, table, column):
                    self.clear(place, table, column, side, self._without_parent(side, column))

    def _references(self) -> list[tuple[Place, Table, Column]]:
        """The references that can be judged: into another domain only when that one's table is complete."""
        there = schema.complete_tables(self.conn) | {place.collection.table for place in self.own}
        return [
            (place, table, column)
            for place in self.places.values()
            for table in place.tables
            for column in table.references
            if column.references in there
        ]

    def _judge_place(self, place: Place) -> int:
        lost = 0
        while some := self._judge_once(place):
            lost += some
        return lost

    def _judge_once(self, place: Place) -> int:
        lost = 0
        for judged, table, column in self.references:
            if judged is place and column.required and not table.child:
                for side in self.sides(place, table, column):
                    lost += self.reject_documents(place, side, self._without_parent(side, column), column.path, "orphan")
        root = place.tables[0]
        # When the last orphan is gone: of a table that refers to itself one makes the next.
        if not lost and place.own and root.unique:
            for side, key, ids in slot_losers(self.conn, place, self.references, self.unguarded[root.name]):
                path = ",".join(column.path for column in root.columns if column.name in key)
                lost += self.reject_documents(place, side, ids, path, "duplicate_key")
        return lost

    def _without_parent(self, side: sql.Identifier, column: Column) -> list[str]:
        """Rows whose column names a row that neither is there nor comes with this settle."""
        name = sql.Identifier(column.name)
        parents = [target(column.references)]
        if column.references in self.places and self.places[column.references].held:
            parents.append(incoming(column.references))
        nowhere = sql.SQL(" AND ").join(
            sql.SQL("NOT EXISTS (SELECT FROM {} p WHERE p.id = x.{})").format(parent, name) for parent in parents
        )
        rows = self.conn.execute(sql.SQL("SELECT x.id::text FROM {} x WHERE x.{} IS NOT NULL AND {}").format(side, name, nowhere))
        return [row[0] for row in rows]

    # --- putting rows in ---

    def apply(self) -> None:
        """The held documents that stay, into the target; references to rows that come later are filled in at the end."""
        if not self.holding:
            return
        tables = {place.collection.table for place in self.own}
        later: list[tuple[Table, Column]] = []
        self.conn.execute(
            "CREATE TEMP TABLE mongo2pg_later (table_name text, id uuid, column_name text, value uuid) ON COMMIT DROP"
        )
        for place in self.holding:
            if self.conn.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(incoming(place.collection.table))).fetchone() == (
                False,
            ):
                continue
            for table in place.tables:
                for column in table.references:
                    if not column.required and column.references in tables:
                        later.append((table, column))
                        self._put_off(table, column)
            self._apply(place)
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

    def _apply(self, place: Place) -> None:
        """Rounds: a row whose unique slot another held row is about to leave waits for that one."""
        collection = place.collection
        while waiting := self._waiting(place):
            count = self.conn.execute(sql.SQL("SELECT count(*) FROM {}").format(incoming(collection.table))).fetchone()
            if count == (len(waiting),):
                # They wait for each other: no order of updates exists, so the keys are built again after this statement.
                schema.drop_unique_keys(self.conn, collection.table)
                break
            name_held(self.conn, waiting)
            hold(self.conn, self.run, collection)
            place.outcome.add(merge(self.conn, self.run, collection))
            self.open_held([place])
        place.outcome.add(merge(self.conn, self.run, collection))

    def _waiting(self, place: Place) -> list[str]:
        found: set[str] = set()
        for key in () if place.bulk else place.collection.unique:
            same_key = sql.SQL(" AND ").join(sql.SQL("t.{0} = i.{0}").format(sql.Identifier(name)) for name in key)
            rows = self.conn.execute(
                sql.SQL("SELECT i.id::text FROM {} i JOIN {} t ON {} AND t.id <> i.id").format(
                    incoming(place.collection.table), target(place.collection.table), same_key
                )
            )
            found |= {row[0] for row in rows}
        while more := self._cannot_without(place, found):
            found |= more
        return sorted(found)

    def _cannot_without(self, place: Place, waiting: set[str]) -> set[str]:
        """Those of the held documents that need the row of one that waits, and do not wait themselves."""
        found: set[str] = set()
        table_name = place.collection.table
        needed = [(t, c) for t in place.tables for c in t.references if c.required and c.references == table_name]
        for table, column in needed if waiting else ():
            rows = self.conn.execute(
                sql.SQL(
                    """
                    SELECT x.{owner}::text FROM {side} x
                    WHERE x.{column} = ANY(%s::uuid[]) AND NOT EXISTS (SELECT FROM {parent} p WHERE p.id = x.{column})
                    """
                ).format(
                    owner=sql.Identifier(table.owner),
                    side=incoming(table.name),
                    column=sql.Identifier(column.name),
                    parent=target(table_name),
                ),
                (list(waiting),),
            )
            found |= {row[0] for row in rows}
        return found - waiting
