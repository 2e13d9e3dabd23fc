"""One rule for ids: the same `_id` or reference becomes the same UUID, in every table, on every run.

An ObjectId's 12 bytes sit inside an RFC 9562 version 8 UUID and come out again, so that no look-up table is needed and
the order of ObjectIds is the order of their UUIDs:

    uuid byte:   0..5      6               7                     8               9..12     13..15
    content:     oid[0:6]  8·hi(oid[6])    lo(oid[6])·hi(oid[7])  10b·00·lo(oid[7])  oid[8:12]  zero

A UUID is itself. Any other `_id` is a UUIDv5 of its canonical Extended JSON, numbers by value, because 5, NumberLong(5)
and 5.0 are one `_id` to MongoDB, and with another form for embedded documents that only look like Extended JSON.
"""

from __future__ import annotations

import re
import uuid
from decimal import Context, Decimal
from typing import Any

from bson.binary import Binary
from bson.code import Code
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.json_util import CANONICAL_JSON_OPTIONS
from bson.json_util import dumps as to_extended_json
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from mongo2pg.documents.decode import DBPointer, OddRegex, Symbol, Undefined

# The namespace of all derived ids. A constant for ever: another one would give every row another id.
NAMESPACE = uuid.UUID("7d0c1f5e-2b5c-5f0b-9d5e-6d6f6e676f32")

DECIMAL128_CONTEXT = Context(prec=34, Emin=-6143, Emax=6144)

HEX_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")


def uuid_from_objectid(oid: ObjectId) -> uuid.UUID:
    """The version 8 UUID that carries the ObjectId; `objectid_from_uuid` gives it back."""
    b = oid.binary
    marked = bytes([0x80 | b[6] >> 4, (b[6] & 0x0F) << 4 | b[7] >> 4, 0x80 | b[7] & 0x0F])
    return uuid.UUID(bytes=b[0:6] + marked + b[8:] + b"\0\0\0")


def objectid_from_uuid(value: uuid.UUID) -> ObjectId | None:
    """The ObjectId inside a UUID, or None where version, variant or the zero tail say that there is none."""
    b = value.bytes
    if b[6] >> 4 != 8 or b[8] & 0xF0 != 0x80 or b[13:] != b"\0\0\0":
        return None
    return ObjectId(b[0:6] + bytes([(b[6] & 0x0F) << 4 | b[7] >> 4, (b[7] & 0x0F) << 4 | b[8] & 0x0F]) + b[9:13])


def uuid_text(packed: bytes) -> str:
    """The 36 characters of a UUID's 16 bytes."""
    return str(uuid.UUID(bytes=packed))


def id_from_value(value: Any) -> uuid.UUID:
    """The UUID of anything that may be an `_id` in MongoDB, as an `_id` and as a reference alike."""
    if isinstance(value, ObjectId):
        return uuid_from_objectid(value)
    if type(value) is str and HEX_OBJECT_ID.fullmatch(value):  # code is a subclass of str
        return uuid_from_objectid(ObjectId(value))
    if isinstance(value, Binary) and value.subtype in (3, 4) and len(value) == 16:
        # Subtype 3 has no byte order of its own; Python's legacy order is the plain one (BSON binary subtypes, "UUID Old").
        return uuid.UUID(bytes=bytes(value))
    return uuid.uuid5(NAMESPACE, canonical_json(value))


def is_reversible(value: Any) -> bool:
    """Whether the UUID alone tells the value: so for ObjectIds and UUIDs, all others are kept in `extra`.

    A UUID that looks as if it carried an ObjectId does not tell that it was a UUID.
    """
    if isinstance(value, Binary) and value.subtype == 4 and len(value) == 16:
        return objectid_from_uuid(uuid.UUID(bytes=bytes(value))) is None
    return isinstance(value, ObjectId)


def kept_id(value: Any) -> Any:
    """An `_id` as `extra` keeps it: itself, or marked as a document where it would read as a number there."""
    return {"$document": value} if type(value) is dict and len(value) == 1 and not _MARKED.isdisjoint(value) else value


