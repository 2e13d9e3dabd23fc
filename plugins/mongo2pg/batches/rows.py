"""The rows of one table while a batch of documents becomes columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mongo2pg.batches.arrow import pa
from mongo2pg.batches.typed_columns import Filled, fill
from mongo2pg.documents.bson_types import bson_type
from mongo2pg.documents.conversions import MASK, Conversion, Tally
from mongo2pg.documents.extended_json import extended_json
from mongo2pg.model import Child, Column

EMPTY: dict[str, Any] = {}
# Marks a key that `_keep_undeclared` passes over: ignored by the declaration, or read elsewhere.
NOT_EXTRA = object()
# Undeclared fields told apart per collection and chunk; whatever comes beyond is counted together.
MOST_DRIFT = 500
OTHER_FIELDS = "(other fields)"


@dataclass
class ArrayCount:
    """What became of the elements of one array path: elements = rows + rejected + of_parents_not_loaded."""

    elements: int = 0
    rows: int = 0
    rejected: int = 0
    of_parents_not_loaded: int = 0


@dataclass
class Drift:
    """A field that nobody declared: how often it occurred with which BSON type, and the first document that had it: its row of the
    raw file, and its `_id`."""

    first_row: int
    first_id: str
    bson_types: Counter[str] = field(default_factory=Counter)


@dataclass
class Counts:
    """What became of the documents: read = rows + rejected + superseded ones, and the same for each array path."""

    read: int = 0
    superseded: int = 0
    rows: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    misfits: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    conversions: dict[str, dict[str, Tally]] = field(default_factory=dict)
    arrays: dict[str, ArrayCount] = field(default_factory=dict)
    drift: dict[str, Drift] = field(default_factory=dict)

    def add_conversion(self, path: str, change: Conversion, times: int = 1, *, sensitive: bool) -> None:
        """Counts what a rule changed in the field, and shows it unless nobody may see it."""
        before, after = (MASK if sensitive else extended_json(value, keep_nul=True) for value in (change.before, change.after))
        self.conversions.setdefault(path, {}).setdefault(change.rule, Tally()).add(before, after, times)

    def drift_at(self, path: str, row: int, id_of: Callable[[], str]) -> Drift:
        """What is counted of a field that nobody declared, and that the document of this row of the raw file has."""
        if path not in self.drift and len(self.drift) >= MOST_DRIFT:  # a map that nobody declared: its keys are endless
            path = OTHER_FIELDS
        found = self.drift.get(path)
        if found is None:
            found = self.drift[path] = Drift(row, id_of())
        elif row < found.first_row:
            found.first_row, found.first_id = row, id_of()
        return found


class Rows:
    """The rows of one table while a batch becomes columns.

    Each has its row of the raw file. `unfit` holds what takes a whole row along: row → (path, value, reason), the first in the
    declaration's order.
    """

    def __init__(
        self,
        documents: list[Any],
        tree: dict[str, Any],
        columns: Sequence[Column],
        counts: Counts,
        raw_rows: Sequence[int],
        id_of: Callable[[int], str],
        prefix: str = "",
    ) -> None:
        self.documents, self._tree, self._counts, self._prefix = documents, tree, counts, prefix
        self._raw_rows, self._id_of = raw_rows, id_of
        self._sensitive = {column.name for column in columns if column.sensitive}
        self._order = {column.name: rank for rank, column in enumerate(columns)}
        self.arrays: dict[str, pa.Array] = {}
        self.held: dict[str, list[Any]] = {}
        self.unfit: dict[int, tuple[str, Any, str]] = {}
        self._extra: dict[int, dict[str, Any]] = {}
        self._counted: list[tuple[int, tuple[str, str, str]]] = []
        self._ranks: dict[int, int] = {}

    def read(self) -> None:
        """Fills the columns from the documents, field by field."""
        self._read(self._tree, self.documents, "")

    def _read(self, tree: dict[str, Any], documents: Sequence[dict[str, Any]], path: str) -> None:
        self._keep_undeclared(tree, documents, path)
        for key, target in tree.items():
            below = f"{path}.{key}" if path else key
            values = [document.get(key) for document in documents]
            if isinstance(target, Column):
                self.put(target.name, fill(values, target), values, below, target.required)
            elif isinstance(target, Child):
                self.held[below] = self._holders(target, values, below)
            elif isinstance(target, dict):
                self._read(target, self._subdocuments(values, below), below)

    def _keep_undeclared(self, tree: dict[str, Any], documents: Sequence[dict[str, Any]], path: str) -> None:
        # Documents of one collection share few sets of keys: each set is looked at once.
        unknown = {shape: [key for key in shape if key not in tree] for shape in set(map(tuple, documents))}
        if not any(unknown.values()):
            return
        for index, document in enumerate(documents):
            for key in unknown[tuple(document)]:
                self.keep(index, [*path.split("."), key] if path else [key], document[key])
                self._note_drift(index, self._full(f"{path}.{key}" if path else key), document[key])

    def _note_drift(self, index: int, path: str, value: Any) -> None:
        drift = self._counts.drift_at(path, self._raw_rows[index], partial(self._id_of, index))
        drift.bson_types[bson_type(value)] += 1

    def _subdocuments(self, values: list[Any], path: str) -> list[dict[str, Any]]:
        if set(map(type, values)) <= {dict, type(None)}:
            return [value or EMPTY for value in values]
        for index, value in enumerate(values):
            if value is not None and type(value) is not dict:
                self.misfit(index, path, value, "type_mismatch")
        return [value if type(value) is dict else EMPTY for value in values]

    def _holders(self, child: Child, values: list[Any], path: str) -> list[Any]:
        wanted = dict if child.kind == "map" else list
        if set(map(type, values)) <= {wanted, type(None)}:
            return [value or () for value in values]
        for index, value in enumerate(values):
            if value is not None and type(value) is not wanted:
                self.misfit(index, path, value, "type_mismatch")
        return [value if type(value) is wanted else () for value in values]

    def put(self, name: str, filled: Filled, values: Sequence[Any], path: str, required: bool = False) -> None:
        """Takes a filled column: what did not fit becomes a misfit, or takes the row along where it is required."""
        self.arrays[name] = filled.array
        for row, below, value, reason in filled.misfits:
            where = f"{path}.{below}" if below else path
            if required:
                self._take_along(row, name, (where, value, reason))
            else:
                self.misfit(row, path, values[row], reason, where, value)
        for row in filled.originals:
            self.keep(row, path.split("."), values[row])
        self._count_conversions(filled, path, name)
        if required and filled.array.null_count:
            for row in np.flatnonzero(np.asarray(filled.array.is_null())).tolist():
                self._take_along(row, name, (path, values[row], "required"))

    def _count_conversions(self, filled: Filled, path: str, column: str) -> None:
        for change in filled.conversions:
            self._counts.add_conversion(self._full(path), change, sensitive=column in self._sensitive)

    def _take_along(self, row: int, column: str, what: tuple[str, Any, str]) -> None:
        # The tree is read sub-document by sub-document; the declaration may name their columns in another order.
        rank = self._order.get(column, -1)
        if row not in self.unfit or rank < self._ranks.get(row, -1):
            self.unfit[row], self._ranks[row] = what, rank

    def put_value(self, column: Column, values: list[Any]) -> None:
        """The one column of an array of scalars: an element that does not fit takes its row along."""
        filled = fill(values, column)
        self.arrays[column.name] = filled.array
        for row, _, value, reason in filled.misfits:
            self.unfit[row] = ("", value, reason)
        for row in filled.originals:
            self._extra[row] = {"value": values[row]}
        self._count_conversions(filled, "", column.name)
        for row in np.flatnonzero(np.asarray(filled.array.is_null())).tolist():
            self.unfit.setdefault(row, ("", None, "required"))

    def misfit(self, row: int, path: str, original: Any, reason: str, where: str = "", value: Any = None) -> None:
        """The original goes to `extra` under its path, and the misfit is counted by field path, BSON type and reason."""
        self.keep(row, path.split("."), original)
        culprit = value if where not in ("", path) else original
        self._counted.append((row, (self._full(path), bson_type(culprit), reason)))

    def keep(self, row: int, path: list[str], value: Any) -> None:
        """Puts a value into the row's `extra`, nested as it was in the document."""
        holder = self._extra.setdefault(row, {})
        for key in path[:-1]:
            holder = holder.setdefault(key, {})
        holder[path[-1]] = value

    def _full(self, path: str) -> str:
        return f"{self._prefix}.{path}" if self._prefix and path else self._prefix or path

    def loaded(self) -> NDArray[np.bool_]:
        """Which rows stay; counts the misfits of those."""
        mask = np.ones(len(self.documents), np.bool_)
        mask[list(self.unfit)] = False
        self._counts.misfits.update(what for row, what in self._counted if mask[row])
        return mask

    def column(self, column: Column) -> pa.Array:
        if column.name != "extra" or "extra" in self.arrays:
            return self.arrays[column.name]
        texts: list[str | None] = [None] * len(self.documents)
        for row, kept in self._extra.items():
            texts[row] = extended_json(kept, keep_nul=True)
        return pa.array(texts, pa.string())


def declared_tree(columns: Sequence[Column], children: Sequence[Child] = (), passed_over: Sequence[str] = ()) -> dict[str, Any]:
    """The declaration as nested keys: each leads to a column, a child table, a sub-document, or is passed over."""
    tree: dict[str, Any] = {}
    targets: list[tuple[str, Any]] = [(column.path, column) for column in columns if column.path]
    targets += [(child.path, child) for child in children] + [(path, NOT_EXTRA) for path in passed_over]
    for path, target in targets:
        *above, last = path.split(".")
        branch = tree
        for key in above:
            branch = branch.setdefault(key, {})
        branch[last] = target
    return tree
