"""Columns of numbers, dates and booleans: from the bytes of many documents, as `columns` says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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


# What a column takes of the values that lie at these positions: all, or those that fit.
Read = Callable[[Positions], tuple[NDArray[np.generic], Mask | None]]


def _column(column: Column, fields: list[Field], left: Left, dtype: str, reads: Mapping[int, Read]) -> pa.Array:
    """Values in whatever order they come, at the rows that own them; what is of another type or does not fit is left."""
    values, missing = np.zeros(len(left.rows), dtype), np.ones(len(left.rows), np.bool_)
    for field in fields:
        if field.kind not in reads:
            left.add(field.owner)
            continue
        owner = field.owner
        found, fits = reads[field.kind](field.at)
        if fits is not None and not fits.all():
            left.add(owner[~fits])
            owner, found = owner[fits], found[fits]
        values[owner] = found
        missing[owner] = False
    return pa.array(values, mask=missing if missing.any() else None).cast(ARROW_TYPES[column.type])


def _within(read: Callable[[Positions], NDArray[np.int64]], least: int, most: int) -> Read:
    """The integers from the least to the most."""

    def fitting(at: Positions) -> tuple[NDArray[np.int64], Mask]:
        values = read(at)
        return values, (values >= least) & (values <= most)

    return fitting


def whole_numbers(content: Content, field: Field) -> Positions:
    """The values of a field of int32 or int64."""
    return content.int32s(field.at) if field.kind == INT32 else content.int64s(field.at)


def integers(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    """Integers, and doubles that are whole numbers; what is out of range is left."""
    bits = 64 if column.type == "bigint" else 32
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def whole(at: Positions) -> tuple[NDArray[np.int64], Mask]:
        values = content.doubles(at)
        # 2^63 as a double is one more than a bigint holds; NaN compares false. An integer has no -0.0.
        fits = (values >= least) & (values < most + 1) & (values == np.trunc(values))
        fits &= ~((values == 0) & np.signbit(values))
        return np.where(fits, values, 0).astype(np.int64), fits

    reads: dict[int, Read] = {
        INT32: lambda at: (content.int32s(at), None),
        INT64: _within(content.int64s, least, most),
        DOUBLE: whole,
    }
    return _column(column, fields, left, "int64", reads)


def doubles(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    """Doubles, and integers that a double holds exactly; others are left."""
    reads: dict[int, Read] = {
        DOUBLE: lambda at: (content.doubles(at), None),
        INT32: lambda at: (content.int32s(at), None),
        INT64: _within(content.int64s, -EXACT_DOUBLES, EXACT_DOUBLES),
    }
    return _column(column, fields, left, "float64", reads)


def timestamps(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    """Dates that PostgreSQL has timestamps for; others are left."""
    reads = {DATE: _within(content.int64s, FIRST_TIMESTAMP_MS, LAST_TIMESTAMP_MS)}
    return _column(column, fields, left, "int64", reads)


def booleans(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    """Booleans; all else is left."""
    return _column(column, fields, left, "bool", {BOOLEAN: lambda at: (content.octets(at) == 1, None)})


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
