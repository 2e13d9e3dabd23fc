"""Columns of numbers, dates and booleans: from the bytes of many documents, as `columns` says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from bson.decimal128 import Decimal128
from numpy.typing import NDArray

from mongo2pg.batches.arrow import pa
from mongo2pg.batches.elements import Content, Field, Mask, Positions
from mongo2pg.batches.left import Left
from mongo2pg.batches.typed_columns import ARROW_TYPES
from mongo2pg.documents.bson_types import BOOLEAN, DATE, DECIMAL, DOUBLE, INT32, INT64
from mongo2pg.documents.values import FIRST_TIMESTAMP_MS, LAST_TIMESTAMP_MS, convert
from mongo2pg.model import EXACT_DOUBLES, Column

# Digits behind the point of a decimal that is written here, and not by the rule.
MOST_PLACES = 30


class _Numbers:
    """Values as they come in, in whatever order, at the rows that own them."""

    def __init__(self, dtype: str, left: Left) -> None:
        self.values, self.missing, self._left = np.zeros(len(left.rows), dtype), np.ones(len(left.rows), np.bool_), left

    def take(self, field: Field, values: NDArray[np.generic], fits: Mask | None = None) -> None:
        owner = field.owner
        if fits is not None and not fits.all():
            self._left.add(owner[~fits])
            owner, values = owner[fits], values[fits]
        self.values[owner] = values
        self.missing[owner] = False

    def array(self, kind: pa.DataType) -> pa.Array:
        return pa.array(self.values, mask=self.missing if self.missing.any() else None).cast(kind)


def whole_numbers(content: Content, field: Field) -> Positions:
    """The values of a field of int32 or int64."""
    return content.int32s(field.at) if field.kind == INT32 else content.int64s(field.at)


def integers(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    """Integers, and doubles that are whole numbers; what is out of range is left."""
    bits = 64 if column.type == "bigint" else 32
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    numbers = _Numbers("int64", left)
    for field in fields:
        if field.kind == INT32:
            numbers.take(field, content.int32s(field.at))
        elif field.kind == INT64:
            values = content.int64s(field.at)
            numbers.take(field, values, (values >= least) & (values <= most))
        elif field.kind == DOUBLE:
            doubles = content.doubles(field.at)
            # 2^63 as a double is one more than a bigint holds; NaN compares false. An integer has no -0.0.
            fits = (doubles >= least) & (doubles < most + 1) & (doubles == np.trunc(doubles))
            fits &= ~((doubles == 0) & np.signbit(doubles))
            numbers.take(field, np.where(fits, doubles, 0).astype(np.int64), fits)
        else:
            left.add(field.owner)
    return numbers.array(ARROW_TYPES[column.type])


def doubles(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    """Doubles, and integers that a double holds exactly; others are left."""
    numbers = _Numbers("float64", left)
    for field in fields:
        if field.kind == DOUBLE:
            numbers.take(field, content.doubles(field.at))
        elif field.kind == INT32:
            numbers.take(field, content.int32s(field.at))
        elif field.kind == INT64:
            values = content.int64s(field.at)
            numbers.take(field, values, (values >= -EXACT_DOUBLES) & (values <= EXACT_DOUBLES))
        else:
            left.add(field.owner)
    return numbers.array(ARROW_TYPES[column.type])


def timestamps(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    """Dates that PostgreSQL has timestamps for; others are left."""
    numbers = _Numbers("int64", left)
    for field in fields:
        if field.kind == DATE:
            values = content.int64s(field.at)
            numbers.take(field, values, (values >= FIRST_TIMESTAMP_MS) & (values <= LAST_TIMESTAMP_MS))
        else:
            left.add(field.owner)
    return numbers.array(ARROW_TYPES[column.type])


def booleans(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    """Booleans; all else is left."""
    numbers = _Numbers("bool", left)
    for field in fields:
        if field.kind == BOOLEAN:
            numbers.take(field, content.octets(field.at) == 1)
        else:
            left.add(field.owner)
    return numbers.array(ARROW_TYPES[column.type])


def numerics(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    """The digits of every number, as texts; one whose form would change is left."""
    texts: list[str | None] = [None] * len(left.rows)
    for field in fields:
        if field.kind not in (INT32, INT64, DOUBLE, DECIMAL):
            left.add(field.owner)
            continue
        for row, text in zip(field.owner.tolist(), _numeric_texts(content, column, field), strict=True):
            texts[row] = text
            if text is None:
                left.rows[row] = True
    return pa.array(texts, pa.string())


def _numeric_texts(content: Content, column: Column, field: Field) -> Iterator[str | None]:
    """What the column stores of each number; None for one whose form changes."""
    if field.kind in (INT32, INT64):
        yield from map(str, whole_numbers(content, field).tolist())
        return
    if field.kind == DOUBLE:
        yield from (_unchanged(value, column) for value in content.doubles(field.at).tolist())
        return
    # Decimal128 as binary integer (IEEE 754, 3.5.2): the sign, 14 bits of exponent from -6176 on, 113 bits of digits.
    low, high = content.words(field.at), content.words(field.at + 8)
    negative, digits = high >> np.uint64(63) != 0, high & np.uint64((1 << 49) - 1)
    places = 6176 - (high >> np.uint64(49) & np.uint64(0x3FFF)).astype(np.int64)
    usual = (digits == 0) & (low > 0) & (places >= 0) & (places <= MOST_PLACES)
    facts = (array.tolist() for array in (usual, negative, low, places, field.at))
    for is_usual, is_negative, number, after, at in zip(*facts, strict=True):
        if not is_usual:
            yield _unchanged(Decimal128.from_bid(content.piece(at, at + 16)), column)
            continue
        text = f"{number:0{after + 1}d}"
        text = f"{text[:-after]}.{text[-after:]}" if after else text
        yield f"-{text}" if is_negative else text


def _unchanged(value: Any, column: Column) -> str | None:
    stored = convert(value, column)
    return stored if type(stored) is str else None
