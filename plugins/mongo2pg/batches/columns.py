"""Elements of many documents to one typed column, without a Python object for a value.

Each function here knows the values that a column is made for, in the forms that are common. A value that it does not
know, that does not fit, or of which something is to be said (a conversion, an original to keep) is left: its row is
marked, and `values` says what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow.compute as pc
from bson.decimal128 import Decimal128
from bson.errors import InvalidBSON
from numpy.typing import NDArray

from mongo2pg.batches import id_columns
from mongo2pg.batches.arrow import pa
from mongo2pg.batches.elements import Content, Field, Keys, Mask, Positions, ends, together, walk
from mongo2pg.batches.jsontexts import invalid_texts, octets_of, texts
from mongo2pg.batches.typed_columns import ARROW_TYPES, fill, uuid_array
from mongo2pg.documents.bson_types import ARRAY, BINARY, BOOLEAN, DATE, DECIMAL, DOUBLE, INT32, INT64, NULL, OBJECT_ID, STRING
from mongo2pg.documents.conversions import Conversion
from mongo2pg.documents.decode import MalformedError, read_value
from mongo2pg.documents.identity import HEX_OBJECT_ID
from mongo2pg.documents.values import FIRST_TIMESTAMP_MS, LAST_TIMESTAMP_MS, convert
from mongo2pg.model import EXACT_DOUBLES, Column

# Digits behind the point of a decimal that is written here, and not by the rule.
MOST_PLACES = 30


class Kept(NamedTuple):
    """Values for `extra`, and their path."""

    path: tuple[str, ...]
    field: Field


class Default(NamedTuple):
    """The rows in which a declared default stands for nothing, and what is to be said of each."""

    column: Column
    rows: Mask
    conversions: list[Conversion]


class Left:
    """The rows of a table that are left to the rule, and the little that is to be said of others: that `extra` keeps a value beside
    its column, that a default stands for one."""

    def __init__(self, count: int) -> None:
        self.rows = np.zeros(count, np.bool_)
        self.kept: list[Kept] = []
        self.defaults: list[Default] = []

    def add(self, rows: Positions | Mask) -> None:
        self.rows[rows] = True

    def keep(self, column: Column, field: Field) -> None:
        """The values stay in `extra` beside what the column makes of them; those of scalars, which have no path, are left."""
        if column.path:
            self.kept.append(Kept(tuple(column.path.split(".")), field))
        else:
            self.add(field.owner)


def column_of(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    """The column for as many rows as `left` counts; a field's owners are rows, and no row owns two of the values."""
    fields = [field for field in fields if field.kind != NULL and len(field.owner)]
    build = _BUILDERS.get(column.type, _by_rule)
    array = build(content, column, fields, left) if fields else pa.nulls(len(left.rows), ARROW_TYPES[column.type])
    if array.null_count and column.default is not None and column.path:
        usual = fill([None], column)
        left.defaults.append(Default(column, np.asarray(array.is_null()), usual.conversions))
        array = array.fill_null(usual.array[0])
    elif array.null_count and (column.required or column.default is not None):
        left.add(np.asarray(array.is_null()))
    if column.enum or column.aliases:
        _check_words(array, column, left)
    if column.longest:
        leave_long(array, column.longest, left)
    return array


def leave_long(texts: pa.Array, longest: int, left: Left) -> None:
    """The texts of more bytes are left."""
    left.add(np.asarray(pc.fill_null(pc.greater(pc.binary_length(texts), longest), False)))


def _check_words(array: pa.Array, column: Column, left: Left) -> None:
    words = array.flatten() if column.type == "text[]" else array
    owner = np.arange(len(array))
    if column.type == "text[]":
        owner = np.repeat(owner, pc.fill_null(pc.list_value_length(array), 0))
    aliases = pa.array([alias for alias, _ in column.aliases], pa.string())
    known = pc.is_valid(words)
    if column.enum:
        odd = pc.and_(known, pc.invert(pc.is_in(words, pa.array(column.enum, pa.string()))))
        left.add(owner[np.asarray(odd)])
    if column.aliases and column.type == "text":
        left.add(owner[np.asarray(pc.and_(known, pc.is_in(words, aliases)))])


# --- numbers, dates, booleans ---------------------------------------------------------------------------------------


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


def _whole_numbers(content: Content, field: Field) -> Positions:
    return content.int32s(field.at) if field.kind == INT32 else content.int64s(field.at)


