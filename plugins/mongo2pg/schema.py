"""The target's catalog: what the DDL of a domain made, what is still to be built, and where it differs from the declaration."""

from __future__ import annotations

import logging
import re

from psycopg import sql

from mongo2pg.books import Connection
from mongo2pg.model import Domain
from mongo2pg.queries import INCLUDE, TARGET, statements

log = logging.getLogger(__name__)

# Memory for one index build of the session; PostgreSQL's default of 64 MB sorts larger tables on disk.
MAINTENANCE_MEMORY = "256MB"

_CONSTRAINT = re.compile(r"ALTER TABLE (?:ONLY )?(?:\w+\.)?(\w+)\s+ADD CONSTRAINT (\w+)\s+(PRIMARY|UNIQUE|FOREIGN)", re.IGNORECASE)
_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?(\w+)\s+ON (?:\w+\.)?(\w+)", re.IGNORECASE)
_REFERENCED = re.compile(r"REFERENCES (?:\w+\.)?(\w+)", re.IGNORECASE)


def create_tables(conn: Connection, domain: Domain) -> None:
    """Runs the domain's pre-data: its tables, bare, where they are missing."""
    conn.execute((INCLUDE / domain.name / "pre_data.sql").read_text())


def build_post_data(conn: Connection, domain: Domain) -> list[str]:
    """Builds those keys, constraints and indexes of the domain that the catalog lacks, in the file's order; returns their names.

    A foreign key waits until the table that it refers to is complete, which may be another domain's affair.
    """
    present = _present(conn)
    conn.execute("SELECT set_config('maintenance_work_mem', %s, true)", (MAINTENANCE_MEMORY,))
    built = []
    for statement in statements(INCLUDE / domain.name / "post_data.sql"):
        name = _name(statement)
        referenced = _REFERENCED.search(statement)
        if name in present or (referenced and not is_complete(conn, referenced[1])):
            continue
        conn.execute(statement)
        built.append(name)
    if built:
        log.info("built %s keys, constraints and indexes: %s", len(built), ", ".join(built))
    return built


def is_complete(conn: Connection, table: str) -> bool:
    """Whether the table's first load settled: its primary key is built then, and not before."""
    row = conn.execute(
        "SELECT FROM pg_constraint WHERE contype = 'p' AND conrelid = to_regclass(%s)", (f"{TARGET}.{table}",)
    ).fetchone()
    return row is not None


def foreign_keys(conn: Connection) -> set[tuple[str, str]]:
    """(table, column) of every foreign key that the target has."""
    rows = conn.execute(
        """
        SELECT c.conrelid::regclass::text, a.attname FROM pg_constraint c
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY(c.conkey)
        JOIN pg_namespace n ON n.oid = c.connamespace
        WHERE c.contype = 'f' AND n.nspname = %s
        """,
        (TARGET,),
    )
    return {(table.split(".")[-1].strip('"'), column) for table, column in rows}


def referring_tables(conn: Connection, table: str) -> set[str]:
    """The tables whose foreign keys point at this one, by their names; those of other schemas with the schema."""
    rows = conn.execute(
        """
        SELECT CASE WHEN n.nspname = %(schema)s THEN c.relname ELSE n.nspname || '.' || c.relname END
        FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE f.contype = 'f' AND f.confrelid = to_regclass(%(table)s)
        """,
        {"schema": TARGET, "table": f"{TARGET}.{table}"},
    )
    return {row[0] for row in rows}


def drop_unique_keys(conn: Connection, table: str) -> None:
    """Takes a table's plain UNIQUE constraints away inside a transaction that builds them again before it ends."""
    rows = conn.execute(
        "SELECT conname FROM pg_constraint WHERE contype = 'u' AND NOT condeferrable AND conrelid = to_regclass(%s)",
        (f"{TARGET}.{table}",),
    ).fetchall()
    for (name,) in rows:
        conn.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(sql.Identifier(TARGET, table), sql.Identifier(name)))


def differences(conn: Connection, domain: Domain) -> list[str]:
    """How the domain's tables in the catalog differ from the declaration, a sentence each; missing tables are none."""
    faults = []
    for table in domain.tables:
        found = {
            name: (kind, required)
            for name, kind, required in conn.execute(
                """
                SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
                WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
                """,
                (f"{TARGET}.{table.name}",),
            )
        }
        if not found:
            continue
        for column in table.columns:
            wanted = ("timestamp with time zone" if column.type == "timestamptz" else column.type, column.required)
            got = found.pop(column.name, None)
            where = f"{TARGET}.{table.name}.{column.name}"
            if got is None:
                faults.append(f"column {where} is missing: add it as {wanted[0]}")
            elif got[0] != wanted[0]:
                faults.append(f"column {where} is {got[0]}, the declaration says {wanted[0]}")
            elif got[1] != wanted[1]:
                faults.append(f"column {where} is {'NOT NULL' if got[1] else 'nullable'}, the declaration says the opposite")
        faults += [f"column {TARGET}.{table.name}.{name} is not declared: drop it or declare it" for name in sorted(found)]
    return faults


def _present(conn: Connection) -> set[str]:
    rows = conn.execute(
        """
        SELECT conname FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace WHERE n.nspname = %(schema)s
        UNION SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = %(schema)s AND relkind = 'i'
        """,
        {"schema": TARGET},
    )
    return {row[0] for row in rows}


def _name(statement: str) -> str:
    constraint, index = _CONSTRAINT.search(statement), _INDEX.search(statement)
    if constraint:
        return constraint[2]
    if index:
        return index[1]
    raise ValueError(f"not a named constraint or index: {statement}")
