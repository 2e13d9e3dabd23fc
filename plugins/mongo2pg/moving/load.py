"""Frames into PostgreSQL: one transaction a chunk, with its record in the books; judges no reference and no uniqueness.

The first load of a collection copies into bare tables (`bulk`); later ones copy into temporary tables and write only
what differs (`merge`). A document that no chunk can judge alone (a reference whose row may still come, a unique slot
that may still become free, an `_id` that another may share) is held for `settle`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable
from decimal import Decimal
from typing import Any

import pgpq
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pgpq import encoders
from pgpq.schema import Jsonb
from psycopg import sql
from psycopg.types.numeric import DecimalBinaryDumper

from mongo2pg import books
from mongo2pg.ahead import ahead
from mongo2pg.batches.arrow import pa
from mongo2pg.batches.typed_columns import ARROW_TYPES
from mongo2pg.books import Connection, RejectRow, RunKey
from mongo2pg.documents import identity
from mongo2pg.documents.document_ids import compact
from mongo2pg.documents.identity import uuid_text
from mongo2pg.documents.outline import UNREADABLE, own_id
from mongo2pg.errors import StagingError, TransientError
from mongo2pg.files.parquet import HOLD, RAW_ROW, open_parquet
from mongo2pg.files.planned import REJECTS, scope
from mongo2pg.files.staged_documents import documents_at
from mongo2pg.files.staging import CollectionStaging, read_json
from mongo2pg.model import Collection, Column, Table
from mongo2pg.moving.held import hold, name_held
from mongo2pg.moving.merge import merge
from mongo2pg.moving.versions import is_overtaken
from mongo2pg.queries import create_incoming, incoming, names, same_image, target
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
        files = {
            table.name: open_parquet(staging.frame(table.name, chunk), manifest["frames"][table.name]["sha256"])
            for table in collection.tables
        }
        try:
            facts = _bulk(conn, run, collection, files) if phase == "bulk" else _merge(conn, run, collection, files)
        finally:
            for file in files.values():
                file.close()
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


def _bulk(conn: Connection, run: RunKey, collection: Collection, files: dict[str, pq.ParquetFile]) -> dict[str, Any]:
    flagged = _hold_flagged(conn, run, collection, files)
    for table in collection.tables:
        copy_frames(conn, target(table.name), table, _without(files[table.name], flagged))
    rows = files[collection.table].metadata.num_rows
    return {"inserted": rows - len(flagged), "held": len(flagged)}


def _merge(conn: Connection, run: RunKey, collection: Collection, files: dict[str, pq.ParquetFile]) -> dict[str, Any]:
    # Few rows meet many: PostgreSQL's default, made for disks that turn, would read the whole target instead of looking them up.
    conn.execute("SET LOCAL random_page_cost = 1.1")
    flagged = _hold_flagged(conn, run, collection, files)
    for table in collection.tables:
        conn.execute(create_incoming(table))
        copy_frames(conn, incoming(table.name), table, _without(files[table.name], flagged))
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
        "held": len(flagged) + held,
        "inserted_ids": inserted,
        "updated_ids": updated,
    }


def _hold_flagged(conn: Connection, run: RunKey, collection: Collection, files: dict[str, pq.ParquetFile]) -> list[int]:
    """Holds the documents that may share their id with another one; returns their raw rows."""
    if not pc.any(files[collection.table].read(columns=[HOLD])[HOLD]).as_py():
        return []
    root = files[collection.table].read(columns=["id", RAW_ROW, HOLD])
    flagged = root.filter(root[HOLD]).select(["id", RAW_ROW]).to_pylist()
    # Two of them may share an id right here: they are held one after the other, so that their child rows stay apart.
    layers: list[dict[bytes, int]] = []
    for row in flagged:
        layer = next((layer for layer in layers if row["id"] not in layer), None)
        if layer is None:
            layers.append(layer := {})
        layer[row["id"]] = row[RAW_ROW]
    for layer in layers:
        for table in collection.tables:
            conn.execute(create_incoming(table))
            copy_frames(conn, incoming(table.name), table, _only(files[table.name], list(layer.values())))
        name_held(conn, [uuid_text(root_id) for root_id in layer])
        hold(conn, run, collection)
    return [row[RAW_ROW] for row in flagged]


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


# --- COPY -----------------------------------------------------------------------------------------------------------


def copy_frames(conn: Connection, into: sql.Identifier, table: Table, batches: Iterable[pa.RecordBatch]) -> None:
    """COPY in PostgreSQL's binary format, encoded from Arrow; columns that no table has (`_row`) stay behind."""
    wire = pa.schema([(column.name, _WIRE_TYPES.get(column.type, ARROW_TYPES[column.type])) for column in table.columns])
    encoder = pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(
        wire, {column.name: _encoder(column, wire.field(column.name)) for column in table.columns}
    )
    copy_sql = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT BINARY)").format(into, names(table.columns))
    with conn.cursor() as cursor, cursor.copy(copy_sql) as copy:
        copy.write(encoder.write_header())
        for encoded in ahead(_encoded(encoder, table, wire, batches)):
            copy.write(encoded)
        copy.write(encoder.finish())


