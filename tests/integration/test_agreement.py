"""What the sieve agrees on is in the target exactly as it must be, whatever stands in the documents and in the rows."""

from __future__ import annotations

import math
import random
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import bson
import numpy as np
import psycopg
import pytest
from bson import Binary, DatetimeMS, Decimal128, Int64, Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from benchmarks.data import DATA_SETS
from deepiri.registry import DOMAINS
from demo.sample import clean_documents
from mongo2pg.checks import sieve
from mongo2pg.documents.decode import OPTIONS
from mongo2pg.model import Child, Collection, Column
from mongo2pg.queries import exact, row_hash
from tests.documents import oid, uuid_of
from tests.fuzz import QUIET, agreed_on
from tests.standing import WAYS, Standing, reading
from tests.unit.raw_bson import Pairs, Raw, document


@pytest.fixture(scope="module")
def database(postgres) -> Iterator[psycopg.Connection[Any]]:
    with postgres.database() as login, login.connect() as conn:
        yield conn


@pytest.fixture
def conn(database: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    with database.transaction(force_rollback=True):
        yield database


@pytest.fixture(params=WAYS)
def read_at_once(request: pytest.FixtureRequest) -> Iterator[None]:
    with reading(request.param):
        yield


# --- one thing amiss among rows ----------------------------------------------------------------------------------------

THINGS = Collection(
    "things",
    "things",
    "updatedAt",
    (
        Column("name", "text"),
        Column("size.width", "integer"),
        Column("owner", "uuid", "owner_id", references="things"),
        # Names that queries may use themselves.
        *(Column(name, "integer") for name in ("low", "high", "dangles", "hash", "text0", "parent0", "a", "t", "rows", "hashed")),
    ),
    children=(
        Child("parts", "parts", "documents", (Column("label", "text"),)),
        Child("prices", "prices", "map", (Column("amount", "bigint"),), key="currency"),
        Child("tags", "tags", "scalars", (Column("", "text", "tag"),), unique_value=True),
        Child("steps", "steps", "scalars", (Column("", "jsonb", "step"),)),
    ),
    ignored=("__v", "cache.tmp"),
    deletes="mark",
)


def thing(number: int, **fields: Any) -> bytes:
    content: dict[str, Any] = {
        "_id": oid(number),
        "name": f"thing {number}",
        "size": {"width": number},
        "parts": [{"_id": oid(number * 100 + at), "label": f"part {at}"} for at in range(3)],
        "prices": {"EUR": {"amount": 5}, "a.b": {"amount": 6}},
        "tags": ["x", "y"],
        "steps": ["one", 2],
        "colour": {"red": 1},
        "cache": {"tmp": "anything"},
        "__v": 0,
        **fields,
    }
    return document({name: value for name, value in content.items() if value is not ...})


COUNT = 4


@pytest.fixture
def things(conn: psycopg.Connection[Any], read_at_once: None) -> Standing:
    """Things 1 to 4 and their rows."""
    standing = Standing(conn, THINGS)
    standing.put([thing(number) for number in range(1, COUNT + 1)])
    conn.execute("SET LOCAL search_path = public, pg_catalog, pg_temp")
    return standing


ONE = uuid_of(1)
# What is done to the rows, and the numbers of the things that are not agreed on any more.
ROWS: list[tuple[str, str, set[int]]] = [
    ("nothing", "SELECT", set()),
    ("a value", f"UPDATE things SET name = 'Thing 1' WHERE id = '{ONE}'", {1}),
    ("a value of one below a key", f"UPDATE things SET size_width = 2 WHERE id = '{ONE}'", {1}),
    ("the values of two rows", "UPDATE things SET size_width = 3 - size_width WHERE size_width < 3", {1, 2}),
    ("a row missing", f"DELETE FROM things WHERE id = '{ONE}'", {1}),
    ("a row twice", f"INSERT INTO things SELECT * FROM things WHERE id = '{ONE}'", {1}),
    ("a row under another id", f"UPDATE things SET id = gen_random_uuid() WHERE id = '{ONE}'", {1}),
    ("a row under the id of another", f"UPDATE things SET id = '{uuid_of(2)}' WHERE id = '{ONE}'", {1, 2}),
    ("a row of nobody", "INSERT INTO things (id) SELECT gen_random_uuid()", set()),
    ("a mark", f"UPDATE things SET deleted_at = now() WHERE id = '{ONE}'", {1}),
    ("a field in extra", f"UPDATE things SET extra = extra || '{{\"more\": 1}}' WHERE id = '{ONE}'", {1}),
    ("no extra", f"UPDATE things SET extra = NULL WHERE id = '{ONE}'", {1}),
    ("an ignored field in extra", f"UPDATE things SET extra = extra || '{{\"__v\": 0}}' WHERE id = '{ONE}'", {1}),
    ("what is around an ignored field", f"UPDATE things SET extra = extra || '{{\"cache\": {{}}}}' WHERE id = '{ONE}'", {1}),
    ("a value that dangles", f"UPDATE things SET owner_id = gen_random_uuid() WHERE id = '{ONE}'", {1}),
    ("no element", f"DELETE FROM parts WHERE thing_id = '{ONE}'", {1}),
    ("an element missing", f"DELETE FROM parts WHERE thing_id = '{ONE}' AND ordinal = 2", {1}),
    ("an element twice", f"INSERT INTO parts SELECT * FROM parts WHERE thing_id = '{ONE}' AND ordinal = 2", {1}),
    (
        "an element twice and another missing",
        f"UPDATE parts SET (id, ordinal, source_id, label) = (SELECT id, ordinal, source_id, label FROM parts WHERE "
        f"thing_id = '{ONE}' AND ordinal = 0) WHERE thing_id = '{ONE}' AND ordinal = 2",
        {1},
    ),
    (
        "an element more, under an id of its own",
        f"INSERT INTO parts (id, thing_id, ordinal) SELECT gen_random_uuid(), '{ONE}', 3",
        {1},
    ),
    ("an element of another", f"UPDATE parts SET thing_id = '{uuid_of(2)}' WHERE thing_id = '{ONE}' AND ordinal = 2", {1, 2}),
    (
        "an element of each changed for one of the other",
        f"UPDATE parts SET thing_id = CASE thing_id WHEN '{ONE}' THEN '{uuid_of(2)}' ELSE '{ONE}' END::uuid "
        f"WHERE thing_id IN ('{ONE}', '{uuid_of(2)}') AND ordinal = 2",
        {1, 2},
    ),
    ("an element of nobody", "UPDATE parts SET thing_id = gen_random_uuid() WHERE label = 'part 2'", set(range(1, COUNT + 1))),
    ("two ordinals", f"UPDATE parts SET ordinal = 1 - ordinal WHERE thing_id = '{ONE}' AND ordinal < 2", {1}),
    ("no ordinal", f"UPDATE parts SET ordinal = NULL WHERE thing_id = '{ONE}' AND ordinal = 0", {1}),
    ("the id of an element", f"UPDATE parts SET id = gen_random_uuid() WHERE thing_id = '{ONE}' AND ordinal = 0", {1}),
    ("what its own id was", f"UPDATE parts SET source_id = NULL WHERE thing_id = '{ONE}' AND ordinal = 0", {1}),
    ("a field in an element's extra", f"UPDATE parts SET extra = '{{}}' WHERE thing_id = '{ONE}' AND ordinal = 0", {1}),
    ("the key of an entry", f"UPDATE prices SET currency = 'eur' WHERE thing_id = '{ONE}' AND currency = 'EUR'", {1}),
    ("the value of an entry", f"UPDATE prices SET amount = 7 WHERE thing_id = '{ONE}' AND currency = 'a.b'", {1}),
    ("two values of an array", f"UPDATE tags SET ordinal = 1 - ordinal WHERE thing_id = '{ONE}'", {1}),
    ("a value of an array", f"UPDATE tags SET tag = 'X' WHERE thing_id = '{ONE}' AND tag = 'x'", {1}),
    ("jsonb in an array", f"UPDATE steps SET step = '2.0' WHERE thing_id = '{ONE}' AND ordinal = 1", {1}),
]


@pytest.mark.parametrize(("statement", "want"), [case[1:] for case in ROWS], ids=[case[0] for case in ROWS])
def test_whatever_is_amiss_in_a_row_its_document_is_let_through_and_no_other(
    things: Standing, statement: str, want: set[int]
) -> None:
    things.conn.execute(statement.encode())
    agreed = things.agreed([thing(number) for number in range(1, COUNT + 1)])
    assert {number for number in range(1, COUNT + 1) if number - 1 not in agreed} == want


# --- one thing amiss in a document -------------------------------------------------------------------------------------

PARTS = [{"_id": oid(100 + at), "label": f"part {at}"} for at in range(3)]
# A document in the place of thing 1, whose rows are no longer what it must become, or that is rejected.
DOCUMENTS: list[tuple[str, bytes]] = [
    ("another value", thing(1, name="thing  1")),
    ("no value", thing(1, name=...)),
    ("another type", thing(1, name=1)),
    ("another number below a key", thing(1, size={"width": 2})),
    ("nothing but null around a value", thing(1, size=None)),
    ("something else around a value", thing(1, size=5)),
    ("an array around a value", thing(1, size=[1])),
    ("one more unknown field", thing(1, more=1)),
    ("an unknown field that is null", thing(1, more=None)),
    ("an unknown field that is empty", thing(1, more={})),
    ("an unknown field below a declared one", thing(1, size={"width": 1, "depth": 2})),
    ("a field with a dot that reads as a declared one", thing(1, **{"size.width": 1})),
    ("an unknown field missing", thing(1, colour=...)),
    ("another key in an unknown field", thing(1, colour={"Red": 1})),
    ("a field beside an ignored one", thing(1, cache={"tmp": "anything", "more": 1})),
    ("something else around an ignored field", thing(1, cache=5)),
    ("an ignored text that is no UTF-8", thing(1, cache={"tmp": Raw(0x02, b"\2\0\0\0\xff\0")})),
    ("a text inside of an ignored field that is no UTF-8", thing(1, __v=[{"a": Raw(0x02, b"\3\0\0\0\xc3\x28\0")}])),
    ("a key inside of an ignored field that is no UTF-8", thing(1, __v="x").replace(b"\2__v\0\2", b"\2\xff_v\0\2")),
    ("a key twice inside of an ignored field", thing(1, __v=Pairs((("a", 1), ("a", 1))))),
    ("an ignored boolean of 2", thing(1, __v=Raw(0x08, b"\2"))),
    ("a field twice", document(Pairs((("_id", oid(1)), *list(bson.decode(thing(1)).items())[1:], ("name", "thing 1"))))),
    ("another id", thing(9)),
    ("the id as text", thing(1, _id=str(oid(1)))),
    ("the id as a UUID", thing(1, _id=Binary(bytes.fromhex(uuid_of(1).replace("-", "")), 4))),
    ("no id", thing(1, _id=...)),
    ("an element less", thing(1, parts=PARTS[:2])),
    ("an element more", thing(1, parts=[*PARTS, {"_id": oid(500), "label": "part 3"}])),
    ("an element that is null", thing(1, parts=[*PARTS, None])),
    ("an element that is null in the place of another", thing(1, parts=[*PARTS[:2], None])),
    ("no element", thing(1, parts=[])),
    ("no array", thing(1, parts=...)),
    ("a document in the place of the array", thing(1, parts={str(at): part for at, part in enumerate(PARTS)})),
    ("a text in the place of the array", thing(1, parts="")),
    ("two elements in another order", thing(1, parts=[PARTS[1], PARTS[0], PARTS[2]])),
    ("an element without its own id", thing(1, parts=[{"label": "part 0"}, *PARTS[1:]])),
    ("an own id that occurs twice", thing(1, parts=[PARTS[0], {**PARTS[1], "_id": oid(100)}, PARTS[2]])),
    ("an own id as text", thing(1, parts=[{**PARTS[0], "_id": str(oid(100))}, *PARTS[1:]])),
    ("an unknown field of an element", thing(1, parts=[{**PARTS[0], "more": None}, *PARTS[1:]])),
    ("an element's field twice", thing(1, parts=[Pairs((*PARTS[0].items(), ("label", "part 0"))), *PARTS[1:]])),
    ("keys of an array from 1 on", thing(1, parts=Raw(0x04, document({str(at): part for at, part in enumerate(PARTS, 1)})))),
    ("an element more, of a rare type", thing(1, parts=[*PARTS, Timestamp(1, 2)])),
    ("an element more, under another number", thing(1, parts=Raw(0x04, document(dict(zip("0124", [*PARTS, {}], strict=True)))))),
    ("an entry more, of a rare type", thing(1, prices={"EUR": {"amount": 5}, "a.b": {"amount": 6}, "c": Timestamp(1, 2)})),
    ("a key of a map less", thing(1, prices={"EUR": {"amount": 5}})),
    ("a key of a map more", thing(1, prices={"EUR": {"amount": 5}, "a.b": {"amount": 6}, "": {"amount": 7}})),
    ("another key of a map", thing(1, prices={"EUR": {"amount": 5}, "a": {"amount": 6}})),
    ("a key of a map twice", thing(1, prices=Pairs((("EUR", {"amount": 5}), ("EUR", {"amount": 5}))))),
    ("a key of a map that is no UTF-8", thing(1).replace(b"\3EUR\0", b"\3E\xff\x52\0")),
    ("an entry that is null", thing(1, prices={"EUR": {"amount": 5}, "a.b": None})),
    ("an array in the place of a map", thing(1, prices=[{"amount": 5}, {"amount": 6}])),
    ("a value twice", thing(1, tags=["x", "y", "y"])),
    ("a value twice in the place of another", thing(1, tags=["x", "x"])),
    ("a value that is null", thing(1, tags=["x", "y", None])),
    ("a value of another type", thing(1, tags=["x", 5])),
    ("a number in the place of a whole one in jsonb", thing(1, steps=["one", 2.0])),
    ("a date in the place of a number in jsonb", thing(1, steps=["one", DatetimeMS(2)])),
]  # fmt: skip


@pytest.mark.parametrize("raw", [case[1] for case in DOCUMENTS], ids=[case[0] for case in DOCUMENTS])
def test_whatever_is_amiss_in_a_document_it_is_let_through_and_no_other(things: Standing, raw: bytes) -> None:
    others = [thing(number) for number in range(2, COUNT + 1)]
    assert things.agreed([raw, *others]) == [1, 2, 3]


# A document in the place of thing 1 that becomes the same rows.
SAME: list[tuple[str, bytes]] = [
    ("fields in another order", document(dict(reversed(bson.decode(thing(1), OPTIONS).items())))),
    ("a whole number as a double", thing(1, size={"width": 1.0})),
    ("another ignored value", thing(1, __v="other", cache=...)),
    ("nothing around an ignored field", thing(1, cache=None)),
    ("null for a field that is missing", thing(1, low=None)),
]


@pytest.mark.parametrize("raw", [case[1] for case in SAME], ids=[case[0] for case in SAME])
def test_a_document_that_becomes_the_same_rows_is_agreed_on(things: Standing, raw: bytes) -> None:
    assert things.check([raw, *(thing(number) for number in range(2, COUNT + 1))]) == COUNT


NAMED: list[Any] = ["one", "two", "", str(oid(7)), 5, Int64(2**40), -1, "drei é", 'a"b']


CHANGES = ["", "extra = NULL", "extra = extra - '_id'", 'extra = extra || \'{"_id": "One"}\'']


@pytest.mark.parametrize("statement", CHANGES)
def test_documents_whose_ids_are_texts_or_whole_numbers_are_agreed_on_by_what_extra_keeps(
    conn: psycopg.Connection[Any], read_at_once: None, statement: str
) -> None:
    raws = [thing(number, _id=name) for number, name in enumerate(NAMED)]
    standing = Standing(conn, THINGS)
    standing.put(raws)
    if statement:
        conn.execute(f"UPDATE public.things SET {statement} WHERE extra ->> '_id' = 'one'".encode())
    assert standing.check(raws) == len(NAMED) - bool(statement)
    # 5 and 5.0 are one `_id` to MongoDB, with one id; which of them it was, only `extra` says.
    assert standing.agreed([thing(4, _id=Int64(5))]) == [0]
    assert standing.agreed([thing(4, _id=5.0)]) == []


OWNERS: list[Any] = [*NAMED, str(oid(7)).upper(), oid(8), Binary(bytes(range(16)), 4)]
OWNER_CHANGES = ["", "owner_id = gen_random_uuid()", "owner_id = NULL", "extra = extra - 'owner'"]


@pytest.mark.parametrize("statement", [*OWNER_CHANGES, 'extra = extra || \'{"owner": "One"}\''])
def test_references_that_are_no_objectids_are_agreed_on_by_their_ids_and_what_extra_keeps(
    conn: psycopg.Connection[Any], read_at_once: None, statement: str
) -> None:
    raws = [thing(number, owner=owner) for number, owner in enumerate(OWNERS)]
    standing = Standing(conn, THINGS)
    standing.put(raws)
    if statement:
        conn.execute(f"UPDATE public.things SET {statement} WHERE extra ->> 'owner' = 'one'".encode())
    assert standing.check(raws) == len(OWNERS) - bool(statement)
    assert standing.agreed([thing(3, owner=str(oid(7)).upper())]) == []
    assert standing.agreed([thing(4, owner=Int64(5))]) == [0]
    assert standing.agreed([thing(4, owner=5.0)]) == []


UUIDS: dict[str, tuple[Binary, bool]] = {
    "random": (Binary(bytes.fromhex("0b5c7a1e93f24c1d8a6b5f0e2d4c6a81"), 4), True),
    "made of a name": (Binary(bytes.fromhex("0b5c7a1e93f25c1d8a6b5f0e2d4c6a81"), 4), True),
    "nearly carrying an ObjectId": (Binary(bytes.fromhex("64b7f0a1c2d38e4f85a6b7c8d9000001"), 4), True),
    "as if it carried an ObjectId": (Binary(bytes.fromhex("64b7f0a1c2d38e4f85a6b7c8d9000000"), 4), False),
    "of the old kind": (Binary(bytes.fromhex("0b5c7a1e93f24c1d8a6b5f0e2d4c6a82"), 3), True),
    "of the old kind and a byte too short": (Binary(bytes(15), 3), False),
    "a byte too short": (Binary(bytes(15), 4), False),
    "a byte too long": (Binary(bytes(17), 4), False),
    "plain bytes": (Binary(bytes(range(16))), False),
}


@pytest.mark.parametrize(("value", "agreed"), UUIDS.values(), ids=UUIDS)
def test_uuids_are_agreed_on_where_they_and_what_extra_keeps_tell_them(
    conn: psycopg.Connection[Any], read_at_once: None, value: Binary, agreed: bool
) -> None:
    raws = [thing(1, _id=value), thing(2, owner=value), thing(3, _id=oid(1), owner=oid(1))]
    standing = Standing(conn, THINGS)
    standing.put(raws)
    assert standing.check(raws) == 1 + 2 * agreed
    conn.execute("UPDATE public.things SET extra = extra || jsonb_build_object('_id', 1, 'owner', 1)")
    assert standing.agreed(raws) == []


@pytest.mark.parametrize(("stored", "other"), [(3, 4), (4, 3)])
def test_a_uuid_of_the_old_kind_is_none_of_the_new_one(
    conn: psycopg.Connection[Any], read_at_once: None, stored: int, other: int
) -> None:
    here, there = (
        [thing(1, _id=Binary(bytes(range(16)), kind)), thing(2, owner=Binary(bytes(range(16)), kind))] for kind in (stored, other)
    )
    standing = Standing(conn, THINGS)
    standing.put(here)
    assert standing.agreed(here) == [0, 1]
    assert standing.agreed(there) == []


@pytest.mark.parametrize("value", [b"", b"x", Binary(bytes(16), 4), Binary(b"abc", 128)], ids=repr)
def test_binary_data_that_nobody_declared_is_compared(conn: psycopg.Connection[Any], read_at_once: None, value: Any) -> None:
    raws = [thing(1, blob=value), thing(2, blob={"inside": [value]}), thing(3, steps=[value])]
    standing = Standing(conn, THINGS)
    standing.put(raws)
    assert standing.check(raws) == 3
    others = [thing(1, blob=Binary(b"y")), thing(2, blob={"inside": [Binary(value, 7)]}), thing(3, steps=[Binary(value + b"x", 4)])]
    assert standing.agreed(others) == []


VALUES = Collection("values", "values", "at", (Column("amount", "numeric"), Column("blob", "bytea"), Column("n", "numeric")))
# Values, and cells of others that are nearly the same.
CELLS: list[tuple[str, Any, list[str]]] = [
    ("amount", Decimal128("1.10"), ["1.1", "1.100", "-1.10", "NULL", "11"]),
    ("amount", Decimal128("-0"), ["0.0", "NULL"]),
    ("amount", Decimal128("1E+3"), ["1000.0", "1001"]),
    ("amount", Decimal128("1E-6176"), ["0", "1E-6175"]),
    ("amount", Decimal128("sNaN"), ["NULL", "'Infinity'"]),
    ("amount", Decimal128("-Infinity"), ["'Infinity'"]),
    ("amount", 5, ["5.0", "6", "NULL"]),
    ("amount", Int64(2**62), ["4611686018427387905"]),
    ("amount", 0.1, ["0.10", "0.1000000000000000055511151231257827"]),
    ("amount", 1e300, ["1e301"]),
    ("amount", math.nan, ["0", "NULL"]),
    ("blob", b"", ["NULL", r"'\x00'"]),
    ("blob", b"ab\0", [r"'\x6162'", r"'\x616201'", r"'\x61620000'", "NULL"]),
    ("blob", bytes(1000), [r"decode(repeat('00', 999) || '01', 'hex')"]),
]


@pytest.mark.parametrize(("name", "value", "others"), CELLS, ids=str)
def test_decimals_and_bytes_are_agreed_on_digit_by_digit(
    conn: psycopg.Connection[Any], read_at_once: None, name: str, value: Any, others: list[str]
) -> None:
    raws = [document({"_id": oid(number), name: value, "n": number}) for number in range(3)]
    standing = Standing(conn, VALUES)
    standing.put(raws)
    assert standing.check(raws) == 3
    for other in others:
        conn.execute(f"UPDATE public.values SET {name} = {other} WHERE n = 1".encode())
        assert standing.check(raws) == 2, other


def test_bytes_of_another_kind_whose_original_is_kept_are_looked_at_by_others(
    conn: psycopg.Connection[Any], read_at_once: None
) -> None:
    raws = [document({"_id": oid(1), "blob": Binary(b"x", 5)}), document({"_id": oid(2), "blob": b"x"})]
    standing = Standing(conn, VALUES)
    standing.put(raws)
    assert standing.check(raws) == 1


DEFAULTS: dict[str, tuple[Column, str]] = {
    "text": (Column("given", "text", default="none"), "None"),
    "an empty text": (Column("given", "text", required=True, default=""), " "),
    "integer": (Column("given", "integer", default=-1), "0"),
    "bigint": (Column("given", "bigint", default=2**40), "1"),
    "boolean": (Column("given", "boolean", default=False), "true"),
    "double": (Column("given", "double precision", default=0.0), "-0.0"),
    "a whole double": (Column("given", "double precision", default=3), "3.5"),
    "numeric": (Column("given", "numeric", default=1.5), "1.50"),
}


@pytest.mark.parametrize(("column", "other"), DEFAULTS.values(), ids=DEFAULTS)
def test_a_default_is_agreed_on_where_nothing_stands(
    conn: psycopg.Connection[Any], read_at_once: None, column: Column, other: str
) -> None:
    raws = [document({"_id": oid(1)}), document({"_id": oid(2), "given": None}), document({"_id": oid(3), "n": 1})]
    standing = Standing(conn, Collection("given", "given", "at", (column, Column("n", "integer"))))
    standing.put(raws)
    assert standing.check(raws) == 3
    for wrong in (other, None):
        conn.execute("UPDATE public.given SET given = %s WHERE id = %s", (wrong, uuid_of(2)))
        assert standing.agreed(raws) == [0, 2]


def test_no_ordinal_is_none_even_where_the_bytes_behind_it_read_as_one(conn: psycopg.Connection[Any], read_at_once: None) -> None:
    raws = [thing(1, parts=[{"_id": oid(100 + at)} for at in range(17)])]
    standing = Standing(conn, THINGS)
    standing.put(raws)
    assert standing.agreed(raws) == [0]
    conn.execute("UPDATE public.parts SET ordinal = NULL WHERE ordinal = 16")  # a UUID of 16 bytes follows
    assert standing.agreed(raws) == []


# --- many documents ----------------------------------------------------------------------------------------------------


def test_documents_keep_their_numbers_over_portions_and_halves_of_portions(
    things: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    raws = [thing(4), thing(3, name="other"), b"", thing(2), thing(1), thing(5)]
    for most in (1_000, 10, 1):
        monkeypatch.setattr(sieve, "MOST_ELEMENTS", most)
        for portion in (1, 2, 4, 6):
            assert things.agreed(raws, portion=portion) == [0, 3, 4], (most, portion)


def test_documents_are_agreed_on_however_many_rows_lie_between_theirs(conn: psycopg.Connection[Any], read_at_once: None) -> None:
    raws = [thing(number) for number in range(1, 101)]
    standing = Standing(conn, THINGS)
    standing.put(raws)
    for few in (raws, [raws[99], raws[0]], [raws[50]], raws[::2]):
        assert standing.agreed(few) == list(range(len(few)))


def test_documents_that_the_books_know_are_let_through(things: Standing) -> None:
    booked = np.frombuffer(uuid.UUID(uuid_of(2)).bytes, ">u8").astype(np.uint64).reshape(1, 2)
    assert things.agreed([thing(1), thing(2), thing(3)], booked=booked) == [0, 2]


def test_no_documents_at_all_are_agreed_on_without_a_word(things: Standing) -> None:
    assert things.agreed([]) == []
    assert things.agreed([b"", b"\5\0\0\0\0"]) == []


def test_a_server_that_fails_while_it_sends_rows_is_heard(things: Standing) -> None:
    things.conn.execute("ALTER TABLE things RENAME TO failing")
    columns = ", ".join(f'"{column.name}"' for column in THINGS.tables[0].stored if column.name != "low")
    fails_late = f"CREATE VIEW public.things AS SELECT {columns}, 1 / (size_width - 3) AS low FROM failing ORDER BY id"
    things.conn.execute(fails_late.encode())
    with pytest.raises(psycopg.errors.DivisionByZero):
        things.agreed([thing(number) for number in range(1, COUNT + 1)])


def test_of_two_documents_with_one_id_neither_is_agreed_on(things: Standing) -> None:
    assert things.agreed([thing(1), thing(2), thing(1), thing(3)]) == [1, 3]


INSIDE: list[tuple[Any, str]] = [({"a": 1}, "{}"), ([1], "[]"), (Pairs((("a", 1), ("a", 1))), "{}"), ({}, "{}")]


@pytest.mark.parametrize(("value", "cell"), INSIDE)
def test_a_document_in_an_array_of_scalars_is_looked_into_by_others(things: Standing, value: Any, cell: str) -> None:
    things.conn.execute("UPDATE steps SET step = %s WHERE thing_id = %s AND ordinal = 0", (cell, ONE))
    assert things.agreed([thing(1, steps=[value, 2]), thing(2)]) == [1]


@pytest.mark.parametrize("holder", ["", 5, {}, {"0": {}}, True])
def test_something_else_in_the_place_of_an_array_is_not_nothing(things: Standing, holder: Any) -> None:
    things.conn.execute("DELETE FROM parts WHERE thing_id = %s", (ONE,))
    assert things.agreed([thing(1, parts=holder), thing(2)]) == [1]
    assert things.agreed([thing(1, parts=[]), thing(2)]) == [0, 1]


def test_an_array_whose_keys_read_as_fields_is_no_document(things: Standing) -> None:
    things.conn.execute("UPDATE things SET extra = extra || '{\"size\": []}' WHERE id = %s", (ONE,))
    assert things.agreed([thing(1, size=Raw(0x04, document({"width": 1}))), thing(2)]) == [1]


def test_documents_of_one_shape_none_of_which_has_a_row_are_let_through(things: Standing) -> None:
    things.conn.execute("DELETE FROM things")
    dated = [thing(number, at=DatetimeMS(number), on=True, ratio=0.5) for number in range(1, COUNT + 1)]
    assert things.agreed(dated) == []


def test_elements_without_an_id_of_their_own_and_with_one_that_repeats_are_agreed_on(
    conn: psycopg.Connection[Any], read_at_once: None
) -> None:
    one = {"_id": oid(100), "label": "x"}
    raws = [
        thing(1, parts=[{"label": "x"}, {"label": "x"}]),
        thing(2, parts=[one, {"label": "y"}, {"_id": oid(101)}, {"_id": None}]),
        thing(3, parts=[one]),
        thing(4, parts=[one, {"label": "y"}, one]),  # its elements are named by their positions
    ]
    standing = Standing(conn, THINGS)
    standing.put(raws)
    assert standing.agreed(raws) == [0, 1, 2]


def test_a_reference_that_names_no_row_is_let_through_only_where_it_is_judged(
    conn: psycopg.Connection[Any], read_at_once: None
) -> None:
    raws = [thing(1, owner=oid(1)), thing(2, owner=oid(1)), thing(3, owner=oid(77)), thing(4)]
    standing = Standing(conn, THINGS)
    standing.put(raws)
    root = THINGS.tables[0]
    (owner,) = root.references
    assert standing.agreed(raws) == [0, 1, 2, 3]
    assert standing.agreed(raws, [(root, owner)]) == [0, 1, 3]
    assert standing.agreed(raws, [(root, replace(owner, required=True))]) == [0, 1, 2, 3]


def test_references_in_columns_of_the_longest_names_are_told_apart(conn: psycopg.Connection[Any], read_at_once: None) -> None:
    columns = tuple(Column(f"c{at}", "uuid", "c" * 62 + str(at), references="things") for at in range(2))
    collection = Collection("things", "things", "updatedAt", columns)
    raws = [document({"_id": oid(1), "c0": oid(1), "c1": oid(1)}), document({"_id": oid(2), "c0": oid(1), "c1": oid(9)})]
    standing = Standing(conn, collection)
    standing.put(raws)
    root = collection.tables[0]
    assert standing.agreed(raws, [(root, column) for column in root.references]) == [0]


# --- digests -----------------------------------------------------------------------------------------------------------

# Values of a type that are not the same.
UNLIKE: list[tuple[str, str, str]] = [
    ("bigint", "-1", "4294967295"),
    ("bigint", "0", "4294967297"),
    ("bigint", "0", "NULL"),
    ("timestamptz", "'2000-01-01+00'", "'2000-01-01+00'::timestamptz + interval '4294967297 us'"),
    ("double precision", "0", "'-0.0'"),
    ("numeric", "1.1", "1.10"),
    ("jsonb", "'1'", "'1.0'"),
    ("text", "''", "NULL"),
    ("text[]", "'{a}'", "'[0:0]={a}'"),
    ("boolean", "false", "NULL"),
    ("uuid", "'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000010'"),
]


@pytest.mark.parametrize(("kind", "one", "other"), UNLIKE)
def test_rows_that_are_not_the_same_have_digests_that_are_not(
    conn: psycopg.Connection[Any], kind: str, one: str, other: str
) -> None:
    value = sql.SQL("x::{}").format(sql.SQL(kind))
    hashed = sql.SQL("SELECT {} FROM (VALUES ({}), ({})) AS v (x)").format(
        row_hash(exact(Column("x", kind), value)), sql.SQL(f"({one})::{kind}"), sql.SQL(f"({other})::{kind}")
    )
    first, second = conn.execute(hashed).fetchall()
    assert first != second


def test_a_number_that_is_none_has_one_digest_whatever_its_bits(conn: psycopg.Connection[Any]) -> None:
    value = exact(Column("x", "double precision"), sql.SQL("x"))
    hashed = sql.SQL("SELECT float8send(x), {} FROM (VALUES (float8 'NaN'), (-float8 'NaN')) AS v (x)").format(row_hash(value))
    (one, first), (other, second) = conn.execute(hashed).fetchall()
    assert one != other
    assert first == second


# --- anything ----------------------------------------------------------------------------------------------------------


@given(data=st.data())
@settings(QUIET, max_examples=4)  # each is some hundred documents
def test_what_is_agreed_on_must_become_the_rows_that_stand_there(database: psycopg.Connection[Any], data: st.DataObject) -> None:
    with database.transaction(force_rollback=True):
        agreed_on(database, data)


# --- no sham -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(DATA_SETS))
def test_of_what_the_benchmark_moves_everything_is_agreed_on(conn: psycopg.Connection[Any], name: str) -> None:
    data = DATA_SETS[name]
    rng = random.Random(name)
    raws = [bson.encode(data.make(rng, index)) for index in range(400)]
    standing = Standing(conn, data.collection)
    standing.put(raws)
    assert standing.check(raws) == 400


DECLARED = [collection for domain in DOMAINS for collection in domain.collections]


@pytest.mark.parametrize("collection", DECLARED, ids=[collection.name for collection in DECLARED])
def test_all_clean_documents_are_agreed_on(conn: psycopg.Connection[Any], read_at_once: None, collection: Collection) -> None:
    raws = [bson.encode(content, codec_options=OPTIONS) for content in clean_documents(collection.name, scale=0.05)]
    standing = Standing(conn, collection)
    standing.put(raws)
    assert standing.check(raws) == len(raws)
