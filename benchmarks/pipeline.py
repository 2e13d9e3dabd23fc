"""Aggregations as the mover, its verifier and the peers send them: counts, samples, sizes and lengths of arrays."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.documents import Collection, Documents
from benchmarks.query import CommandError, Found, plain, select
from benchmarks.raw_values import (
    ARRAY,
    DOCUMENT,
    TYPE_NAMES,
    Value,
    array,
    at_path,
    document,
    elements,
    encode,
    field,
    followed,
    is_true,
    items,
    length,
    number,
    order_key,
)

Expression = Callable[[bytes], Value | None]

# mongod's codes of these faults, from its sources.
SIZE_OF_NO_ARRAY, NO_SUCH_STAGE, NO_SUCH_EXPRESSION = 17124, 40324, 168


def run(collection: Collection, stages: list[Value], name: bytes, chance: random.Random) -> Found:
    """What the stages leave of the collection's documents."""
    found = Found(collection.natural, range(len(collection.natural)))
    source = collection
    for stage in stages:
        ((key, value),) = elements(stage.content)
        operator = key.decode()
        if operator == "$match":
            found = select(_collection(source, found), value.content)
        elif operator == "$sort":
            found = select(_collection(source, found), _EMPTY, sort=value.content)
        elif operator in ("$limit", "$skip"):
            count = int(plain(value))
            found = found.cut(0, count) if operator == "$limit" else found.cut(count, 0)
        elif operator == "$sample":
            size = min(int(plain(field(value.content, b"size"))), len(found.positions))
            picked = [found.positions[at] for at in chance.sample(range(len(found.positions)), size)]
            found = Found(found.documents, np.array(picked, np.int64))
        else:
            source = Collection(_made(operator, value, found, collection, name))
            found = Found(source.natural, range(len(source.natural)))
    return found


def _made(operator: str, value: Value, found: Found, collection: Collection, name: bytes) -> list[bytes]:
    """The new documents that a stage makes."""
    if operator == "$project":
        return project(found, value.content)
    if operator == "$group":
        return _group(found, value.content)
    if operator == "$count":
        return _count(found, plain(value))
    if operator == "$collStats":
        return [_statistics(collection, name)]
    raise CommandError(NO_SUCH_STAGE, "Location40324", f"this server does not know the stage {operator}")


_EMPTY = document([])


def _collection(source: Collection, found: Found) -> Collection:
    if found.documents is source.natural and isinstance(found.positions, range) and len(found.positions) == len(source.natural):
        return source
    return Collection([found.documents[at] for at in found.positions])


