"""Ids: the same value becomes the same UUID, an ObjectId comes out of its UUID again, and equal numbers are one `_id`."""

from __future__ import annotations

import itertools
import json
import math
import uuid
from decimal import Decimal
from typing import Any

import pytest
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from mongo2pg.batches import id_columns
from mongo2pg.documents import identity
from mongo2pg.documents.decode import DBPointer, OddRegex, Symbol, Undefined
from mongo2pg.reference.ids import identify

NAMESPACE = uuid.UUID("7d0c1f5e-2b5c-5f0b-9d5e-6d6f6e676f32")
OID = "64b7f0a1c2d3e4f5a6b7c8d9"
UUID_OF_OID = "64b7f0a1-c2d3-8e4f-85a6-b7c8d9000000"
LOOKS_LIKE_AN_OBJECTID = bytes.fromhex("64b7f0a1c2d38e4f85a6b7c8d9000000")
OBJECT_IDS = st.binary(min_size=12, max_size=12).map(ObjectId)


def uuid_5(canonical: str) -> str:
    return str(uuid.uuid5(NAMESPACE, canonical))


# --------------------------------------------------------------------------------------------------- ObjectId and UUID


@pytest.mark.parametrize(
    ("oid", "want"),
    [
        (OID, UUID_OF_OID),
        ("000000000000000000000000", "00000000-0000-8000-8000-000000000000"),
        ("ffffffffffffffffffffffff", "ffffffff-ffff-8fff-8fff-ffffff000000"),
        ("123456789abcdef012345678", "12345678-9abc-8def-8012-345678000000"),
    ],
)
def test_an_objectid_sits_in_a_version_8_uuid_and_comes_out_again(oid: str, want: str) -> None:
    got = identity.uuid_from_objectid(ObjectId(oid))
    assert str(got) == want
    assert (got.version, got.variant) == (8, uuid.RFC_4122)
    assert identity.objectid_from_uuid(got) == ObjectId(oid)


@pytest.mark.parametrize(
    ("no_objectid", "why"),
    [
        ("64b7f0a1-c2d3-4e4f-85a6-b7c8d9000000", "version 4"),
        ("64b7f0a1-c2d3-8e4f-95a6-b7c8d9000000", "a bit beside the variant"),
        ("64b7f0a1-c2d3-8e4f-c5a6-b7c8d9000000", "another variant"),
        ("64b7f0a1-c2d3-8e4f-85a6-b7c8d9000001", "a tail that is not zero"),
        ("64b7f0a1-c2d3-8e4f-85a6-b7c8d9010000", "a tail that is not zero"),
    ],
)
def test_no_objectid_comes_out_of_another_uuid(no_objectid: str, why: str) -> None:
    assert identity.objectid_from_uuid(uuid.UUID(no_objectid)) is None, why


@given(OBJECT_IDS, OBJECT_IDS)
def test_the_order_of_objectids_is_the_order_of_their_uuids(one: ObjectId, other: ObjectId) -> None:
    assert (one < other) == (identity.uuid_from_objectid(one) < identity.uuid_from_objectid(other))


@given(st.lists(OBJECT_IDS))
def test_many_objectids_at_once_are_the_same_as_one_by_one(oids: list[ObjectId]) -> None:
    got = id_columns.uuids_from_objectids(b"".join(oid.binary for oid in oids)).tobytes()
    assert got == b"".join(identity.uuid_from_objectid(oid).bytes for oid in oids)
    assert id_columns.texts_from_uuids(got) == [str(identity.uuid_from_objectid(oid)).encode() for oid in oids]


# ---------------------------------------------------------------------------------------------------------- any `_id`

