"""Signs that a window moved less than it seems to have moved, although every sum closes: each turns the run red with its reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from bson import DatetimeMS, ObjectId
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.databases.window import find_index, first_object_id
from mongo2pg.documents.decode import OPTIONS
from mongo2pg.documents.document_ids import document_id
from mongo2pg.files.staging import CollectionStaging
from mongo2pg.model import Collection
from mongo2pg.moving.versions import read_ids

# Rejects are called a jump when they are so many times the share of the runs before, and more than this share at least: of
# ten thousand documents ten may be bad on any day.
JUMP, FLOOR = 5, 0.001
# Python's calendar ends with the year 9999.
_CALENDAR_END = 253_402_300_800_000
# Up to so many rejects, or documents without a change key, nothing is said, as with `count.Limits`.
TOLERATED = 20


class Newest(NamedTuple):
    """A document by its name (`document_ids`), and its change key in milliseconds since 1970."""

    id: str
    changed: int


class Read(NamedTuple):
    """What a window read: how many documents, one text for the set of their names, and whether the newest one is among them."""

    documents: int
    ids: str
    has_newest: bool


def check_progress(
    database: Database[Any],
    conn: Connection,
    run: RunKey,
    collection: Collection,
    staging: CollectionStaging,
    plan: dict[str, Any],
    manifests: list[dict[str, Any]],
    booked: dict[str, Any],
) -> Check:
    """The check `progress` of a collection's window: what it read against what the source has, and against the runs before."""
    # The chunk of documents that are read besides says nothing of the window.
    chunks = len(plan["bounds"]) - bool(plan["besides"])
    newest = _newest(database, collection, _readable_until(plan))
    read = _what_was_read(staging, [manifest for manifest in manifests if manifest["chunk"] < chunks], newest)
    seen = {"documents": read.documents, "ids": read.ids, "until": min(plan["window"]["end"], plan["planned_at"], key=_moment)}
    last = books.last_progress(conn, run, collection.name)
    faults = [
        *_no_key(database, collection, plan),
        *_nothing_read(newest, plan, seen),
        *_same_as_last_time(newest, last, seen, has_newest=read.has_newest),
        *_standstill(database, conn, run, collection, plan, seen),
        *_jump(conn, run, collection, booked),
    ]
    return Check("progress", collection.name, "failed" if faults else "passed", last, seen, "; ".join(faults) or None)


def _no_key(database: Database[Any], collection: Collection, plan: dict[str, Any]) -> list[str]:
    """A change key that no document has is a mistyped one: no window would ever move a change."""
    key = collection.change_key
    if plan["without_key"] <= TOLERATED or database[collection.name].find_one({key: _tells_time(key)}, {"_id": 1}):
        return []
    kind = "ObjectId" if key == "_id" else "date"
    return [f"no document has a {kind} in {key}, the declared change key: windows see none of their changes"]


def _readable_until(plan: dict[str, Any]) -> datetime:
    """Documents with earlier change keys were there when the window was planned: late writers have its lookback."""
    window = plan["window"]
    return min(_moment(window["end"]), _moment(plan["planned_at"]) - timedelta(seconds=window["lookback"]))


def _nothing_read(newest: Newest | None, plan: dict[str, Any], seen: dict[str, Any]) -> list[str]:
    if seen["documents"] or newest is None or newest.changed < _milliseconds(plan["window"]["start"]):
        return []
    return [f"no document was read, and the source has one of {_text(newest.changed)}"]


def _same_as_last_time(newest: Newest | None, last: dict[str, Any] | None, seen: dict[str, Any], *, has_newest: bool) -> list[str]:
    """Two windows may well read the same documents, changed or not, as long as the newest one of the source is among them."""
    if not last or not seen["documents"] or last["ids"] != seen["ids"]:
        return []
    if newest is None or has_newest or newest.changed < _milliseconds(last["until"]):
        return []
    return [
        f"the same {seen['documents']:,} documents were read as by the window before, which ended at {last['until']}, "
        f"and the source has one of {_text(newest.changed)}"
    ]


def _standstill(
    database: Database[Any], conn: Connection, run: RunKey, collection: Collection, plan: dict[str, Any], seen: dict[str, Any]
) -> list[str]:
    watermark = books.watermark(conn, run, collection.name)
    start, end = _moment(plan["window"]["start"]), _moment(plan["window"]["end"])
    if watermark and start <= watermark < _moment(seen["until"]):
        return [f"the watermark stands at {watermark.isoformat()}, although everything until {seen['until']} was moved"]
    if watermark and start >= end:
        newest = _newest(database, collection, None)
        if newest is not None and newest.changed > _milliseconds(watermark.isoformat()):
            return [
                f"the watermark stands at {watermark.isoformat()}, which the source's own clock ({plan['planned_at']}) has not "
                f"reached, and the source has a document of {_text(newest.changed)}: set the clock right"
            ]
    return []


def _jump(conn: Connection, run: RunKey, collection: Collection, booked: dict[str, Any]) -> list[str]:
    rejected, read = sum(booked["rejected"].values()), booked["read"]
    before_rejected, before_read = books.rejected_before(conn, run, collection.name)
    if rejected <= TOLERATED or not before_read:
        return []
    share, before = rejected / read, before_rejected / before_read
    if share <= JUMP * max(before, FLOOR):
        return []
    return [f"{share:.2%} of the documents were rejected, in the runs before {before:.2%}: look at what changed at the source"]


def _newest(database: Database[Any], collection: Collection, end: datetime | None) -> Newest | None:
    """The document with the newest change key before a moment, by a query of its own: the last date in the order of the index."""
    key = collection.change_key
    bounds = _tells_time(key)
    if end is not None:
        bounds["$lt"] = first_object_id(int(DatetimeMS(end))) if key == "_id" else end
    index = find_index(database, collection)
    documents = database[collection.name].with_options(codec_options=OPTIONS)
    found = documents.find({key: bounds}, {"_id": 1, key: 1}).sort(key, -1).limit(1)
    for document in found.hint(index.hint) if index else found:
        value, text = document[key], document_id(document["_id"])
        if isinstance(value, ObjectId):
            return Newest(text, int(value.generation_time.timestamp()) * 1000)
        return Newest(text, int(value))
    return None


def _tells_time(key: str) -> dict[str, Any]:
    """What a change key must be; an array is none, although the index holds the dates in it."""
    return {"$type": "objectId"} if key == "_id" else {"$type": "date", "$not": {"$type": "array"}}


def _milliseconds(text: str) -> int:
    return int(DatetimeMS(_moment(text)))


def _text(milliseconds: int) -> str:
    moment = DatetimeMS(milliseconds)
    return moment.as_datetime().replace(tzinfo=UTC).isoformat() if 0 <= milliseconds < _CALENDAR_END else repr(moment)


def _what_was_read(staging: CollectionStaging, manifests: Iterable[dict[str, Any]], newest: Newest | None) -> Read:
    """No more than a chunk's names are in memory at once. One that two chunks have, as it moved meanwhile, counts twice."""
    documents = total = 0
    has_newest = False
    for manifest in manifests:
        names = set(read_ids(staging, manifest))
        documents += len(names)
        total += sum(int.from_bytes(hashlib.sha256(name.encode()).digest()[:16], "big") for name in names)  # in whatever order
        has_newest |= newest is not None and newest.id in names
    return Read(documents, f"{total % 2**128:032x}", has_newest)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
