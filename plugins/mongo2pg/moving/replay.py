"""Rejects go once more through the present declaration, from the bytes that were kept; MongoDB is not asked.

An open reject is the newest reading of its document: a newer one would have closed it. So a replay may write what it
makes of the document, and a full run that comes later wins over it.
"""

from __future__ import annotations

import logging
import time
import uuid
from typing import Any

from psycopg import sql

from mongo2pg import books
from mongo2pg.batches.arrow import pa
from mongo2pg.books import Connection, RunKey
from mongo2pg.documents.document_ids import of_bytes
from mongo2pg.errors import PermanentError
from mongo2pg.files.parquet import parquet_writer
from mongo2pg.files.planned import REJECTS, Lot
from mongo2pg.files.staging import CollectionStaging, RunStaging, read_json, write_json
from mongo2pg.model import Domain
from mongo2pg.moving.extract import RAW_SCHEMA, ROW_GROUP_BYTES
from mongo2pg.planning.plan import CHUNK_BYTES, make_lots, write_pointer

log = logging.getLogger(__name__)

# The digests of a collection's rejected documents. Where two versions of one have open rejects (its elements were rejected when it
# was loaded, and a newer one when what it refers to went), that which was read last.
_DIGESTS = sql.SQL(
    """
    SELECT document FROM (
        SELECT DISTINCT ON (document_id) document FROM migration.rejects
        WHERE state = 'open' AND domain = %s AND collection = %s ORDER BY document_id, rejected_at DESC
    ) AS last
    """
)


def plan_replay(conn: Connection, domain: Domain, staging: RunStaging) -> list[Lot]:
    """One chunk per collection: the documents of its open rejects. PermanentError before the first full run is complete."""
    plan_id, before = uuid.uuid4().hex[:12], staging.present_plan
    run = RunKey(domain.name, staging.run_id, plan_id)
    sizes = []
    for collection in domain.collections:
        if books.phase(conn, run, collection.name)[0] != "complete":
            raise PermanentError(f"{collection.name} has no complete first run: run {domain.name} with mode full before a replay")
        documents, size = _extent(conn, run, collection.name)
        plan = {
            "plan_id": plan_id,
            "collection": collection.name,
            "fingerprint": collection.fingerprint,
            "scope": REJECTS,
            "query": {"rejects": "open"},
            "read_concern": "none",
            "source_before": documents,
            "estimated_bytes": size,
            "bounds": [{"min": None, "max": None}],
        }
        write_json(staging.collection(plan_id, collection.name).plan, plan)
        sizes.append((collection.name, 0, size))
        log.info("%s: %s documents with open rejects", collection.name, f"{documents:,}")
    lots = make_lots(plan_id, sizes, CHUNK_BYTES)
    write_pointer(staging, domain, plan_id, lots, before)
    return lots


def extract_rejects(conn: Connection, run: RunKey, staging: CollectionStaging) -> dict[str, Any]:
    """Writes the raw file of the collection's rejected documents and its commit mark, as `extract_chunk` does of a chunk.

    PermanentError where the books keep other bytes of one than those that were rejected.
    """
    mark = staging.raw_manifest(0)
    if mark.exists():
        return read_json(mark)
    started = time.monotonic()
    plan = read_json(staging.plan)
    documents = size = waits = 0
    waiting: list[bytes] = []
    with (
        conn.transaction(),
        parquet_writer(staging.raw(0), RAW_SCHEMA, unless=mark) as (writer, file),
        conn.cursor("mongo2pg_replay") as cursor,
    ):
        books.lock_collection(conn, run.domain, staging.collection, shared=True)  # no load is half done
        books_time = books.now(conn)
        damaged = 0
        cursor.execute(
            sql.SQL(
                """
                SELECT d.bson, sha256(d.bson) <> d.sha256 FROM migration.reject_documents d WHERE d.sha256 IN ({})
                ORDER BY d.sha256
                """
            ).format(_DIGESTS),
            (run.domain, staging.collection),
        )
        for bson, differs in cursor:
            damaged += differs
            waiting.append(bytes(bson))
            documents, size, waits = documents + 1, size + len(bson), waits + len(bson)
            if waits >= ROW_GROUP_BYTES:
                writer.write_table(_raw_table(waiting))
                waiting, waits = [], 0
        if waiting:
            writer.write_table(_raw_table(waiting))
        if damaged:
            raise PermanentError(
                f"{staging.collection}: what is kept of {damaged:,} rejected documents is not what was rejected: "
                f"run reconcile of {run.domain} with repair, which reads them again"
            )
    if mark.exists():  # another attempt was done sooner
        return read_json(mark)
    manifest = {
        **{key: plan[key] for key in ("plan_id", "collection", "query", "read_concern")},
        "chunk": 0,
        "bounds": plan["bounds"][0],
        "read_time": None,  # as old as its rejects, each of which the pass that opened it tells the time of
        "read_until": None,
        "books_time": books_time,
        "documents": documents,
        "bytes": size,
        "superseded": [],
        "seconds": round(time.monotonic() - started, 3),
        "raw": {"sha256": file.sha256, "rows": documents, "bytes": file.size},
    }
    write_json(mark, manifest)
    return manifest


def _raw_table(documents: list[bytes]) -> pa.Table:
    # Malformed documents are among them: each for itself, for their lengths tell nothing.
    return pa.table({"_id": [of_bytes(document) for document in documents], "bson": documents}, schema=RAW_SCHEMA)


def _extent(conn: Connection, run: RunKey, collection: str) -> tuple[int, int]:
    row = conn.execute(
        sql.SQL(
            "SELECT count(*), coalesce(sum(length(bson)), 0)::bigint FROM migration.reject_documents WHERE sha256 IN ({})"
        ).format(_DIGESTS),
        (run.domain, collection),
    ).fetchone()
    return row or (0, 0)
