"""What becomes of the documents whose rows go, or never come: a reject for each, and sums that stay closed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Connection, RejectRow, RunKey
from mongo2pg.databases import lookup
from mongo2pg.documents import identity
from mongo2pg.documents.bson_types import bson_type
from mongo2pg.documents.decode import value_at
from mongo2pg.documents.outline import count_elements, own_id
from mongo2pg.errors import PermanentError
from mongo2pg.settling.places import Loser, Named, Place

if TYPE_CHECKING:
    from mongo2pg.files.staged_documents import StagedDocument


class Losses:
    """Documents on their way to the rejects, in one transaction, which the caller holds.

    With a `database`, which only a replay lacks, a document that a place's run did not read, or perhaps not last, is read now.
    `staying` are the documents that have an id which others claim, too; `fallen` those of them that were the first to be rejected
    for something else. Who is rejected after them may be so because of them.
    """

    def __init__(self, conn: Connection, run: RunKey, database: Database[Any] | None) -> None:
        self.conn, self.run, self.database = conn, run, database
        self.staying: set[Named] = set()
        self.fallen: dict[Named, Loser] = {}

    def superseded(self, place: Place, losers: Sequence[Loser]) -> set[str]:
        """The ids of those of these rows whose document has a newer version in the rejects or among the held: that one counts.

        Another document that shares the id, and is held, is no version of it.
        """
        ids, names = [loser.root_id for loser in losers], [loser.document_id for loser in losers]
        rows = self.conn.execute(
            """
            SELECT root_id::text FROM migration.stale
            WHERE (domain, collection) = (%(domain)s, %(collection)s) AND root_id = ANY(%(ids)s::uuid[])
            UNION
            SELECT root_id::text FROM migration.held JOIN unnest(%(ids)s::uuid[], %(names)s::jsonb[]) AS l (root_id, document_id)
            USING (root_id, document_id)
            WHERE (domain, collection) = (%(domain)s, %(collection)s)
            """,
            {"domain": place.run.domain, "collection": place.collection.name, "ids": ids, "names": names},
        )
        return {row[0] for row in rows}

    def condemn(self, place: Place, losers: list[Loser]) -> tuple[list[str], list[str]]:
        """Sees to a reject for each of these loaded documents, or elements.

        Returns the root ids, one per loser, that the place's run had counted as loaded, and those whose document is gone.
        """
        superseded = self.superseded(place, losers)
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

    def lose(self, place: Place, losers: list[Loser]) -> None:
        """Opens a reject for each of these, with the bytes that the place's run read."""
        if not losers:
            return
        documents = [loser for loser in losers if not loser.element]
        place.outcome.rejected.update(loser.reason for loser in documents)
        if place.own and not self.fallen:
            named = {(place.collection.name, loser.document_id): loser for loser in documents}
            self.fallen = {name: named[name] for name in self.staying & named.keys()}
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


def _reject_row(loser: Loser, content: bytes, chunk: int) -> RejectRow:
    value = value_at(content, loser.path.split(",")[0])
    parent_id = str(identity.id_from_value(value)) if loser.reason == "orphan" and value is not None else None
    return RejectRow(loser.document_id, loser.path, loser.element, bson_type(value), loser.reason, content, chunk, parent_id)
