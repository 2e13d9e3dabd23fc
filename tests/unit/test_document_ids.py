"""The name of a document in the books, by Python, by the reference and by the bytes alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from hypothesis import given
from hypothesis import strategies as st

from mongo2pg.batches.elements import Content
from mongo2pg.documents.decode import DBPointer, OddRegex, Symbol, Undefined
from mongo2pg.documents.document_ids import MALFORMED, document_id, of_bytes
from mongo2pg.documents.identity import id_from_value
from mongo2pg.documents.outline import UNREADABLE, count_elements, own_id
from mongo2pg.model import Child, Column
from mongo2pg.moving.extract import SMALLEST
from mongo2pg.moving.names import names_of
from mongo2pg.reference.documents import MISSING, read_id
from mongo2pg.reference.ids import name
from tests.unit.random_documents import FEW, damaged
from tests.unit.raw_bson import Pairs, Raw, document

OID = ObjectId("64b7f0a1c2d3e4f5a6b7c8d9")
ROW = ...  # named by the id of its row

NAMES: list[tuple[Any, Any]] = [
    (OID, '{"$oid":"64b7f0a1c2d3e4f5a6b7c8d9"}'),
    ({"$oid": str(OID)}, ROW),
    (str(OID), '"64b7f0a1c2d3e4f5a6b7c8d9"'),
    ("ann", '"ann"'),
    ("", '""'),
    ("a\0b", ROW),
    ({"$utf8": "YQBi"}, ROW),
    (None, "null"),
    (True, "true"),
    (5, "5"),
    (Int64(5), "5"),
    (5.0, "5"),
    (Decimal128("5.0"), "5"),
    (Decimal128("5E+2"), "500"),
    (-0.0, "0"),
    (2.0**62, "4611686018427387904"),
    (Int64(2**63 - 1), "9223372036854775807"),
    (2.0**63, ROW),
    (0.5, ROW),
    (Decimal128("0.5"), ROW),
    (math.nan, ROW),
    (Decimal128("Infinity"), ROW),
    ({"$numberDecimal": "5"}, ROW),
    ({"$document": {"$numberDecimal": "5"}}, ROW),
    (Binary(bytes(range(16)), 4), '{"$binary":{"base64":"AAECAwQFBgcICQoLDA0ODw==","subType":"04"}}'),
    (Binary(bytes(range(16)), 3), '{"$binary":{"base64":"AAECAwQFBgcICQoLDA0ODw==","subType":"03"}}'),
    (Binary(bytes(15), 4), ROW),
    (b"bytes", ROW),
    ({"a": 1, "b": 2}, ROW),
    ({"b": 2, "a": 1}, ROW),
    ([1, 2], ROW),
    (DatetimeMS(0), ROW),
    ({"$date": 5}, ROW),
    (Timestamp(1, 2), ROW),
    (Regex("a", "i"), ROW),
    (Code("f"), ROW),
    (MinKey(), ROW),
    (MaxKey(), ROW),
]


@pytest.mark.parametrize(("value", "want"), NAMES, ids=repr)
def test_an_id_is_named_by_itself_where_that_is_safe(value: Any, want: Any) -> None:
    expected = f'{{"$row":"{id_from_value(value)}"}}' if want is ROW else want
    assert (document_id(value), name(value).replace(" ", "")) == (expected, expected)
    assert of_bytes(document({"other": "x", "_id": value})) == expected


def test_ids_that_mongodb_tells_apart_have_names_of_their_own() -> None:
    odd = [Symbol("s"), {"$symbol": "s"}, Undefined(), {"$undefined": True}, DBPointer("c", OID), OddRegex("a", "z")]
    same = {"5", "0"}
    names = [found for value in [*(value for value, _ in NAMES), *odd] if (found := document_id(value)) not in same]
    halves = 1  # 0.5 of two number types
    assert len(set(names)) == len(names) - halves


BROKEN = b"\x02x\0" + (999).to_bytes(4, "little") + b"abc\0"


@pytest.mark.parametrize(
    ("raw", "want"),
    [
        (document(Pairs((("_id", 5), ("x", 1), ("x", 2)))), 5),
        (document(Pairs((("x", 1), ("x", 2), ("_id", "a")))), "a"),
        (document(Pairs((("_id", 5), ("_id", 6)))), 5),
        (document({"_id": 5})[:-1] + b"\1", 5),
        (document({"k": 1, "_id": 5}).replace(b"\x10k", b"\x10\xff"), 5),
        (document({"_id": {"a": 1}})[:-1] + BROKEN + b"\0", {"a": 1}),
    ],
)
def test_the_id_of_a_malformed_document_is_read_where_the_bytes_lead_to_it(raw: bytes, want: Any) -> None:
    assert (own_id(raw), read_id(raw)) == (want, want)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\5\0\0\0\0",
        document({"name": "no id"}),
        document({"a": 1})[:-1] + BROKEN + document({"_id": 5})[4:],
        document({"_id": "ab"}).replace(b"ab\0", b"\xff\xfe\0"),
        document({"_id": "ab"}).replace(b"ab\0", b"ab\1"),
        document({"_id": Pairs((("x", 1), ("x", 2)))}),
        document({"_id": Raw(0x08, b"\2")}),
        document({"_id": Raw(0x20, b"abc")}),
        document({"_id": OID})[:-5] + b"\0",
    ],
)
def test_a_document_without_a_readable_id_is_named_by_its_bytes(raw: bytes) -> None:
    assert own_id(raw) is UNREADABLE
    assert read_id(raw) is MISSING
    assert of_bytes(raw).startswith(MALFORMED)


CUTS = [document({"_id": value})[:-cut] for value, _ in NAMES for cut in range(2, 9)]


@FEW
@given(st.data())
def test_many_documents_at_once_have_the_names_that_each_has_alone(data: st.DataObject) -> None:
    each = [document({"_id": value, "x": 1}) for value, _ in NAMES] + [document({"x": 1, "_id": 5}), document({})]
    broken = [raw for raw in [data.draw(damaged(raw)) for raw in each] + CUTS if len(raw) >= SMALLEST]
    raws = [len(raw).to_bytes(4, "little") + raw[4:] for raw in data.draw(st.permutations([*each, *broken]))]
    content = Content(*raws)
    starts = np.cumsum([0, *map(len, raws)])
    found = names_of(content, starts[:-1], content.slices(starts[:-1], starts[1:]))
    assert found.to_pylist() == list(map(of_bytes, raws))


def test_the_name_made_of_bytes_is_their_digest() -> None:
    assert of_bytes(b"abc") == '{"$malformed":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}'


LIST = Child("parts", "a.parts", "scalars", (Column("", "text", "part"),))
MAP = Child("labels", "labels", "map", (), key="label")


@pytest.mark.parametrize(
    ("raw", "child", "want"),
    [
        (document({"a": {"parts": [1, 2, 3]}}), LIST, 3),
        (document({"a": {"parts": {"x": 1}}}), LIST, 0),
        (document({"a": [{"parts": [1]}]}), LIST, 0),
        (document({"a": {}}), LIST, 0),
        (document({}), LIST, 0),
        (document({"labels": {"x": 1, "y": None}}), MAP, 2),
        (document({"labels": [1]}), MAP, 0),
        # Of two the first counts, and of what breaks off what can be followed.
        (document(Pairs((("labels", {"x": 1}), ("labels", {})))), MAP, 1),
        (document(Pairs((("labels", Pairs((("x", 1), ("x", 2)))),))), MAP, 2),
        (document({"labels": Raw(0x03, document({"x": 1})[:-1] + BROKEN + b"\0")}), MAP, 1),
        (document({"a": 1})[:-1] + BROKEN + document({"labels": {"x": 1}})[4:], MAP, 0),
    ],
)
def test_elements_are_counted_without_reading_them(raw: bytes, child: Child, want: int) -> None:
    assert count_elements(raw, child) == want
