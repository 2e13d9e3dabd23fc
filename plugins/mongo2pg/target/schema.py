"""The tables in the target: they are made bare, and get their keys, constraints and indexes when they are full."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace

from psycopg import IntegrityError, ProgrammingError, sql
from psycopg.errors import ProgramLimitExceeded

from mongo2pg.books import Connection
from mongo2pg.errors import PermanentError
from mongo2pg.model import LONGEST_KEY, Domain, Table
from mongo2pg.queries import TARGET
from mongo2pg.target.scripts import Made, post_data, script, shown

log = logging.getLogger(__name__)

# Memory for one index build of the session; PostgreSQL's default of 64 MB sorts larger tables on disk.
MAINTENANCE_MEMORY = "256MB"


def create_tables(conn: Connection, domain: Domain) -> list[str]:
    """Runs the domain's pre-data: its tables, bare, where they are missing; returns why that failed, or which are missing still."""
    pre_data = script(domain, "pre")
    try:
        conn.execute(pre_data.read_text())
    except ProgrammingError as error:
        return [f"{shown(pre_data)} fails: {error.diag.message_primary}"]
    _let_publish(conn, domain)
    return [
        f"the table {TARGET}.{table.name} is declared, and {shown(pre_data)} does not make it"
        for table in domain.tables
        if not exists(conn, table.name)
    ]


def _let_publish(conn: Connection, domain: Domain) -> None:
    """Of a published table without a key (FOR ALL TABLES, say) no row could be changed or deleted otherwise."""
    bare = conn.execute(
        """
        SELECT c.relname FROM pg_class c JOIN pg_publication_tables p
            ON to_regnamespace(p.schemaname) = c.relnamespace AND p.tablename = c.relname
        WHERE c.relnamespace = to_regnamespace(%s) AND c.relname = ANY(%s) AND c.relreplident = 'd'
          AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
        """,
        (TARGET, [table.name for table in domain.tables]),
    )
    for name in {name for (name,) in bare}:
        conn.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(sql.Identifier(TARGET, name)))


def _publish_by_key(conn: Connection, tables: list[str]) -> None:
    """Now that these have one: whole rows need not be written any more."""
    whole = conn.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relname = ANY(%s) AND relreplident = 'f'",
        (TARGET, tables),
    )
    for (name,) in whole.fetchall():
        conn.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY DEFAULT").format(sql.Identifier(TARGET, name)))


def build_post_data(conn: Connection, domains: Sequence[Domain], loaded: Set[str]) -> list[str]:
    """Builds those keys, constraints and indexes of the domains that the catalog lacks, in their files' order; returns their names.

    They wait until their table is complete, or among the `loaded` ones, whose first load ends now. A foreign key waits for the
    table that it refers to as well, which may be another domain's affair. Raises PermanentError where the rows forbid one: somebody
    else dropped it and wrote rows that it would have refused, or they are of before it was declared; and where the file is wrong.
    """
    present, complete = _present(conn), complete_tables(conn)
    sensitive = {(table.name, c.name) for domain in domains for table in domain.tables for c in table.columns if c.sensitive}
    conn.execute("SELECT set_config('maintenance_work_mem', %s, true)", (MAINTENANCE_MEMORY,))
    built: list[str] = []
    keyed: list[str] = []
    for domain, made, statement in ((each, *pair) for each in domains for pair in post_data(each)):
        table, name = made.table, made.name
        waits = table not in loaded and table not in complete
        if (table, name) in present or waits or (made.references and made.references not in complete):
            continue
        try:
            conn.execute(statement)
        except IntegrityError as error:
            # An index of expressions may be of any column.
            is_secret = made.columns is None or any((table, column) in sensitive for column in made.columns)
            why = error.diag.message_primary if is_secret else error.diag.message_detail  # which has the values of a row
            raise PermanentError(
                f"{name} of {table} cannot be built ({why}): remove the rows that the checks references and "
                "uniqueness of an earlier run, or of a reconcile, name, then run again"
            ) from None
        except ProgramLimitExceeded as error:
            said = f"{name} of {table} cannot be built ({error.diag.message_primary})"
            raise PermanentError(f"{said}: {_shorter(conn, domain, made)}") from error
        except ProgrammingError as error:
            raise PermanentError(f"{shown(script(domain, 'post'))} fails at {name}: {error.diag.message_primary}") from error
        present.add((table, name))  # a domain may be among these twice, in parts
        built.append(name)
        if made.kind == "p":
            keyed.append(table)
            complete.add(table)
    if keyed:
        _publish_by_key(conn, keyed)
    if built:
        log.info("built %s keys, constraints and indexes: %s", len(built), ", ".join(built))
    return built


