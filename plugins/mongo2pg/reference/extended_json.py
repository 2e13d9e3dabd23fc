"""Values as Extended JSON: relaxed for jsonb columns and `extra`, canonical for ids."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from decimal import Decimal
from itertools import chain
from typing import Any

import orjson
from bson import json_util
from bson.code import Code
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from mongo2pg.reference.documents import Odd


class NulCharacterError(ValueError):
    """A text with U+0000, which jsonb cannot hold."""


def json_text(value: Any, *, keep_nul: bool = False) -> str:
    """Relaxed Extended JSON as PostgreSQL reads it; `NulCharacterError` for U+0000, unless that is kept as `{"$utf8": …}`."""
    if _are_plain([value]):
        text = orjson.dumps(value).decode()
        if r"\u0000" not in text:
            return text
    return dump(to_json(value, keep_nul=keep_nul))


def json_texts(values: Sequence[Any]) -> list[str]:
    """The same of many values."""
    if _are_plain(values):
        texts = [orjson.dumps(value).decode() for value in values]
        if r"\u0000" not in "".join(texts):
            return texts
    return list(map(json_text, values))


_SAME_IN_JSON = frozenset({str, int, bool, type(None), Int64})


def _are_plain(values: Sequence[Any]) -> bool:
    """Whether all are their own relaxed Extended JSON: no type that JSON lacks, no double that jsonb would change.

    One level of all of them after the other, for that takes a few calls where each value would take one.
    """
    while (kinds := set(map(type, values)) - _SAME_IN_JSON) <= {dict, list, float}:
        if float in kinds:
            doubles = [value for value in values if type(value) is float]
            if not all(-1e15 < value < 1e15 and (value != 0 or math.copysign(1, value) > 0) for value in doubles):
                return False
        below = [value.values() for value in values if type(value) is dict]
        values = list(chain(chain.from_iterable(below), *(value for value in values if type(value) is list)))
        if not values:
            return True
    return False


def to_json(value: Any, *, keep_nul: bool = False) -> Any:
    """Relaxed Extended JSON, made by pymongo's `json_util` but for what jsonb cannot hold; `NulCharacterError` for U+0000."""
    kind = type(value)
    if kind is str:
        if "\0" not in value:
            return value
        if not keep_nul:
            raise NulCharacterError
        return {"$utf8": base64.b64encode(value.encode()).decode()}
    if value is None or kind is bool or isinstance(value, int):
        return value if value is None or kind is bool else int(value)
    if kind is float:
        if math.isfinite(value) and abs(value) < 1e15 and str(value) != "-0.0":
            return value
        return {"$numberDouble": float_text(value)}
    if kind is dict:
        return {key: to_json(item, keep_nul=keep_nul) for key, item in value.items()}
    if kind is list:
        return [to_json(item, keep_nul=keep_nul) for item in value]
    if kind is ObjectId:
        return {"$oid": str(value)}
    if kind is Odd:
        return to_json(value.extended_json, keep_nul=keep_nul)
    if kind is Code and value.scope is not None:
        return {"$code": to_json(str(value), keep_nul=keep_nul), "$scope": to_json(dict(value.scope), keep_nul=keep_nul)}
    made = json.loads(json_util.dumps(value, json_options=json_util.RELAXED_JSON_OPTIONS))
    return to_json(made, keep_nul=keep_nul)


def canonical(value: Any) -> Any:
    """Canonical Extended JSON, numbers by value: integral ones as $numberLong, other doubles as $numberDouble.

    Embedded documents with a key that begins with `$` are lists of pairs, or they would look like other types.
    """
    if isinstance(value, Odd):
        return value.extended_json
    if isinstance(value, dict):
        pairs = [[key, canonical(item)] for key, item in value.items()]
        return {"$document": pairs} if any(key[:1] == "$" for key in value) else dict(pairs)
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, Code) and value.scope is not None:
        return {"$code": str(value), "$scope": canonical(dict(value.scope))}
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal128):
        return json.loads(json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS))
    number = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
    if not number.is_finite():
        return {"$numberDouble": "NaN" if number.is_nan() else float_text(float(number))}
    if number == number.to_integral_value() and -(2**63) <= number < 2**63:
        return {"$numberLong": str(int(number))}
    if Decimal(float(number)) == number:
        return json.loads(json_util.dumps(float(number), json_options=json_util.CANONICAL_JSON_OPTIONS))
    digits = number.as_tuple()
    exponent = int(digits.exponent)
    text = "".join(map(str, digits.digits))
    while len(text) > 1 and text.endswith("0"):
        text, exponent = text[:-1], exponent + 1
    return {"$numberDecimal": str(Decimal128(Decimal((digits.sign, tuple(map(int, text)), exponent))))}


def dump(value: Any) -> str:
    """JSON as PostgreSQL reads it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def float_text(value: float) -> str:
    """A double as PostgreSQL and Extended JSON write it: the shortest text that reads back as the same bits."""
    if value != value:
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)
