"""The UUID of an `_id`, of a reference and of an array's element, by the rule of docs/identity.md."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from collections.abc import Iterable, Sequence
from json.encoder import encode_basestring
from typing import Any

from bson.binary import Binary
from bson.int64 import Int64
from bson.objectid import ObjectId

from mongo2pg.reference.extended_json import canonical, dump

NAMESPACE = uuid.UUID("7d0c1f5e-2b5c-5f0b-9d5e-6d6f6e676f32")
_NAMED = hashlib.sha1(NAMESPACE.bytes, usedforsecurity=False)


def identify(value: Any) -> str:
    """The id of a document or reference."""
    kind = type(value)
    if kind is str:
        # A string is its own canonical Extended JSON; asked often, as whole numbers are.
        return uuid_of_hex(value.lower()) if re.fullmatch("[0-9a-fA-F]{24}", value) else named(encode_basestring(value))
    if kind is ObjectId:
        return uuid_of_hex(value.binary.hex())
    if kind in (int, Int64):
        return named(f'{{"$numberLong":"{value}"}}')
    if isinstance(value, Binary) and value.subtype in (3, 4) and len(value) == 16:
        digits = value.hex()
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    return named(json.dumps(canonical(value), separators=(",", ":"), ensure_ascii=False))


def packed(values: Iterable[Any]) -> bytes:
    """The ids of many documents or references, 16 bytes each."""
    return bytes.fromhex("".join(map(identify, values)).replace("-", ""))


def uuids_of(values: Sequence[ObjectId]) -> list[str]:
    """The UUIDs that carry these ObjectIds."""
    digits = b"".join([value.binary for value in values]).hex()
    return [
        f"{digits[at : at + 8]}-{digits[at + 8 : at + 12]}-8{digits[at + 12 : at + 15]}-8{digits[at + 15 : at + 18]}-"
        f"{digits[at + 18 : at + 24]}000000"
        for at in range(0, len(digits), 24)
    ]


def uuid_of_hex(digits: str) -> str:
    """The UUID that carries an ObjectId, given as 24 lower-case hex digits."""
    return f"{digits[:8]}-{digits[8:12]}-8{digits[12:15]}-8{digits[15:18]}-{digits[18:]}000000"


def named(name: str) -> str:
    """The UUID of version 5 (RFC 9562, 5.5) of a name in the project's namespace."""
    sha1 = _NAMED.copy()
    sha1.update(name.encode())
    digits = sha1.hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{'89ab'[int(digits[16], 16) & 3]}{digits[17:20]}-{digits[20:32]}"


def element_name(root_id: str, path_json: str, kind: str, key: str | int) -> str:
    """What the id of an element's row is made from: compact JSON of its document's id, its path, and what tells it apart."""
    return f'["{root_id}",{path_json},"{kind}",{key if type(key) is int else dump(key)}]'


def name(value: Any) -> str:
    """How the books name the document with this `_id`, as JSON."""
    kind = type(value)
    if kind is ObjectId:
        return dump({"$oid": str(value)})
    if value is None or kind is bool or (kind is str and chr(0) not in value):
        return dump(value)
    if isinstance(value, Binary) and value.subtype in (3, 4) and len(value) == 16:
        return dump({"$binary": {"base64": base64.b64encode(value).decode(), "subType": f"0{value.subtype}"}})
    number = canonical(value)
    if isinstance(number, dict) and list(number) == ["$numberLong"]:
        return str(number["$numberLong"])
    return dump({"$row": identify(value)})


def kept(value: Any) -> Any:
    """What `extra` holds of an `_id`: a document that would read as a number there is marked as one."""
    is_marked = type(value) is dict and list(value) in (["$numberDecimal"], ["$numberDouble"], ["$document"])
    return {"$document": value} if is_marked else value


def unkept(value: Any) -> Any:
    """The `_id` behind what `extra` holds of it."""
    is_marked = type(value) is dict and list(value) == ["$document"] and type(value["$document"]) is dict
    return value["$document"] if is_marked else value


def is_own_form(value: Any) -> bool:
    """Whether the id says all of the `_id`: an ObjectId, or a UUID of subtype 4 that nobody takes for an ObjectId's."""
    if type(value) is ObjectId:
        return True
    if not isinstance(value, Binary) or value.subtype != 4 or len(value) != 16:
        return False
    digits = value.hex()
    return not (digits[12] == "8" and digits[16] == "8" and digits.endswith("000000"))
