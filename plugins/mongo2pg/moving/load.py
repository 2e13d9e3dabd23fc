"""Frames into PostgreSQL: one transaction a chunk, with its record in the books; judges no reference and no uniqueness.

The first load of a collection copies into bare tables (`bulk`); later ones copy into temporary tables and write only
what differs (`merge`). A document that no chunk can judge alone (a reference whose row may still come, a unique slot
that may still become free, an id that another document has) is held for `settle`, which sees to those of a first load itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow.parquet as pq
from psycopg import sql

from mongo2pg import books
from mongo2pg.books import Connection, RejectRow, RunKey
from mongo2pg.documents import identity
from mongo2pg.documents.outline import UNREADABLE, own_id
from mongo2pg.errors import StagingError, TransientError
from mongo2pg.files.parquet import open_frames, open_parquet
from mongo2pg.files.planned import REJECTS, WINDOW, scope
from mongo2pg.files.staged_documents import documents_at
from mongo2pg.files.staging import CollectionStaging, read_json
from mongo2pg.model import Collection
from mongo2pg.moving.copying import all_rows, copy_frames, rows_without
from mongo2pg.moving.held import hold, name_held
from mongo2pg.moving.merge import merge
from mongo2pg.moving.twins import count_doubtful, hold_twins, twins_within
from mongo2pg.moving.versions import is_overtaken, read_ids
from mongo2pg.queries import create_incoming, incoming, same_image, target
from mongo2pg.target import schema

log = logging.getLogger(__name__)


def load_chunk(
    conn: Connection,
    run: RunKey,
    collection: Collection,
    staging: CollectionStaging,
    chunk: int,
    read_again: Callable[[], None],
) -> dict[str, Any]:
    """Loads the chunk, or finds in the books that this plan loaded it already; returns what the books say of it.

    `read_again` stages the chunk anew: where another run read one of its documents since, or where that was interrupted.
    """
    started = time.monotonic()
    if staging.manifest(chunk).exists():
        _manifest(run, collection, staging, chunk)
    with conn.transaction():
        shared = books.phase(conn, run, collection.name)[0] == "bulk"
        books.lock_collection(conn, run.domain, collection.name, shared=shared)
        books.lock_chunk(conn, run, collection.name, chunk)
        done = books.committed_pass(conn, run, collection.name, chunk)
        if done:
            log.info("%s %s: loaded already by this plan, nothing to do", collection.name, chunk)
            return done
        phase = _own_phase(conn, run, collection, shared)
        if not staging.manifest(chunk).exists() or is_overtaken(conn, run, collection, staging, chunk):
            read_again()
        manifest = _manifest(run, collection, staging, chunk)
        read = scope(staging)
        if read != REJECTS:  # a replay reads nothing anew: settle closes what it resolved
            _supersede(conn, run, collection, staging, manifest, own=read == WINDOW)
        with open_frames(staging, manifest, collection) as files:
            facts = _bulk(conn, collection, files) if phase == "bulk" else _merge(conn, run, collection, files)
        books.note_declaration(conn, run, collection.name, collection.fingerprint)
        lost = _book_rejects(conn, run, collection, staging, chunk, manifest)
        # A first load meets no older version of anything, and no key to look for one by.
        if phase != "bulk" and books.mark_stale(conn, run, collection.name, target(collection.table), lost):
            log.warning("%s %s: rows whose newer version is rejected stay as they are and are marked stale", collection.name, chunk)
        facts |= {
            key: manifest[key]
            for key in ("bounds", "read_time", "read_until", "misfits", "conversions", "arrays", "drift", "rejected", "bytes")
        }
        facts |= {"read": manifest["documents"], "superseded": manifest["superseded"], "raw_sha256": manifest["raw"]["sha256"]}
        facts["fingerprint"] = collection.fingerprint
        facts["seconds"] = round(time.monotonic() - started, 3)
        books.record_pass(conn, run, collection.name, "load", chunk, facts)
    return facts


def _manifest(run: RunKey, collection: Collection, staging: CollectionStaging, chunk: int) -> dict[str, Any]:
    """The chunk's manifest, if its frames were made for this plan, by this declaration."""
    manifest = read_json(staging.manifest(chunk))
    bounds = read_json(staging.plan)["bounds"][chunk]
    if (manifest["plan_id"], manifest["bounds"], manifest["fingerprint"]) != (run.plan_id, bounds, collection.fingerprint):
        raise StagingError(
            f"the frames of {collection.name} {chunk} belong to another plan or another declaration; clear the task `plan`"
        )
    return manifest


def _own_phase(conn: Connection, run: RunKey, collection: Collection, shared: bool) -> str:
    """The collection's phase now that its lock is held: whoever held it may have claimed the first load, or ended it."""
    phase, owner_run, owner_plan = books.phase(conn, run, collection.name)
    if shared and phase == "complete":
        raise TransientError(f"the first load of {collection.name} ended while a chunk of it waited; try again")
    if phase != "complete" and (owner_run, owner_plan) != (run.run_id, run.plan_id):
        owner = f"belongs to run {owner_run}" if owner_run else "is still to come"
        raise StagingError(f"the first load of {collection.name} {owner}; clear the task `plan`")
    return phase


def _bulk(conn: Connection, collection: Collection, files: dict[str, pq.ParquetFile]) -> dict[str, Any]:
    for table in collection.tables:
        copy_frames(conn, target(table.name), table, all_rows(files[table.name]))
    roots = files[collection.table]
    return {"inserted": roots.metadata.num_rows, "held": 0, "doubtful": count_doubtful(roots)}


