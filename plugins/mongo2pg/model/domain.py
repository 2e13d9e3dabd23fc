"""One service: collections that move together, in the order of their references."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from mongo2pg.errors import DeclarationError
from mongo2pg.model.collection import Collection, Table
from mongo2pg.model.names import check_name


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
        check_name(f"domain {self.name}", self.name)
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
        by_table = {collection.table: collection for collection in self.collections}
        try:
            return tuple(by_table[table] for table in TopologicalSorter(_needed(self.collections)).static_order())
        except CycleError as fault:
            raise self._circle(fault.args[1]) from None

    def _circle(self, tables: Sequence[str]) -> DeclarationError:
        circle = " → ".join(tables)
        return DeclarationError(
            f"domain {self.name}", f"required references go in a circle: {circle}", "Declare one of them as optional."
        )

    def check_references(self, neighbours: Sequence[Domain]) -> None:
        """Raises DeclarationError where a judged reference names no root table of this domain or its neighbours, and where required
        ones lead through neighbours back to this domain: of documents that need each other neither domain could be the first. So
        it does where a neighbour has a table of this domain: each would take the other's rows out.
        """
        own = {table.name for table in self.tables}
        for other in neighbours:
            if other.name != self.name and (both := sorted(own.intersection(table.name for table in other.tables))):
                raise DeclarationError(
                    f"domain {self.name}",
                    f"the table {both[0]} is declared in the domain {other.name}, too",
                    "Rename or remove one.",
                )
        known = {collection.table: collection for domain in (self, *neighbours) for collection in domain.collections}
        for table in self.tables:
            for column in table.references:
                if column.references not in known:
                    raise DeclarationError(
                        f"column {column.name} of {table.name}",
                        f"a reference to {column.references!r}, which is no collection's table",
                        "Name one of this domain or of one beside it, or declare judged=False.",
                    )
        try:
            TopologicalSorter(_needed(known.values())).prepare()
        except CycleError as fault:
            if not own.isdisjoint(fault.args[1]):
                raise self._circle(fault.args[1]) from None

    def only(self, names: Iterable[str]) -> Domain:
        """The same domain with these collections and no others."""
        wanted = set(names)
        return replace(self, collections=tuple(collection for collection in self.collections if collection.name in wanted))

    def collection(self, name: str) -> Collection:
        """The collection called `name`; KeyError where there is none."""
        return {collection.name: collection for collection in self.collections}[name]


def _needed(collections: Iterable[Collection]) -> dict[str, set[str]]:
    """By the root table of each of these collections those of others among them that its required references point to."""
    among = list(collections)
    tables = {collection.table for collection in among}
    return {
        collection.table: {
            column.references for table in collection.tables for column in table.references if column.required
        }.intersection(tables - {collection.table})
        for collection in among
    }