def _encoded(encoder: Any, table: Table, wire: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Generator[bytes]:
    for batch in batches:
        if batch.num_rows:
            arrays = [_wire_array(batch.column(column.name), column) for column in table.columns]
            yield encoder.write_batch(pa.RecordBatch.from_arrays(arrays, schema=wire))


# pgpq has no encoder from text to numeric: the values go as the bytes that PostgreSQL's numeric_recv reads.
_WIRE_TYPES = {"numeric": pa.binary()}


def _encoder(column: Column, field: pa.Field) -> Any:
    if column.type == "jsonb":
        return encoders.StringEncoderBuilder.new_with_output(field, Jsonb())
    return pgpq.ArrowToPostgresBinaryEncoder.infer_encoder(field)


def _wire_array(array: pa.Array, column: Column) -> pa.Array:
    if column.type != "numeric":
        return array
    dumper = DecimalBinaryDumper(Decimal)
    return pa.array([None if text is None else dumper.dump(Decimal(text)) for text in array.to_pylist()], pa.binary())


def _batches(file: pq.ParquetFile) -> Iterable[pa.RecordBatch]:
    for group in range(file.num_row_groups):
        yield from file.read_row_group(group).to_batches()


def _without(file: pq.ParquetFile, rows: list[int]) -> Iterable[pa.RecordBatch]:
    if not rows:
        return _batches(file)
    unwanted = pa.array(rows, pa.int64())
    return (batch.filter(pc.invert(pc.is_in(batch.column(RAW_ROW), unwanted))) for batch in _batches(file))


def _only(file: pq.ParquetFile, rows: list[int]) -> Iterable[pa.RecordBatch]:
    wanted = pa.array(rows, pa.int64())
    return (batch.filter(pc.is_in(batch.column(RAW_ROW), wanted)) for batch in _batches(file))


# --- rejects ---------------------------------------------------------------------------------------------------------


def _book_rejects(
    conn: Connection, run: RunKey, collection: Collection, staging: CollectionStaging, chunk: int, manifest: dict[str, Any]
) -> list[tuple[str, str]]:
    """Opens the chunk's rejects; returns the documents rejected as a whole, those with a readable `_id`: row's id and name."""
    with open_parquet(staging.raw(chunk), manifest["raw"]["sha256"]) as raw:
        if scope(staging) != REJECTS:  # a replay reads nothing anew: settle closes what it resolved
            held = set(map(compact, books.held_elsewhere(conn, run, collection.name)))
            if held or books.any_open_rejects(conn, run, collection.name):
                read = set(raw.read(columns=["_id"]).column(0).to_pylist())
                reopened = set(map(compact, books.open_reject_ids(conn, run, collection.name, _object_ids(read))))
                books.supersede_rejects(conn, run, collection.name, reopened & read)
                books.supersede_held(conn, run, collection.name, held & read)
        with open_parquet(staging.rejects(chunk), manifest["rejects"]["sha256"]) as file:
            rejects = file.read().to_pylist()
        documents = dict(documents_at(raw, sorted({reject["row"] for reject in rejects})))
    books.add_rejects(
        conn,
        run,
        collection.name,
        (RejectRow(r["id"], r["path"], r["element"], r["bson_type"], r["reason"], documents[r["row"]], chunk) for r in rejects),
    )
    lost = {reject["id"]: own_id(documents[reject["row"]]) for reject in rejects if not reject["element"]}
    return [(str(identity.id_from_value(value)), name) for name, value in lost.items() if value is not UNREADABLE]


def _object_ids(names: set[str]) -> tuple[str, str]:
    """The first and the last ObjectId among the documents' names, as hex digits; nothing lies between two empty texts."""
    begin = '{"$oid":"'
    found = [name for name in names if name.startswith(begin)]
    first, last = (min(found), max(found)) if found else (begin, begin)
    return first[len(begin) :][:24], last[len(begin) :][:24]
