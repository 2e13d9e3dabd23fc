"""What a declaration says of values before they are judged: defaults, parsed texts, aliases, U+0000."""

from __future__ import annotations

import datetime
import math
import re
from decimal import Decimal
from typing import Any

from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

from mongo2pg.model import Column
from mongo2pg.reference.documents import MISSING


def as_declared(value: Any, column: Column) -> Any:
    """The value after the conversions that the column declares; the very same object where none applies."""
    if value is MISSING or value is None:
        return value if column.default is None else column.default
    if isinstance(value, list) and column.nul != "misfit":
        cured = [_cured(item, column.nul) if type(item) is str else item for item in value]
        return value if cured == value else cured
    if type(value) is not str:
        return value
    if chr(0) in value and column.nul != "misfit":
        return _cured(value, column.nul)
    if value in dict(column.aliases):
        return dict(column.aliases)[value]
    if column.parse and column.type == "timestamptz":
        return _parsed_date(value)
    if column.parse and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value, re.ASCII):
        return _parsed_number(value, column.type)
    return value


def _cured(text: str, policy: str) -> str:
    return "".join(text.split(chr(0))) if policy == "remove" else text.replace(chr(0), chr(0xFFFD))


def _parsed_number(text: str, kind: str) -> Any:
    """The number that the text spells, if the column's type may hold it; otherwise the text."""
    near = float(text)
    try:
        exact = Decimal(text)
        if kind == "double precision":
            return text if math.isinf(near) or (near == 0 and exact != 0) else near
        if len(exact.as_tuple().digits) > 34 or not -6176 <= exact.adjusted() <= 6144:
            return text
        if kind == "numeric":
            return Decimal128(exact)
    except ArithmeticError:  # neither a Decimal nor a Decimal128 holds it as it stands
        return text
    if exact == exact.to_integral_value():
        return int(exact) if abs(exact) < 2**63 else near
    return text if near.is_integer() else near


def _parsed_date(text: str) -> Any:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return text
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    for fraction in re.findall("[.,]([0-9]+)", text):
        if fraction[3:].strip("0"):
            return text
    return DatetimeMS((moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(milliseconds=1))
