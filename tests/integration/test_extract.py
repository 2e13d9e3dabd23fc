"""A chunk's raw file holds each document's bytes as the server sent them, however the server cuts its replies."""

from __future__ import annotations

from collections.abc import Iterator
from json import dumps as to_json
from pathlib import Path
from typing import Any

import bson
import pyarrow.parquet as pq
import pytest
from bson.errors import InvalidBSON
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import AutoReconnect, CursorNotFound, OperationFailure

from benchmarks.replay_server import ReplayServer
from mongo2pg.databases.raw_batches import ArrayCursor
from mongo2pg.documents.decode import split
from mongo2pg.files.staging import CollectionStaging, write_json
from mongo2pg.moving import extract
from mongo2pg.moving.extract import document_bounds, extract_chunk
from tests.documents import oid
from tests.unit.raw_bson import Pairs, document

DOCUMENTS = [
    *(document({"_id": oid(number), "n": number, "s": "x" * (number % 90)}) for number in range(300)),
    document({"_id": "text", "a": {"_id": oid(1)}}),
    document({"a": 1, "_id": oid(500)}),
    document({"_id": 5, "big": "y" * 3_000_000}),
    document({"_id": oid(600), "big": "y" * 14_000_000}),
    document(Pairs((("_id", oid(700)), ("a", 1), ("a", 2)))),
    *(document({"_id": oid(number)}) for number in range(1000, 1300)),
]
IDS = [
    *(f'{{"$oid":"{oid(number)}"}}' for number in range(300)),
    '"text"',
    f'{{"$oid":"{oid(500)}"}}',
    "5",
    f'{{"$oid":"{oid(600)}"}}',
    f'{{"$oid":"{oid(700)}"}}',
    *(f'{{"$oid":"{oid(number)}"}}' for number in range(1000, 1300)),
]


@pytest.fixture
def replayed() -> Iterator[Database[Any]]:
    with ReplayServer({"db": {"things": DOCUMENTS, "none": []}}) as server, MongoClient[Any](server.uri) as client:
        yield client["db"]


def bytes_of(cursor: ArrayCursor) -> list[bytes]:
    with cursor:
        arrays = list(cursor)
    starts, stops = document_bounds(arrays)
    joined = b"".join(arrays)
    return [joined[start:stop] for start, stop in zip(starts, stops, strict=True)]


def extracted(database: Database[Any], folder: Path, name: str) -> tuple[dict[str, Any], pq.ParquetFile]:
    staging = CollectionStaging(folder, name, "plan")
    plan = {"source_before": 1, "read_concern": "local", "query": {}, "bounds": [{"min": None, "max": None}], "scope": "full"}
    write_json(staging.plan, plan)
    return extract_chunk(database, staging, 0), pq.ParquetFile(staging.raw(0))


def test_the_raw_file_holds_the_bytes_that_the_server_sent_in_their_order(replayed: Database[Any], tmp_path: Path) -> None:
    manifest, raw = extracted(replayed, tmp_path, "things")
    table = raw.read()
    assert table["bson"].to_pylist() == DOCUMENTS
    assert table["_id"].to_pylist() == IDS
    assert (manifest["documents"], manifest["bytes"]) == (len(DOCUMENTS), sum(map(len, DOCUMENTS)))


def test_a_row_group_is_at_most_one_document_larger_than_it_may_be(replayed: Database[Any], tmp_path: Path) -> None:
    _, raw = extracted(replayed, tmp_path, "things")
    sizes = [[len(bson_) for bson_ in raw.read_row_group(group)["bson"].to_pylist()] for group in range(raw.num_row_groups)]
    assert all(sum(group[:-1]) <= extract.ROW_GROUP_BYTES for group in sizes)
    assert len(sizes) > 1


def test_a_collection_without_documents_gives_a_file_without_rows(replayed: Database[Any], tmp_path: Path) -> None:
    manifest, raw = extracted(replayed, tmp_path, "none")
    assert (manifest["documents"], raw.metadata.num_rows) == (0, 0)


def test_a_real_server_sends_what_pymongo_would_read(mongo_database: Database[Any]) -> None:
    contents = [{"_id": oid(number), "text": "é" * number, "inner": {"cursor": [{"firstBatch": 1}]}} for number in range(400)]
    mongo_database["things"].insert_many(contents)
    sort, query = [("_id", -1)], {"_id": {"$gte": oid(10)}}
    want = [raw for batch in mongo_database["things"].find_raw_batches(query, sort=sort) for raw in split(batch)]
    assert bytes_of(ArrayCursor(mongo_database["things"], query, sort=sort, batch_size=7)) == want
    assert [bson.decode(raw)["_id"] for raw in want] == [oid(number) for number in range(399, 9, -1)]
    assert bytes_of(ArrayCursor(mongo_database["things"], {"_id": 5})) == []


