"""Documents to frames: rows, rejects and counts of literal documents; the same bytes in give the same bytes out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pytest
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from mongo2pg.batches import id_columns
from mongo2pg.batches.rows import ArrayCount
from mongo2pg.documents import identity
from mongo2pg.files.parquet import MAY_SHARE, RAW_ROW
from mongo2pg.model import Child, Collection, Column
from mongo2pg.moving.normaliser import Batch, Normaliser, Reject
from tests.unit.column_text import plain
from tests.unit.raw_bson import Pairs, document
from tests.unit.two_readings import agree

POSTS = Collection(
    "posts",
    "posts",
    "updatedAt",
    columns=(
        Column("slug", "text", required=True),
        Column("title", "text"),
        Column("stats.views", "integer"),
        Column("stats.score", "numeric"),
        Column("state", "text", enum=("draft", "live")),
        Column("labels", "text[]"),
        Column("body", "jsonb"),
        Column("updatedAt", "timestamptz"),
    ),
    children=(
        Child("post_tags", "tags", "scalars", (Column("", "text", "tag", required=True),), unique_value=True),
        Child("post_notes", "stats.notes", "documents", (Column("by", "uuid", required=True), Column("text", "text"))),
        Child("post_votes", "votes", "map", (Column("n", "integer", "votes"),), key="voter"),
    ),
    unique=(("slug",),),
    ignored=("__v", "stats.cache"),
)


def oid(number: int) -> ObjectId:
    return ObjectId(f"{number:024x}")


def uid(number: int) -> bytes:
    """The UUID of oid(number), numbers below 16^6."""
    return bytes.fromhex("0000000000008000800000" + f"{number:04x}" + "000000")


def id_text(number: int) -> str:
    return f'{{"$oid":"{number:024x}"}}'


def normalised(*documents: Any, collection: Collection = POSTS, first_row: int = 0) -> tuple[Batch, Normaliser]:
    normaliser = Normaliser(collection)
    raws = [content if isinstance(content, bytes) else document(content) for content in documents]
    return normaliser.normalise(pa.array(raws, pa.binary()), first_row), normaliser


def rows(frame: pa.RecordBatch, *but: str) -> list[dict[str, Any]]:
    """The rows without their NULLs and without these columns."""
    names = frame.column_names
    return [
        {name: value for name, value in zip(names, values, strict=True) if value is not None and name not in but}
        for values in zip(*map(plain, frame.columns), strict=True)
    ]


# ------------------------------------------------------------------------------------------------------------- frames


def test_a_document_becomes_a_row_in_each_frame() -> None:
    batch, normaliser = normalised(
        {
            "_id": oid(1),
            "slug": "one",
            "title": "One",
            "stats": {
                "views": Int64(7),
                "score": Decimal128("1.10"),
                "cache": {"x": 1},
                "notes": [{"_id": oid(9), "by": oid(2), "text": "hm"}],
            },
            "state": "live",
            "labels": ["a", ""],
            "body": {"b": 1, "a": [2.0]},
            "updatedAt": DatetimeMS(1_700_000_000_123),
            "tags": ["x", "y"],
            "votes": {"ann": {"n": 3}, "": {}},
            "__v": 4,
        },
        first_row=5,
    )
    assert batch.rejects == []
    assert list(batch.frames) == ["posts", "post_tags", "post_notes", "post_votes"]
    assert rows(batch.frames["posts"]) == [
        {
            "id": uid(1),
            "slug": "one",
            "title": "One",
            "stats_views": 7,
            "stats_score": "1.10",
            "state": "live",
            "labels": ["a", ""],
            "body": '{"b":1,"a":[2.0]}',
            "updated_at": 1_700_000_000_123,
            RAW_ROW: 5,
            MAY_SHARE: False,
        }
    ]
    assert rows(batch.frames["post_tags"], "id") == [
        {"post_id": uid(1), "ordinal": 0, "tag": "x", RAW_ROW: 5},
        {"post_id": uid(1), "ordinal": 1, "tag": "y", RAW_ROW: 5},
    ]
    assert rows(batch.frames["post_notes"], "id") == [
        {"post_id": uid(1), "ordinal": 0, "source_id": uid(9), "by": uid(2), "text": "hm", RAW_ROW: 5}
    ]
    assert rows(batch.frames["post_votes"], "id") == [
        {"post_id": uid(1), "voter": "ann", "votes": 3, RAW_ROW: 5},
        {"post_id": uid(1), "voter": "", RAW_ROW: 5},
    ]
    assert (normaliser.counts.read, normaliser.counts.rows) == (1, 1)


@pytest.mark.parametrize(
    ("content", "want"),
    [
        ({"title": 5}, {"extra": '{"title":5}'}),
        ({"title": "a\0b"}, {"extra": '{"title":{"$utf8":"YQBi"}}'}),
        ({"state": "gone"}, {"extra": '{"state":"gone"}'}),
        ({"labels": ["a", 5]}, {"extra": '{"labels":["a",5]}'}),
        ({"labels": []}, {"labels": []}),
        ({"stats": None}, {}),
        ({"stats": {}}, {}),
        ({"stats": []}, {"extra": '{"stats":[]}'}),
        ({"stats": {"views": 2.5, "hits": 1}}, {"extra": '{"stats":{"hits":1,"views":2.5}}'}),
        ({"stats": {"cache": 1}}, {}),
        ({"stats.views": 5}, {"extra": '{"stats.views":5}'}),
        ({"tags": "x"}, {"extra": '{"tags":"x"}'}),
        ({"votes": [1]}, {"extra": '{"votes":[1]}'}),
        ({"stats": {"notes": {"by": 1}}}, {"extra": '{"stats":{"notes":{"by":1}}}'}),
        ({"body": None}, {}),
        ({"body": {"x": "\0"}}, {"extra": '{"body":{"x":{"$utf8":"AA=="}}}'}),
        ({"": 1, "$set": 2, "extra": 3, "id": 4}, {"extra": '{"":1,"$set":2,"extra":3,"id":4}'}),
    ],
    ids=repr,
)
def test_what_has_no_column_or_does_not_fit_stands_in_extra(content: dict[str, Any], want: dict[str, Any]) -> None:
    batch, _ = normalised({"_id": oid(1), "slug": "s", **content})
    assert batch.rejects == []
    assert rows(batch.frames["posts"], "id", "slug", RAW_ROW, MAY_SHARE) == [want]


@pytest.mark.parametrize(
    ("document_id", "hold"),
    [
        (oid(1), False),
        ("0" * 24, True),
        ("name", False),
        (5, False),
        (None, False),
        (Binary(bytes(16), 3), True),
        (Binary(bytes(6) + b"\x80" + bytes(9), 4), True),
        (Binary(bytes(6) + b"\x50" + bytes(9), 4), True),
        (Binary(bytes(6) + b"\x40" + bytes(9), 4), False),
    ],
    ids=repr,
)
def test_a_document_is_held_if_another_one_may_have_its_uuid(document_id: Any, hold: bool) -> None:
    batch, _ = normalised({"_id": document_id, "slug": "s"})
    assert batch.frames["posts"][MAY_SHARE].to_pylist() == [hold]


def test_what_a_declaration_makes_of_an_element_is_what_its_row_has_and_what_must_not_come_twice() -> None:
    tag = Column("", "text", "tag", enum=("red", "none"), aliases=(("rot", "red"),), default="none", nul="remove")
    collection = Collection("c", "t", "at", (), children=(Child("tags", "tags", "scalars", (tag,), unique_value=True),))
    raw = document({"_id": oid(1), "tags": ["rot", None, "red", "r\0ed", "none", 5]})
    batch = Normaliser(collection).normalise(pa.array([raw]), 0)
    assert batch.frames["tags"]["tag"].to_pylist() == ["red", "none"]
    assert [(reject.path, reject.bson_type, reject.reason) for reject in batch.rejects] == [
        ("tags.2", "string", "duplicate_key"),
        ("tags.3", "string", "duplicate_key"),
        ("tags.4", "string", "duplicate_key"),
        ("tags.5", "int", "type_mismatch"),
    ]
    want = id_columns.child_ids([str(identity.uuid_from_objectid(oid(1))).encode()] * 2, "tags", "value", [b'"red"', b'"none"'])
    assert b"".join(batch.frames["tags"]["id"].to_pylist()) == want
    agree(collection, [raw])


# ------------------------------------------------------------------------------------------------------------ rejects


@pytest.mark.parametrize(
    ("content", "want"),
    [
        ({}, ("slug", "null", "required", False)),
        ({"slug": None}, ("slug", "null", "required", False)),
        ({"slug": 5}, ("slug", "int", "type_mismatch", False)),
        ({"slug": "a\0"}, ("slug", "string", "nul_character", False)),
        ({"slug": "s", "tags": [None]}, ("tags.0", "null", "required", True)),
        ({"slug": "s", "tags": ["x", {"x": 1}]}, ("tags.1", "object", "type_mismatch", True)),
        ({"slug": "s", "tags": ["x", "y", "x"]}, ("tags.2", "string", "duplicate_key", True)),
        ({"slug": "s", "stats": {"notes": [None]}}, ("stats.notes.0", "null", "type_mismatch", True)),
        ({"slug": "s", "stats": {"notes": [{}]}}, ("stats.notes.0.by", "null", "required", True)),
        ({"slug": "s", "stats": {"notes": [{"by": "me"}]}}, ("stats.notes.0.by", "string", "type_mismatch", True)),
        ({"slug": "s", "votes": {"ann": 3}}, ("votes.ann", "int", "type_mismatch", True)),
        ({"slug": "s", "votes": {"": None}}, ("votes.", "null", "type_mismatch", True)),
        ({"slug": "s", "votes": {"a.b": []}}, ("votes.a.b", "array", "type_mismatch", True)),
    ],
    ids=repr,
)
def test_what_cannot_be_loaded_is_rejected_by_path_type_and_reason(
    content: dict[str, Any], want: tuple[str, str, str, bool]
) -> None:
    batch, _ = normalised({"_id": oid(1), "slug": "fine"}, {"_id": oid(2), **content}, first_row=10)
    path, kind, reason, element = want
    assert batch.rejects == [Reject(11, id_text(2), path, kind, reason, element)]
    assert len(rows(batch.frames["posts"])) == (2 if element else 1)


def test_a_malformed_document_is_rejected_by_its_id_or_the_digest_of_its_bytes() -> None:
    twice = document(Pairs((("_id", oid(1)), ("slug", "a"), ("slug", "b"))))
    nameless = document({"slug": "a"})
    batch, normaliser = normalised(twice, {"_id": oid(2), "slug": "b"}, nameless)
    assert batch.rejects == [
        Reject(row, name, "", "object", "malformed", element=False)
        for row, name in ((0, id_text(1)), (2, f'{{"$malformed":"{hashlib.sha256(nameless).hexdigest()}"}}'))
    ]
    assert batch.frames["posts"][RAW_ROW].to_pylist() == [1]
    assert (normaliser.counts.read, normaliser.counts.rows, dict(normaliser.counts.rejected)) == (3, 1, {"malformed": 2})


def test_of_several_faults_of_a_row_the_first_in_the_declaration_is_named() -> None:
    columns = (
        Column("b.x", "integer", required=True),
        Column("a", "integer", required=True),
        Column("b.y", "integer", required=True),
    )
    collection = Collection("things", "things", "updatedAt", columns)
    for content, want in [({}, "b.x"), ({"b": {"x": 1}}, "a"), ({"b": {"x": 1}, "a": 1}, "b.y"), ({"b": {"y": 1}, "a": ""}, "b.x")]:
        batch, _ = normalised({"_id": 1, **content}, collection=collection)
        assert [reject.path for reject in batch.rejects] == [want]


# ------------------------------------------------------------------------------------------------------------- counts


def test_misfits_are_counted_by_path_type_and_reason_and_only_in_rows_that_stay() -> None:
    _, normaliser = normalised(
        {"_id": oid(1), "slug": "a", "title": 5, "labels": ["a", None], "stats": {"views": 2.5}},
        {"_id": oid(2), "slug": "b", "title": 5.5, "labels": ["a", None], "stats": "none", "state": "gone"},
        {"_id": oid(3), "title": 5, "state": 5},
        {"_id": oid(4), "slug": "d", "stats": {"notes": [{"by": oid(1), "text": 1}, {"text": 1}]}},
    )
    assert dict(normaliser.counts.misfits) == {
        ("title", "int", "type_mismatch"): 1,
        ("title", "double", "type_mismatch"): 1,
        ("labels", "null", "required"): 2,
        ("stats.views", "double", "not_integral"): 1,
        ("stats", "string", "type_mismatch"): 1,
        ("state", "string", "enum"): 1,
        ("stats.notes.text", "int", "type_mismatch"): 1,
    }
    assert (normaliser.counts.read, normaliser.counts.rows, dict(normaliser.counts.rejected)) == (4, 3, {"required": 1})


def test_every_element_is_a_row_a_reject_or_of_a_parent_that_is_not_loaded() -> None:
    _, normaliser = normalised(
        {"_id": oid(1), "slug": "a", "tags": ["x", "x", None, "y"], "votes": {"ann": {}, "bob": 5}},
        {"_id": oid(2), "tags": ["x", "x"], "votes": {"ann": 5}, "stats": {"notes": [{}, {}, {}]}},
        {"_id": oid(3), "slug": "c", "tags": [], "votes": {}, "stats": {"notes": [{"by": oid(1)}, 5]}},
        {"_id": oid(4), "slug": "d", "tags": {"x": 1}, "votes": ["ann"], "stats": {"notes": "none"}},
    )
    assert normaliser.counts.arrays == {
        "tags": ArrayCount(elements=6, rows=2, rejected=2, of_parents_not_loaded=2),
        "votes": ArrayCount(elements=3, rows=1, rejected=1, of_parents_not_loaded=1),
        "stats.notes": ArrayCount(elements=5, rows=1, rejected=1, of_parents_not_loaded=3),
    }


# --------------------------------------------------------------------------------------- the same, however it is cut

MIXED = [
    document(content)
    for content in (
        {"_id": oid(1), "slug": "a", "tags": ["x", "y"], "title": "A", "stats": {"views": 1}},
        {"_id": oid(2), "slug": "b", "tags": ["x", 5, "x"], "title": 5, "stats": {"views": 1.0, "score": 1.5}},
        {"_id": "three", "slug": "c", "unknown": {"x": [1]}, "votes": {"a": {"n": 1}, "b": {"n": "1"}, "c": 1}},
        {"_id": oid(4), "tags": ["x"]},
        Pairs((("_id", oid(5)), ("a", 1), ("a", 2))),
        {"_id": oid(6), "slug": "f", "stats": {"notes": [{"_id": oid(7), "by": oid(1)}, {"_id": oid(7), "by": oid(1)}, None]}},
        {"_id": Decimal128("1E+3"), "slug": "g", "stats": {"score": Decimal128("1E+3")}, "updatedAt": DatetimeMS(2**63 - 1)},
        {"_id": oid(8), "slug": "h", "stats": {"score": Decimal128("-0")}, "labels": ["x"], "state": "draft", "body": []},
    )
]


def cut(sizes: Iterable[int]) -> tuple[dict[str, list[dict[str, Any]]], list[Reject], Any]:
    """What becomes of the documents in batches of these sizes."""
    normaliser = Normaliser(POSTS)
    frames: dict[str, list[dict[str, Any]]] = {table.name: [] for table in POSTS.tables}
    rejects: list[Reject] = []
    first = 0
    for size in sizes:
        batch = normaliser.normalise(pa.array(MIXED[first : first + size], pa.binary()), first)
        for name, frame in batch.frames.items():
            assert frame.schema == normaliser.schema(next(table for table in POSTS.tables if table.name == name))
            frames[name] += rows(frame)
        rejects += batch.rejects
        first += size
    return frames, sorted(rejects), normaliser.counts


@pytest.mark.parametrize("sizes", [[1] * 8, [4, 4], [7, 1], [1, 7], [3, 2, 3], [0, 8, 0]], ids=str)
def test_where_a_batch_ends_changes_nothing(sizes: list[int]) -> None:
    assert cut(sizes) == cut([8])


def test_the_same_bytes_give_the_same_bytes() -> None:
    one, other = (Normaliser(POSTS).normalise(pa.array(MIXED), 0) for _ in range(2))
    assert one.rejects == other.rejects
    for name, frame in one.frames.items():
        assert frame.serialize().to_pybytes() == other.frames[name].serialize().to_pybytes()


def test_no_documents_give_empty_frames_of_the_same_columns() -> None:
    normaliser = Normaliser(POSTS)
    batch = normaliser.normalise(pa.array([], pa.binary()), 0)
    assert batch.rejects == []
    for table in POSTS.tables:
        assert batch.frames[table.name].num_rows == 0
        assert batch.frames[table.name].schema == normaliser.schema(table)
