"""Declared conversions: what they make of a value, that they are counted, and that the projector agrees."""

from __future__ import annotations

from typing import Any

import bson
import pyarrow as pa
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

from mongo2pg.batches.typed_columns import fill
from mongo2pg.errors import DeclarationError
from mongo2pg.model import Collection, Column
from mongo2pg.moving.normaliser import Normaliser
from mongo2pg.reference.conversions import as_declared
from mongo2pg.reference.documents import MISSING
from tests.unit.projection import project

CASES = [
    # column, value, what is stored, whether the original is kept
    (Column("a", "text", nul="remove"), "x\0y", "xy", True),
    (Column("a", "text", nul="replace"), "x\0y", "x�y", True),
    (Column("a", "text", nul="remove"), "xy", "xy", False),
    (Column("a", "text", nul="remove"), r"x\u0000y", r"x\u0000y", False),
    (Column("a", "text[]", nul="remove"), ["x\0", "y"], ["x", "y"], True),
    (Column("a", "integer", parse=True), "42", 42, True),
    (Column("a", "integer", parse=True), "+7", 7, True),
    (Column("a", "integer", parse=True), "4.0", 4, True),
    (Column("a", "integer", parse=True), 42, 42, False),
    (Column("a", "bigint", parse=True), "9007199254740993", 9007199254740993, True),
    (Column("a", "double precision", parse=True), "1.5e3", 1500.0, True),
    (Column("a", "numeric", parse=True), "1.10", "1.10", True),
    (Column("a", "timestamptz", parse=True), "2026-01-02T03:04:05.678Z", 1767323045678, True),
    (Column("a", "timestamptz", parse=True), "2026-01-02T04:04:05.678+01:00", 1767323045678, True),
    (Column("a", "timestamptz", parse=True), "2026-01-02T03:04:05.678000000Z", 1767323045678, True),
    (Column("a", "timestamptz", parse=True), "2026-01-02T03:04:05,678+00:00:00.000", 1767323045678, True),
    (Column("a", "timestamptz", parse=True), "2026-01-02", 1767312000000, True),
    (Column("a", "text", enum=("low", "high"), aliases=(("LOW", "low"),)), "LOW", "low", True),
    (Column("a", "integer", default=0), None, 0, False),
    (Column("a", "text", default="none"), None, "none", False),
    (Column("a", "boolean", default=False), None, False, False),
]
UNTOUCHED = [
    (Column("a", "integer", parse=True), "4 2", "type_mismatch"),
    (Column("a", "integer", parse=True), "", "type_mismatch"),
    (Column("a", "integer", parse=True), "1.5", "not_integral"),
    (Column("a", "double precision", parse=True), "1e400", "type_mismatch"),
    (Column("a", "double precision", parse=True), "1e-400", "type_mismatch"),
    (Column("a", "integer", parse=True), "99999999999", "out_of_range"),
    (Column("a", "numeric", parse=True), "1" * 35, "type_mismatch"),
    (Column("a", "numeric", parse=True), "1.1e-6176", "type_mismatch"),
    (Column("a", "numeric", parse=True), f"1e{10**20}", "type_mismatch"),
    (Column("a", "integer", parse=True), f"1e-{10**20}", "type_mismatch"),
    (Column("a", "double precision", parse=True), f"1e{10**20}", "type_mismatch"),
    (Column("a", "integer", parse=True), "4.00000000000000000001", "type_mismatch"),
    (Column("a", "bigint", parse=True), "1e-400", "type_mismatch"),
    (Column("a", "bigint", parse=True), "1e400", "out_of_range"),
    (Column("a", "timestamptz", parse=True), "2026-01-02T03:04:05.678901Z", "type_mismatch"),
    (Column("a", "timestamptz", parse=True), "2026-01-02T03:04:05.1230004Z", "type_mismatch"),
    (Column("a", "timestamptz", parse=True), "2026-01-02T03:04:05.0000009Z", "type_mismatch"),
    (Column("a", "timestamptz", parse=True), "2026-01-02T03:04:05+05:30:15.000001", "type_mismatch"),
    (Column("a", "timestamptz", parse=True), "yesterday", "type_mismatch"),
    (Column("a", "integer", parse=True), "٣", "type_mismatch"),
    (Column("a", "integer", parse=True), "１２", "type_mismatch"),
    (Column("a", "text", enum=("low",), aliases=(("LOW", "low"),)), "Low", "enum"),
]


