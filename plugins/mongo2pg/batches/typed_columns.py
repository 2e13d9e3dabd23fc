"""A whole column of values at once: fast where it holds what one expects of it; each other column goes value by value.

Both ways give the same answer, that of `values.convert`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import pyarrow.compute as pc
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64
from bson.objectid import ObjectId

from mongo2pg.batches import id_columns
from mongo2pg.batches.arrow import pa
from mongo2pg.documents.conversions import Conversion, apply
from mongo2pg.documents.reasons import UnfitError
from mongo2pg.documents.values import FIRST_TIMESTAMP_MS, LAST_TIMESTAMP_MS, Converted, convert
from mongo2pg.model import EXACT_DOUBLES, Column

# How a column travels from normalise to load. numeric goes as exact text; ms reach further than PostgreSQL's µs do.
ARROW_TYPES: dict[str, pa.DataType] = {
    "bigint": pa.int64(),
    "boolean": pa.bool_(),
    "bytea": pa.binary(),
    "double precision": pa.float64(),
    "integer": pa.int32(),
    "jsonb": pa.string(),
    "numeric": pa.string(),
    "text": pa.string(),
    "text[]": pa.list_(pa.string()),
    "timestamptz": pa.timestamp("ms", tz="UTC"),
    "uuid": pa.binary(16),
}


class Misfit(NamedTuple):
    """A value that its column cannot hold: which row of the column, where below the column's path, what it was, and why."""

    row: int
    below: str
    value: Any
    reason: str


class Filled(NamedTuple):
    """One column of a batch: the values, what did not fit, the rows whose original is kept in `extra`, and what was changed."""

    array: pa.Array
    misfits: list[Misfit]
    originals: list[int]
    conversions: list[Conversion]


def fill(values: Sequence[Any], column: Column) -> Filled:
    """The column for these values, None where one is missing, null or unfit; never raises for a value."""
    values, declared = apply(values, column)
    filled = _fill(values, column)
    if not declared:
        return filled
    kept = [change.row for change in declared if change.rule != "default"]
    return filled._replace(conversions=declared + filled.conversions, originals=sorted({*filled.originals, *kept}))


def _fill(values: Sequence[Any], column: Column) -> Filled:
    types = set(map(type, values))
    types.discard(type(None))
    if not types:
        return Filled(pa.nulls(len(values), ARROW_TYPES[column.type]), [], [], [])
    fast = _FAST.get(column.type)
    array = fast(values, types) if fast else None
    if array is not None and column.enum and not _all_in(array, column.enum):
        array = None
    if array is not None and column.longest and pc.max(pc.binary_length(array)).as_py() > column.longest:
        array = None
    if array is not None:
        return Filled(array, [], [], [])
    return _fill_one_by_one(values, column)


def _fill_one_by_one(values: Sequence[Any], column: Column) -> Filled:
    stored: list[Any] = [None] * len(values)
    misfits: list[Misfit] = []
    originals: list[int] = []
    conversions: list[Conversion] = []
    for index, value in enumerate(values):
        if value is None:
            continue
        try:
            result = convert(value, column)
        except UnfitError as fault:
            misfits.append(Misfit(index, fault.below, fault.value if fault.below else value, fault.reason))
            continue
        if isinstance(result, Converted):
            if result.original:
                originals.append(index)
            if result.changed:
                conversions.append(Conversion(index, "decimal", value, result.stored))
            result = result.stored
        stored[index] = result
    return Filled(pa.array(stored, ARROW_TYPES[column.type]), misfits, originals, conversions)


def _fast_text(values: Sequence[Any], types: set[type]) -> pa.Array | None:
    if types != {str}:
        return None
    array = pa.array(values, pa.string())
    return None if pc.any(pc.match_substring(array, "\0")).as_py() else array


def _fast_texts(values: Sequence[Any], types: set[type]) -> pa.Array | None:
    if types != {list} or not {type(item) for value in values if value for item in value} <= {str}:
        return None
    array = pa.array(values, pa.list_(pa.string()))
    return None if pc.any(pc.match_substring(array.flatten(), "\0")).as_py() else array


def _fast_integer(arrow: pa.DataType) -> Callable[[Sequence[Any], set[type]], pa.Array | None]:
    def fast(values: Sequence[Any], types: set[type]) -> pa.Array | None:
        if not types <= {int, Int64}:
            return None
        try:
            return pa.array(values, arrow)
        except (pa.ArrowInvalid, OverflowError):
            return None

    return fast


def _fast_double(values: Sequence[Any], types: set[type]) -> pa.Array | None:
    if types == {float}:
        return pa.array(values, pa.float64())
    if not types <= {int, Int64, float}:
        return None
    # Up to 2^53 every integer is a double.
    if any(type(value) is not float and value is not None and not -EXACT_DOUBLES <= value <= EXACT_DOUBLES for value in values):
        return None
    return pa.array([None if value is None else float(value) for value in values], pa.float64())


def _fast_boolean(values: Sequence[Any], types: set[type]) -> pa.Array | None:
    return pa.array(values, pa.bool_()) if types == {bool} else None


def _fast_timestamp(values: Sequence[Any], types: set[type]) -> pa.Array | None:
    if types != {DatetimeMS}:
        return None
    array = pa.array([None if value is None else int(value) for value in values], pa.int64())
    bounds: dict[str, int] = pc.min_max(array).as_py()
    if bounds["min"] < FIRST_TIMESTAMP_MS or bounds["max"] > LAST_TIMESTAMP_MS:
        return None
    return array.cast(ARROW_TYPES["timestamptz"])


_OID_BYTES = attrgetter("binary")


def _fast_uuid(values: Sequence[Any], types: set[type]) -> pa.Array | None:
    if types != {ObjectId}:
        return None
    if None not in values:
        return uuid_array(id_columns.uuids_from_objectids(b"".join(map(_OID_BYTES, values))).tobytes())
    present = id_columns.uuids_from_objectids(b"".join([value.binary for value in values if value is not None])).tobytes()
    ids = (present[at : at + 16] for at in range(0, len(present), 16))
    return pa.array([None if value is None else next(ids) for value in values], pa.binary(16))


def uuid_array(packed: bytes) -> pa.Array:
    """n × 16 packed bytes as a column, without a copy."""
    return pa.Array.from_buffers(pa.binary(16), len(packed) // 16, [None, pa.py_buffer(packed)])


_FAST: dict[str, Callable[[Sequence[Any], set[type]], pa.Array | None]] = {
    "bigint": _fast_integer(pa.int64()),
    "boolean": _fast_boolean,
    "double precision": _fast_double,
    "integer": _fast_integer(pa.int32()),
    "text": _fast_text,
    "text[]": _fast_texts,
    "timestamptz": _fast_timestamp,
    "uuid": _fast_uuid,
}


def _all_in(array: pa.Array, allowed: tuple[str, ...]) -> bool:
    flat = array.flatten() if pa.types.is_list(array.type) else array
    return set(flat.unique().to_pylist()) <= {None, *allowed}
