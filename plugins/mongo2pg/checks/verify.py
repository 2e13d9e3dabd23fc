"""Verifies a chunk: its documents, projected by the reference, against the rows of the target that should be theirs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

from psycopg import sql

from mongo2pg import books
from mongo2pg.batches.arrow import pa
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.checks.compare import Comparison, compare_documents
from mongo2pg.checks.differences import describe
from mongo2pg.checks.reject_causes import of_chunk
from mongo2pg.databases.lookup import root_id_of
from mongo2pg.files.parquet import open_parquet
from mongo2pg.files.planned import FULL, beside, scope
from mongo2pg.files.staging import CollectionStaging, read_json
from mongo2pg.model import Collection, Domain
from mongo2pg.moving.versions import ids_among, read_ids
from mongo2pg.progress import Progress

log = logging.getLogger(__name__)


def verify_chunk(
    conn: Connection, run: RunKey, domain: Domain, collection: Collection, staging: CollectionStaging, chunk: int
) -> list[Check]:
    """The chunk's `checksums` and `rejects` checks, written to the books with every difference found."""
    started = time.monotonic()
    tables = [table.name for table in collection.tables]
    books.forget_verdicts(conn, run, ["checksums", "rejects"], [*tables, collection.name], chunk)
    manifest = read_json(staging.manifest(chunk))
    with conn.transaction():
        # One view of the target for rows, rejects and what other runs loaded: they may go on meanwhile.
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        books.forget_differences(conn, run, "checksums", chunk, tables)
        newer = newer_elsewhere(conn, run, collection, staging, manifest)
        documents = _staged(staging, chunk, manifest, collection)
        booked = of_chunk(run, collection.name, chunk, partial=scope(staging) != FULL)
        # Extract says whether a document came twice. If it should be wrong, such a document is a difference.
        again = bool(manifest["superseded"])
        with compare_documents(conn, domain, collection, documents, booked, apart=newer, at_once=again) as comparison:
            checks = _checks(comparison, collection, chunk)
            found = comparison.count()
            first = comparison.first()
            comparison.book(run, "checksums", chunk)
        books.write_checks(conn, run, checks)
    took = time.monotonic() - started
    log.info(
        "%s %s: %s documents verified in %.1f s, %s differences", collection.name, chunk, f"{comparison.documents:,}", took, found
    )
    for difference in first:
        log.error("%s", describe(difference))
    if found > len(first):
        more = found - len(first)
        log.error("… and %s more: SELECT * FROM migration.differences WHERE run_id = '%s'", more, run.run_id)
    return checks


def _checks(comparison: Comparison, collection: Collection, chunk: int) -> list[Check]:
    faults = comparison.first(rejects=True)
    checks = [
        Check(
            "rejects",
            collection.name,
            "failed" if faults else "passed",
            expected={"rejects": comparison.own_rejects},
            actual={"rejects": comparison.booked_rejects},
            detail="; ".join(fault.source or "" for fault in faults) or None,
            chunk=chunk,
        )
    ]
    for table in collection.tables:
        expected, actual = comparison.sums[table.name]
        detail = "; ".join(map(describe, comparison.first(table.name))) or None
        checks.append(Check("checksums", table.name, "passed" if expected == actual else "failed", expected, actual, detail, chunk))
    return checks


def newer_elsewhere(
    conn: Connection, run: RunKey, collection: Collection, staging: CollectionStaging, manifest: dict[str, Any]
) -> sql.Composed:
    """A query for the documents of which the target has another run's word: it loaded, rejected or deleted them later."""
    rejected = sql.SQL(
        "SELECT document_id FROM migration.rejects WHERE state = 'open' AND (domain, collection) = ({}, {}) AND plan_id <> {}"
    ).format(run.domain, collection.name, run.plan_id)
    loads = books.loads_after(conn, run, collection.name, manifest["chunk"], beside(staging, manifest["chunk"]))
    newer = ids_among(staging, loads, read_ids(staging, manifest)) if loads else set()
    if deleted := books.deleted_after(conn, run, collection.name, manifest["chunk"]):
        newer |= {name for name in read_ids(staging, manifest) if root_id_of(name) in deleted}
    if not newer:
        return rejected
    log.info("%s: %s documents have a newer reading in another run", collection.name, f"{len(newer):,}")
    conn.execute("DROP TABLE IF EXISTS pg_temp.mongo2pg_newer")
    conn.execute("CREATE TEMP TABLE mongo2pg_newer (document_id jsonb) ON COMMIT DROP")
    with conn.cursor() as cursor, cursor.copy("COPY pg_temp.mongo2pg_newer FROM STDIN") as copy:
        for document_id in newer:
            copy.write_row((document_id,))
    return sql.SQL("TABLE pg_temp.mongo2pg_newer UNION ALL {}").format(rejected)


def _staged(staging: CollectionStaging, chunk: int, manifest: dict[str, Any], collection: Collection) -> Iterator[pa.BinaryArray]:
    progress = Progress(log, f"verify {collection.name} {chunk}", manifest["documents"])
    done = 0
    with open_parquet(staging.raw(chunk), manifest["raw"]["sha256"]) as raw:
        for group in range(raw.num_row_groups):
            documents = raw.read_row_group(group, columns=["bson"]).column(0).combine_chunks()
            yield documents
            done += len(documents)
            progress.update(done)
