"""SQL that is composed from declarations: identifiers through `psycopg.sql`, values bound, nothing formatted in.

Statements that are always the same stand where they are used; this module holds what depends on the columns of a table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from mongo2pg.model import Collection, Column, Table

INCLUDE = Path(__file__).resolve().parents[2] / "include" / "sql"

# The services' tables live here, the pipeline's books in `migration`; rows on their way in stand in temporary tables
# that bear the names of their targets.
TARGET = "public"
INCOMING = "pg_temp"

# Every session of the pipeline, whatever the role or the database sets. Text images of values, types and definitions must not
# depend on where they are made; whoever waited for a lock must see what its holder committed; and a transaction may wait for
# MongoDB, as those of pg_dump wait for their reader.
SESSION = """
    SET application_name = 'mongo2pg'; SET quote_all_identifiers = off;
    SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; SET extra_float_digits = 1;
    SET bytea_output = 'hex'; SET client_encoding = 'UTF8'; SET xmloption = 'content'; SET search_path = pg_catalog, pg_temp;
    SET client_min_messages = 'warning'; SET default_transaction_isolation = 'read committed';
    SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET idle_session_timeout = 0;
    SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'transaction_timeout'  -- PostgreSQL 17
"""


def target(table: str) -> sql.Identifier:
    """The services' table of that name."""
    return sql.Identifier(TARGET, table)


def incoming(table: str) -> sql.Identifier:
    """The temporary table in which rows for the table of that name come in."""
    return sql.Identifier(INCOMING, table)


def quoted(conn: psycopg.Connection[Any], names: Iterable[str]) -> dict[str, str]:
    """These names as a person has to write them in SQL."""
    return dict(conn.execute("SELECT name, quote_ident(name) FROM unnest(%s::text[]) AS name", (list(names),)).fetchall())


def comma(parts: Iterable[sql.Composable]) -> sql.Composed:
    """The parts, comma-separated."""
    return sql.SQL(", ").join(parts)


def names(columns: tuple[Column, ...] | list[Column], alias: str = "") -> sql.Composed:
    """The columns' names, comma-separated, of the table alias where one is given."""
    return comma(sql.Identifier(alias, c.name) if alias else sql.Identifier(c.name) for c in columns)


def create_incoming(table: Table) -> sql.Composed:
    """An empty temporary table like the target, without its constraints, for this transaction; an earlier one goes."""
    return sql.SQL("DROP TABLE IF EXISTS {}; CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
        incoming(table.name), sql.Identifier(table.name), names(table.stored), target(table.name)
    )


def same_image(table: Table, one: str, other: str) -> sql.Composed:
    """Whether two rows are the same byte for byte; `=` would call 1.10 and 1.1, or jsonb 1 and 1.0, equal."""
    return sql.SQL("ROW({})::record OPERATOR(pg_catalog.*=) ROW({})::record").format(
        names(table.stored, one), names(table.stored, other)
    )


# In these equal values need not be the same, as 1.10 and 1.1; their texts are.
LOOSE = ("jsonb", "numeric", "text[]")
_BYTES = {
    # Of these PostgreSQL hashes both halves laid over one another: -1 as 4294967295 (hashfunc.c, hashint8extended).
    "bigint": "int8send({})",
    "timestamptz": "timestamptz_send({})",
    # -0.0 is equal to 0.0, and NaN, which has many forms, is itself. The text would say so too, at five times the cost.
    "double precision": "float8send(CASE WHEN {0} = 'NaN' THEN 'NaN' ELSE {0} END)",
}

# The name of a row's hash in a query; no declared column has a capital letter.
HASH = sql.Identifier("Hash")


def exact_values(table: Table, alias: str) -> sql.Composed:
    """The values of a row in forms in which equal ones are the same: 1.10 is not 1.1 there, and -0.0 is not 0.0."""
    return comma(exact(column, sql.Identifier(alias, column.name)) for column in table.stored)


def exact(column: Column, value: sql.Composable) -> sql.Composable:
    """One value in such a form; one that has to be a text may be one already."""
    if column.type in _BYTES:
        return sql.SQL(_BYTES[column.type]).format(value)
    return sql.SQL("{}::text").format(value) if column.type in LOOSE else value


def row_hash(values: sql.Composable) -> sql.Composed:
    """64 bits of hash of a row of exact values, as the text from which `digests` are made."""
    return sql.SQL("hash_record_extended(ROW({}), 0)::text AS {}").format(values, HASH)


def digests() -> tuple[sql.Composed, sql.Composed]:
    """Two digests of a row's hash, 64 bits each, that can be added up.

    The hash itself could not: it is a weighted sum of its columns' hashes, in which values that change places cancel out.
    """
    half = sql.SQL("hashtextextended({}, {})")
    return half.format(HASH, 0), half.format(HASH, 1)


def marked(collection: Collection, alias: str) -> sql.Composed:
    """Whether a root row is marked as one whose document is gone."""
    return sql.SQL("({}.deleted_at IS NOT NULL)" if collection.deletes == "mark" else "false").format(sql.Identifier(alias))


def set_aside(collection: Collection, alias: str, now: str) -> sql.Composed:
    """Whether a root row may be there without its document: it was marked, or had expired at this time of the source."""
    if collection.deletes == "mark":
        return marked(collection, alias)
    if collection.expires is None:
        return sql.Composed([sql.SQL("false")])
    path, seconds = collection.expires
    column = next(column.name for column in collection.columns if column.path == path)
    return sql.SQL("coalesce({} <= {}::timestamptz - make_interval(secs => {}), false)").format(
        sql.Identifier(alias, column), now, seconds
    )


def statements(path: Path) -> list[str]:
    """The statements of a file of one statement per semicolon at a line's end, comments left out."""
    text = re.sub(r"--[^\n]*", "", path.read_text())
    return [statement.strip() for statement in re.split(r";\s*(?:\n|$)", text) if statement.strip()]
