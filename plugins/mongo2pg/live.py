"""Documents read from MongoDB a second time, to hold something against them: a chunk at a time, by the index of its plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pymongo.database import Database

from mongo2pg.decode import OPTIONS, split
from mongo2pg.plan import Reading, exists


def read_chunk(database: Database[Any], name: str, how: Reading) -> Iterator[bytes]:
    """The documents as the server has them now, byte for byte; by pymongo's own raw batches, which extract does not use.

    A cursor that dies raises; a collection that is not there has no documents.
    """
    if not exists(database, name):
        return
    source = database[name].with_options(codec_options=OPTIONS)
    with source.find_raw_batches(how.query, min=how.low, max=how.high, hint=how.hint) as cursor:
        batch: Any
        for batch in cursor:
            yield from split(batch)
