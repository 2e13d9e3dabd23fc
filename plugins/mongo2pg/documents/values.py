"""What becomes of a value: the rule by which BSON types meet column types."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.regex import Regex

from mongo2pg.documents import identity
from mongo2pg.documents.decode import OddRegex, Undefined
from mongo2pg.documents.extended_json import extended_json
from mongo2pg.documents.reasons import UnfitError
from mongo2pg.model import Column

# PostgreSQL manual, table 8.9: timestamps reach from 4713 BC (Julian day 0) to the end of 294276 AD. In ms since 1970.
FIRST_TIMESTAMP_MS = -210_866_803_200_000
LAST_TIMESTAMP_MS = 9_224_318_015_999_999


@dataclass(frozen=True)
class Converted:
    """A stored value whose original form is worth keeping beside it (`original`), or whose form changed (`changed`)."""

    stored: Any
    original: bool = False
    changed: bool = False


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
