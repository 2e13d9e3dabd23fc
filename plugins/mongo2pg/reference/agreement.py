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
from dataclasses import dataclass, replace
from itertools import pairwise
from json.encoder import encode_basestring

import numpy as np

from mongo2pg.model import LONGEST_KEY, Child, Collection, Table
from mongo2pg.reference.arrays import Elements, elements_of
from mongo2pg.reference.cells import Cells, StoredRows
from mongo2pg.reference.declared import ID, Declared, steps
from mongo2pg.reference.extended_json import dump
from mongo2pg.reference.fields import Documents, documents_between
from mongo2pg.reference.id_words import Ids, ids_of
from mongo2pg.reference.ids import NAMESPACE
from mongo2pg.reference.octets import Mask, Octets, Positions, Words
from mongo2pg.reference.walk import ARRAY, DOCUMENT, NULL, OBJECT_ID, Group, Leaf, Path


class Agreement:
    """Documents of one collection, which are many and small enough to be in memory a few times over."""

    def __init__(self, collection: Collection, content: bytes, bounds: Positions) -> None:
        """`content` are the documents one after the other; `bounds` are 0 and their ends."""
        self._collection = collection
        starts, stops = bounds[:-1], bounds[1:]
        self._octets = Octets(content)
        whole = {steps(child.path) for child in collection.children}
        whole |= {steps(column.path) for column in collection.columns if column.type == "text[]"}
        self._documents = documents_between(self._octets, starts, stops, whole)
        self._ids = np.zeros((len(starts), 2), np.uint64)
        self._open = np.zeros(len(starts), np.bool_)
        for documents in self._documents:
            for holders, leaf in documents.values(ID):
                if (ids := ids_of(self._octets, leaf)) is not None:
                    self._ids[documents.rows[holders]], self._open[documents.rows[holders]] = ids
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
            table.name: Places(self._ids).find(_ids_in(stored[table.name].columns[table.owner]))
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
        declared = Declared(self._collection)
        for documents in self._documents:
            going = documents.of(found[documents.rows])
            found[going.rows] = declared.agrees(self._octets, going, stored[root.name], where[going.rows])
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
        parts = _elements_between(self._octets, child, elements)
        for part in parts if child.has_source_id else ():
            for holders, leaf in part.values(ID):
                if leaf.kind == OBJECT_ID:
                    own[part.rows[holders]] = leaf.at
        ids = self._element_ids(child, elements, owners, own)
        where = Places(_ids_in(stored.columns["id"])).find(ids)
        good = np.zeros(len(owners), np.bool_)
        declared = Declared(child)
        for part in parts:
            good[part.rows] = declared.agrees(self._octets, part, stored, where[part.rows])
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
        kind, path = DOCUMENT if child.kind == "map" else ARRAY, steps(child.path)
        rows, at = [_NONE], [_NONE]
        for documents in self._documents:
            for holders, leaf in documents.values(path):
                if leaf.kind == kind:
                    rows.append(documents.rows[holders])
                    at.append(leaf.at)
                elif leaf.kind != NULL:
                    self._open[documents.rows[holders]] = False
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


def _elements_between(octets: Octets, child: Child, elements: Elements) -> list[Documents]:
    """The elements that are documents; a scalar is as if it stood at the path "" of a document of its own."""
    if child.kind != "scalars":
        rows = np.flatnonzero(elements.kinds == DOCUMENT)
        parts = documents_between(octets, elements.values[rows], elements.ends[rows], _texts_below(child))
        return [replace(part, rows=rows[part.rows]) for part in parts]
    (column,) = child.columns
    # A null in an array of scalars has no row, and what a document or an array holds has not been looked at.
    left = {NULL, DOCUMENT} if column.type == "text[]" else {NULL, DOCUMENT, ARRAY}
    by_kind = [(kind, np.flatnonzero(elements.kinds == kind)) for kind in np.unique(elements.kinds).tolist() if kind not in left]
    return [Group(rows, {("",): Leaf(kind, elements.values[rows])}) for kind, rows in by_kind]


def _texts_below(child: Child) -> set[Path]:
    return {steps(column.path) for column in child.columns if column.type == "text[]"}


def _keys_agree(octets: Octets, elements: Elements, cells: Cells) -> Mask:
    sizes = elements.values - 1 - elements.keys
    return cells.same(octets, elements.keys, sizes) & (sizes <= LONGEST_KEY)


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
