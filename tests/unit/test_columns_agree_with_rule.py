"""Documents that go through by columns come out as the rule would have it, byte for byte and in the same order.

Random documents against random declarations, most of them fitting and some with one thing amiss, so that both ways are
taken within one batch.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import bson
import numpy as np
import pyarrow as pa
import pytest
from bson import Binary, Decimal128, MinKey, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from bson.objectid import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from deepiri.auth import AUTH
from deepiri.registry import DOMAINS
from demo.sample import clean_documents, documents
from mongo2pg.batches.clean import MOST_UNDECLARED, CleanReader
from mongo2pg.batches.elements import Content
from mongo2pg.documents.decode import OPTIONS
from mongo2pg.documents.identity import DECIMAL128_CONTEXT
from mongo2pg.files.parquet import MAY_SHARE
from mongo2pg.model import Child, Collection, Column
from mongo2pg.moving.normaliser import Normaliser
from tests.documents import NOON, oid, user
from tests.unit.random_documents import EXAMPLES, FEW, KEYS, VALUES, collections, damaged
from tests.unit.raw_bson import document

# --- the two ways ----------------------------------------------------------------------------------------------------


def same_by_both(collection: Collection, raws: list[bytes]) -> None:
    """Through the normaliser, and through its rule alone: the same frames, rejects and counts."""
    fast, slow = Normaliser(collection), Normaliser(collection)
    got = fast.normalise(pa.array(raws, pa.binary()), first_row=7)
    want = slow.by_rule(raws, list(range(7, 7 + len(raws))))
    for table in collection.tables:
        one, other = got.frames[table.name], want.frames[table.name]
        assert one.schema == other.schema
        for name in one.schema.names:
            assert values(one[name], name) == values(other[name], name), f"{table.name}.{name}"
    assert [tuple(reject) for reject in got.rejects] == [tuple(reject) for reject in want.rejects]
    slow.counts.read = len(raws)
    assert fast.counts == slow.counts


def values(column: Any, name: str) -> list[Any]:
    """Doubles by their bits: 0.0 is not -0.0, and NaN is itself. `extra` in one order of keys: jsonb keeps none."""
    if name == "extra":
        return [text and json.dumps(json.loads(text), sort_keys=True) for text in column.to_pylist()]
    return (column.view(pa.int64()) if column.type in (pa.float64(), pa.timestamp("ms", "UTC")) else column).to_pylist()


def left(collection: Collection, raws: list[bytes]) -> list[int]:
    """The documents that do not go by columns."""
    bounds = np.cumsum([0, *map(len, raws)])
    return np.flatnonzero(CleanReader(collection).read(Content(b"".join(raws)), bounds).left).tolist()


# --- documents that fit ----------------------------------------------------------------------------------------------

TEXT = st.one_of(
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20), st.sampled_from(["", 'é\n"\\', "red"])
)
OID_UUID, NAMED_UUID = bytes.fromhex("64b7f0a1c2d38e4f85a6b7c8d9000000"), bytes.fromhex("64b7f0a1c2d35e4f95a6b7c8d9000001")
OIDS = st.binary(min_size=12, max_size=12).map(ObjectId)
IDS = st.one_of(
    OIDS,
    OIDS.map(str),
    TEXT,
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.uuids().map(lambda uuid: Binary(uuid.bytes, 4)),
    # One that looks as if it carried an ObjectId, one made of a name, one of the old kind, and bytes that are none.
    st.sampled_from([(OID_UUID, 4), (NAMED_UUID, 4), (NAMED_UUID, 3), (NAMED_UUID, 0), (b"x" * 17, 4)]).map(lambda it: Binary(*it)),
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    TEXT,
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.floats(),
    st.sampled_from([0.0, -0.0, 1e15, 1e16, 5e-324, 1e-7, 123456789012345.6]),
    OIDS,
    st.integers(0, 253_402_300_799_999).map(DatetimeMS),
    st.sampled_from([-1, 0, 1000, 253_402_300_800_000, -(2**63), 2**63 - 1]).map(DatetimeMS),
    st.binary(max_size=5),
)
JSON = st.recursive(
    PLAIN, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)), max_leaves=12
)


def decimal128(value: Decimal) -> Decimal128:
    """The value, rounded to what Decimal128 holds."""
    return Decimal128(DECIMAL128_CONTEXT.plus(value) if not value.is_snan() else "sNaN")


FITTING: dict[str, st.SearchStrategy[Any]] = {
    "bigint": st.one_of(st.integers(-(2**63), 2**63 - 1).map(Int64), st.integers(-5, 5), st.integers(-9, 9).map(float)),
    "boolean": st.booleans(),
    "bytea": st.binary(max_size=9),
    "double precision": st.one_of(st.floats(), st.integers(-9, 9), st.integers(-(2**53), 2**53).map(Int64)),
    "integer": st.one_of(
        st.integers(-(2**31), 2**31 - 1), st.integers(-9, 9).map(Int64), st.sampled_from([2.0**31 - 1, -(2.0**31)])
    ),
    "jsonb": JSON,
    "numeric": st.one_of(
        st.integers(-9, 9), st.floats(), st.decimals(-(10**20), 10**20, places=2).map(Decimal128), st.decimals().map(decimal128)
    ),
    "text": TEXT,
    "text[]": st.lists(TEXT, max_size=3),
    "timestamptz": st.integers(-210_866_803_200_000, 9_224_318_015_999_999).map(DatetimeMS),
    "uuid": OIDS,
}


def fitting(column: Column) -> st.SearchStrategy[Any]:
    if column.enum:
        one = st.sampled_from(column.enum)
        return st.lists(one, max_size=3) if column.type == "text[]" else one
    if column.references:
        return IDS
    return FITTING[column.type]


@st.composite
def fitting_document(draw: st.DrawFn, columns: tuple[Column, ...], others: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    wanted = {column.path: fitting(column) for column in columns} | others
    for path in draw(st.permutations(sorted(wanted))):
        if draw(st.integers(0, 9)) == 0 and not any(column.path == path and column.required for column in columns):
            continue
        *above, last = path.split(".")
        holder = content
        for key in above:
            holder = holder.setdefault(key, {})
        holder[last] = draw(wanted[path])
    return content


@st.composite
def mostly_fitting(draw: st.DrawFn, collection: Collection) -> bytes:
    others: dict[str, Any] = {"__v": st.integers(0, 9)}
    for child in collection.children:
        if child.kind == "scalars":
            others[child.path] = st.lists(fitting(child.columns[0]), max_size=4)
            continue
        ids = {"_id": st.one_of(OIDS, IDS)} if child.has_source_id else {}
        elements = fitting_document(child.columns, ids)
        others[child.path] = st.dictionaries(KEYS, elements, max_size=3) if child.kind == "map" else st.lists(elements, max_size=3)
    content = {"_id": draw(IDS)} | draw(fitting_document(collection.columns, others))
    if draw(st.integers(0, 3)) == 0:  # one thing amiss, somewhere
        holder = content
        while inner := [value for value in holder.values() if type(value) is dict] if draw(st.booleans()) else []:
            holder = draw(st.sampled_from(inner))
        key = draw(st.one_of(st.sampled_from([*holder, "new"]), KEYS))
        holder[key] = draw(VALUES)
    raw = document(content)
    return draw(damaged(raw)) if draw(st.integers(0, 19)) == 0 else raw


@given(data=st.data())
@settings(FEW, max_examples=EXAMPLES // 5)  # each is a batch of documents
def test_documents_come_out_alike_by_columns_and_by_the_rule(data: st.DataObject) -> None:
    collection = data.draw(collections())
    one = mostly_fitting(collection)
    raws = data.draw(st.lists(one, min_size=1, max_size=8))
    raws += data.draw(st.lists(st.sampled_from(raws), max_size=12))  # more of the same shapes: fronts of another width
    same_by_both(collection, raws)


DECLARED = [collection for domain in DOMAINS for collection in domain.collections]


@pytest.mark.parametrize("collection", DECLARED, ids=[collection.name for collection in DECLARED])
def test_what_the_services_write_comes_out_alike_dirt_and_all(collection: Collection) -> None:
    raws = [bson.encode(content, codec_options=OPTIONS) for content in documents(collection.name, scale=0.05)]
    same_by_both(collection, raws)


@pytest.mark.parametrize("collection", DECLARED, ids=[collection.name for collection in DECLARED])
def test_clean_documents_never_reach_the_rule(collection: Collection) -> None:
    contents = list(clean_documents(collection.name, scale=0.05))
    raws = [bson.encode(content, codec_options=OPTIONS) for content in contents]
    assert left(collection, raws) == []


# --- ids and references ------------------------------------------------------------------------------------------------

POINTS = Collection("points", "points", "at", (Column("of", "uuid", "of_id", references="points"), Column("a.by", "uuid")))
NAMES = [oid(1), "one", "", 'dré "\\ \n', 5, -(2**31), Int64(2**63 - 1), Binary(bytes(range(16)), 4), "f" * 23, "g" * 24]


def test_ids_and_references_of_every_usual_type_go_by_columns() -> None:
    contents = [{"_id": name, "of": other, "new": 1} for name in NAMES for other in [*NAMES, str(oid(1)), None]]
    assert left(POINTS, encoded(contents)) == []
    same_by_both(POINTS, encoded(contents))


SHARED = [str(oid(1)), "A" * 24, Binary(NAMED_UUID, 4), Binary(bytes(range(16)), 3)]


def test_ids_that_another_document_may_share_go_by_columns_and_are_marked() -> None:
    contents = [{"_id": name, "of": other, "new": 1} for name in [*NAMES, *SHARED] for other in [*NAMES, *SHARED]]
    assert left(POINTS, encoded(contents)) == []
    same_by_both(POINTS, encoded(contents))
    frame = Normaliser(POINTS).normalise(pa.array(encoded([{"_id": name} for name in [*SHARED, *NAMES]])), 0).frames["points"]
    assert frame[MAY_SHARE].to_pylist() == [True] * len(SHARED) + [False] * len(NAMES)


ODD_IDS = ["a\0b", 5.0, Binary(OID_UUID, 4), Binary(bytes(15), 4), Binary(bytes(15), 3), Binary(bytes(16), 5)]


def test_documents_with_an_unusual_id_are_left_to_the_rule() -> None:
    contents = [{"_id": name, "of": oid(1)} for name in [*NAMES, *ODD_IDS]]
    assert left(POINTS, encoded(contents)) == list(range(len(NAMES), len(contents)))
    same_by_both(POINTS, encoded(contents))


def test_a_column_of_uuids_that_is_no_reference_takes_no_other_names() -> None:
    contents = [{"_id": oid(at), "a": {"by": name}} for at, name in enumerate([oid(1), NAMES[7], "one", 5, str(oid(1))])]
    assert left(POINTS, encoded(contents)) == [2, 3, 4]
    same_by_both(POINTS, encoded(contents))


# --- fields that nobody declared ---------------------------------------------------------------------------------------

USERS = AUTH.collection("users")
PLAIN = [
    *("text", 'a "quoted" \\ text\n', "", "ü", 5, Int64(2**60), 1.5, True, None, NOON, oid(9)),
    *({"a": [1, {"b": None}]}, {"$oid": "none"}, {}, [], [None, "x"]),
]
ODD = ["a\0b", -0.0, math.inf, MinKey(), Decimal128("1.50"), Binary(b"x", 5), Regex("a"), {"a": "\0"}, Timestamp(1, 2)]


def encoded(contents: list[dict[str, Any]]) -> list[bytes]:
    return [bson.encode(content, codec_options=OPTIONS) for content in contents]


def test_fields_that_nobody_declared_go_by_columns_too() -> None:
    contents = []
    for at, value in enumerate(PLAIN):
        others = {"nickname": value} | ({'another "field"': at} if at % 3 else {})
        tokens = [{"token": "t", "createdAt": NOON, "expiresAt": NOON} | ({"device": value} if at % 2 else {})] * (at % 4)
        contents += [user(at, refreshTokens=tokens, **others), {"first": at, **user(100 + at, **others)}, user(200 + at)]
    assert left(USERS, encoded(contents)) == []
    same_by_both(USERS, encoded(contents))


NESTED = Collection(
    "nested",
    "nested",
    "at",
    (Column("a.b.c", "integer"), Column("a.d", "uuid", references="nested"), Column("e", "text")),
    ignored=("a.f",),
)


def test_fields_that_nobody_declared_are_nested_in_extra_as_they_were() -> None:
    contents: list[dict[str, Any]] = []
    for at, value in enumerate(PLAIN):
        new = {"new": value} if at % 2 else {}
        inner = {"b": {"c": at} | new, "d": "one" if at % 3 else None, "f": at} | new
        contents += [
            {"_id": oid(at), "a": inner, "e": "x"} | new,
            {"a": {"x": value, "b": {"y": value, "c": None, "z": value}, "d": at}, "_id": oid(100 + at), "g": {"a": value}},
            {"b": value, "a": {"new": value}, "c": value, "_id": f"id {at}"},
            {"_id": oid(200 + at), "a": {}} | new,
        ]
    assert left(NESTED, encoded(contents)) == []
    same_by_both(NESTED, encoded(contents))
    frames = Normaliser(NESTED).normalise(pa.array(encoded(contents), pa.binary()), 0).frames["nested"]
    assert frames["extra"].to_pylist()[1:3] == [
        '{"a":{"x":"text","b":{"y":"text","z":"text"},"d":0},"g":{"a":"text"}}',
        '{"_id":"id 0","b":"text","a":{"new":"text"},"c":"text"}',
    ]


NUMERIC = Collection("prices", "prices", "at", (Column("amount", "numeric"), Column("list.0", "numeric", "first")))
DECIMALS = [
    *("1.10", "-1.10", "0", "0.00", "-0", "5", "5.0", "0.05", "-0.05", "1E+3", "9223372036854775807", "18446744073709551615"),
    *("18446744073709551616", "9999999999999999999999999999999999", "1E-6176", "1E6144", "NaN", "sNaN", "Infinity", "-Infinity"),
    *("1E-30", "1E-31", "-1234567890.123456789", "0E-40", "0E+5"),
]
PRICES = [*map(Decimal128, DECIMALS), 1, -5, Int64(2**62), 1.5, -0.0, 0.0, 1e300, 5e-324, math.nan, math.inf, None, True, "1"]


def test_numbers_become_the_same_digits() -> None:
    contents = [{"_id": oid(at), "amount": price} for at, price in enumerate(PRICES)]
    same_by_both(NUMERIC, encoded(contents))
    digits = Normaliser(NUMERIC).normalise(pa.array(encoded(contents[:9]), pa.binary()), 0).frames["prices"]["amount"]
    assert digits.to_pylist() == ["1.10", "-1.10", "0", "0.00", "0", "5", "5.0", "0.05", "-0.05"]
    # -0, 1E+3, 1E6144, sNaN, 0E+5 and -0.0, whose forms change, and what is no number.
    assert left(NUMERIC, encoded(contents)) == [4, 9, 15, 17, 24, 29, 36, 37]


@pytest.mark.parametrize(
    "bid", [b"\xff" * 16, bytes(15) + b"\x60", b"\x01" + bytes(14) + b"\x70", bytes(range(16)), b"\xff" * 15 + b"\x5f"]
)
def test_any_sixteen_bytes_are_the_same_number(bid: bytes) -> None:
    same_by_both(NUMERIC, encoded([{"_id": oid(1), "amount": Decimal128.from_bid(bid)}]))


DEFAULTS = Collection(
    "given",
    "given",
    "at",
    (
        Column("role", "text", required=True, default="user", enum=("user", "admin"), aliases=(("root", "admin"),)),
        Column("a.level", "integer", default=3),
        Column("a.share", "double precision", default=0.5),
        Column("price", "numeric", default=1.5),
        Column("secret", "text", default="none", sensitive=True),
        Column("on", "boolean", default=False),
    ),
    (
        Child("parts", "parts", "documents", (Column("size", "bigint", default=7), Column("tag", "text"))),
        Child("marks", "marks", "scalars", (Column("", "integer", "mark", default=9),)),
    ),
)


def test_defaults_stand_for_nothing_by_columns_too_and_are_counted() -> None:
    contents: list[dict[str, Any]] = [
        {"_id": oid(1)},
        {"_id": oid(2), "role": None, "a": {}, "parts": [{}, {"size": None, "tag": "x"}, {"size": 5}], "marks": [1, 2]},
        {"_id": oid(3), "role": "admin", "a": {"level": 1, "share": 1.0}, "price": 2, "secret": "s", "on": True},
        {"_id": oid(4), "role": "root", "a": {"level": "three"}},
        {"_id": oid(5), "a": None, "parts": None, "marks": [1, None]},
    ]
    assert left(DEFAULTS, encoded(contents)) == [3, 4]
    same_by_both(DEFAULTS, encoded(contents))
    normaliser = Normaliser(DEFAULTS)
    frames = normaliser.normalise(pa.array(encoded(contents[:3]), pa.binary()), 0).frames
    given = [frames["given"][name].to_pylist() for name in ("role", "a_level", "a_share", "price", "secret", "on")]
    assert given == [
        ["user", "user", "admin"],
        [3, 3, 1],
        [0.5, 0.5, 1.0],
        ["1.5", "1.5", "2"],
        ["none", "none", "s"],
        [False, False, True],
    ]
    assert frames["parts"]["size"].to_pylist() == [7, 7, 5]
    counted = {
        path: {rule: (tally.count, tally.samples) for rule, tally in rules.items()}
        for path, rules in normaliser.counts.conversions.items()
    }
    assert counted["role"] == {"default": (2, [("null", '"user"')] * 2)}
    assert counted["secret"] == {"default": (2, [("(sensitive)", "(sensitive)")] * 2)}
    assert counted["parts.size"] == {"default": (2, [("null", "7")] * 2)}


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_one_of_a_rare_type_comes_out_as_by_the_rule_in_whatever_document_it_stands(value: Any) -> None:
    contents = [user(at, nickname=value if at in (1, 3) else "text") for at in range(5)]
    same_by_both(USERS, encoded(contents))
    same_by_both(USERS, encoded(contents[1:]))


def test_where_each_document_has_its_own_the_rule_reads_them_and_counts_the_first_ones_apart() -> None:
    raws = encoded([user(at, **{"common": at, f"field {at}": at}) for at in range(MOST_UNDECLARED + 20)])
    assert len(left(USERS, raws)) == 21
    same_by_both(USERS, raws)
