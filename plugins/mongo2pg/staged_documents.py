"""The documents behind rejects: found again in staging, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from mongo2pg.arrow import pa
from mongo2pg.document_ids import compact
from mongo2pg.model import Collection
from mongo2pg.parquet import RAW_ROW, open_parquet
from mongo2pg.staging import CollectionStaging, read_json


class StagedDocument(NamedTuple):
    """A document of this run: its name (`document_ids`), its bytes, and the chunk that brought it."""

    document_id: str
    bson: bytes
    chunk: int


def documents_at(raw: pq.ParquetFile, rows: Sequence[int]) -> dict[int, tuple[str, bytes]]:
    """`_id` and bytes of the documents in these rows (ascending) of a raw file."""
    found: dict[int, tuple[str, bytes]] = {}
    first = 0
    for group in range(raw.num_row_groups):
        count = raw.metadata.row_group(group).num_rows
        here = [row for row in rows if first <= row < first + count]
        if here:
            table = raw.read_row_group(group)
            found.update((row, (table["_id"][row - first].as_py(), table["bson"][row - first].as_py())) for row in here)
        first += count
    return found


def documents_of(
    staging: CollectionStaging, collection: Collection, root_ids: Sequence[bytes]
) -> dict[bytes, list[StagedDocument]]:
    """The documents of this plan that became root rows with these ids; an id that two `_id`s reach has two."""
    wanted = pa.array(root_ids, pa.binary(16))
    found: dict[bytes, list[StagedDocument]] = {}
    for chunk in range(len(read_json(staging.plan)["bounds"])):
        manifest = read_json(staging.manifest(chunk))
        with open_parquet(staging.frame(collection.table, chunk), manifest["frames"][collection.table]["sha256"]) as frame:
            rows = frame.read(columns=["id", RAW_ROW])
        rows = rows.filter(pc.is_in(rows["id"], wanted)).to_pylist()
        if not rows:
            continue
        with open_parquet(staging.raw(chunk), manifest["raw"]["sha256"]) as raw:
            documents = documents_at(raw, sorted(row[RAW_ROW] for row in rows))
        for row in rows:
            document_id, content = documents[row[RAW_ROW]]
            found.setdefault(row["id"], []).append(StagedDocument(compact(document_id), content, chunk))
    return found
