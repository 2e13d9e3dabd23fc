"""Values as relaxed Extended JSON v2 (MongoDB manual), as jsonb can keep it."""

from __future__ import annotations

import base64
import datetime
import json
import math
from collections.abc import Callable
from typing import Any

import orjson
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from mongo2pg.documents.decode import DBPointer, OddRegex, Symbol, Undefined
from mongo2pg.documents.reasons import UnfitError

# Doubles from here on are written `{"$numberDouble": …}` in jsonb, which would spell out all their digits.
LARGE_DOUBLE = 1e15
JsonValue = Any


def extended_json(value: Any, *, keep_nul: bool = False) -> str:
    """Relaxed Extended JSON v2 (MongoDB manual) as jsonb can keep it.

    -0.0 and doubles of magnitude ≥ 1e15 are `$numberDouble`, for jsonb has neither. U+0000, which no jsonb can hold,
    raises `UnfitError`, unless `keep_nul`: then such a text becomes `{"$utf8": "<base64 of its bytes>"}`.
    """
    content = _json(value, keep_nul)
    try:
        return orjson.dumps(content).decode()
    except orjson.JSONEncodeError:  # nested deeper than orjson goes, but not than BSON does
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _json(value: Any, keep_nul: bool) -> JsonValue:
    kind = type(value)
    if kind is str:
        if "\0" in value:
            if not keep_nul:
                raise UnfitError("nul_character")
            return {"$utf8": base64.b64encode(value.encode()).decode()}
        return value
    if kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return value if abs(value) < LARGE_DOUBLE and (value != 0 or math.copysign(1, value) > 0) else _number_double(value)
    if kind is dict:
        return {key: _json(item, keep_nul) for key, item in value.items()}
    if kind is list:
        return [_json(item, keep_nul) for item in value]
    return _JSON[kind](value, keep_nul)


def _number_double(value: float) -> JsonValue:
    special = {math.inf: "Infinity", -math.inf: "-Infinity"}
    return {"$numberDouble": "NaN" if value != value else special.get(value, repr(value))}


def _json_date(value: DatetimeMS, _: bool) -> JsonValue:
    ms = int(value)
    # Relaxed form for the years 1970 to 9999 only (Extended JSON v2 specification, "Datetime").
    if not 0 <= ms < 253_402_300_800_000:
        return {"$date": {"$numberLong": str(ms)}}
    seconds = datetime.datetime.fromtimestamp(ms // 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return {"$date": f"{seconds}.{ms % 1000:03d}Z" if ms % 1000 else f"{seconds}Z"}


def _json_binary(value: bytes, _: bool) -> JsonValue:
    return {"$binary": {"base64": base64.b64encode(value).decode(), "subType": f"{getattr(value, 'subtype', 0):02x}"}}


def _json_regex(value: Regex[Any], keep_nul: bool) -> JsonValue:
    flags = "".join(
        letter for letter, flag in (("i", 2), ("l", 4), ("m", 8), ("s", 16), ("u", 32), ("x", 64)) if value.flags & flag
    )
    return {"$regularExpression": {"pattern": _json(value.pattern, keep_nul), "options": flags}}


def _json_code(value: Code, keep_nul: bool) -> JsonValue:
    code: JsonValue = {"$code": _json(str(value), keep_nul)}
    return code if value.scope is None else code | {"$scope": _json(dict(value.scope), keep_nul)}


_JSON: dict[type, Callable[[Any, bool], JsonValue]] = {
    Int64: lambda value, _: int(value),
    ObjectId: lambda value, _: {"$oid": str(value)},
    DatetimeMS: _json_date,
    Decimal128: lambda value, _: {"$numberDecimal": str(value)},
    bytes: _json_binary,
    Binary: _json_binary,
    Regex: _json_regex,
    OddRegex: lambda value, keep_nul: {"$regularExpression": {"pattern": _json(value.pattern, keep_nul), "options": value.options}},
    Code: _json_code,
    Timestamp: lambda value, _: {"$timestamp": {"t": value.time, "i": value.inc}},
    MinKey: lambda value, _: {"$minKey": 1},
    MaxKey: lambda value, _: {"$maxKey": 1},
    Symbol: lambda value, keep_nul: {"$symbol": _json(value.name, keep_nul)},
    Undefined: lambda value, _: {"$undefined": True},
    DBPointer: lambda value, keep_nul: {"$dbPointer": {"$ref": _json(value.collection, keep_nul), "$id": {"$oid": str(value.id)}}},
}
