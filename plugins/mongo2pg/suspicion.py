"""Signs that a window moved less than it seems to have moved, although every sum closes: each turns the run red with its reason."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from bson import DatetimeMS, ObjectId
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.decode import OPTIONS
from mongo2pg.model import Collection
from mongo2pg.staging import CollectionStaging
from mongo2pg.versions import read_ids
from mongo2pg.window import find_index

# Rejects are called a jump when they are so many times the share of the runs before, and more than this share at least: of
# ten thousand documents ten may be bad on any day.
JUMP, FLOOR = 5, 0.001
# Python's calendar ends with the year 9999.
_CALENDAR_END = 253_402_300_800_000
# Up to so many rejects nothing is said, as with `count.Limits`.
TOLERATED = 20


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
    ids = [text for manifest in manifests for text in read_ids(staging, manifest)]
    seen = {"documents": len(ids), "ids": _digest(ids), "until": min(plan["window"]["end"], plan["planned_at"], key=_moment)}
    last = books.last_progress(conn, run, collection.name)
    faults = [
        *_nothing_read(database, collection, plan, seen),
        *_same_as_last_time(database, collection, last, seen),
        *_standstill(database, conn, run, collection, plan, seen),
        *_jump(conn, run, collection, booked),
    ]
    return Check("progress", collection.name, "failed" if faults else "passed", last, seen, "; ".join(faults) or None)


def _nothing_read(database: Database[Any], collection: Collection, plan: dict[str, Any], seen: dict[str, Any]) -> list[str]:
    newest = _newest(database, collection, _moment(seen["until"]))
    if seen["documents"] or newest is None or newest < _milliseconds(plan["window"]["start"]):
        return []
    return [f"no document was read, and the source has one of {_text(newest)}"]


def _same_as_last_time(
    database: Database[Any], collection: Collection, last: dict[str, Any] | None, seen: dict[str, Any]
) -> list[str]:
    """A window that overlaps the last one may well read the same documents, as long as no later ones are there."""
    if not last or not seen["documents"] or last["ids"] != seen["ids"]:
        return []
    newest = _newest(database, collection, _moment(seen["until"]))
    if newest is None or newest < _milliseconds(last["until"]):
        return []
    return [
        f"the same {seen['documents']:,} documents were read as by the window before, which ended at {last['until']}, "
        f"and the source has one of {_text(newest)}"
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
        if newest is not None and newest > _milliseconds(watermark.isoformat()):
            return [
                f"the watermark stands at {watermark.isoformat()}, which the source's own clock ({plan['planned_at']}) has not "
                f"reached, and the source has a document of {_text(newest)}: set the clock right"
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


def _newest(database: Database[Any], collection: Collection, end: datetime | None) -> int | None:
    """The newest change key before a moment, in milliseconds, by a query of its own: the last date in the order of the index."""
    key = collection.change_key
    bounds: dict[str, Any] = {"$type": "objectId" if key == "_id" else "date"}
    if end is not None:
        bounds["$lt"] = ObjectId.from_datetime(end) if key == "_id" else end
    index = find_index(database, collection)
    found = database[collection.name].with_options(codec_options=OPTIONS).find({key: bounds}, {key: 1}).sort(key, -1).limit(1)
    for document in found.hint(index.name) if index else found:
        value = document[key]
        if isinstance(value, ObjectId):
            return int(value.generation_time.timestamp()) * 1000
        return int(value) if isinstance(value, DatetimeMS) else None  # an array has dates, and is none
    return None


def _milliseconds(text: str) -> int:
    return int(DatetimeMS(_moment(text)))


def _text(milliseconds: int) -> str:
    moment = DatetimeMS(milliseconds)
    return moment.as_datetime().replace(tzinfo=UTC).isoformat() if 0 <= milliseconds < _CALENDAR_END else repr(moment)


def _digest(ids: Iterable[str]) -> str:
    """One text for a set of `_id`s, in whatever order they come."""
    total = sum(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big") for text in ids)
    return f"{total % 2**128:032x}"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
