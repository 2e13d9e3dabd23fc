"""Rows of the target by column: PostgreSQL lays the cells of each one behind the other, and sends all of them as one row.

Taken in row by row they would cost more than comparing them does.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from psycopg import sql

from mongo2pg.books import Connection
from mongo2pg.model import Column, Table
from mongo2pg.queries import LOOSE, comma, digests, exact, row_hash
from mongo2pg.reference.cells import Cells, StoredRows, cells_in
from mongo2pg.reference.octets import Positions

# Columns beside the table's own; no declared one has a capital letter.
LOW, HIGH, DANGLES = "Low", "High", "Dangles"
# Types whose cells have all the same number of bytes, and what writes them (PostgreSQL manual, COPY, "Binary Format").
_FIXED = {
    "uuid": (16, "uuid_send"),
    "integer": (4, "int4send"),
    "bigint": (8, "int8send"),
    "boolean": (1, "boolsend"),
    "double precision": (8, "float8send"),
    "timestamptz": (8, "timestamptz_send"),
}
# So many columns say in one integer of each row which of them are NULL.
_BITS = 31


def stored_rows(
    conn: Connection, table: Table, source: sql.Composable, dangles: sql.Composable, most: int | None = None
) -> StoredRows:
    """The rows `t` of the source, what stands behind FROM, or `most` of them; jsonb and numeric as text.

    Beside the table's columns come both digests of each row, and whether it `dangles`. Raises ProgramLimitExceeded where the cells
    of one column are more than 1 GB, which is PostgreSQL's most for a value.
    """
    with conn.cursor(binary=True) as cursor:
        count, *contents = cursor.execute(_query(table, source, dangles, most)).fetchone() or (0,)
    return StoredRows(count, dict(_columns(table, count, iter([content or b"" for content in contents]))))


def _query(table: Table, source: sql.Composable, dangles: sql.Composable, most: int | None) -> sql.Composed:
    """How many rows there are, and what `_columns` takes apart; all aggregates of a query see its rows in one order."""
    texts = {column.name: sql.Identifier(f"Text{at}") for at, column in enumerate(table.stored) if column.type in LOOSE}
    # Each text and each hash is made once: OFFSET 0, or a limit, keeps the queries apart.
    return sql.SQL(
        """
        SELECT count(*), {contents}, string_agg(boolsend("Dangles"), '')
        FROM (
            SELECT *, {hash} FROM (SELECT {values}, {dangles} AS "Dangles" FROM {source} {limit}) AS rows OFFSET 0
        ) AS hashed
        """
    ).format(
        contents=comma(
            [
                *map(_nulls, _flagged(table)),
                *(part for column in table.stored for part in _contents(column, texts)),
                *(sql.SQL("string_agg(int8send({}), '')").format(digest) for digest in digests()),
            ]
        ),
        hash=row_hash(comma(exact(column, texts.get(column.name, sql.Identifier(column.name))) for column in table.stored)),
        values=comma(
            [
                *(sql.Identifier("t", column.name) for column in table.stored),
                *(sql.SQL("{}::text AS {}").format(sql.Identifier("t", name), text) for name, text in texts.items()),
            ]
        ),
        dangles=dangles,
        source=source,
        limit=sql.SQL("LIMIT {}").format(most) if most else sql.SQL("OFFSET 0"),
    )


def _contents(column: Column, texts: dict[str, sql.Identifier]) -> list[sql.Composable]:
    """The cells of a column, and their sizes where these differ."""
    name = sql.Identifier(column.name)
    if column.type in _FIXED:
        return [sql.SQL("string_agg({}({}), '')").format(sql.Identifier(_FIXED[column.type][1]), name)]
    if column.type in ("text[]", "bytea"):
        form: sql.Composable = sql.SQL("array_send({})").format(name) if column.type == "text[]" else name
        content = sql.SQL("string_agg({}, '')").format(form)
    else:
        form = texts.get(column.name, name)
        content = sql.SQL("textsend(string_agg({}, ''))").format(form)
    return [content, sql.SQL("string_agg(int4send(coalesce(octet_length({}), -1)), '')").format(form)]


def _flagged(table: Table) -> list[list[Column]]:
    """The columns whose NULLs are bits of a number, by number."""
    columns = [column for column in table.stored if column.type in _FIXED]
    return [columns[at : at + _BITS] for at in range(0, len(columns), _BITS)]


def _nulls(columns: list[Column]) -> sql.Composed:
    bits = [sql.SQL("({} IS NULL)::integer * {}").format(sql.Identifier(c.name), 1 << bit) for bit, c in enumerate(columns)]
    return sql.SQL("string_agg(int4send({}), '')").format(sql.SQL(" + ").join(bits))


def _columns(table: Table, count: int, contents: Iterator[bytes]) -> Iterator[tuple[str, Cells]]:
    """The columns by name, of what `_query` asks for."""
    missing: dict[str, Positions] = {}
    for columns in _flagged(table):
        numbers = np.frombuffer(next(contents, b""), ">i4").astype(np.int64)
        missing |= {column.name: numbers >> bit & 1 for bit, column in enumerate(columns)}
    for column in table.stored:
        if column.name in missing:
            width, _ = _FIXED[column.type]
            yield column.name, cells_in(next(contents, b""), np.where(missing[column.name], -1, width))
        else:
            content, sizes = next(contents, b""), next(contents, b"")
            yield column.name, cells_in(content, np.frombuffer(sizes, ">i4").astype(np.int64))
    for name, width in ((LOW, 8), (HIGH, 8), (DANGLES, 1)):
        yield name, cells_in(next(contents, b""), np.full(count, width))
