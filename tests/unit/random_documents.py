"""Random declarations and random documents for them: every BSON type, keys chosen to confuse, bytes that are no BSON at all."""

from __future__ import annotations

import math
from typing import Any

from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from mongo2pg.documents.decode import DBPointer, Symbol, Undefined
from mongo2pg.model import COLUMN_TYPES, LONGEST_KEY, Child, Collection, Column
from tests.unit.raw_bson import Pairs, Raw, document

# How many are tried each time; `make fuzz` tries a hundred thousand documents.
EXAMPLES = 60
FEW = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

OID = "64b7f0a1c2d3e4f5a6b7c8d9"
ENUM = ("red", "green", "")


# --- values ---------------------------------------------------------------------------------------------------------

# Texts that a declaration may have parsed, and texts that only look so.
PARSEABLE = [
    *("5", "-1.50", "+.5e3", "1e400", "1e-400", "9223372036854775808", "-0", "NaN", "٣", "12 ", "1_000"),
    *("2024-02-29", "2024-02-29T12:34:56.789+02:00", "2024-02-29T12:34:56.7891", "20240229T1234Z", "2024-W09-4"),
    *("2024-02-30", "0001-01-01"),
]
# What a UNIQUE key just holds, and a byte or a character more.
LONG = ["x" * LONGEST_KEY, "é" * (LONGEST_KEY // 2), "x" * (LONGEST_KEY + 1), "é" * (LONGEST_KEY // 2) + "e"]
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        [
            *PARSEABLE,
            OID,
            OID.upper(),
            "red",
            "green",
            "",
            "a\0b",
            "\0",
            '\\ " \n \t \r \b',
            "\\N",
            "\\.",
            "{}",
            "NULL",
            "🦜‍🔥",
            "مرحبا",
            "null",
            *LONG,
        ]
    ),
)
NUMBERS = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.floats(),
    st.sampled_from(
        [0, 1, Int64(2**53 + 1), Int64(-(2**53) - 1), 5.0, 3.5, -0.0, 1e15, 1e300, 5e-324, math.nan, math.inf, 2.0**63]
    ),
    st.sampled_from([Int64(5), Int64(2**31), Int64(-(2**31) - 1), 2.0**31, -(2.0**31), Int64(2**63 - 1), Int64(-(2**63))]),
)
DECIMALS = st.one_of(
    st.binary(min_size=16, max_size=16).map(Decimal128.from_bid),
    st.sampled_from(
        ["0", "-0", "1.10", "1E+3", "1E6144", "1E-6176", "NaN", "sNaN", "-NaN", "Infinity", "-Infinity", "5", "5.0", "0E+5"]
    ).map(Decimal128),
)
BINARIES = st.one_of(
    st.binary(max_size=20),
    st.builds(Binary, st.binary(max_size=20), st.sampled_from([0, 1, 2, 5, 6, 128, 255])),
    st.builds(Binary, st.binary(min_size=16, max_size=16), st.sampled_from([3, 4])),
    st.builds(Binary, st.binary(max_size=20), st.sampled_from([3, 4])),
    # An ObjectId's UUID, stored as a UUID.
    st.just(Binary(bytes.fromhex("64b7f0a1c2d38e4f85a6b7c8d9000000"), 4)),
)
DATES = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(10**14), 10**15),
    st.sampled_from([0, -1, 253_402_300_800_000, -62_135_596_800_000, -210_866_803_200_000, -210_866_803_200_001]),
    st.sampled_from([9_224_318_015_999_999, 9_224_318_016_000_000, 1_700_000_000_123]),
).map(DatetimeMS)
CSTRINGS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=5)
OBJECT_IDS = st.one_of(st.just(ObjectId(OID)), st.binary(min_size=12, max_size=12).map(ObjectId))
KEYS = st.one_of(
    st.sampled_from(
        ["", "a", "b", "_id", "$oid", "$ref", "$id", "$db", "$numberLong", "a.b", "s", "s.a", "value", "extra", "id", "0"]
    ),
    st.sampled_from(["__v", "__proto__", "é", "‮", '"', "\\", "\n", "$", ".", "$numberDecimal", "$document", *LONG]),
    CSTRINGS,
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    TEXTS,
    NUMBERS,
    DECIMALS,
    BINARIES,
    DATES,
    OBJECT_IDS,
    st.builds(Regex, CSTRINGS, st.sampled_from(["", "i", "imsx", "xi", "u", "l"])),
    st.builds(Timestamp, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.sampled_from([MinKey(), MaxKey(), Undefined()]),
    st.builds(Symbol, TEXTS),
    st.builds(DBPointer, TEXTS, OBJECT_IDS),
    TEXTS.map(Code),
    st.builds(lambda pattern, options: Raw(0x0B, pattern.encode() + b"\0" + options.encode() + b"\0"), CSTRINGS, CSTRINGS),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4),
        st.builds(lambda code, scope: Code(code, scope), st.text(max_size=3), st.dictionaries(KEYS, inner, max_size=2)),
        st.builds(lambda name, value: {"$ref": name, "$id": value}, TEXTS, inner),
        st.builds(lambda value, name: {"$id": value, "$ref": name, "a": value}, inner, TEXTS),
        st.builds(DBRef, st.text(max_size=3), OBJECT_IDS, st.one_of(st.none(), st.text(max_size=3))),
    ),
    max_leaves=8,
)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "bigint": st.one_of(NUMBERS, NUMBERS, TEXTS),
    "boolean": st.booleans(),
    "bytea": BINARIES,
    "double precision": st.one_of(NUMBERS, NUMBERS, TEXTS),
    "integer": st.one_of(NUMBERS, NUMBERS, TEXTS),
    "jsonb": VALUES,
    "numeric": st.one_of(NUMBERS, DECIMALS, TEXTS),
    "text": TEXTS,
    "text[]": st.lists(st.one_of(TEXTS, st.sampled_from(ENUM)), max_size=3),
    "timestamptz": st.one_of(DATES, DATES, TEXTS),
    "uuid": st.one_of(OBJECT_IDS, BINARIES, TEXTS),
}


