"""Documents in, the rows they must become and the reasons for those without a row out; batch by batch, column by column."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress
from operator import itemgetter
from typing import Any, NamedTuple

from bson.objectid import ObjectId

from mongo2pg.model import LONGEST_KEY, Child, Collection, Column, Table
from mongo2pg.reference.conversions import as_declared
from mongo2pg.reference.documents import MISSING, read_all, read_id
from mongo2pg.reference.extended_json import dump, json_text
from mongo2pg.reference.ids import element_name, identify, is_own_form, kept, name, named, uuids_of
from mongo2pg.reference.texts import ABSENT, texts_of

# Elements of arrays and maps that become rows at once: a document of 16 MB can hold a million of them.
ELEMENTS_AT_ONCE = 10_000

_SOURCE_ID = Column("_id", "uuid")


class Reject(NamedTuple):
    """Why a document (by its number) or an element of it has no row; `root_id` is None where no `_id` can be read.

    `document_id` is how the books name the document.
    """

    document: int
    document_id: str
    root_id: str | None
    path: str
    reason: str
    element: bool


@dataclass
class Rows:
    """Expected rows of one table, as columns of texts (None is NULL), each with the number of its document."""

    table: Table
    documents: list[int]
    columns: dict[str, list[str | None]] = field(default_factory=dict)
    extra: dict[int, dict[str, Any]] = field(default_factory=dict)

    def keep(self, at: int, path: str | list[str], value: Any) -> None:
        """Puts the value into the row's `extra`."""
        extra = self.extra.setdefault(at, {})
        *above, last = path.split(".") if isinstance(path, str) else path
        for key in above:
            extra = extra.setdefault(key, {})
        extra[last] = value

    def without(self, positions: set[int] | dict[int, Any]) -> Rows:
        """The other rows, `extra` written out."""
        extra = self.extra
        self.columns["extra"] = [json_text(extra[at], keep_nul=True) if at in extra else None for at in range(len(self.documents))]
        if not positions:
            return self
        stays = [at not in positions for at in range(len(self.documents))]
        columns = {name: list(compress(texts, stays)) for name, texts in self.columns.items()}
        return Rows(self.table, list(compress(self.documents, stays)), columns)

    def copy_text(self) -> bytes:
        """The rows as lines of COPY's text format (PostgreSQL manual, COPY, "Text Format"), the document's number first."""
        texts = [_escaped(self.columns[column.name], column.type) for column in self.table.columns]
        lines = "\n".join(map("\t".join, zip(map(str, self.documents), *texts, strict=True)))
        return f"{lines}\n".encode() if self.documents else b""


def _escaped(texts: list[str | None], kind: str) -> list[str]:
    if kind in ("text", "text[]", "jsonb", "bytea"):
        everything = "".join(filter(None, texts))
        for sign, escape in _ESCAPES:
            if sign in everything:
                texts = [text and text.replace(sign, escape) for text in texts]
    return [r"\N" if text is None else text for text in texts]


# The backslash first: it is what the others are escaped with.
_ESCAPES = (("\\", r"\\"), ("\t", r"\t"), ("\n", r"\n"), ("\r", r"\r"))


