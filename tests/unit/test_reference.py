"""The reference stands alone, and its short cuts give what its plain rules give."""

from __future__ import annotations

import ast
import datetime
import random
import sys
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.binary import Binary
from bson.int64 import Int64
from bson.objectid import ObjectId

from mongo2pg.model import COLUMN_TYPES, Child, Collection, Column
from mongo2pg.reference import documents, projector, texts
from mongo2pg.reference.documents import MISSING
from tests.unit.projection import project
from tests.unit.raw_bson import Pairs, document
from tests.unit.test_values import VALUES, read_by_projector

REFERENCE = sorted(Path(documents.__file__).parent.glob("*.py"))
OWN = ("mongo2pg.model", "mongo2pg.reference")


@pytest.mark.parametrize("path", REFERENCE, ids=lambda path: path.name)
def test_the_reference_shares_nothing_with_the_mover(path: Path) -> None:
    imported = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            imported.append(node.module or "")
            assert node.level == 0
        elif isinstance(node, ast.Import):
            imported += [name.name for name in node.names]
    assert [name for name in imported if name.startswith("mongo2pg") and not name.startswith(OWN)] == []
    strangers = {name.split(".")[0] for name in imported} - set(sys.stdlib_module_names) - {"mongo2pg"}
    assert strangers <= {"bson", "numpy", "orjson"}


def one_by_one(values: list[Any], column: Column) -> tuple[list[str | None], dict[int, tuple[str, str]], list[int]]:
    """The column's texts, misfits and kept originals by the plain rule alone."""
    made: list[str | None] = []
    unfit, kept = {}, []
    for at, value in enumerate(values):
        text = None
        if value is not None and value is not MISSING:
            try:
                text, keep = texts.text_of(value, column)
                kept += [at] if keep else []
            except texts.Unfit as fault:
                unfit[at] = (fault.reason, fault.below)
        made.append(text)
    return made, unfit, kept


SAMPLES: list[Any] = [
    *map(read_by_projector, VALUES.values()),
    *(MISSING, True, False, 0, 2**31 - 1, 2**31, Int64(2**53), Int64(2**53 + 1), Int64(2**63 - 1), 0.0, -0.0, 1e15, 1e16, 0.1),
    *(
        float("nan"),
        float("inf"),
        "",
        "a",
        "red",
        'q"',
        "b\\",
        "t\tn\n",
        "n\0",
        ["red"],
        ["a", "b"],
        [],
        ["a\0"],
        ['"'],
        [5],
        [None],
    ),
    *({}, {"a": {"b": [1, 1.5, "x", None, True]}}, {"a": -0.0}, {"a": float("nan")}, {"a": 1e15}, {"a": "\0"}, {"a": "\\u0000"}),
    *({"a": ObjectId(bytes(12))}, {"a": datetime.datetime(2026, 1, 1)}, {"a": b"x"}, {"a": Int64(5)}, {"a": bson.Code("x")}),
    *(datetime.datetime(1, 1, 1), datetime.datetime(2026, 2, 28, 23, 59, 59, 999000), datetime.datetime(9999, 12, 31)),
    *(ObjectId(bytes(range(12))), Binary(bytes(16), 4), b"\x00\xff"),
]


ENUM = ("red", "a", "b", "")


@pytest.mark.parametrize(("kind", "enum"), [*((kind, ()) for kind in sorted(COLUMN_TYPES)), ("text", ENUM), ("text[]", ENUM)])
def test_a_whole_column_reads_as_its_values_do_one_by_one(kind: Any, enum: tuple[str, ...]) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    source = random.Random(seed)
    column = Column("a", kind, enum=enum)
    by_type: dict[type, list[Any]] = {}
    for value in SAMPLES:
        by_type.setdefault(type(value), []).append(value)
    lots = [[value] for value in SAMPLES] + [[value, None, MISSING] for value in SAMPLES] + list(by_type.values())
    lots += [source.choices(source.choice(list(by_type.values())), k=5) for _ in range(300)]
    lots += [source.choices(SAMPLES, k=source.randrange(6)) for _ in range(300)]
    for values in lots:
        got = texts.texts_of(values, column)
        unfit = {at: (fault.reason, fault.below) for at, fault in got.unfit.items()}
        assert (got.texts, unfit, got.kept) == one_by_one(values, column), values


