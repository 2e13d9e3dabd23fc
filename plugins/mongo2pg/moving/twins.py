"""Documents that reach one id: which of their child rows belong to which no table tells, so that they are held from the frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from mongo2pg.batches.arrow import pa
from mongo2pg.books import Connection, RunKey
from mongo2pg.documents.identity import uuid_text
from mongo2pg.files.parquet import MAY_SHARE, RAW_ROW
from mongo2pg.model import Collection
from mongo2pg.moving.copying import copy_frames, rows_of
from mongo2pg.moving.held import hold, name_held
from mongo2pg.queries import create_incoming, incoming


class Twin(NamedTuple):
    """A document that shares its id: the id's 16 bytes, and the document's row in its chunk's raw file."""

    root_id: bytes
    row: int


def count_doubtful(roots: pq.ParquetFile) -> int:
    """How many documents of a chunk may share their id with another one, of whatever chunk."""
    return pc.sum(roots.read(columns=[MAY_SHARE])[MAY_SHARE]).as_py() or 0


def twins_within(roots: pq.ParquetFile) -> list[Twin]:
    """Those of them that do, with a document of their own chunk; of each id one document may be left to come in as it is."""
    if not count_doubtful(roots):
        return []
    frame = roots.read(columns=["id", RAW_ROW, MAY_SHARE])
    code = np.asarray(frame["id"].combine_chunks().dictionary_encode().indices)
    twins = frame.filter(pa.array((np.bincount(code)[code] > 1) & np.asarray(frame[MAY_SHARE])))
    return list(map(Twin, twins["id"].to_pylist(), twins[RAW_ROW].to_pylist()))


def hold_twins(
    conn: Connection, run: RunKey, collection: Collection, files: Mapping[str, pq.ParquetFile], twins: Sequence[Twin]
) -> None:
    """Puts these documents of a chunk, whose frames `files` are, among the held: one of each id after the other."""
    layers: list[dict[bytes, int]] = []
    for twin in twins:
        layer = next((layer for layer in layers if twin.root_id not in layer), None)
        if layer is None:
            layers.append(layer := {})
        layer[twin.root_id] = twin.row
    for layer in layers:
        for table in collection.tables:
            conn.execute(create_incoming(table))
            copy_frames(conn, incoming(table.name), table, rows_of(files[table.name], list(layer.values())))
        name_held(conn, list(map(uuid_text, layer)))
        hold(conn, run, collection)
