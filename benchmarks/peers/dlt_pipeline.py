"""dlt: a resource over pymongo's cursor, as their documentation shows it; arrays become child tables, nothing else is set."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

import dlt
from bson import ObjectId
from pymongo import MongoClient

# Documents that are handed over at once, as in the source for MongoDB that `dlt init` copies.
CHUNK = 10_000


def plain(value: Any) -> Any:
    """The value with each ObjectId as text, which dlt knows no type for."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, ObjectId) else value


def main(uri: str, collection: str) -> None:
    """Moves one collection into the database that DSN names."""

    @dlt.resource(name=collection, primary_key="_id", write_disposition="replace")
    def documents() -> Iterator[list[dict[str, Any]]]:
        with MongoClient[dict[str, Any]](uri, tz_aware=True) as client:
            cursor = client.get_default_database()[collection].find()
            while chunk := list(islice(cursor, CHUNK)):
                yield [plain(document) for document in chunk]

    pipeline = dlt.pipeline("bench", destination=dlt.destinations.postgres(os.environ["DSN"]), dataset_name="dlt")
    pipeline.run(documents()).raise_on_failed_jobs()


if __name__ == "__main__":
    main(*sys.argv[1:])