IDS: list[tuple[Any, str, bool]] = [
    # value, its UUID, whether the UUID alone tells the value
    (ObjectId(OID), UUID_OF_OID, True),
    (OID, UUID_OF_OID, False),
    (OID.upper(), UUID_OF_OID, False),
    (OID[:-1], uuid_5('"64b7f0a1c2d3e4f5a6b7c8d"'), False),
    (OID + "\n", uuid_5('"64b7f0a1c2d3e4f5a6b7c8d9\\n"'), False),
    (OID[:-1] + "g", uuid_5('"64b7f0a1c2d3e4f5a6b7c8dg"'), False),
    (Code(OID), uuid_5('{"$code":"64b7f0a1c2d3e4f5a6b7c8d9"}'), False),
    (Symbol(OID), uuid_5('{"$symbol":"64b7f0a1c2d3e4f5a6b7c8d9"}'), False),
    ("", uuid_5('""'), False),
    ('ü"\\', uuid_5('"ü\\"\\\\"'), False),
    (Binary(bytes(range(16)), 4), "00010203-0405-0607-0809-0a0b0c0d0e0f", True),
    (Binary(bytes(range(16)), 3), "00010203-0405-0607-0809-0a0b0c0d0e0f", False),
    (Binary(LOOKS_LIKE_AN_OBJECTID, 4), UUID_OF_OID, False),
    (Binary(bytes(15), 4), uuid_5('{"$binary":{"base64":"AAAAAAAAAAAAAAAAAAAA","subType":"04"}}'), False),
    (b"\0", uuid_5('{"$binary":{"base64":"AA==","subType":"00"}}'), False),
    (5, uuid_5('{"$numberLong":"5"}'), False),
    (Int64(5), uuid_5('{"$numberLong":"5"}'), False),
    (5.0, uuid_5('{"$numberLong":"5"}'), False),
    (Decimal128("5.00"), uuid_5('{"$numberLong":"5"}'), False),
    (-0.0, uuid_5('{"$numberLong":"0"}'), False),
    (0.5, uuid_5('{"$numberDouble":"0.5"}'), False),
    (Decimal128("0.50"), uuid_5('{"$numberDouble":"0.5"}'), False),
    (Decimal128("0.1"), uuid_5('{"$numberDecimal":"0.1"}'), False),
    (Decimal128("0.10"), uuid_5('{"$numberDecimal":"0.1"}'), False),
    (0.1, uuid_5('{"$numberDouble":"0.1"}'), False),
    (2.0**63, uuid_5('{"$numberDouble":"9.223372036854776e+18"}'), False),
    (Int64(2**63 - 1), uuid_5('{"$numberLong":"9223372036854775807"}'), False),
    (math.nan, uuid_5('{"$numberDouble":"NaN"}'), False),
    (Decimal128("sNaN"), uuid_5('{"$numberDouble":"NaN"}'), False),
    (Decimal128("-Infinity"), uuid_5('{"$numberDouble":"-Infinity"}'), False),
    (None, uuid_5("null"), False),
    (True, uuid_5("true"), False),
    (DatetimeMS(-1), uuid_5('{"$date":{"$numberLong":"-1"}}'), False),
    ({"b": 1.0, "a": [2, None]}, uuid_5('{"b":{"$numberLong":"1"},"a":[{"$numberLong":"2"},null]}'), False),
    ({}, uuid_5("{}"), False),
    # No Extended JSON: an embedded document that looks like another type is still a document.
    ({"$oid": OID}, uuid_5('{"$document":[["$oid","64b7f0a1c2d3e4f5a6b7c8d9"]]}'), False),
    ({"a": {"$symbol": "s", "b": 1}}, uuid_5('{"a":{"$document":[["$symbol","s"],["b",{"$numberLong":"1"}]]}}'), False),
    (Timestamp(1, 2), uuid_5('{"$timestamp":{"t":1,"i":2}}'), False),
    (MinKey(), uuid_5('{"$minKey":1}'), False),
    (Code("f", {"x": 1.0}), uuid_5('{"$code":"f","$scope":{"x":{"$numberLong":"1"}}}'), False),
    (DBPointer("c", ObjectId(OID)), uuid_5('{"$dbPointer":{"$ref":"c","$id":{"$oid":"64b7f0a1c2d3e4f5a6b7c8d9"}}}'), False),
]


@pytest.mark.parametrize(("value", "want", "reversible"), IDS, ids=[repr(case[0]) for case in IDS])
def test_any_id_has_one_uuid(value: Any, want: str, reversible: bool) -> None:
    assert str(identity.id_from_value(value)) == want
    assert identity.is_reversible(value) is reversible


@pytest.mark.parametrize("value", [case[0] for case in IDS if not isinstance(case[0], Symbol | DBPointer)], ids=repr)
def test_the_projector_gives_the_same_id(value: Any) -> None:
    assert identify(value) == str(identity.id_from_value(value))


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.combinations([Decimal128("1E6144"), math.inf, 1e308, Decimal128("9E6143")], 2))
)
def test_numbers_that_differ_have_ids_that_differ(one: Any, other: Any) -> None:
    assert identity.id_from_value(one) != identity.id_from_value(other)
    assert identify(one) != identify(other)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (OID, True),
        (Binary(bytes(16), 3), True),
        (Binary(LOOKS_LIKE_AN_OBJECTID, 4), True),
        (Binary(uuid.uuid5(NAMESPACE, "5").bytes, 4), True),
        (Binary(uuid.UUID(int=0, version=4).bytes, 4), False),
        ("legacy", False),
        (Code(OID), False),
        (5, False),
        (None, False),
    ],
    ids=repr,
)
def test_these_ids_may_be_another_documents_too(value: Any, want: bool) -> None:
    assert identity.may_collide(value) is want


