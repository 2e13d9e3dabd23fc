"""Values as the text that PostgreSQL reads: one by one by a plain rule, whole columns by a shorter one where all are alike.

The short rules give what `text_of` gives, or nothing: a test compares the two. They are what makes verifying cheap, for
nearly every column of nearly every batch holds one type of value and nothing odd.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from typing import Any

from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.regex import Regex

from mongo2pg.model import Column
from mongo2pg.reference.documents import MISSING, Missing, Odd
from mongo2pg.reference.extended_json import NulCharacterError, float_text, json_text, json_texts
from mongo2pg.reference.ids import identify, is_own_form, uuids_of

# PostgreSQL manual, 8.5: from Julian day 0 to the last day of 294276.
EARLIEST_MS, LATEST_MS = -210_866_803_200_000, 9_224_318_015_999_999


class Unfit(Exception):  # noqa: N818 — a verdict on a value, not an error of this code
    """The value does not fit its column; the reason, and where below its path."""

    def __init__(self, reason: str, below: str = "") -> None:
        super().__init__(reason)
        self.reason, self.below = reason, below


# --- a column of values ----------------------------------------------------------------------------------------------


@dataclass
class Texts:
    """A column's texts (None is NULL), what did not fit by its position, and where the original form is kept."""

    texts: list[str | None]
    unfit: dict[int, Unfit] = field(default_factory=dict)
    kept: list[int] = field(default_factory=list)


def texts_of(values: Sequence[Any], column: Column) -> Texts:
    """The column's texts; NULL for null, for what is missing and for what does not fit."""
    kinds = set(map(type, values))
    absent = kinds & ABSENT
    rule = _RULES.get(column.type)
    if kinds == absent:
        return Texts([None] * len(values))
    if rule:
        present = [value for value in values if value is not None and value is not MISSING] if absent else values
        if (made := rule(present, kinds - absent, column)) is not None:
            if not absent:
                return Texts(made)
            following = iter(made)
            return Texts([None if value is None or value is MISSING else next(following) for value in values])
    result = Texts([])
    for at, value in enumerate(values):
        text = None
        if value is not None and value is not MISSING:
            try:
                text, keep = text_of(value, column)
                if keep:
                    result.kept.append(at)
            except Unfit as fault:
                result.unfit[at] = fault
        result.texts.append(text)
    return result


ABSENT = {type(None), Missing}

# A short rule takes present values, their types and the column, and gives their texts; None where it does not apply.
Rule = Callable[[Sequence[Any], set[type], Column], "list[str | None] | None"]


def _texts(values: Sequence[Any], kinds: set[type], column: Column) -> list[str | None] | None:
    if kinds != {str} or "\0" in "".join(values) or (column.enum and not set(values) <= set(column.enum)):
        return None
    if column.longest and max(len(value.encode()) for value in values) > column.longest:
        return None
    return list(values)


def _text_arrays(values: Sequence[Any], kinds: set[type], column: Column) -> list[str | None] | None:
    if kinds != {list} or set(map(type, chain.from_iterable(values))) - {str}:
        return None
    everything = "".join(chain.from_iterable(values))
    if "\0" in everything or '"' in everything or "\\" in everything:
        return None
    if column.enum and not set(chain.from_iterable(values)) <= set(column.enum):
        return None
    return ['{"' + '","'.join(items) + '"}' if items else "{}" for items in values]


def _booleans(values: Sequence[Any], kinds: set[type], column: Column) -> list[str | None] | None:
    return ["t" if value else "f" for value in values] if kinds == {bool} else None


def _whole_numbers(values: Sequence[Any], kinds: set[type], column: Column) -> list[str | None] | None:
    limit = 2**31 if column.type == "integer" else 2**63
    if kinds - {int, Int64} or not -limit <= min(values) <= max(values) < limit:
        return None
    return list(map(str, values))


def _doubles(values: Sequence[Any], kinds: set[type], column: Column) -> list[str | None] | None:
    if kinds - {int, float, Int64}:
        return None
    numbers = values if kinds == {float} else [float(value) for value in values]
    # Whole numbers below 2**53 have a double each; NaN and infinities are in no range.
    if not all(map((2.0**53).__gt__, map(abs, numbers))):
        return None
    return list(map(repr, numbers))


def _dates(values: Sequence[Any], kinds: set[type], column: Column) -> list[str | None] | None:
    if kinds != {datetime.datetime}:
        return None
    return [value.isoformat(" ", "milliseconds") + "+00" for value in values]


def _object_ids(values: Sequence[Any], kinds: set[type], column: Column) -> list[str | None] | None:
    return [*uuids_of(values)] if kinds == {ObjectId} else None


def _json(values: Sequence[Any], kinds: set[type], column: Column) -> list[str | None] | None:
    try:
        return [*json_texts(values)]
    except NulCharacterError:
        return None


