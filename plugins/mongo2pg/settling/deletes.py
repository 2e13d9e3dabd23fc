"""Takes out the rows whose document is gone from MongoDB, and nothing else: by ids alone, each asked for twice.

The target's ids come first, a page at a time, then the source's of that range, from its `_id` index. What the source did
not name is asked for by its exact `_id`, and again under the collection's lock before its row goes: a document that was
inserted again meanwhile keeps it. Nothing goes through a cascade: rows of other documents that hang on a row that goes
move to the rejects, each with its document as the source has it now, in the same transaction.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from bson.objectid import ObjectId
from psycopg import sql
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.databases import lookup
from mongo2pg.databases.source import ID_INDEX, exists, server_time
from mongo2pg.documents.document_ids import MALFORMED
from mongo2pg.documents.identity import id_from_value, objectid_from_uuid
from mongo2pg.errors import DeleteError, PermanentError
from mongo2pg.files.planned import DELETES, FULL, scope
from mongo2pg.files.staging import RunStaging, write_json
from mongo2pg.model import Collection, Domain
from mongo2pg.planning.plan import forget_earlier, write_pointer
from mongo2pg.queries import create_incoming, incoming, set_aside, target
from mongo2pg.settling.places import Deletion, Outcome, Place, beside, find_places, lock_places
from mongo2pg.settling.settlement import Settlement

log = logging.getLogger(__name__)

# Ids compared at once: some 20 MB of them, and ranges long enough that the source's index is read in few queries.
PAGE = 100_000
# Rows that may always go, or be repaired: of a small collection a few are soon a large share.
TOLERATED = 20
MAX_DELETE_RATIO = 0.10


def plan_deletes(conn: Connection, domain: Domain, staging: RunStaging) -> str:
    """A plan that reads no documents, for a run of deletes alone; PermanentError before the first full run is complete."""
    plan_id, before = uuid.uuid4().hex[:12], staging.present_plan
    run = RunKey(domain.name, staging.run_id, plan_id)
    for collection in domain.collections:
        if books.phase(conn, run, collection.name)[0] != "complete":
            raise PermanentError(f"{collection.name} has no complete first run: run {domain.name} with mode full first")
        plan = {"plan_id": plan_id, "collection": collection.name, "scope": DELETES, "bounds": []}
        write_json(staging.collection(plan_id, collection.name).plan, plan)
    write_pointer(staging, domain, plan_id, [], before)
    forget_earlier(conn, run, domain, staging)
    return plan_id


def delete_domain(
    database: Database[Any],
    conn: Connection,
    run: RunKey,
    domain: Domain,
    staging: RunStaging,
    neighbours: Sequence[Domain] = (),
    max_delete_ratio: float = MAX_DELETE_RATIO,
) -> dict[str, Deletion]:
    """Deletes or marks, as each collection declares; returns by collection what happened, also to rows of other domains.

    Raises DeleteError, with nothing deleted, where more than `max_delete_ratio` of a collection's rows would go. A document
    that this run read itself is left to the next one: this run's checks are about what it read.
    """
    create_gone(conn)
    asked = [each for each in domain.collections if _is_asked(conn, run, each, staging)]
    shares: dict[str, tuple[int, int]] = {}
    for collection in asked:
        gone, rows = find_gone(database, conn, collection)
        # What an earlier attempt took out is not found again, and yet this run's.
        before, _ = books.count_deletions(conn, run, collection.name)
        shares[collection.name] = gone + before, rows + before
    _brake(conn, run, shares, max_delete_ratio)
    return take_out(database, conn, run, domain, staging, neighbours, shares, max_delete_ratio)


def take_out(
    database: Database[Any],
    conn: Connection,
    run: RunKey,
    domain: Domain,
    staging: RunStaging,
    neighbours: Sequence[Domain],
    shares: dict[str, tuple[int, int]],
    ratio: float,
) -> dict[str, Deletion]:
    """Takes the rows in `mongo2pg_gone` out, if their document is gone still; returns by collection what happened.

    `shares` are the collections that were looked through: how many rows are gone, and of how many, for the check `deletes`.
    """
    started = time.monotonic()
    everyone = [domain, *beside(domain, neighbours)]
    with conn.transaction():
        lock_places(conn, everyone)
        read_time = server_time(database)
        deleter = Settlement(conn, run, find_places(conn, run, domain, staging, everyone), database)
        own = [place for place in deleter.places.values() if place.own and place.collection.name in shares]
        gone = {place.collection.table: _still_gone(database, conn, place) for place in own}
        deleter.leaving = {
            place.collection.table: set(gone[place.collection.table]) for place in own if place.collection.deletes != "mark"
        }
        for place in reversed(own):  # rows before those that they refer to
            _delete_or_mark(deleter, place, gone[place.collection.table], read_time)
            place.deletion.gone_ids += _close_books(database, conn, run, place.collection)
        deleter.record([place for place in deleter.places.values() if place.outcome != Outcome()], started)
        told = own + [place for place in deleter.places.values() if not place.own and place.deletion != Deletion()]
        deleter.record_deletions(told, read_time, started)
        owing = [place for place in deleter.places.values() if place.own and scope(place.staging) in (FULL, DELETES)]
        books.write_checks(conn, run, [_check(conn, run, place, shares, ratio) for place in owing])
    return {place.collection.name: place.deletion for place in told}


def _is_asked(conn: Connection, run: RunKey, collection: Collection, staging: RunStaging) -> bool:
    """Whether rows of an earlier load may be there, and this run is not about a part of the collection only."""
    whole = scope(staging.collection(run.plan_id, collection.name)) in (FULL, DELETES)
    return whole and books.phase(conn, run, collection.name)[0] == "complete"


# --- who is gone -----------------------------------------------------------------------------------------------------


def create_gone(conn: Connection) -> None:
    """Makes the list of rows whose document is gone, `mongo2pg_gone`, an empty one."""
    conn.execute("DROP TABLE IF EXISTS pg_temp.mongo2pg_gone")
    conn.execute("CREATE TEMP TABLE mongo2pg_gone (collection text, id uuid)")


def find_gone(database: Database[Any], conn: Connection, collection: Collection) -> tuple[int, int]:
    """Notes the rows whose document is not there; returns how many they are, and of how many."""
    rows = gone = 0
    for page in _pages(conn, collection, server_time(database)):
        there = _at_source(database, collection.name, page)
        missing = [str(uuid.UUID(bytes=root_id)) for root_id, is_odd in page if is_odd or root_id not in there]
        found = absent(database, conn, collection, missing)
        conn.execute("INSERT INTO pg_temp.mongo2pg_gone SELECT %s, unnest(%s::uuid[])", (collection.name, found))
        rows, gone = rows + len(page), gone + len(found)
    log.info("%s: %s of %s rows have no document any more", collection.name, f"{gone:,}", f"{rows:,}")
    return gone, rows


def _pages(conn: Connection, collection: Collection, now: str) -> Iterator[list[tuple[bytes, bool]]]:
    """The ids of the rows that a document should be behind, in order, and whether `extra` tells another `_id` than they do."""
    query = sql.SQL(
        """
        SELECT uuid_send(t.id), t.extra IS NOT NULL AND t.extra ? '_id' FROM {target} t
        WHERE {after} AND NOT {aside} ORDER BY t.id LIMIT {page}
        """
    )
    after: sql.Composable = sql.SQL("true")
    with conn.cursor(binary=True) as cursor:
        while page := cursor.execute(
            query.format(target=target(collection.table), after=after, aside=set_aside(collection, "t", now), page=PAGE)
        ).fetchall():
            yield page
            after = sql.SQL("t.id > {}::uuid").format(str(uuid.UUID(bytes=page[-1][0])))


def _at_source(database: Database[Any], name: str, page: list[tuple[bytes, bool]]) -> set[bytes]:
    """Those of the page's ids that the source has documents with ObjectIds for, from its `_id` index alone.

    Between the first and the last of them it may have any number of others: of rows that somebody deleted, for one.
    """
    low, high = (
        next((oid for root_id, _ in rows if (oid := objectid_from_uuid(uuid.UUID(bytes=root_id)))), None)
        for rows in (page, reversed(page))
    )
    if low is None or high is None or not exists(database, name):
        return set()
    import numpy as np  # a first load, of which nothing can be gone, does without

    from mongo2pg.batches.id_columns import uuids_from_objectids

    bounds: tuple[list[Any], list[Any]] = ([("_id", low)], [("_id", _next(high))])
    wanted, found = {root_id for root_id, _ in page}, set[bytes]()
    with database[name].find_raw_batches({}, {"_id": 1}, hint=ID_INDEX) as cursor:
        for batch in cursor.min(bounds[0]).max(bounds[1]):
            # Between two ObjectIds there are only ObjectIds: each document has 22 bytes, of which 9 come before the id.
            packed = np.frombuffer(batch, np.uint8).reshape(-1, 22)[:, 9:21].tobytes()
            ids = uuids_from_objectids(packed).tobytes()
            found |= wanted.intersection(ids[start : start + 16] for start in range(0, len(ids), 16))
    return found


def _next(oid: ObjectId) -> ObjectId | bool:
    """What MongoDB sorts next after an ObjectId; False is the first value of the type that follows."""
    number = int.from_bytes(oid.binary, "big") + 1
    return ObjectId(number.to_bytes(12, "big")) if number < 1 << 96 else False


def absent(database: Database[Any], conn: Connection, collection: Collection, ids: list[str]) -> list[str]:
    """Those of these rows whose document the source does not have."""
    return [root_id for root_id, found in behind(database, conn, collection, ids).items() if not found]


def behind(database: Database[Any], conn: Connection, collection: Collection, ids: list[str]) -> dict[str, list[Any]]:
    """For each of these rows what the source, asked for its document by its exact `_id`, has: nothing, or the `_id`.

    A document explains the row under its own id, and no other one that names it.
    """
    rows = conn.execute(
        sql.SQL(
            """
            SELECT id::text, migration.document_id(id, extra)::text, (extra -> '_id')::text FROM {} WHERE id = ANY(%s::uuid[])
            """
        ).format(target(collection.table)),
        (ids,),
    ).fetchall()
    kept = {document_id: text for _, document_id, text in rows if text is not None}
    there = lookup.find_ids(database, collection.name, [document_id for _, document_id, _ in rows], kept)
    return {
        root_id: [value for value in there[document_id] if str(id_from_value(value)) == root_id] for root_id, document_id, _ in rows
    }


def _brake(conn: Connection, run: RunKey, shares: dict[str, tuple[int, int]], ratio: float) -> None:
    if beyond := too_many(shares, ratio):
        books.write_checks(
            conn,
            run,
            [
                Check("deletes", name, "failed", {"rows": rows, "max_delete_ratio": ratio}, {"gone": gone})
                for name, (gone, rows) in beyond.items()
            ],
        )
        raise DeleteError(beyond, ratio)


def too_many(shares: dict[str, tuple[int, int]], ratio: float) -> dict[str, tuple[int, int]]:
    """The collections of which more than this share, and more than a few, would be written: how many, and of how many."""
    return {name: (part, whole) for name, (part, whole) in shares.items() if part > TOLERATED and part > ratio * whole}


# --- under the locks -------------------------------------------------------------------------------------------------


def _still_gone(database: Database[Any], conn: Connection, place: Place) -> list[str]:
    noted = conn.execute("SELECT id::text FROM pg_temp.mongo2pg_gone WHERE collection = %s", (place.collection.name,))
    gone = absent(database, conn, place.collection, [row[0] for row in noted])
    read = {str(uuid.UUID(bytes=root_id)) for root_id in place.documents(gone)}
    _hand_over(conn, place, [root_id for root_id in gone if root_id in read])
    return [root_id for root_id in gone if root_id not in read]


def _hand_over(conn: Connection, place: Place, ids: list[str]) -> None:
    """A row whose document is gone, and whose id another one has that this run holds, is that one's row from now on."""
    if not ids:
        return
    root = place.collection.tables[0]
    conn.execute(create_incoming(root))
    conn.execute(
        sql.SQL(
            """
            UPDATE {target} t SET extra = CASE
                WHEN i.extra ? '_id' THEN coalesce(t.extra, '{{}}') || jsonb_build_object('_id', i.extra -> '_id')
                ELSE nullif(t.extra - '_id', '{{}}') END
            FROM migration.held h, LATERAL (SELECT (h.row_image::{incoming}).extra OFFSET 0) AS i  -- read once, as in `held_images`
            WHERE t.id = ANY(%s::uuid[]) AND h.root_id = t.id AND (h.plan_id, h.table_name) = (%s, %s)
              AND h.document_id <> migration.document_id(t.id, t.extra)
            """
        ).format(target=target(root.name), incoming=incoming(root.name)),
        (ids, place.run.plan_id, place.collection.table),
    )


