"""What becomes of a value: every BSON type against every column type, by the rule, by the fast path and by the projector."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

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

from mongo2pg.batches import typed_columns
from mongo2pg.documents import bson_types, values
from mongo2pg.documents.decode import DBPointer, MalformedError, OddRegex, Symbol, Undefined, decode_batch
from mongo2pg.documents.extended_json import extended_json
from mongo2pg.documents.reasons import UnfitError
from mongo2pg.documents.values import Converted
from mongo2pg.model import COLUMN_TYPES, Column, ColumnType
from mongo2pg.reference import documents, texts
from tests.unit.column_text import json_form, plain, text_of_stored
from tests.unit.raw_bson import Raw, document

OID = "64b7f0a1c2d3e4f5a6b7c8d9"
UUID_OF_OID = bytes.fromhex("64b7f0a1c2d38e4f85a6b7c8d9000000")
SIXTEEN = bytes(range(16))

VALUES: dict[str, Any] = {
    "text": "abc",
    "empty text": "",
    "text with U+0000": "a\0b",
    "hex digits": OID,
    "int": 5,
    "int min": -(2**31),
    "long 5": Int64(5),
    "long 2^31": Int64(2**31),
    "long 2^53": Int64(2**53),
    "long 2^53 + 1": Int64(2**53 + 1),
    "long max": Int64(2**63 - 1),
    "long min": Int64(-(2**63)),
    "5.0": 5.0,
    "3.5": 3.5,
    "0.0": 0.0,
    "-0.0": -0.0,
    "1e15": 1e15,
    "-2^31 as double": -(2.0**31),
    "2^63 as double": 2.0**63,
    "-2^63 as double": -(2.0**63),
    "1e300": 1e300,
    "smallest double": 5e-324,
    "NaN": math.nan,
    "Infinity": math.inf,
    "decimal 1.10": Decimal128("1.10"),
    "decimal 5": Decimal128("5"),
    "decimal 1E+3": Decimal128("1E+3"),
    "decimal 0E+3": Decimal128("0E+3"),
    "decimal 1E-6176": Decimal128("1E-6176"),
    "decimal -0.00": Decimal128("-0.00"),
    "decimal NaN": Decimal128("NaN"),
    "decimal sNaN": Decimal128("sNaN"),
    "decimal -Infinity": Decimal128("-Infinity"),
    "true": True,
    "false": False,
    "1970": DatetimeMS(0),
    "a ms before 1970": DatetimeMS(-1),
    "4714 BC": DatetimeMS(-210_866_803_200_000),
    "before 4714 BC": DatetimeMS(-210_866_803_200_001),
    "294276": DatetimeMS(9_224_318_015_999_999),
    "294277": DatetimeMS(9_224_318_016_000_000),
    "year 10000": DatetimeMS(253_402_300_800_000),
    "date max": DatetimeMS(2**63 - 1),
    "objectId": ObjectId(OID),
    "uuid 4": Binary(SIXTEEN, 4),
    "uuid 3": Binary(SIXTEEN, 3),
    "uuid 4 like an objectId's": Binary(UUID_OF_OID, 4),
    "uuid 4 of 3 bytes": Binary(b"abc", 4),
    "binary 0": b"\x00\xff",
    "binary 0 of 16 bytes": SIXTEEN,
    "binary 5": Binary(b"abc", 5),
    "document": {"a": 1},
    "empty document": {},
    "document like a DBRef": {"$ref": "users", "$id": 5},
    "empty array": [],
    "texts": ["a", ""],
    "texts with null": ["a", None],
    "texts with a number": ["a", 5],
    "texts with U+0000": ["a", "b\0"],
    "regex": Regex("a/b", "im"),
    "regex with odd options": OddRegex("a", "gi"),
    "timestamp": Timestamp(1, 2),
    "code": Code("f()"),
    "code with scope": Code("f()", {"x": Int64(1)}),
    "symbol": Symbol("abc"),
    "undefined": Undefined(),
    "dbPointer": DBPointer("users", ObjectId(OID)),
    "minKey": MinKey(),
    "maxKey": MaxKey(),
}


class Bad(NamedTuple):
    """Does not fit; `below` is where inside the value."""

    reason: str
    below: str = ""


class Kept(NamedTuple):
    """Fits, and the original form goes to `extra`."""

    stored: Any


class Changed(NamedTuple):
    """Fits in another form, which is counted."""

    stored: Any


SMALL_INTEGERS = {"int": 5, "int min": -(2**31), "long 5": 5, "5.0": 5, "0.0": 0, "-2^31 as double": -(2**31)}
NO_INTEGERS = {
    "3.5": Bad("not_integral"),
    "-0.0": Bad("not_integral"),
    "smallest double": Bad("not_integral"),
    "1e300": Bad("out_of_range"),
    "NaN": Bad("out_of_range"),
    "Infinity": Bad("out_of_range"),
    "2^63 as double": Bad("out_of_range"),
}
IDS = {
    "hex digits": Kept(UUID_OF_OID),
    "objectId": UUID_OF_OID,
    "uuid 4": SIXTEEN,
    "uuid 3": Kept(SIXTEEN),
    "uuid 4 like an objectId's": Kept(UUID_OF_OID),
}

# What each column holds of each value; what is not listed is a type_mismatch.
FITS: dict[ColumnType, dict[str, Any]] = {
    "text": {"text": "abc", "empty text": "", "text with U+0000": Bad("nul_character"), "hex digits": OID},
    "text[]": {
        "empty array": [],
        "texts": ["a", ""],
        "texts with null": Bad("required", "1"),
        "texts with a number": Bad("type_mismatch", "1"),
        "texts with U+0000": Bad("nul_character", "1"),
    },
    "integer": {
        **SMALL_INTEGERS,
        **NO_INTEGERS,
        "1e15": Bad("out_of_range"),
        "-2^63 as double": Bad("out_of_range"),
        "long 2^31": Bad("out_of_range"),
        "long 2^53": Bad("out_of_range"),
        "long 2^53 + 1": Bad("out_of_range"),
        "long max": Bad("out_of_range"),
        "long min": Bad("out_of_range"),
    },
    "bigint": {
        **SMALL_INTEGERS,
        **NO_INTEGERS,
        "1e15": 10**15,
        "-2^63 as double": -(2**63),
        "long 2^31": 2**31,
        "long 2^53": 2**53,
        "long 2^53 + 1": 2**53 + 1,
        "long max": 2**63 - 1,
        "long min": -(2**63),
    },
    "double precision": {
        "int": 5.0,
        "int min": -2147483648.0,
        "long 5": 5.0,
        "long 2^31": 2147483648.0,
        "long 2^53": 9007199254740992.0,
        "long 2^53 + 1": Bad("inexact"),
        "long max": Bad("inexact"),
        "long min": -9223372036854775808.0,
        "5.0": 5.0,
        "3.5": 3.5,
        "0.0": 0.0,
        "-0.0": -0.0,
        "1e15": 1e15,
        "-2^31 as double": -2147483648.0,
        "2^63 as double": 2.0**63,
        "-2^63 as double": -(2.0**63),
        "1e300": 1e300,
        "smallest double": 5e-324,
        "NaN": math.nan,
        "Infinity": math.inf,
    },
    "numeric": {
        "int": "5",
        "int min": "-2147483648",
        "long 5": "5",
        "long 2^31": "2147483648",
        "long 2^53": "9007199254740992",
        "long 2^53 + 1": "9007199254740993",
        "long max": "9223372036854775807",
        "long min": "-9223372036854775808",
        "5.0": "5.0",
        "3.5": "3.5",
        "0.0": "0.0",
        "-0.0": Changed("0"),
        "1e15": "1000000000000000.0",
        "-2^31 as double": "-2147483648.0",
        "2^63 as double": "9223372036854776000",
        "-2^63 as double": "-9223372036854776000",
        "1e300": "1" + 300 * "0",
        "smallest double": "0." + 323 * "0" + "5",
        "NaN": "NaN",
        "Infinity": "Infinity",
        "decimal 1.10": "1.10",
        "decimal 5": "5",
        "decimal 1E+3": Changed("1000"),
        "decimal 0E+3": Changed("0"),
        "decimal 1E-6176": "0." + 6175 * "0" + "1",
        "decimal -0.00": Changed("0.00"),
        "decimal NaN": "NaN",
        "decimal sNaN": Changed("NaN"),
        "decimal -Infinity": "-Infinity",
    },
    "boolean": {"true": True, "false": False},
    "timestamptz": {
        "1970": 0,
        "a ms before 1970": -1,
        "4714 BC": -210_866_803_200_000,
        "before 4714 BC": Bad("out_of_range"),
        "294276": 9_224_318_015_999_999,
        "294277": Bad("out_of_range"),
        "year 10000": 253_402_300_800_000,
        "date max": Bad("out_of_range"),
    },
    "uuid": IDS,
    "bytea": {
        "uuid 4": Kept(SIXTEEN),
        "uuid 3": Kept(SIXTEEN),
        "uuid 4 like an objectId's": Kept(UUID_OF_OID),
        "uuid 4 of 3 bytes": Kept(b"abc"),
        "binary 0": b"\x00\xff",
        "binary 0 of 16 bytes": SIXTEEN,
        "binary 5": Kept(b"abc"),
    },
    "jsonb": {
        "text": '"abc"',
        "empty text": '""',
        "text with U+0000": Bad("nul_character"),
        "hex digits": '"64b7f0a1c2d3e4f5a6b7c8d9"',
        "int": "5",
        "int min": "-2147483648",
        "long 5": "5",
        "long 2^31": "2147483648",
        "long 2^53": "9007199254740992",
        "long 2^53 + 1": "9007199254740993",
        "long max": "9223372036854775807",
        "long min": "-9223372036854775808",
        "5.0": "5.0",
        "3.5": "3.5",
        "0.0": "0.0",
        "-0.0": '{"$numberDouble": "-0.0"}',
        "1e15": '{"$numberDouble": "1000000000000000.0"}',
        "-2^31 as double": "-2147483648.0",
        "2^63 as double": '{"$numberDouble": "9.223372036854776e+18"}',
        "-2^63 as double": '{"$numberDouble": "-9.223372036854776e+18"}',
        "1e300": '{"$numberDouble": "1e+300"}',
        "smallest double": "5e-324",
        "NaN": '{"$numberDouble": "NaN"}',
        "Infinity": '{"$numberDouble": "Infinity"}',
        "decimal 1.10": '{"$numberDecimal": "1.10"}',
        "decimal 5": '{"$numberDecimal": "5"}',
        "decimal 1E+3": '{"$numberDecimal": "1E+3"}',
        "decimal 0E+3": '{"$numberDecimal": "0E+3"}',
        "decimal 1E-6176": '{"$numberDecimal": "1E-6176"}',
        "decimal -0.00": '{"$numberDecimal": "-0.00"}',
        "decimal NaN": '{"$numberDecimal": "NaN"}',
        "decimal sNaN": '{"$numberDecimal": "NaN"}',
        "decimal -Infinity": '{"$numberDecimal": "-Infinity"}',
        "true": "true",
        "false": "false",
        "1970": '{"$date": "1970-01-01T00:00:00Z"}',
        "a ms before 1970": '{"$date": {"$numberLong": "-1"}}',
        "4714 BC": '{"$date": {"$numberLong": "-210866803200000"}}',
        "before 4714 BC": '{"$date": {"$numberLong": "-210866803200001"}}',
        "294276": '{"$date": {"$numberLong": "9224318015999999"}}',
        "294277": '{"$date": {"$numberLong": "9224318016000000"}}',
        "year 10000": '{"$date": {"$numberLong": "253402300800000"}}',
        "date max": '{"$date": {"$numberLong": "9223372036854775807"}}',
        "objectId": '{"$oid": "64b7f0a1c2d3e4f5a6b7c8d9"}',
        "uuid 4": '{"$binary": {"base64": "AAECAwQFBgcICQoLDA0ODw==", "subType": "04"}}',
        "uuid 3": '{"$binary": {"base64": "AAECAwQFBgcICQoLDA0ODw==", "subType": "03"}}',
        "uuid 4 like an objectId's": '{"$binary": {"base64": "ZLfwocLTjk+FprfI2QAAAA==", "subType": "04"}}',
        "uuid 4 of 3 bytes": '{"$binary": {"base64": "YWJj", "subType": "04"}}',
        "binary 0": '{"$binary": {"base64": "AP8=", "subType": "00"}}',
        "binary 0 of 16 bytes": '{"$binary": {"base64": "AAECAwQFBgcICQoLDA0ODw==", "subType": "00"}}',
        "binary 5": '{"$binary": {"base64": "YWJj", "subType": "05"}}',
        "document": '{"a": 1}',
        "empty document": "{}",
        "document like a DBRef": '{"$ref": "users", "$id": 5}',
        "empty array": "[]",
        "texts": '["a", ""]',
        "texts with null": '["a", null]',
        "texts with a number": '["a", 5]',
        "texts with U+0000": Bad("nul_character"),
        "regex": '{"$regularExpression": {"pattern": "a/b", "options": "im"}}',
        "regex with odd options": '{"$regularExpression": {"pattern": "a", "options": "gi"}}',
        "timestamp": '{"$timestamp": {"t": 1, "i": 2}}',
        "code": '{"$code": "f()"}',
        "code with scope": '{"$code": "f()", "$scope": {"x": 1}}',
        "symbol": '{"$symbol": "abc"}',
        "undefined": '{"$undefined": true}',
        "dbPointer": '{"$dbPointer": {"$ref": "users", "$id": {"$oid": "64b7f0a1c2d3e4f5a6b7c8d9"}}}',
        "minKey": '{"$minKey": 1}',
        "maxKey": '{"$maxKey": 1}',
    },
}

CASES = [(kind, name, FITS[kind].get(name, Bad("type_mismatch"))) for kind in sorted(COLUMN_TYPES) for name in VALUES]
each_case = pytest.mark.parametrize(("kind", "name", "want"), CASES, ids=[f"{name} in {kind}" for kind, name, _ in CASES])


def read(value: Any) -> Any:
    """The value as the mover's decoder gives it."""
    if isinstance(value, OddRegex):
        value = Raw(0x0B, f"{value.pattern}\0{value.options}\0".encode())
    (decoded,) = decode_batch([document({"v": value})])
    assert not isinstance(decoded, MalformedError)
    return decoded["v"]


