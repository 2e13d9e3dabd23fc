"""Frames of the documents of which nothing is to be said: every value has its column and fits there as it is.

Nearly all documents are so, and they go through by columns (`elements`, `columns`), without a Python object for a value.
A document of which something is to be said (a reject, a misfit, a conversion, a rare type) is left as a whole; `normalise` reads
it by the rule. Whatever comes through here comes out as the rule would have it. A field that nobody declared comes through, too,
for where there is one, all documents have it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow.compute as pc
from numpy.typing import NDArray

from mongo2pg.batches import id_columns
from mongo2pg.batches.arrow import pa
from mongo2pg.batches.columns import at_rows, column_of, leave_long, places, strings
from mongo2pg.batches.elements import PLAIN, Content, Field, Keys, Mask, Positions, together, walk
from mongo2pg.batches.jsontexts import object_id_texts, octets_of, texts
from mongo2pg.batches.left import Default, Kept, Left
from mongo2pg.batches.rows import declared_tree
from mongo2pg.batches.typed_columns import uuid_array
from mongo2pg.documents.bson_types import ALIASES, ARRAY, DOCUMENT, NULL, OBJECT_ID
from mongo2pg.model import LONGEST_KEY, Child, Collection, Column, Table

# Fields told apart in one batch that nobody declared. Where there are more, they are data, and each has its own.
MOST_UNDECLARED = 16


class Undeclared(NamedTuple):
    """A field that nobody declared: its path, how many values of each type it has, and the first document with one, by number."""

    path: str
    bson_types: Counter[str]
    document: int


class Part(NamedTuple):
    """The rows of one table: its columns (without `extra` where that is empty), the document of each row, by number, whether
    another document may have the row's id, what stands in `extra`, and where defaults stand for nothing."""

    columns: dict[str, pa.Array]
    document: Positions
    doubtful: Mask
    undeclared: list[Undeclared]
    defaults: list[Default]


class Clean(NamedTuple):
    """The rows of the clean documents by table, and which documents are left."""

    parts: dict[str, Part]
    left: Mask


class CleanReader:
    """Reads documents of one collection; holds nothing of them."""

    def __init__(self, collection: Collection) -> None:
        self._root, *tables = collection.tables
        self._children = list(zip(collection.children, tables, strict=True))
        self._tree = declared_tree(self._root.columns, collection.children, collection.ignored)
        self._child_trees = {table.name: declared_tree(table.columns) for table in tables}

    def read(self, content: Content, bounds: Positions) -> Clean:
        """Of documents that lie one behind the other, each from one bound to the next."""
        numbers = np.arange(len(bounds) - 1)
        rows = _Rows(content, len(numbers))
        rows.read(self._tree, bounds[:-1], bounds[1:], numbers)
        rows.read_passed_over()
        columns = rows.columns(self._root)
        children = [_Elements(content, child, table, self._child_trees[table.name], rows) for child, table in self._children]
        # Only now is it known which documents are left.
        stay = ~rows.left.rows
        tables = {
            self._root.name: Part(
                columns=_filtered(columns, stay),
                document=np.flatnonzero(stay),
                doubtful=rows.left.doubtful[stay],
                undeclared=rows.undeclared(stay, numbers),
                defaults=rows.defaults(stay),
            )
        }
        ids = np.frombuffer(columns["id"].buffers()[1], np.uint8).reshape(-1, 16)
        texts = id_columns.texts_from_uuids(ids.tobytes()) if any(len(child.parent) for child in children) else []
        for child in children:
            tables[child.table.name] = child.part(~rows.left.rows[child.parent], ids, texts)
        return Clean(tables, rows.left.rows)


def _filtered(columns: dict[str, pa.Array], stay: Mask) -> dict[str, pa.Array]:
    return columns if stay.all() else {name: column.filter(pa.array(stay)) for name, column in columns.items()}