def _delete_or_mark(deleter: Settlement, place: Place, ids: list[str], read_time: str) -> None:
    """The rows go with their child rows, or are marked; the books of stale rows forget them."""
    if place.collection.deletes == "mark":
        deleter.conn.execute(
            sql.SQL("UPDATE {} SET deleted_at = %s WHERE id = ANY(%s::uuid[])").format(target(place.collection.table)),
            (read_time, ids),
        )
        books.forget_stale(deleter.conn, place.run, place.collection.name, ids)
    elif ids:
        deleter.take_out(place, ids)
    place.deletion.deleted_ids += ids


def _close_books(database: Database[Any], conn: Connection, run: RunKey, collection: Collection) -> list[str]:
    """Of documents and rows that are gone no reject stays open, no mark, and nothing is held.

    A document whose `_id` cannot be read may not be gone. Returns the ids of those that have no row: whoever read them waits for
    a row or a reject in vain.
    """
    named = {*books.open_reject_ids(conn, run, collection.name), *books.held_elsewhere(conn, run, collection.name)}
    readable = [text for text in named if not text.startswith(MALFORMED)]
    gone = [text for text, found in lookup.find_ids(database, collection.name, readable).items() if not found]
    books.resolve_rejects(conn, run, collection.name, gone)
    books.supersede_held(conn, run, collection.name, gone)
    books.forget_without_row(conn, run, collection.name, target(collection.table))
    if not gone:
        return []
    rows = conn.execute(
        sql.SQL("SELECT g.id::text FROM unnest(%s::uuid[]) AS g (id) WHERE NOT EXISTS (SELECT FROM {} t WHERE t.id = g.id)").format(
            target(collection.table)
        ),
        (list(map(lookup.root_id_of, gone)),),
    )
    return [row[0] for row in rows]


def _check(conn: Connection, run: RunKey, place: Place, shares: dict[str, tuple[int, int]], ratio: float) -> Check:
    gone, rows = shares.get(place.collection.name, (0, 0))
    deleted, rejected = books.count_deletions(conn, run, place.collection.name)
    actual = {"gone": gone, "deleted": deleted, "rejected": rejected}
    return Check("deletes", place.collection.name, "passed", {"rows": rows, "max_delete_ratio": ratio}, actual)
