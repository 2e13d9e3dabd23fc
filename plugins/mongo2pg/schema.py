"""The target's catalog: what the DDL of a domain made, what is still to be built, and where it differs from the declaration."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterable, Set
from pathlib import Path
from typing import NamedTuple

from psycopg import IntegrityError, ProgrammingError, sql

from mongo2pg.books import Connection
from mongo2pg.errors import PermanentError
from mongo2pg.guards import ENFORCED, guards
from mongo2pg.model import Domain, Table
from mongo2pg.queries import INCLUDE, TARGET, statements

log = logging.getLogger(__name__)

# Memory for one index build of the session; PostgreSQL's default of 64 MB sorts larger tables on disk.
MAINTENANCE_MEMORY = "256MB"

_CONSTRAINT = re.compile(
    r"ALTER TABLE (?:ONLY )?(?:\w+\.)?(\w+)\s+ADD CONSTRAINT (\w+)\s+(PRIMARY|UNIQUE|FOREIGN)[^(]*\(([^)]*)\)", re.IGNORECASE
)
_INDEX = re.compile(
    r"CREATE (?:UNIQUE )?INDEX (?:IF NOT EXISTS )?(\w+)\s+ON (?:\w+\.)?(\w+)[^(]*\((.*)\)", re.IGNORECASE | re.DOTALL
)
_NAMED = re.compile(r"(?:CONSTRAINT|INDEX)(?: IF NOT EXISTS)? (\w+)", re.IGNORECASE)
_LITERAL = re.compile(r"'((?:[^']|'')*)'")
_REFERENCED = re.compile(r"REFERENCES (?:\w+\.)?(\w+)", re.IGNORECASE)


def script_faults(domain: Domain) -> list[str]:
    """What is wrong with the domain's two files as they stand, a sentence each."""
    files = [INCLUDE / domain.name / f"{part}_data.sql" for part in ("pre", "post")]
    if missing := [path for path in files if not path.is_file()]:
        return [f"{_shown(path)} is missing: write it (docs/new_domain.md)" for path in missing]
    return [
        f"{_shown(files[1])} may hold ALTER TABLE … ADD CONSTRAINT … PRIMARY KEY, UNIQUE or FOREIGN KEY, and CREATE INDEX, not: "
        f"{' '.join(statement.split())[:100]}"
        for statement in statements(files[1])
        if not _built_by(statement)
    ]


def _shown(path: Path) -> str:
    return f"include/sql/{path.parent.name}/{path.name}"


