"""The reference projector: which rows a document must become, worked out a second time by other means.

Plain code over pymongo's decoded documents, one value after another, written against the declaration and the BSON
specification. It shares no code with `normalise`, `values`, `decode` and `identity`, so that a fault of theirs cannot
vouch for itself; values leave it as the text that PostgreSQL reads, not in the mover's binary form.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import math
import re
import struct
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import bson
from bson import json_util
from bson.binary import Binary
from bson.code import Code
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from bson.regex import Regex

from mongo2pg.model import Child, Collection, Column, Table

NAMESPACE = uuid.UUID("7d0c1f5e-2b5c-5f0b-9d5e-6d6f6e676f32")
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
# PostgreSQL manual, 8.5: from Julian day 0 to the last day of 294276.
EARLIEST_MS, LATEST_MS = -210_866_803_200_000, 9_224_318_015_999_999
MISSING = object()


class Unfit(Exception):  # noqa: N818 — a verdict on a value, not an error of this code
    """The value does not fit its column; the reason, and where below its path."""

    def __init__(self, reason: str, below: str = "") -> None:
        super().__init__(reason)
        self.reason, self.below = reason, below


class Unreadable(Exception):  # noqa: N818
    """The document breaks the BSON specification or repeats a key."""


@dataclass(frozen=True)
class Odd:
    """A deprecated BSON value that pymongo would turn into something else, with its Extended JSON."""

    extended_json: dict[str, Any]
    may_be_reference: bool = True


@dataclass
class Row:
    """An expected row: the columns' texts in the table's order (None is NULL), `extra` still open."""

    values: dict[str, str | None]
    extra: dict[str, Any] = field(default_factory=dict)
    place: str = ""


@dataclass
class Projection:
    """What one document must become: its rows by table, or the reason why it has none; and the elements without a row."""

    document_id: str
    root_id: str | None = None
    rows: dict[str, list[Row]] = field(default_factory=dict)
    rejects: list[tuple[str, str, bool]] = field(default_factory=list)

    @property
    def rejected(self) -> bool:
        return any(not element for _, _, element in self.rejects)


class Projector:
    """Projects documents of one collection."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.root = collection.tables[0]
        self.children = list(zip(collection.children, collection.tables[1:], strict=True))
        self.known = _paths(collection)
        self.subdocuments = _subdocuments(collection)

    def project(self, raw: bytes) -> Projection:
        """The rows of one document; never raises for what is in it."""
        try:
            document = read(raw)
            document["_id"]
        except (Unreadable, KeyError):
            digest = hashlib.sha256(raw).hexdigest()
            return Projection(dump({"$malformed": digest}), rejects=[("", "malformed", False)])
        result = Projection(dump(to_json(document["_id"], keep_nul=True)), str(identify(document["_id"])))
        row = Row({"id": result.root_id})
        if not (type(document["_id"]) is ObjectId or _is_plain_uuid(document["_id"])):
            row.extra["_id"] = document["_id"]
        reject = self._fill(row, self.collection.columns, document)
        _keep_broken(row, document, self.subdocuments)
        for child in self.collection.children:
            holder = _at(document, child.path)
            if holder is not MISSING and holder is not None and type(holder) is not (dict if child.kind == "map" else list):
                _put(row.extra, child.path, holder)
        for path, value in _leftovers(document, self.known, ""):
            if path != ["_id"]:
                _put(row.extra, path, value)
        if reject:
            result.rejects.append((*reject, False))
            return result
        result.rows[self.root.name] = [row]
        for child, table in self.children:
            self._child_rows(result, child, table, _at(document, child.path))
        return result

    def _fill(self, row: Row, columns: tuple[Column, ...], document: dict[str, Any]) -> tuple[str, str] | None:
        """Fills the columns; returns path and reason of the first that takes the row along."""
        reject = None
        for column in columns:
            original = _at(document, column.path)
            value = as_declared(original, column) if column.converts else original
            row.values[column.name] = None
            if value is MISSING or value is None:
                if column.required:
                    reject = reject or (column.path, "required")
                continue
            try:
                row.values[column.name], keep = text_of(value, column)
            except Unfit as fault:
                where = f"{column.path}.{fault.below}" if fault.below else column.path
                if column.required:
                    reject = reject or (where, fault.reason)
                else:
                    _put(row.extra, column.path, original)
                continue
            if keep or (value is not original and original is not MISSING and original is not None):
                _put(row.extra, column.path, original)
        return reject

    def _child_rows(self, result: Projection, child: Child, table: Table, holder: Any) -> None:
        rows = result.rows.setdefault(table.name, [])
        if child.kind == "map":
            pairs: list[tuple[str, Any]] = list(holder.items()) if type(holder) is dict else []
        else:
            pairs = [(str(at), element) for at, element in enumerate(holder)] if type(holder) is list else []
        own_ids = Counter(e["_id"] for _, e in pairs if type(e) is dict and type(e.get("_id")) is ObjectId)
        known, subdocuments = _paths(child), _subdocuments(child)
        if child.has_source_id:
            known["_id"] = None
        seen: set[str] = set()
        for place, element in pairs:
            row = Row({table.parent_key: result.root_id}, place=place)
            if child.has_ordinal:
                row.values["ordinal"] = place
            kind, key = ("key", place) if child.kind == "map" else ("ordinal", int(place))
            if child.kind == "scalars":
                column = child.columns[0]
                value = as_declared(element, column) if column.converts else element
                try:
                    if value is None:
                        raise Unfit("required")
                    text, keep = text_of(value, column)
                    if child.unique_value:
                        if text in seen:
                            raise Unfit("duplicate_key")
                        seen.add(str(text))
                        kind, key = "value", str(text)
                except Unfit as fault:
                    result.rejects.append((f"{child.path}.{place}", fault.reason, True))
                    continue
                row.values[column.name] = text
                if keep or (value is not element and element is not None):
                    row.extra["value"] = element
            else:
                if type(element) is not dict:
                    result.rejects.append((f"{child.path}.{place}", "type_mismatch", True))
                    continue
                if child.kind == "map":
                    row.values[child.key] = place
                if child.has_source_id:
                    own = element.get("_id")
                    row.values["source_id"] = None
                    if type(own) is ObjectId and own_ids[own] == 1:
                        kind, key = "id", str(own)
                    if own is not None:
                        try:
                            row.values["source_id"], keep = text_of(own, Column("_id", "uuid"))
                        except Unfit:
                            keep = True
                        if keep:
                            row.extra["_id"] = own
                reject = self._fill(row, child.columns, element)
                _keep_broken(row, element, subdocuments)
                for path, value in _leftovers(element, known, ""):
                    _put(row.extra, path, value)
                if reject:
                    result.rejects.append((f"{child.path}.{place}.{reject[0]}", reject[1], True))
                    continue
            name = json.dumps([result.root_id, child.path, kind, key], separators=(",", ":"), ensure_ascii=False)
            row.values["id"] = str(uuid.uuid5(NAMESPACE, name))
            rows.append(row)


