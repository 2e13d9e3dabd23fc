"""What a domain is: collections, and the tables that their documents become.

Declarations are frozen and complete: a wrong one fails when it is constructed, with the place and the way out, so
that no stage after this one has to ask whether a declaration makes sense. No module here imports Airflow or a driver.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Literal, get_args

from mongo2pg.errors import DeclarationError

ColumnType = Literal[
    "bigint", "boolean", "bytea", "double precision", "integer", "jsonb", "numeric", "text", "text[]", "timestamptz", "uuid"
]
ChildKind = Literal["documents", "scalars", "map"]
DeletePolicy = Literal["delete", "mark", "ignore"]

COLUMN_TYPES: frozenset[str] = frozenset(get_args(ColumnType))
# PostgreSQL cuts identifiers at NAMEDATALEN - 1 bytes without a word (manual, 4.1.1 "Identifiers and Key Words").
MAX_NAME_BYTES = 63

# Bytes that the texts of one UNIQUE key may have together. An entry of a B-tree holds 2,704 (manual, 64.1.4 "Implementation"),
# which leaves the rest for ids, numbers and the entry itself. Compression may get more in, but nobody can say so beforehand.
LONGEST_KEY = 2_600

_NUMBERS = ("bigint", "double precision", "integer", "numeric")
# Values of these may be longer than an entry of an index.
_UNBOUNDED = ("bytea", "jsonb", "numeric", "text[]")
_BITS = {"integer": 32, "bigint": 64}
# Up to here every whole number is a double.
EXACT_DOUBLES = 1 << 53
_DEFAULTS: dict[str, tuple[type, ...]] = {
    "text": (str,), "boolean": (bool,), **dict.fromkeys(_NUMBERS, (int, float)), **dict.fromkeys(_BITS, (int,))
}  # fmt: skip


def snake_case(path: str) -> str:
    """`lastPRDate` → `last_pr_date`, `daily.canCashIn` → `daily_can_cash_in`: the contract's rule for column names."""
    words = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", path.replace(".", "_"))
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words).lower()


@dataclass(frozen=True)
class Column:
    """One column and the field that fills it.

    `path` is the field's path from the row's own document (`metadata.mutualConnections`), or "" for the value itself
    where a child row comes from an array of scalars. `name` defaults to the path in snake case. `references` names the
    table whose `id` this column holds: such a column takes whatever may be an `_id` in MongoDB. Where the named row may be
    gone for good (a history outlives what it tells of), `judged` is false: then nothing is rejected or cleared for it.

    Conversions, each of which is counted and shown in the report: `nul` says what becomes of U+0000 in text, `parse` reads
    numbers and ISO 8601 dates out of strings, `aliases` maps old spellings to values of the enum, `default` stands in for
    a value that is missing or null.

    `longest` is never declared: the collection or child sets it for a text that a UNIQUE key holds, in bytes.
    """

    path: str
    type: ColumnType
    name: str = ""
    required: bool = False
    sensitive: bool = False
    enum: tuple[str, ...] = ()
    references: str = ""
    judged: bool = True
    nul: Literal["misfit", "remove", "replace"] = "misfit"
    parse: bool = False
    aliases: tuple[tuple[str, str], ...] = ()
    default: str | int | float | bool | None = None
    longest: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or snake_case(self.path))
        place = f"column {self.name or self.path!r}"
        if self.type not in COLUMN_TYPES:
            raise DeclarationError(place, f"unknown type {self.type!r}", f"Use one of {', '.join(sorted(COLUMN_TYPES))}.")
        if self.path and not all(self.path.split(".")):
            raise DeclarationError(place, f"the path {self.path!r} has an empty step", "Write the keys joined by single dots.")
        if not isinstance(self.enum, tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in self.aliases):
            raise DeclarationError(
                place,
                f"enum={self.enum!r}, aliases={self.aliases!r}",
                'Write ("one", "two") and (("old", "new"),), commas included.',
            )
        if self.enum and self.type not in ("text", "text[]"):
            raise DeclarationError(place, f"an enum on a column of type {self.type}", "Only text and text[] take an enum.")
        if any("\0" in value for value in self.enum):
            raise DeclarationError(place, "U+0000 in a value of the enum", "PostgreSQL stores no such text: map it by an alias.")
        if self.references and self.type != "uuid":
            raise DeclarationError(place, f"a reference of type {self.type}", "Ids are uuid: declare the type as uuid.")
        self._check_conversions(place)
        if not self.judged and not self.references:
            raise DeclarationError(place, "judged=False without a reference", "Name the table that it refers to, or leave it out.")
        _check_name(place, self.name)

    @property
    def converts(self) -> bool:
        """Whether a conversion is declared."""
        return self.nul != "misfit" or self.parse or bool(self.aliases) or self.default is not None

    def _check_conversions(self, place: str) -> None:
        if self.nul not in ("misfit", "remove", "replace"):
            raise DeclarationError(place, f"unknown policy nul={self.nul!r}", "Use misfit, remove or replace.")
        if self.nul != "misfit" and self.type not in ("text", "text[]"):
            raise DeclarationError(place, f"nul={self.nul!r} on a column of type {self.type}", "Only text and text[] hold U+0000.")
        if self.parse and self.type not in (*_NUMBERS, "timestamptz"):
            raise DeclarationError(place, f"parse on a column of type {self.type}", "Only numbers and dates are parsed.")
        if [name for _, name in self.aliases if name not in self.enum]:
            raise DeclarationError(place, "an alias of a value that the enum lacks", "Map aliases to values of the enum.")
        if self.default is not None and not self._holds_default():
            raise DeclarationError(
                place, f"the default {self.default!r} on a column of type {self.type}", "Give a value that the column holds."
            )

    def _holds_default(self) -> bool:
        value, bits = self.default, _BITS.get(self.type)
        if type(value) not in _DEFAULTS.get(self.type, ()) or (isinstance(value, str) and "\0" in value):
            return False
        if bits and isinstance(value, int):
            return -(1 << bits - 1) <= value < 1 << bits - 1
        if self.type == "double precision" and isinstance(value, int) and abs(value) > EXACT_DOUBLES:
            return False
        return not self.enum or value in self.enum


