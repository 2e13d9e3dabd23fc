"""Whether a rebuilt document is the original: the same but for what docs/round_trip.md names, each use of which is counted."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from mongo2pg.model import Column
from mongo2pg.reference.documents import MISSING
from mongo2pg.reference.extended_json import dump, to_json
from mongo2pg.reference.rebuild import Cell, Elements, Kept, Node, id_inside, with_kept


class Unlike(NamedTuple):
    """A field that came back as something else: its path, its column where it has one, and both sides (None is missing)."""

    path: str
    column: Column | None
    source: str | None
    target: str | None


@dataclass
class Likeness:
    """Compares fields of the documents, or elements, behind one table; counts what was equivalent and not equal."""

    ignored: tuple[str, ...] = ()
    used: Counter[str] = field(default_factory=Counter)
    found: list[Unlike] = field(default_factory=list)

    def compare(self, original: Mapping[str, Any], rebuilt: Mapping[str, Node], above: str = "") -> None:
        """All fields of a document or sub-document; what differs goes to `found`."""
        self._count_order([key for key in original if key in rebuilt], [key for key in rebuilt if key in original])
        for key, node in rebuilt.items():
            self.compare_value(original.get(key, MISSING), node, f"{above}{key}")
        for key, value in original.items():
            if key in rebuilt:
                continue
            if f"{above}{key}" in self.ignored:
                self.used["ignored_field"] += 1
            else:
                self.found.append(Unlike(f"{above}{key}", None, shown(value), None))

    def compare_value(self, original: Any, node: Node, path: str) -> None:
        """One field, whatever it was and whatever became of it."""
        if isinstance(node, Cell):
            self._compare_cell(original, node, path)
        elif isinstance(node, Elements):
            self._compare_holder(original, node)
        elif isinstance(node, Kept):
            if isinstance(original, dict) and isinstance(node.over, dict) and isinstance(node.json, dict):
                self.compare(original, with_kept(node.over, node.json), f"{path}.")
            elif original is MISSING or not self._same_json(original, node.json):
                self.found.append(Unlike(path, None, shown(original), dump(node.json)))
            elif isinstance(node.over, dict):
                self.compare({}, node.over, f"{path}.")
            elif node.over is not None and not _gives_way(node.over):
                self.found.append(Unlike(path, None, shown(original), "a value in the column, too"))
        elif isinstance(original, dict):
            if not original and _is_void(node):
                self.used["empty_document"] += 1
            self.compare(original, node, f"{path}.")
        elif original is not MISSING and original is not None:
            self.found.append(Unlike(path, None, shown(original), "a document"))
        else:
            self.used["null_as_missing"] += original is None
            self.compare({}, node, f"{path}.")  # in which defaults may stand for nothing

    def _compare_holder(self, original: Any, node: Elements) -> None:
        # Its elements are compared by whoever reads their rows; a value of another type would stand in `extra`.
        holder = dict if node.child.kind == "map" else list
        if original is None:
            self.used["null_as_missing"] += 1
        elif isinstance(original, holder) and not original:
            self.used["empty_as_missing"] += 1
        elif original is not MISSING and not isinstance(original, holder):
            self.found.append(Unlike(node.child.path, None, shown(original), None))

    def _compare_cell(self, original: Any, cell: Cell, path: str) -> None:
        if cell.text is None:
            if original is None:
                self.used["null_as_missing"] += 1
            elif original is not MISSING:
                self.found.append(Unlike(path, cell.column, shown(original), None))
        elif original is MISSING or original is None:
            if cell.column.default is not None and self._same(cell.column.default, cell.column, cell.text):
                self.used["declared_default"] += 1
            else:
                self.found.append(Unlike(path, cell.column, shown(original), cell.text))
        elif not self._same(original, cell.column, cell.text):
            self.found.append(Unlike(path, cell.column, shown(original), cell.text))

    # --- one value and its column ---

    def _same(self, value: Any, column: Column, text: str) -> bool:
        if column.type == "text":
            return type(value) is str and value == text
        if column.type == "text[]":
            return type(value) is list and value == json.loads(text)
        if column.type == "jsonb":
            return self._same_json(value, json.loads(text))
        if column.type == "boolean":
            return type(value) is bool and value == (text == "true")
        if column.type == "bytea":
            return type(value) is bytes and value.hex() == text.removeprefix("\\x")
        if column.type == "uuid":
            return self._same_id(value, id_inside(text))
        if column.type == "timestamptz":
            return is_date(value) and Decimal(text) == int(value if type(value) is DatetimeMS else DatetimeMS(value))
        return self._same_number(value, column.type, text)

    def _same_id(self, value: Any, rebuilt: ObjectId | Binary) -> bool:
        if type(value) is str and type(rebuilt) is ObjectId and value.lower() == str(rebuilt):
            self.used["objectid_as_hex"] += 1
            return True
        return type(value) is type(rebuilt) and value == rebuilt

    def _same_number(self, value: Any, kind: str, text: str) -> bool:
        if type(value) is Decimal128:
            return kind == "numeric" and self._same_decimal(value.to_decimal(), text)
        if type(value) not in _NUMBERS:
            return False
        self.used["number_type"] += type(value) is not _TYPES[kind]
        if isinstance(value, float) and not math.isfinite(value):
            return float(text) == value or (value != value and text == "NaN")
        if kind in ("integer", "bigint") and not isinstance(value, float):
            return bool(int(text) == value)
        if kind == "double precision":
            return float(text) == value and math.copysign(1, float(text)) == math.copysign(1, value)
        if is_negative_zero(value):
            self.used["decimal_form"] += 1
            return kind == "numeric" and text == "0"
        exact = Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        return Decimal(text) == exact

    def _same_decimal(self, value: Decimal, text: str) -> bool:
        if not value.is_finite():
            return text == ("NaN" if value.is_nan() else "-Infinity" if value < 0 else "Infinity")
        negative_zero = value == 0 and value.is_signed()
        if negative_zero or int(value.as_tuple().exponent) > 0:
            self.used["decimal_form"] += 1
        return text == format(value.copy_abs() if negative_zero else value, "f")

    def _same_json(self, value: Any, rebuilt: Any) -> bool:
        if isinstance(value, dict) and isinstance(rebuilt, dict):
            self._count_order(list(value), list(rebuilt))
            return value.keys() == rebuilt.keys() and all(self._same_json(value[key], rebuilt[key]) for key in value)
        if isinstance(value, list):
            return isinstance(rebuilt, list) and len(value) == len(rebuilt) and all(map(self._same_json, value, rebuilt))
        if type(value) in _NUMBERS and type(rebuilt) in (int, float):
            as_bson = float if type(rebuilt) is float else int if -(2**31) <= rebuilt < 2**31 else Int64
            self.used["number_type"] += type(value) is not as_bson
            return bool(value == rebuilt) and not is_negative_zero(value)
        made = to_json(value, keep_nul=True)
        return type(made) is type(rebuilt) and made == rebuilt

    def _count_order(self, one: list[str], other: list[str]) -> None:
        self.used["field_order"] += one != other


_NUMBERS = (int, Int64, float)
# The BSON type that a column's value comes back as.
_TYPES = {"integer": int, "bigint": Int64, "double precision": float, "numeric": Decimal128}


def _is_void(node: Node) -> bool:
    if isinstance(node, dict):
        return all(map(_is_void, node.values()))
    return isinstance(node, Elements) or (isinstance(node, Cell) and node.text is None)


def _gives_way(node: Node) -> bool:
    """Whether what `extra` keeps may stand in this place: a column that holds nothing, or another form of the value."""
    if isinstance(node, Cell) and (node.column.type in ("uuid", "bytea") or node.column.converts):
        return True
    return _is_void(node)


def is_negative_zero(value: Any) -> bool:
    """Whether this is the double -0.0, which neither JSON's numbers nor numeric have."""
    return isinstance(value, float) and value == 0 and math.copysign(1, value) < 0


def is_date(value: Any) -> bool:
    """Whether pymongo read a BSON date."""
    return type(value).__name__ in ("datetime", "DatetimeMS")


def shown(value: Any) -> str | None:
    """A value of a document as text: Extended JSON; None for one that is missing."""
    return None if value is MISSING else dump(to_json(value, keep_nul=True))
