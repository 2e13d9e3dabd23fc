"""Why something is a reject or a misfit: the codes, and the error that carries one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Why a document, an element or a value did not find its place; docs/types.md shows this list.
REASONS = {
    "type_mismatch": "the column takes no value of this BSON type",
    "required": "nothing, or null, where a value must be",
    "not_integral": "a fraction, or -0.0, for a column of whole numbers",
    "out_of_range": "beyond what the column's type reaches",
    "inexact": "a whole number that no double holds exactly",
    "nul_character": "text with U+0000, which PostgreSQL cannot store",
    "too_long": "text beyond the 2,600 bytes that a UNIQUE key holds",
    "enum": "not one of the values that the declaration lists",
    "malformed": "the bytes break the BSON specification, or a key occurs twice in one document",
    "duplicate_key": "another document or element, with a smaller _id or position, holds the same key",
    "orphan": "the row it refers to is not there",
}


class UnfitError(Exception):
    """Raised where a value finds no place: the reason code, and the path below the value where the fault lies."""

    def __init__(self, reason: str, below: str = "", value: Any = None) -> None:
        super().__init__(reason, below)
        self.reason, self.below, self.value = reason, below, value


def booked_misfits(misfits: Mapping[tuple[str, str, str], int]) -> list[dict[str, Any]]:
    """Misfits by path, BSON type and reason, as manifests and `migration.passes` keep them."""
    return [
        {"path": path, "bson_type": kind, "reason": reason, "count": count}
        for (path, kind, reason), count in sorted(misfits.items())
    ]
