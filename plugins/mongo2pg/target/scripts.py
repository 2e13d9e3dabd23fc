"""The two files of a domain in `include/sql`: its bare tables, and what is built when they are full."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from mongo2pg.model import MAX_NAME_BYTES, Domain
from mongo2pg.queries import INCLUDE, statements

_CONSTRAINT = re.compile(
    r"ALTER TABLE (?:ONLY )?(?:\w+\.)?(\w+)\s+ADD CONSTRAINT (\w+)\s+(PRIMARY|UNIQUE|FOREIGN)[^(]*\(([^)]*)\)", re.IGNORECASE
)
_INDEX = re.compile(
    r"CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?(\w+)\s+ON (?:\w+\.)?(\w+)[^(]*\((.*)\)", re.IGNORECASE | re.DOTALL
)
_NAMED = re.compile(r"(?:CONSTRAINT|INDEX)(?: IF NOT EXISTS)? (\w+)", re.IGNORECASE)
# Names that are words of SQL (user, order) must stand in quotation marks, and are the same names.
_QUOTED = re.compile(r'"([a-z_][a-z0-9_]*)"')
_CHECK = re.compile(r"CONSTRAINT (\w+)\s+CHECK\b", re.IGNORECASE)
_TABLE = re.compile(r"CREATE TABLE IF NOT EXISTS (?:\w+\.)?(\w+)", re.IGNORECASE)
_DEFERRABLE = re.compile(r"(?<!NOT )\bDEFERRABLE\b|\bINITIALLY DEFERRED\b", re.IGNORECASE)
_ON_DELETE = re.compile(r"\bON DELETE (NO ACTION|RESTRICT|CASCADE|SET NULL|SET DEFAULT)\b", re.IGNORECASE)
# As the catalog writes it.
_LETTERS = {"NO ACTION": "a", "RESTRICT": "r", "CASCADE": "c", "SET NULL": "n", "SET DEFAULT": "d"}
_REFERENCED = re.compile(r"\)\s*REFERENCES (?:\w+\.)?(\w+)", re.IGNORECASE)


def script(domain: Domain, part: Literal["pre", "post"]) -> Path:
    """The file of pre-data or of post-data."""
    return INCLUDE / domain.name / f"{part}_data.sql"


def shown(path: Path) -> str:
    """The file as messages name it."""
    return f"include/sql/{path.parent.name}/{path.name}"


def script_faults(domain: Domain) -> list[str]:
    """What is wrong with the domain's two files as they stand, a sentence each."""
    files = [script(domain, "pre"), script(domain, "post")]
    if missing := [path for path in files if not path.is_file()]:
        return [f"{shown(path)} is missing: write it (docs/new_domain.md)" for path in missing]
    return [
        f"{shown(files[1])} may hold ALTER TABLE … ADD CONSTRAINT … PRIMARY KEY, UNIQUE or FOREIGN KEY, and CREATE INDEX, not: "
        f"{' '.join(statement.split())[:100]}"
        for statement in statements(files[1])
        if not _built_by(statement)
    ] + [
        f"the key {made.name} of {made.table} in {shown(files[1])} must be DEFERRABLE: a window that reorders an array "
        "writes all of its positions in one statement"
        for made, _ in post_data(domain)
        for table in domain.tables
        if table.child and made.table == table.name and made.kind == "u" and not made.deferrable
    ]


def post_data(domain: Domain) -> Iterator[tuple[Made, str]]:
    """What the domain's post-data builds, with the statements, in the file's order; `script_faults` lets no others pass."""
    for statement in statements(script(domain, "post")):
        if made := _built_by(statement):
            yield made, statement


def known_names(domain: Domain) -> list[str]:
    """The constraints and indexes that the files name."""
    texts = (_unquoted(script(domain, part).read_text()) for part in ("pre", "post"))
    return [stored_name(name.lower()) for text in texts for name in _NAMED.findall(text)]


def pre_checks(domain: Domain) -> dict[str, list[str]]:
    """By table the CHECKs that pre-data gives it when it makes it."""
    found: dict[str, list[str]] = {}
    for statement in map(_unquoted, statements(script(domain, "pre"))):
        if table := _TABLE.match(statement):
            found.setdefault(table[1].lower(), []).extend(stored_name(name.lower()) for name in _CHECK.findall(statement))
    return found


def stored_name(name: str) -> str:
    """What the catalog has of a name: PostgreSQL cuts longer ones without a word."""
    return name.encode()[:MAX_NAME_BYTES].decode(errors="ignore")


class Made(NamedTuple):
    """What a statement of post-data builds: a constraint by its kind in the catalog (p, u or f), or an index (i).

    `columns` is None of an index of expressions. `deferrable` and `on_delete` are as in `Guard`.
    """

    table: str
    name: str
    kind: str
    columns: frozenset[str] | None
    references: str | None = None
    deferrable: bool = False
    on_delete: str = ""


def _built_by(statement: str) -> Made | None:
    """What a statement of post-data builds; None of any other statement."""
    statement = " ".join(_unquoted(statement).split())
    if constraint := _CONSTRAINT.match(statement):
        table, name, kind, columns = (part.lower() for part in constraint.groups())
        deferrable, referenced = bool(_DEFERRABLE.search(statement)), _REFERENCED.search(statement)
        if not referenced:
            return Made(table, stored_name(name), kind[0], _names(columns), deferrable=deferrable)
        action = _ON_DELETE.search(statement)
        on_delete = _LETTERS[action[1].upper() if action else "NO ACTION"]
        return Made(table, stored_name(name), kind[0], _names(columns), referenced[1].lower(), deferrable, on_delete)
    if index := _INDEX.match(statement):
        name, table, columns = (part.lower() for part in index.groups())
        return Made(table, stored_name(name), "i", _names(columns))
    return None


def _unquoted(text: str) -> str:
    return _QUOTED.sub(r"\1", text)


def _names(columns: str) -> frozenset[str] | None:
    """The columns of a list of nothing but names."""
    names = [name.strip() for name in columns.split(",")]
    return frozenset(names) if all(name.isidentifier() for name in names) else None