def test_a_chunk_is_what_lies_between_its_bounds(mongo_database: Database[Any], tmp_path: Path) -> None:
    mongo_database["things"].insert_many({"_id": oid(number)} for number in range(30))
    staging = CollectionStaging(tmp_path, "things", "plan")
    low, high = ({"_id": {"$oid": str(oid(number))}} for number in (10, 20))
    bounds = [{"min": None, "max": to_json(low)}, {"min": to_json(low), "max": to_json(high)}, {"min": to_json(high), "max": None}]
    plan = {"source_before": 1, "read_concern": "local", "query": {}, "bounds": bounds, "scope": "full"}
    write_json(staging.plan, plan)
    for chunk in range(3):
        extract_chunk(mongo_database, staging, chunk)
        raw = pq.read_table(staging.raw(chunk))["bson"].to_pylist()
        assert [bson.decode(each)["_id"] for each in raw] == [oid(number) for number in range(chunk * 10, chunk * 10 + 10)]


@pytest.mark.parametrize("odd", [[], ["text", "text"]], ids=["ObjectIds", "names of two kinds"])
def test_documents_that_come_again_are_known_in_whatever_order_they_come(tmp_path: Path, odd: list[str]) -> None:
    ids = [*(oid(number) for number in range(3_000, 0, -1)), oid(2_000), oid(5_000), oid(2_000), *odd]
    documents = [document({"_id": value, "n": number}) for number, value in enumerate(ids)]
    documents += [document({"n": 1})] * len(odd)
    with ReplayServer({"db": {"things": documents, "once": documents[:3_000]}}) as server, MongoClient[Any](server.uri) as client:
        # The last of three versions stays; documents without an `_id` are as many as they are.
        assert extracted(client["db"], tmp_path, "things")[0]["superseded"] == [1_000, 3_000, *([3_003] if odd else [])]
        assert extracted(client["db"], tmp_path / "once", "once")[0]["superseded"] == []


def test_what_a_server_refuses_is_raised_as_by_any_cursor(mongo_database: Database[Any]) -> None:
    mongo_database["things"].insert_one({"_id": 1})
    with pytest.raises(OperationFailure):
        bytes_of(ArrayCursor(mongo_database["things"], {"$nonsense": 1}))


def test_a_cursor_that_dies_fails_the_chunk(tmp_path: Path) -> None:
    with ReplayServer({"db": {"things": DOCUMENTS}}) as server, MongoClient[Any](server.uri) as client:
        server.faults.kill_cursors_after = 1
        with pytest.raises(CursorNotFound):
            extracted(client["db"], tmp_path, "things")
        assert not CollectionStaging(tmp_path, "things", "plan").raw_manifest(0).exists()
        server.faults.close_after = 5_000_000
        with pytest.raises(AutoReconnect):
            extracted(client["db"], tmp_path, "things")


@pytest.mark.parametrize(
    "array",
    [
        b"\x0b\0\0\0\x030\0\x05\0\0\0",
        b"\x09\0\0\0\x0312\0",
        b"\x0d\0\0\0\x030\0\x04\0\0\0\0\0",
        b"\x0d\0\0\0\x030\0\xff\xff\xff\xff\0\0",
        b"\x0d\0\0\0\x030\0\x0a\0\0\0\0\0",
        b"\x10\0\0\0\x030\0\x05\0\0\0\0\x031\0\0",
        b"\x0c\0\0\0\x030\0\x05\0\0\0\0",
        # A document that says too much, or too little, with what looks like another one behind it.
        b"\x15\0\0\0\x030\0\x0c\0\0\0\0\x031\0\x05\0\0\0\0\0",
        b"\x1a\0\0\0\x030\0\x05\0\0\0\x031\x001\0\x05\0\0\0\0\0",
    ],
    ids=repr,
)
def test_a_reply_that_was_cut_off_or_does_not_add_up_is_refused_in_words_pp_31(array: bytes) -> None:
    with pytest.raises(InvalidBSON, match="document 0 of a reply has no end"):
        document_bounds([array])


def test_documents_are_found_however_many_there_are_and_whatever_is_wrong_inside() -> None:
    documents = [b"\x09\0\0\0\xff\xff\xff\xff\x01", *[b"\x05\0\0\0\0"] * 1_100]
    body = b"".join(b"\x03%d\0%b" % (number, each) for number, each in enumerate(documents))
    array = (len(body) + 5).to_bytes(4, "little") + body + b"\0"
    starts, stops = document_bounds([array, array])
    assert [(array * 2)[start:stop] for start, stop in zip(starts, stops, strict=True)] == documents * 2