def _merge(conn: Connection, run: RunKey, collection: Collection, files: dict[str, pq.ParquetFile]) -> dict[str, Any]:
    # Few rows meet many: PostgreSQL's default, made for disks that turn, would read the whole target instead of looking them up.
    conn.execute("SET LOCAL random_page_cost = 1.1")
    twins = twins_within(files[collection.table])
    hold_twins(conn, run, collection, files, twins)
    for table in collection.tables:
        conn.execute(create_incoming(table))
        copy_frames(conn, incoming(table.name), table, rows_without(files[table.name], [twin.row for twin in twins]))
        conn.execute(sql.SQL("ANALYZE {}").format(incoming(table.name)))
    name_held(conn, [])
    for question in _questions_for_settle(conn, collection):
        conn.execute(sql.SQL("INSERT INTO pg_temp.mongo2pg_hold {}").format(question))
    held = hold(conn, run, collection)
    inserted, updated, unchanged = merge(conn, run, collection)
    books.forget_cleared(conn, run, collection.name, sql.SQL("SELECT id FROM pg_temp.mongo2pg_merge"))
    return {
        "inserted": len(inserted),
        "updated": len(updated),
        "unchanged": unchanged,
        "held": len(twins) + held,
        "inserted_ids": inserted,
        "updated_ids": updated,
    }


def _questions_for_settle(conn: Connection, collection: Collection) -> Iterable[sql.Composed]:
    """Queries for the ids of incoming documents that this chunk cannot judge; a row that is the same is never among them."""
    root = collection.tables[0]
    differs = sql.SQL("NOT EXISTS (SELECT FROM {target} t WHERE t.id = i.id AND {same})").format(
        target=target(root.name), same=same_image(root, "i", "t")
    )
    complete = schema.complete_tables(conn)
    for table in collection.tables:
        for column in table.references:
            if column.references not in complete:
                continue  # nobody can be held for a table that is still to come: settle judges what is loaded
            yield sql.SQL(
                """
                SELECT i.{owner} FROM {incoming} i
                WHERE i.{column} IS NOT NULL AND NOT EXISTS (SELECT FROM {parent} p WHERE p.id = i.{column})
                """
            ).format(
                owner=sql.Identifier(table.owner),
                incoming=incoming(table.name),
                column=sql.Identifier(column.name),
                parent=target(column.references),
            )
    for key in root.unique:
        same_key = sql.SQL(" AND ").join(sql.SQL("o.{0} = i.{0}").format(sql.Identifier(name)) for name in key)
        for other in (target(root.name), incoming(root.name)):
            yield sql.SQL(
                "SELECT i.id FROM {incoming} i WHERE {differs} AND EXISTS (SELECT FROM {other} o WHERE {same_key} AND o.id <> i.id)"
            ).format(incoming=incoming(root.name), differs=differs, other=other, same_key=same_key)
    # The row under this id may be another document's, if that one's `_id` reaches the same UUID.
    yield sql.SQL(
        """
        SELECT i.id FROM {incoming} i JOIN {target} t USING (id)
        WHERE t.extra -> '_id' IS DISTINCT FROM i.extra -> '_id'
          AND migration.document_id(t.id, t.extra) <> migration.document_id(i.id, i.extra)
        """
    ).format(incoming=incoming(root.name), target=target(root.name))


def _supersede(
    conn: Connection, run: RunKey, collection: Collection, staging: CollectionStaging, manifest: dict[str, Any], *, own: bool
) -> None:
    """Of the chunk's documents no reject of an earlier reading stays open, and none of it is held: by another plan, or by another
    chunk of its `own`, that of a window, which a document leaves that is changed while it is read."""
    held = books.any_held(conn, run, collection.name, own=own)
    if not held and not books.any_open_rejects(conn, run, collection.name):
        return
    read = set(read_ids(staging, manifest))
    books.supersede_rejects(conn, run, collection.name, read)
    if held:
        books.supersede_held(conn, run, collection.name, read, own=own)


def _book_rejects(
    conn: Connection, run: RunKey, collection: Collection, staging: CollectionStaging, chunk: int, manifest: dict[str, Any]
) -> list[tuple[str, str]]:
    """Opens the chunk's rejects; returns the documents rejected as a whole, those with a readable `_id`: row's id and name."""
    with open_parquet(staging.raw(chunk), manifest["raw"]["sha256"]) as raw:
        lost: dict[str, Any] = {}

        def rejects() -> Iterator[RejectRow]:
            with open_parquet(staging.rejects(chunk), manifest["rejects"]["sha256"]) as file:
                for r, document in _with_documents(file, raw):
                    if not r["element"]:
                        lost[r["id"]] = own_id(document)
                    yield RejectRow(r["id"], r["path"], r["element"], r["bson_type"], r["reason"], document, chunk)

        books.add_rejects(conn, run, collection.name, rejects())
    return [(str(identity.id_from_value(value)), name) for name, value in lost.items() if value is not UNREADABLE]


def _with_documents(rejects: pq.ParquetFile, raw: pq.ParquetFile) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The rejects of a chunk, each with its document; in memory are those of a row group: a replay is one chunk, however large."""
    for group in range(rejects.num_row_groups):
        some = rejects.read_row_group(group).to_pylist()
        documents = dict(documents_at(raw, sorted({reject["row"] for reject in some})))
        yield from ((reject, documents[reject["row"]]) for reject in some)
