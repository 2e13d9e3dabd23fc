"""What a field becomes in a column, held against cells that a real PostgreSQL sends: the right one agrees, its neighbours not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp
from psycopg import sql

from mongo2pg.checks.stored import stored_rows
from mongo2pg.model import COLUMN_TYPES, LONGEST_KEY, Column, Table
from mongo2pg.queries import SESSION
from mongo2pg.reference import texts, walk
from mongo2pg.reference.cells import Cells, cells_in
from mongo2pg.reference.column_rules import agrees
from mongo2pg.reference.documents import read
from mongo2pg.reference.json_cells import agrees_as_json
from mongo2pg.reference.octets import LONG_BYTES, Mask, Octets
from tests.standing import reading
from tests.unit.raw_bson import Raw, document, string

OID = ObjectId("65a1b2c3d4e5f60718293a4b")
NOON = DatetimeMS(1_700_000_000_123)
MISSING = object()


@pytest.fixture(scope="module")
def conn(postgres) -> Iterator[psycopg.Connection[Any]]:
    with postgres.database() as login, login.connect(autocommit=True) as conn:
        conn.execute(SESSION)
        yield conn


@pytest.fixture(autouse=True)
def every_shape_counts() -> Iterator[None]:
    with reading("by shape"):
        yield


def sent(conn: psycopg.Connection[Any], kind: str, cells: list[str]) -> Cells:
    """Cells of this type, given as SQL, as the sieve has them sent."""
    each = sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {} AS n, ({})::{} AS x").format(n, sql.SQL(cell), sql.SQL(kind)) for n, cell in enumerate(cells)
    )
    ordered = sql.SQL("(SELECT x FROM ({}) AS each ORDER BY n) AS t").format(each)
    table = Table("cells", (Column("x", kind),))
    return stored_rows(conn, table, ordered, sql.SQL("false")).columns["x"]


def said(conn: psycopg.Connection[Any], column: Column, value: Any, cells: list[str]) -> list[bool]:
    """Of each cell whether it agrees with the value."""
    raw = document({"z": 0} if value is MISSING else {"z": 0, "a": value})
    octets = Octets(raw)
    groups = walk.walk(octets, np.array([0]), np.array([len(raw)]), {("a",)} if column.type == "text[]" else set())
    if not groups:
        return [False] * len(cells)
    leaves = {path: leaf.of(np.zeros(len(cells), np.int64)) for path, leaf in groups[0].leaves.items()}
    there = sent(conn, column.type, cells)
    same: Mask | None
    if column.type == "jsonb":
        same = agrees_as_json(octets, leaves, ("a",), there)
    else:
        same = agrees(column, octets, leaves.get(("a",)), there)
    return [False] * len(cells) if same is None else same.tolist()


LONG = "é" * LONG_BYTES
# (type, value, the cell that it becomes, cells that it does not become), cells as SQL.
AGREE: list[tuple[str, Any, str, list[str]]] = [
    ("text", "User", "'User'", ["'user'", "'User '", "' User'", "'Use'", "'Users'", "'Üser'", "''", "NULL"]),
    ("text", "é", "'é'", ["U&'e\\0301'", "'e'", "'É'"]),
    ("text", "", "''", ["NULL", "' '"]),
    ("text", "NULL", "'NULL'", ["NULL", "'null'"]),
    ("text", "a\tb\\N\n\"'", "E'a\\tb\\\\N\\n\"'''", ["E'a\\tb\\\\N\\n\"'"]),
    ("text", LONG, f"'{LONG}'", [f"'{LONG[:-1]}e'", f"'e{LONG[1:]}'", f"'{LONG}é'", f"'{LONG[:-1]}'"]),
    ("text", MISSING, "NULL", ["''"]),
    ("text", None, "NULL", ["''", "'null'"]),
    ("integer", 5, "5", ["6", "-5", "0", "5 + 65536", "NULL"]),
    ("integer", -1, "-1", ["1", "255", "65535"]),
    ("integer", Int64(5), "5", ["6", "NULL"]),
    ("integer", 5.0, "5", ["6", "-5", "NULL"]),
    ("integer", 0.0, "0", ["1", "NULL"]),
    ("integer", Int64(-(2**31)), "-2147483648", ["2147483647", "0"]),
    ("integer", None, "NULL", ["0"]),
    ("bigint", Int64(2**53 + 1), "9007199254740993", ["9007199254740992", "9007199254740994", "NULL"]),
    ("bigint", Int64(-(2**63)), "-9223372036854775808", ["9223372036854775807", "0"]),
    ("bigint", -1, "-1", ["4294967295", "1"]),
    ("bigint", 1e15, "1000000000000000", ["1000000000000001", "-1000000000000000"]),
    ("double precision", 0.1, "0.1", ["0.10000000000000002", "0.09999999999999999", "-0.1", "NULL"]),
    ("double precision", -0.0, "'-0.0'", ["0.0", "NULL"]),
    ("double precision", 0.0, "0.0", ["'-0.0'", "NULL"]),
    ("double precision", 5e-324, "5e-324", ["0", "1e-323"]),
    ("double precision", float("inf"), "'Infinity'", ["'-Infinity'", "'NaN'", "1.7976931348623157e308"]),
    ("double precision", 7, "7", ["7.000000000000001", "-7"]),
    ("double precision", 0, "0", ["'-0.0'"]),
    ("double precision", Int64(2**53), "9007199254740992", ["9007199254740994"]),
    ("boolean", True, "true", ["false", "NULL"]),
    ("boolean", False, "false", ["true", "NULL"]),
    ("timestamptz", NOON, "'2023-11-14 22:13:20.123+00'", [
        "'2023-11-14 22:13:20.123001+00'", "'2023-11-14 22:13:20.122999+00'", "'2023-11-14 22:13:20.124+00'",
        "'2023-11-14 22:13:20.123+01'", "'2023-11-14 22:13:20+00'", "'infinity'", "NULL",
    ]),
    ("timestamptz", DatetimeMS(0), "'1970-01-01 00:00:00+00'", ["'2000-01-01 00:00:00+00'", "NULL"]),
    ("timestamptz", DatetimeMS(-1), "'1969-12-31 23:59:59.999+00'", ["'1970-01-01 00:00:00.001+00'", "'1970-01-01 00:00:00+00'"]),
    ("timestamptz", DatetimeMS(-210_866_803_200_000), "'4714-11-24 00:00+00 BC'", ["'4714-11-25 00:00+00 BC'", "'-infinity'"]),
    ("timestamptz", DatetimeMS(9_224_318_015_999_999), "'294276-12-31 23:59:59.999+00'", [
        "'294276-12-31 23:59:59.999999+00'", "'infinity'",
    ]),
    ("uuid", OID, "'65a1b2c3-d4e5-8f60-8718-293a4b000000'", [
        "'65a1b2c3-d4e5-8f60-8718-293a4b000001'", "'65a1b2c3-d4e5-8f60-8718-293a4c000000'",
        "'65a1b2c3-d4e5-7f60-8718-293a4b000000'",
        "'65a1b2c3-d4e5-8f60-9718-293a4b000000'", "'75a1b2c3-d4e5-8f60-8718-293a4b000000'",
        "'65a1b2c3-d4e5-8f61-8718-293a4b000000'", "NULL",
    ]),
    ("text[]", ["a", "b"], "'{a,b}'", [
        "'{b,a}'", "'{a}'", "'{a,b,b}'", "'{}'", "'{A,b}'", "'[0:1]={a,b}'", "'{{a,b}}'", "'{{a},{b}}'", "'{a,NULL}'",
        "'{a,b,NULL}'", "'{ab}'", "'{\"a,b\"}'", "NULL",
    ]),
    ("text[]", ["", "x"], "'{\"\",x}'", ["'{x,\"\"}'", "'{NULL,x}'", "'{x}'"]),
    ("text[]", [], "'{}'", ["NULL", "'{\"\"}'", "'{NULL}'"]),
    ("text[]", None, "NULL", ["'{}'"]),
    ("jsonb", {"b": 1, "aa": "x", "a": [True, {"c": None}, []], "é": {}},
     '\'{"a": [true, {"c": null}, []], "b": 1, "aa": "x", "é": {}}\'', [
        '\'{"a": [true, {"c": null}, []], "b": 2, "aa": "x", "é": {}}\'',
        '\'{"a": [true, {"c": null}, []], "b": "1", "aa": "x", "é": {}}\'',
        '\'{"a": [true, {"c": null}, []], "b": 1.0, "aa": "x", "é": {}}\'',
        '\'{"a": [true, {"c": null}, []], "b": 1, "aa": "X", "é": {}}\'',
        '\'{"a": [{"c": null}, true, []], "b": 1, "aa": "x", "é": {}}\'',
        '\'{"a": [true, {"c": null}], "b": 1, "aa": "x", "é": {}}\'',
        '\'{"a": [true, {}, []], "b": 1, "aa": "x", "é": {}}\'',
        '\'{"a": [true, {"c": false}, []], "b": 1, "aa": "x", "é": {}}\'',
        '\'{"a": [true, {"c": null}, []], "b": 1, "aa": "x"}\'',
        '\'{"a": [true, {"c": null}, []], "b": 1, "aa": "x", "é": []}\'',
        '\'{"a": [true, {"c": null}, []], "b": 1, "aa": "x", "é": {}, "z": null}\'',
        "'{}'", "NULL",
    ]),
    ("jsonb", {"zz": 1, "z": 2, "é": 3, "aaa": 4}, '\'{"aaa": 4, "é": 3, "zz": 1, "z": 2}\'', [
        '\'{"aaa": 4, "é": 1, "zz": 3, "z": 2}\'',
    ]),
    ("jsonb", {'a"\\b': 1, "\n": 2, "\x01": 3}, '\'{"a\\"\\\\b": 1, "\\n": 2, "\\u0001": 3}\'', [
        '\'{"a\\"\\\\b": 1, "\\n": 3, "\\u0001": 2}\'',
    ]),
    ("jsonb", {"": {"": 1}}, '\'{"": {"": 1}}\'', ['\'{"": 1}\'', '\'{"": {"": {"": 1}}}\'']),
    ("jsonb", {"a.b": 1}, '\'{"a.b": 1}\'', ['\'{"a": {"b": 1}}\'']),
    ("jsonb", {}, "'{}'", ["'[]'", "'null'", "NULL"]),
    ("jsonb", [], "'[]'", ["'{}'", "'[null]'", "'[[]]'", "NULL"]),
    ("jsonb", [[], [1, [2]]], "'[[], [1, [2]]]'", ["'[[], [1, 2]]'", "'[[1, [2]], []]'", "'[[1, [2]]]'"]),
    ("jsonb", "ab", "'\"ab\"'", ["'\"aB\"'", "'\"ab \"'", "'[\"ab\"]'", "NULL"]),
    ("jsonb", "1", "'\"1\"'", ["'1'"]),
    ("jsonb", "null", "'\"null\"'", ["'null'", "NULL"]),
    ("jsonb", LONG, f"'\"{LONG}\"'", [f"'\"{LONG[:-1]}e\"'", f"'\"{LONG}é\"'"]),
    ("jsonb", 5, "'5'", ["'5.0'", "'6'", "'\"5\"'", "'50'", "'[5]'"]),
    ("jsonb", 5.0, "'5.0'", ["'5'", "'5.00'", "'6.0'"]),
    ("jsonb", 1.5, "'1.5'", ["'1.50'", "'1.51'", "'-1.5'"]),
    ("jsonb", 0.1 + 0.2, "'0.30000000000000004'", ["'0.3'", "'0.30000000000000003'"]),
    ("jsonb", Int64(2**53 + 1), "'9007199254740993'", ["'9007199254740992'", "'9007199254740993.0'"]),
    ("jsonb", Int64(-(2**63)), "'-9223372036854775808'", ["'9223372036854775808'"]),
    ("jsonb", True, "'true'", ["'false'", "'\"true\"'", "'1'", "NULL"]),
    ("jsonb", OID, "'{\"$oid\": \"65a1b2c3d4e5f60718293a4b\"}'", [
        "'{\"$oid\": \"65A1B2C3D4E5F60718293A4B\"}'", "'{\"$oid\": \"65a1b2c3d4e5f60718293a4c\"}'",
        "'\"65a1b2c3d4e5f60718293a4b\"'",
    ]),
    ("jsonb", NOON, "'{\"$date\": \"2023-11-14T22:13:20.123Z\"}'", [
        "'{\"$date\": \"2023-11-14T22:13:20.124Z\"}'", "'{\"$date\": \"2023-11-14T22:13:20Z\"}'", "'\"2023-11-14T22:13:20.123Z\"'",
    ]),
    ("jsonb", DatetimeMS(0), "'{\"$date\": \"1970-01-01T00:00:00Z\"}'", ["'{\"$date\": \"1970-01-01T00:00:00.000Z\"}'"]),
    ("jsonb", DatetimeMS(253_402_300_799_999), "'{\"$date\": \"9999-12-31T23:59:59.999Z\"}'", []),
    ("jsonb", DatetimeMS(-1), '\'{"$date": {"$numberLong": "-1"}}\'', ['\'{"$date": "1969-12-31T23:59:59.999Z"}\'']),
    ("jsonb", DatetimeMS(253_402_300_800_000), '\'{"$date": {"$numberLong": "253402300800000"}}\'', [
        '\'{"$date": {"$numberLong": "253402300799999"}}\'',
    ]),
    ("jsonb", 'a"b', '\'"a\\"b"\'', ["'\"ab\"'", "'\"a''b\"'"]),
    ("jsonb", "a\\b", "'\"a\\\\b\"'", ["'\"a/b\"'", "'\"a\\\\\\\\b\"'"]),
    ("jsonb", "\b\f\n\r\t\x01\x1f\x7f/é", "'\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f/é\"'", [
        "'\"\\b\\f\\n\\r\\t\\u0001\\u001e\x7f/é\"'", "'\"\\b\\f\\r\\n\\t\\u0001\\u001f\x7f/é\"'",
    ]),
    ("jsonb", ["\n", LONG + '"', "x"], f"'[\"\\n\", \"{LONG}\\\"\", \"x\"]'", [f"'[\"\\n\", \"{LONG}\", \"x\"]'"]),
    ("jsonb", -0.0, '\'{"$numberDouble": "-0.0"}\'', ["'0.0'", "'-0.0'"]),
    ("jsonb", 0.0, "'0.0'", ["'0'", '\'{"$numberDouble": "-0.0"}\'']),
    ("jsonb", 1e15, '\'{"$numberDouble": "1000000000000000.0"}\'', ["'1000000000000000.0'"]),
    ("jsonb", float("nan"), '\'{"$numberDouble": "NaN"}\'', ['\'{"$numberDouble": "Infinity"}\'', "'\"NaN\"'"]),
    ("jsonb", float("-inf"), '\'{"$numberDouble": "-Infinity"}\'', ['\'{"$numberDouble": "Infinity"}\'']),
    ("jsonb", 1e-7, "'1e-7'", ["'1e-8'", "'1.0e-7'", "'0'"]),
    ("jsonb", 5e-324, "'5e-324'", ["'4.9e-324'"]),
    ("jsonb", [Decimal128("1.10")], '\'[{"$numberDecimal": "1.10"}]\'', ['\'[{"$numberDecimal": "1.1"}]\'', "'[1.10]'"]),
    ("jsonb", Decimal128("-0E+3"), '\'{"$numberDecimal": "-0E+3"}\'', ['\'{"$numberDecimal": "0E+3"}\'']),
    ("numeric", 5, "5", ["5.0", "50", "NULL"]),
    ("numeric", 0.1, "0.1", ["0.10", "0.1000000000000000055511151231257827"]),
    ("numeric", Decimal128("1.10"), "1.10", ["1.1", "-1.10"]),
    ("bytea", b"x", "'x'", ["''", "'xx'", "'X'", "NULL"]),
    ("uuid", Binary(bytes(range(16)), 4), "'00010203-0405-0607-0809-0a0b0c0d0e0f'", ["'00010203-0405-0607-0809-0a0b0c0d0e0e'"]),
    ("jsonb", MISSING, "NULL", ["'null'", "'{}'"]),
    ("jsonb", None, "NULL", ["'null'", "'{}'"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "value", "right", "wrong"), AGREE, ids=[f"{case[0]} {str(case[1])[:20]!r}" for case in AGREE])
def test_a_value_agrees_with_its_cell_and_with_no_neighbour(
    conn: psycopg.Connection[Any], kind: str, value: Any, right: str, wrong: list[str]
) -> None:
    got = said(conn, Column("a", kind), value, [right, *wrong, right])
    assert got == [True, *[False] * len(wrong), True]


# Right as the cell may be, another rule has to say so.
LEFT: list[tuple[str, Any, str]] = [
    ("bigint", 2.0**53, "9007199254740992"),
    ("double precision", float("nan"), "'NaN'"),
    ("bytea", Binary(b"x", 5), "'x'"),
    ("uuid", str(OID), "'65a1b2c3-d4e5-8f60-8718-293a4b000000'"),
    ("jsonb", Timestamp(1, 2), '\'{"$timestamp": {"t": 1, "i": 2}}\''),
]


@pytest.mark.parametrize(("kind", "value", "right"), LEFT)
def test_a_value_that_is_left_to_others_agrees_with_nothing(
    conn: psycopg.Connection[Any], kind: str, value: Any, right: str
) -> None:
    assert said(conn, Column("a", kind), value, [right, "NULL"]) == [False, False]


VALUES: list[Any] = [
    *("x", "", "5", "true", "2024-02-29", str(OID), "a\0b", Raw(0x02, b"\2\0\0\0\xff\0"), Raw(0x02, string("a\0b"))),
    *(0, 1, -1, Int64(5), Int64(2**31), Int64(2**53 + 1), Int64(2**63 - 1), 0.0, -0.0, 1.0, 5.5, 1e300, 2.0**63),
    *(float("nan"), float("inf"), Raw(0x01, b"\1\0\0\0\0\0\xf0\x7f")),
    *(True, False, NOON, DatetimeMS(9_224_318_016_000_000), DatetimeMS(-210_866_803_200_001), DatetimeMS(2**63 - 1)),
    *(OID, Binary(bytes(16), 4), b"x", {}, {"a": 1}, [], ["x"], [1], [None], ["a\0b"], [["x"]], [{}]),
    *(Decimal128("1"), Regex("x"), Timestamp(1, 2), Code("x"), MaxKey()),
]
SAMPLES = {
    "bigint": [
        "0",
        "1",
        "-1",
        "5",
        "2147483648",
        "9007199254740992",
        "9007199254740993",
        "9223372036854775807",
        "-9223372036854775808",
    ],
    "boolean": ["true", "false"],
    "bytea": ["''", "'x'"],
    "double precision": ["0", "'-0.0'", "1", "5", "5.5", "'NaN'", "'Infinity'", "9007199254740992"],
    "integer": ["0", "1", "-1", "5", "6", "2147483647", "-2147483648"],
    "jsonb": ["'null'", "'{}'", "'[]'", "'\"a\"'", "'\"ab\"'", "'\"\"'"],
    "numeric": ["0", "1", "'NaN'"],
    "text": ["''", "'x'", "'5'", "'true'", "'a'", "'ab'", "'{}'", f"'{OID}'"],
    "text[]": ["'{}'", "'{x}'", "'{NULL}'", "'{\"\"}'", "'{{x}}'", "'{1}'", "'{a}'", "'{ab}'"],
    "timestamptz": ["'infinity'", "'-infinity'", "'2000-01-01+00'", "'2024-02-29+00'", "'294276-12-31 23:59:59.999999+00'"],
    "uuid": ["'00000000-0000-0000-0000-000000000000'", "'65a1b2c3-d4e5-8f60-8718-293a4b000000'"],
}


@pytest.mark.parametrize("kind", sorted(COLUMN_TYPES))
def test_a_value_that_does_not_fit_agrees_with_no_cell(conn: psycopg.Connection[Any], kind: str) -> None:
    column = Column("a", kind)
    unfit = [value for value in VALUES if not fits(column, value)]
    assert len(unfit) >= (3 if kind == "jsonb" else 10)
    for value in unfit:
        cells = [*SAMPLES[kind], "NULL"]
        assert said(conn, column, value, cells) == [False] * len(cells), value


def fits(column: Column, value: Any) -> bool:
    """By the plain rule; a text that is malformed never."""
    try:
        texts.text_of(read(document({"a": value}))["a"], column)
    except Exception:
        return False
    return True


ENUM = ("red", "green", "")
DECLARED: list[tuple[Column, Any, list[str], list[bool]]] = [
    (Column("a", "text", enum=ENUM), "red", ["'red'", "'green'"], [True, False]),
    (Column("a", "text", enum=ENUM), "", ["''", "NULL"], [True, False]),
    (Column("a", "text", enum=ENUM), "re", ["'re'", "'red'", "NULL"], [False, False, False]),
    (Column("a", "text", enum=ENUM), "redd", ["'redd'", "'red'", "NULL"], [False, False, False]),
    (Column("a", "text", enum=ENUM), "Red", ["'Red'", "'red'", "NULL"], [False, False, False]),
    (Column("a", "text[]", enum=ENUM), ["red", ""], ["'{red,\"\"}'"], [True]),
    (Column("a", "text[]", enum=ENUM), ["red", "blue"], ["'{red,blue}'", "NULL"], [False, False]),
    (Column("a", "text", enum=ENUM, aliases=(("rot", "red"),)), "rot", ["'rot'", "'red'"], [False, False]),
    (Column("a", "text", enum=ENUM, aliases=(("red", "green"),)), "red", ["'red'", "'green'"], [False, False]),
    (Column("a", "text", enum=ENUM, aliases=(("rot", "red"),)), "green", ["'green'"], [True]),
    (Column("a", "text", nul="remove"), "a\0b", ["'ab'", "'a'", "NULL"], [False, False, False]),
    (Column("a", "text", nul="remove"), "ab", ["'ab'"], [True]),
    (Column("a", "integer", parse=True), "5", ["5", "NULL"], [False, False]),
    (Column("a", "timestamptz", parse=True), "2024-02-29", ["'2024-02-29+00'", "NULL"], [False, False]),
    (Column("a", "integer", default=7), MISSING, ["7", "NULL", "8"], [True, False, False]),
    (Column("a", "integer", default=7), None, ["7", "NULL", "8"], [True, False, False]),
    (Column("a", "integer", default=7), 8, ["8", "7"], [True, False]),
    (Column("a", "integer", required=True), MISSING, ["NULL", "0"], [False, False]),
    (Column("a", "integer", required=True), None, ["NULL", "0"], [False, False]),
    (Column("a", "integer", required=True), 8, ["8", "NULL"], [True, False]),
    (Column("a", "text", longest=LONGEST_KEY), "x" * LONGEST_KEY, [f"repeat('x', {LONGEST_KEY})"], [True]),
    (Column("a", "text", longest=LONGEST_KEY), "x" * LONGEST_KEY + "x", [f"repeat('x', {LONGEST_KEY + 1})"], [False]),
    (Column("a", "text", longest=LONGEST_KEY), "é" * LONGEST_KEY, [f"repeat('é', {LONGEST_KEY})"], [False]),
]


@pytest.mark.parametrize(("column", "value", "cells", "want"), DECLARED)
def test_what_a_declaration_says_of_values_is_respected(
    conn: psycopg.Connection[Any], column: Column, value: Any, cells: list[str], want: list[bool]
) -> None:
    assert said(conn, column, value, cells) == want


def test_cells_of_other_sizes_than_they_say_are_refused() -> None:
    assert cells_in(b"xyz", np.array([1, -1, 0, 2])).at.tolist() == [0, 1, 1, 1]
    for sizes in ([1, 1], [4], [], [2, -1, 2]):
        with pytest.raises(ValueError, match="came as 3"):
            cells_in(b"xyz", np.array(sizes, np.int64))
