"""The documents that are measured: deterministic, as the services write them, made once and kept as BSON files.

Each data set is one collection of any size, with the users that it refers to. All are clean but one.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import bson
from bson.int64 import Int64
from bson.objectid import ObjectId

from deepiri.auth import AUTH
from deepiri.external_bridge import EXTERNAL_BRIDGE
from deepiri.task_orchestrator import TASK_ORCHESTRATOR
from demo import sample
from mongo2pg.model import Collection, Domain

DATABASE = "deepiri"
END = datetime(2026, 10, 31, tzinfo=UTC)
# Few enough to cost nothing beside what is measured.
USERS = 1_000
METRICS = ("focus_minutes", "tasks_completed", "commits", "reviews", "pages_read", "sleep_hours", "balance")
SKILLS = (
    "timeManagement", "taskOrganization", "focus", "planning", "coding", "debugging", "codeReview", "architecture",
    "writing", "design", "ideation", "storytelling", "research", "learning", "noteTaking", "knowledgeRetention",
    "collaboration", "communication", "leadership", "mentoring", "selfAwareness", "adaptability",
)  # fmt: skip

Document = dict[str, Any]


class DataSet(NamedTuple):
    """A collection of some domain and how many documents of it; without `make` the demo's, with all their dirt."""

    name: str
    domain: Domain
    make: Callable[[Random, int], Document] | None
    documents: int
    one_per_user: bool = False

    @property
    def collection(self) -> Collection:
        return self.domain.collection(self.name)

    @property
    def tables(self) -> list[str]:
        return [table.name for table in self.collection.tables]

    def sized(self, documents: int) -> DataSet:
        """The same with another number of documents."""
        return self._replace(documents=documents)

    def files(self, folder: Path) -> Path:
        """The folder `<database>/<collection>.bson` of this data set below `folder`, made where it is missing."""
        made_by = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
        made = folder / f"{self.name}-{self.documents}-{made_by}"
        if not made.exists():
            partial = made.with_name(f"{made.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            (partial / DATABASE).mkdir(parents=True)
            for collection in self.domain.collections:
                with (partial / DATABASE / f"{collection.name}.bson").open("wb") as file:
                    file.writelines(map(bson.encode, self._documents(collection.name)))
            partial.rename(made)
        return made

    def _documents(self, collection: str) -> Iterator[Document]:
        rng = Random(collection)
        if collection == "users":
            return (user(rng, index) for index in range(self.documents if self.one_per_user else USERS))
        if collection != self.name:
            return iter(())
        if self.make is None:
            return sample.documents(collection, self.documents / sample.count(collection))
        return (self.make(rng, index) for index in range(self.documents))


def object_id(kind: int, index: int) -> ObjectId:
    """An ObjectId in the order of the index."""
    return ObjectId(struct.pack(">I4sI", 1_700_000_000 + index // 100, b"%04d" % kind, index))


def moment(index: int) -> datetime:
    """A time with milliseconds, in the order of the index."""
    return END - timedelta(days=500) + timedelta(milliseconds=index * 19_373)


def user(rng: Random, index: int) -> Document:
    """An account; the other documents refer to it."""
    return {
        "_id": object_id(1, index),
        "email": f"user{index}@example.com",
        "password": f"$2b$10${rng.randbytes(26).hex()}",
        "name": f"User {index}",
        "roles": ["user"],
        "isActive": True,
        "refreshTokens": [],
        "createdAt": moment(index),
        "updatedAt": moment(index + 1),
        "__v": 0,
    }


def progresspoint(rng: Random, index: int) -> Document:
    """One measurement of one user: a small, nearly flat document of 168 bytes."""
    return {
        "_id": object_id(2, index),
        "userId": object_id(1, int(rng.random() * USERS)),
        "timestamp": moment(index),
        "metric": METRICS[index % len(METRICS)],
        "value": int(rng.random() * 500) if index % 3 else rng.random() * 100,
        "metadata": {"source": "mobile", "session": f"s{index % 97:02d}", "window": 15},
        "__v": 0,
    }


def skilltree(rng: Random, index: int) -> Document:
    """A map of 22 skills, each of which becomes a row."""
    skills = {name: {"level": (level := int(rng.random() * 50)), "xp": level * 100, "unlocked": level > 0} for name in SKILLS}
    return {
        "_id": object_id(3, index),
        "userId": object_id(1, index),
        "skills": skills,
        "skillPoints": int(rng.random() * 120),
        "totalSkillLevel": sum(skill["level"] for skill in skills.values()),
        "lastUpdated": moment(index + 1),
        "createdAt": moment(index),
        "updatedAt": moment(index + 1),
        "__v": 0,
    }


def webhook(rng: Random, index: int) -> Document:
    """An address with up to 20 logs, each of which becomes a row with its payload as jsonb."""
    return {
        "_id": object_id(4, index),
        "userId": object_id(1, int(rng.random() * USERS)),
        "provider": "github",
        "url": f"https://hooks.example.net/github/{index}?verify=1",
        "events": ["push", "issues.opened"],
        "secret": f"whsec_{rng.randbytes(16).hex()}",
        "active": True,
        "logs": [log(rng, index, number) for number in range(int(rng.random() * 21))],
        "lastTriggeredAt": moment(index + 1),
        "createdAt": moment(index),
        "updatedAt": moment(index + 1),
        "__v": 0,
    }


def log(rng: Random, index: int, number: int) -> Document:
    """One delivery."""
    return {
        "_id": object_id(5, index * 100 + number),
        "event": "push",
        "status": "success" if number % 5 else "failed",
        "statusCode": 200 if number % 5 else 503,
        "attempt": 1 + number % 3,
        "payload": {
            "action": "opened",
            "number": number,
            "ref": "refs/heads/main",
            "repository": {"id": Int64(8_000_000_000 + index), "full_name": "octo-org/parser", "private": False},
            "sender": {"login": "octo-ana", "id": 583_231},
        },
        "durationMs": round(rng.random() * 900, 2),
        "createdAt": moment(index) + timedelta(minutes=number),
    }


DATA_SETS = {
    each.name: each
    for each in (
        DataSet("progresspoints", AUTH, progresspoint, documents=200_000),
        DataSet("skilltrees", AUTH, skilltree, documents=5_000, one_per_user=True),
        DataSet("webhooks", EXTERNAL_BRIDGE, webhook, documents=5_000),
    )
}
# Half of these are dirty, and hardly two have the same fields; what other tools make of them is not what was in them.
DIRTY = DataSet("tasks", TASK_ORCHESTRATOR, None, documents=60_000)
EVERY = {**DATA_SETS, DIRTY.name: DIRTY}