def read_by_projector(value: Any) -> Any:
    if isinstance(value, OddRegex):
        value = Raw(0x0B, f"{value.pattern}\0{value.options}\0".encode())
    return documents.read(document({"v": value}))["v"]


@each_case
def test_a_value_is_stored_or_refused(kind: ColumnType, name: str, want: Any) -> None:
    column = Column("v", kind)
    try:
        got = values.convert(read(VALUES[name]), column)
    except UnfitError as fault:
        got = Bad(fault.reason, fault.below)
    if isinstance(want, Bad) or isinstance(got, Bad):
        assert got == want
        return
    stored, kept, changed = (got.stored, got.original, got.changed) if isinstance(got, Converted) else (got, False, False)
    assert (kept, changed) == (isinstance(want, Kept), isinstance(want, Changed))
    assert text_of_stored(stored, column) == text_of_stored(want.stored if isinstance(want, Kept | Changed) else want, column)


@each_case
def test_a_whole_column_of_it_is_judged_alike(kind: ColumnType, name: str, want: Any) -> None:
    column = Column("v", kind)
    value = read(VALUES[name])
    got = typed_columns.fill([None, value, value], column)
    stored = want.stored if isinstance(want, Kept | Changed) else None if isinstance(want, Bad) else want
    assert [text_of_stored(item, column) for item in plain(got.array)] == [None, *2 * [text_of_stored(stored, column)]]
    assert got.array.type == typed_columns.ARROW_TYPES[kind]
    assert [(row, below, reason) for row, below, _, reason in got.misfits] == (
        [(1, want.below, want.reason), (2, want.below, want.reason)] if isinstance(want, Bad) else []
    )
    assert got.originals == ([1, 2] if isinstance(want, Kept) else [])
    assert [change.row for change in got.conversions] == ([1, 2] if isinstance(want, Changed) else [])