COLLECTION = Collection(
    "c",
    "t",
    "a",
    (Column("a", "integer"), Column("b.c", "text")),
    children=(
        Child("docs", "docs", "documents", (Column("n", "integer", required=True),)),
        Child("tags", "tags", "scalars", (Column("", "text", "tag"),), unique_value=True),
    ),
)


def test_documents_read_in_a_batch_are_those_read_alone() -> None:
    own = ObjectId(bytes(12))
    raws = [
        document({"_id": own, "a": 1}),
        document({"a": 2, "_id": own}),
        document(Pairs((("_id", own), ("a", 1), ("a", 2)))),
        document({"_id": own, "b": {"$ref": "x", "$id": 5}}),
        document({"_id": own})[:-1],
        b"",
        document({"_id": own, "b": "é"}).replace("é".encode(), b"\xc3\xc3"),
        document({"_id": own, "b": {"c": "x"}}),
    ]
    for batch in (raws, raws[:2], [raws[0], raws[-1]], raws[::-1], [raws[4], raws[0]]):
        alone = []
        for raw in batch:
            try:
                alone.append(documents.read(raw))
            except documents.Unreadable:
                alone.append(None)  # type: ignore[arg-type]
        assert documents.read_all(batch) == alone


def test_two_documents_whose_bytes_only_fit_together_are_both_unreadable() -> None:
    first, second = bson.encode({"_id": 1}), bson.encode({"_id": 2})
    assert documents.read_all([first + second[:3], second[3:]]) == [None, None]


def test_an_array_that_comes_in_portions_is_one_array(monkeypatch: pytest.MonkeyPatch) -> None:
    same = ObjectId(bytes(11) + b"\1")
    raw = bson.encode(
        {
            "_id": ObjectId(bytes(12)),
            "docs": [{"_id": same, "n": 0}, {"n": 1}, {"n": None}, 3, {"_id": same, "n": 4}, {"_id": ObjectId(bytes(12)), "n": 5}],
            "tags": ["x", "y", "x", "z", "y", 5],
        }
    )
    whole = project(COLLECTION, [raw, raw])
    assert len(whole.rows["docs"]) == 8
    assert [(each.path, each.reason) for each in whole.rejects[-3:]] == [
        ("tags.2", "duplicate_key"),
        ("tags.4", "duplicate_key"),
        ("tags.5", "type_mismatch"),
    ]
    monkeypatch.setattr(projector, "ELEMENTS_AT_ONCE", 2)
    assert project(COLLECTION, [raw, raw]) == whole


def test_rows_leave_as_lines_that_copy_reads_back() -> None:
    (rows,) = projector.Projector(Collection("c", "t", "a", (Column("a", "text"), Column("b", "jsonb")))).project(
        [bson.encode({"_id": ObjectId(bytes(12)), "a": "tab\t line\n back\\slash \r N", "b": {"x": "\n"}})], [7]
    )
    assert isinstance(rows, projector.Rows)
    own = "00000000-0000-8000-8000-000000000000"
    assert rows.copy_text() == b"7\t" + own.encode() + rb'	tab\t line\n back\\slash \r N	{"x":"\\n"}	\N' + b"\n"


AROUND: list[tuple[Any, str | None]] = [
    ({"tmp": 1}, None),
    ({}, None),
    (None, None),
    (5, '{"cache":5}'),
    ([1], '{"cache":[1]}'),
    ({"tmp": 1, "more": 2}, '{"cache":{"more":2}}'),
]


@pytest.mark.parametrize(("value", "want"), AROUND)
def test_only_what_is_declared_as_ignored_is_passed_over(value: Any, want: str | None) -> None:
    collection = Collection("things", "things", "at", (Column("name", "text"),), ignored=("cache.tmp",))
    (row,) = project(collection, [document({"_id": ObjectId(), "cache": value})]).rows["things"]
    assert row["extra"] == want