def create_tables(conn: Connection, domain: Domain) -> list[str]:
    """Runs the domain's pre-data: its tables, bare, where they are missing; returns why that failed, or which are missing still."""
    script = INCLUDE / domain.name / "pre_data.sql"
    try:
        conn.execute(script.read_text())
    except ProgrammingError as error:
        return [f"{_shown(script)} fails: {error.diag.message_primary}"]
    _let_publish(conn, domain)
    return [
        f"the table {TARGET}.{table.name} is declared, and {_shown(script)} does not make it"
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


def _publish_by_key(conn: Connection, table: str) -> None:
    """Now that there is one: whole rows need not be written any more."""
    whole = "SELECT relreplident = 'f' FROM pg_class WHERE oid = to_regclass(%s)"
    if conn.execute(whole, (f"{TARGET}.{table}",)).fetchone() == (True,):
        conn.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY DEFAULT").format(sql.Identifier(TARGET, table)))


def build_post_data(conn: Connection, domains: Iterable[Domain], loaded: Set[str]) -> list[str]:
    """Builds those keys, constraints and indexes of the domains that the catalog lacks, in their files' order; returns their names.

    They wait until their table is complete, or among the `loaded` ones, whose first load ends now. A foreign key waits for the
    table that it refers to as well, which may be another domain's affair. Raises PermanentError where the rows forbid one: somebody
    else dropped it and wrote rows that it would have refused.
    """
    present, complete = _present(conn), complete_tables(conn)
    conn.execute("SELECT set_config('maintenance_work_mem', %s, true)", (MAINTENANCE_MEMORY,))
    built = []
    for statement in itertools.chain.from_iterable(statements(INCLUDE / each.name / "post_data.sql") for each in domains):
        if (made := _built_by(statement)) is None:
            continue  # `script_faults` lets no such statement pass
        table, name = made.table, made.name
        waits = table not in loaded and table not in complete
        if (table, name) in present or waits or (made.references and made.references not in complete):
            continue
        try:
            conn.execute(statement)
        except IntegrityError as error:
            raise PermanentError(
                f"{name} of {table} cannot be built ({error.diag.message_detail}): remove the rows that the checks references and "
                "uniqueness of an earlier run, or of a reconcile, name, then run again"
            ) from error
        present.add((table, name))  # a domain may be among these twice, in parts
        built.append(name)
        if made.kind == "p":
            _publish_by_key(conn, table)
            complete.add(table)
    if built:
        log.info("built %s keys, constraints and indexes: %s", len(built), ", ".join(built))
    return built


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
    catalog = _columns(conn, domain)
    checks = _checks(conn, domain)
    faults = []
    for table in domain.tables:
        found = catalog.get(table.name)
        if not found:
            continue
        for column in table.stored:
            wanted = ("timestamp with time zone" if column.type == "timestamptz" else column.type, column.required)
            got = found.pop(column.name, None)
            where = f"{TARGET}.{table.name}.{column.name}"
            if got is None:
                faults.append(f"column {where} is missing: add it as {wanted[0]}")
            elif got[0] != wanted[0]:
                faults.append(f"column {where} is {got[0]}, the declaration says {wanted[0]}")
            elif got[1] != wanted[1]:
                faults.append(
                    f"column {where} is NOT NULL, the declaration says the opposite"
                    if got[1]
                    else f"column {where} is nullable, the declaration says the opposite: {_required(domain, table, column.name)}"
                )
        faults += [f"column {TARGET}.{table.name}.{name} is not declared: drop it or declare it" for name in sorted(found)]
        faults += _altered_enums(domain, table, checks)
    return faults + _misbuilt(conn, domain) + _strangers(conn, domain)


def _required(domain: Domain, table: Table, column: str) -> str:
    """How a column becomes NOT NULL. A document that lacks the value keeps its last good row, so that no run takes that one out."""
    name, empty = f"{TARGET}.{table.name}", f"FROM {TARGET}.{table.name} WHERE {column} IS NULL"
    return (
        f"ALTER TABLE {name} ALTER {column} SET NOT NULL; if rows are NULL there, DELETE {empty} first, which takes along what "
        f"hangs on them, and then run {domain.name}, and the domains that refer to it, with mode full"
    )


def _columns(conn: Connection, domain: Domain) -> dict[str, dict[str, tuple[str, bool]]]:
    """By table and name the columns that the catalog has: their type, and whether they are NOT NULL."""
    found: dict[str, dict[str, tuple[str, bool]]] = {}
    for table, name, kind, required in conn.execute(
        """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
        WHERE c.relnamespace = to_regnamespace(%s) AND c.relname = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped
        """,
        (TARGET, [table.name for table in domain.tables]),
    ):
        found.setdefault(table, {})[name] = (kind, required)
    return found


def _checks(conn: Connection, domain: Domain) -> dict[tuple[str, str], str]:
    """By table and name the definitions of the CHECKs that the domain's tables have."""
    rows = conn.execute(
        """
        SELECT t.relname, c.conname, pg_get_constraintdef(c.oid) FROM pg_class t JOIN pg_constraint c ON c.conrelid = t.oid
        WHERE t.relnamespace = to_regnamespace(%s) AND t.relname = ANY(%s) AND c.contype = 'c'
        """,
        (TARGET, [table.name for table in domain.tables]),
    )
    return {(table, name): definition for table, name, definition in rows}


def _altered_enums(domain: Domain, table: Table, checks: dict[tuple[str, str], str]) -> list[str]:
    """The CHECKs of the table's enums that are gone, or that let other values pass than the declaration."""
    faults = []
    for column in table.columns:
        name = f"{table.name}_{column.name}_check"
        # As PostgreSQL writes a literal: apostrophes and backslashes stand twice.
        values = _LITERAL.findall(checks.get((table.name, name), ""))
        if column.enum and {text.replace("''", "'").replace("\\\\", "\\") for text in values} != set(column.enum):
            faults.append(
                f"the constraint {name} of {TARGET}.{table.name} is missing or lets other values pass than the declaration: "
                f"make it as it stands in include/sql/{domain.name}/pre_data.sql"
            )
    return faults


def _strangers(conn: Connection, domain: Domain) -> list[str]:
    """What somebody else added to the domain's tables and what could refuse, change or hide rows."""
    texts = [(INCLUDE / domain.name / f"{part}_data.sql").read_text() for part in ("pre", "post")]
    rows = conn.execute(
        """
        WITH ours AS (
            SELECT oid, relname::text AS name, relrowsecurity AND relforcerowsecurity AS secured FROM pg_class
            WHERE relnamespace = to_regnamespace(%(schema)s) AND relname = ANY(%(tables)s)
        )
        SELECT o.name, 'the constraint ' || c.conname FROM ours o JOIN pg_constraint c ON c.conrelid = o.oid
        WHERE c.contype <> 'n' AND NOT c.conname = ANY(%(known)s)
        UNION ALL
        SELECT o.name, 'the unique index ' || x.relname
        FROM ours o JOIN pg_index i ON i.indrelid = o.oid JOIN pg_class x ON x.oid = i.indexrelid
        WHERE i.indisunique AND NOT x.relname = ANY(%(known)s)
          AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x'))
        UNION ALL
        SELECT o.name, 'the trigger ' || t.tgname FROM ours o JOIN pg_trigger t ON t.tgrelid = o.oid
        WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
        UNION ALL
        SELECT o.name, 'the rule ' || r.rulename FROM ours o JOIN pg_rewrite r ON r.ev_class = o.oid WHERE r.rulename <> '_RETURN'
        UNION ALL
        SELECT o.name, 'the generated column ' || a.attname FROM ours o JOIN pg_attribute a ON a.attrelid = o.oid
        WHERE a.attgenerated <> '' AND NOT a.attisdropped
        UNION ALL
        SELECT o.name, 'row-level security' FROM ours o WHERE o.secured
        ORDER BY 1, 2
        """,
        {
            "schema": TARGET,
            "tables": [table.name for table in domain.tables],
            "known": [name for text in texts for name in _NAMED.findall(text)],
        },
    )
    return [f"{what} of {TARGET}.{table} is not in include/sql/{domain.name}: drop it" for table, what in rows]


def _misbuilt(conn: Connection, domain: Domain) -> list[str]:
    """The keys, constraints and indexes of post-data whose name stands for something else: nobody would ever build them."""
    script = INCLUDE / domain.name / "post_data.sql"
    tables = [table.name for table in domain.tables]
    wanted = [made for statement in statements(script) if (made := _built_by(statement)) and made.table in tables]
    there = {(table, guard.name): guard for table, found in guards(conn, tables).items() for guard in found}
    relations = _relations(conn, [made.name for made in wanted])
    faults = []
    for made in wanted:
        guard = there.get((made.table, made.name))
        holder, columns, broken = relations.get(made.name, (None, None, False))
        where = f"{made.name} of {TARGET}.{made.table}"
        drop = f"ALTER TABLE {TARGET}.{made.table} DROP CONSTRAINT {made.name}, and a run builds it again"
        if guard and (guard.kind, guard.columns, guard.references) != (made.kind, made.columns, made.references):
            faults.append(f"the constraint {where} is another one than in {_shown(script)}: {drop}")
        elif guard and guard.state == "not valid":
            validate = f"ALTER TABLE {TARGET}.{made.table} VALIDATE CONSTRAINT {made.name}"
            faults.append(f"the constraint {where} is not valid, no older row was looked at: {validate}, or {drop}")
        elif guard and guard.state != ENFORCED:
            faults.append(f"the constraint {where} holds nothing ({guard.state}): {drop}")
        elif not guard and made.name in relations and made.kind != "f" and (holder != made.table or made.kind != "i"):
            # Names of keys and indexes are one table's alone, those of foreign keys are not.
            what = f"an index of {TARGET}.{holder}: ALTER INDEX" if holder else "a table, view or sequence: ALTER TABLE"
            faults.append(f"{where} cannot be built, its name is that of {what} {TARGET}.{made.name} RENAME TO …, or drop that")
        elif made.kind == "i" and (broken or (None not in (columns, made.columns) and columns != made.columns)):
            state = "broken" if broken else f"another one than in {_shown(script)}"
            faults.append(f"the index {where} is {state}: DROP INDEX {TARGET}.{made.name}, and a run builds it again")
    return faults


def _relations(conn: Connection, names: list[str]) -> dict[str, tuple[str | None, frozenset[str] | None, bool]]:
    """By name an index's table, its columns if they are plain, and whether it is broken; what is no index has no table."""
    rows = conn.execute(
        """
        SELECT c.relname, t.relname, i.indexprs IS NULL,
               ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)),
               coalesce(NOT (i.indisvalid AND i.indisready), false)
        FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid LEFT JOIN pg_class t ON t.oid = i.indrelid
        WHERE c.relnamespace = to_regnamespace(%s) AND c.relname = ANY(%s)
        """,
        (TARGET, names),
    )
    return {name: (table, frozenset(columns) if plain else None, broken) for name, table, plain, columns, broken in rows}


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


class _Made(NamedTuple):
    """What a statement of post-data builds: a constraint by its kind in the catalog (p, u or f), or an index (i).

    `columns` is None of an index of expressions.
    """

    table: str
    name: str
    kind: str
    columns: frozenset[str] | None
    references: str | None = None


def _built_by(statement: str) -> _Made | None:
    """What a statement of post-data builds; None of any other statement."""
    if constraint := _CONSTRAINT.match(statement):
        table, name, kind, columns = (part.lower() for part in constraint.groups())
        referenced = _REFERENCED.search(statement)
        return _Made(table, name, kind[0], _names(columns), referenced[1].lower() if referenced else None)
    if index := _INDEX.match(statement):
        name, table, columns = (part.lower() for part in index.groups())
        return _Made(table, name, "i", _names(columns))
    return None


def _names(columns: str) -> frozenset[str] | None:
    """The columns of a list of nothing but names."""
    names = [name.strip() for name in columns.split(",")]
    return frozenset(names) if all(name.isidentifier() for name in names) else None
