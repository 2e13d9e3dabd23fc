"""BSON to values: what pymongo reads well is read by pymongo, the rest exactly, and what has no faithful reading is named."""

from __future__ import annotations

import math
import struct
from typing import Any

import bson
import pytest
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from mongo2pg.documents.decode import (
    OPTIONS,
    DBPointer,
    MalformedError,
    OddRegex,
    Symbol,
    Undefined,
    decode_batch,
    decode_exactly,
    value_at,
)
from mongo2pg.reference import documents as reference
from tests.unit.raw_bson import Pairs, Raw, document, string

OID = ObjectId("64b7f0a1c2d3e4f5a6b7c8d9")

ORDINARY: dict[str, Any] = {
    "double": 1.5,
    "-0.0": -0.0,
    "infinity": -math.inf,
    "text": "ü🦜\0\n",
    "empty text": "",
    "document": {"a": {"b": {}}},
    "array": [1, [2, []], {"c": 3}],
    "binary": b"\x00\xff",
    "empty binary": b"",
    "binary 128": Binary(b"abc", 128),
    "uuid": Binary(bytes(range(16)), 4),
    "old uuid": Binary(bytes(range(16)), 3),
    "objectId": OID,
    "true": True,
    "false": False,
    "date": DatetimeMS(-(2**63)),
    "null": None,
    "regex": Regex("a/b", "imsx"),
    "code": Code("f()"),
    "code with scope": Code("f()", {"x": {"y": [1]}}),
    "int": -(2**31),
    "timestamp": Timestamp(2**32 - 1, 2**32 - 1),
    "long": Int64(2**63 - 1),
    "decimal": Decimal128("-1.10E-20"),
    "minKey": MinKey(),
    "maxKey": MaxKey(),
}
FULL = document({"_id": OID, **ORDINARY})


def malformed(raw: bytes) -> None:
    """Both readings refuse the bytes, and neither falls over them."""
    (got,) = decode_batch([raw])
    assert isinstance(got, MalformedError)
    with pytest.raises(reference.Unreadable):
        reference.read(raw)


# ------------------------------------------------------------------------------------------------- what pymongo reads


@pytest.mark.parametrize("name", ORDINARY)
def test_the_exact_reader_agrees_with_pymongo(name: str) -> None:
    raw = document({"v": ORDINARY[name]})
    want = bson.decode(raw, OPTIONS)["v"]
    got = decode_exactly(raw)["v"]
    assert (type(got), got) == (type(want), want)
    assert bson.encode({"v": got}, codec_options=OPTIONS) == raw


def test_a_long_stays_a_long_and_keys_keep_their_order() -> None:
    raw = document({"z": Int64(1), "a": 1, "": 1.0, "a.b": None, "$x": True})
    got = decode_exactly(raw)
    assert [(key, type(value)) for key, value in got.items()] == [
        ("z", Int64),
        ("a", int),
        ("", float),
        ("a.b", type(None)),
        ("$x", bool),
    ]


def test_nan_keeps_its_type() -> None:
    assert math.isnan(decode_exactly(document({"v": math.nan}))["v"])


# ------------------------------------------------------------------------------------------- what pymongo would change


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (Symbol("abc"), Symbol("abc")),
        (Symbol(""), Symbol("")),
        (Undefined(), Undefined()),
        (DBPointer("db.users", OID), DBPointer("db.users", OID)),
        (Raw(0x0B, b"a\0gi\0"), OddRegex("a", "gi")),
        (Raw(0x0B, b"a\0mi\0"), Regex("a", "im")),
        (Raw(0x0B, b"\0\0"), Regex("", 0)),
        (Raw(0x05, struct.pack("<iBi", 7, 2, 3) + b"abc"), Binary(b"abc", 2)),
        (Raw(0x05, struct.pack("<iBi", 4, 2, 0)), Binary(b"", 2)),
        ({"$ref": "users", "$id": 5}, {"$ref": "users", "$id": 5}),
        ({"$id": 5, "$ref": "users", "$db": "d", "x": 1}, {"$id": 5, "$ref": "users", "$db": "d", "x": 1}),
        (Code("f", {"s": Symbol("x"), "$ref": 1, "$id": 2}), Code("f", {"s": Symbol("x"), "$ref": 1, "$id": 2})),
        ([Symbol("a"), [Undefined()]], [Symbol("a"), [Undefined()]]),
    ],
    ids=repr,
)
def test_values_that_pymongo_would_change_stay_what_they_are(value: Any, want: Any) -> None:
    (decoded,) = decode_batch([document({"_id": 1, "v": value})])
    assert not isinstance(decoded, MalformedError)
    got = decoded["v"]
    assert (type(got), got) == (type(want), want)
    if isinstance(want, dict):
        assert list(got) == list(want)


