"""The target's rows by column, in the forms of PostgreSQL's send functions.

Integers and doubles are big-endian, a timestamptz is microseconds since 2000, a uuid its bytes; jsonb and numeric come as text
(PostgreSQL manual, COPY, "Binary Format"; src/backend/utils/adt).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from mongo2pg.reference.octets import Mask, Octets, Positions
from mongo2pg.reference.walk import Some


@dataclass(frozen=True)
class Cells:
    """One column of rows: where each cell's bytes begin and how many they are; -1 for NULL."""

    octets: Octets
    at: Positions
    sizes: Positions

    def of(self, some: Some) -> Cells:
        """Those of some rows, in that order."""
        return Cells(self.octets, self.at[some], self.sizes[some])

    @property
    def null(self) -> Mask:
        return self.sizes < 0

    def same(self, octets: Octets, at: Positions, sizes: Positions) -> Mask:
        """Where the cell is the very bytes that begin there, as many as they are."""
        found: Mask = self.sizes == sizes
        found[found] = octets.same(at[found], sizes[found], self.octets, self.at[found])
        return found

    def integers(self, kind: Literal["u1", ">i4", ">i8"]) -> Positions:
        """The cells as integers; what a cell of another size gives means nothing."""
        return self.octets.integers(kind, self.at)


def cells_in(content: bytes, sizes: Positions) -> Cells:
    """The cells of one column that lie one behind the other. ValueError if the sizes are not those of the content."""
    ends = np.cumsum(np.maximum(sizes, 0))
    if len(content) != ends[-1:].sum():
        raise ValueError(f"cells of {ends[-1:].sum()} bytes came as {len(content)}")
    return Cells(Octets(content), ends - np.maximum(sizes, 0), sizes)


@dataclass(frozen=True)
class StoredRows:
    """The rows of a table, by column."""

    count: int
    columns: dict[str, Cells] = field(default_factory=dict)
