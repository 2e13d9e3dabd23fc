"""Writes docs/types.md: what becomes of each BSON type in each column type, asked of the code that does it.

python docs/types_page.py          writes the page
python docs/types_page.py --check  exits with 1 where the page is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bson import Int64, ObjectId
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.regex import Regex
from bson.timestamp import Timestamp

PAGE = Path(__file__).with_name("types.md")
sys.path.insert(0, str(PAGE.parents[1] / "plugins"))

from mongo2pg.documents.decode import DBPointer, Symbol, Undefined  # noqa: E402 — the path above
from mongo2pg.documents.reasons import REASONS, UnfitError  # noqa: E402
from mongo2pg.documents.values import Converted, convert  # noqa: E402
from mongo2pg.model import COLUMN_TYPES, Column, ColumnType  # noqa: E402

# What each row of the page stands for, and a value that shows it.
SAMPLES: list[tuple[str, Any]] = [
    ("string", "text"),
    ("string with U+0000", "a\0b"),
    ("string of 24 hex digits", "0123456789abcdef01234567"),
    ("int", 5),
    ("long within 32 bits", Int64(5)),
    ("long beyond 32 bits", Int64(2**40)),
    ("long that no double holds", Int64(2**53 + 1)),
    ("double, whole", 5.0),
    ("double, with a fraction", 3.5),
    ("double -0.0", -0.0),
    ("double beyond 64 bits", 1e300),
    ("double NaN", float("nan")),
    ("double Infinity", float("inf")),
    ("decimal 1.10", Decimal128("1.10")),
    ("decimal 1E+3", Decimal128("1E+3")),
    ("decimal NaN", Decimal128("NaN")),
    ("bool", True),
    ("date", DatetimeMS(1_767_225_600_000)),
    ("date beyond 294276 AD", DatetimeMS(2**63 - 1)),
    ("objectId", ObjectId("0123456789abcdef01234567")),
    ("binData 0", b"bytes"),
    ("binData 3 (UUID, old)", Binary(bytes(range(16)), 3)),
    ("binData 4 (UUID)", Binary(bytes(range(16)), 4)),
    ("binData 5 (MD5)", Binary(bytes(range(16)), 5)),
    ("array of strings", ["a", "b"]),
    ("array with another type in it", ["a", 1]),
    ("object", {"a": 1}),
    ("timestamp", Timestamp(1, 2)),
    ("regex", Regex("a", "i")),
    ("javascript", Code("f()")),
    ("javascriptWithScope", Code("f()", {"a": 1})),
    ("minKey", MinKey()),
    ("maxKey", MaxKey()),
    ("symbol", Symbol("s")),
    ("undefined", Undefined()),
    ("dbPointer", DBPointer("c", ObjectId("0123456789abcdef01234567"))),
]
TYPES: list[ColumnType] = sorted(COLUMN_TYPES)  # type: ignore[arg-type]

INTRODUCTION = """# What becomes of each BSON type

This page is made by `docs/types_page.py` from the code that converts; a test holds it up to date.

- **stored**: the column holds the value exactly.
- **stored, kept**: the column holds it, and its original form stays in `extra` beside the row.
- **stored, counted**: the value is the same, its form is not; counted as a conversion.
- a reason code: the column cannot hold the value. In an optional column it becomes NULL, the original goes to `extra` under its
  path and is counted as a misfit; in a required column the document (or the array element) goes to the rejects.

`null` and a missing field are NULL, `required` where the column is required. A `uuid` column that is a reference also takes
every other value that may be an `_id`, by the rule of [identity.md](identity.md). Sub-documents that are mapped field by field,
arrays and maps that are child tables: where something else stands in their place, that is a misfit `type_mismatch` of the path.
A document that breaks the BSON specification, or in which a key occurs twice, is rejected `malformed` with its bytes.
The texts of a UNIQUE key (of a map's key and of a value that is unique in its array, too) may have 2,600 bytes together, because an
entry of PostgreSQL's indexes holds no more; several texts in one key have equal shares of it.

## In a column

"""

JSON = """
## In jsonb and in `extra`

Relaxed Extended JSON v2; -0.0 and doubles of magnitude 1e15 and more are `$numberDouble`, for jsonb has no -0.0 and spells out
1e300. U+0000 cannot be stored: in a `jsonb` column it is a misfit, in `extra` such a text is
`{"$utf8": "<base64 of its bytes>"}`.

| BSON | JSON |
|---|---|
"""

CODES = """
## Reason codes

| reason | meaning |
|---|---|
"""


def verdict(value: Any, kind: ColumnType) -> str:
    """One cell of the table."""
    try:
        stored = convert(value, Column("a", kind))
    except UnfitError as fault:
        return fault.reason
    if isinstance(stored, Converted):
        return "stored, kept" if stored.original else "stored, counted"
    return "stored"


def page() -> str:
    """The whole page."""
    lines = [f"| BSON | {' | '.join(TYPES)} |", f"|---|{'---|' * len(TYPES)}"]
    lines += [f"| {name} | {' | '.join(verdict(value, kind) for kind in TYPES)} |" for name, value in SAMPLES]
    shown = []
    for name, value in SAMPLES:
        try:
            text = convert(value, Column("a", "jsonb"))
        except UnfitError as fault:
            shown.append(f"| {name} | {fault.reason} |")
            continue
        shown.append(f"| {name} | `{text}` |")
    reasons = [f"| `{code}` | {meaning} |" for code, meaning in REASONS.items()]
    return "\n".join([INTRODUCTION + "\n".join(lines), JSON + "\n".join(shown), CODES + "\n".join(reasons), ""])


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(PAGE.read_text() != page())
    PAGE.write_text(page())