def test_one_special_document_changes_nothing_for_the_others_of_its_batch() -> None:
    raws = [document({"_id": 1}), document({"_id": 2, "v": Symbol("x")}), b"\5\0\0\0\1", document({"_id": 3}), b""]
    first, second, third, fourth, fifth = decode_batch(raws)
    assert (first, second, fourth) == ({"_id": 1}, {"_id": 2, "v": Symbol("x")}, {"_id": 3})
    assert isinstance(third, MalformedError)
    assert isinstance(fifth, MalformedError)


def test_bytes_that_make_documents_only_together_are_no_documents() -> None:
    joined = document({"_id": 1}) + document({"_id": 2})
    got = decode_batch([joined[:20], joined[20:]])
    assert [type(document) for document in got] == [MalformedError, MalformedError]


def test_no_documents_are_no_documents() -> None:
    assert decode_batch([]) == []


# ------------------------------------------------------------------------------------------------------- what is broken


@pytest.mark.parametrize("cut", range(len(FULL)))
def test_a_document_cut_off_anywhere_is_malformed(cut: int) -> None:
    malformed(FULL[:cut])


@pytest.mark.parametrize("cut", range(5, len(FULL)))
def test_a_document_cut_off_anywhere_is_malformed_even_if_it_states_its_length(cut: int) -> None:
    malformed(struct.pack("<i", cut) + FULL[4:cut])


@pytest.mark.parametrize("cut", range(5, len(FULL) - 1))
def test_a_document_cut_off_and_closed_is_malformed_or_whole_elements(cut: int) -> None:
    raw = struct.pack("<i", cut + 1) + FULL[4:cut] + b"\0"
    (got,) = decode_batch([raw])
    if isinstance(got, MalformedError):
        with pytest.raises(reference.Unreadable):
            reference.read(raw)
    else:
        names = list(got)
        assert names == ["_id", *ORDINARY][: len(names)]