def stored(column: Column, value: Any) -> Any:
    array = fill([value], column).array
    return array.cast("int64")[0].as_py() if column.type == "timestamptz" else array[0].as_py()


@pytest.mark.parametrize(("column", "value", "want", "kept"), CASES)
def test_a_declared_conversion_stores_the_new_value_and_keeps_the_old_one(
    column: Column, value: Any, want: Any, kept: bool
) -> None:
    filled = fill([value], column)
    assert (stored(column, value), filled.originals, filled.misfits) == (want, [0] if kept else [], [])
    assert len(filled.conversions) == (1 if kept or value is None else 0)


@pytest.mark.parametrize(("column", "value", "reason"), UNTOUCHED)
def test_what_a_conversion_cannot_read_is_a_misfit_as_it_was(column: Column, value: Any, reason: str) -> None:
    assert [(misfit.row, misfit.reason) for misfit in fill([value], column).misfits] == [(0, reason)]


@pytest.mark.parametrize(("column", "value"), [(column, value) for column, value, *_ in CASES] + [(c, v) for c, v, _ in UNTOUCHED])
def test_the_projector_converts_alike_and_keeps_the_same_original(column: Column, value: Any) -> None:
    collection = Collection("c", "t", "a", (column,))
    document = {"_id": ObjectId("0123456789abcdef01234567"), **({} if value is None else {"a": value})}
    raw = bson.encode(document)
    batch = Normaliser(collection).normalise(pa.array([raw]), 0)
    (row,) = project(collection, [raw]).rows["t"]
    got = batch.frames["t"].column("extra")[0].as_py()
    assert (got is None) == (row["extra"] is None)
    assert (stored(column, value) is None) == (row["a"] is None)


def test_a_default_stands_in_for_missing_and_for_null() -> None:
    column = Column("a", "integer", default=3)
    assert (as_declared(MISSING, column), as_declared(None, column), as_declared(4, column)) == (3, 3, 4)


def test_conversions_are_counted_by_rule_with_samples_and_sensitive_ones_are_masked() -> None:
    columns = (Column("n", "integer", parse=True), Column("s", "text", nul="remove", sensitive=True))
    normaliser = Normaliser(Collection("c", "t", "n", columns))
    documents = [{"_id": ObjectId(), "n": str(number), "s": f"secret{number}\0"} for number in range(5)]
    normaliser.normalise(pa.array([bson.encode(document) for document in documents]), 0)
    numbers = normaliser.counts.conversions["n"]["parse"]
    assert (numbers.count, numbers.samples) == (5, [('"0"', "0"), ('"1"', "1"), ('"2"', "2")])
    secrets = normaliser.counts.conversions["s"]["nul remove"]
    assert (secrets.count, secrets.samples) == (5, [("(sensitive)", "(sensitive)")] * 3)


def test_a_positive_exponent_is_a_counted_conversion_too() -> None:
    filled = fill([Decimal128("1E+3")], Column("a", "numeric"))
    assert (filled.array[0].as_py(), [change.rule for change in filled.conversions]) == ("1000", ["decimal"])


@pytest.mark.parametrize(
    ("declare", "place"),
    [
        (lambda: Column("a", "integer", nul="remove"), "nul='remove' on a column of type integer"),
        (lambda: Column("a", "text", parse=True), "parse on a column of type text"),
        (lambda: Column("a", "text", enum=("x",), aliases=(("y", "z"),)), "an alias of a value that the enum lacks"),
        (lambda: Column("a", "integer", default="x"), "the default 'x' on a column of type integer"),
    ],
)
def test_a_conversion_that_makes_no_sense_fails_when_it_is_declared(declare: Any, place: str) -> None:
    with pytest.raises(DeclarationError) as failure:
        declare()
    assert place in str(failure.value)


def test_a_date_before_1970_keeps_its_milliseconds() -> None:
    assert as_declared("1969-12-31T23:59:59.999Z", Column("a", "timestamptz", parse=True)) == DatetimeMS(-1)