def _shorter(conn: Connection, domain: Domain, made: Made) -> str:
    """What to do about values that no index holds. Those of a unique key are rejects by the declaration that has it; the rows that
    an earlier one made of such documents stay as they were."""
    if made.kind != "u" or not made.columns:
        return f"index an expression in {shown(script(domain, 'post'))}, as (left(…, 500)), or leave the index out"
    columns = sql.SQL(", ").join(map(sql.Identifier, sorted(made.columns)))
    rows = sql.SQL("DELETE FROM {} WHERE octet_length(concat({})) > {}").format(
        sql.Identifier(TARGET, made.table), columns, sql.Literal(LONGEST_KEY)
    )
    return (
        f"{rows.as_string(conn)}, which takes along what hangs on them, and then run {domain.name}, "
        "and the domains that refer to it, with mode full"
    )


def exists(conn: Connection, table: str) -> bool:
    """Whether the table is there, loaded or not."""
    return conn.execute("SELECT to_regclass(%s) IS NOT NULL", (f"{TARGET}.{table}",)).fetchone() == (True,)


def complete_tables(conn: Connection) -> set[str]:
    """The tables whose first load settled: their primary keys are built then, and not before."""
    rows = conn.execute(
        """
        SELECT c.relname FROM pg_constraint p JOIN pg_class c ON c.oid = p.conrelid
        WHERE p.contype = 'p' AND c.relnamespace = to_regnamespace(%s)
        """,
        (TARGET,),
    )
    return {row[0] for row in rows}


def foreign_keys(conn: Connection) -> set[tuple[str, str]]:
    """(table, column) of every foreign key that the target has."""
    rows = conn.execute(
        """
        SELECT t.relname, a.attname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
        JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY(c.conkey)
        WHERE c.contype = 'f' AND t.relnamespace = to_regnamespace(%s)
        """,
        (TARGET,),
    )
    return {(table, column) for table, column in rows}


def referring_columns(conn: Connection, table: str) -> set[tuple[str, str]]:
    """(table, column) of the foreign keys that point at this table; a table of another schema has that before its name."""
    rows = conn.execute(
        """
        SELECT CASE WHEN n.nspname = %(schema)s THEN c.relname ELSE n.nspname || '.' || c.relname END, a.attname
        FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = ANY(f.conkey)
        WHERE f.contype = 'f' AND f.confrelid = to_regclass(%(table)s)
        """,
        {"schema": TARGET, "table": f"{TARGET}.{table}"},
    )
    return {(referring, column) for referring, column in rows}


def built(conn: Connection, tables: Iterable[Table]) -> tuple[Table, ...]:
    """Those of these tables that are there, with those of their columns that are."""
    declared = list(tables)
    found: dict[str, set[str]] = {}
    for table, column in conn.execute(
        """
        SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = to_regnamespace(%s) AND c.relname = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped
        """,
        (TARGET, [table.name for table in declared]),
    ):
        found.setdefault(table, set()).add(column)
    return tuple(
        replace(table, columns=tuple(column for column in table.columns if column.name in found[table.name]))
        for table in declared
        if table.owner in found.get(table.name, ())
    )


def drop_unique_keys(conn: Connection, table: str) -> None:
    """Takes a table's plain UNIQUE constraints away inside a transaction that builds them again before it ends."""
    rows = conn.execute(
        "SELECT conname FROM pg_constraint WHERE contype = 'u' AND NOT condeferrable AND conrelid = to_regclass(%s)",
        (f"{TARGET}.{table}",),
    ).fetchall()
    for (name,) in rows:
        conn.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(sql.Identifier(TARGET, table), sql.Identifier(name)))


def _present(conn: Connection) -> set[tuple[str, str]]:
    """(table, name) of every constraint and index of the target."""
    rows = conn.execute(
        """
        SELECT t.relname, c.conname FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
        WHERE t.relnamespace = to_regnamespace(%(schema)s)
        UNION SELECT t.relname, c.relname
        FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
        WHERE t.relnamespace = to_regnamespace(%(schema)s)
        """,
        {"schema": TARGET},
    )
    return {(table, name) for table, name in rows}