class _Rows:
    """Where the values of a table's rows lie: fields by column, by child table, and those that are passed over."""

    def __init__(self, content: Content, count: int) -> None:
        self._content, self.left = content, Left(count)
        self._fields: dict[str, list[Field]] = {}
        self.holders: dict[str, list[Field]] = {}
        self._passed_over: list[Field] = []
        self._others: list[Kept] = []

    def read(self, tree: dict[str, Any], starts: Positions, stops: Positions, rows: Positions, above: tuple[str, ...] = ()) -> None:
        """Takes the elements of these documents, each of which belongs to a row, where the declared tree leads them, and some that
        it does not know."""
        elements, bad = walk(self._content, starts, stops, Keys.NAMES, _Welcome(tree))
        self.left.add(rows[bad])
        below: dict[str, list[Field]] = {}
        for element in elements:
            key, field = element.key.decode(), element._replace(owner=rows[element.owner])
            match tree.get(key):
                case None:
                    self._others.append(Kept((*above, key), field))
                case Column(name=name):
                    self._fields.setdefault(name, []).append(field)
                case Child(path=path):
                    self.holders.setdefault(path, []).append(field)
                case dict():
                    below.setdefault(key, []).append(field)
                case _:
                    self._passed_over.append(field)
        for key, fields in below.items():
            owner, _, at = together(_only(DOCUMENT, fields, self.left))
            self.read(tree[key], at, at + self._content.int32s(at), owner, (*above, key))

    def read_passed_over(self) -> None:
        """What the declaration ignores is read all the same: it may be what is malformed. Of a plain value any bytes will do."""
        for field in self._passed_over:
            if field.kind not in PLAIN:
                owner, _, at = together([field])
                _, bad = texts(self._content, np.full(len(at), field.kind, np.uint8), at)
                self.left.add(owner[bad])

    def columns(self, table: Table) -> dict[str, pa.Array]:
        """The columns that have a path, and `extra` where there is any."""
        columns = {c.name: column_of(self._content, c, self._fields.get(c.name, []), self.left) for c in table.columns if c.path}
        extra = [*self._others, *self.left.kept]
        return columns | {"extra": self._extra(extra)} if extra else columns

    def _extra(self, kept: list[Kept]) -> pa.Array:
        """These fields, nested as they were, as an object of JSON for each row that has any."""
        owner, at = (np.concatenate([getattr(field, name) for _, field in kept]) for name in ("owner", "at"))
        which = np.repeat(np.arange(len(kept)), [len(field.at) for _, field in kept])
        order = np.argsort(at, kind="stable")  # runs in order: merged, not sorted
        owner, at, which = owner[order], at[order], which[order]
        written, bad = texts(self._content, np.array([field.kind for _, field in kept], np.uint8)[which], at)
        self.left.add(owner[bad])
        first = np.diff(owner, prepend=-1) != 0
        # What stands before a value depends on the one before it in its row, and on where it stands itself.
        steps, index = np.unique(np.where(first, 0, np.roll(which, 1) + 1) * len(kept) + which, return_inverse=True)
        pairs = (divmod(step, len(kept)) for step in steps.tolist())
        before = [_step(kept[place - 1].path if place else (), *kept[own]) for place, own in pairs]
        pieces = pc.binary_join_element_wise(
            pa.array(before, pa.binary()).take(pa.array(index)),
            written.view(pa.binary()),
            pa.array([b"", *(b"}" * len(path) for path, _ in kept)]).take(
                pa.array(np.where(np.append(first[1:], True), which + 1, 0))
            ),
            b"",
        )
        # The pieces of a row lie one behind the other.
        bounds = octets_of(pieces)[0][np.append(np.flatnonzero(first), len(pieces))]
        objects = pa.Array.from_buffers(pa.string(), int(first.sum()), [None, pa.py_buffer(bounds), pieces.buffers()[2]])
        return at_rows(objects, owner[first], len(self.left.rows))

    def undeclared(self, stay: Mask, document: Positions, above: str = "") -> list[Undeclared]:
        """What nobody declared and the rows that stay have; each row is of a document."""
        found: dict[tuple[str, ...], Undeclared] = {}
        for path, field in self._others:
            owner = field.owner[stay[field.owner]]
            if len(owner):
                one = found.get(path) or Undeclared(above + ".".join(path), Counter(), int(document[owner[0]]))
                one.bson_types[ALIASES[field.kind]] += len(owner)
                found[path] = one._replace(document=min(one.document, int(document[owner].min())))
        return list(found.values())

    def defaults(self, stay: Mask) -> list[Default]:
        """The defaults of the rows that stay."""
        found = (default._replace(rows=default.rows & stay) for default in self.left.defaults)
        return [default for default in found if default.rows.any()]

    def object_ids(self, column: str) -> tuple[NDArray[np.uint8], Mask]:
        """The column's ObjectIds, n × 12 bytes, and which rows have one."""
        fields = [field for field in self._fields.get(column, []) if field.kind == OBJECT_ID]
        at, missing = places(fields, OBJECT_ID, self.left)
        return self._content.object_ids(at), ~missing


def _step(before: tuple[str, ...], path: tuple[str, ...], field: Field) -> bytes:
    """What stands between two values of an object of JSON, given their paths, or before its first one."""
    above = 0
    while above < min(len(before), len(path)) - 1 and before[above] == path[above]:
        above += 1
    closed = b"}" * (len(before) - 1 - above) + b"," if before else b"{"
    opened = b"".join(orjson.dumps(key) + b":{" for key in path[above:-1])
    return closed + opened + orjson.dumps(path[-1]) + (b":null" if field.kind == NULL else b":")