def line(table: Table, row: Row) -> bytes:
    """The row as a line of COPY's text format (PostgreSQL manual, COPY, "Text Format")."""
    row.values["extra"] = dump(to_json(row.extra, keep_nul=True)) if row.extra else None
    return ("\t".join(_copy_text(row.values[column.name]) for column in table.columns) + "\n").encode()


def _copy_text(text: str | None) -> str:
    if text is None:
        return r"\N"
    if "\\" in text or "\t" in text or "\n" in text or "\r" in text:
        return text.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")
    return text


# --- reading ---------------------------------------------------------------------------------------------------------


def read(raw: bytes) -> dict[str, Any]:
    """The document, decoded by pymongo; where pymongo does not give back the very bytes, element by element. `Unreadable`."""
    try:
        # pymongo makes a DBRef of every document with the keys `$ref` and `$id`.
        document = bson.decode(raw, CODEC)
        if b"$ref\0" not in raw and bson.encode(document, codec_options=CODEC) == raw:
            return document
    except Exception:  # noqa: S110 — whatever pymongo says of such bytes, the reading below judges them
        pass
    if len(raw) < 5 or struct.unpack("<i", raw[:4])[0] != len(raw):
        raise Unreadable
    return _read_document(raw, 1)


# Bytes of a value by its BSON type, where they are fixed (bsonspec.org).
_FIXED = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0}


