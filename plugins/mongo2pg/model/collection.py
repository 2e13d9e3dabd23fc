"""A collection, its children, and the tables that follow from both."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

from mongo2pg.errors import DeclarationError
from mongo2pg.model.column import DELETED_AT, Column
from mongo2pg.model.names import check_name, check_paths

ChildKind = Literal["documents", "scalars", "map"]
DeletePolicy = Literal["delete", "mark", "ignore"]


# Bytes that the texts of one UNIQUE key may have together. An entry of a B-tree holds 2,704 (manual, 64.1.4 "Implementation"),
# which leaves the rest for ids, numbers and the entry itself. Compression may get more in, but nobody can say so beforehand.
LONGEST_KEY = 2_600

# Values of these may be longer than an entry of an index.
_UNBOUNDED = ("bytea", "jsonb", "numeric", "text[]")


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
        check_name(place, self.table)
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
            check_paths(place, [column.path for column in self.columns])
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
        check_name(place, self.table)
        self._check_deletes(place)
        if not isinstance(self.ignored, tuple) or not all(isinstance(key, tuple) for key in (self.unique, *self.unique)):
            raise DeclarationError(
                place,
                f"ignored={self.ignored!r}, unique={self.unique!r}",
                'Write ("one", "two") and (("one",), ("two", "three")), commas included.',
            )
        paths = [c.path for c in self.columns] + [c.path for c in self.children] + list(self.ignored)
        check_paths(place, ["_id", *paths])
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
