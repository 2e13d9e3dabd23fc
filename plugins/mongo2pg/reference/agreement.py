"""Which documents are in the target exactly as they must be: asked of many at once, by column, as a yes or a maybe.

Nearly every document of a healthy move is, and says so here at a fraction of what projecting it costs. A document is agreed
on when its row and the rows of all its elements are there, each cell the value that the declaration makes of its field,
and no row more hangs on it. Of the others nothing is said: the projector has the word on them. So no fault can hide behind
a rule that this module lacks, and what it has is held against the projector by tests.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from json.encoder import encode_basestring

import numpy as np

from mongo2pg.model import LONGEST_KEY, Child, Collection, Column, Table
from mongo2pg.reference.cells import Cells, StoredRows, agrees, agrees_as_json, uuid_words
from mongo2pg.reference.extended_json import dump
from mongo2pg.reference.ids import NAMESPACE
from mongo2pg.reference.octets import Mask, Octets, Positions, Words
from mongo2pg.reference.walk import ARRAY, DOCUMENT, NULL, OBJECT_ID, STRING, Elements, Group, Leaf, Path, elements_of, walk

# Two big-endian numbers for each id.
Ids = Words

_ID: Path = ("_id",)
_SOURCE_ID = Column("_id", "uuid", "source_id")


class Agreement:
    """Documents of one collection, which are many and small enough to be in memory a few times over."""

    def __init__(self, collection: Collection, content: bytes, bounds: Positions) -> None:
        """`content` are the documents one after the other; `bounds` are 0 and their ends."""
        self._collection = collection
        starts, stops = bounds[:-1], bounds[1:]
        self._octets = Octets(content)
        whole = {_steps(child.path) for child in collection.children}
        whole |= {_steps(column.path) for column in collection.columns if column.type == "text[]"}
        groups = walk(self._octets, starts, stops, whole)
        self._groups = [group for group in groups if _ID in group.leaves and group.leaves[_ID].kind == OBJECT_ID]
        self._ids = np.zeros((len(starts), 2), np.uint64)
        self._open = np.zeros(len(starts), np.bool_)
        for group in self._groups:
            self._ids[group.rows] = np.stack(uuid_words(self._octets, group.leaves[_ID].at), axis=1)
            self._open[group.rows] = True
        self._elements = {child.table: self._elements_of(child) for child in collection.children}

    @property
    def elements(self) -> int:
        """How many elements of arrays and maps there are, each of which must have a row of its own."""
        return sum(len(elements.numbers) for elements, _ in self._elements.values())

    @property
    def root_ids(self) -> Ids:
        """The ids whose rows `judge` must be given."""
        return self._ids[self._open]

    def leave_out(self, root_ids: Ids) -> None:
        """Nothing shall be said of the documents with these ids."""
        self._open &= Places(root_ids).find(self._ids) < 0

    def judge(self, stored: Mapping[str, StoredRows], odd: Mapping[str, Mask]) -> Agreed:
        """Which documents are agreed on, given all rows of the target, by table, that stand under `root_ids`.

        Nothing is said of documents with an `odd` row: one in which somebody else has seen something.
        """
        owners = {
            table.name: Places(self._ids).find(_ids_in(stored[table.name].columns[table.parent_key or "id"]))
            for table in self._collection.tables
        }
        root, *children = self._collection.tables
        found = self._open & _differ(self._ids)
        for name, rows in odd.items():
            found[owners[name][rows & (owners[name] >= 0)]] = False
        where = np.full(len(found), -1)
        there = np.flatnonzero(owners[root.name] >= 0)
        where[owners[root.name][there]] = there
        # Nor of one that has two rows: a table may have lost its primary key.
        found &= np.bincount(owners[root.name][there], minlength=len(found)) == 1
        shape = _Shape(self._collection)
        for group in self._groups:
            some = np.flatnonzero(found[group.rows])
            found[group.rows[some]] = shape.agrees(self._octets, group, some, stored[root.name], where[group.rows[some]])
        for table in children:
            assert table.child is not None  # noqa: S101 - only the first table has none
            found &= self._children_agree(table, table.child, stored[table.name], owners[table.name], found)
        return Agreed(found, owners)

    def _children_agree(self, table: Table, child: Child, stored: StoredRows, present: Positions, found: Mask) -> Mask:
        """`present` are the documents of the rows."""
        found = found.copy()
        elements, owners = self._elements[table.name]
        counts = np.bincount(owners, minlength=len(found))
        found &= counts == np.bincount(present[present >= 0], minlength=len(found))
        going = found[owners]
        elements, owners = elements.of(going), owners[going]
        own = np.zeros(len(owners), np.int64)
        groups = _groups_of(self._octets, child, elements)
        for group in groups:
            if child.has_source_id and (leaf := group.leaves.get(_ID)) and leaf.kind == OBJECT_ID:
                own[group.rows] = leaf.at
        ids = self._element_ids(child, elements, owners, own)
        where = Places(_ids_in(stored.columns["id"])).find(ids)
        good = np.zeros(len(owners), np.bool_)
        shape = _Shape(child)
        for group in groups:
            good[group.rows] = shape.agrees(self._octets, group, np.arange(len(group.rows)), stored, where[group.rows])
        # An own id that repeats inside of its array gives two elements one id here: they have other names, which others know.
        good &= (where >= 0) & _differ(ids)
        if stored.count:
            good &= present[where] == owners
            if child.has_ordinal:
                ordinals = stored.columns["ordinal"].of(where)
                good &= (ordinals.sizes == 4) & (ordinals.integers(">i4") == elements.numbers)
            else:
                good &= _keys_agree(self._octets, elements, stored.columns[child.key].of(where))
        found[owners[~good]] = False
        return found

    def _elements_of(self, child: Child) -> tuple[Elements, Positions]:
        """The elements behind a child table, and their documents; of one with something else in their place nothing is said."""
        kind, path = DOCUMENT if child.kind == "map" else ARRAY, _steps(child.path)
        rows, at = [_NONE], [_NONE]
        for group in self._groups:
            leaf = group.leaves.get(path)
            if leaf is not None and leaf.kind == kind:
                rows.append(group.rows)
                at.append(leaf.at)
            elif leaf is not None and leaf.kind != NULL:
                self._open[group.rows] = False
        owners = np.concatenate(rows)
        elements, sound = elements_of(self._octets, Leaf(kind, np.concatenate(at)))
        self._open[owners[~sound]] = False
        order = np.argsort(owners[elements.holders], kind="stable")
        elements = elements.of(order)
        return elements, owners[elements.holders]

    def _element_ids(self, child: Child, elements: Elements, owners: Positions, own: Positions) -> Ids:
        """The ids of the elements' rows: a UUID of version 5 (RFC 9562, 5.5) of the name that docs/identity.md gives each."""
        names, path = self._names(child, elements, own), dump(child.path)
        namespace = hashlib.sha1(NAMESPACE.bytes, usedforsecurity=False)
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        content = self._ids[owners[starts]].astype(">u8").tobytes()
        digests: list[bytes] = []
        for at, (start, stop) in enumerate(pairwise([*starts.tolist(), len(owners)])):
            root = namespace.copy()
            root.update(f'["{uuid.UUID(bytes=content[at * 16 : at * 16 + 16])}",{path},'.encode())
            copy = root.copy
            for name in names[start:stop]:
                sha1 = copy()
                sha1.update(name)
                digests.append(sha1.digest())
        first = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 20)[:, :16]
        words = np.ascontiguousarray(first).view(">u8").astype(np.uint64)
        words[:, 0] = words[:, 0] & np.uint64(0xFFFFFFFFFFFF0FFF) | np.uint64(0x5000)
        words[:, 1] = words[:, 1] & np.uint64((1 << 62) - 1) | np.uint64(1 << 63)
        return words

    def _names(self, child: Child, elements: Elements, own: Positions) -> list[bytes]:
        """What tells each element apart inside of its document: the second half of its name."""
        octets = self._octets
        if child.kind == "map":
            keys = list(octets.slices(elements.keys, elements.values - 1))
            named = {key: b'"key",%s]' % _quoted(key) for key in set(keys)}
            return [named[key] for key in keys]
        if child.unique_value:
            # A string behind its length, without the zero byte at its end.
            return [b'"value",%s]' % _quoted(text) for text in octets.slices(elements.values + 4, elements.ends - 1)]
        ordinals = [b'"ordinal",%d]' % number for number in range(int(elements.numbers.max(initial=-1)) + 1)]
        if not own.any():
            return [ordinals[number] for number in elements.numbers.tolist()]
        digits = octets.hexadecimal(own, 12)
        return [
            b'"id","%s"]' % digits[at * 24 : at * 24 + 24] if at_own else ordinals[number]
            for at, (at_own, number) in enumerate(zip(own.tolist(), elements.numbers.tolist(), strict=True))
        ]