@given(
    st.one_of(
        st.integers(-(2**63), 2**63 - 1),
        st.floats(),
        st.decimals(allow_nan=True, places=3, min_value=-(10**9), max_value=10**9).map(Decimal128),
    )
)
def test_equal_numbers_have_one_canonical_json(number: Any) -> None:
    exact = number.to_decimal() if isinstance(number, Decimal128) else Decimal(number)
    forms = [Decimal128(exact)] if exact.is_finite() and len(exact.as_tuple().digits) <= 34 and abs(exact.adjusted()) < 6000 else []
    if exact.is_finite() and Decimal(float(exact)) == exact:
        forms.append(float(exact))
    if exact.is_finite() and exact == int(exact) and -(2**63) <= exact < 2**63:
        forms.append(Int64(int(exact)))
    assert {identity.canonical_json(form) for form in forms} <= {identity.canonical_json(number)}


# --------------------------------------------------------------------------------------------------------- child rows


@pytest.mark.parametrize(
    ("path", "kind", "keys", "rule"),
    [
        ("roles", "value", ["user", 'a"b\\c', "", "ü🦜\n"], "a role's text"),
        ("refreshTokens", "id", [OID], "a sub-document's own ObjectId"),
        ("progressMap.stages", "ordinal", [0, 1, 12_345], "a place"),
        ("skills", "key", ["coding", "a.b", "", "умение", "\u2028"], "a map's key"),
    ],
)
def test_a_child_row_has_the_uuid_of_its_parent_path_kind_and_key(path: str, kind: str, keys: list[Any], rule: str) -> None:
    parents = [UUID_OF_OID, "00010203-0405-0607-0809-0a0b0c0d0e0f"]
    pairs = list(itertools.product(parents, keys))
    got = id_columns.child_ids(
        [parent.encode() for parent, _ in pairs], path, kind, [json.dumps(key, ensure_ascii=False).encode() for _, key in pairs]
    )
    want = [
        uuid.uuid5(NAMESPACE, json.dumps([parent, path, kind, key], separators=(",", ":"), ensure_ascii=False)).bytes
        for parent, key in pairs
    ]
    assert [got[at : at + 16] for at in range(0, len(got), 16)] == want, rule


def test_the_ids_of_child_rows_never_change() -> None:
    got = id_columns.child_ids([UUID_OF_OID.encode()], "roles", "value", [b'"user"'])
    assert str(uuid.UUID(bytes=got)) == "a572b617-8658-55d1-b4c4-2f725c662ebc"


# --------------------------------------------------------------------------------------------------------- BSON order

IN_BSON_ORDER: list[Any] = [
    MinKey(),
    None,
    math.nan,
    -math.inf,
    Decimal128("-1E6000"),
    -5,
    Decimal128("-0.1"),
    0,
    Decimal128("0.1"),
    0.1,  # the double is a little more
    1,
    Int64(2**53),
    Int64(2**53 + 1),
    1e300,
    Decimal128("1E6144"),
    math.inf,
    "",
    "A",
    "a",
    "aa",
    "é",
    "🦜",
    {},
    {"a": 1},
    {"a": 1, "b": 0},
    {"a": 2},
    {"b": 1},
    DBRef("a", 1),  # a document with a string in its first field
    DBRef("b", 0),
    {"a": "1"},
    [],
    [1],
    [1, 2],
    [2],
    Binary(b"z", 0),
    Binary(b"a", 5),
    b"aa",
    Binary(b"\0" * 16, 3),
    Binary(b"\0" * 16, 4),
    ObjectId("000000000000000000000000"),
    ObjectId("ff0000000000000000000000"),
    False,
    True,
    DatetimeMS(-5),
    DatetimeMS(5),
    DatetimeMS(10),
    Timestamp(9, 1),
    Timestamp(10, 0),
    Timestamp(10, 1),
    Regex("a"),
    OddRegex("b", "g"),
    DBPointer("c", ObjectId(OID)),
    Code("a"),
    Code("b"),
    Code("a", {}),
    Code("a", {"x": 1}),
    MaxKey(),
]


@pytest.mark.parametrize("shift", range(1, len(IN_BSON_ORDER)))
def test_values_sort_as_mongodb_sorts_them(shift: int) -> None:
    for one, other in zip(IN_BSON_ORDER, IN_BSON_ORDER[shift:], strict=False):
        assert identity.bson_order(one) < identity.bson_order(other), (one, other)


def test_symbols_sort_among_strings_and_undefined_beside_null() -> None:
    assert identity.bson_order("a") < identity.bson_order(Symbol("b")) < identity.bson_order("c")
    assert identity.bson_order(Undefined()) == identity.bson_order(None)


def test_a_signalling_nan_sorts_as_any_other() -> None:
    assert identity.bson_order(Decimal128("sNaN")) == identity.bson_order(math.nan)
