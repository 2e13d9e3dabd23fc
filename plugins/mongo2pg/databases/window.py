"""A window of a collection: which documents lie in it, by which index they are found, and how it is cut into chunks.

A document lies in the window `[start - lookback, end)` if its change key does, as a date (or, where the change key is
`_id`, by the time inside the ObjectId). A comparison in MongoDB sees values of its own type only ("type bracketing",
MongoDB manual): documents without the key, with null or with another type in it are in no such range. They are counted,
and go by the time inside their `_id` unless the declaration leaves them to reconcile. Every query here is a range of an
index, where the change key has one, and no document matches two of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from bson import DatetimeMS, ObjectId
from pymongo.database import Database
from pymongo.errors import OperationFailure

from mongo2pg.databases.source import ID_INDEX, Hint, stored_bytes
from mongo2pg.model import Collection, Domain

# A window of 10 MB shall not count fifty million documents without a change key, again every hour.
MOST_WITHOUT_KEY = 100_000
# Below this many bytes a collection without an index on its change key is scanned for each window: seconds of a server's time.
SCAN_LIMIT = 1 << 30
# What mongod says of a hint that it cannot follow: src/mongo/base/error_codes.yml.
_BAD_VALUE = 2
# ObjectIds hold 32 bits of seconds.
_LAST_SECOND = 2**32 - 1
# The types that a change key may wrongly have and that an index finds in one range each. Arrays are no such range.
_SCALARS = ["null", "number", "string", "object", "binData", "undefined", "bool", "timestamp", "regex", "dbPointer", "javascript"]
_SCALARS += ["javascriptWithScope", "symbol", "minKey", "maxKey"]


class Window(NamedTuple):
    """`[start, end)`, and how far before its start late writers may have put their change keys. Aware datetimes."""

    start: datetime
    end: datetime
    lookback: timedelta = timedelta(0)

    @property
    def low(self) -> int:
        """Milliseconds since 1970 of the first instant that is read."""
        return _milliseconds(self.start) - self.lookback // timedelta(milliseconds=1)

    @property
    def high(self) -> int:
        """Milliseconds since 1970 of the first instant after the window."""
        return _milliseconds(self.end)


class Index(NamedTuple):
    """An index that leads with the change key; `arrays` if it may hold elements of arrays."""

    hint: Hint
    arrays: bool


class Part(NamedTuple):
    """One query of a window and the index to find its documents by; None: the collection is scanned."""

    query: dict[str, Any]
    hint: Hint | None


def parts(collection: Collection, window: Window, index: Index | None) -> list[Part]:
    """The window's queries: the documents whose change key lies in it, and those that only `_id` tells the time of."""
    keyed = Part(in_range(collection, *ends(collection, window)), index.hint if index else None)
    if collection.unkeyed == "reconcile" or collection.change_key == "_id":
        return [keyed]
    made = {"$gte": first_object_id(window.low), "$lt": first_object_id(window.high)}
    return [keyed, Part({"_id": made, **without_key(collection)}, ID_INDEX)]


def ends(collection: Collection, window: Window) -> tuple[Any, Any]:
    """The window's first and last change key."""
    if collection.change_key == "_id":
        return first_object_id(window.low), first_object_id(window.high)
    return DatetimeMS(window.low), DatetimeMS(window.high)


def in_range(collection: Collection, low: Any, high: Any) -> dict[str, Any]:
    """The documents whose change key lies in [low, high); an array that holds such a date is another type."""
    bounds = {"$gte": low, "$lt": high}
    return {collection.change_key: bounds if collection.change_key == "_id" else {**bounds, "$not": {"$type": "array"}}}


def without_key(collection: Collection) -> dict[str, Any]:
    """The documents whose change key tells no time."""
    key = collection.change_key
    if key == "_id":
        return {"_id": {"$not": {"$type": "objectId"}}}
    return {"$or": [{key: {"$not": {"$type": "date"}}}, {key: {"$type": "array"}}]}


def whole(window_parts: list[Part]) -> dict[str, Any]:
    """One query for all documents of the window."""
    return window_parts[0].query if len(window_parts) == 1 else {"$or": [part.query for part in window_parts]}


def count(database: Database[Any], collection: Collection, part: Part) -> int:
    """The server's own count of a part's documents."""
    options: dict[str, Any] = {"hint": part.hint} if part.hint else {}
    return database[collection.name].count_documents(part.query, **options)


