"""The documents behind rejects: found again in staging, byte for byte."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from mongo2pg.batches.arrow import pa
from mongo2pg.documents.document_ids import compact
from mongo2pg.files.parquet import RAW_ROW, open_parquet
from mongo2pg.files.staging import CollectionStaging, read_json
from mongo2pg.model import Collection


class StagedDocument(NamedTuple):
    """A document of this run: the chunk that brought it, its row in that chunk's raw file, and its name (`document_ids`)."""

    chunk: int
    row: int
    document_id: str


def documents_at(raw: pq.ParquetFile, rows: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """These rows (ascending) of a raw file with their documents; of the file no more than a row group is in memory."""
    first = at = 0
    for group in range(raw.num_row_groups):
        end = first + raw.metadata.row_group(group).num_rows
        stop = bisect_left(rows, end, at)
        if here := rows[at:stop]:
            documents = raw.read_row_group(group, columns=["bson"]).column(0)
            yield from zip(here, documents.take(pa.array([row - first for row in here])).to_pylist(), strict=True)
        first, at = end, stop


def documents_of(
    staging: CollectionStaging, collection: Collection, root_ids: Sequence[bytes]
) -> dict[bytes, list[StagedDocument]]:
    """The documents of this plan that became root rows with these ids; an id that two `_id`s reach has two.

    A neighbour whose table has another name by now has none: its frames are those of the old one.
    """
    wanted = pa.array(root_ids, pa.binary(16))
    found: dict[bytes, list[StagedDocument]] = {}
    for chunk in range(len(read_json(staging.plan)["bounds"])):
        manifest = read_json(staging.manifest(chunk))
        if collection.table not in manifest["frames"]:
            return {}
        with open_parquet(staging.frame(collection.table, chunk), manifest["frames"][collection.table]["sha256"]) as frame:
            made = frame.read(columns=["id", RAW_ROW])
        made = made.filter(pc.is_in(made["id"], wanted))
        if not len(made):
            continue
        with open_parquet(staging.raw(chunk), manifest["raw"]["sha256"]) as raw:
            names = raw.read(columns=["_id"]).column(0).take(made[RAW_ROW])
        for root_id, row, name in zip(*(column.to_pylist() for column in (made["id"], made[RAW_ROW], names)), strict=True):
            found.setdefault(root_id, []).append(StagedDocument(chunk, row, compact(name)))
    return found


def contents_of(staging: CollectionStaging, documents: Iterable[StagedDocument]) -> Iterator[tuple[StagedDocument, bytes]]:
    """These documents with their bytes, in the order of the files."""
    for chunk, some in groupby(sorted(documents), key=attrgetter("chunk")):
        of_row = {document.row: document for document in some}
        with open_parquet(staging.raw(chunk), read_json(staging.manifest(chunk))["raw"]["sha256"]) as raw:
            for row, content in documents_at(raw, list(of_row)):
                yield of_row[row], content
