"""Documents to rows: a pure function of the bytes and the declaration.

A batch goes through column by column, never row by row: for each field one list of values, for each list one typed
column. What does not fit leaves the column (a misfit, kept in `extra`) or takes its row along (a reject); either way it
is counted, and nothing of a document is dropped that the declaration does not ignore.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from bson.objectid import ObjectId
from numpy.typing import NDArray

from mongo2pg.batches import id_columns
from mongo2pg.batches.arrow import pa
from mongo2pg.batches.clean import Clean, CleanReader, Part
from mongo2pg.batches.elements import Content
from mongo2pg.batches.rows import EMPTY, ArrayCount, Counts, Rows, declared_tree
from mongo2pg.batches.typed_columns import ARROW_TYPES, fill, uuid_array
from mongo2pg.collector import collector_paused
from mongo2pg.documents import identity
from mongo2pg.documents.bson_types import bson_type
from mongo2pg.documents.decode import MalformedError, decode_batch
from mongo2pg.documents.document_ids import document_id, of_bytes
from mongo2pg.documents.extended_json import extended_json
from mongo2pg.documents.outline import count_elements, own_id
from mongo2pg.files.parquet import MAY_SHARE, RAW_ROW
from mongo2pg.model import Child, Collection, Column, Table

# Row groups of up to so many bytes are read two at once. Those of `extract` are smaller, but where a document is large: then
# its memory must do alone.
LIGHT = 3 << 20


class Reject(NamedTuple):
    """A document (`path` is one of its fields) or an array element that became no row; `row` counts in the raw file.

    `id` is the document's name in the books (`document_ids`).
    """

    row: int
    id: str
    path: str
    bson_type: str
    reason: str
    element: bool


REJECT_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("path", pa.string()),
        ("bson_type", pa.string()),
        ("reason", pa.string()),
        ("element", pa.bool_()),
    ]
)


class RowGroup(NamedTuple):
    """Documents that lie one behind the other in the raw file, from the row `first_row` on."""

    documents: pa.BinaryArray
    first_row: int

    def is_light(self) -> bool:
        return bool(self.documents.nbytes <= LIGHT)


class Read(NamedTuple):
    """Documents and their rows of the raw file, the clean ones read by columns; `again` are those that come again later."""

    documents: pa.BinaryArray
    rows: NDArray[np.int64]
    clean: Clean
    again: list[bytes]


class Batch(NamedTuple):
    """The frames of some documents: one table each, in load order, and the rejects."""

    frames: dict[str, pa.RecordBatch]
    rejects: list[Reject]


class Normaliser:
    """Turns batches of documents of one collection into frames and counts what it does.

    `superseded` are rows of the raw file whose document comes again later: they become nothing.
    """

    def __init__(self, collection: Collection, superseded: Sequence[int] = ()) -> None:
        self.collection = collection
        self._superseded = np.array(superseded, np.int64)
        self.counts = Counts(arrays={child.path: ArrayCount() for child in collection.children})
        self._root, *children = collection.tables
        self._children = list(zip(collection.children, children, strict=True))
        self._clean = CleanReader(collection)
        self._tree = declared_tree(collection.columns, collection.children, ("_id", *collection.ignored))
        self._child_trees = {
            child.path: declared_tree(child.columns, passed_over=("_id",) if child.has_source_id else ())
            for child in collection.children
        }

    def schema(self, table: Table) -> pa.Schema:
        """The columns of a table's frames, and those that stay behind in staging."""
        columns = [*((column.name, ARROW_TYPES[column.type]) for column in table.columns), (RAW_ROW, pa.int64())]
        return pa.schema(columns if table.child else [*columns, (MAY_SHARE, pa.bool_())])

    def normalise(self, documents: pa.BinaryArray, first_row: int) -> Batch:
        """The frames of these documents, the first of which is row `first_row` of the raw file; never raises for a value."""
        return self.finish(self.read(RowGroup(documents, first_row)))

    def read(self, group: RowGroup) -> Read:
        """Most of the work where documents are clean. It changes nothing here: several may be read at once."""
        documents, again = group.documents, pa.array([], pa.binary())
        rows = np.arange(group.first_row, group.first_row + len(documents))
        if self._superseded.size:
            superseded = np.isin(rows, self._superseded)
            again = documents.filter(pa.array(superseded))
            documents, rows = documents.filter(pa.array(~superseded)), rows[~superseded]
        _, bounds, joined = documents.buffers()
        offsets = np.frombuffer(bounds, np.int32)[: len(documents) + 1].astype(np.int64) if documents else np.zeros(1, np.int64)
        return Read(documents, rows, self._clean.read(Content(joined or b""), offsets), again.to_pylist())

    def finish(self, read: Read) -> Batch:
        """The frames of what has been read, in the order of the documents."""
        documents, rows, clean, again = read
        self.counts.read += len(rows) + len(again)
        self.counts.superseded += len(again)
        for raw in again:
            self._count_unread(raw)
        left = np.flatnonzero(clean.left)
        batch = self.by_rule([documents[row].as_py() for row in left], rows[left].tolist())
        self.counts.rows += len(clean.parts[self._root.name].document)
        for child, table in self._children:
            count = self.counts.arrays[child.path]
            count.elements += len(clean.parts[table.name].document)
            count.rows += len(clean.parts[table.name].document)
        for found in chain.from_iterable(part.undeclared for part in clean.parts.values()):
            first = documents[found.document]
            drift = self.counts.drift_at(found.path, int(rows[found.document]), partial(_shown_id, first))
            drift.bson_types.update(found.bson_types)
        for table in self.collection.tables:
            for column, changed, conversions in clean.parts[table.name].defaults:
                path = f"{table.child.path}.{column.path}" if table.child else column.path
                for change in conversions:
                    self.counts.add_conversion(path, change, int(changed.sum()), sensitive=column.sensitive)
        frames = {
            table.name: _in_order(self._frame(table, clean.parts[table.name], rows), batch.frames[table.name])
            for table in self.collection.tables
        }
        return Batch(frames, batch.rejects)

    def _frame(self, table: Table, part: Part, rows: NDArray[np.int64]) -> pa.RecordBatch:
        schema, count = self.schema(table), len(part.document)
        others = {
            "extra": pa.nulls(count, ARROW_TYPES["jsonb"]),
            RAW_ROW: pa.array(rows[part.document], pa.int64()),
            MAY_SHARE: pa.array(part.doubtful),
        }
        return pa.RecordBatch.from_arrays([(others | part.columns)[name] for name in schema.names], schema=schema)

    def by_rule(self, raws: list[bytes], places: list[int]) -> Batch:
        """The frames of documents of which something may be to be said; each has its row of the raw file."""
        with collector_paused():
            return self._by_rule(raws, places)

    def _by_rule(self, raws: list[bytes], places: list[int]) -> Batch:
        rejects: list[Reject] = []
        documents: list[dict[str, Any]] = []
        rows: list[int] = []
        for row, raw, document in zip(places, raws, decode_batch(raws), strict=True):
            if isinstance(document, MalformedError) or "_id" not in document:
                rejects.append(Reject(row, of_bytes(raw), "", "object", "malformed", element=False))
                self._count_unread(raw)
            else:
                documents.append(document)
                rows.append(row)

        ids = [document["_id"] for document in documents]
        work = Rows(
            documents, self._tree, self.collection.columns, self.counts, rows, lambda row: extended_json(ids[row], keep_nul=True)
        )
        packed_ids = self._root_ids(work, ids)
        work.read()
        for index, (path, value, reason) in sorted(work.unfit.items()):
            rejects.append(Reject(rows[index], document_id(ids[index]), path, bson_type(value), reason, element=False))
        self.counts.rejected.update(reject.reason for reject in rejects)
        loaded = work.loaded()
        self.counts.rows += int(loaded.sum())

        root = pa.RecordBatch.from_arrays(
            [
                *(work.column(column) for column in self._root.columns),
                pa.array(rows, pa.int64()),
                pa.array([type(value) is not ObjectId and identity.may_collide(value) for value in ids], pa.bool_()),
            ],
            schema=self.schema(self._root),
        )
        frames = {self._root.name: root.filter(pa.array(loaded))}
        texts = id_columns.texts_from_uuids(packed_ids) if self._children else []
        parents = _Parents(packed_ids, texts, loaded, rows, ids)
        for child, table in self._children:
            frames[table.name], element_rejects = self._child_frame(child, table, work.held[child.path], parents)
            rejects += element_rejects
        return Batch(frames, rejects)

    def _count_unread(self, raw: bytes) -> None:
        """The elements of a document that becomes no row and is not read: the server counts them, too."""
        for child in self.collection.children:
            elements = count_elements(raw, child)
            self.counts.arrays[child.path].elements += elements
            self.counts.arrays[child.path].of_parents_not_loaded += elements

    @staticmethod
    def _root_ids(work: Rows, ids: list[Any]) -> bytes:
        if set(map(type, ids)) <= {ObjectId}:
            packed = id_columns.uuids_from_objectids(b"".join([value.binary for value in ids])).tobytes()
        else:
            packed = b"".join([identity.id_from_value(value).bytes for value in ids])
            for row, value in enumerate(ids):
                if not identity.is_reversible(value):
                    work.keep(row, ["_id"], identity.kept_id(value))
        work.arrays["id"] = uuid_array(packed)
        return packed

    def _child_frame(
        self, child: Child, table: Table, holders: list[Any], parents: _Parents
    ) -> tuple[pa.RecordBatch, list[Reject]]:
        count = self.counts.arrays[child.path]
        lengths = np.fromiter(map(len, holders), np.int64, len(holders))
        count.elements += int(lengths.sum())
        count.of_parents_not_loaded += int(lengths[~parents.loaded].sum())
        lengths[~parents.loaded] = 0
        present = [holder if loaded else () for holder, loaded in zip(holders, parents.loaded, strict=True)]

        stored: list[str | None] = []
        elements: list[Any] = list(chain.from_iterable(h.values() if type(h) is dict else h for h in present))
        keys: list[str] = list(chain.from_iterable(present)) if child.kind == "map" else []
        parent = np.repeat(np.arange(len(holders)), lengths)
        ordinal = np.arange(len(elements)) - np.repeat(np.cumsum(lengths) - lengths, lengths)

        work = Rows(
            elements if child.kind == "scalars" else [e if type(e) is dict else EMPTY for e in elements],
            self._child_trees[child.path],
            child.columns,
            self.counts,
            np.asarray(parents.rows, np.int64)[parent].tolist(),
            lambda row: extended_json(parents.ids[parent[row]], keep_nul=True),
            prefix=child.path,
        )
        if child.kind == "scalars":
            work.put_value(child.columns[0], elements)
            if child.unique_value:
                stored = work.arrays[child.columns[0].name].to_pylist()
                _reject_repeated(work, parent, stored, elements)
        else:
            for index, element in enumerate(elements):
                if type(element) is not dict:
                    work.unfit[index] = ("", element, "type_mismatch")
            if child.kind == "map":
                work.put(child.key, fill(keys, child.key_column), keys, "", required=True)
            if child.has_source_id:
                source_ids = [element.get("_id") for element in work.documents]
                work.put("source_id", fill(source_ids, Column("_id", "uuid", "source_id")), source_ids, "_id")
            work.read()
        rejects = [
            Reject(
                parents.rows[parent[index]],
                document_id(parents.ids[parent[index]]),
                ".".join([child.path, keys[index] if keys else str(ordinal[index]), *([path] if path else [])]),
                bson_type(value),
                reason,
                element=True,
            )
            for index, (path, value, reason) in sorted(work.unfit.items())
        ]
        loaded = work.loaded()
        count.rejected += len(rejects)
        count.rows += int(loaded.sum())

        work.arrays[table.parent_key] = uuid_array(parents.packed).take(pa.array(parent))
        work.arrays["id"] = uuid_array(
            id_columns.ids_of_elements(
                child, [parents.texts[at] for at in parent], parent, ordinal, stored if child.unique_value else keys, elements
            )
        )
        if child.has_ordinal:
            work.arrays["ordinal"] = pa.array(ordinal, pa.int32())
        raw_rows = pa.array(np.asarray(parents.rows, np.int64)[parent], pa.int64())
        frame = pa.RecordBatch.from_arrays(
            [*(work.column(column) for column in table.columns), raw_rows], schema=self.schema(table)
        )
        return frame.filter(pa.array(loaded)), rejects


def _shown_id(document: pa.BinaryScalar) -> str:
    return extended_json(own_id(document.as_py()), keep_nul=True)


def _in_order(clean: pa.RecordBatch, ruled: pa.RecordBatch) -> pa.RecordBatch:
    """The rows of both in the order of their documents."""
    if not clean.num_rows or not ruled.num_rows:
        return clean if clean.num_rows else ruled
    both = pa.concat_batches([clean, ruled])
    return both.take(pa.array(np.argsort(np.asarray(both[RAW_ROW]), kind="stable")))


@dataclass
class _Parents:
    """The root rows that child rows of a batch belong to, by position in the batch."""

    packed: bytes
    texts: list[bytes]
    loaded: NDArray[np.bool_]
    rows: list[int]
    ids: list[Any]


def _reject_repeated(work: Rows, parent: NDArray[np.int64], stored: list[str | None], elements: list[Any]) -> None:
    seen: set[tuple[int, Any]] = set()
    for index, value in enumerate(stored):
        if index in work.unfit:
            continue
        if (int(parent[index]), value) in seen:
            work.unfit[index] = ("", elements[index], "duplicate_key")
        seen.add((int(parent[index]), value))