class Projector:
    """Projects documents of one collection."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.root = collection.tables[0]
        self.children = [
            (child, table, _Shape(child)) for child, table in zip(collection.children, collection.tables[1:], strict=True)
        ]
        self.shape = _Shape(collection)

    def project(self, raws: Sequence[bytes], given: Sequence[int] | None = None) -> Iterator[Rows | Reject]:
        """The rows and rejects of documents with the numbers `given`, or from 0 on; never raises for what is in them."""
        numbers: list[int] = []
        documents: list[dict[str, Any]] = []
        for number, document, raw in zip(given or range(len(raws)), read_all(raws), raws, strict=True):
            if document is None or "_id" not in document:
                yield _malformed(number, raw)
            else:
                numbers.append(number)
                documents.append(document)
        if not documents:
            return
        rows = Rows(self.root, numbers)
        ids = [document["_id"] for document in documents]
        root_ids = uuids_of(ids) if set(map(type, ids)) == {ObjectId} else list(map(identify, ids))
        rows.columns["id"] = [*root_ids]
        for at, _id in _others(ids, {ObjectId}):
            if not is_own_form(_id):
                rows.keep(at, ["_id"], kept(_id))
        rejects = self.shape.fill(rows, documents)
        for child in self.collection.children:
            expected = dict if child.kind == "map" else list
            for at, holder in _others(_pick(documents, child.path), {expected, *ABSENT}):
                rows.keep(at, child.path, holder)
        for at, (path, reason) in rejects.items():
            yield Reject(numbers[at], name(ids[at]), root_ids[at], path, reason, False)
        yield rows.without(rejects)
        for child, table, shape in self.children:
            parents = [
                _Parent(number, root_id, _id, holder)
                for at, (number, root_id, _id, holder) in enumerate(
                    zip(numbers, root_ids, ids, _pick(documents, child.path), strict=True)
                )
                if holder and type(holder) is (dict if child.kind == "map" else list) and at not in rejects
            ]
            seen: set[tuple[int, str]] = set()
            for elements in _portions(child, parents):
                yield from _child_rows(child, table, shape, elements, seen)


def _malformed(number: int, raw: bytes) -> Reject:
    own = read_id(raw)
    if own is MISSING:
        return Reject(number, dump({"$malformed": hashlib.sha256(raw).hexdigest()}), None, "", "malformed", False)
    return Reject(number, name(own), identify(own), "", "malformed", False)


class _Shape:
    """What a declaration expects of the documents behind one table, in the form that columns are filled from."""

    def __init__(self, spec: Collection | Child) -> None:
        self.columns = spec.columns
        declared = [column.path for column in spec.columns]
        if isinstance(spec, Collection):
            declared += [child.path for child in spec.children] + [*spec.ignored]
        steps = [path.split(".") for path in declared]
        # Paths on the way to a declared one: there a document is expected.
        self.inner = {".".join(keys[:end]) for keys in steps for end in range(1, len(keys))}
        named = [*steps, ["_id"]] if isinstance(spec, Collection) or spec.has_source_id else steps
        # The keys that the declaration names, by where they stand.
        self.known: dict[str, set[str]] = {"": set()}
        for keys in named:
            for depth, key in enumerate(keys):
                self.known.setdefault(".".join(keys[:depth]), set()).add(key)

    def fill(self, rows: Rows, documents: Sequence[dict[str, Any]]) -> dict[int, tuple[str, str]]:
        """Fills the declared columns and `extra`; returns path and reason of what takes a row along, by the row's position."""
        rejects: dict[int, tuple[str, str]] = {}
        for column in self.columns:
            originals = _pick(documents, column.path)
            values = [as_declared(value, column) for value in originals] if column.converts else originals
            made = texts_of(values, column)
            rows.columns[column.name] = made.texts
            if column.required and None in made.texts:
                for at, text in enumerate(made.texts):
                    if text is None and at not in made.unfit:
                        rejects.setdefault(at, (column.path, "required"))
            for at, fault in made.unfit.items():
                if column.required:
                    where = f"{column.path}.{fault.below}" if fault.below else column.path
                    rejects.setdefault(at, (where, fault.reason))
                else:
                    rows.keep(at, column.path, originals[at])
            for at in made.kept:
                rows.keep(at, column.path, originals[at])
            if values is not originals:
                for at, (value, original) in enumerate(zip(values, originals, strict=True)):
                    changed = value is not original and original is not None and original is not MISSING
                    if changed and at not in made.unfit:
                        rows.keep(at, column.path, original)
        for path in self.inner:
            for at, value in _others(_pick(documents, path), {dict, *ABSENT}):
                rows.keep(at, path, value)
        for path, keys in self.known.items():
            above = path.split(".") if path else []
            holders = _pick(documents, path) if path else documents
            if set().union(*(each for each in holders if type(each) is dict)) <= keys:
                continue
            for at in [at for at, each in enumerate(holders) if type(each) is dict and not each.keys() <= keys]:
                for key in holders[at].keys() - keys:
                    rows.keep(at, [*above, key], holders[at][key])
        return rejects


def _pick(documents: Sequence[dict[str, Any]], path: str) -> list[Any]:
    """The value at the path in each document; MISSING where there is none."""
    first, *others = path.split(".")
    values: list[Any]
    try:
        values = list(map(itemgetter(first), documents))
    except KeyError:
        values = [document.get(first, MISSING) for document in documents]
    for key in others:
        values = [value.get(key, MISSING) if type(value) is dict else MISSING for value in values]
    return values


def _others(values: Sequence[Any], kinds: set[type]) -> list[tuple[int, Any]]:
    """The values of other types than these, each with its position."""
    if set(map(type, values)) <= kinds:
        return []
    return [(at, value) for at, value in enumerate(values) if type(value) not in kinds]


# --- elements of arrays and maps -------------------------------------------------------------------------------------


class _Parent(NamedTuple):
    number: int
    root_id: str
    own: Any
    holder: Any