def _integers(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
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


def _doubles(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
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


def _timestamps(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    numbers = _Numbers("int64", left)
    for field in fields:
        if field.kind == DATE:
            values = content.int64s(field.at)
            numbers.take(field, values, (values >= FIRST_TIMESTAMP_MS) & (values <= LAST_TIMESTAMP_MS))
        else:
            left.add(field.owner)
    return numbers.array(ARROW_TYPES[column.type])


def _booleans(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    numbers = _Numbers("bool", left)
    for field in fields:
        if field.kind == BOOLEAN:
            numbers.take(field, content.octets(field.at) == 1)
        else:
            left.add(field.owner)
    return numbers.array(ARROW_TYPES[column.type])


def _numerics(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
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
        yield from map(str, _whole_numbers(content, field).tolist())
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


def _uuids(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    ids, missing = np.zeros((len(left.rows), 16), np.uint8), np.ones(len(left.rows), np.bool_)
    for field in fields:
        if field.kind == OBJECT_ID:
            found = id_columns.uuids_from_objectids(content.object_ids(field.at).tobytes())
        elif field.kind == BINARY:
            found = content.blocks(field.at + 5, 16)
            # Those of version 5 or 8 may be what another `_id` becomes.
            fits = (content.int32s(field.at) == 16) & (content.octets(field.at + 4) == 4) & ~np.isin(found[:, 6] >> 4, (5, 8))
            left.add(field.owner[~fits])
        elif field.kind in _KEPT_IDS and (column.references or column.name == "id"):
            found = _KEPT_IDS[field.kind](content, column, field, left)
            left.keep(column, field)
        else:
            left.add(field.owner)
            continue
        ids[field.owner], missing[field.owner] = found, False
    array = uuid_array(ids.tobytes())
    if not missing.any():
        return array
    present = pa.py_buffer(np.packbits(~missing, bitorder="little"))
    return pa.Array.from_buffers(pa.binary(16), len(array), [present, array.buffers()[1]])


def _ids_of_strings(content: Content, column: Column, field: Field, left: Left) -> NDArray[np.uint8]:
    array = strings(content, field.at + 4, field.at + 3 + content.int32s(field.at), None, field.owner, left)
    if not column.references:
        # Another document may have the ObjectId of these digits.
        left.add(field.owner[np.asarray(pc.match_substring_regex(array, f"^{HEX_OBJECT_ID.pattern}$"))])
    texts = array.dictionary_encode()
    ids = id_columns.uuids_from_texts([text.decode(errors="replace") for text in texts.dictionary.view(pa.binary()).to_pylist()])
    found: NDArray[np.uint8] = ids[np.asarray(texts.indices)]
    return found


def _ids_of_integers(content: Content, column: Column, field: Field, left: Left) -> NDArray[np.uint8]:
    return id_columns.uuids_from_integers(_whole_numbers(content, field).tolist())


# What may be an `_id` and is not told by its UUID.
_KEPT_IDS = {STRING: _ids_of_strings, INT32: _ids_of_integers, INT64: _ids_of_integers}


def places(fields: list[Field], kind: int, left: Left) -> tuple[Positions, Mask]:
    """The position of each row's value of this type, and which rows have none."""
    at, missing = np.zeros(len(left.rows), np.int64), np.ones(len(left.rows), np.bool_)
    for field in fields:
        if field.kind == kind:
            at[field.owner] = field.at
            missing[field.owner] = False
        else:
            left.add(field.owner)
    return at, missing


# --- text -----------------------------------------------------------------------------------------------------------


def _text(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    at, missing = places(fields, STRING, left)
    return strings(content, at + 4, at + 3 + content.int32s(at), missing, np.arange(len(at)), left)


def strings(content: Content, start: Positions, end: Positions, missing: Mask | None, rows: Positions, left: Left) -> pa.Array:
    """The texts that lie from each start to each end; what is no text, or has a U+0000, is left with its row."""
    array = content.slices(start, end, missing)
    left.add(rows[invalid_texts(array)])
    bounds, octets = octets_of(array)
    zeros = np.flatnonzero(octets == 0)
    left.add(rows[np.searchsorted(bounds, zeros, "right") - 1])
    return array.view(pa.string())


def _lists(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    at, missing = places(fields, ARRAY, left)
    rows = np.flatnonzero(~missing)
    elements, bad = walk(content, at[rows], at[rows] + content.int32s(at[rows]), Keys.ORDINALS)
    left.add(rows[bad])
    for field in elements:
        if field.kind != STRING:
            left.add(rows[field.owner])
    owner, _, value = together([field for field in elements if field.kind == STRING])
    items = strings(content, value + 4, value + 3 + content.int32s(value), None, rows[owner], left)
    lengths = np.bincount(rows[owner], minlength=len(at))
    bounds = pa.array(np.append(0, np.cumsum(lengths)), pa.int32())
    return pa.ListArray.from_arrays(bounds, items, mask=pa.array(missing))


# --- JSON, and whatever has no way of its own -------------------------------------------------------------------------


def _json(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    at, kinds = np.zeros(len(left.rows), np.int64), np.zeros(len(left.rows), np.uint8)
    for field in fields:
        at[field.owner], kinds[field.owner] = field.at, field.kind
    rows = np.flatnonzero(kinds)
    written, bad = texts(content, kinds[rows], at[rows])
    left.add(rows[bad])
    return at_rows(written, rows, len(at))


def at_rows(values: pa.Array, rows: Positions, count: int) -> pa.Array:
    """The values as a column of so many rows, each at its own; null at all others."""
    if len(rows) == count:
        return values
    index, missing = np.zeros(count, np.int64), np.ones(count, np.bool_)
    index[rows], missing[rows] = np.arange(len(rows)), False
    return values.take(pa.array(index, mask=missing))


def _by_rule(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    values: list[object] = [None] * len(left.rows)
    for field in fields:
        stop = ends(content, field.kind, field.at)
        for row, start, end in zip(field.owner.tolist(), field.at.tolist(), stop.tolist(), strict=True):
            raw = content.piece(start, end) + b"\0"
            try:
                values[row], _ = read_value(raw, field.kind, 0, len(raw))
            except (MalformedError, InvalidBSON, ValueError):
                left.rows[row] = True
    filled = fill(values, column)
    for rows in (filled.originals, [misfit.row for misfit in filled.misfits], [change.row for change in filled.conversions]):
        left.add(np.array(rows, np.int64))
    return filled.array


_BUILDERS: dict[str, Callable[[Content, Column, list[Field], Left], pa.Array]] = {
    "bigint": _integers,
    "boolean": _booleans,
    "double precision": _doubles,
    "integer": _integers,
    "jsonb": _json,
    "numeric": _numerics,
    "text": _text,
    "text[]": _lists,
    "timestamptz": _timestamps,
    "uuid": _uuids,
}