@each_case
def test_the_projector_gives_the_same_verdict(kind: ColumnType, name: str, want: Any) -> None:
    column = Column("v", kind)
    got: Any
    try:
        got, kept = texts.text_of(read_by_projector(VALUES[name]), column)
    except texts.Unfit as fault:
        got, kept = Bad(fault.reason, fault.below), False
    if isinstance(want, Bad):
        assert got == want
        return
    assert (json_form(got) if kind == "jsonb" else got) == text_of_stored(
        want.stored if isinstance(want, Kept | Changed) else want, column
    )
    assert kept == isinstance(want, Kept)


@pytest.mark.parametrize("kind", sorted(COLUMN_TYPES))
def test_one_odd_value_among_others_changes_nothing_for_them(kind: ColumnType) -> None:
    column = Column("v", kind)
    names = [name for name, want in FITS[kind].items() if not isinstance(want, Bad)]
    decoded = [read(VALUES[name]) for name in names]
    alone = [plain(typed_columns.fill([value], column).array)[0] for value in decoded]
    among = typed_columns.fill([*decoded, None, read(VALUES["minKey"])], column)
    assert [repr(value) for value in plain(among.array)[: len(names)]] == [repr(value) for value in alone]


# --------------------------------------------------------------------------------------------------------- references

# A reference takes whatever may be an `_id`; mongod takes arrays, regular expressions and undefined for none.
NO_REFERENCES = {
    "empty array",
    "texts",
    "texts with null",
    "texts with a number",
    "texts with U+0000",
    "regex",
    "regex with odd options",
    "undefined",
}