@dataclass(frozen=True)
class Agreed:
    """The documents that are agreed on, and of which document each row is, by table; -1 for one of none of them."""

    documents: Mask
    owners: dict[str, Positions]

    def rows_of(self, table: Table) -> Mask:
        """Which rows are those of documents that are agreed on."""
        owners = self.owners[table.name]
        rows: Mask = (owners >= 0) & self.documents[owners]
        return rows


_NONE = np.zeros(0, np.int64)


def _quoted(text: bytes) -> bytes:
    """The text in JSON; of bytes that are no text, anything: nothing in the target is named so."""
    return encode_basestring(text.decode(errors="replace")).encode()


def _steps(path: str) -> Path:
    return tuple(path.split("."))


def _groups_of(octets: Octets, child: Child, elements: Elements) -> list[Group]:
    """Elements of one shape; a scalar is as if it stood at the path "" of a document of its own."""
    if child.kind != "scalars":
        documents = np.flatnonzero(elements.kinds == DOCUMENT)
        groups = walk(octets, elements.values[documents], elements.ends[documents], _texts_below(child))
        return [Group(documents[group.rows], group.leaves) for group in groups]
    (column,) = child.columns
    # A null in an array of scalars has no row, and what a document or an array holds has not been looked at.
    left = {NULL, DOCUMENT} if column.type == "text[]" else {NULL, DOCUMENT, ARRAY}
    by_kind = [(kind, np.flatnonzero(elements.kinds == kind)) for kind in np.unique(elements.kinds).tolist() if kind not in left]
    return [Group(rows, {("",): Leaf(kind, elements.values[rows])}) for kind, rows in by_kind]


