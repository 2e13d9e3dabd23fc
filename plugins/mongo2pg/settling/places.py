"""A collection while rows of it are judged or taken out: the run that read it, its files, and what becomes of its counts."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from mongo2pg import books
from mongo2pg.books import Connection, RunKey
from mongo2pg.documents.reasons import booked_misfits
from mongo2pg.files.staging import CollectionStaging, RunStaging, read_json
from mongo2pg.model import Collection, Domain, Table
from mongo2pg.moving.merge import Merged
from mongo2pg.target import schema

if TYPE_CHECKING:
    from mongo2pg.files.staged_documents import StagedDocument

# A document by the name of its collection and its own.
Named: TypeAlias = tuple[str, str]


@dataclass
class Outcome:
    """What changed of a collection's counts after its chunks recorded them; signed, added to what they say."""

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

    def facts(self) -> dict[str, Any]:
        """The same as `migration.passes` keeps it."""
        return {
            "inserted": self.inserted,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "rejected": dict(self.rejected),
            "misfits": booked_misfits(self.misfits),
            "arrays": _plain(self.arrays),
            "inserted_ids": self.inserted_ids,
            "updated_ids": self.updated_ids,
        }


@dataclass
class Deletion:
    """What a delete did apart from the counts of any load: rows that went, documents that it read itself and rejected, and ids of
    documents that are gone and never had a row."""

    read: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    arrays: dict[str, Counter[str]] = field(default_factory=dict)
    deleted_ids: list[str] = field(default_factory=list)
    gone_ids: list[str] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        """The same as `migration.passes` keeps it."""
        return {
            "read": self.read,
            "rejected": dict(self.rejected),
            "arrays": _plain(self.arrays),
            "deleted_ids": self.deleted_ids,
            "gone_ids": self.gone_ids,
        }


@dataclass(frozen=True, slots=True)
class Loser:
    """A document, or an array element of it, on its way to the rejects.

    `document_id` is its name (`document_ids`); `kept` the Extended JSON of its `_id` where its row keeps that in `extra`.
    """

    root_id: str
    document_id: str
    path: str
    reason: str
    element: bool = False
    document: StagedDocument | None = None
    kept: str | None = None


@dataclass
class Place:
    """A collection under judgement.

    `own` tells the collections of the domain whose run judges from those of its neighbours, whose rows may have to go with
    rows of this domain. `tables` are the collection's, root first, a neighbour's as far as they are built: what a change of its
    declaration adds is a matter of its own next run. `bulk`: its first load settles now, so that no constraint exists yet. `held`:
    documents of it wait in `migration.held` for the run's settle.
    """

    collection: Collection
    tables: tuple[Table, ...]
    run: RunKey
    staging: CollectionStaging
    own: bool
    bulk: bool
    held: bool
    outcome: Outcome = field(default_factory=Outcome)
    deletion: Deletion = field(default_factory=Deletion)

    def documents(self, root_ids: Sequence[str]) -> dict[bytes, list[StagedDocument]]:
        """The documents that this run read for these rows; those of other runs are not among them."""
        if not root_ids or not self.staging.plan.exists():
            return {}  # nobody is asked for; or the run read nothing, or its files are gone
        from mongo2pg.files.staged_documents import documents_of  # with Arrow: only where something is judged

        return documents_of(self.staging, self.collection, [uuid.UUID(root_id).bytes for root_id in root_ids])

    def read(self, losers: Sequence[Loser]) -> Iterator[tuple[Loser, StagedDocument | None]]:
        """Each with its document as this run read it; None where it did not."""
        found = self.documents(sorted({loser.root_id for loser in losers if not loser.document}))
        for loser in losers:
            own = found.get(uuid.UUID(loser.root_id).bytes, [])
            yield loser, loser.document or self._read_last([each for each in own if each.document_id == loser.document_id])

    def _read_last(self, versions: Sequence[StagedDocument]) -> StagedDocument | None:
        """Of what a window's chunks read of a document, which is several versions where it moved from one to another, the last."""
        if len(versions) < 2:
            return next(iter(versions), None)
        return max(versions, key=lambda each: datetime.fromisoformat(read_json(self.staging.manifest(each.chunk))["read_time"]))

    def contents(self, documents: Iterable[StagedDocument]) -> Iterator[tuple[StagedDocument, bytes]]:
        """These documents, which this run read, with their bytes; few of them are in memory at once."""
        from mongo2pg.files.staged_documents import contents_of

        return contents_of(self.staging, documents)


def find_places(conn: Connection, run: RunKey, domain: Domain, staging: RunStaging, everyone: Sequence[Domain]) -> list[Place]:
    """The collections of the domain, and those of all others that are complete, with the full run that they come from."""
    phases = books.phases(conn, run.domain, [collection.name for collection in domain.collections])
    full_runs, held = books.last_full_runs(conn), books.held_by(conn, run)
    places = []
    for each in everyone:
        for collection in each.in_reference_order:
            own, name = each is domain, collection.name
            key = run if own else full_runs.get((each.name, name))
            if key is None:
                continue  # nothing of it is complete: its own settle will judge it
            tables = collection.tables if own else schema.built(conn, collection.tables)
            if not tables or tables[0].child:
                continue  # it is declared to have another table than it was loaded into
            folder = (staging if own else RunStaging(staging.root, each.name, key.run_id)).collection(key.plan_id, name)
            bulk = own and phases[name][0] == "bulk"
            places.append(Place(collection, tables, key, folder, own, bulk=bulk, held=own and name in held))
    return places


def lock_places(conn: Connection, everyone: Sequence[Domain]) -> None:
    """Waits for the locks of all collections of these domains, in the order that everybody takes them in."""
    books.lock_collections(conn, [(domain.name, collection.name) for domain in everyone for collection in domain.collections])


def beside(domain: Domain, domains: Sequence[Domain]) -> list[Domain]:
    """The other domains, and what a run that moves some collections only leaves of its own."""
    own = {collection.name for collection in domain.collections}
    rests = [
        other if other.name != domain.name else other.only({collection.name for collection in other.collections} - own)
        for other in domains
    ]
    return [rest for rest in rests if rest.collections]


def _plain(arrays: dict[str, Counter[str]]) -> dict[str, dict[str, int]]:
    return {path: dict(counts) for path, counts in arrays.items()}
