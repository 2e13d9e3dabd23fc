"""The ids of a chunk's documents, many at once, are those that the reference finds one by one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import bson
import pyarrow as pa
import pytest
from bson import Binary, Decimal128, Int64, ObjectId

from mongo2pg.documents.document_ids import document_id
from mongo2pg.files.parquet import parquet_writer
from mongo2pg.files.root_ids import root_ids
from mongo2pg.files.staging import CollectionStaging
from mongo2pg.moving.extract import RAW_SCHEMA
from mongo2pg.reference.ids import identify

ANN, BOB, CLEO = ObjectId("0123456789abcdef01234567"), ObjectId("f" * 24), ObjectId("0" * 24)
UUID_OF_ANN = Binary(bytes.fromhex("0123456789ab8cde8f01234567000000"), 4)
GROUPS: dict[str, list[list[Any]]] = {
    "ObjectIds": [[ANN, BOB], [CLEO]],
    "other values among them": [[ANN, "ann", 5, Binary(bytes(range(16)), 4)], [BOB, {"$oid": str(ANN)}, None]],
    "what names tell": [['dré "\\ \n', str(BOB), -5, Int64(2**62)], [True, False, "", Binary(bytes(16), 3), UUID_OF_ANN]],
    "what they do not": [[5.5, Decimal128("7"), "a\0b"], [{"$row": "ann"}, {"a": 1}, Binary(b"x"), datetime(2026, 1, 1)]],
    "a text as long as an ObjectId's name": [["x" * 33], [ANN]],
    "other values before them": [["ann", ANN, 5, BOB]],
    "none": [[]],
}


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_every_id_is_the_references(groups: list[list[Any]], tmp_path: Path) -> None:
    staging, manifest = staged(groups, tmp_path)
    got = [row.tobytes().hex() for ids in root_ids(staging, manifest) for row in ids]
    assert sorted(got) == sorted(identify(value).replace("-", "") for group in groups for value in group)


@pytest.mark.parametrize("groups", GROUPS.values(), ids=GROUPS)
def test_documents_that_are_named_are_left_out(groups: list[list[Any]], tmp_path: Path) -> None:
    staging, manifest = staged(groups, tmp_path)
    values = [value for group in groups for value in group]
    for gone in values:
        got = [row.tobytes().hex() for ids in root_ids(staging, manifest, [document_id(gone)]) for row in ids]
        assert sorted(got) == sorted(identify(value).replace("-", "") for value in values if value is not gone)


def test_a_document_without_a_readable_id_has_none(tmp_path: Path) -> None:
    staging, manifest = staged([[ANN]], tmp_path, [('{"$malformed":"00"}', b"\5\0\0\0\0")])
    assert sum(map(len, root_ids(staging, manifest))) == 1


def staged(
    groups: list[list[Any]], folder: Path, more: list[tuple[str, bytes]] | None = None
) -> tuple[CollectionStaging, dict[str, Any]]:
    """A raw file of documents with these `_id`s, a row group for each list, and its manifest."""
    staging = CollectionStaging(folder, "things", "plan")
    with parquet_writer(staging.raw(0), RAW_SCHEMA) as (writer, file):
        for values in groups:
            rows = [(document_id(value), bson.encode({"_id": value})) for value in values] + (more or [])
            writer.write_table(pa.table([[row[0] for row in rows], [row[1] for row in rows]], schema=RAW_SCHEMA))
    return staging, {"chunk": 0, "raw": {"sha256": file.sha256}}
