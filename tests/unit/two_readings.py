"""One document read twice, by the mover and by the reference, in one form that tells any difference."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa

from mongo2pg.model import Collection
from mongo2pg.moving.normaliser import Batch, Normaliser
from tests.unit.column_text import json_form, plain, text_of_stored
from tests.unit.projection import project


class Outcome(NamedTuple):
    """Rows as text by table, rejects as (document, path, reason, whether of an element)."""

    rows: dict[str, list[dict[str, str | None]]]
    rejects: list[tuple[str, str, str, bool]]


def moved(collection: Collection, raws: list[bytes]) -> Outcome:
    batch = Normaliser(collection).normalise(pa.array(raws, pa.binary()), first_row=0)
    rejects = [(json_form(reject.id), reject.path, reject.reason, reject.element) for reject in batch.rejects]
    return Outcome(rows_of(collection, batch), sorted(rejects))


def rows_of(collection: Collection, batch: Batch) -> dict[str, list[dict[str, str | None]]]:
    return {
        table.name: [
            {column.name: text_of_stored(row[column.name], column) for column in table.columns}
            for row in [
                dict(zip(frame.column_names, values, strict=True)) for values in zip(*map(plain, frame.columns), strict=True)
            ]
        ]
        for table in collection.tables
        for frame in [batch.frames[table.name]]
    }


def projected(collection: Collection, raws: list[bytes]) -> Outcome:
    made = project(collection, raws)
    for table in collection.tables:
        for row in made.rows[table.name]:
            for column in table.columns:
                if column.type == "jsonb" and (text := row[column.name]):
                    row[column.name] = json_form(text)
    rejects = [(json_form(each.document_id), each.path, each.reason, each.element) for each in made.rejects]
    return Outcome(made.rows, sorted(rejects))


def agree(collection: Collection, raws: list[bytes]) -> None:
    got, want = moved(collection, raws), projected(collection, raws)
    assert got.rejects == want.rejects
    for table in collection.tables:
        assert got.rows[table.name] == want.rows[table.name], table.name