@pytest.mark.parametrize("name", VALUES)
def test_a_reference_takes_whatever_may_be_an_id(name: str) -> None:
    column = Column("v", "uuid", references="users")
    if name in NO_REFERENCES:
        with pytest.raises(UnfitError, match="type_mismatch"):
            values.convert(read(VALUES[name]), column)
        with pytest.raises(texts.Unfit, match="type_mismatch"):
            texts.text_of(read_by_projector(VALUES[name]), column)
        return
    got = values.convert(read(VALUES[name]), column)
    stored, kept = (got.stored, got.original) if isinstance(got, Converted) else (got, False)
    assert kept is (name not in ("objectId", "uuid 4"))
    assert texts.text_of(read_by_projector(VALUES[name]), column) == (text_of_stored(stored, column), kept)


# -------------------------------------------------------------------------------------------------------------- enums


@pytest.mark.parametrize(
    ("kind", "value", "want"),
    [
        ("text", "red", "red"),
        ("text", "", ""),
        ("text", "blue", Bad("enum")),
        ("text", "Red", Bad("enum")),
        ("text", "red ", Bad("enum")),
        ("text", 5, Bad("type_mismatch")),
        ("text", "red\0", Bad("nul_character")),
        ("text[]", [], []),
        ("text[]", ["red", "red", ""], ["red", "red", ""]),
        ("text[]", ["red", "blue"], Bad("enum", "1")),
        ("text[]", ["blue", 5], Bad("type_mismatch", "1")),
        ("text[]", ["blue", None], Bad("required", "1")),
        ("text[]", "red", Bad("type_mismatch")),
    ],
    ids=repr,
)
def test_an_enum_lets_its_values_pass_and_no_other(kind: ColumnType, value: Any, want: Any) -> None:
    column = Column("v", kind, enum=("red", ""))
    got: Any
    try:
        got = values.convert(value, column)
    except UnfitError as fault:
        got = Bad(fault.reason, fault.below)
    assert got == want
    filled = typed_columns.fill([value, None], column)
    assert filled.array.to_pylist() == [None if isinstance(want, Bad) else want, None]
    assert [(below, reason) for _, below, _, reason in filled.misfits] == ([want[::-1]] if isinstance(want, Bad) else [])
    if isinstance(want, Bad):
        with pytest.raises(texts.Unfit) as refused:
            texts.text_of(value, column)
        assert Bad(refused.value.reason, refused.value.below) == want
    else:
        assert texts.text_of(value, column) == (text_of_stored(want, column), False)


