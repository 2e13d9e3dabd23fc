"""A dry run: what a run would read, and what of it would be rejected, from a sample; nothing is written outside this process."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pymongo.database import Database

from mongo2pg.batches.arrow import pa
from mongo2pg.books import Connection
from mongo2pg.databases.source import SORT_ON_DISK, exists
from mongo2pg.databases.window import SCAN_LIMIT, Window
from mongo2pg.documents.decode import split
from mongo2pg.files.planned import whole_query
from mongo2pg.model import Collection, Domain
from mongo2pg.moving.normaliser import Normaliser
from mongo2pg.planning.modes import Request
from mongo2pg.planning.plan import CHUNK_BYTES, make_plan
from mongo2pg.target import catalog, schema

log = logging.getLogger(__name__)

# Documents sampled of a collection: a reject of one document in a hundred is then seen with near certainty.
SAMPLE = 1_000


def rehearse(
    database: Database[Any],
    conn: Connection,
    domain: Domain,
    request: Request,
    chunk_bytes: int = CHUNK_BYTES,
    scan_limit: int = SCAN_LIMIT,
) -> dict[str, Any]:
    """What a full run would do, or one of the window that was given, told in the log and returned.

    References and unique keys are judged by no sample.
    """
    window = Window(request.start, request.end, request.lookback) if request.start and request.end else None
    missing = [table.name for table in domain.tables if not schema.exists(conn, table.name)]
    found: dict[str, Any] = {"tables_to_create": missing, "differences": catalog.differences(conn, domain), "collections": {}}
    for fault in found["differences"]:
        log.warning("%s", fault)
    if missing:
        log.info("tables that prepare would create: %s", ", ".join(missing))
    for collection in domain.collections:
        plan = make_plan(database, collection, "rehearsal", chunk_bytes, window, scan_limit)
        foretold = {
            "scope": plan["scope"],
            "documents": plan["source_before"],
            "bytes": plan["estimated_bytes"],
            "chunks": len(plan["bounds"]),
            **_normalised(collection, _sample(database, collection, plan)),
        }
        found["collections"][collection.name] = foretold
        log.info(
            "%s: %s documents in %s chunks; of %s sampled ones %s would be rejected %s, values that would not fit: %s",
            collection.name,
            f"{foretold['documents']:,}",
            foretold["chunks"],
            foretold["sampled"],
            sum(foretold["rejected"].values()),
            foretold["rejected"] or "",
            foretold["misfits"] or "none",
        )
    return found


def _sample(database: Database[Any], collection: Collection, plan: Mapping[str, Any]) -> Iterator[pa.BinaryArray]:
    """Documents, as many at once as a reply of the server holds: a thousand large ones are many gigabytes."""
    if not exists(database, collection.name):
        return
    query = whole_query(plan)
    steps: list[dict[str, Any]] = [*([{"$match": query}] if query else []), {"$sample": {"size": SAMPLE}}]
    for batch in database[collection.name].aggregate_raw_batches(steps, allowDiskUse=SORT_ON_DISK):
        yield pa.array(list(split(batch)), pa.binary())


def _normalised(collection: Collection, sample: Iterable[pa.BinaryArray]) -> dict[str, Any]:
    """The sample as the normaliser sees it."""
    normaliser = Normaliser(collection)
    for documents in sample:
        normaliser.normalise(documents, first_row=normaliser.counts.read)
    misfits: Counter[str] = Counter()
    for (path, _, _), count in normaliser.counts.misfits.items():
        misfits[path] += count
    return {
        "sampled": normaliser.counts.read,
        "rejected": dict(normaliser.counts.rejected),
        "misfits": dict(misfits),
        "drift": sorted(normaliser.counts.drift),
    }
