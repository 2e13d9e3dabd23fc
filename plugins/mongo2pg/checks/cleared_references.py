"""Optional references that settle must have cleared: what is expected of their rows is NULL, with the original in `extra`."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from mongo2pg import books
from mongo2pg.books import Connection, RunKey
from mongo2pg.checks.reject_causes import is_nowhere
from mongo2pg.model import Collection, Column, Domain, Table
from mongo2pg.queries import incoming, target


def clear_dangling(conn: Connection, references: Sequence[tuple[Table, Column]]) -> None:
    """An optional reference to a row that is not there must have become NULL, its original in `extra`."""
    for table, column in references:
        if not column.required:
            _clear(conn, table, column, is_nowhere(column))


def clear_what_came_later(
    conn: Connection, run: RunKey, domain: Domain, collection: Collection, table: Table, options: Sequence[Column]
) -> bool:
    """The same of rows whose reference is NULL, if another run brought what it refers to only after this run had judged it.

    Returns whether there were any.
    """
    judged = books.judged_at(run, collection.name, sql.SQL("'-infinity'"))
    cleared = 0
    for column in options:
        name = sql.Identifier(column.name)
        is_null = sql.SQL("EXISTS (SELECT FROM {} t WHERE t.id = x.id AND t.{} IS NULL)").format(target(table.name), name)
        came = books.came_after(run, domain, column.references, sql.Identifier("x", column.name), judged)
        cleared += _clear(conn, table, column, sql.SQL("{} AND {}").format(is_null, came))
    return cleared > 0


def _clear(conn: Connection, table: Table, column: Column, where: sql.Composable) -> int:
    path = column.path.split(".") if column.path else ["value"]
    name = sql.Identifier(column.name)
    return conn.execute(
        sql.SQL("UPDATE {expected} x SET {column} = NULL, extra = {extra} WHERE x.{column} IS NOT NULL AND {where}").format(
            expected=incoming(table.name), column=name, extra=_with_original(sql.SQL("x.extra"), path, name), where=where
        )
    ).rowcount


def _with_original(extra: sql.Composable, path: Sequence[str], column: sql.Identifier) -> sql.Composable:
    """`extra` with an id's Extended JSON at the path, unless something is there: no ObjectId or UUID is kept when it is read."""
    key, *below = path
    if below:
        value = _with_original(sql.SQL("({} -> {})").format(extra, sql.Literal(key)), below, column)
        return sql.SQL("coalesce({extra}, '{{}}') || jsonb_build_object({key}, {value})").format(
            extra=extra, key=sql.Literal(key), value=value
        )
    return sql.SQL(
        """
        jsonb_build_object({key}, CASE WHEN x.{column}::text ~ '^.{{14}}8.{{4}}8.{{10}}0{{6}}$'
            THEN jsonb_build_object('$oid', overlay(overlay(replace(left(x.{column}::text, 30), '-', '')
                PLACING '' FROM 17 FOR 1) PLACING '' FROM 13 FOR 1))
            ELSE jsonb_build_object('$binary', jsonb_build_object(
                'base64', encode(decode(replace(x.{column}::text, '-', ''), 'hex'), 'base64'), 'subType', '04'))
            END) || coalesce({extra}, '{{}}')
        """
    ).format(key=sql.Literal(key), column=column, extra=extra)