@dataclass
class _Elements:
    """Elements of several documents, one list for each fact of them."""

    parents: list[_Parent] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    # (kind, key) of what tells the element apart: its position or key, or its own `_id` where that is alone in the array.
    identities: list[tuple[str, str | int]] = field(default_factory=list)


def _portions(child: Child, parents: Sequence[_Parent]) -> Iterator[_Elements]:
    portion = _Elements()
    for parent in parents:
        named: list[tuple[str, Any, tuple[str, str | int]]]
        if child.kind == "map":
            named = [(key, value, ("key", key)) for key, value in parent.holder.items()]
        else:
            own = _own_ids(parent.holder) if child.has_source_id else {}
            named = [(str(at), value, ("id", own[at]) if at in own else ("ordinal", at)) for at, value in enumerate(parent.holder)]
        for start in range(0, len(named), ELEMENTS_AT_ONCE):
            places, values, identities = zip(*named[start : start + ELEMENTS_AT_ONCE], strict=True)
            portion.parents += [parent] * len(places)
            portion.places += places
            portion.values += values
            portion.identities += identities
            if len(portion.places) >= ELEMENTS_AT_ONCE:
                yield portion
                portion = _Elements()
    if portion.places:
        yield portion


def _own_ids(array: Sequence[Any]) -> dict[int, str]:
    """The elements' own ObjectIds by position, but for those that occur twice in their array."""
    found = {at: item["_id"] for at, item in enumerate(array) if type(item) is dict and type(item.get("_id")) is ObjectId}
    times = Counter(found.values())
    return {at: str(own) for at, own in found.items() if times[own] == 1}


def _child_rows(
    child: Child, table: Table, shape: _Shape, elements: _Elements, seen: set[tuple[int, str]]
) -> Iterator[Rows | Reject]:
    """`seen` are the unique values of the documents so far: an array may come in several portions."""
    rows = Rows(table, [parent.number for parent in elements.parents])
    rows.columns[table.parent_key] = [parent.root_id for parent in elements.parents]
    if child.has_ordinal:
        rows.columns["ordinal"] = list(elements.places)
    if child.kind == "map":
        rows.columns[child.key] = list(elements.places)
    rejects: dict[int, tuple[str, str]]
    if child.kind == "scalars":
        rejects = _fill_scalars(child, rows, elements, seen)
    else:
        documents = [value if type(value) is dict else {} for value in elements.values]
        if child.has_source_id:
            _fill_source_ids(rows, documents)
        rejects = shape.fill(rows, documents)
        for at, (value, place) in enumerate(zip(elements.values, elements.places, strict=True)):
            if type(value) is not dict:
                rejects[at] = ("", "type_mismatch")
            elif child.kind == "map" and len(place.encode()) > LONGEST_KEY:
                rejects[at] = ("", "too_long")
    path_json = dump(child.path)
    rows.columns["id"] = [
        named(element_name(parent.root_id, path_json, kind, key))
        for parent, (kind, key) in zip(elements.parents, elements.identities, strict=True)
    ]
    for at, (path, reason) in sorted(rejects.items()):
        parent = elements.parents[at]
        where = f"{child.path}.{elements.places[at]}" + (f".{path}" if path else "")
        yield Reject(parent.number, name(parent.own), parent.root_id, where, reason, True)
    yield rows.without(rejects)


def _fill_source_ids(rows: Rows, documents: Sequence[dict[str, Any]]) -> None:
    own = [document.get("_id") for document in documents]
    made = texts_of(own, _SOURCE_ID)
    rows.columns["source_id"] = made.texts
    for at in (*made.unfit, *made.kept):
        rows.keep(at, ["_id"], own[at])


def _fill_scalars(child: Child, rows: Rows, elements: _Elements, seen: set[tuple[int, str]]) -> dict[int, tuple[str, str]]:
    (column,) = child.columns
    values = [as_declared(value, column) for value in elements.values] if column.converts else elements.values
    made = texts_of(values, column)
    rows.columns[column.name] = made.texts
    rejects = {at: ("", made.unfit[at].reason if at in made.unfit else "required") for at, t in enumerate(made.texts) if t is None}
    for at in made.kept:
        rows.keep(at, ["value"], elements.values[at])
    for at, (value, original) in enumerate(zip(values, elements.values, strict=True)):
        if value is not original and original is not None and at not in rejects:
            rows.keep(at, ["value"], original)
    if child.unique_value:
        for at, text in enumerate(made.texts):
            if text is None:
                continue
            if (slot := (elements.parents[at].number, text)) in seen:
                rejects[at] = ("", "duplicate_key")
            seen.add(slot)
            elements.identities[at] = ("value", text)
    return rejects
