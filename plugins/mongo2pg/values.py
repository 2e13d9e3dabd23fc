"""What becomes of a value: the one place where BSON types meet column types.

Two ways lead through this module and give the same answer. `fill` takes a whole column at once and is fast where the
column holds what one expects of it; `convert` takes one value and is the rule itself, asked for everything else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from typing import Any, NamedTuple

import pyarrow.compute as pc
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.regex import Regex

from mongo2pg import id_columns, identity
from mongo2pg.arrow import pa
from mongo2pg.conversions import Conversion, apply
from mongo2pg.decode import OddRegex, Undefined
from mongo2pg.extended_json import extended_json
from mongo2pg.model import Column
from mongo2pg.reasons import UnfitError

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

# PostgreSQL manual, table 8.9: timestamps reach from 4713 BC (Julian day 0) to the end of 294276 AD. In ms since 1970.
FIRST_TIMESTAMP_MS = -210_866_803_200_000
LAST_TIMESTAMP_MS = 9_224_318_015_999_999


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


@dataclass(frozen=True)
class Converted:
    """A stored value whose original form is worth keeping beside it (`original`), or whose form changed (`changed`)."""

    stored: Any
    original: bool = False
    changed: bool = False


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


def convert(value: Any, column: Column) -> Any:
    """What the column stores for one value that is not null; a `Converted` where more is to be said; raises `UnfitError`."""
    if column.references:
        return _reference(value)
    stored = _CONVERT[column.type](value)
    if column.enum:
        allowed = column.enum
        if column.type == "text[]":
            for index, item in enumerate(stored):
                if item not in allowed:
                    raise UnfitError("enum", str(index), item)
        elif stored not in allowed:
            raise UnfitError("enum")
    if column.longest and len(stored.encode()) > column.longest:
        raise UnfitError("too_long")
    return stored


# --- one value -----------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if type(value) is not str:
        raise UnfitError("type_mismatch")
    if "\0" in value:
        raise UnfitError("nul_character")
    return value


def _texts(value: Any) -> list[str]:
    if type(value) is not list:
        raise UnfitError("type_mismatch")
    for index, item in enumerate(value):
        if item is None:
            raise UnfitError("required", str(index), item)
        try:
            _text(item)
        except UnfitError as fault:
            raise UnfitError(fault.reason, str(index), item) from None
    return value


def _integer(bits: int) -> Callable[[Any], int]:
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    def convert_integer(value: Any) -> int:
        if type(value) is float:
            if not math.isfinite(value):
                raise UnfitError("out_of_range")
            # An integer has no -0.0.
            if not value.is_integer() or (value == 0 and math.copysign(1, value) < 0):
                raise UnfitError("not_integral")
        elif type(value) not in (int, Int64):
            raise UnfitError("type_mismatch")
        if not least <= value <= most:
            raise UnfitError("out_of_range")
        return int(value)

    return convert_integer


def _double(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) not in (int, Int64):
        raise UnfitError("type_mismatch")
    if int(float(value)) != value:
        raise UnfitError("inexact")
    return float(value)


def _numeric(value: Any) -> str | Converted:
    if type(value) in (int, Int64):
        return str(int(value))
    if type(value) is float:
        # The shortest decimal that reads back as the same double; numeric has no -0.
        number = Decimal(repr(value))
        negative_zero = number.is_zero() and number.is_signed()
        return Converted("0", changed=True) if negative_zero else _numeric_text(number)
    if type(value) is not Decimal128:
        raise UnfitError("type_mismatch")
    number = value.to_decimal()
    if number.is_snan():
        return Converted("NaN", changed=True)
    text = _numeric_text(abs(number) if number.is_zero() else number)
    exponent = number.as_tuple().exponent
    changed = (number.is_zero() and number.is_signed()) or (isinstance(exponent, int) and exponent > 0)
    return Converted(text, changed=True) if changed else text


def _numeric_text(number: Decimal) -> str:
    if number.is_nan():
        return "NaN"
    return str(number) if number.is_infinite() else format(number, "f")


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise UnfitError("type_mismatch")
    return value


def _timestamp(value: Any) -> int:
    if type(value) is not DatetimeMS:
        raise UnfitError("type_mismatch")
    if not FIRST_TIMESTAMP_MS <= int(value) <= LAST_TIMESTAMP_MS:
        raise UnfitError("out_of_range")
    return int(value)


def _uuid(value: Any) -> bytes | Converted:
    if type(value) is ObjectId:
        return identity.uuid_from_objectid(value).bytes
    if type(value) is Binary and value.subtype in (3, 4) and len(value) == 16:
        stored = identity.id_from_value(value).bytes
        return stored if identity.is_reversible(value) else Converted(stored, original=True)
    if type(value) is str and identity.HEX_OBJECT_ID.fullmatch(value):
        return Converted(identity.id_from_value(value).bytes, original=True)
    raise UnfitError("type_mismatch")


def _reference(value: Any) -> bytes | Converted:
    try:
        return _uuid(value)
    except UnfitError:
        if type(value) in (list, Regex, OddRegex, Undefined):  # mongod takes these for no `_id`
            raise
    return Converted(identity.id_from_value(value).bytes, original=True)


def _bytea(value: Any) -> bytes | Converted:
    if type(value) is bytes:
        return value
    if type(value) is Binary:
        return Converted(bytes(value), original=True)
    raise UnfitError("type_mismatch")


def _jsonb(value: Any) -> str:
    return extended_json(value)


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "bigint": _integer(64),
    "boolean": _boolean,
    "bytea": _bytea,
    "double precision": _double,
    "integer": _integer(32),
    "jsonb": _jsonb,
    "numeric": _numeric,
    "text": _text,
    "text[]": _texts,
    "timestamptz": _timestamp,
    "uuid": _uuid,
}


# --- a column at once: None where some value needs `convert` --------------------------------------------------------


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
    if any(type(value) is not float and value is not None and not -(2**53) <= value <= 2**53 for value in values):
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
