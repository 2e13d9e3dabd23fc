"""Cuts each collection into chunks: ranges of `_id` whose bounds hold across BSON types, or of the change key in a window.

Bounds come from a sample of keys that the server sorts, so that no comparison of BSON values happens here. Those of
`_id` are used with min/max on its index, which knows one order over all types; a query such as {_id: {$gt: …}} would pass
over every document whose `_id` has another type ("type bracketing", MongoDB manual).
"""

from __future__ import annotations

import itertools
import logging
import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import DatetimeMS
from bson.json_util import dumps as to_extended_json
from bson.json_util import loads as from_extended_json
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Connection, RunKey
from mongo2pg.databases import snapshot
from mongo2pg.databases.source import ID_INDEX, SORT_ON_DISK, exists, server_time, stored_bytes
from mongo2pg.databases.window import SCAN_LIMIT, Part, Window, count, count_without_key, ends, find_index, in_range, parts, whole
from mongo2pg.documents.decode import split
from mongo2pg.errors import TransientError
from mongo2pg.files.planned import BOUNDS, FULL, WINDOW, Lot, as_written, bound, of_ids
from mongo2pg.files.staging import RunStaging, write_json
from mongo2pg.model import Collection, Domain

log = logging.getLogger(__name__)

# A chunk is what a retry repeats and what travels between tasks at once: large enough that its fixed costs (queries,
# files, a transaction) vanish, small enough that a worker holds several.
CHUNK_BYTES = 64 << 20
# Airflow maps a task at most 1,024 times ([core] max_map_length); lots that are not full leave room.
MOST_LOTS = 500
# Keys sampled per chunk: chunk sizes then stay within about a fifth of each other.
SAMPLES_PER_CHUNK = 32


def plan_domain(
    database: Database[Any],
    domain: Domain,
    staging: RunStaging,
    chunk_bytes: int = CHUNK_BYTES,
    windows: Mapping[str, Window] | None = None,
    scan_limit: int = SCAN_LIMIT,
    read_concern: str = snapshot.LOCAL,
    besides: Mapping[str, Sequence[Any]] | None = None,
) -> list[Lot]:
    """Writes each collection's plan, then makes the new plan the run's present one; returns the lots.

    A collection that `windows` does not name is read in full; one that it names, in its window and the documents with these
    `_id`s `besides`. Reads of the source, for each collection: a count over an index, its statistics, and a bounded sample. With
    the read concern `snapshot` all of them are read as they are now.
    """
    plan_id = uuid.uuid4().hex[:12]
    moved = windows or {}
    now = snapshot.take(database) if read_concern == snapshot.SNAPSHOT else {}
    others = besides or {}
    plans = (
        {**make_plan(database, c, plan_id, chunk_bytes, moved.get(c.name), scan_limit, others.get(c.name, [])), **now}
        for c in domain.collections
    )
    return write_plans(staging, domain, plan_id, plans, chunk_bytes)


