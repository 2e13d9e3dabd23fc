"""Asks the source for single documents by their exact `_id`, of whatever BSON type, as the target and the books write it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bson.binary import Binary
from bson.codec_options import DatetimeConversion
from bson.errors import BSONError
from bson.json_util import RELAXED_JSON_OPTIONS, JSONOptions
from bson.json_util import loads as from_extended_json
from pymongo.database import Database

from mongo2pg import identity
from mongo2pg.decode import OPTIONS, MalformedError, decode_batch, split
from mongo2pg.plan import exists

# `_id`s in one query: far below the 16 MB of a command, enough to hide the way to the server.
AT_ONCE = 1_000

_READ_IDS: JSONOptions = RELAXED_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS)


def read_id(document_id: str) -> Any:
    """The `_id` behind its Extended JSON; of an embedded document jsonb has forgotten the order of the keys."""
    try:
        value = from_extended_json(document_id, json_options=_READ_IDS)
    except (BSONError, ValueError, TypeError, LookupError, ArithmeticError):
        value = json.loads(document_id)  # an embedded document that only looks like Extended JSON
    if isinstance(value, dict) and list(value) == ["$utf8"]:
        value = base64.b64decode(value["$utf8"]).decode()  # a string with U+0000, as `values.extended_json` writes it
    return value


def find_ids(database: Database[Any], name: str, document_ids: Iterable[str]) -> dict[str, list[Any]]:
    """For each of these `_id`s, given as Extended JSON, what the source has: nothing, or the `_id` as it stands there.

    Reads the `_id` index alone. Embedded documents are looked for among all `_id`s of that type; there may be several,
    because those that differ in the order of their keys are two to MongoDB and one to jsonb.
    """
    found: dict[str, list[Any]] = {text: [] for text in document_ids}
    if not found or not exists(database, name):
        return found
    plain: dict[str, tuple[str, Any]] = {}
    embedded: dict[str, str] = {}
    for text in found:
        value = read_id(text)
        if isinstance(value, dict):
            embedded[_key(value)] = text
        else:
            plain[_key(value)] = (text, value)
    for some in _slices([value for _, value in plain.values()]):
        for value in _ids(database, name, {"_id": {"$in": some}}):
            if (key := _key(value)) in plain:
                found[plain[key][0]].append(value)
    if embedded:
        # From the first embedded document to the first binary, the type that follows (manual, "Comparison/Sort Order").
        for value in _ids(database, name, {}, [("_id", {})], [("_id", Binary(b"", 0))]):
            if (key := _key(value)) in embedded:
                found[embedded[key]].append(value)
    return found


def read_documents(database: Database[Any], name: str, ids: Sequence[Any]) -> Iterator[bytes]:
    """The documents of these `_id`s, which `find_ids` found, byte for byte and in no order; those gone since are missing."""
    for some in _slices(ids):
        with database[name].with_options(codec_options=OPTIONS).find_raw_batches({"_id": {"$in": some}}) as cursor:
            yield from _documents(cursor)


def _ids(
    database: Database[Any], name: str, query: dict[str, Any], low: list[tuple[str, Any]] | None = None, high: Any = None
) -> Iterator[Any]:
    """The `_id`s that the index holds for the query, or between the bounds; one that breaks the specification is no `_id`."""
    with database[name].with_options(codec_options=OPTIONS).find_raw_batches(query, {"_id": 1}, hint=[("_id", 1)]) as cursor:
        if low is not None:
            cursor.min(low).max(high)
        for document in _documents(cursor):
            (decoded,) = decode_batch([document])
            if not isinstance(decoded, MalformedError):
                yield decoded["_id"]


def _documents(batches: Iterable[Any]) -> Iterator[bytes]:
    for batch in batches:
        yield from split(batch)


def _slices(values: Sequence[Any]) -> Iterator[list[Any]]:
    return (list(values[first : first + AT_ONCE]) for first in range(0, len(values), AT_ONCE))


def _key(value: Any) -> str:
    """Tells `_id`s apart as far as their Extended JSON in jsonb does."""
    return identity.canonical_json(_sorted(value))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
