"""The script that people write by hand: everything into a frame, nested fields flattened, one more frame for an array, `to_sql`."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pandas as pd
from bson import ObjectId
from pymongo import MongoClient
from sqlalchemy import create_engine


def storable(value: Any) -> Any:
    """What the database driver takes: ObjectIds as text, what is still nested as JSON."""
    if isinstance(value, ObjectId):
        return str(value)
    return json.dumps(value, default=str) if isinstance(value, (dict, list)) else value


def main(uri: str, collection: str, array: str = "") -> None:
    """Moves one collection, and its array as a table of its own, into the database that DSN names."""
    documents = list(MongoClient[dict[str, Any]](uri).get_default_database()[collection].find())
    frames = {collection: pd.DataFrame(pd.json_normalize(documents))}
    if array:
        frames[collection] = frames[collection].drop(columns=array)
        frames[f"{collection}_{array}"] = pd.json_normalize(documents, record_path=array, meta="_id", meta_prefix=collection)
    engine = create_engine(os.environ["DSN"].replace("postgresql://", "postgresql+psycopg://"))
    for name, frame in frames.items():
        for column, kind in frame.dtypes.items():
            if kind == "object":
                frame[column] = frame[column].map(storable)
        frame.to_sql(name, engine, index=False, if_exists="replace")


if __name__ == "__main__":
    main(*sys.argv[1:])