def _elements(raw: bytes) -> Iterator[tuple[int, str, bytes]]:
    if len(raw) < 5 or raw[-1:] != b"\0":
        raise Unreadable
    at = 4
    while at < len(raw) - 1:
        kind = raw[at]
        end = raw.index(b"\0", at + 1)
        key = raw[at + 1 : end].decode()
        at = end + 1
        size = _FIXED.get(kind)
        if kind == 0x0B:
            size = raw.index(b"\0", raw.index(b"\0", at) + 1) + 1 - at
        if size is None:
            (stated,) = struct.unpack_from("<i", raw, at)
            if kind in (0x02, 0x0D, 0x0E):
                size = 4 + stated
            elif kind in (0x03, 0x04, 0x0F):
                size = stated
            elif kind == 0x05:
                size = 5 + stated
            elif kind == 0x0C:
                size = 4 + stated + 12
            else:
                raise Unreadable
            if stated < 0:
                raise Unreadable
        if at + size > len(raw) - 1:
            raise Unreadable
        yield kind, key, raw[at : at + size]
        at += size


def _read_document(raw: bytes, depth: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if depth > 200:
        raise Unreadable
    try:
        for kind, key, content in _elements(raw):
            if key in document:
                raise Unreadable
            document[key] = _read_value(kind, content, depth)
    except (ValueError, struct.error, IndexError) as fault:
        raise Unreadable from fault
    return document


def _read_value(kind: int, content: bytes, depth: int) -> Any:
    if kind == 0x03:
        return _read_document(content, depth + 1)
    if kind == 0x04:
        if depth >= 200:
            raise Unreadable
        return [_read_value(inner, part, depth + 1) for inner, _, part in _elements(content)]
    if kind == 0x06:
        return Odd({"$undefined": True}, may_be_reference=False)
    if kind == 0x08 and content not in (b"\0", b"\1"):
        raise Unreadable
    if kind == 0x0B:
        pattern, options, _ = (part.decode() for part in content.split(b"\0"))
        if set(options) - set("ilmsux"):
            return Odd({"$regularExpression": {"pattern": pattern, "options": options}}, may_be_reference=False)
    if kind == 0x0F:
        code_end = 8 + struct.unpack_from("<i", content, 4)[0]
        scope = content[code_end:]
        if not 9 <= code_end <= len(content) or len(scope) < 5 or struct.unpack_from("<i", scope)[0] != len(scope):
            raise Unreadable
        return Code(_one(0x02, content[4:code_end]), _read_document(scope, depth + 1))
    if kind == 0x0E:
        return Odd({"$symbol": _one(0x02, content)})
    if kind == 0x0C:
        return Odd({"$dbPointer": {"$ref": _one(0x02, content[:-12]), "$id": {"$oid": content[-12:].hex()}}})
    return _one(kind, content)


def _one(kind: int, content: bytes) -> Any:
    """One value, decoded by pymongo as the only element of a document."""
    try:
        return bson.decode(struct.pack("<i", len(content) + 7) + bytes([kind]) + b"\0" + content + b"\0", CODEC)[""]
    except Exception as fault:
        raise Unreadable from fault


# --- paths -----------------------------------------------------------------------------------------------------------


def _at(document: dict[str, Any], path: str) -> Any:
    value: Any = document
    for key in path.split("."):
        if type(value) is not dict or key not in value:
            return MISSING
        value = value[key]
    return value


def _put(extra: dict[str, Any], path: str | list[str], value: Any) -> None:
    *above, last = path.split(".") if isinstance(path, str) else path
    for key in above:
        extra = extra.setdefault(key, {})
    extra[last] = value


def _paths(spec: Collection | Child) -> dict[str, Any]:
    """Keys that the declaration names, nested; None where one ends."""
    tree: dict[str, Any] = {}
    paths = [column.path for column in spec.columns]
    if isinstance(spec, Collection):
        paths += [child.path for child in spec.children] + list(spec.ignored)
    for path in paths:
        *above, last = path.split(".")
        branch = tree
        for key in above:
            branch = branch.setdefault(key, {})
        branch[last] = None
    return tree


def _leftovers(document: dict[str, Any], known: dict[str, Any], path: str) -> Iterator[tuple[list[str], Any]]:
    for key, value in document.items():
        if key not in known:
            yield [key], value
        elif isinstance(known[key], dict) and type(value) is dict:
            for below, left in _leftovers(value, known[key], path):
                yield [key, *below], left


def _subdocuments(spec: Collection | Child) -> set[str]:
    """Paths on the way to a mapped one: there a document is expected."""
    paths = [column.path for column in spec.columns] + (
        [child.path for child in spec.children] if isinstance(spec, Collection) else []
    )
    steps = [path.split(".") for path in paths]
    return {".".join(keys[:end]) for keys in steps for end in range(1, len(keys))}


def _keep_broken(row: Row, document: dict[str, Any], subdocuments: set[str]) -> None:
    for path in subdocuments:
        value = _at(document, path)
        if value is not MISSING and value is not None and type(value) is not dict:
            _put(row.extra, path, value)


# --- declared conversions --------------------------------------------------------------------------------------------


def as_declared(value: Any, column: Column) -> Any:
    """The value after the conversions that the column declares; the very same object where none applies."""
    if value is MISSING or value is None:
        return value if column.default is None else column.default
    if isinstance(value, list) and column.nul != "misfit":
        cured = [_cured(item, column.nul) if type(item) is str else item for item in value]
        return value if cured == value else cured
    if type(value) is not str:
        return value
    if chr(0) in value and column.nul != "misfit":
        return _cured(value, column.nul)
    if value in dict(column.aliases):
        return dict(column.aliases)[value]
    if column.parse and column.type == "timestamptz":
        return _parsed_date(value)
    if column.parse and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value):
        exact = Decimal(value)
        if column.type == "double precision":
            near = float(value)
            return value if math.isinf(near) or (near == 0 and exact != 0) else near
        if len(exact.as_tuple().digits) > 34 or not -6176 <= exact.adjusted() <= 6144:
            return value
        if column.type == "numeric":
            return Decimal128(exact)
        return int(exact) if exact == exact.to_integral_value() and abs(exact) < 2**63 else float(value)
    return value


