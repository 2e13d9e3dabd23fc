"""What the reference projector makes of documents, row by row, for comparisons with what the mover makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from mongo2pg.model import Collection
from mongo2pg.reference.projector import Projector, Reject


class Projection(NamedTuple):
    """Rows as texts by table, and the rejects."""

    rows: dict[str, list[dict[str, str | None]]]
    rejects: list[Reject]


def project(collection: Collection, raws: Sequence[bytes]) -> Projection:
    rows: dict[str, list[dict[str, str | None]]] = {table.name: [] for table in collection.tables}
    rejects = []
    for each in Projector(collection).project(raws):
        if isinstance(each, Reject):
            rejects.append(each)
            continue
        columns = [each.columns[column.name] for column in each.table.columns]
        names = [column.name for column in each.table.columns]
        rows[each.table.name] += [dict(zip(names, texts, strict=True)) for texts in zip(*columns, strict=True)]
    return Projection(rows, rejects)
