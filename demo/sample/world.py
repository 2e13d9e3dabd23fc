"""How many documents there are, and their ids: computed, so that any collection can refer to any other.

A `World` holds no documents. The id, the birth and the fate (loaded or rejected) of the document at an index follow
from the index alone; a reference therefore needs nothing that was generated before.
"""

from __future__ import annotations

import hashlib
import struct
import uuid
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from bson.binary import Binary
from bson.int64 import Int64
from bson.objectid import ObjectId

# All time stands still here: the data ends on this day, whenever it is made.
END = datetime(2026, 10, 31, tzinfo=UTC)
MIN_DOCUMENTS = 20
# Every document index falls into one of 50 places, and each kind of dirt has a place of its own (dirt.py): a document
# therefore carries one kind at most. Two places are taken: the last one by rejected documents, 47 by odd `_id`s. Place
# 48 stays clean, for a planted duplicate repeats the document before it.
PLACES = 50
ODD_ID_PLACE = 47
ODD_ID_EVERY = 250
ODD_ID_KINDS = ("24-hex string", "int32", "text", "UUID", "int64", "legacy UUID")


class Size(NamedTuple):
    """`documents` at scale 1; each `reject_every`-th is one that the pipeline must reject (a multiple of PLACES, over 100)."""

    documents: int
    reject_every: int
    days: int = 730
    odd_ids: bool = False


SIZES: dict[str, Size] = {
    "users": Size(3_000, 200, odd_ids=True),
    "skilltrees": Size(2_900, 200),
    "socialconnections": Size(4_000, 200),
    # The TTL of 63,072,000 s removes older points at the source: a well-kept collection holds none near that age.
    "progresspoints": Size(10_100, 200, days=500, odd_ids=True),
    "tasks": Size(6_000, 200, odd_ids=True),
    "taskversions": Size(5_000, 200),
    "taskdependencies": Size(2_000, 150),
    "momenta": Size(2_500, 200),
    "streaks": Size(2_500, 200),
    "boosts": Size(2_000, 150),
    "objectives": Size(3_000, 200, odd_ids=True),
    "odysseys": Size(1_000, 150),
    "seasons": Size(300, 150),
    "rewards": Size(2_200, 200, odd_ids=True),
    "notifications": Size(5_000, 200, odd_ids=True),
    "pushsubscriptions": Size(1_500, 150),
    "webhooks": Size(400, 150),
    "challenges": Size(1_600, 150, odd_ids=True),
    "analyticsevents": Size(15_000, 1_500, odd_ids=True),
}


class World:
    """Counts, ids and times of all collections at one scale and seed; the same answers in any order of asking."""

    def __init__(self, scale: float = 1.0, seed: int = 7) -> None:
        self.scale, self.seed = scale, seed
        self.counts = {name: max(MIN_DOCUMENTS, round(size.documents * scale)) for name, size in SIZES.items()}
        self._machines = {name: hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4] for name in SIZES}

    def loadable(self, collection: str) -> int:
        """How many documents of the collection the pipeline can load: all but those planted to be rejected."""
        count = self.counts[collection]
        return count - count // SIZES[collection].reject_every

    def nth(self, collection: str, rank: int) -> int:
        """The index of the loadable document with this rank."""
        return rank + rank // (SIZES[collection].reject_every - 1)

    def rank(self, collection: str, index: int) -> int:
        """The rank among the loadable documents; of a rejected one that of its successor."""
        return index - index // SIZES[collection].reject_every

    def born(self, collection: str, index: int) -> datetime:
        """When the document was made: indexes are in order of time, evenly over the collection's days."""
        days = SIZES[collection].days
        age = days * 86_400_000 * (1 - (index + 0.5) / self.counts[collection])
        return END - timedelta(milliseconds=int(age) + index * 7_919 % 1_000)

    def object_id(self, collection: str, index: int) -> ObjectId:
        """The ObjectId that belongs to the index: seconds of its birth, four bytes of its collection, the index."""
        seconds = int(self.born(collection, index).timestamp())
        return ObjectId(struct.pack(">I4sI", seconds, self._machines[collection], index))

    def id(self, collection: str, index: int) -> Any:
        """The `_id` that the document has: its ObjectId, or for a planted few something else."""
        if index % ODD_ID_EVERY != ODD_ID_PLACE or not SIZES[collection].odd_ids:
            return self.object_id(collection, index)
        kind = ODD_ID_KINDS[index // ODD_ID_EVERY % len(ODD_ID_KINDS)]
        if kind == "24-hex string":
            return str(self.object_id(collection, index))
        if kind == "int32":
            return 1_000_000 + index
        if kind == "int64":
            return Int64(9_000_000_000 + index)
        if kind == "text":
            return f"legacy-{collection}-{index}"
        digest = hashlib.sha256(f"{self.seed}/{collection}/{index}".encode()).digest()
        return Binary(uuid.UUID(bytes=digest[:16], version=4).bytes, 4 if kind == "UUID" else 3)

    def reference(self, collection: str, index: int) -> Any:
        """What another document stores to point at this one. Of a 24-hex string `_id` it is the ObjectId: both mean one row."""
        value = self.id(collection, index)
        return ObjectId(value) if isinstance(value, str) and len(value) == 24 else value

    def ghost(self, collection: str, number: int) -> ObjectId:
        """The id of a document that was deleted long ago: nothing in the collection has it."""
        seconds = int(END.timestamp()) - 1_000 * 86_400 + number
        return ObjectId(struct.pack(">I4sI", seconds, self._machines[collection], 0xF000_0000 + number))

    def some(self, rng: Random, collection: str) -> Any:
        """A reference to a loadable document; early ones are referred to more often."""
        rank = int(rng.random() ** 1.5 * self.loadable(collection))
        return self.reference(collection, self.nth(collection, rank))

    def owner(self, key: int) -> Any:
        """A reference to the loadable user that belongs to the key; keys of different kinds use different ranges."""
        draw = (key * 2_654_435_761 + 40_503 * self.seed) % 2**32 / 2**32
        return self.reference("users", self.nth("users", int(draw**1.5 * self.loadable("users"))))

    def rejected(self, collection: str, number: int) -> Any:
        """A reference to a document that is there but must be rejected; a ghost's where the world is too small for one."""
        step = SIZES[collection].reject_every
        there = self.counts[collection] // step
        return self.reference(collection, number % there * step + step - 1) if there else self.ghost(collection, number)

    def one_per_user(self, collection: str, index: int) -> Any:
        """The owner of a document in a collection that has at most one a user: different for all loadable documents."""
        rank = self.rank(collection, index) * self.loadable("users") // self.loadable(collection)
        return self.reference("users", self.nth("users", min(rank, self.loadable("users") - 1)))
