"""What a declaration makes of documents, held against their rows: many documents at once, column by column."""

from __future__ import annotations

import numpy as np

from mongo2pg.model import Child, Collection, Column
from mongo2pg.reference.cells import Cells, StoredRows
from mongo2pg.reference.column_rules import agrees
from mongo2pg.reference.fields import Documents
from mongo2pg.reference.json_cells import agrees_as_json
from mongo2pg.reference.octets import Mask, Octets, Positions
from mongo2pg.reference.walk import ARRAY, BINARY, DOCUMENT, INTEGERS, NULL, OBJECT_ID, OLD_UUID, STRING, Leaf, Path, Trees

ID: Path = ("_id",)
# The types of `_id`s of which the id of a row is a digest; about those that are missing here no rule says anything.
_DIGESTED = (STRING, *INTEGERS)
_SOURCE_ID = Column("_id", "uuid", "source_id")


def steps(path: str) -> Path:
    """The keys of a declared path."""
    return tuple(path.split("."))


class Declared:
    """What a declaration makes of the documents behind one table."""

    def __init__(self, spec: Collection | Child) -> None:
        self._columns = {steps(column.path): column for column in spec.columns}
        self._holders = {steps(child.path) for child in spec.children} if isinstance(spec, Collection) else set[Path]()
        self._ignored = {steps(path) for path in spec.ignored} if isinstance(spec, Collection) else set[Path]()
        self._root = isinstance(spec, Collection)
        self._source_id = isinstance(spec, Child) and spec.has_source_id
        self._marks = isinstance(spec, Collection) and spec.tables[0].marks
        paths = [*self._columns, *self._holders, *self._ignored]
        self._inner = {path[:end] for path in paths for end in range(1, len(path))}

    def agrees(self, octets: Octets, documents: Documents, rows: StoredRows, where: Positions) -> Mask:
        """Which documents have the row that they must become; its place is in `where`, -1 if there is none.

        Their ids, parents and positions are not looked at.
        """
        found: Mask = where >= 0
        if not rows.count:
            return found
        for path in self._inner:
            for holders, leaf in documents.values(path):
                if leaf.kind == ARRAY:
                    found[holders] = False
        for path, column in self._columns.items():
            cells = rows.columns[column.name].of(where)
            if column.type == "jsonb":
                usual = not column.required and column.default is None
                found &= usual and _json_agrees(octets, documents.trees(path), path, cells)
            else:
                found &= _column_agrees(column, octets, documents, path, cells)
        if self._source_id:
            found &= _column_agrees(_SOURCE_ID, octets, documents, ID, rows.columns["source_id"].of(where))
        if self._marks:
            found &= rows.columns["deleted_at"].of(where).null
        for path, holders, leaf in documents.everything() if self._ignored else ():
            if leaf.kind == STRING and any(path[: len(each)] == each for each in self._ignored):
                found[holders] &= _are_texts(octets, leaf)
        # The row itself is the document around what it keeps.
        whose, parts = documents.kept(self._keeps)
        kept = [(some, {(): Leaf(DOCUMENT, next(iter(leaves.values())).at), **leaves}) for some, leaves in parts]
        return found & _json_agrees(octets, Trees(whose, kept), (), rows.columns["extra"].of(where))

    def _keeps(self, path: Path, kind: int) -> bool:
        """Whether `extra` keeps such a field, apart from the documents around it."""
        above = [path[:end] for end in range(1, len(path) + 1)]
        if path in self._columns:
            # As it keeps an `_id`: a reference is the id of a row.
            column = self._columns[path]
            return (bool(column.references) and kind in _DIGESTED) or (column.type == "uuid" and kind == OLD_UUID)
        if any(each in self._columns or each in self._holders or each in self._ignored for each in above):
            return False
        if path == ID:
            # The id of a row tells which ObjectId or UUID it was, but not which subtype it had; of any other `_id` it is a digest.
            return kind not in (OBJECT_ID, BINARY) if self._root else kind == OLD_UUID or not self._source_id
        return not (path in self._inner and kind in (DOCUMENT, NULL))


def _column_agrees(column: Column, octets: Octets, documents: Documents, path: Path, cells: Cells) -> Mask:
    missing = agrees(column, octets, None, cells)
    found: Mask = np.zeros(len(cells.at), np.bool_) if missing is None else missing
    for holders, leaf in documents.values(path):
        same = agrees(column, octets, leaf, cells.of(holders))
        found[holders] = False if same is None else same
    return found


def _json_agrees(octets: Octets, trees: Trees, path: Path, cells: Cells) -> Mask:
    found = cells.null.copy()
    found[trees.holders] = False
    for some, leaves in trees.parts:
        same = agrees_as_json(octets, leaves, path, cells.of(some))
        found[some] = False if same is None else same
    return found


def _are_texts(octets: Octets, leaf: Leaf) -> Mask:
    """Which strings are UTF-8: of those that nothing else is compared with."""
    ends = leaf.at + 3 + octets.integers("<i4", leaf.at)
    return np.array(
        [_is_text(octets.content[at + 4 : end]) for at, end in zip(leaf.at.tolist(), ends.tolist(), strict=True)], np.bool_
    )


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