def statistics(documents: Documents) -> dict[str, Any]:
    """Sizes and counts as collStats gives them."""
    count, size = len(documents), documents.size
    return {"size": size, "count": count, "avgObjSize": size // count if count else 0, "storageSize": size, "nindexes": 1}


def _statistics(collection: Collection, name: bytes) -> bytes:
    content = {"ns": name.decode(), "storageStats": statistics(collection.natural), "count": len(collection.natural)}
    return document((key.encode(), encode(value)) for key, value in content.items())


def _count(found: Found, name: str) -> list[bytes]:
    return [document([(name.encode(), _number(len(found.positions)))])] if len(found.positions) else []


def project(found: Found, spec: bytes) -> list[bytes]:
    """The fields that the projection includes or computes, of each document."""
    fields = list(elements(spec))
    with_id = all(key != b"_id" or is_true(value) for key, value in fields)
    made: list[tuple[bytes, Expression]] = [(b"_id", lambda raw: field(raw, b"_id"))] if with_id else []
    for key, value in fields:
        if key == b"_id" and value.kind in (0x01, 0x08, 0x10, 0x12):
            continue
        if value.kind in (0x01, 0x08, 0x10, 0x12):
            if not is_true(value) or b"." in key:
                raise CommandError(2, "BadValue", "this server projects by inclusion of whole fields, and by expressions")
            made.append((key, _path(key)))
        else:
            made.append((key, expression(value)))
    raws = (found.documents[at] for at in found.positions)
    return [document((key, got) for key, make in made if (got := make(raw)) is not None) for raw in raws]


def _group(found: Found, spec: bytes) -> list[bytes]:
    ((first, identifier), *fields) = elements(spec)
    if first != b"_id":
        raise CommandError(15955, "Location15955", "a group specification must begin with _id here")
    sums: list[tuple[bytes, Value]] = []
    for key, value in fields:
        ((operator, operand),) = elements(value.content)
        if operator != b"$sum":
            raise CommandError(15952, "Location15952", f"this server does not know the accumulator {operator.decode()}")
        sums.append((key, operand))
    if not len(found.positions):
        return []
    if _is_constant(identifier) and all(_is_constant(operand) for _, operand in sums):
        total = len(found.positions)
        return [_grouped(identifier, [(key, (number(operand) or 0) * total) for key, operand in sums])]
    group_of = expression(identifier)
    summands = [expression(operand) for _, operand in sums]
    groups: dict[Any, tuple[Value, list[Any]]] = {}
    for at in found.positions:
        raw = found.documents[at]
        value = group_of(raw) or Value(0x0A, b"")
        _, totals = groups.setdefault(order_key(value), (value, [0] * len(sums)))
        for place, summand in enumerate(summands):
            totals[place] += number(summand(raw)) or 0
    return [_grouped(value, list(zip([key for key, _ in sums], totals, strict=True))) for value, totals in groups.values()]


def _grouped(identifier: Value, totals: list[tuple[bytes, Any]]) -> bytes:
    return document([(b"_id", identifier), *((key, _number(total)) for key, total in totals)])


def _number(value: Any) -> Value:
    if isinstance(value, int) and -(2**31) <= value < 2**31:
        return Value(0x10, struct.pack("<i", value))
    return Value(0x12, struct.pack("<q", value)) if isinstance(value, int) else encode(value)


def _is_constant(value: Value) -> bool:
    if value.kind == 0x02:
        return not value.content[4:].startswith(b"$")
    return value.kind not in (DOCUMENT, ARRAY)


# --- expressions -----------------------------------------------------------------------------------------------------


def expression(value: Value) -> Expression:
    """An expression of the aggregation language as a function of a document's bytes; None where the value is missing."""
    if value.kind == 0x02 and value.content[4:].startswith(b"$"):
        return _path(value.content[5:-1])
    if value.kind == ARRAY:
        parts = [expression(item) for item in items(value)]
        return lambda raw: array(part(raw) or Value(0x0A, b"") for part in parts)
    if value.kind == DOCUMENT:
        pairs = list(elements(value.content))
        if len(pairs) == 1 and pairs[0][0].startswith(b"$"):
            return _operator(pairs[0][0].decode(), pairs[0][1])
        made = [(key, expression(part)) for key, part in pairs]
        return lambda raw: Value(DOCUMENT, document((key, found) for key, part in made if (found := part(raw)) is not None))
    return lambda _: value


def _path(text: bytes) -> Expression:
    if text in (b"$ROOT", b"$CURRENT"):
        return lambda raw: Value(DOCUMENT, raw)
    if text.startswith(b"$"):
        raise CommandError(17276, "Location17276", f"this server does not know the variable {text.decode()}")
    path = text.split(b".")
    return lambda raw: at_path(raw, path)


def _operator(name: str, operand: Value) -> Expression:
    if name == "$literal":
        return lambda _: operand
    if name == "$size" and operand.kind == DOCUMENT and b"$objectToArray" in (inner := dict(elements(operand.content))):
        fields = expression(inner[b"$objectToArray"])
        return lambda raw: _size_of_map(fields(raw))
    if name == "$cond" and operand.kind == DOCUMENT:
        parts = dict(elements(operand.content))
        arguments = [expression(parts[key]) for key in (b"if", b"then", b"else")]
    else:
        arguments = [expression(item) for item in (items(operand) if operand.kind == ARRAY else [operand])]
    if name == "$cond":
        condition, yes, no = arguments
        return lambda raw: yes(raw) if is_true(condition(raw)) else no(raw)
    if name == "$and":
        return lambda raw: _boolean(all(is_true(argument(raw)) for argument in arguments))
    if name == "$or":
        return lambda raw: _boolean(any(is_true(argument(raw)) for argument in arguments))
    if name == "$ifNull":
        return lambda raw: next((v for a in arguments if (v := a(raw)) is not None and v.kind not in (0x06, 0x0A)), None)
    if name in _COMPARE:
        fits, (left, right) = _COMPARE[name], arguments
        return lambda raw: _boolean(fits(_key(left(raw)), _key(right(raw))))
    if name not in _UNARY:
        raise CommandError(NO_SUCH_EXPRESSION, "InvalidPipelineOperator", f"this server does not know the expression {name}")
    function, (argument,) = _UNARY[name], arguments
    return lambda raw: function(argument(raw))


def _boolean(value: bool) -> Value:
    return Value(0x08, b"\1" if value else b"\0")


def _key(value: Value | None) -> tuple[Any, ...]:
    # In expressions a missing value comes before null.
    return (1,) if value is None else order_key(value)


def _size(value: Value | None) -> Value:
    if value is None or value.kind != ARRAY:
        raise CommandError(SIZE_OF_NO_ARRAY, "Location17124", "The argument to $size must be an array")
    return _number(length(value.content))


def _size_of_map(value: Value | None) -> Value:
    """The size of the array that `$objectToArray` makes, without making it."""
    if value is None or value.kind != DOCUMENT:
        return _size(_object_to_array(value))
    return _number(length(value.content))


def _object_to_array(value: Value | None) -> Value:
    if value is None or value.kind in (0x06, 0x0A):
        return Value(0x0A, b"")
    if value.kind != DOCUMENT:
        raise CommandError(40390, "Location40390", "$objectToArray requires a document input")
    return array(
        Value(DOCUMENT, document([(b"k", Value(0x02, struct.pack("<i", len(key) + 1) + key + b"\0")), (b"v", item)]))
        for key, item in followed(value.content)
    )


_NAMES: dict[int | None, Value] = {None: encode("missing"), **{kind: encode(name) for kind, name in TYPE_NAMES.items()}}
_UNARY: dict[str, Callable[[Value | None], Value]] = {
    "$isArray": lambda value: _boolean(value is not None and value.kind == ARRAY),
    "$type": lambda value: _NAMES[value and value.kind],
    "$bsonSize": lambda value: Value(0x0A, b"") if value is None else _number(len(value.content)),
    "$not": lambda value: _boolean(not is_true(value)),
    "$size": _size,
    "$objectToArray": _object_to_array,
}
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda left, right: left == right,
    "$ne": lambda left, right: left != right,
    "$gt": lambda left, right: left > right,
    "$gte": lambda left, right: left >= right,
    "$lt": lambda left, right: left < right,
    "$lte": lambda left, right: left <= right,
}