_RULES: dict[str, Rule] = {
    "text": _texts,
    "text[]": _text_arrays,
    "boolean": _booleans,
    "integer": _whole_numbers,
    "bigint": _whole_numbers,
    "double precision": _doubles,
    "timestamptz": _dates,
    "uuid": _object_ids,
    "jsonb": _json,
}


# --- one value -------------------------------------------------------------------------------------------------------


def text_of(value: Any, column: Column) -> tuple[str, bool]:
    """The value as PostgreSQL reads it for this column, and whether its original form is kept; raises `Unfit`."""
    if column.type == "uuid":
        return _uuid_of(value, bool(column.references))
    if column.type == "bytea":
        if type(value) is bytes or type(value) is Binary:
            return "\\x" + bytes(value).hex(), type(value) is Binary
        raise Unfit("type_mismatch")
    text = _plain(value, column.type)
    if column.enum and column.type == "text" and text not in column.enum:
        raise Unfit("enum")
    if column.enum and column.type == "text[]":
        for at, item in enumerate(value):
            if item not in column.enum:
                raise Unfit("enum", str(at))
    if column.longest and len(text.encode()) > column.longest:
        raise Unfit("too_long")
    return text, False


def _plain(value: Any, kind: str) -> str:
    if kind == "text":
        if not isinstance(value, str) or type(value) is not str:
            raise Unfit("type_mismatch")
        if chr(0) in value:
            raise Unfit("nul_character")
        return value
    if kind == "text[]":
        if type(value) is not list:
            raise Unfit("type_mismatch")
        items = []
        for at, item in enumerate(value):
            if item is None:
                raise Unfit("required", str(at))
            try:
                items.append(_plain(item, "text"))
            except Unfit as fault:
                raise Unfit(fault.reason, str(at)) from None
        quoted = ('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items)
        return "{" + ",".join(quoted) + "}"
    if kind == "jsonb":
        try:
            return json_text(value)
        except NulCharacterError:
            raise Unfit("nul_character") from None
    if kind == "boolean":
        if value is True or value is False:
            return "t" if value else "f"
        raise Unfit("type_mismatch")
    if kind == "timestamptz":
        if not isinstance(value, datetime.datetime | DatetimeMS):
            raise Unfit("type_mismatch")
        milliseconds = int(value if isinstance(value, DatetimeMS) else DatetimeMS(value))
        if not EARLIEST_MS <= milliseconds <= LATEST_MS:
            raise Unfit("out_of_range")
        return timestamp_text(milliseconds)
    return _number(value, kind)


def _number(value: Any, kind: str) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind == "numeric" and isinstance(value, Decimal128):
        decimal = value.to_decimal()
        if decimal.is_nan():
            return "NaN"
        return str(decimal) if decimal.is_infinite() else format(decimal.copy_abs() if decimal == 0 else decimal, "f")
    if not whole and not isinstance(value, float):
        raise Unfit("type_mismatch")
    if kind == "double precision":
        if whole and Decimal(float(value)) != Decimal(int(value)):
            raise Unfit("inexact")
        return float_text(float(value))
    if kind == "numeric":
        if whole:
            return str(int(value))
        if value != value or math.isinf(value):
            return float_text(value)
        return "0" if value == 0 and str(value)[0] == "-" else format(Decimal(repr(value)), "f")
    if not whole:
        if value != value or math.isinf(value):
            raise Unfit("out_of_range")
        if value != math.floor(value) or str(value) == "-0.0":
            raise Unfit("not_integral")
    limit = 2**31 if kind == "integer" else 2**63
    if not -limit <= value < limit:
        raise Unfit("out_of_range")
    return str(int(value))


def _uuid_of(value: Any, reference: bool) -> tuple[str, bool]:
    if type(value) is ObjectId:
        return identify(value), False
    if isinstance(value, Binary) and value.subtype in (3, 4) and len(value) == 16:
        return identify(value), not is_own_form(value)
    if type(value) is str and re.fullmatch("[0-9a-fA-F]{24}", value):
        return identify(value), True
    if not reference or isinstance(value, list | Regex) or (isinstance(value, Odd) and not value.may_be_reference):
        raise Unfit("type_mismatch")
    return identify(value), True


def timestamp_text(ms: int) -> str:
    """Milliseconds since 1970 as PostgreSQL reads a timestamptz, over its whole range.

    Days to date after Howard Hinnant's `civil_from_days`: Python's own calendar ends in the year 9999.
    """
    days, rest = divmod(ms, 86_400_000)
    shifted = days + 719_468
    era, day_of_era = divmod(shifted, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_index + 2) // 5 + 1
    month = month_index + 3 if month_index < 10 else month_index - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    seconds, milli = divmod(rest, 1000)
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{milli:03d}"
    shown, suffix = (year, "") if year > 0 else (1 - year, " BC")
    return f"{shown:04d}-{month:02d}-{day:02d} {clock}+00{suffix}"