@dataclass(frozen=True)
class Child:
    """A child table: a row for each element of the array, or each key of the map, at `path` of the root document.

    `documents` and `map` fill `columns` from each embedded document; `scalars` fills its single column (path "") from
    the element. `key` names the column that holds a map's key. `unique_value` says that a value occurs once per
    parent: of a repeated one the first stays. `parent_key` defaults to the singular of the parent's table plus `_id`.
    """

    table: str
    path: str
    kind: ChildKind
    columns: tuple[Column, ...]
    key: str = ""
    unique_value: bool = False
    parent_key: str = ""

    def __post_init__(self) -> None:
        place = f"child table {self.table}"
        _check_name(place, self.table)
        if self.kind not in get_args(ChildKind):
            raise DeclarationError(place, f"unknown kind {self.kind!r}", f"Use one of {', '.join(get_args(ChildKind))}.")
        if not self.path or not all(self.path.split(".")):
            raise DeclarationError(place, f"no usable path ({self.path!r})", "Name the array or map that the rows come from.")
        if any(key.startswith("$") for key in self.path.split(".")):
            raise DeclarationError(
                place, f"a key that begins with $ in the path {self.path!r}", "No query can count what is there: map it as jsonb."
            )
        if self.kind == "map" and not self.key:
            raise DeclarationError(place, "a map without a key column", 'Name the column of the map\'s key: key="…".')
        if self.kind != "map" and self.key:
            raise DeclarationError(place, f"a key column on a child of kind {self.kind}", "Only maps have keys: leave it out.")
        if self.kind == "scalars" and [column.path for column in self.columns] != [""]:
            raise DeclarationError(place, "an array of scalars without its one value column", 'Give one Column(path="", …).')
        if self.unique_value and self.kind != "scalars":
            raise DeclarationError(place, f"unique_value on a child of kind {self.kind}", "It is for arrays of scalars.")
        if self.unique_value and self.columns[0].type != "text":
            raise DeclarationError(
                place, f"unique_value on a column of type {self.columns[0].type}", "Only text tells elements apart."
            )
        if self.kind != "scalars":
            _check_paths(place, [column.path for column in self.columns])
        if self.unique_value:
            object.__setattr__(self, "columns", (replace(self.columns[0], longest=LONGEST_KEY),))

    @property
    def key_column(self) -> Column:
        """The column of a map's key."""
        return Column("", "text", self.key, required=True, longest=LONGEST_KEY)

    @property
    def has_ordinal(self) -> bool:
        return self.kind != "map"

    @property
    def has_source_id(self) -> bool:
        return self.kind == "documents"


