"""The server's own count of what a plan reads, and why it differs from what was read.

A source that is written while it is read makes the two differ. The difference is resolved document by document: what was
inserted, deleted or changed meanwhile is explained, anything else is a fault of the reading.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import bson
from pymongo.database import Database

from mongo2pg.checks.differences import SHOWN
from mongo2pg.databases.lookup import slices
from mongo2pg.databases.source import exists
from mongo2pg.documents.decode import OPTIONS
from mongo2pg.documents.document_ids import MALFORMED, document_id
from mongo2pg.documents.outline import count_elements, own_id
from mongo2pg.files.parquet import open_parquet
from mongo2pg.files.planned import Reading, counted, reading, whole_query
from mongo2pg.files.staging import CollectionStaging, read_json
from mongo2pg.model import Child, Collection
from mongo2pg.planning.modes import LOOKBACK


@dataclass
class Explanation:
    """How many documents' differences are explained, and a sentence for each one, by its `_id`, that is not.

    `given` are the documents that the server gave for it, each once.
    """

    explained: int = 0
    given: int = 0
    unexplained: dict[str, str] = field(default_factory=dict)

    def explain(self, ids: Iterable[str]) -> None:
        """Somebody else explains these."""
        for text in ids:
            del self.unexplained[text]
            self.explained += 1

    @property
    def detail(self) -> str | None:
        """The sentences, up to a number that can be read."""
        return "; ".join(islice(self.unexplained.values(), SHOWN)) or None


@dataclass(frozen=True)
class SourceCount:
    """The counts of one collection's source under one plan."""

    database: Database[Any]
    collection: Collection
    staging: CollectionStaging
    plan: dict[str, Any]
    manifests: list[dict[str, Any]]

    def documents(self) -> int:
        """The documents that the plan's queries find now."""
        return counted(self.database, self.collection, self.plan)

    def explain_documents(self) -> Explanation:
        """Resolves the documents that only one side has; no more than a chunk's `_id`s are in memory at once."""
        found, unread = Explanation(), dict[str, Any]()
        for manifest in self.manifests:
            how = reading(self.staging, manifest["chunk"])
            read = dict.fromkeys((text for text, _ in self._read(manifest, ["_id"])), True)
            for document in self._find(how, {"_id": 1}):
                text = document_id(document["_id"])
                found.given += read.get(text, True)  # one that moves while it is read may come again
                if text in read:
                    read[text] = False
                elif self._came_later(document["_id"]):
                    found.explained += 1
                else:
                    unread[text] = document["_id"]
            self._explain_gone(found, manifest, how, {text for text, is_gone in read.items() if is_gone})
        for manifest in self.manifests if unread else ():  # it may have gone from one range of a window to another
            for text, _ in self._read(manifest, ["_id"]):
                unread.pop(text, None)
        key = self.collection.change_key
        for some in slices(list(unread.values())):
            for document in self._source().find({"$and": [{"_id": {"$in": some}}, whole_query(self.plan)]}, {"_id": 1, key: 1}):
                if not self._came_later(document.get(key)) and (text := document_id(document["_id"])) in unread:
                    found.unexplained[text] = f"{text} is in the source and was not read"
        found.explained += len(unread) - len(found.unexplained.keys() & unread.keys())
        return found

    def withheld(self, counted: int, found: Explanation) -> str | None:
        """A sentence where the server gives more or less than it counts: what it gives then cannot tell what is missing.

        Between the count and the reading there may lie as much as changed meanwhile: what two counts say, and what was explained.
        """
        if found.given == counted:
            return None
        low, high = sorted((counted, now := self.documents()))
        if max(low - found.given, found.given - high) <= found.explained + len(found.unexplained):
            return None
        return f"the server counts {now:,} documents and gives {found.given:,}"

    def twins(self) -> dict[str, str]:
        """A sentence for each `_id` that came twice and that the source has twice: not one document in two versions, but two.

        A sharded cluster allows that where the shard key is not `_id` (MongoDB manual, "Unique Indexes" of sharded collections).
        """
        ids = [value for manifest in self.manifests if manifest["superseded"] for value in self._superseded(manifest)]
        found: Counter[str] = Counter()
        for some in slices(ids):
            there = self._source().find({"_id": {"$in": some}}, {"_id": 1})
            found.update(document_id(document["_id"]) for document in there)
        return {text: f"{count} documents of the source have the _id {text}" for text, count in found.items() if count > 1}

    def _superseded(self, manifest: dict[str, Any]) -> list[Any]:
        """The `_id`s, each once, of documents that came again."""
        rows = set(read_json(self.staging.raw_manifest(manifest["chunk"]))["superseded"])
        contents = {text: content for row, (text, content) in enumerate(self._read(manifest, ["_id", "bson"])) if row in rows}
        return list(map(own_id, contents.values()))

    def _explain_gone(self, found: Explanation, manifest: dict[str, Any], how: Reading, gone: set[str]) -> None:
        """Resolves documents that were read and that the chunk's range of the index holds no more."""
        values = {text: own_id(content) for text, content in self._read(manifest, ["_id", "bson"]) if text in gone} if gone else {}
        for text in sorted(gone):
            query = {"$and": [{"_id": values[text]}, how.query]}
            if not text.startswith(MALFORMED) and self._source().find_one(query, {"_id": 1}) is None:
                found.explained += 1  # deleted since it was read, or it left the range
            else:
                found.unexplained[text] = f"{text} was read and is in the source, but not in its index"

    def later(self, ids: list[Any]) -> list[Any]:
        """Those of these `_id`s whose document the source has, made or written since the plan."""
        key = self.collection.change_key
        found = (row for some in slices(ids) for row in self._source().find({"_id": {"$in": some}}, {"_id": 1, key: 1}))
        return [row["_id"] for row in found if self._came_later(row["_id"]) or self._came_later(row.get(key))]

    def _came_later(self, value: Any) -> bool:
        """Whether the `_id` or the change key says that a document was made or written since the plan.

        Clients make both, by clocks of their own, and some time before the document arrives.
        """
        return is_later(value, datetime.fromisoformat(self.plan["planned_at"]) - self._late)

    @property
    def _late(self) -> timedelta:
        return timedelta(seconds=self.plan["window"]["lookback"]) if "window" in self.plan else LOOKBACK

    # --- elements of arrays and maps ---

    def elements(self) -> dict[str, int]:
        """Elements of each array or map path among what the plan reads."""
        return server_lengths(self.database, self.collection, whole_query(self.plan))

    def explain_elements(self) -> Explanation:
        """Resolves documents whose arrays have another length now: they must be other bytes than those that were read."""
        found = Explanation()
        lengths = _lengths(self.collection)
        for manifest in self.manifests:
            rows = self._find(reading(self.staging, manifest["chunk"]), {"_id": 1, **lengths})
            there = {document_id(row["_id"]): [row[name] for name in lengths] for row in rows if "_id" in row}
            for text, content in self._read(manifest, ["_id", "bson"]):
                now = there.get(text)
                if now is None:
                    continue  # gone, or it left the range: `explain_documents` judges it
                then = [count_elements(content, child) for child in self.collection.children]
                if now == then:
                    continue
                if self._raw(own_id(content)) != content:
                    found.explained += 1
                else:
                    found.unexplained[text] = f"{text}: the server counts {now} elements, {then} were read"
        return found

    def _raw(self, document_id: Any) -> bytes:
        return b"".join(self._source().find_raw_batches({"_id": document_id}))

    # --- both sides ---

    def _source(self) -> Any:
        return self.database[self.collection.name].with_options(codec_options=OPTIONS)

    def _find(self, how: Reading, fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What a chunk's reading finds now; of each document the fields, or what is computed of them (MongoDB 4.4)."""
        if exists(self.database, self.collection.name):
            yield from self._source().find(how.query, fields, min=how.low, max=how.high, hint=how.hint)

    def _read(self, manifest: dict[str, Any], columns: list[str]) -> Iterator[tuple[str, bytes]]:
        """`_id` and, if asked for, bytes of every document that was read of a chunk."""
        with open_parquet(self.staging.raw(manifest["chunk"]), manifest["raw"]["sha256"]) as raw:
            for group in range(raw.num_row_groups):
                table = raw.read_row_group(group, columns=columns)
                texts = table["_id"].to_pylist()
                yield from zip(texts, table["bson"].to_pylist() if "bson" in columns else [b""] * len(texts), strict=True)


def is_later(value: Any, moment: datetime) -> bool:
    """Whether a date, or the time inside an ObjectId, is not before that moment; no other value is later than anything."""
    if isinstance(value, bson.ObjectId):
        return value.generation_time >= moment.replace(microsecond=0)
    return isinstance(value, bson.DatetimeMS) and int(value) >= moment.timestamp() * 1000


def server_lengths(database: Database[Any], collection: Collection, query: dict[str, Any]) -> dict[str, int]:
    """Elements of each array or map path by the server's own count; one pass over what the query finds."""
    lengths = _lengths(collection)
    group: dict[str, Any] = {name: {"$sum": length} for name, length in lengths.items()}
    (row,) = list(database[collection.name].aggregate([{"$match": query}, {"$group": {"_id": None, **group}}])) or [{}]
    return {child.path: row.get(name, 0) for name, child in zip(lengths, collection.children, strict=True)}


def _lengths(collection: Collection) -> dict[str, Any]:
    return {f"n{at}": _length(child) for at, child in enumerate(collection.children)}


def _length(child: Child) -> dict[str, Any]:
    """An expression for the number of elements: 0 unless the path leads through documents to an array, or to a map."""
    keys = child.path.split(".")
    conditions: list[Any] = [{"$eq": [{"$type": "$" + ".".join(keys[:end])}, "object"]} for end in range(1, len(keys))]
    whole = f"${child.path}"
    if child.kind == "map":
        conditions.append({"$eq": [{"$type": whole}, "object"]})
        size: dict[str, Any] = {"$size": {"$objectToArray": whole}}
    else:
        conditions.append({"$isArray": whole})
        size = {"$size": whole}
    return {"$cond": [{"$and": conditions}, size, 0]}