_MARKED = frozenset({"$numberDecimal", "$numberDouble", "$document"})


def may_collide(value: Any) -> bool:
    """Whether another `_id` of the collection may reach the same UUID.

    Two documents share an id only if one of them has such an `_id`: 24 hex digits as a string, a UUID of subtype 3, or
    a UUID made like the ones of this module (version 5 or 8).
    """
    if type(value) is str:
        return HEX_OBJECT_ID.fullmatch(value) is not None
    return (
        isinstance(value, Binary) and len(value) == 16 and (value.subtype == 3 or (value.subtype == 4 and value[6] >> 4 in (5, 8)))
    )


def canonical_json(value: Any) -> str:
    """Canonical Extended JSON in which equal numbers look alike, whatever BSON type carries them."""
    return to_extended_json(_by_value(value), json_options=CANONICAL_JSON_OPTIONS, separators=(",", ":"), ensure_ascii=False)


def _by_value(value: Any) -> Any:
    if isinstance(value, dict):
        items = {key: _by_value(item) for key, item in value.items()}
        # {"$oid": …} would read as an ObjectId: a list of pairs is no Extended JSON.
        return {"$document": [list(item) for item in items.items()]} if any(key.startswith("$") for key in items) else items
    if isinstance(value, list):
        return [_by_value(item) for item in value]
    if isinstance(value, Symbol):
        return {"$symbol": value.name}
    if isinstance(value, Undefined):
        return {"$undefined": True}
    if isinstance(value, DBPointer):
        return {"$dbPointer": {"$ref": value.collection, "$id": value.id}}
    if isinstance(value, OddRegex):
        return {"$regularExpression": {"pattern": value.pattern, "options": value.options}}
    if isinstance(value, Code) and value.scope is not None:
        return {"$code": str(value), "$scope": _by_value(dict(value.scope))}
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal128):
        return value
    number = _decimal(value)
    if not number.is_finite():
        return float("nan") if number.is_nan() else float(number)
    if -(2**63) <= number < 2**63 and number == int(number):
        return Int64(int(number))
    if Decimal(float(number)) == number:
        return float(number)
    # Decimal128 holds 34 digits: without trailing zeros, equal values have one form.
    return Decimal128(number.normalize(DECIMAL128_CONTEXT))


def _decimal(value: int | float | Decimal128) -> Decimal:
    """The number, exactly."""
    return value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)


def bson_order(value: Any) -> tuple[Any, ...]:
    """A sort key that orders values as MongoDB compares them (manual, "Comparison/Sort Order").

    Ties between numbers of one value do not occur: they are one `_id`.
    """
    match value:
        case MinKey():
            return (0,)
        case None | Undefined():
            return (1,)
        case bool():
            return (8, value)
        case int() | float() | Decimal128():
            number = _decimal(value)
            return (2, Decimal("-Infinity"), 0) if number.is_nan() else (2, number, 1)
        case Code():
            return (12, value.encode()) if value.scope is None else (13, value.encode(), bson_order(dict(value.scope)))
        case str():
            return (3, value.encode())
        case Symbol():
            return (3, value.name.encode())
        case dict():
            return (4, *((bson_order(item)[0], key.encode(), bson_order(item)) for key, item in value.items()))
        case DBRef():
            return bson_order(value.as_doc())
        case list():
            return (5, *((bson_order(item)[0], b"", bson_order(item)) for item in value))
        case bytes():
            return (6, len(value), getattr(value, "subtype", 0), bytes(value))
        case ObjectId():
            return (7, value.binary)
        case Timestamp():
            return (10, value.time, value.inc)
        case Regex() | OddRegex():
            return (11, str(value.pattern).encode(), str(getattr(value, "options", value)).encode())
        case DBPointer():
            return (11.5, len(value.collection.encode()), value.collection.encode(), value.id.binary)
        case MaxKey():
            return (14,)
    return (9, int(value))  # a date, in milliseconds