# --------------------------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ("a\0b", '{"$utf8":"YQBi"}'),
        ({"k": ["\0"]}, '{"k":[{"$utf8":"AA=="}]}'),
        (Code("\0"), '{"$code":{"$utf8":"AA=="}}'),
        (Symbol("\0"), '{"$symbol":{"$utf8":"AA=="}}'),
        (Code("f", {"x": "\0"}), '{"$code":"f","$scope":{"x":{"$utf8":"AA=="}}}'),
        ("\x01\x1f\x7f\u2028\ud7ff\U0010ffff", '"\\u0001\\u001f\x7f\u2028\ud7ff\U0010ffff"'),
    ],
    ids=repr,
)
def test_in_extra_a_text_with_u0000_is_base64_of_its_bytes(value: Any, want: str) -> None:
    assert extended_json(value, keep_nul=True) == want
    if "\x01" not in want and "\\u0001" not in want:
        with pytest.raises(UnfitError, match="nul_character"):
            extended_json(value)


@pytest.mark.parametrize("scoped", [False, True], ids=["documents", "code with scope"])
def test_values_may_be_nested_as_deep_as_bson_lets_them(scoped: bool) -> None:
    value: Any = 1
    for _ in range(150):
        value = Code("f", {"a": value}) if scoped else {"a": value}
    text = extended_json(value)
    assert text.count("{") == (300 if scoped else 150)


@pytest.mark.parametrize(
    ("value", "want"),
    [
        (VALUES[name], want)
        for want, names in {
            "string": ["text"],
            "int": ["int"],
            "long": ["long 5"],
            "double": ["3.5", "NaN"],
            "decimal": ["decimal 1.10"],
            "bool": ["true"],
            "date": ["1970"],
            "objectId": ["objectId"],
            "binData": ["binary 0", "uuid 4"],
            "object": ["document", "document like a DBRef"],
            "array": ["texts"],
            "regex": ["regex", "regex with odd options"],
            "timestamp": ["timestamp"],
            "javascript": ["code"],
            "javascriptWithScope": ["code with scope"],
            "symbol": ["symbol"],
            "undefined": ["undefined"],
            "dbPointer": ["dbPointer"],
            "minKey": ["minKey"],
            "maxKey": ["maxKey"],
        }.items()
        for name in names
    ]
    + [(None, "null")],
    ids=repr,
)
def test_bson_types_have_the_names_that_mongodb_gives_them(value: Any, want: str) -> None:
    assert bson_types.bson_type(read(value)) == want
