"""A plan as it stands in its file, and what it says to those who follow it: how a chunk is read, and how much there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import bson
from bson.codec_options import DatetimeConversion
from bson.errors import BSONError, InvalidDocument
from bson.json_util import CANONICAL_JSON_OPTIONS, JSONOptions
from bson.json_util import dumps as to_extended_json
from bson.json_util import loads as from_extended_json
from pymongo.database import Database

from mongo2pg.databases.source import ID_INDEX, Hint, exists
from mongo2pg.databases.window import Part, count
from mongo2pg.documents.decode import OPTIONS
from mongo2pg.files.staging import CollectionStaging, read_json
from mongo2pg.model import Collection

# What a plan reads of a collection: every document, those that changed in a window, those of open rejects; none, for a run of
# deletes; every document, to compare it; documents that differed, by their `_id`s.
FULL, WINDOW, REJECTS, DELETES, RECONCILE, REPAIR = "full", "window", "rejects", "deletes", "reconcile", "repair"

# Bounds may be dates beyond Python's calendar.
BOUNDS: JSONOptions = CANONICAL_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS)


class Reading(NamedTuple):
    """How a cursor finds a chunk's documents: a query, or bounds of the `_id` index (None where they are open)."""

    query: dict[str, Any]
    low: dict[str, Any] | None = None
    high: dict[str, Any] | None = None
    hint: Hint | None = None


class Lot(TypedDict):
    """Chunks that one mapped task handles one after another: small collections share a task's fixed cost."""

    plan_id: str
    label: str
    chunks: list[tuple[str, int]]


def as_written(part: Part) -> dict[str, Any]:
    """A query and its index as a plan's file holds them."""
    return {"query": to_extended_json(part.query, json_options=BOUNDS), "hint": part.hint}


def of_ids(ids: Sequence[Any]) -> dict[str, Any]:
    """The query for the documents of these `_id`s, all of them plannable; a symbol is asked for by its string (`OPTIONS`)."""
    return {"_id": bson.decode(bson.encode({"$in": ids}, codec_options=OPTIONS), OPTIONS)}


def by_ids(ids: Sequence[Any]) -> dict[str, Any]:
    """The bounds of a chunk that is just the documents of these `_id`s."""
    return as_written(Part(of_ids(ids), None))


def is_plannable(document_id: Any) -> bool:
    """Whether an `_id` comes back from the plan's file as it was.

    Embedded documents that look like Extended JSON may not, and pymongo writes no dbPointer.
    """
    try:
        return bound(bson.encode({"_id": document_id}, codec_options=OPTIONS)) is not None
    except InvalidDocument:
        return False


def whole_query(plan: Mapping[str, Any]) -> dict[str, Any]:
    """One query for everything that the plan reads of the source."""
    query: dict[str, Any] = from_extended_json(plan["query"], json_options=BOUNDS)
    return query


def counted(database: Database[Any], collection: Collection, plan: Mapping[str, Any]) -> int:
    """The server's own count of what the plan reads, as it is now."""
    if not exists(database, collection.name):
        return 0
    if plan["scope"] == FULL:
        return database[collection.name].count_documents({}, hint=ID_INDEX)
    return sum(
        count(database, collection, Part(from_extended_json(part["query"], json_options=BOUNDS), part["hint"]))
        for part in plan["parts"]
    )


def scope(staging: CollectionStaging) -> str:
    """What the collection's plan reads: FULL, WINDOW, REJECTS, DELETES, RECONCILE or REPAIR."""
    read: str = read_json(staging.plan)["scope"]
    return read


def beside(staging: CollectionStaging, chunk: int) -> list[int]:
    """The other chunks of a window that may have read a document of this one, too, as it was changed meanwhile.

    By a new change key it came into a range that goes on to the time of the plan, out of any other chunk. Two ranges that were over
    by then share none.
    """
    plan = read_json(staging.plan)
    if plan["scope"] != WINDOW:
        return []
    chunks, first = len(plan["bounds"]), plan.get("first_open", 0)
    return [other for other in range(0 if chunk >= first else first, chunks) if other != chunk]


def reading(staging: CollectionStaging, chunk: int) -> Reading:
    """How the chunk is read."""
    bounds = read_json(staging.plan)["bounds"][chunk]
    if "query" in bounds:
        return Reading(from_extended_json(bounds["query"], json_options=BOUNDS), hint=bounds["hint"])
    low, high = (from_extended_json(bounds[end], json_options=BOUNDS) if bounds[end] else None for end in ("min", "max"))
    return Reading({}, low, high, ID_INDEX if low or high else None)


def bound(raw: bytes) -> str | None:
    """A sampled `{key: …}` as canonical Extended JSON; None where nothing can be read, or JSON would not give it back."""
    try:
        text = to_extended_json(bson.decode(raw, OPTIONS), json_options=BOUNDS)
        again = from_extended_json(text, json_options=BOUNDS)
        return text if again and bson.encode(again, codec_options=OPTIONS) == raw else None
    except (BSONError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError):
        return None