def _texts_below(child: Child) -> set[Path]:
    return {_steps(column.path) for column in child.columns if column.type == "text[]"}


def _keys_agree(octets: Octets, elements: Elements, cells: Cells) -> Mask:
    sizes = elements.values - 1 - elements.keys
    same: Mask = (cells.sizes == sizes) & (sizes <= LONGEST_KEY)
    same[same] = octets.same(elements.keys[same], sizes[same], cells.octets, cells.at[same])
    return same


# --- ids -------------------------------------------------------------------------------------------------------------

_ODD = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], np.uint64)


def _mixed(ids: Ids) -> Words:
    """A number for each id, which two ids hardly ever share; where they do, nobody finds them."""
    high, low = ids.T
    mixed: Words = (high ^ high >> np.uint64(29)) * _ODD[0] ^ (low ^ low >> np.uint64(31)) * _ODD[1]
    return mixed


def _differ(ids: Ids) -> Mask:
    """Where an id is the only one of its kind."""
    mixed = _mixed(ids)
    order = np.argsort(mixed)
    ordered = mixed[order]
    twice = np.zeros(len(ids) + 1, np.bool_)
    twice[1:-1] = ordered[1:] == ordered[:-1]
    differ = np.ones(len(ids), np.bool_)
    differ[order] = ~(twice[1:] | twice[:-1])
    return differ