def count_without_key(database: Database[Any], collection: Collection, index: Index | None, scan_limit: int) -> int:
    """How many documents of the whole collection tell no time by their change key, up to `MOST_WITHOUT_KEY`.

    Arrays lie in no range of an index: where one may hold some and the collection is too large to scan they are not counted.
    """
    key, source = collection.change_key, database[collection.name]
    query = without_key(collection)
    if index and not (index.arrays and stored_bytes(database, collection.name) <= scan_limit):
        others = [kind for kind in [*_SCALARS, "date", "objectId"] if kind != ("objectId" if key == "_id" else "date")]
        query = {"$or": [{key: {"$type": others}}, {key: None}]}
    return source.count_documents(query, limit=MOST_WITHOUT_KEY)


def find_index(database: Database[Any], collection: Collection) -> Index | None:
    """An index that finds every document by its change key; None where there is none, or one that is still being built."""
    if collection.change_key == "_id":
        return Index(ID_INDEX, arrays=False)
    for name, facts in database[collection.name].index_information().items():
        if finds_all(collection.change_key, facts):
            try:
                return Index(name, arrays=_holds_arrays(database, collection, name))
            except OperationFailure as error:
                # One that is being built is listed like any other, and no query may name it.
                if error.code != _BAD_VALUE:
                    raise
    return None


def finds_all(change_key: str, facts: Mapping[str, Any]) -> bool:
    """Whether an index, of which pymongo's `index_information` says this, has every document by its change key."""
    (field, direction), *others = facts["key"]
    leads = field == change_key and direction in (1, -1)
    # A sparse or partial index lacks documents, and the planner does not use a hidden one.
    passes_over = facts.get("sparse") or "partialFilterExpression" in facts or facts.get("hidden")
    # One that goes on with a place, a text or a wildcard may be sparse by that, and does not say so (manual, "2dsphere Indexes").
    may_be_sparse = any("$**" in other or kind not in (1, -1, "hashed") for other, kind in others)
    return leads and not passes_over and not may_be_sparse


def _holds_arrays(database: Database[Any], collection: Collection, index: str) -> bool:
    """Whether the server knows an array among the index's keys; it says so until the index is built anew."""
    found = {"find": collection.name, "filter": {collection.change_key: {"$gte": DatetimeMS(0)}}, "hint": index}
    # A server that is not told how much it shall tell runs the whole query to tell all.
    return may_hold_arrays(collection.change_key, database.command({"explain": found, "verbosity": "queryPlanner"}))


def may_hold_arrays(change_key: str, explained: Mapping[str, Any]) -> bool:
    """Whether an index by which the server would find something, as it explained, may hold elements of arrays of the change key."""
    scans = [stage for stage in _stages(explained["queryPlanner"]) if stage.get("stage") == "IXSCAN"]
    # Whether it is one of arrays is said of the whole index, and then of each of its fields by which paths.
    return any(scan.get("isMultiKey", True) and scan.get("multiKeyPaths", {}).get(change_key) != [] for scan in scans)


def _stages(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every stage of an explained plan: servers, and the shards below a router, nest them differently."""
    if isinstance(node, Mapping):
        yield node
    for child in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        yield from _stages(child)


def index_faults(database: Database[Any], domain: Domain, scan_limit: int) -> list[str]:
    """The collections too large to be scanned for a window, with the command that makes the index they need."""
    faults = []
    for collection in domain.collections:
        if find_index(database, collection):
            continue
        size = stored_bytes(database, collection.name)
        if size > scan_limit:
            faults.append(
                f"{collection.name} has no index on its change key, or none that is built, and {size / 1e6:,.0f} MB, more than a "
                f"window may scan ({scan_limit / 1e6:,.0f} MB, the parameter scan_limit_mb): "
                f'db.{collection.name}.createIndex({{"{collection.change_key}": 1}})'
            )
    return faults


def _milliseconds(moment: datetime) -> int:
    """Rounded up: BSON has no finer time, so a document at this millisecond is the first one not before the moment."""
    return -((datetime(1970, 1, 1, tzinfo=UTC) - moment) // timedelta(milliseconds=1))


def first_object_id(milliseconds: int) -> ObjectId:
    """The smallest ObjectId of that second: ObjectIds know no finer time, and windows that meet still share none."""
    second = min(max(milliseconds // 1000, 0), _LAST_SECOND)
    return ObjectId(second.to_bytes(4, "big") + bytes(8))
