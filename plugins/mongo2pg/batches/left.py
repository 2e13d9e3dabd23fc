"""What columns cannot say of a table: the rows that are left to the rule, and the little that is to be said of others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mongo2pg.batches.elements import Field, Mask, Positions
from mongo2pg.documents.conversions import Conversion
from mongo2pg.model import Column


class Kept(NamedTuple):
    """Values for `extra`, and their path."""

    path: tuple[str, ...]
    field: Field


class Default(NamedTuple):
    """The rows in which a declared default stands for nothing, and what is to be said of each."""

    column: Column
    rows: Mask
    conversions: list[Conversion]


class Left:
    """The rows of a table that are left to the rule, and the little that is to be said of others: that `extra` keeps a value beside
    its column, that a default stands for one, that it is `doubtful` whether another document has the row's id, too."""

    def __init__(self, count: int) -> None:
        self.rows, self.doubtful = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        self.kept: list[Kept] = []
        self.defaults: list[Default] = []

    def add(self, rows: Positions | Mask) -> None:
        self.rows[rows] = True

    def keep(self, column: Column, field: Field) -> None:
        """The values stay in `extra` beside what the column makes of them; those of scalars, which have no path, are left."""
        if column.path:
            self.kept.append(Kept(tuple(column.path.split(".")), field))
        else:
            self.add(field.owner)
