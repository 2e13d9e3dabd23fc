"""A column and the field that fills it, with what is declared of its values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mongo2pg.errors import DeclarationError
from mongo2pg.model.names import check_name, snake_case

ColumnType = Literal[
    "bigint", "boolean", "bytea", "double precision", "integer", "jsonb", "numeric", "text", "text[]", "timestamptz", "uuid"
]
COLUMN_TYPES: frozenset[str] = frozenset(get_args(ColumnType))
_NUMBERS = ("bigint", "double precision", "integer", "numeric")
_BITS = {"integer": 32, "bigint": 64}
# Up to here every whole number is a double.
EXACT_DOUBLES = 1 << 53
_DEFAULTS: dict[str, tuple[type, ...]] = {
    "text": (str,), "boolean": (bool,), **dict.fromkeys(_NUMBERS, (int, float)), **dict.fromkeys(_BITS, (int,))
}  # fmt: skip


@dataclass(frozen=True)
class Column:
    """One column and the field that fills it.

    `path` is the field's path from the row's own document (`metadata.mutualConnections`), or "" for the value itself
    where a child row comes from an array of scalars. `name` defaults to the path in snake case. `references` names the
    table whose `id` this column holds: such a column takes whatever may be an `_id` in MongoDB. Where the named row may be
    gone for good (a history outlives what it tells of), `judged` is false: then nothing is rejected or cleared for it.

    Conversions, each of which is counted and shown in the report: `nul` says what becomes of U+0000 in text, `parse` reads
    numbers and ISO 8601 dates out of strings, `aliases` maps old spellings to values of the enum, `default` stands in for
    a value that is missing or null.

    `longest` is never declared: the collection or child sets it for a text that a UNIQUE key holds, in bytes.
    """

    path: str
    type: ColumnType
    name: str = ""
    required: bool = False
    sensitive: bool = False
    enum: tuple[str, ...] = ()
    references: str = ""
    judged: bool = True
    nul: Literal["misfit", "remove", "replace"] = "misfit"
    parse: bool = False
    aliases: tuple[tuple[str, str], ...] = ()
    default: str | int | float | bool | None = None
    longest: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or snake_case(self.path))
        place = f"column {self.name or self.path!r}"
        if self.type not in COLUMN_TYPES:
            raise DeclarationError(place, f"unknown type {self.type!r}", f"Use one of {', '.join(sorted(COLUMN_TYPES))}.")
        if self.path and not all(self.path.split(".")):
            raise DeclarationError(place, f"the path {self.path!r} has an empty step", "Write the keys joined by single dots.")
        if not isinstance(self.enum, tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in self.aliases):
            raise DeclarationError(
                place,
                f"enum={self.enum!r}, aliases={self.aliases!r}",
                'Write ("one", "two") and (("old", "new"),), commas included.',
            )
        if self.enum and self.type not in ("text", "text[]"):
            raise DeclarationError(place, f"an enum on a column of type {self.type}", "Only text and text[] take an enum.")
        if any("\0" in value for value in self.enum):
            raise DeclarationError(place, "U+0000 in a value of the enum", "PostgreSQL stores no such text: map it by an alias.")
        if self.references and self.type != "uuid":
            raise DeclarationError(place, f"a reference of type {self.type}", "Ids are uuid: declare the type as uuid.")
        self._check_conversions(place)
        if not self.judged and not self.references:
            raise DeclarationError(place, "judged=False without a reference", "Name the table that it refers to, or leave it out.")
        check_name(place, self.name)

    @property
    def converts(self) -> bool:
        """Whether a conversion is declared."""
        return self.nul != "misfit" or self.parse or bool(self.aliases) or self.default is not None

    def _check_conversions(self, place: str) -> None:
        if self.nul not in ("misfit", "remove", "replace"):
            raise DeclarationError(place, f"unknown policy nul={self.nul!r}", "Use misfit, remove or replace.")
        if self.nul != "misfit" and self.type not in ("text", "text[]"):
            raise DeclarationError(place, f"nul={self.nul!r} on a column of type {self.type}", "Only text and text[] hold U+0000.")
        if self.parse and self.type not in (*_NUMBERS, "timestamptz"):
            raise DeclarationError(place, f"parse on a column of type {self.type}", "Only numbers and dates are parsed.")
        if [name for _, name in self.aliases if name not in self.enum]:
            raise DeclarationError(place, "an alias of a value that the enum lacks", "Map aliases to values of the enum.")
        if self.default is not None and not self._holds_default():
            raise DeclarationError(
                place, f"the default {self.default!r} on a column of type {self.type}", "Give a value that the column holds."
            )

    def _holds_default(self) -> bool:
        value, bits = self.default, _BITS.get(self.type)
        if type(value) not in _DEFAULTS.get(self.type, ()) or (isinstance(value, str) and "\0" in value):
            return False
        if bits and isinstance(value, int):
            return -(1 << bits - 1) <= value < 1 << bits - 1
        if self.type == "double precision" and isinstance(value, int) and abs(value) > EXACT_DOUBLES:
            return False
        return not self.enum or value in self.enum


# When the document of a row was missed first; NULL in every row whose document is there.
DELETED_AT = Column("", "timestamptz", "deleted_at")