class _Welcome(Container[bytes]):
    """The declared keys, and the first few others that come."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self._keys, self._room = {key.encode() for key in tree}, MOST_UNDECLARED

    def __contains__(self, key: object) -> bool:
        if key not in self._keys and self._room and isinstance(key, bytes):
            self._keys.add(key)
            self._room -= 1
        return key in self._keys


def _only(kind: int, fields: list[Field], left: Left) -> list[Field]:
    """The fields of this type; null is as if nothing were there, and any other type leaves its row."""
    for field in fields:
        if field.kind not in (kind, NULL):
            left.add(field.owner)
    return [field for field in fields if field.kind == kind]


class _Elements:
    """The rows of a child table: the elements of one array path, in the order of the documents."""

    def __init__(self, content: Content, child: Child, table: Table, tree: dict[str, Any], parents: _Rows) -> None:
        self._child, self.table = child, table
        is_map = child.kind == "map"
        holder, _, at = together(_only(DOCUMENT if is_map else ARRAY, parents.holders.get(child.path, []), parents.left))
        fields, bad = walk(content, at, at + content.int32s(at), Keys.ANY if is_map else Keys.ORDINALS)
        parents.left.add(holder[bad])
        fields = [field._replace(owner=holder[field.owner]) for field in fields]
        if child.kind != "scalars":
            for field in fields:
                if field.kind != DOCUMENT:
                    parents.left.add(field.owner)
            fields = [field for field in fields if field.kind == DOCUMENT]
        self.parent, begin, at = together(fields)
        self._ordinal = np.arange(len(at)) - np.searchsorted(self.parent, self.parent)
        self._rows = _Rows(content, len(at))
        self._columns: dict[str, pa.Array] = {}
        if child.kind == "scalars":
            column = replace(child.columns[0], required=True)
            values = [field._replace(owner=np.searchsorted(at, field.at)) for field in fields]
            self._columns[column.name] = column_of(content, column, values, self._rows.left)
        else:
            self._rows.read(tree, at, at + content.int32s(at), np.arange(len(at)))
            self._columns = self._rows.columns(table)
        if child.has_ordinal:
            self._columns["ordinal"] = pa.array(self._ordinal, pa.int32())
        if is_map:
            self._columns[child.key] = strings(content, begin + 1, at - 1, None, np.arange(len(at)), self._rows.left)
            leave_long(self._columns[child.key], LONGEST_KEY, self._rows.left)
        if is_map or child.unique_value:
            self._leave_repeated(self._columns[child.key or child.columns[0].name])
        parents.left.add(self.parent[self._rows.left.rows])

    def _leave_repeated(self, names: pa.Array) -> None:
        """The elements of a parent that bear one name: in a map the document is malformed, in an array one is rejected."""
        code = np.asarray(names.dictionary_encode().indices.fill_null(0))
        together_ = self.parent * (len(code) + 1) + code
        _, index, count = np.unique(together_, return_index=True, return_counts=True)
        self._rows.left.add(index[count > 1])

    def part(self, stay: Mask, parent_ids: NDArray[np.uint8], parent_texts: list[bytes]) -> Part:
        """The columns of the rows that stay."""
        columns = _filtered(self._columns, stay)
        parent = self.parent[stay]
        undeclared = self._rows.undeclared(stay, self.parent, f"{self._child.path}.")
        columns["id"] = uuid_array(self._ids(stay, parent_texts))
        columns[self.table.parent_key] = uuid_array(parent_ids[parent].tobytes())
        return Part(columns, parent, self._rows.left.doubtful[stay], undeclared, self._rows.defaults(stay))

    def _ids(self, stay: Mask, parent_texts: list[bytes]) -> bytes:
        path, kind = self._child.path, self._child.kind
        texts = [parent_texts[index] for index in self.parent[stay].tolist()]
        if kind == "map" or self._child.unique_value:
            names = self._columns[self._child.key or self._child.columns[0].name].filter(pa.array(stay)).dictionary_encode()
            written = [orjson.dumps(name) for name in names.dictionary.to_pylist()]
            keys = [written[code] for code in names.indices.to_pylist()]
            return id_columns.child_ids(texts, path, "key" if kind == "map" else "value", keys)
        by_ordinal = [b"%d" % ordinal for ordinal in self._ordinal[stay].tolist()]
        if kind == "scalars":
            return id_columns.child_ids(texts, path, "ordinal", by_ordinal)
        own, has_own = self._rows.object_ids("source_id")
        own, has_own = own[stay], (has_own & ~_shared(self.parent, own, has_own))[stay]
        quoted = np.ascontiguousarray(object_id_texts(own)[:, 8:34]).view("S26").ravel().tolist()
        ids = np.zeros((len(texts), 16), np.uint8)
        for which, name, keys in ((has_own, "id", quoted), (~has_own, "ordinal", by_ordinal)):
            index = np.flatnonzero(which)
            made = id_columns.child_ids([texts[i] for i in index], path, name, [keys[i] for i in index])
            ids[index] = np.frombuffer(made, np.uint8).reshape(-1, 16)
        return ids.tobytes()


def _shared(parent: Positions, own: NDArray[np.uint8], has_own: Mask) -> Mask:
    """Elements whose own id another element of their parent bears, too."""
    words = np.zeros((len(own), 16), np.uint8)
    words[:, :12] = own
    words[:, 12:] = parent.astype(np.uint32).view(np.uint8).reshape(-1, 4)
    index = np.flatnonzero(has_own)
    high, low = words.view(np.uint64)[index].T
    order = np.lexsort((low, high))
    same = (high[order][1:] == high[order][:-1]) & (low[order][1:] == low[order][:-1])
    shared = np.zeros(len(own), np.bool_)
    shared[index[order[1:][same]]] = True
    shared[index[order[:-1][same]]] = True
    return shared
