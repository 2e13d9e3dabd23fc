"""Which documents a filter finds, and in which order; what it does not understand it refuses, and never passes over.

Ranges of `_id` go to the index; everything else is looked up in each document, of which only the fields named are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.documents import Collection, Documents, Positions
from benchmarks.raw_values import (
    ARRAY,
    DOCUMENT,
    MISSING,
    TYPE_NAMES,
    Value,
    bracket,
    decode,
    elements,
    field,
    items,
    number,
    order_key,
)

# Of a document; and of the values that a filter sees at one path of it.
Test = Callable[[bytes], bool]
ValuesTest = Callable[[list[Value]], bool]

# Error codes of mongod: src/mongo/base/error_codes.yml.
BAD_VALUE = 2


class CommandError(Exception):
    """A refusal as the server sends it."""

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(message)
        self.code, self.name = code, name


class Found(NamedTuple):
    """Documents in their order, by their positions."""

    documents: Documents
    positions: Positions

    def cut(self, skip: int, limit: int) -> Found:
        """Without the first `skip`, and no more than `limit` where that is not 0."""
        return Found(self.documents, self.positions[skip : skip + limit if limit else None])


def select(
    collection: Collection,
    query: bytes,
    *,
    sort: bytes = b"",
    low: Value | None = None,
    high: Value | None = None,
    by_id: bool = False,
) -> Found:
    """The documents that match, sorted; `low` and `high` are bounds of the `_id` index as find's min and max have them."""
    on_id, others = _conditions(query)
    if on_id or low or high or by_id:
        found = _range(collection, on_id, low, high)
    else:
        found = Found(collection.natural, range(len(collection.natural)))
    if others:
        found = Found(found.documents, _matching(found, others))
    return _sorted(collection, found, sort) if sort else found


def _range(collection: Collection, conditions: list[tuple[str, Value]], low: Value | None, high: Value | None) -> Found:
    index = collection.by_id
    start, stop = index.position(low) if low else 0, index.position(high) if high else len(index.documents)
    wanted: set[int] | None = None
    for operator, value in conditions:
        if operator == "$in":
            places = [range(index.position(each), index.position(each, after=True)) for each in items(value)]
            here = {at for place in places for at in place}
            wanted = here if wanted is None else wanted & here
            continue
        allowed = index.within(bracket(value))
        before, behind = index.position(value), index.position(value, after=True)
        first, last = {
            "$eq": (before, behind),
            "$gt": (behind, allowed.stop),
            "$gte": (before, allowed.stop),
            "$lt": (allowed.start, before),
            "$lte": (allowed.start, behind),
        }[operator]
        start, stop = max(start, first), min(stop, last)
    positions: Positions = range(start, max(start, stop))
    if wanted is not None:
        positions = np.array(sorted(at for at in wanted if start <= at < stop), np.int64)
    return Found(index.documents, positions)


def _matching(found: Found, conditions: list[Test]) -> Positions:
    kept = []
    for at in found.positions:
        raw = found.documents[at]
        if all(test(raw) for test in conditions):
            kept.append(at)
    return np.array(kept, np.int64)


def _sorted(collection: Collection, found: Found, sort: bytes) -> Found:
    order = [(key.split(b"."), number(value)) for key, value in elements(sort)]
    if not order:
        return found
    if any(direction not in (1, -1) for _, direction in order):
        raise CommandError(BAD_VALUE, "BadValue", "a sort goes by 1 or by -1")
    if [path for path, _ in order] == [[b"_id"]]:
        index = collection.by_id
        if found.documents is not index.documents:
            if len(found.positions) == len(collection.natural):
                found = Found(index.documents, range(len(index.documents)))
            else:
                return _sorted_by_keys(found, order)
        positions = found.positions if order[0][1] == 1 else np.array(found.positions, np.int64)[::-1]
        return Found(found.documents, positions)
    return _sorted_by_keys(found, order)


def _sorted_by_keys(found: Found, order: list[tuple[list[bytes], Any]]) -> Found:
    positions = list(found.positions)
    raws = {at: found.documents[at] for at in positions}
    for path, direction in reversed(order):
        pick = min if direction == 1 else max
        keys = {at: pick((order_key(value) for value in values_at(raw, path)), default=MISSING) for at, raw in raws.items()}
        positions.sort(key=keys.__getitem__, reverse=direction == -1)
    return Found(found.documents, np.array(positions, np.int64))


# --- filters ---------------------------------------------------------------------------------------------------------


def matches(query: bytes, raw: bytes) -> bool:
    """Whether one document matches, `_id` treated as any field."""
    return all(test(raw) for test in _tests(query))


