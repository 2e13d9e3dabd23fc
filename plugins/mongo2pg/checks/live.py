"""Documents read from MongoDB a second time: to compare them with their rows, or with what a run had staged of them.

What `checksums` compares are the staged bytes. `compare_source` adds that these bytes are what MongoDB has: then the rows
are what MongoDB's documents must become, and nothing rests on the first reading. The two readings have nothing in common but
the bounds in the plan: here pymongo's own cursor reads, and whole documents are compared, byte for byte.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from bson.datetime_ms import DatetimeMS
from bson.objectid import ObjectId
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.ahead import ahead
from mongo2pg.batches.arrow import pa
from mongo2pg.batches.jsontexts import octets_of
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.checks.differences import SHOWN
from mongo2pg.checks.source_count import is_later
from mongo2pg.checks.unlike import Pair, unlike
from mongo2pg.databases import lookup
from mongo2pg.databases.source import exists
from mongo2pg.documents.decode import OPTIONS, MalformedError, decode_batch, split
from mongo2pg.documents.document_ids import MALFORMED, of_bytes
from mongo2pg.files.parquet import open_parquet
from mongo2pg.files.planned import FULL, REJECTS, Reading, reading
from mongo2pg.files.staging import CollectionStaging, read_json
from mongo2pg.model import Collection
from mongo2pg.planning.modes import LOOKBACK

# A second reading of this much costs a minute or two; of more, somebody shall ask for it.
LIVE_UP_TO = 1 << 30
# Documents in a reply, which has one or two MB if they are small: pymongo makes an object of each.
BATCH = 5_000
STAGED, LIVE, AUTO = "staged", "live", "auto"


def is_live(choice: str, staging: CollectionStaging) -> bool:
    """Whether the source is read again for the checks of a collection; left to us (AUTO), that of a full reading up to a size."""
    plan = read_json(staging.plan)
    if choice == AUTO:
        return bool(plan["scope"] == FULL and plan["estimated_bytes"] <= LIVE_UP_TO)
    return choice == LIVE and plan["scope"] != REJECTS


def read_chunk(database: Database[Any], name: str, how: Reading) -> Iterator[bytes]:
    """The documents as the server has them now, byte for byte; by pymongo's own raw batches, which extract does not use.

    A cursor that dies raises; a collection that is not there has no documents.
    """
    for batch in _batches(database, name, how):
        yield from split(batch)


def _batches(database: Database[Any], name: str, how: Reading) -> Generator[bytes]:
    if not exists(database, name):
        return
    source = database[name].with_options(codec_options=OPTIONS)
    with source.find_raw_batches(how.query, min=how.low, max=how.high, hint=how.hint, batch_size=BATCH) as cursor:
        yield from cursor


def digest(document: bytes) -> bytes:
    """Tells documents apart by all of their bytes."""
    return hashlib.blake2b(document, digest_size=16).digest()


def compare_source(
    database: Database[Any], conn: Connection, run: RunKey, collection: Collection, staging: CollectionStaging, chunk: int
) -> Check:
    """Checks that what was staged of a chunk is what the source has: the check `live`, written to the books.

    A document that was written, made or deleted since it was read is counted, not a fault, if its change key says so or cannot
    say; one that has other bytes though it was not changed since, by its change key, or that was there and not read, is one.
    """
    books.forget_verdicts(conn, run, ["live"], [collection.name], chunk)
    manifest = read_json(staging.manifest(chunk))
    since = datetime.fromisoformat(manifest["read_time"]) - LOOKBACK
    counts = Counter(same=0, changed=0, new=0, gone=0, untold=0)
    again = map(pa.py_buffer, ahead(_batches(database, collection.name, reading(staging, chunk))))
    left, others = _unmatched(unlike(_staged(staging, manifest), again), collection, since)
    elsewhere: dict[str, Times] = {}
    for document in _look_up(database, collection, [name for name in left.values() if name not in others]):
        if left.pop(digest(document), None) is None:
            elsewhere[of_bytes(document)] = _times(document, collection, since)
    counts["same"] = manifest["documents"] - len(left)
    faults: dict[str, str] = {}
    for document_id in left.values():
        if times := others.pop(document_id, None) or elsewhere.get(document_id):
            _count(counts, faults, "changed", document_id, times)
        else:
            counts["gone"] += 1
    for document_id, times in others.items():
        _count(counts, faults, "new", document_id, times)
    detail = "; ".join(islice(faults.values(), SHOWN)) or None
    check = Check(
        "live", collection.name, "failed" if faults else "passed", {"documents": manifest["documents"]}, dict(counts), detail, chunk
    )
    books.write_checks(conn, run, [check])
    return check


def _unmatched(pairs: Iterable[Pair], collection: Collection, since: datetime) -> tuple[dict[bytes, str], dict[str, Times]]:
    """The documents that no document of the other reading is like: names of what was read by digest, and what was not, by name."""
    left: dict[bytes, str] = {}
    others: dict[bytes, tuple[str, Times]] = {}
    for staged, present in pairs:
        if staged is not None and others.pop(digest(staged), None) is None:
            left[digest(staged)] = of_bytes(staged)
        if present is not None and left.pop(digest(present), None) is None:
            others[digest(present)] = of_bytes(present), _times(present, collection, since)
    return left, dict(others.values())


_FAULTS = {
    "changed": "{} has other bytes than those that were read, and its change key does not say that it was written since",
    "new": "{} was not read, and nothing says that it was made or written since",
}


def _count(counts: Counter[str], faults: dict[str, str], kind: str, document_id: str, times: Times) -> None:
    counts[kind] += 1
    if times.later:
        return
    if times.dated or (kind == "new" and times.made):
        faults[document_id] = _FAULTS[kind].format(document_id)
    else:
        counts["untold"] += 1


class Times(NamedTuple):
    """What a document tells of its times: whether one of them is `later` than a moment, whether its change key is a date, and
    whether its `_id` says when it was made."""

    later: bool
    dated: bool
    made: bool


def _times(document: bytes, collection: Collection, since: datetime) -> Times:
    (content,) = decode_batch([document])
    if isinstance(content, MalformedError):
        return Times(later=False, dated=False, made=False)
    document_id, key = content.get("_id"), content.get(collection.change_key)
    later = is_later(document_id, since) or is_later(key, since)
    return Times(later, isinstance(key, DatetimeMS), isinstance(document_id, ObjectId))


def _look_up(database: Database[Any], collection: Collection, document_ids: Iterable[str]) -> Iterator[bytes]:
    """Those of these documents that are there, although the chunk's reading did not meet them: they left their window."""
    there = lookup.find_ids(database, collection.name, [each for each in document_ids if not each.startswith(MALFORMED)])
    yield from lookup.read_documents(database, collection.name, [value for values in there.values() for value in values])


def _staged(staging: CollectionStaging, manifest: dict[str, Any]) -> Iterator[pa.Buffer]:
    """The bytes of the documents that the run read, one behind the other."""
    with open_parquet(staging.raw(manifest["chunk"]), manifest["raw"]["sha256"]) as raw:
        for group in range(raw.num_row_groups):
            for documents in raw.read_row_group(group, columns=["bson"]).column(0).chunks:
                yield pa.py_buffer(octets_of(documents)[1])
