"""The one name of a document in the books: the same for `_id`s that are one to MongoDB, another for any other.

Extended JSON is no such name: 5, 5.0 and a decimal 5 look different there, an embedded document may look like an
ObjectId, and jsonb forgets the order of keys. So an `_id` is named by itself where that is safe, as JSON that jsonb
keeps: an ObjectId, a UUID, a string, a boolean, null, a whole number. Any other is named by the UUID of its row, which
tells it apart (docs/identity.md). `migration.document_id` names the document of a row in the same way.
"""

from __future__ import annotations

import base64
import hashlib
import json
from decimal import Decimal
from typing import Any

from bson.binary import Binary
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId

from mongo2pg.documents.identity import id_from_value
from mongo2pg.documents.outline import UNREADABLE, own_id

# How a name begins that nobody can look up, because it was made from the bytes of a document without a readable `_id`.
MALFORMED = '{"$malformed":'


def document_id(value: Any) -> str:
    """The name of the document with this `_id`, as compact JSON."""
    if type(value) is ObjectId:
        return f'{{"$oid":"{value}"}}'
    if value is None or type(value) is bool or (type(value) is str and "\0" not in value):
        return json.dumps(value)
    if type(value) is Binary and value.subtype in (3, 4) and len(value) == 16:
        return f'{{"$binary":{{"base64":"{base64.b64encode(value).decode()}","subType":"{value.subtype:02d}"}}}}'
    whole = _whole_number(value)
    return f'{{"$row":"{id_from_value(value)}"}}' if whole is None else str(whole)


def of_bytes(raw: bytes) -> str:
    """The name of a document, sound or malformed; made from its bytes where no `_id` can be read."""
    value = own_id(raw)
    return document_id(value) if value is not UNREADABLE else f'{MALFORMED}"{hashlib.sha256(raw).hexdigest()}"}}'


def compact(written: str) -> str:
    """A name as this module writes it, whoever wrote it: PostgreSQL writes jsonb with spaces."""
    if written.startswith('{"$oid": "'):  # as nearly all: to parse each of them takes longer than to have PostgreSQL find it
        return f'{{"$oid":{written[9:]}'
    return json.dumps(json.loads(written), sort_keys=True, separators=(",", ":"))


def _whole_number(value: Any) -> int | None:
    if not isinstance(value, int | float | Decimal128):
        return None
    number = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
    if not number.is_finite() or not -(2**63) <= number < 2**63 or number != int(number):
        return None
    return int(number)
