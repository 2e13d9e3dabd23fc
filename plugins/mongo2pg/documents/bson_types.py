"""The types of BSON: their codes in the bytes (bsonspec.org), and what MongoDB calls those of values."""

from __future__ import annotations

from typing import Any

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

DOUBLE, STRING, DOCUMENT, ARRAY, BINARY, OBJECT_ID, BOOLEAN, DATE, NULL = 0x01, 0x02, 0x03, 0x04, 0x05, 0x07, 0x08, 0x09, 0x0A
INT32, INT64, DECIMAL = 0x10, 0x12, 0x13
# What `$type` calls these.
ALIASES = {
    DOUBLE: "double", STRING: "string", DOCUMENT: "object", ARRAY: "array", BINARY: "binData", OBJECT_ID: "objectId",
    BOOLEAN: "bool", DATE: "date", NULL: "null", INT32: "int", INT64: "long", DECIMAL: "decimal",
}  # fmt: skip

_BSON_TYPES: dict[type, str] = {
    str: "string",
    int: "int",
    Int64: "long",
    float: "double",
    Decimal128: "decimal",
    bool: "bool",
    DatetimeMS: "date",
    ObjectId: "objectId",
    bytes: "binData",
    Binary: "binData",
    type(None): "null",
    dict: "object",
    list: "array",
    Regex: "regex",
    OddRegex: "regex",
    Timestamp: "timestamp",
    MinKey: "minKey",
    MaxKey: "maxKey",
    Symbol: "symbol",
    Undefined: "undefined",
    DBPointer: "dbPointer",
}


def bson_type(value: Any) -> str:
    """The alias by which MongoDB's `$type` calls the type of a value."""
    if type(value) is Code:
        return "javascript" if value.scope is None else "javascriptWithScope"
    return _BSON_TYPES[type(value)]
