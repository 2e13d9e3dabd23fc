"""Where MongoDB sorts an `_id`, from the Extended JSON that rows and books keep of it (manual, "Comparison/Sort Order")."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from bson import json_util
from bson.code import Code
from bson.codec_options import DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.errors import BSONError
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

_IDS = json_util.RELAXED_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS)


def id_order(document_id: str) -> tuple[Any, ...]:
    """A sort key that orders `_id`s as their index does: the rank of the type, then the value."""
    try:
        return _order(json_util.loads(document_id, json_options=_IDS))
    except (BSONError, ValueError, TypeError, LookupError, ArithmeticError):
        return _order(json.loads(document_id))  # an embedded document that only looks like Extended JSON


def _order(value: Any) -> tuple[Any, ...]:
    if value is None or isinstance(value, bool):
        return (1,) if value is None else (8, value)
    if isinstance(value, int | float | Decimal128):
        number = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
        return (2, not number.is_nan(), Decimal(0) if number.is_nan() else number)
    if isinstance(value, Code):  # a str, too
        return (12, value.encode()) if value.scope is None else (13, value.encode(), *_order(value.scope))
    if isinstance(value, dict) and list(value) == ["$utf8"]:
        return (3, base64.b64decode(value["$utf8"]))  # a string with U+0000, as `extended_json.to_json` writes it
    if isinstance(value, str):
        return (3, value.encode())
    if isinstance(value, dict | DBRef):  # what is called a DBRef is a document with fields of these names
        return (4, *_fields((value.as_doc() if isinstance(value, DBRef) else value).items()))
    if isinstance(value, list):
        return (5, *_fields(("", item) for item in value))
    if isinstance(value, bytes):
        return (6, len(value), getattr(value, "subtype", 0), bytes(value))
    if isinstance(value, ObjectId):
        return (7, value.binary)
    if isinstance(value, DatetimeMS):
        return (9, int(value))
    if isinstance(value, Timestamp):
        return (10, value.time, value.inc)
    if isinstance(value, Regex):
        return (11, value.pattern, value.flags)
    return {MinKey: (0,), MaxKey: (14,)}[type(value)]


def _fields(fields: Iterable[tuple[str, Any]]) -> Iterable[tuple[Any, ...]]:
    """Field by field: the type, the name, the value."""
    for name, value in fields:
        rank, *rest = _order(value)
        yield rank, name.encode(), rest