BROKEN: list[tuple[str, Any]] = [
    ("a key twice", Pairs((("a", 1), ("a", 1)))),
    ("a key twice in a document below", {"v": Pairs((("a", 1), ("b", 2), ("a", 3)))}),
    ("a key twice in an array's document", {"v": [Pairs((("a", 1), ("a", 1)))]}),
    (
        "a key twice in a scope",
        {"v": Raw(0x0F, struct.pack("<i", 4 + 6 + 19) + string("f") + document(Pairs((("a", 1), ("a", 2)))))},
    ),
    ("a text that is no UTF-8", {"v": Raw(0x02, struct.pack("<i", 3) + b"\xff\xfe\0")}),
    ("a surrogate in a text", {"v": Raw(0x02, struct.pack("<i", 4) + b"\xed\xa0\x80\0")}),
    ("an overlong zero in a text", {"v": Raw(0x02, struct.pack("<i", 3) + b"\xc0\x80\0")}),
    ("a symbol that is no UTF-8", {"v": Raw(0x0E, struct.pack("<i", 2) + b"\xff\0")}),
    ("a pattern that is no UTF-8", {"v": Raw(0x0B, b"\xff\0\0")}),
    ("regex options that are no UTF-8", {"v": Raw(0x0B, b"a\0\xff\0")}),
    ("a text of length 0", {"v": Raw(0x02, struct.pack("<i", 0))}),
    ("a text of negative length", {"v": Raw(0x02, struct.pack("<i", -5) + b"abc\0")}),
    ("a text longer than its document", {"v": Raw(0x02, struct.pack("<i", 500) + b"abc\0")}),
    ("a text of the largest length", {"v": Raw(0x02, struct.pack("<i", 2**31 - 1) + b"abc\0")}),
    ("a text without its zero", {"v": Raw(0x02, struct.pack("<i", 3) + b"abc")}),
    ("a text one byte too short", {"v": Raw(0x02, struct.pack("<i", 3) + b"abc\0")}),
    ("a document of length 4", {"v": Raw(0x03, struct.pack("<i", 4))}),
    ("a document of negative length", {"v": Raw(0x03, struct.pack("<i", -1) + b"\0")}),
    ("a document longer than its parent", {"v": Raw(0x03, struct.pack("<i", 50) + b"\0")}),
    ("a document without its zero", {"v": Raw(0x03, struct.pack("<i", 5) + b"\1")}),
    ("an array without its zero", {"v": Raw(0x04, struct.pack("<i", 5) + b"\1")}),
    ("a binary of negative length", {"v": Raw(0x05, struct.pack("<iB", -1, 0))}),
    ("a binary longer than its document", {"v": Raw(0x05, struct.pack("<iB", 100, 0) + b"abc")}),
    ("an old binary whose lengths differ", {"v": Raw(0x05, struct.pack("<iBi", 7, 2, 2) + b"abc")}),
    ("an old binary too short for its length", {"v": Raw(0x05, struct.pack("<iB", 2, 2) + b"ab")}),
    ("a boolean that is 2", {"v": Raw(0x08, b"\2")}),
    ("a type that is none", {"v": Raw(0x15, b"")}),
    ("a type 0x00 in the middle", {"v": Raw(0x00, b""), "w": 1}),
    ("an ObjectId cut short", {"v": Raw(0x07, bytes(11))}),
    ("an ObjectId of zeros cut shorter", {"v": Raw(0x07, bytes(5))}),
    ("a dbPointer cut short", {"v": Raw(0x0C, string("c") + bytes(11))}),
    ("a decimal cut short", {"v": Raw(0x13, bytes(15))}),
    ("a double cut short", {"v": Raw(0x01, bytes(7))}),
    ("a timestamp cut short", {"v": Raw(0x11, bytes(7))}),
    ("a boolean cut short", {"v": Raw(0x08, b"")}),
    ("a regex without options", {"v": Raw(0x0B, b"a\0")}),
    (
        "a scope that does not fill its value",
        {"v": Raw(0x0F, struct.pack("<i", 4 + 6 + 5 + 1) + string("f") + document({}) + b"\0")},
    ),
    ("a scope that is cut short", {"v": Raw(0x0F, struct.pack("<i", 4 + 6 + 4) + string("f") + b"\5\0\0\0")}),
    ("a code with scope of length 13", {"v": Raw(0x0F, struct.pack("<i", 13) + string("") + b"\5\0\0\0")}),
]


@pytest.mark.parametrize("content", [case[1] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_such_a_document_is_malformed(content: Any) -> None:
    malformed(document(content))


def test_a_key_that_is_no_utf8_is_malformed() -> None:
    raw = document({"_id": 1, "key": 2})
    malformed(raw.replace(b"key", b"k\xffy"))


@pytest.mark.parametrize("length", [-1, 0, 4, len(FULL) - 1, len(FULL) + 1, 2**31 - 1])
def test_a_document_of_another_length_than_it_states_is_malformed(length: int) -> None:
    malformed(struct.pack("<i", length) + FULL[4:])


def test_bytes_behind_a_document_are_malformed() -> None:
    malformed(FULL + b"\0")
    malformed(FULL + FULL)


@pytest.mark.parametrize("kind", [0x03, 0x04, 0x0F])
@pytest.mark.parametrize(("depth", "readable"), [(100, True), (200, True), (201, False), (5_000, False)])
def test_documents_are_read_to_the_depth_that_mongodb_allows(kind: int, depth: int, readable: bool) -> None:
    inner = document({"s": Symbol("x")})  # has it read exactly
    for _ in range(depth - 2):
        value = inner if kind != 0x0F else struct.pack("<i", len(inner) + 10) + string("f") + inner
        inner = document({"0": Raw(kind, value)})
    raw = document({"_id": 1, "v": Raw(0x03, inner)})
    if not readable:
        malformed(raw)
        return
    (got,) = decode_batch([raw])
    assert not isinstance(got, MalformedError)
    reference.read(raw)


@pytest.mark.parametrize(
    ("path", "value"),
    [("a.b", 1), ("a.c", None), ("list.1.b", 3), ("list.2", None), ("list.b", None), ("n.b", None), ("n", 5), ("none", None)],
)
def test_the_value_at_a_path_is_none_where_the_path_leads_nowhere(path: str, value: Any) -> None:
    content = document({"_id": 1, "a": {"b": 1}, "list": [{"b": 2}, {"b": 3}], "n": 5})
    assert value_at(content, path) == value
