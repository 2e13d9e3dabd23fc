"""What a data engineer decides on purpose: changes to values that the declaration of a column names.

Each change is counted by field and rule and shown with a few samples; the value as it was stays in `extra` (a default
stands for nothing, so nothing is kept).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from typing import Any, NamedTuple

from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

from mongo2pg.model import Column

# JSON's way of writing numbers, with a leading plus and a bare point allowed; no spaces, no thousands.
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
# A part of a second that milliseconds do not hold. Python reads no more than six digits of it, and passes over the rest.
FINER = re.compile(r"[.,][0-9]{3}[0-9]*[1-9]")
# Decimal128 holds 34 digits: a longer text stays what it is.
DIGITS = 34
# Samples kept of each rule, and characters shown of each value.
SAMPLES, SHOWN = 3, 80
MASK = "(sensitive)"


class Conversion(NamedTuple):
    """One value that a rule changed."""

    row: int
    rule: str
    before: Any
    after: Any


@dataclass
class Tally:
    """How often a rule changed a field, with the first few values before and after."""

    count: int = 0
    samples: list[tuple[str, str]] = field(default_factory=list)

    def add(self, before: str, after: str, times: int = 1) -> None:
        self.count += times
        self.samples += [(before[:SHOWN], after[:SHOWN])] * min(times, SAMPLES - len(self.samples))


def apply(values: Sequence[Any], column: Column) -> tuple[Sequence[Any], list[Conversion]]:
    """The values as the column's declared conversions leave them, and what they changed."""
    if not column.converts:
        return values, []
    converted = list(values)
    changes = []
    for row, value in enumerate(values):
        after, rule = _convert(value, column)
        if rule:
            converted[row] = after
            changes.append(Conversion(row, rule, value, after))
    return converted, changes


def _convert(value: Any, column: Column) -> tuple[Any, str]:
    if value is None:
        return (column.default, "default") if column.default is not None else (value, "")
    if type(value) is list and column.nul != "misfit":
        items = [_without_nul(item, column.nul) if type(item) is str else item for item in value]
        return (items, f"nul {column.nul}") if items != value else (value, "")
    if type(value) is not str:
        return value, ""
    if column.nul != "misfit" and "\0" in value:
        return _without_nul(value, column.nul), f"nul {column.nul}"
    for alias, name in column.aliases:
        if value == alias:
            return name, "alias"
    if column.parse:
        parsed = _date(value) if column.type == "timestamptz" else _number(value, column.type)
        return (value, "") if parsed is None else (parsed, "parse")
    return value, ""


def _without_nul(text: str, policy: str) -> str:
    return text.replace("\0", "" if policy == "remove" else "\N{REPLACEMENT CHARACTER}")


def _number(text: str, kind: str) -> Any:
    if not NUMBER.fullmatch(text):
        return None
    try:
        return _exactly(text, kind)
    except DecimalException:  # its exponent is beyond what Decimal knows, or Decimal128 would round it
        return None


def _exactly(text: str, kind: str) -> Any:
    number = Decimal(text)
    if kind == "double precision":
        # Beyond what a double reaches it would become infinity or nothing.
        return float(text) if math.isfinite(float(text)) and (float(text) != 0) == (number != 0) else None
    if len(number.as_tuple().digits) > DIGITS or not -6176 <= number.adjusted() <= 6144:
        return None
    if kind == "numeric":
        return Decimal128(number)
    if number == int(number):
        return int(number) if abs(number) < 2**63 else float(number)
    # As a double it may be the whole number that it is not.
    return None if float(number).is_integer() else float(number)


def _date(text: str) -> DatetimeMS | None:
    """ISO 8601; a time without an offset is UTC. Digits beyond the millisecond would be lost: such a text stays one."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if FINER.search(text):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    elapsed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return DatetimeMS(elapsed.days * 86_400_000 + elapsed.seconds * 1000 + elapsed.microseconds // 1000)
