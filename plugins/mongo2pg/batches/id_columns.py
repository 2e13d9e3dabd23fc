"""The ids of `identity` for many rows at once, and those of child rows, which are made of their parents'."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress
from typing import Any

import numpy as np
import orjson
from bson.objectid import ObjectId
from numpy.typing import NDArray

from mongo2pg.documents.identity import HEX_OBJECT_ID, NAMESPACE
from mongo2pg.model import Child


def uuids_from_objectids(packed: bytes) -> NDArray[np.uint8]:
    """What `identity.uuid_from_objectid` makes of many at once: n × 12 packed bytes in, an n × 16 array of UUID bytes out."""
    oid = np.frombuffer(packed, np.uint8).reshape(-1, 12)
    out = np.zeros((len(oid), 16), np.uint8)
    out[:, 0:6] = oid[:, 0:6]
    out[:, 6] = 0x80 | oid[:, 6] >> 4
    out[:, 7] = (oid[:, 6] & 0x0F) << 4 | oid[:, 7] >> 4
    out[:, 8] = 0x80 | oid[:, 7] & 0x0F
    out[:, 9:13] = oid[:, 8:12]
    return out


def uuids_from_texts(texts: Sequence[str]) -> NDArray[np.uint8]:
    """What `identity.id_from_value` makes of strings: an n × 16 array of UUID bytes."""
    carrying = np.array([HEX_OBJECT_ID.fullmatch(text) is not None for text in texts], np.bool_)
    ids = np.empty((len(texts), 16), np.uint8)
    ids[carrying] = uuids_from_objectids(bytes.fromhex("".join(compress(texts, carrying))))
    ids[~carrying] = _named(map(orjson.dumps, compress(texts, ~carrying)))
    return ids


def uuids_from_integers(values: Iterable[int]) -> NDArray[np.uint8]:
    """The same of whole numbers, each of which a 64-bit integer holds."""
    return _named([b'{"$numberLong":"%d"}' % value for value in values])


def _named(names: Iterable[bytes]) -> NDArray[np.uint8]:
    """The UUIDv5 of each of these names."""
    start = hashlib.sha1(NAMESPACE.bytes, usedforsecurity=False)
    digests = []
    for name in names:
        digest = start.copy()
        digest.update(name)
        digests.append(digest.digest()[:16])
    return _version_5(digests)


def _version_5(digests: list[bytes]) -> NDArray[np.uint8]:
    ids = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16).copy()
    ids[:, 6] = ids[:, 6] & 0x0F | 0x50  # RFC 9562, 5.5: version 5 …
    ids[:, 8] = ids[:, 8] & 0x3F | 0x80  # … and the variant
    return ids


def child_ids(parent_text: Sequence[bytes], path: str, kind: str, keys: Sequence[bytes]) -> bytes:
    """UUIDv5 of the JSON list [parent id, path, kind, key] for each (parent, key): n × 16 packed bytes.

    `parent_text` holds the parents' ids as 36-character texts, `keys` the keys already written as JSON.
    """
    middle = b'",' + orjson.dumps(path) + b"," + orjson.dumps(kind) + b","
    start = hashlib.sha1(NAMESPACE.bytes + b'["', usedforsecurity=False)
    digests = []
    previous, prefix = None, start
    for parent, key in zip(parent_text, keys, strict=True):
        if parent is not previous:
            previous, prefix = parent, start.copy()
            prefix.update(parent + middle)
        digest = prefix.copy()
        digest.update(key + b"]")
        digests.append(digest.digest()[:16])
    return _version_5(digests).tobytes()


def ids_of_elements(
    child: Child,
    parent_text: Sequence[bytes],
    parent: NDArray[np.int64],
    ordinal: NDArray[np.int64],
    keys: Sequence[str | None],
    elements: Sequence[Any],
) -> bytes:
    """The ids of these elements' rows, n × 16 packed bytes: by key, by value, by the element's own `_id`, or by its place.

    `parent` tells the elements of one parent from those of another: an `_id` that two of them share tells neither.
    """
    if child.kind == "map":
        return child_ids(parent_text, child.path, "key", [orjson.dumps(key) for key in keys])
    if child.unique_value:
        # What became no text has no row; any key serves for it.
        return child_ids(parent_text, child.path, "value", [orjson.dumps(key or "") for key in keys])
    by_ordinal = [b"%d" % position for position in ordinal]
    if child.kind == "scalars":
        return child_ids(parent_text, child.path, "ordinal", by_ordinal)
    own = [element.get("_id") if type(element) is dict else None for element in elements]
    own = [value if type(value) is ObjectId else None for value in own]
    holders = Counter((int(index), value) for index, value in zip(parent, own, strict=True) if value is not None)
    use_own = [value is not None and holders[int(index), value] == 1 for index, value in zip(parent, own, strict=True)]
    names = [
        b'"%b"' % str(value).encode() if own_id else position
        for value, own_id, position in zip(own, use_own, by_ordinal, strict=True)
    ]
    by_own_id = child_ids(parent_text, child.path, "id", names)
    if all(use_own):
        return by_own_id
    by_position = child_ids(parent_text, child.path, "ordinal", names)
    return b"".join((by_own_id if own_id else by_position)[at * 16 : at * 16 + 16] for at, own_id in enumerate(use_own))


def texts_from_uuids(packed: bytes) -> list[bytes]:
    """The 36-character texts of n × 16 packed bytes."""
    digits = packed.hex().encode()
    return [
        b"%b-%b-%b-%b-%b"
        % (digits[i : i + 8], digits[i + 8 : i + 12], digits[i + 12 : i + 16], digits[i + 16 : i + 20], digits[i + 20 : i + 32])
        for i in range(0, len(digits), 32)
    ]
