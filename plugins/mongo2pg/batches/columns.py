"""Elements of many documents to one typed column, without a Python object for a value.

Each function here knows the values that a column is made for, in the forms that are common. A value that it does not
know, that does not fit, or of which something is to be said (a conversion, an original to keep) is left: its row is
marked, and `values` says what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow.compute as pc
from bson.errors import InvalidBSON
from numpy.typing import NDArray

from mongo2pg.batches import id_columns
from mongo2pg.batches.arrow import pa
from mongo2pg.batches.elements import Content, Field, Keys, Mask, Positions, ends, together, walk
from mongo2pg.batches.jsontexts import invalid_texts, octets_of, texts
from mongo2pg.batches.left import Default, Left
from mongo2pg.batches.numbers import booleans, doubles, integers, numerics, timestamps, whole_numbers
from mongo2pg.batches.typed_columns import ARROW_TYPES, fill, uuid_array
from mongo2pg.documents.bson_types import ARRAY, BINARY, INT32, INT64, NULL, OBJECT_ID, STRING
from mongo2pg.documents.decode import MalformedError, read_value
from mongo2pg.documents.identity import HEX_OBJECT_ID
from mongo2pg.model import Column


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


def _uuids(content: Content, column: Column, fields: list[Field], left: Left) -> pa.Array:
    ids, missing = np.zeros((len(left.rows), 16), np.uint8), np.ones(len(left.rows), np.bool_)
    for field in fields:
        if field.kind == OBJECT_ID:
            found = id_columns.uuids_from_objectids(content.object_ids(field.at).tobytes())
        elif field.kind == BINARY:
            found = _ids_of_binaries(content, column, field, left)
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


def _ids_of_binaries(content: Content, column: Column, field: Field, left: Left) -> NDArray[np.uint8]:
    found = content.blocks(field.at + 5, 16)
    subtype, version = content.octets(field.at + 4), found[:, 6] >> 4
    old = subtype == 3
    # One of version 8 may look as if it carried an ObjectId.
    left.add(field.owner[(content.int32s(field.at) != 16) | ~old & ((subtype != 4) | (version == 8))])
    if old.any():
        left.keep(column, field.of(old))
    if column.name == "id":
        # Another document may have a UUID of these bytes, or an `_id` that becomes one of version 5.
        left.doubtful[field.owner[old | (version == 5)]] = True
    return found


def _ids_of_strings(content: Content, column: Column, field: Field, left: Left) -> NDArray[np.uint8]:
    array = strings(content, field.at + 4, field.at + 3 + content.int32s(field.at), None, field.owner, left)
    if column.name == "id":
        # Another document may have the ObjectId of these digits.
        left.doubtful[field.owner[np.asarray(pc.match_substring_regex(array, f"^{HEX_OBJECT_ID.pattern}$"))]] = True
    texts = array.dictionary_encode()
    ids = id_columns.uuids_from_texts([text.decode(errors="replace") for text in texts.dictionary.view(pa.binary()).to_pylist()])
    found: NDArray[np.uint8] = ids[np.asarray(texts.indices)]
    return found


def _ids_of_integers(content: Content, column: Column, field: Field, left: Left) -> NDArray[np.uint8]:
    return id_columns.uuids_from_integers(whole_numbers(content, field).tolist())


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
    "bigint": integers,
    "boolean": booleans,
    "double precision": doubles,
    "integer": integers,
    "jsonb": _json,
    "numeric": numerics,
    "text": _text,
    "text[]": _lists,
    "timestamptz": timestamps,
    "uuid": _uuids,
}
