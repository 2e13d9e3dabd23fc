"""What a frame holds, as the text that PostgreSQL would read for the same value: one form for two readings of a document."""

from __future__ import annotations

import json
from typing import Any

from mongo2pg.model import Column
from mongo2pg.reference.texts import timestamp_text


def text_of_stored(value: Any, column: Column) -> str | None:
    if value is None:
        return None
    match column.type:
        case "boolean":
            return "t" if value else "f"
        case "bytea":
            return "\\x" + value.hex()
        case "double precision":
            return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(repr(value), repr(value))
        case "jsonb":
            return json_form(value)
        case "text[]":
            return "{" + ",".join('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in value) + "}"
        case "timestamptz":
            return timestamp_text(value)
        case "uuid":
            digits = value.hex()
            return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        case _:
            return str(value)


def json_form(text: str) -> str:
    """One writing for equal JSON; 5 and 5.0 stay apart."""
    return json.dumps(json.loads(text), sort_keys=True)


def plain(array: Any) -> list[Any]:
    """An Arrow column as Python values, timestamps as milliseconds: Python's own end in the year 9999."""
    return (array.cast("int64") if str(array.type).startswith("timestamp") else array).to_pylist()