def _conditions(query: bytes) -> tuple[list[tuple[str, Value]], list[Test]]:
    """A filter taken apart: what the index on `_id` answers, and tests of other fields."""
    on_id: list[tuple[str, Value]] = []
    others: list[Test] = []
    for key, value in elements(query):
        if key == b"$and":
            for part in items(value):
                more_on_id, more = _conditions(part.content)
                on_id, others = on_id + more_on_id, others + more
        elif key == b"_id" and value.kind not in (0x0B, ARRAY):
            for operator, operand in _operators(value):
                if operator in ("$eq", "$gt", "$gte", "$lt", "$lte", "$in"):
                    on_id.append((operator, operand))
                else:
                    others.append(_at([b"_id"], _test(operator, operand)))
        else:
            others += _tests_of(key, value)
    return on_id, others


def _tests(query: bytes) -> list[Test]:
    return [test for key, value in elements(query) for test in _tests_of(key, value)]


def _tests_of(key: bytes, value: Value) -> list[Test]:
    if key == b"$and":
        return [test for part in items(value) for test in _tests(part.content)]
    if key == b"$or":
        choices = [_tests(part.content) for part in items(value)]
        return [lambda raw: any(all(test(raw) for test in choice) for choice in choices)]
    if key.startswith(b"$"):
        raise CommandError(BAD_VALUE, "BadValue", f"this server does not know {key.decode()} in a filter")
    return [_at(key.split(b"."), _test(operator, operand)) for operator, operand in _operators(value)]


def _at(path: list[bytes], test: ValuesTest) -> Test:
    return lambda raw: test(values_at(raw, path))


def _operators(value: Value) -> list[tuple[str, Value]]:
    if value.kind == 0x0B:
        return [("$regex", value)]
    pairs = list(elements(value.content)) if value.kind == DOCUMENT else []
    if pairs and all(key.startswith(b"$") for key, _ in pairs):
        return [(key.decode(), operand) for key, operand in pairs]
    return [("$eq", value)]


def _test(operator: str, operand: Value) -> ValuesTest:
    if operator == "$not":
        denied = [_test(*pair) for pair in _operators(operand)]
        return lambda values: not all(test(values) for test in denied)
    if operator == "$type":
        kinds = set().union(*map(_kinds, items(operand) if operand.kind == ARRAY else [operand]))
        return lambda values: any(value.kind in kinds for value in values)
    if operator == "$exists":
        wanted = number(operand) != 0 if operand.kind != 0x08 else operand.content == b"\1"
        return lambda values: bool(values) == wanted
    if operator in ("$in", "$nin"):
        keys = {order_key(each) for each in items(operand)}
        return lambda values: _any_of(keys, values) == (operator == "$in")
    if operator == "$regex":
        pattern = re.compile(operand.content.split(b"\0")[0] if operand.kind == 0x0B else operand.content[4:-1])
        return lambda values: any(each.kind == 0x02 and pattern.search(each.content[4:-1]) for each in values)
    key = order_key(operand)
    if operator in ("$eq", "$ne"):
        return lambda values: _any_of({key}, values) == (operator == "$eq")
    compare: dict[str, Callable[[Any], bool]] = {
        "$gt": lambda other: other > key,
        "$gte": lambda other: other >= key,
        "$lt": lambda other: other < key,
        "$lte": lambda other: other <= key,
    }
    if operator not in compare:
        raise CommandError(BAD_VALUE, "BadValue", f"this server does not know {operator} in a filter")
    fits, within = compare[operator], bracket(operand)
    return lambda values: any(other[: len(within)] == within and fits(other) for other in map(order_key, values))


def _kinds(named: Value) -> set[int]:
    """The BSON types that a name or a number stands for."""
    name = decode(named)
    kinds = {kind for kind, alias in TYPE_NAMES.items() if name in (alias, kind, kind - 256)}
    if not kinds and name != "number":
        raise CommandError(BAD_VALUE, "BadValue", f"Unknown type name alias: {name}")
    return kinds or {0x01, 0x10, 0x12, 0x13}


def _any_of(keys: set[tuple[Any, ...]], values: list[Value]) -> bool:
    return any(order_key(each) in keys for each in values) or (MISSING in keys and not values)


def values_at(raw: bytes, path: list[bytes]) -> list[Value]:
    """The values that a filter sees at a path: an array itself and each of its elements, and into arrays of documents."""
    value = field(raw, path[0])
    if value is None:
        return []
    reached = [value, *items(value)] if value.kind == ARRAY else [value]
    if len(path) == 1:
        return reached
    return [found for each in reached if each.kind == DOCUMENT for found in values_at(each.content, path[1:])]


def plain(value: Value | None, default: Any = None) -> Any:
    """A value of a command in Python, the default where it is not there."""
    return default if value is None else decode(value)
