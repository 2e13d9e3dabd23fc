"""Documents whose `_id`s reach one UUID: which of them has the row, and what becomes of the others."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from psycopg import sql

from mongo2pg import books
from mongo2pg.books import Connection
from mongo2pg.documents.document_ids import compact
from mongo2pg.documents.identity import uuid_text
from mongo2pg.documents.outline import count_elements
from mongo2pg.files.staging import read_json
from mongo2pg.queries import marked, target
from mongo2pg.settling.places import Loser, Named, Place
from mongo2pg.settling.settlement import Settlement
from mongo2pg.settling.unique_slots import bson_order_of

if TYPE_CHECKING:
    from mongo2pg.files.staged_documents import StagedDocument


def hold_loaded_twins(settlement: Settlement, places: Sequence[Place]) -> None:
    """Takes the documents of first loads that share an id out of their tables again and holds them instead.

    Those tables had no key, so that nobody was told: here they are looked for, where the books say that there may be any.
    """
    for place in places:
        if not place.bulk or not books.any_doubtful(settlement.conn, place.run, place.collection.name):
            continue
        root = target(place.collection.table)
        rows = settlement.conn.execute(sql.SQL("SELECT id::text FROM {} GROUP BY id HAVING count(*) > 1").format(root))
        read = place.documents([row[0] for row in rows])
        # Of one document, two rows are a fault of the load: the primary key will refuse them.
        if twins := {root_id: documents for root_id, documents in read.items() if len(documents) > 1}:
            _hold(settlement, place, twins)


def _hold(settlement: Settlement, place: Place, documents: Mapping[bytes, Sequence[StagedDocument]]) -> None:
    from mongo2pg.files.parquet import open_frames
    from mongo2pg.moving.twins import Twin, hold_twins  # with Arrow: only where there are any

    settlement.take_back(place, [uuid_text(root_id) for root_id, sharing in documents.items() for _ in sharing])
    settlement.delete_rows(place, list(map(uuid_text, documents)))
    by_chunk = sorted((each.chunk, Twin(root_id, each.row)) for root_id, sharing in documents.items() for each in sharing)
    for chunk, some in groupby(by_chunk, key=itemgetter(0)):
        with open_frames(place.staging, read_json(place.staging.manifest(chunk)), place.collection) as files:
            hold_twins(settlement.conn, place.run, place.collection, files, [twin for _, twin in some])
    place.held = True


def judge_shared_ids(settlement: Settlement, holding: Sequence[Place], unfit: Mapping[Named, Loser]) -> set[Named]:
    """Of documents whose `_id`s reach one UUID the smallest stays; it takes the row of one already loaded.

    The row of a document that this run did not read stays with that one: the next full run judges both. `unfit` are those that
    had stayed before, and were then rejected for something else: they leave the row to the others. Returns the documents that stay.
    """
    staying: set[Named] = set()
    for place in holding:
        collection = place.collection.name
        losers: list[Loser] = []
        loaded: list[str] = []
        claims = _claims(settlement.conn, place)
        unread = _unread(place, claims)
        for root_id, documents in claims.items():
            fit = [name for name in documents if (collection, name) not in unfit]
            # Where nobody is fit, whoever has the row is rejected with it: the others would leave it as it is.
            having = [name for name in documents if not documents[name]]
            winner = unread.get(root_id) or min(fit or having or documents, key=bson_order_of)
            staying.add((collection, winner))
            gone = [name for name in documents if name != winner]
            losers += (unfit.get((collection, name), Loser(root_id, name, "_id", "duplicate_key")) for name in gone)
            loaded += (root_id for name in gone if not documents[name])
        if losers:
            _lose(settlement, place, losers, loaded)
    return staying


def _claims(conn: Connection, place: Place) -> dict[str, dict[str, bool]]:
    """By the ids that several documents claim: the documents, and whether this plan holds them.

    The document of a stale row claims nothing, or what is held of it does; that of a row that is marked as deleted is gone.
    """
    claims: dict[str, dict[str, bool]] = {}
    for root_id, document, held in conn.execute(
        sql.SQL(
            """
            SELECT root_id::text, document_id::text, true FROM migration.held
            WHERE plan_id = %(plan)s AND table_name = %(table)s
            UNION ALL
            SELECT t.id::text, migration.document_id(t.id, t.extra)::text, false FROM {target} t
            WHERE t.id IN (SELECT root_id FROM migration.held WHERE plan_id = %(plan)s AND table_name = %(table)s)
              AND NOT {marked} AND NOT EXISTS (
                SELECT FROM migration.stale s
                WHERE (s.domain, s.collection, s.root_id) = (%(domain)s, %(collection)s, t.id))
            """
        ).format(target=target(place.collection.table), marked=marked(place.collection, "t")),
        {
            "plan": place.run.plan_id,
            "table": place.collection.table,
            "domain": place.run.domain,
            "collection": place.collection.name,
        },
    ):
        one = claims.setdefault(root_id, {})
        # The version that is held replaces the one that is loaded.
        one[compact(document)] = held or one.get(compact(document), False)
    return {root_id: documents for root_id, documents in claims.items() if len(documents) > 1}


def _unread(place: Place, claims: Mapping[str, Mapping[str, bool]]) -> dict[str, str]:
    """By the ids, those of the loaded documents that this run did not read."""
    loaded = [(root_id, name) for root_id, documents in claims.items() for name, held in documents.items() if not held]
    read = place.documents([root_id for root_id, _ in loaded])
    return {
        root_id: name
        for root_id, name in loaded
        if all(document.document_id != name for document in read.get(uuid.UUID(root_id).bytes, []))
    }


def _lose(settlement: Settlement, place: Place, losers: list[Loser], loaded: list[str]) -> None:
    """All at once, as each look into the files and each search of a table without a key costs what one of them does."""
    names = [loser.document_id for loser in losers]
    settlement.conn.execute(
        """
        DELETE FROM migration.held h USING unnest(%s::uuid[], %s::jsonb[]) AS l (root_id, document_id)
        WHERE plan_id = %s AND collection = %s AND (h.root_id, h.document_id) = (l.root_id, l.document_id)
        """,
        ([loser.root_id for loser in losers], names, settlement.run.plan_id, place.collection.name),
    )
    if loaded:
        settlement.take_back(place, loaded)
    counts: Counter[str] = Counter()
    for content in _contents(place, losers):
        counts.update({child.path: count_elements(content, child) for child in place.collection.children})
    for path, count in counts.items():
        rejected = _rejected_elements(settlement.conn, place, names, path)
        place.outcome.move_elements(path, "of_parents_not_loaded", count - rejected)
    settlement.lose(place, losers)


def _contents(place: Place, losers: list[Loser]) -> Iterator[bytes]:
    documents = [document for _, document in place.read(losers) if document]  # whoever loses was read
    return (content for _, content in place.contents(documents))


def _rejected_elements(conn: Connection, place: Place, names: list[str], path: str) -> int:
    row = conn.execute(
        """
        SELECT count(*) FROM migration.rejects
        WHERE state = 'open' AND element AND (domain, run_id, plan_id, collection) = (%s, %s, %s, %s)
          AND document_id = ANY(%s::jsonb[]) AND starts_with(path, %s)
        """,
        (*place.run, place.collection.name, names, f"{path}."),
    ).fetchone()
    return row[0] if row else 0
