"""The dirt that is planted, as a table: which field, what is wrong, how often, and what the pipeline must make of it.

The generator plants from this very table, so it cannot say what the data does not hold. A share is exact, never drawn:
of a kind with `every` = 50 the documents at the indexes `phase`, `phase` + 50, `phase` + 100, … carry it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Literal

from bson.objectid import ObjectId

from demo.sample.values import TRICKY_TEXTS, Document
from demo.sample.world import ODD_ID_EVERY, ODD_ID_KINDS, ODD_ID_PLACE, PLACES, SIZES, World

Outcome = Literal["kept", "null", "extra", "misfit", "rejected element", "rejected document"]


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a document is spoilt: what a planted value may be computed from."""

    world: World
    rng: Random
    index: int
    document: Document


Generator = Callable[[World, Random, int], Document]

MISSING = object()
Value = Any | Callable[[Spot], Any]


@dataclass(frozen=True)
class Dirt:
    """One kind of dirt in one collection; `becomes` and `reason` say what the pipeline must make of it.

    `path` leads through documents, never into an array: who spoils an element plants the whole array. Where it names
    two fields (`userId, connectedUserId`) the value is a pair.
    """

    path: str
    what: str
    becomes: Outcome
    reason: str = ""
    collection: str = ""
    every: int = PLACES
    phase: int = 0
    value: Value = field(default=MISSING, repr=False, compare=False)

    @property
    def share(self) -> float:
        return 1 / self.every

    @property
    def takes_a_turn(self) -> bool:
        """Whether it is planted among the rejected documents: also where an element points at nothing, so that no document
        counts on one whose elements wait for what never comes."""
        return self.becomes == "rejected document" or (self.becomes == "rejected element" and self.reason == "orphan")

    def spoil(self, spot: Spot) -> None:
        """Put the planted values where `path` says; MISSING removes the field."""
        value = self.value(spot) if callable(self.value) else self.value
        paths = self.path.split(", ")
        for path, one in zip(paths, value if len(paths) > 1 else (value,), strict=True):
            *parents, last = path.split(".")
            target = spot.document
            for step in parents:
                target = target.setdefault(step, {})
            if one is MISSING:
                target.pop(last, None)
            else:
                target[last] = one


def kept(path: str, value: Value, what: str, every: int = PLACES) -> Dirt:
    """It loads as it is: references in another form, odd ids, texts and shapes that need care."""
    return Dirt(path, what, "kept", every=every, value=value)


def null(path: str, value: Value = MISSING, what: str = "missing", every: int = PLACES) -> Dirt:
    """The column is NULL, or the array gives no rows; nothing is counted."""
    return Dirt(path, what, "null", every=every, value=value)


def extra(path: str, value: Value, what: str = "a field that nobody declared", every: int = PLACES) -> Dirt:
    """A field that no column takes: it is in `extra`, nothing is counted."""
    return Dirt(path, what, "extra", every=every, value=value)


def misfit(path: str, value: Value, what: str, reason: str = "type_mismatch", every: int = PLACES) -> Dirt:
    """The column is NULL, the original is in `extra`, counted under the reason."""
    return Dirt(path, what, "misfit", reason, every=every, value=value)


def element(path: str, value: Value, what: str, reason: str = "type_mismatch", every: int = PLACES) -> Dirt:
    """Elements of the array (or a key of the map) are rejected alone, with the reason; the others load."""
    return Dirt(path, what, "rejected element", reason, every=every, value=value)


def document(path: str, value: Value, what: str, reason: str) -> Dirt:
    """The document is rejected whole, with the reason."""
    return Dirt(path, what, "rejected document", reason, value=value)


def tricky(path: str) -> Dirt:
    """Texts that need care, each in turn."""
    return kept(path, lambda spot: TRICKY_TEXTS[spot.index // PLACES % len(TRICKY_TEXTS)], "text that needs care")


def hex_reference(path: str, every: int = PLACES) -> Dirt:
    """The reference that is there, stored as the 24 hex digits of the ObjectId (an odd `_id` has none and stays)."""

    def digits(spot: Spot) -> Any:
        value = spot.document[path]
        return str(value) if isinstance(value, ObjectId) else value

    return kept(path, digits, "a reference as a 24-hex string", every)


def no_owner(ways: int = 5) -> tuple[Dirt, ...]:
    """The ways in which the owner fails: not there, of a type that is no id, or pointing at nobody; the first few of them."""
    path = "userId"
    return (
        document(path, MISSING, "missing", "required"),
        document(path, lambda spot: spot.world.ghost("users", spot.index), "a user who was deleted", "orphan"),
        document(path, None, "null", "required"),
        document(path, lambda spot: spot.world.rejected("users", spot.index), "a user who is rejected", "orphan"),
        document(path, lambda spot: [spot.world.some(spot.rng, "users")], "an array", "type_mismatch"),
    )[:ways]


def ghost_reference(path: str, collection: str, every: int = PLACES) -> Dirt:
    """An optional reference to a document that was deleted."""
    return misfit(path, lambda spot: spot.world.ghost(collection, spot.index), "a reference to nothing", "orphan", every)


def twin_id(collection: str) -> Dirt:
    """An `_id` that is the hex string of the ObjectId before it: two documents, one UUID; the ObjectId comes later and loses."""
    return document(
        "_id",
        lambda spot: str(spot.world.object_id(collection, spot.index - 1)),
        "the 24-hex string of another document's ObjectId (that one sorts later and is rejected)",
        "duplicate_key",
    )


def planted(collection: str, *kinds: Dirt) -> tuple[Dirt, ...]:
    """The kinds with the indexes that carry them: places apart for those that load, turns at the last place for rejects."""
    rejects = [kind for kind in kinds if kind.takes_a_turn]
    others = [kind for kind in kinds if not kind.takes_a_turn]
    step = SIZES[collection].reject_every
    table = [replace(kind, every=step * len(rejects), phase=step * (turn + 1) - 1) for turn, kind in enumerate(rejects)]
    # 7 and 47 have no common factor: up to 47 kinds get places of their own, spread over the whole range.
    table += [replace(kind, phase=(7 * number + 3) % ODD_ID_PLACE) for number, kind in enumerate(others)]
    if SIZES[collection].odd_ids:
        table += [
            Dirt("_id", f"an _id of type {kind}", "kept", every=ODD_ID_EVERY * len(ODD_ID_KINDS),
                 phase=ODD_ID_EVERY * turn + ODD_ID_PLACE, value=lambda spot: spot.world.id(collection, spot.index))
            for turn, kind in enumerate(ODD_ID_KINDS)
        ]  # fmt: skip
    if len(others) > ODD_ID_PLACE or any(kind.every % PLACES for kind in table):
        raise ValueError(f"{collection}: at most {ODD_ID_PLACE} kinds, each in one of a multiple of {PLACES} documents")
    return tuple(replace(kind, collection=collection) for kind in table)


class Schedule:
    """Answers which kind of dirt, if any, the document at an index carries."""

    def __init__(self, kinds: tuple[Dirt, ...]) -> None:
        self._places: list[list[Dirt]] = [[] for _ in range(PLACES)]
        for kind in kinds:
            self._places[kind.phase % PLACES].append(kind)

    def at(self, index: int) -> Dirt | None:
        return next((kind for kind in self._places[index % PLACES] if index % kind.every == kind.phase), None)
