"""What the source says of itself: its clock, whether a collection is there, and how large it is."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure

# Documents sampled for their size where the server keeps no statistics of it.
SIZE_SAMPLES = 200
# A sample of a twentieth of the documents or more is sorted, and mongod before 6.0 fails above 100 MB (error 292; manual: $sample).
SORT_ON_DISK = True
# An index by its name or by its key, as servers take it for a hint.
Hint = str | dict[str, int]
# The one on `_id`: a clustered collection has none of the name `_id_` where it was given another (manual, "Clustered Collections").
ID_INDEX: Hint = {"_id": 1}


def exists(database: Database[Any], name: str) -> bool:
    """Whether the collection is there: reading a missing one gives no error, only no documents.

    One that this user may not read is in no list either, and must not pass for missing: then the query is refused.
    """
    if database.list_collection_names(filter={"name": name}, authorizedCollections=True):
        return True
    return database[name].find_one({}, {"_id": 1}) is not None


def server_time(database: Database[Any]) -> str:
    """The source's own clock, ISO 8601 in UTC: the clock of a worker plays no part."""
    moment = database.client.admin.command("hello")["localTime"]
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def stored_bytes(database: Database[Any], name: str) -> int:
    """BSON bytes of the collection, by the server's statistics; where it tells none, or not this role, by a sample."""
    try:
        size = int(database.command("collStats", name).get("size", 0))
    except OperationFailure:
        size = 0
    return size or _sampled_bytes(database, name)


def _sampled_bytes(database: Database[Any], name: str) -> int:
    documents = database[name].estimated_document_count()
    if not documents:
        return 0
    # This needs the right to read alone.
    steps: list[dict[str, Any]] = [{"$sample": {"size": SIZE_SAMPLES}}, {"$project": {"_id": 0, "bytes": {"$bsonSize": "$$ROOT"}}}]
    sizes = database[name].aggregate(steps, allowDiskUse=SORT_ON_DISK)
    sampled = [row["bytes"] for row in sizes]
    return round(documents * sum(sampled) / len(sampled)) if sampled else 0