def _cured(text: str, policy: str) -> str:
    return "".join(text.split(chr(0))) if policy == "remove" else text.replace(chr(0), chr(0xFFFD))


def _parsed_date(text: str) -> Any:
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return text
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    microseconds = (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)
    return text if microseconds % 1000 else DatetimeMS(microseconds // 1000)


# --- values ----------------------------------------------------------------------------------------------------------


def text_of(value: Any, column: Column) -> tuple[str, bool]:
    """The value as PostgreSQL reads it for this column, and whether its original form is kept; raises `Unfit`."""
    if column.type == "uuid":
        return _uuid_of(value, bool(column.references))
    if column.type == "bytea":
        if type(value) is bytes or type(value) is Binary:
            return "\\x" + bytes(value).hex(), type(value) is Binary
        raise Unfit("type_mismatch")
    text = _plain(value, column.type)
    if column.enum and column.type == "text" and text not in column.enum:
        raise Unfit("enum")
    if column.enum and column.type == "text[]":
        for at, item in enumerate(value):
            if item not in column.enum:
                raise Unfit("enum", str(at))
    return text, False


def _plain(value: Any, kind: str) -> str:
    if kind == "text":
        if not isinstance(value, str) or type(value) is not str:
            raise Unfit("type_mismatch")
        if chr(0) in value:
            raise Unfit("nul_character")
        return value
    if kind == "text[]":
        if type(value) is not list:
            raise Unfit("type_mismatch")
        items = []
        for at, item in enumerate(value):
            if item is None:
                raise Unfit("required", str(at))
            try:
                items.append(_plain(item, "text"))
            except Unfit as fault:
                raise Unfit(fault.reason, str(at)) from None
        quoted = ('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items)
        return "{" + ",".join(quoted) + "}"
    if kind == "jsonb":
        return dump(to_json(value))
    if kind == "boolean":
        if value is True or value is False:
            return "t" if value else "f"
        raise Unfit("type_mismatch")
    if kind == "timestamptz":
        if not isinstance(value, DatetimeMS):
            raise Unfit("type_mismatch")
        if not EARLIEST_MS <= int(value) <= LATEST_MS:
            raise Unfit("out_of_range")
        return timestamp_text(int(value))
    return _number(value, kind)


def _number(value: Any, kind: str) -> str:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if kind == "numeric" and isinstance(value, Decimal128):
        decimal = value.to_decimal()
        if decimal.is_nan():
            return "NaN"
        return str(decimal) if decimal.is_infinite() else format(decimal.copy_abs() if decimal == 0 else decimal, "f")
    if not whole and not isinstance(value, float):
        raise Unfit("type_mismatch")
    if kind == "double precision":
        if whole and Decimal(float(value)) != Decimal(int(value)):
            raise Unfit("inexact")
        return _float_text(float(value))
    if kind == "numeric":
        if whole:
            return str(int(value))
        if value != value or math.isinf(value):
            return _float_text(value)
        return "0" if value == 0 and str(value)[0] == "-" else format(Decimal(repr(value)), "f")
    if not whole:
        if value != value or math.isinf(value):
            raise Unfit("out_of_range")
        if value != math.floor(value) or str(value) == "-0.0":
            raise Unfit("not_integral")
    limit = 2**31 if kind == "integer" else 2**63
    if not -limit <= value < limit:
        raise Unfit("out_of_range")
    return str(int(value))


def _float_text(value: float) -> str:
    if value != value:
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def timestamp_text(ms: int) -> str:
    """Milliseconds since 1970 as PostgreSQL reads a timestamptz, over its whole range.

    Days to date after Howard Hinnant's `civil_from_days`: Python's own calendar ends in the year 9999.
    """
    days, rest = divmod(ms, 86_400_000)
    shifted = days + 719_468
    era, day_of_era = divmod(shifted, 146_097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_index + 2) // 5 + 1
    month = month_index + 3 if month_index < 10 else month_index - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    seconds, milli = divmod(rest, 1000)
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{milli:03d}"
    shown, suffix = (year, "") if year > 0 else (1 - year, " BC")
    return f"{shown:04d}-{month:02d}-{day:02d} {clock}+00{suffix}"


# --- ids -------------------------------------------------------------------------------------------------------------


def _uuid_of(value: Any, reference: bool) -> tuple[str, bool]:
    if type(value) is ObjectId:
        return str(identify(value)), False
    if isinstance(value, Binary) and value.subtype in (3, 4) and len(value) == 16:
        return str(uuid.UUID(bytes=bytes(value))), not _is_plain_uuid(value)
    if type(value) is str and re.fullmatch("[0-9a-fA-F]{24}", value):
        return str(identify(value)), True
    if not reference or isinstance(value, list | Regex) or (isinstance(value, Odd) and not value.may_be_reference):
        raise Unfit("type_mismatch")
    return str(identify(value)), True


def identify(value: Any) -> uuid.UUID:
    """The id of a document or reference, by the rule of docs/identity.md."""
    if type(value) is str and re.fullmatch("[0-9a-fA-F]{24}", value):
        value = ObjectId(value)
    if type(value) is ObjectId:
        digits = str(value)
        return uuid.UUID(digits[:12] + "8" + digits[12:15] + "8" + digits[15:] + "000000")
    if isinstance(value, Binary) and value.subtype in (3, 4) and len(value) == 16:
        return uuid.UUID(bytes=bytes(value))
    return uuid.uuid5(NAMESPACE, json.dumps(_canonical(value), separators=(",", ":"), ensure_ascii=False))


def _is_plain_uuid(value: Any) -> bool:
    """A UUID of subtype 4 that nobody takes for an ObjectId's."""
    if not isinstance(value, Binary) or value.subtype != 4 or len(value) != 16:
        return False
    digits = value.hex()
    return not (digits[12] == "8" and digits[16] == "8" and digits.endswith("000000"))


def _canonical(value: Any) -> Any:
    """Canonical Extended JSON, numbers by value: integral ones as $numberLong, other doubles as $numberDouble."""
    if isinstance(value, Odd):
        return value.extended_json
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, Code) and value.scope is not None:
        return {"$code": str(value), "$scope": _canonical(dict(value.scope))}
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal128):
        return json.loads(json_util.dumps(value, json_options=json_util.CANONICAL_JSON_OPTIONS))
    number = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
    if not number.is_finite():
        return {"$numberDouble": "NaN" if number.is_nan() else _float_text(float(number))}
    if number == number.to_integral_value() and -(2**63) <= number < 2**63:
        return {"$numberLong": str(int(number))}
    if Decimal(float(number)) == number:
        return json.loads(json_util.dumps(float(number), json_options=json_util.CANONICAL_JSON_OPTIONS))
    digits = number.as_tuple()
    exponent = int(digits.exponent)
    text = "".join(map(str, digits.digits))
    while len(text) > 1 and text.endswith("0"):
        text, exponent = text[:-1], exponent + 1
    return {"$numberDecimal": str(Decimal128(Decimal((digits.sign, tuple(map(int, text)), exponent))))}


