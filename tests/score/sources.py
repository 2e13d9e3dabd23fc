"""Kinds of damage to the source and to what was staged of it: documents that are no longer what their rows were made from."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bson import DatetimeMS, Decimal128, Int64, Regex

from tests.documents import oid

Document = dict[str, Any]
PLAIN = Regex("a.c")


def set_to(**fields: Any) -> Callable[[Document], None]:
    return lambda content: content.update(fields)


def change(field: str, how: Callable[[Any], Any]) -> Callable[[Document], None]:
    def changed(content: Document) -> None:
        content[field] = how(content[field])

    return changed


def inside(*path: str | int, to: Any) -> Callable[[Document], None]:
    def changed(content: Document) -> None:
        holder: Any = content
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = to

    return changed


def without(*path: str | int) -> Callable[[Document], None]:
    def changed(content: Document) -> None:
        holder: Any = content
        for key in path[:-1]:
            holder = holder[key]
        del holder[path[-1]]

    return changed


# (what, which of the things, the change, the table and column in which it shows; a place for a row of an array or map).
SOURCES: list[tuple[str, Callable[[Document], bool], Callable[[Document], None], tuple[str, str, str | None]]] = [
    ("a text's case", lambda d: d["name"] == "plain words", change("name", str.title), ("things", "name", None)),
    ("a trailing space", lambda d: bool(d["name"]), change("name", lambda v: v + " "), ("things", "name", None)),
    ("null becomes an empty text", lambda d: d["name"] is None, set_to(name=""), ("things", "name", None)),
    ("an empty text becomes null", lambda d: d["name"] == "", set_to(name=None), ("things", "name", None)),
    ("a field is gone", lambda d: bool(d["name"]), without("name"), ("things", "name", None)),
    ("one millisecond more", lambda d: True, change("at", lambda v: DatetimeMS(int(v) + 1)), ("things", "at", None)),
    ("an integer one more", lambda d: True, change("count", lambda v: v + 1), ("things", "count", None)),
    ("a bigint one more", lambda d: True, change("total", lambda v: Int64(v + 1)), ("things", "total", None)),
    ("the last bit of a double", lambda d: d["ratio"] == 0.1, set_to(ratio=0.10000000000000002), ("things", "ratio", None)),
    ("0.0 becomes -0.0", lambda d: str(d["ratio"]) == "0.0", set_to(ratio=-0.0), ("things", "ratio", None)),
    ("1.10 becomes 1.1", lambda d: str(d["price"]) == "1.10", set_to(price=Decimal128("1.1")), ("things", "price", None)),
    ("a boolean is turned", lambda d: d["active"] is True, set_to(active=False), ("things", "active", None)),
    ("a reference to another document", lambda d: True, set_to(owner=oid(10**7)), ("things", "owner", None)),
    ("one byte of a binary", lambda d: True, change("blob", lambda v: b"!" + v[1:]), ("things", "blob", None)),
    ("two tags change places", lambda d: True, change("tags", lambda v: v[::-1]), ("things", "tags", None)),
    ("a number inside a document", lambda d: True, inside("payload", "list", 0, to=2), ("things", "payload", None)),
    ("null inside a document is gone", lambda d: True, without("payload", "nested", "absent"), ("things", "payload", None)),
    ("a regex has no options", lambda d: True, inside("payload", "nested", "pattern", to=PLAIN), ("things", "payload", None)),
    ("a value that does not fit", lambda d: "nick" not in d, set_to(nick="new"), ("things", "extra", None)),
    ("an undeclared field is gone", lambda d: "nick" in d, without("nick"), ("things", "extra", None)),
    ("the text of an element", lambda d: True, inside("parts", 1, "label", to="other"), ("thing_parts", "label", "1")),
    ("an element's score", lambda d: True, inside("scores", 0, to=-1.0), ("thing_scores", "score", "0")),
    ("a value of a map", lambda d: True, inside("labels", "Key1", "rank", to=7), ("thing_labels", "rank", "Key1")),
]  # fmt: skip


def in_another_order(content: Document) -> None:
    """The fields turned round, those of sub-documents too."""
    turned = dict(reversed(content.items()))
    turned["payload"] = dict(reversed(turned["payload"].items()))
    content.clear()
    content.update(turned)


# Changes of a document that change no row.
SAME_ROWS: list[Callable[[Document], None]] = [
    in_another_order,
    lambda content: content.update(__v=9),
    lambda content: content.update(count=Int64(content["count"])),
]


# --- staged files -----------------------------------------------------------------------------------------------------


@contextmanager
def restored(*paths: Path) -> Any:
    """The files are what they were, after the block."""
    before = {path: path.read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def flipped(one: Path, other: Path) -> None:
    content = bytearray(one.read_bytes())
    content[len(content) // 2] ^= 1
    one.write_bytes(content)


def cut(one: Path, other: Path) -> None:
    one.write_bytes(one.read_bytes()[:-100])


def swapped(one: Path, other: Path) -> None:
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def removed(one: Path, other: Path) -> None:
    one.unlink()


# What happens to the raw files of two chunks.
STAGED: dict[str, Callable[[Path, Path], None]] = {
    "one bit of a staged file": flipped,
    "a staged file is cut": cut,
    "two staged files change places": swapped,
    "a staged file is gone": removed,
}
