"""Rows back into documents, by the declaration alone: what a document's row, its child rows and their `extra` say it was.

A field is rebuilt from its column; where `extra` has something under its path, that is what it was, for the column could not
hold it or holds another form of it. Nothing here is shared with what made the rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from bson.binary import Binary
from bson.objectid import ObjectId

from mongo2pg.model import Child, Collection, Column
from mongo2pg.reference.ids import unkept


class Cell(NamedTuple):
    """A column's value as text; None is NULL."""

    column: Column
    text: str | None


class Kept(NamedTuple):
    """A value that `extra` keeps, as Extended JSON, and what it stands in the place of."""

    json: Any
    over: Node | None = None


class Elements(NamedTuple):
    """The place of an array or map whose elements are rows of their own."""

    child: Child


Node = Cell | Kept | Elements | dict[str, "Node"]

_ROOT_ID, _ELEMENT_ID = Column("_id", "uuid", "id", required=True), Column("_id", "uuid", "source_id")


def rebuild_document(collection: Collection, row: Mapping[str, str | None], extra: Any) -> dict[str, Node]:
    """The root document of a row; in the place of an array that has a table of its own stands `Elements`."""
    node: dict[str, Node] = {"_id": Cell(_ROOT_ID, row["id"])}
    for column in collection.columns:
        _put(node, column.path, Cell(column, row[column.name]))
    for child in collection.children:
        _put(node, child.path, Elements(child))
    for path in collection.ignored:  # a sub-document of nothing else is one all the same
        _holder(node, path)
    kept = extra or {}
    return with_kept(node, kept | {"_id": unkept(kept["_id"])} if "_id" in kept else kept)


def rebuild_element(child: Child, row: Mapping[str, str | None], extra: Any) -> Node:
    """The element that a child row came from."""
    if child.kind == "scalars":
        cell = Cell(child.columns[0], row[child.columns[0].name])
        return Kept(extra["value"], cell) if extra and "value" in extra else cell
    node: dict[str, Node] = {}
    if child.has_source_id:
        node["_id"] = Cell(_ELEMENT_ID, row["source_id"])
    for column in child.columns:
        _put(node, column.path, Cell(column, row[column.name]))
    return with_kept(node, extra or {})


def with_kept(node: Mapping[str, Node], extra: Mapping[str, Any]) -> dict[str, Node]:
    """The fields with what `extra` keeps of them, and those that it alone knows."""
    merged = dict(node)
    for key, value in extra.items():
        there = merged.get(key)
        if isinstance(there, dict) and isinstance(value, dict) and not is_wrapper(value):
            merged[key] = with_kept(there, value)
        else:
            merged[key] = Kept(value, there)
    return merged


def _put(node: dict[str, Node], path: str, value: Node) -> None:
    _holder(node, path)[path.rpartition(".")[2]] = value


def _holder(node: dict[str, Node], path: str) -> dict[str, Node]:
    """The sub-document that a path's last key belongs in."""
    for key in path.split(".")[:-1]:
        inner = node.setdefault(key, {})
        node = inner if isinstance(inner, dict) else {}  # a declaration gives no path below another
    return node


def is_wrapper(value: Mapping[str, Any]) -> bool:
    """Whether this is Extended JSON for a value that JSON lacks, and not a document of the user's."""
    return bool(value) and all(map(_WRAPPER.fullmatch, value))


_WRAPPER = re.compile(
    r"\$(oid|date|number(Decimal|Double|Long)|binary|regularExpression|timestamp|code|scope|symbol|minKey|maxKey|dbPointer|"
    r"undefined|utf8)"
)
_OF_OBJECT_ID = re.compile(r"(.{12})8(.{3})8(.{9})0{6}")


def id_inside(text: str) -> ObjectId | Binary:
    """The ObjectId that a UUID carries (docs/identity.md), or the UUID itself."""
    digits = text.replace("-", "")
    carries = _OF_OBJECT_ID.fullmatch(digits)
    return ObjectId("".join(carries.groups())) if carries else Binary(bytes.fromhex(digits), 4)