def write_plans(
    staging: RunStaging, domain: Domain, plan_id: str, plans: Iterable[dict[str, Any]], chunk_bytes: int = CHUNK_BYTES
) -> list[Lot]:
    """Writes the plans of the domain's collections, makes them the run's present one, and returns their chunks as lots."""
    before = staging.present_plan
    sizes: list[tuple[str, int, int]] = []
    for plan in plans:  # each is made now
        name = plan["collection"]
        write_json(staging.collection(plan_id, name).plan, plan)
        each = max(1, plan["estimated_bytes"] // len(plan["bounds"]))
        sizes += [(name, chunk, each) for chunk in range(len(plan["bounds"]))]
        log.info(
            "%s: %s documents, about %.1f MB, %s chunk(s)",
            name,
            f"{plan['source_before']:,}",
            plan["estimated_bytes"] / 1e6,
            len(plan["bounds"]),
        )
    lots = make_lots(plan_id, sizes, max(chunk_bytes, sum(size for _, _, size in sizes) // MOST_LOTS))
    write_pointer(staging, domain, plan_id, lots, before)
    return lots


def refuse_other_plan(staging: RunStaging, known: str | None) -> None:
    """Raises TransientError where the run's present plan is not the one that this attempt knows.

    Airflow may take an attempt for dead that goes on, and begin another: what that one has planned is loaded already.
    """
    if staging.present_plan != known:
        raise TransientError(f"another attempt has made a plan for {staging.run_id} meanwhile: this one's is given up")


def forget_earlier(conn: Connection, run: RunKey, domain: Domain, staging: RunStaging) -> None:
    """What an earlier plan of the run was checked for says nothing of this one, its present one.

    Raises TransientError where it is no more that: what has been checked since is another attempt's, which forgets under the same
    locks before its first check.
    """
    with conn.transaction():
        books.lock_collections(conn, [(run.domain, collection.name) for collection in domain.collections])
        refuse_other_plan(staging, run.plan_id)
        books.forget_checks(conn, run)


def write_pointer(staging: RunStaging, domain: Domain, plan_id: str, lots: list[Lot], before: str | None) -> None:
    """Makes the plan the run's present one, in the place of the one that was `before` this one was begun."""
    refuse_other_plan(staging, before)
    declared = {collection.name: collection.fingerprint for collection in domain.collections}
    current = {"plan_id": plan_id, "run_id": staging.run_id, "domain": domain.name, "collections": list(declared), "lots": lots}
    write_json(staging.folder / "plan.json", {**current, "declarations": declared})


def make_plan(
    database: Database[Any],
    collection: Collection,
    plan_id: str,
    chunk_bytes: int,
    moved: Window | None,
    scan_limit: int,
    besides: Sequence[Any] = (),
) -> dict[str, Any]:
    """The plan of a window, or of everything where there is none."""
    if moved is None:
        return plan_collection(database, collection, plan_id, chunk_bytes)
    return plan_window(database, collection, plan_id, moved, chunk_bytes, scan_limit, besides)


def plan_collection(database: Database[Any], collection: Collection, plan_id: str, chunk_bytes: int) -> dict[str, Any]:
    """The chunks of a full reading: `bounds` is a list of [min, max) pairs in canonical Extended JSON, open at both ends."""
    source = database[collection.name]
    documents = source.count_documents({}, hint=ID_INDEX) if exists(database, collection.name) else 0
    size = stored_bytes(database, collection.name) if documents else 0
    chunks = max(1, min(math.ceil(size / chunk_bytes), documents))
    cuts = _cuts(database, collection.name, chunks, Part({}, None), "_id")
    bounds = [{"min": low, "max": high} for low, high in zip([None, *cuts], [*cuts, None], strict=True)]
    return {
        "plan_id": plan_id,
        "collection": collection.name,
        "fingerprint": collection.fingerprint,
        "scope": FULL,
        "query": "{}",
        "read_concern": snapshot.usual(database),
        "planned_at": server_time(database),
        "source_before": documents,
        "estimated_bytes": size,
        "bounds": bounds,
    }


def plan_window(
    database: Database[Any],
    collection: Collection,
    plan_id: str,
    moved: Window,
    chunk_bytes: int,
    scan_limit: int,
    besides: Sequence[Any] = (),
) -> dict[str, Any]:
    """The chunks of a window: `bounds` is a list of queries in canonical Extended JSON, each with the index for it.

    The last one is that of the documents `besides` that do not lie in the window, if there are any.
    """
    there = exists(database, collection.name)
    index = find_index(database, collection) if there else None
    keyed, *others = parts(collection, moved, index)
    unkeyed = len(others)
    if besides:
        others.append(Part({**of_ids(besides), "$nor": [part.query for part in (keyed, *others)]}, None))
    counts = [count(database, collection, part) if there else 0 for part in (keyed, *others)]
    stored = database[collection.name].estimated_document_count() if there else 0
    each = stored_bytes(database, collection.name) / stored if stored else 0
    # Without an index each chunk would scan the collection once more.
    chunks = max(1, min(math.ceil(counts[0] * each / chunk_bytes), counts[0])) if index else 1
    cuts = [
        from_extended_json(text, json_options=BOUNDS)[collection.change_key]
        for text in _cuts(database, collection.name, chunks, keyed, collection.change_key)
    ]
    low, high = ends(collection, moved)
    ranges = [Part(in_range(collection, *pair), keyed.hint) for pair in itertools.pairwise([low, *cuts, high])]
    planned_at = server_time(database)
    if not index:
        log.info("%s: no index on %s, the collection is scanned", collection.name, collection.change_key)
    return {
        "plan_id": plan_id,
        "collection": collection.name,
        "fingerprint": collection.fingerprint,
        "scope": WINDOW,
        "query": to_extended_json(whole([keyed, *others]), json_options=BOUNDS),
        "window": {"start": moved.start.isoformat(), "end": moved.end.isoformat(), "lookback": moved.lookback.total_seconds()},
        "read_concern": snapshot.usual(database),
        "planned_at": planned_at,
        "source_before": sum(counts),
        "without_key": count_without_key(database, collection, index, scan_limit) if there else 0,
        "without_key_in_window": sum(counts[1 : 1 + unkeyed]),
        "besides": len(besides),
        "scanned": there and index is None,
        "estimated_bytes": round(sum(counts) * each),
        "parts": [as_written(part) for part in (keyed, *others)],
        "bounds": [as_written(part) for part in (*ranges, *others)],
        "first_open": _first_open(collection, [*cuts, high], datetime.fromisoformat(planned_at) - moved.lookback),
    }


def _first_open(collection: Collection, ends_of_ranges: Sequence[Any], since: datetime) -> int:
    """The first chunk that a document may come into whose change key is set from then on; one behind all if they are over."""
    if collection.change_key == "_id":
        return len(ends_of_ranges)
    return sum(int(end) <= int(DatetimeMS(since)) for end in ends_of_ranges)


def make_lots(plan_id: str, sizes: list[tuple[str, int, int]], lot_bytes: int) -> list[Lot]:
    """Packs (collection, chunk, bytes) in their order into lots of about `lot_bytes`; a larger chunk is a lot alone."""
    groups: list[list[tuple[str, int]]] = []
    room = 0
    for collection, chunk, size in sizes:
        if not groups or size > room:
            groups.append([])
            room = lot_bytes
        groups[-1].append((collection, chunk))
        room -= size
    return [Lot(plan_id=plan_id, label=_label(group), chunks=group) for group in groups]


def _label(chunks: list[tuple[str, int]]) -> str:
    names: dict[str, list[int]] = {}
    for collection, chunk in chunks:
        names.setdefault(collection, []).append(chunk)
    return ", ".join(f"{name} {'-'.join(str(n) for n in sorted({numbers[0], numbers[-1]}))}" for name, numbers in names.items())


def _cuts(database: Database[Any], name: str, chunks: int, part: Part, key: str) -> list[str]:
    """Up to `chunks` - 1 documents `{key: …}` from a sample of the part's, in order."""
    if chunks == 1:
        return []
    shown = {"_id": 1} if key == "_id" else {"_id": 0, key: 1}
    steps: list[dict[str, Any]] = [{"$match": part.query}] if part.query else []
    steps += [{"$sample": {"size": chunks * SAMPLES_PER_CHUNK}}, {"$project": shown}, {"$sort": {key: 1}}]
    # Raw, and read one by one: a sampled key that cannot be decoded is no bound, and hinders no other.
    options: dict[str, Any] = {"hint": part.hint} if part.hint else {}
    sample = database[name].aggregate_raw_batches(steps, allowDiskUse=SORT_ON_DISK, **options)
    texts = list(dict.fromkeys(text for batch in sample for raw in split(batch) if (text := bound(raw))))
    picked = [texts[len(texts) * cut // chunks] for cut in range(1, chunks)] if texts else []
    return list(dict.fromkeys(picked))
