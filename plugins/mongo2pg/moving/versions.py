"""Which version of a document wins: the one that was read later. The change key decides nothing, for it may be NULL or lowered.

Every reading sees a document as it is at that time. So a chunk whose documents nobody read after it may be written whenever its
turn comes; one of whose documents another run read since is read again, under the collection's lock, before it is written.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable
from typing import Any

import pyarrow.compute as pc
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.batches.arrow import pa
from mongo2pg.books import Connection, Load, RunKey
from mongo2pg.files.parquet import open_parquet
from mongo2pg.files.planned import REJECTS, beside, scope
from mongo2pg.files.staging import CollectionStaging, read_json
from mongo2pg.model import Collection
from mongo2pg.moving.extract import extract_chunk
from mongo2pg.moving.normalise import normalise_chunk
from mongo2pg.moving.replay import extract_rejects

log = logging.getLogger(__name__)


def is_overtaken(conn: Connection, run: RunKey, collection: Collection, staging: CollectionStaging, chunk: int) -> bool:
    """Whether the chunk may hold older versions than the target; asked under the collection's lock."""
    if scope(staging) == REJECTS:
        # The stored bytes are as old as their reject, which a newer reading closes.
        return books.committed_since(conn, run, collection.name, read_json(staging.raw_manifest(chunk))["books_time"])
    manifest = read_json(staging.manifest(chunk))
    loads = books.later_loads(conn, run, collection.name, manifest["read_time"], beside(staging, chunk))
    if loads and ids_among(staging, loads, read_ids(staging, manifest)):
        return True
    deleted = books.deleted_since(conn, run, collection.name, manifest["read_time"])
    return bool(deleted and _brings_any(staging, collection, manifest, deleted))


def _brings_any(staging: CollectionStaging, collection: Collection, manifest: dict[str, Any], root_ids: list[str]) -> bool:
    """Whether the chunk brings a row with one of these ids."""
    wanted = pa.array([uuid.UUID(root_id).bytes for root_id in root_ids], pa.binary(16))
    sha256 = manifest["frames"][collection.table]["sha256"]
    with open_parquet(staging.frame(collection.table, manifest["chunk"]), sha256) as frame:
        groups = range(frame.num_row_groups)
        return any(pc.any(pc.is_in(frame.read_row_group(at, columns=["id"])["id"], wanted)).as_py() for at in groups)


def ids_among(staging: CollectionStaging, loads: Iterable[Load], ids: Iterable[str]) -> set[str]:
    """Those of these documents (by their names) that other plans' loads brought, too."""
    wanted, found = set(ids), set[str]()
    for load in loads:
        if not is_kept(staging, load):
            return wanted  # nobody can say what it read
        other = staging.of_run(load.run_id, load.plan_id)
        found.update(wanted.intersection(read_ids(other, read_json(other.manifest(load.chunk)))))
    return found


def is_kept(staging: CollectionStaging, load: Load) -> bool:
    """Whether the files of another plan's load are still there."""
    return staging.of_run(load.run_id, load.plan_id).manifest(load.chunk).exists()


def read_ids(staging: CollectionStaging, manifest: dict[str, Any]) -> Iterable[str]:
    """The names of a chunk's documents (`document_ids`)."""
    with open_parquet(staging.raw(manifest["chunk"]), manifest["raw"]["sha256"]) as raw:
        for group in range(raw.num_row_groups):
            yield from raw.read_row_group(group, columns=["_id"]).column(0).to_pylist()


def read_again(database: Database[Any], collection: Collection, staging: CollectionStaging, chunk: int) -> None:
    """Puts the chunk's documents as they are now in the place of what was staged of it."""
    _forget(staging, chunk)
    extract_chunk(database, staging, chunk, latest=True)
    normalise_chunk(collection, staging, chunk)


def read_rejects_again(conn: Connection, run: RunKey, collection: Collection, staging: CollectionStaging) -> None:
    """The same for a replay: the documents of the rejects that are still open."""
    _forget(staging, 0)
    extract_rejects(conn, run, staging)
    normalise_chunk(collection, staging, 0)


def _forget(staging: CollectionStaging, chunk: int) -> None:
    """Takes the commit marks away, so that nothing is left half new: whoever is interrupted here starts again."""
    log.info("%s %s: another run read some of its documents since, it is read again", staging.collection, chunk)
    staging.manifest(chunk).unlink(missing_ok=True)
    staging.raw_manifest(chunk).unlink(missing_ok=True)
