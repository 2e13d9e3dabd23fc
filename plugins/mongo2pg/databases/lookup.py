"""Asks the source for single documents by their exact `_id`, of whatever BSON type, as the target and the books name it.

The primary is asked, whoever is read else: a secondary that lags may lack a document of which another one gave a row, or have it as
it was.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import bson
from bson.binary import Binary
from bson.codec_options import DatetimeConversion
from bson.dbref import DBRef
from bson.errors import BSONError
from bson.json_util import RELAXED_JSON_OPTIONS, JSONOptions
from bson.json_util import loads as from_extended_json
from pymongo import ReadPreference
from pymongo.database import Database

from mongo2pg.databases.source import ID_INDEX, exists
from mongo2pg.documents.decode import OPTIONS, MalformedError, decode_batch, split
from mongo2pg.documents.document_ids import MALFORMED, compact, document_id
from mongo2pg.documents.identity import id_from_value

# `_id`s in one query: enough to hide the way to the server, and of large ones no more bytes than half of what a command may have.
AT_ONCE, AT_ONCE_BYTES = 1_000, 8 << 20

_READ_IDS: JSONOptions = RELAXED_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS)


def read_id(extended_json: str) -> Any:
    """The `_id` behind its Extended JSON in `extra`; of an embedded document jsonb has forgotten the order of the keys."""
    try:
        value = from_extended_json(extended_json, json_options=_READ_IDS)
    except (BSONError, ValueError, TypeError, LookupError, ArithmeticError):
        value = json.loads(extended_json)  # an embedded document that only looks like Extended JSON
    if isinstance(value, dict) and list(value) == ["$utf8"]:
        value = base64.b64decode(value["$utf8"]).decode()  # a string with U+0000, as `extended_json` writes it
    return value.as_doc() if isinstance(value, DBRef) else value  # to the server a DBRef is a document


def root_id_of(name: str) -> str | None:
    """The id of the row of a document, by its name; None for one whose `_id` cannot be read."""
    if name.startswith(MALFORMED):
        return None
    found = json.loads(name)
    if isinstance(found, dict) and "$row" in found:
        return str(found["$row"])
    return str(id_from_value(read_id(name)))


def find_ids(
    database: Database[Any], name: str, document_ids: Iterable[str], kept: Mapping[str, str] | None = None
) -> dict[str, list[Any]]:
    """For each of these documents, by their names, what the source has: nothing, or the `_id` as it stands there.

    Reads the `_id` index alone. `kept` gives, by the names, the Extended JSON that rows keep of their `_id`s: of documents
    that are named by their rows it says where to look. Without it, all of the index is read for them.
    """
    found: dict[str, list[Any]] = {text: [] for text in document_ids}
    database = database.with_options(read_preference=ReadPreference.PRIMARY)
    if not found or not exists(database, name):
        return found
    wanted = {compact(text): text for text in found}
    direct: list[Any] = []
    embedded = hidden = False
    for text, given in wanted.items():
        is_row = text.startswith('{"$row"')
        value = read_id((kept or {}).get(given, given) if is_row else given)
        if not is_row or (not isinstance(value, dict) and document_id(value) == text):
            direct.append(value)
        elif isinstance(value, dict) and given in (kept or {}):
            embedded = True
        else:  # or what is read is not what it was: a symbol comes back as a string
            hidden = True
    values = [_ids(database, name, {"_id": {"$in": some}}) for some in slices(direct)]
    if hidden:
        values = [_ids(database, name, {})]
    elif embedded:
        # From the first embedded document to the first binary, the type that follows (manual, "Comparison/Sort Order").
        values.append(_ids(database, name, {}, [("_id", {})], [("_id", Binary(b"", 0))]))
    for value in chain.from_iterable(values):
        if (text := document_id(value)) in wanted:
            found[wanted[text]].append(value)
    return found


def read_documents(database: Database[Any], name: str, ids: Sequence[Any]) -> Iterator[bytes]:
    """The documents of these `_id`s, which `find_ids` found, byte for byte and in no order; those gone since are missing."""
    source = database[name].with_options(codec_options=OPTIONS, read_preference=ReadPreference.PRIMARY)
    for some in slices(ids):
        with source.find_raw_batches({"_id": {"$in": some}}) as cursor:
            yield from _documents(cursor)


def _ids(
    database: Database[Any], name: str, query: dict[str, Any], low: list[tuple[str, Any]] | None = None, high: Any = None
) -> Iterator[Any]:
    """The `_id`s that the index holds for the query, or between the bounds; one that breaks the specification is no `_id`."""
    # `_id`s that are named are found by their index unasked; there are servers that a hint makes read all of it instead.
    hint = None if query else ID_INDEX
    with database[name].with_options(codec_options=OPTIONS).find_raw_batches(query, {"_id": 1}, hint=hint) as cursor:
        if low is not None:
            cursor.min(low).max(high)
        for document in _documents(cursor):
            (decoded,) = decode_batch([document])
            if not isinstance(decoded, MalformedError) and "_id" in decoded:
                yield decoded["_id"]


def _documents(batches: Iterable[Any]) -> Iterator[bytes]:
    for batch in batches:
        yield from split(batch)


def slices(values: Iterable[Any]) -> Iterator[list[Any]]:
    """The `_id`s in lists that are asked for at once."""
    some: list[Any] = []
    size = 0
    for value in values:
        own = len(bson.encode({"": value}, codec_options=OPTIONS))
        if some and (len(some) == AT_ONCE or size + own > AT_ONCE_BYTES):
            yield some
            some, size = [], 0
        some.append(value)
        size += own
    if some:
        yield some