class Places:
    """Where ids stand among others."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids
        mixed = _mixed(ids)
        self._order = np.argsort(mixed)
        self._sorted = mixed[self._order]

    def find(self, wanted: Ids) -> Positions:
        """The place of each, -1 where it is not among them."""
        if not len(self._ids):
            return np.full(len(wanted), -1)
        near = np.minimum(np.searchsorted(self._sorted, _mixed(wanted)), len(self._ids) - 1)
        places = self._order[near]
        return np.where((self._ids[places] == wanted).all(axis=1), places, -1)


def _ids_in(cells: Cells) -> Ids:
    return np.stack([cells.octets.words(">u8", cells.at + start) for start in (0, 8)], axis=1)


# --- documents of one shape against their rows -----------------------------------------------------------------------


class _Shape:
    """What a declaration makes of the documents behind one table."""

    def __init__(self, spec: Collection | Child) -> None:
        self.columns = {_steps(column.path): column for column in spec.columns}
        self.holders = {_steps(child.path) for child in spec.children} if isinstance(spec, Collection) else set()
        self.ignored = {_steps(path) for path in spec.ignored} if isinstance(spec, Collection) else set()
        self.names = {_ID} if isinstance(spec, Collection) or spec.has_source_id else set()
        self.source_id = isinstance(spec, Child) and spec.has_source_id
        self.marks = isinstance(spec, Collection) and spec.tables[0].marks
        paths = [*self.columns, *self.holders, *self.ignored]
        self.inner = {path[:end] for path in paths for end in range(1, len(path))}

    def agrees(self, octets: Octets, group: Group, some: Positions, rows: StoredRows, where: Positions) -> Mask:
        """Of `some` documents of the group, those whose row is what they must become; its place is in `where`, -1 if there is none.

        Their ids, parents and positions are not looked at.
        """
        leaves = {path: leaf.of(some) for path, leaf in group.leaves.items()}
        nobody = np.zeros(len(some), np.bool_)
        if not rows.count or any(leaves[path].kind == ARRAY for path in self.inner if path in leaves):
            return nobody
        found = where >= 0
        for path, column in self.columns.items():
            cells = rows.columns[column.name].of(where)
            if column.type == "jsonb":
                same = None if column.required or column.default is not None else agrees_as_json(octets, leaves, path, cells)
            else:
                same = agrees(column, octets, leaves.get(path), cells)
            if same is None:
                return nobody
            found &= same
        if self.source_id:
            same = agrees(_SOURCE_ID, octets, leaves.get(_ID), rows.columns["source_id"].of(where))
            if same is None:
                return nobody
            found &= same
        if self.marks:
            found &= rows.columns["deleted_at"].of(where).null
        for path, leaf in leaves.items():
            if leaf.kind == STRING and any(path[: len(each)] == each for each in self.ignored):
                found &= _are_texts(octets, leaf)
        kept = agrees_as_json(octets, self._kept(leaves), (), rows.columns["extra"].of(where))
        return nobody if kept is None else found & kept

    def _kept(self, leaves: dict[Path, Leaf]) -> dict[Path, Leaf]:
        """The fields that `extra` keeps, and the documents around them; none where it must be NULL."""
        kept: dict[Path, Leaf] = {}
        for path, leaf in leaves.items():
            above = [path[:end] for end in range(1, len(path) + 1)]
            if any(each in self.columns or each in self.holders or each in self.ignored for each in above):
                continue
            if path in self.names or (path in self.inner and leaf.kind in (DOCUMENT, NULL)):
                continue
            for each in above:
                kept.setdefault(each, leaves[each])
        # The row itself is the document around them.
        return {(): Leaf(DOCUMENT, next(iter(kept.values())).at), **kept} if kept else {}


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