@dataclass(frozen=True)
class Collection:
    """A collection, the root table that its documents become, and the child tables of its arrays and maps.

    `unique` lists the UNIQUE keys of the root table by column names. `ignored` lists the paths that are dropped on
    purpose; whatever is neither mapped nor ignored goes to `extra`. `change_key` is the field of the root document that
    tells when it changed: a date, or `_id` with its ObjectId. A document without one (missing, null, of another type) lies in
    no window; `unkeyed` says what finds it: the time inside its `_id` (then its later changes are reconcile's), or reconcile
    alone. Windows count such documents in either case. A collection that `optional` marks may be missing at the source;
    `append_only` tells readers that the services never change a document of it, and nothing relies on that.

    `deletes` says what becomes of a row whose document is gone: it goes too (`delete`), or it stays and `deleted_at` says
    when its document was missed (`mark`). `ignore` is for a collection that a TTL index trims: `expires` names the date
    that the index counts from and its seconds, rows that are older stay, and a document that went earlier was deleted.
    """

    name: str
    table: str
    change_key: str
    columns: tuple[Column, ...]
    children: tuple[Child, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()
    ignored: tuple[str, ...] = ()
    append_only: bool = False
    optional: bool = False
    unkeyed: Literal["id_time", "reconcile"] = "id_time"
    deletes: DeletePolicy = "delete"
    expires: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        place = f"collection {self.name}"
        _check_name(place, self.table)
        self._check_deletes(place)
        if not isinstance(self.ignored, tuple) or not all(isinstance(key, tuple) for key in (self.unique, *self.unique)):
            raise DeclarationError(
                place,
                f"ignored={self.ignored!r}, unique={self.unique!r}",
                'Write ("one", "two") and (("one",), ("two", "three")), commas included.',
            )
        paths = [c.path for c in self.columns] + [c.path for c in self.children] + list(self.ignored)
        _check_paths(place, ["_id", *paths])
        if not self.change_key or "." in self.change_key or self.change_key.startswith("$"):
            raise DeclarationError(
                place, f"{self.change_key!r} is no field of the root document", "Name one as the change key, or _id."
            )
        if self.unkeyed not in ("id_time", "reconcile"):
            raise DeclarationError(place, f"unknown policy unkeyed={self.unkeyed!r}", "Use id_time or reconcile.")
        self._check_unique(place)
        object.__setattr__(self, "columns", self._bounded())
        for table in self.tables:
            seen: set[str] = set()
            for spec in table.stored:
                if spec.name in seen:
                    raise DeclarationError(
                        f"table {table.name}", f"two columns are called {spec.name!r}", "Give one a name of its own."
                    )
                seen.add(spec.name)

    def _check_unique(self, place: str) -> None:
        names = {column.name: column for column in self.columns}
        if twice := [key for key in self.unique if not key or len(set(key)) < len(key)]:
            raise DeclarationError(place, f"the unique key {twice[0]!r}", "Name one column or several, each once.")
        for name in (name for key in self.unique for name in key):
            if name not in names:
                raise DeclarationError(place, f"unique key on the unknown column {name!r}", "Name a declared column.")
            if not names[name].required:
                raise DeclarationError(place, f"unique key on the optional column {name!r}", "Declare it required.")
            if names[name].type in _UNBOUNDED:
                kind = names[name].type
                raise DeclarationError(
                    place, f"unique key on the column {name!r} of type {kind}", "No index holds all its values: leave it out."
                )

    def _bounded(self) -> tuple[Column, ...]:
        """The columns, with texts of unique keys so short that an index holds them."""
        names = {column.name: column for column in self.columns}
        for key in self.unique:
            texts = [name for name in key if names[name].type == "text"]
            for name in texts:
                longest = min(LONGEST_KEY // len(texts), names[name].longest or LONGEST_KEY)
                names[name] = replace(names[name], longest=longest)
        return tuple(names[column.name] for column in self.columns)

    def _check_deletes(self, place: str) -> None:
        if self.deletes not in get_args(DeletePolicy):
            raise DeclarationError(place, f"unknown policy deletes={self.deletes!r}", "Use delete, mark or ignore.")
        if (self.deletes == "ignore") != (self.expires is not None):
            raise DeclarationError(
                place,
                "deletes='ignore' without expires, or the other way round",
                "Give both where a TTL index trims, or neither.",
            )
        if self.expires and not [c for c in self.columns if c.path == self.expires[0] and c.type == "timestamptz"]:
            raise DeclarationError(place, f"no date at {self.expires[0]!r}", "Name the field that the TTL index counts from.")
        if self.deletes == "mark" and self.unique:
            raise DeclarationError(
                place, "deletes='mark' with a unique key", "A marked row would keep its key from a living document: use delete."
            )

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The tables in load order: the root first."""
        root = Table(
            self.table,
            (
                Column("_id", "uuid", "id", required=True),
                *self.columns,
                Column("", "jsonb", "extra", sensitive=any(c.sensitive for c in self.columns)),
            ),
            unique=self.unique,
            marks=self.deletes == "mark",
        )
        return (root, *(self._child_table(child) for child in self.children))

    def _child_table(self, child: Child) -> Table:
        parent_key = child.parent_key or f"{self.table.removesuffix('s')}_id"
        columns = [Column("", "uuid", "id", required=True), Column("", "uuid", parent_key, required=True, references=self.table)]
        unique: list[tuple[str, ...]] = []
        if child.has_ordinal:
            columns.append(Column("", "integer", "ordinal", required=True))
            unique.append((parent_key, "ordinal"))
        if child.has_source_id:
            columns.append(Column("_id", "uuid", "source_id"))
        if child.kind == "map":
            columns.append(child.key_column)
            unique.append((parent_key, child.key))
        if child.unique_value:
            unique.append((parent_key, child.columns[0].name))
        columns += [*child.columns, Column("", "jsonb", "extra", sensitive=any(c.sensitive for c in child.columns))]
        return Table(child.table, tuple(columns), unique=tuple(unique), child=child, parent_key=parent_key)

    @cached_property
    def fingerprint(self) -> str:
        """Changes whenever the declaration does: frames made by another declaration are refused by load."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Table:
    """A target table with all its columns in the order of its frames; made by `Collection`, never declared by hand."""

    name: str
    columns: tuple[Column, ...]
    unique: tuple[tuple[str, ...], ...] = ()
    child: Child | None = None
    parent_key: str = ""
    marks: bool = False

    @property
    def owner(self) -> str:
        """The column that names the root row of a row's document."""
        return self.parent_key or "id"

    @cached_property
    def stored(self) -> tuple[Column, ...]:
        """The columns in PostgreSQL: those of the frames, and `deleted_at` where rows of vanished documents are marked."""
        return (*self.columns, DELETED_AT) if self.marks else self.columns

    @cached_property
    def references(self) -> tuple[Column, ...]:
        """The columns whose reference is judged; a child's own parent key is not among them."""
        return tuple(c for c in self.columns if c.references and c.judged and c.name != self.parent_key)


@dataclass(frozen=True)
class Domain:
    """One service: the collections that its DAG moves together.

    `in_reference_order` has each after those that its required references point to.
    """

    name: str
    collections: tuple[Collection, ...]
    description: str = ""
    in_reference_order: tuple[Collection, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_name(f"domain {self.name}", self.name)
        for kind, names in (
            ("collection", [collection.name for collection in self.collections]),
            ("table", [table.name for table in self.tables]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise DeclarationError(f"domain {self.name}", f"the {kind} {twice[0]} is declared twice", "Rename or remove one.")
        object.__setattr__(self, "in_reference_order", self._in_reference_order())

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        return tuple(table for collection in self.collections for table in collection.tables)

    def _in_reference_order(self) -> tuple[Collection, ...]:
        names = {collection.table: collection.name for collection in self.collections}
        graph = {
            collection.name: {
                names[column.references]
                for table in collection.tables
                for column in table.references
                if column.required and column.references in names and column.references != collection.table
            }
            for collection in self.collections
        }
        try:
            return tuple(map(self.collection, TopologicalSorter(graph).static_order()))
        except CycleError as fault:
            circle = " → ".join(fault.args[1])
            raise DeclarationError(
                f"domain {self.name}", f"required references go in a circle: {circle}", "Declare one of them as optional."
            ) from None

    def check_references(self, neighbours: Iterable[Domain]) -> None:
        """Raises DeclarationError where a judged reference names no root table of this domain or its neighbours."""
        known = {collection.table for domain in (self, *neighbours) for collection in domain.collections}
        for table in self.tables:
            for column in table.references:
                if column.references not in known:
                    raise DeclarationError(
                        f"column {column.name} of {table.name}",
                        f"a reference to {column.references!r}, which is no collection's table",
                        "Name one of this domain or of one beside it, or declare judged=False.",
                    )

    def only(self, names: Iterable[str]) -> Domain:
        """The same domain with these collections and no others."""
        wanted = set(names)
        return replace(self, collections=tuple(collection for collection in self.collections if collection.name in wanted))

    def collection(self, name: str) -> Collection:
        """The collection called `name`; KeyError where there is none."""
        return {collection.name: collection for collection in self.collections}[name]


def _check_name(place: str, name: str) -> None:
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        raise DeclarationError(place, f"{name!r} is no plain SQL name", "Use lower-case letters, digits and underscores.")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise DeclarationError(place, f"the name {name!r} is over {MAX_NAME_BYTES} bytes", "Give it a shorter name.")


def _check_paths(place: str, paths: list[str]) -> None:
    """Each column has a field, and each field one destination: no path twice, none below another."""
    if "" in paths:
        raise DeclarationError(place, "a column without a path", "Name its field: only the value of an array of scalars has none.")
    ordered = sorted(paths, key=lambda path: path.split("."))
    for path, following in itertools.pairwise(ordered):
        if path == following:
            raise DeclarationError(place, f"the path {path!r} is used twice", "A field goes to one place: drop one of the two.")
        if following.startswith(path + "."):
            raise DeclarationError(
                place, f"the path {following!r} lies below {path!r}, which is mapped whole", "Map either the whole or its parts."
            )


# When the document of a row was missed first; NULL in every row whose document is there.
DELETED_AT = Column("", "timestamptz", "deleted_at")
