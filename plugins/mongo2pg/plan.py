"""Cuts each collection into chunks: ranges of `_id` whose bounds hold across BSON types.

Bounds come from a sample of `_id`s that the server sorts, so that no comparison of BSON values happens here. They are
used with min/max on the `_id` index, which knows one order over all types; a query such as {_id: {$gt: …}} would pass
over every document whose `_id` has another type ("type bracketing", MongoDB manual).
"""

from __future__ import annotations

import logging
import math
import uuid
from typing import Any, TypedDict

import bson
from bson.codec_options import DatetimeConversion
from bson.errors import BSONError
from bson.json_util import CANONICAL_JSON_OPTIONS, JSONOptions
from bson.json_util import dumps as to_extended_json
from bson.json_util import loads as from_extended_json
from pymongo.database import Database
from pymongo.errors import OperationFailure

from mongo2pg.decode import OPTIONS, split
from mongo2pg.model import Collection, Domain
from mongo2pg.staging import CollectionStaging, RunStaging, read_json, write_json

log = logging.getLogger(__name__)

# A chunk is what a retry repeats and what travels between tasks at once: large enough that its fixed costs (queries,
# files, a transaction) vanish, small enough that a worker holds several.
CHUNK_BYTES = 64 << 20
# Airflow maps a task at most 1,024 times ([core] max_map_length); lots that are not full leave room.
MOST_LOTS = 500
# Keys sampled per chunk: chunk sizes then stay within about a fifth of each other.
SAMPLES_PER_CHUNK = 32
# Documents sampled for their size where the server keeps no statistics of it.
SIZE_SAMPLES = 200


# What a plan reads: every document of the source, or the documents of open rejects.
FULL, REJECTS = "full", "rejects"


# Bounds may be dates beyond Python's calendar.
_BOUNDS: JSONOptions = CANONICAL_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS)


class Lot(TypedDict):
    """Chunks that one mapped task handles one after another: small collections share a task's fixed cost."""

    plan_id: str
    label: str
    chunks: list[tuple[str, int]]


def plan_domain(database: Database[Any], domain: Domain, staging: RunStaging, chunk_bytes: int = CHUNK_BYTES) -> list[Lot]:
    """Writes each collection's plan, then makes the new plan the run's present one; returns the lots.

    Reads of the source: a count over the `_id` index, its statistics, and a bounded sample, for each collection.
    """
    plan_id = uuid.uuid4().hex[:12]
    sizes: list[tuple[str, int, int]] = []
    for collection in domain.collections:
        plan = plan_collection(database, collection, plan_id, chunk_bytes)
        write_json(staging.collection(plan_id, collection.name).plan, plan)
        each = max(1, plan["estimated_bytes"]) // len(plan["bounds"])
        sizes += [(collection.name, chunk, each) for chunk in range(len(plan["bounds"]))]
        log.info(
            "%s: %s documents, about %.1f MB, %s chunk(s)",
            collection.name,
            f"{plan['source_before']:,}",
            plan["estimated_bytes"] / 1e6,
            len(plan["bounds"]),
        )
    lots = make_lots(plan_id, sizes, max(chunk_bytes, sum(size for _, _, size in sizes) // MOST_LOTS))
    write_json(staging.folder / "plan.json", {"plan_id": plan_id, "run_id": staging.run_id, "domain": domain.name, "lots": lots})
    return lots


def plan_collection(database: Database[Any], collection: Collection, plan_id: str, chunk_bytes: int) -> dict[str, Any]:
    """The chunks of a full reading: `bounds` is a list of [min, max) pairs in canonical Extended JSON, open at both ends."""
    source = database[collection.name]
    documents = source.count_documents({}, hint="_id_") if exists(database, collection.name) else 0
    size = _estimated_bytes(database, collection.name, documents)
    chunks = max(1, min(math.ceil(size / chunk_bytes), documents))
    cuts = _cuts(database, collection.name, chunks)
    bounds = [{"min": low, "max": high} for low, high in zip([None, *cuts], [*cuts, None], strict=True)]
    return {
        "plan_id": plan_id,
        "collection": collection.name,
        "fingerprint": collection.fingerprint,
        "scope": FULL,
        "query": {},
        "read_concern": "local",
        "planned_at": server_time(database),
        "source_before": documents,
        "estimated_bytes": size,
        "bounds": bounds,
    }


def scope(staging: RunStaging, plan_id: str, domain: Domain) -> str:
    """What the plan reads: FULL or REJECTS."""
    read: str = read_json(staging.collection(plan_id, domain.collections[0].name).plan)["scope"]
    return read


def exists(database: Database[Any], name: str) -> bool:
    """Whether the collection is there: reading a missing one gives no error, only no documents."""
    return bool(database.list_collection_names(filter={"name": name}, authorizedCollections=True))


def server_time(database: Database[Any]) -> str:
    """The source's own clock, ISO 8601 in UTC: the clock of a worker plays no part."""
    moment = database.client.admin.command("hello")["localTime"]
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def chunk_bounds(staging: CollectionStaging, chunk: int) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """The chunk's [min, max) as index bounds for a cursor, None where it is open."""
    bounds = read_json(staging.plan)["bounds"][chunk]
    low, high = (from_extended_json(bounds[end], json_options=_BOUNDS) if bounds[end] else None for end in ("min", "max"))
    return low, high


def make_lots(plan_id: str, sizes: list[tuple[str, int, int]], lot_bytes: int) -> list[Lot]:
    """Packs (collection, chunk, bytes) in their order into lots of about `lot_bytes`; a larger chunk is a lot alone."""
    groups: list[list[tuple[str, int]]] = []
    room = 0
    for collection, chunk, size in sizes:
        if size > room:
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


def _estimated_bytes(database: Database[Any], name: str, documents: int) -> int:
    if not documents:
        return 0
    try:
        size = int(database.command("collStats", name).get("size", 0))
    except OperationFailure:  # the role may lack collStats: the sample below needs `find` alone
        size = 0
    if size:
        return size
    sizes = database[name].aggregate(
        [{"$sample": {"size": SIZE_SAMPLES}}, {"$project": {"_id": 0, "bytes": {"$bsonSize": "$$ROOT"}}}]
    )
    sampled = [row["bytes"] for row in sizes]
    return round(documents * sum(sampled) / len(sampled)) if sampled else 0


def _cuts(database: Database[Any], name: str, chunks: int) -> list[str]:
    if chunks == 1:
        return []
    # Raw, and read one by one: a sampled `_id` that cannot be decoded is no bound, and hinders no other.
    sample = database[name].aggregate_raw_batches(
        [{"$sample": {"size": chunks * SAMPLES_PER_CHUNK}}, {"$project": {"_id": 1}}, {"$sort": {"_id": 1}}]
    )
    texts = list(dict.fromkeys(text for batch in sample for raw in split(batch) if (text := _bound(raw))))
    picked = [texts[len(texts) * cut // chunks] for cut in range(1, chunks)] if texts else []
    return list(dict.fromkeys(picked))


def _bound(raw: bytes) -> str | None:
    """A sampled `{_id: …}` as canonical Extended JSON; None where nothing can be read, or JSON would not give it back."""
    try:
        text = to_extended_json(bson.decode(raw, OPTIONS), json_options=_BOUNDS)
        again = from_extended_json(text, json_options=_BOUNDS)
        return text if "_id" in again and bson.encode(again, codec_options=OPTIONS) == raw else None
    except (BSONError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return None