# --- declarations ---------------------------------------------------------------------------------------------------


DEFAULTS: dict[str, Any] = {
    "text": st.sampled_from(["red", ""]),
    "boolean": st.booleans(),
    "integer": st.integers(-5, 5),
    "bigint": st.integers(-(2**63), 2**63 - 1),
    "double precision": st.floats(-1, 1),
    "numeric": st.integers(-5, 5),
}


@st.composite
def column_of(draw: st.DrawFn, kind: str, path: str, name: str) -> Column:
    """A column of this type with anything that a declaration may say of it."""
    options: dict[str, Any] = {}
    if kind in ("text", "text[]"):
        options["enum"] = draw(st.sampled_from([(), ENUM]))
        options["nul"] = draw(st.sampled_from(["misfit", "misfit", "remove", "replace"]))
        options["aliases"] = draw(st.sampled_from([(), (("null", "red"), ("\\N", ""))])) if options["enum"] else ()
    if kind in ("bigint", "double precision", "integer", "numeric", "timestamptz"):
        options["parse"] = draw(st.booleans())
    if kind in DEFAULTS and draw(st.integers(0, 3)) == 3:
        options["default"] = draw(DEFAULTS[kind])
    if kind == "uuid":
        options["references"] = draw(st.sampled_from(["", "users"]))
    return Column(path, kind, name, required=draw(st.integers(0, 5)) == 5, **options)


@st.composite
def columns(draw: st.DrawFn, prefix: str) -> tuple[Column, ...]:
    """A column of each type, at a path of one to three keys, in any order."""
    return tuple(
        draw(column_of(kind, draw(st.sampled_from(["", "s.", "s.t.", "u."])) + f"c{number}", f"{prefix}{number}"))
        for number, kind in enumerate(draw(st.permutations(sorted(COLUMN_TYPES))))
    )