# --- JSON ------------------------------------------------------------------------------------------------------------


def dump(value: Any) -> str:
    """JSON as PostgreSQL reads it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def to_json(value: Any, *, keep_nul: bool = False) -> Any:
    """Relaxed Extended JSON, made by pymongo's `json_util` but for what jsonb cannot hold; `Unfit` for U+0000."""
    kind = type(value)
    if kind is str:
        if "\0" not in value:
            return value
        if not keep_nul:
            raise Unfit("nul_character")
        return {"$utf8": base64.b64encode(value.encode()).decode()}
    if value is None or kind is bool or isinstance(value, int):
        return value if value is None or kind is bool else int(value)
    if kind is float:
        if math.isfinite(value) and abs(value) < 1e15 and str(value) != "-0.0":
            return value
        return {"$numberDouble": _float_text(value)}
    if kind is dict:
        return {key: to_json(item, keep_nul=keep_nul) for key, item in value.items()}
    if kind is list:
        return [to_json(item, keep_nul=keep_nul) for item in value]
    if kind is Odd:
        return to_json(value.extended_json, keep_nul=keep_nul)
    if kind is Code and value.scope is not None:
        return {"$code": to_json(str(value), keep_nul=keep_nul), "$scope": to_json(dict(value.scope), keep_nul=keep_nul)}
    made = json.loads(json_util.dumps(value, json_options=json_util.RELAXED_JSON_OPTIONS))
    return to_json(made, keep_nul=keep_nul)
