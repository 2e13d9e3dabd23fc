"""The frames of a chunk: its raw file in, a file for each table and one of rejects out, and the manifest when all is whole."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import pyarrow.parquet as pq

from mongo2pg.ahead import side_by_side
from mongo2pg.audit import excerpt
from mongo2pg.batches.arrow import pa
from mongo2pg.documents.reasons import booked_misfits
from mongo2pg.files.parquet import open_parquet, parquet_writer
from mongo2pg.files.staging import CollectionStaging, read_json, write_json
from mongo2pg.model import Collection
from mongo2pg.moving.normaliser import REJECT_SCHEMA, Normaliser, RowGroup
from mongo2pg.progress import Progress

log = logging.getLogger(__name__)


def normalise_chunk(collection: Collection, staging: CollectionStaging, chunk: int) -> dict[str, Any]:
    """Writes the chunk's frames and rejects and, last, its manifest, which it returns; a chunk that has one is left alone."""
    mark = staging.manifest(chunk)
    if mark.exists():
        return read_json(mark)
    extracted = read_json(staging.raw_manifest(chunk))
    started = time.monotonic()
    normaliser = Normaliser(collection, extracted["superseded"])
    with ExitStack() as files:
        raw = files.enter_context(open_parquet(staging.raw(chunk), extracted["raw"]["sha256"]))
        writers = {
            table.name: files.enter_context(parquet_writer(staging.frame(table.name, chunk), normaliser.schema(table), unless=mark))
            for table in collection.tables
        }
        reject_writer, reject_file = files.enter_context(parquet_writer(staging.rejects(chunk), REJECT_SCHEMA, unless=mark))
        progress = Progress(log, f"normalise {collection.name} {chunk}", extracted["documents"])
        for batch in map(normaliser.finish, side_by_side(normaliser.read, _row_groups(raw), RowGroup.is_light)):
            for name, frame in batch.frames.items():
                writers[name][0].write_batch(frame, row_group_size=max(1, frame.num_rows))
            if batch.rejects:
                reject_writer.write_table(pa.Table.from_pylist([reject._asdict() for reject in batch.rejects], REJECT_SCHEMA))
            progress.update(normaliser.counts.read)
    if mark.exists():  # another attempt was done sooner
        return read_json(mark)
    frames = {name: {"sha256": file.sha256, "bytes": file.size} for name, (_, file) in writers.items()}
    counts = normaliser.counts
    manifest = {
        **{key: extracted[key] for key in ("plan_id", "collection", "chunk", "bounds", "query", "read_concern")},
        **{key: extracted[key] for key in ("read_time", "read_until")},
        "fingerprint": collection.fingerprint,
        "documents": counts.read,
        "bytes": extracted["bytes"],
        "raw": extracted["raw"],
        "frames": frames,
        "rejects": {"sha256": reject_file.sha256, "bytes": reject_file.size},
        "superseded": counts.superseded,
        "rows": counts.rows,
        "rejected": dict(counts.rejected),
        "misfits": booked_misfits(counts.misfits),
        "conversions": {path: {rule: asdict(tally) for rule, tally in rules.items()} for path, rules in counts.conversions.items()},
        "arrays": {path: asdict(count) for path, count in counts.arrays.items()},
        "drift": {
            path: {"first_id": drift.first_id, "count": drift.bson_types.total(), "bson_types": drift.bson_types}
            for path, drift in sorted(counts.drift.items())
        },
        "seconds": {"extract": extracted["seconds"], "normalise": round(time.monotonic() - started, 3)},
    }
    write_json(mark, manifest)
    for path, drift in manifest["drift"].items():
        log.info(
            "%s.%s is not declared: %s values (%s) kept in extra, first in %s",
            collection.name,
            excerpt(path),
            f"{drift['count']:,}",
            ", ".join(f"{kind} {count:,}" for kind, count in drift["bson_types"].items()),
            excerpt(drift["first_id"]),
        )
    return manifest


def _row_groups(raw: pq.ParquetFile) -> Iterator[RowGroup]:
    first_row = 0
    for group in range(raw.num_row_groups):
        documents = raw.read_row_group(group, columns=["bson"]).column(0).combine_chunks()
        yield RowGroup(documents, first_row)
        first_row += len(documents)