@st.composite
def collections(draw: st.DrawFn) -> Collection:
    values = [
        draw(column_of(kind, "", "value")) for kind in draw(st.lists(st.sampled_from(sorted(COLUMN_TYPES)), min_size=1, max_size=2))
    ]
    own = draw(columns("c"))
    key = [column.name for column in own if column.required and column.type in ("text", "uuid", "integer")]
    return Collection(
        "things",
        "things",
        "updatedAt",
        own,
        children=(
            Child("elements", draw(st.sampled_from(["docs", "s.docs", "s.t.docs"])), "documents", draw(columns("e"))),
            Child("entries", draw(st.sampled_from(["map", "u.map"])), "map", draw(columns("m")), key="name"),
            Child("tags", "tags", "scalars", (draw(column_of("text", "", "tag")),), unique_value=draw(st.booleans())),
            *(Child(f"list{at}", f"u.list{at}", "scalars", (column,)) for at, column in enumerate(values)),
        ),
        unique=(tuple(key),) if key else (),
        ignored=("__v", "s.ignored"),
    )


@st.composite
def filled(draw: st.DrawFn, paths: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    """A document that has something at most of these paths, now and then nonsense on the way, and keys nobody declared."""
    content: dict[str, Any] = {}
    for path, likely in paths.items():
        if draw(st.integers(0, 5)) == 0:
            continue
        *above, last = path.split(".")
        holder = content
        for key in above:
            if key not in holder:
                holder[key] = {} if draw(st.integers(0, 9)) else draw(VALUES)
            holder = holder[key]
            if type(holder) is not dict:
                break
        else:
            holder[last] = draw(likely if draw(st.integers(0, 4)) else VALUES)
    for key, value in draw(st.dictionaries(KEYS, VALUES, max_size=2)).items():
        content.setdefault(key, value)
    if type(content.get("s")) is dict and draw(st.booleans()):
        content["s"] |= draw(st.dictionaries(KEYS, VALUES, max_size=2))
    return content


def embedded(spec: Collection | Child) -> dict[str, st.SearchStrategy[Any]]:
    return {column.path: LIKELY[column.type] for column in spec.columns}


@st.composite
def documents(draw: st.DrawFn, collection: Collection) -> bytes:
    paths = embedded(collection) | {"__v": NUMBERS, "s.ignored": VALUES}
    for child in collection.children:
        if child.kind == "scalars":
            column = child.columns[0]
            paths[child.path] = st.lists(st.one_of(LIKELY[column.type], LIKELY[column.type], VALUES), max_size=4)
            continue
        ids = st.one_of(st.just({}), st.builds(lambda value: {"_id": value}, st.one_of(OBJECT_IDS, VALUES)))
        elements = st.one_of(st.builds(lambda one, other: one | other, ids, filled(embedded(child))), VALUES)
        paths[child.path] = st.dictionaries(KEYS, elements, max_size=3) if child.kind == "map" else st.lists(elements, max_size=3)
    content = draw(filled(paths))
    content.pop("_id", None)
    items = list(content.items())
    if draw(st.integers(0, 19)):
        identifier = st.one_of(OBJECT_IDS, SCALARS, st.dictionaries(KEYS, VALUES, max_size=2))
        items.insert(draw(st.sampled_from([0, len(items)])), ("_id", draw(identifier)))
    if items and not draw(st.integers(0, 29)):
        items.append((items[0][0], draw(VALUES)))
    return document(Pairs(tuple(items)))


@st.composite
def damaged(draw: st.DrawFn, raw: bytes) -> bytes:
    """The bytes with a few of them changed, or some cut off at the end; the stated length may follow."""
    changed = bytearray(raw)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(4, len(changed) - 1))
        changed[at] = draw(st.one_of(st.integers(0, 255), st.sampled_from([0x00, 0x02, 0x0E, 0x7F, 0x80, 0xFF])))
    if draw(st.booleans()):
        changed = changed[: draw(st.integers(0, len(changed)))]
        if draw(st.booleans()) and len(changed) >= 4:
            changed[:4] = len(changed).to_bytes(4, "little")
    return bytes(changed)
