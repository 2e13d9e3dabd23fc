"""Where the target's catalog differs from the declaration, and what stands there that could refuse, change or hide rows."""

from __future__ import annotations

import re
from typing import Any

from mongo2pg.books import Connection
from mongo2pg.model import Domain, Table
from mongo2pg.queries import TARGET, quoted
from mongo2pg.target.guards import ENFORCED, Guard, guards
from mongo2pg.target.scripts import Made, known_names, post_data, pre_checks, script, shown, stored_name

_LITERAL = re.compile(r"'((?:[^']|'')*)'")
# What makes of the values that pass those that do not: NOT IN is written with the first.
_OPPOSITE = re.compile(r"<>|\bNOT\b(?! NULL)")


def differences(conn: Connection, domain: Domain) -> list[str]:
    """How the domain's tables in the catalog differ from the declaration, a sentence each; missing tables are none."""
    if faults := _no_tables(conn, domain):
        return faults
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
                opposite = f"column {where} is {'NOT NULL' if got[1] else 'nullable'}, the declaration says the opposite"
                faults.append(opposite if got[1] else f"{opposite}: {_required(conn, domain, table.name, column.name)}")
        faults += [f"column {TARGET}.{table.name}.{name} is not declared: drop it or declare it" for name in sorted(found)]
        faults += _altered_enums(domain, table, checks)
        faults += _missing_checks(domain, table, checks)
    return faults + _misbuilt(conn, domain) + _strangers(conn, domain) + _unlogged(conn, domain)


def _required(conn: Connection, domain: Domain, table: str, column: str) -> str:
    """How a column becomes NOT NULL. A document that lacks the value keeps its last good row, so that no run takes that one out."""
    written_as = quoted(conn, [table, column])
    name, column = f"{TARGET}.{written_as[table]}", written_as[column]
    empty = f"FROM {name} WHERE {column} IS NULL"
    return (
        f"ALTER TABLE {name} ALTER {column} SET NOT NULL; if rows are NULL there, DELETE {empty} first, which takes along what "
        f"hangs on them, and then run {domain.name}, and the domains that refer to it, with mode full"
    )


def _no_tables(conn: Connection, domain: Domain) -> list[str]:
    """What has the name of a table and takes no rows, or has no keys of its own: of such a thing nothing else needs to be said."""
    rows = conn.execute(
        """
        SELECT relname, CASE relkind
            WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table'
            WHEN 'p' THEN 'a partitioned table' ELSE 'no table' END
        FROM pg_class
        WHERE relnamespace = to_regnamespace(%s) AND relname = ANY(%s) AND relkind <> 'r' ORDER BY 1
        """,
        (TARGET, [table.name for table in domain.tables]),
    )
    return [
        f"{TARGET}.{name} is {kind}, rows go to plain tables: rename it or drop it, and a run makes the table"
        for name, kind in rows
    ]


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
    """By table and name the definitions of the CHECKs that hold for every row of the domain's tables."""
    rows = conn.execute(
        """
        SELECT t.relname, c.conname, pg_get_constraintdef(c.oid) FROM pg_class t JOIN pg_constraint c ON c.conrelid = t.oid
        WHERE t.relnamespace = to_regnamespace(%s) AND t.relname = ANY(%s) AND c.contype = 'c' AND c.convalidated
        """,
        (TARGET, [table.name for table in domain.tables]),
    )
    return {(table, name): definition for table, name, definition in rows}


def _altered_enums(domain: Domain, table: Table, checks: dict[tuple[str, str], str]) -> list[str]:
    """The CHECKs of the table's enums that are gone, or that let other values pass than the declaration."""
    faults = []
    for column in table.columns:
        name = stored_name(f"{table.name}_{column.name}_check")
        # As PostgreSQL writes a literal: apostrophes and backslashes stand twice.
        definition = checks.get((table.name, name), "")
        values = {text.replace("''", "'").replace("\\\\", "\\") for text in _LITERAL.findall(definition)}
        if column.enum and (values != set(column.enum) or _OPPOSITE.search(_LITERAL.sub("", definition))):
            faults.append(
                f"the constraint {name} of {TARGET}.{table.name} is missing or lets other values pass than the declaration: "
                f"make it as it stands in include/sql/{domain.name}/pre_data.sql; rows with others are "
                f"{'deleted' if column.required else 'made NULL there'} first, and "
                f"{'become rejects' if column.required else 'keep theirs in extra'} once {domain.name} has run with mode full"
            )
    return faults


def _missing_checks(domain: Domain, table: Table, checks: dict[tuple[str, str], str]) -> list[str]:
    """The other CHECKs that pre-data gives the table, and which came there when that was made already."""
    enums = {stored_name(f"{table.name}_{column.name}_check") for column in table.columns if column.enum}
    return [
        f"the constraint {name} of {TARGET}.{table.name} is missing: make it as it stands in {shown(script(domain, 'pre'))}"
        for name in pre_checks(domain).get(table.name, [])
        if name not in enums and (table.name, name) not in checks
    ]


def _strangers(conn: Connection, domain: Domain) -> list[str]:
    """What somebody else added to the domain's tables and what could refuse, change or hide rows."""
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
        WHERE (a.attgenerated <> '' OR a.attidentity = 'a') AND NOT a.attisdropped
        UNION ALL
        SELECT o.name, 'row-level security' FROM ours o WHERE o.secured
        ORDER BY 1, 2
        """,
        {
            "schema": TARGET,
            "tables": [table.name for table in domain.tables],
            "known": known_names(domain),
        },
    )
    return [f"{what} of {TARGET}.{table} is not in include/sql/{domain.name}: drop it" for table, what in rows]


def _unlogged(conn: Connection, domain: Domain) -> list[str]:
    """The domain's tables, and those of the books, that PostgreSQL empties after a crash."""
    rows = conn.execute(
        """
        SELECT format('%%s.%%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.relpersistence = 'u' AND (n.nspname = %s AND c.relname = ANY(%s) OR n.nspname = 'migration')
        ORDER BY 1
        """,
        (TARGET, [table.name for table in domain.tables]),
    )
    return [f"the table {name} is UNLOGGED, a crash empties it: ALTER TABLE {name} SET LOGGED" for (name,) in rows]


def _misbuilt(conn: Connection, domain: Domain) -> list[str]:
    """The keys, constraints and indexes of post-data whose name stands for something else: nobody would ever build them."""
    file = shown(script(domain, "post"))
    tables = [table.name for table in domain.tables]
    wanted = [made for made, _ in post_data(domain) if made.table in tables]
    there = {(table, guard.name): guard for table, found in guards(conn, tables).items() for guard in found}
    relations = _relations(conn, [made.name for made in wanted])
    written_as = quoted(conn, [*tables, *(made.name for made in wanted)])
    faults = []
    for made in wanted:
        guard = there.get((made.table, made.name))
        holder, columns, broken = relations.get(made.name, (None, None, False))
        where = f"{made.name} of {TARGET}.{made.table}"
        alter, name = f"ALTER TABLE {TARGET}.{written_as[made.table]}", written_as[made.name]
        drop = f"{alter} DROP CONSTRAINT {name}, and a run builds it again"
        if guard and _meaning(guard) != _meaning(made):
            faults.append(f"the constraint {where} is another one than in {file}: {drop}")
        elif guard and guard.state == "not valid":
            validate = f"{alter} VALIDATE CONSTRAINT {name}"
            faults.append(f"the constraint {where} is not valid, no older row was looked at: {validate}, or {drop}")
        elif guard and guard.state != ENFORCED:
            faults.append(f"the constraint {where} holds nothing ({guard.state}): {drop}")
        elif not guard and made.name in relations and made.kind != "f" and (holder != made.table or made.kind != "i"):
            # Names of keys and indexes are one table's alone, those of foreign keys are not.
            what = f"an index of {TARGET}.{holder}: ALTER INDEX" if holder else "a table, view or sequence: ALTER TABLE"
            faults.append(f"{where} cannot be built, its name is that of {what} {TARGET}.{name} RENAME TO …, or drop that")
        elif made.kind == "i" and (broken or (None not in (columns, made.columns) and columns != made.columns)):
            state = "broken" if broken else f"another one than in {file}"
            faults.append(f"the index {where} is {state}: DROP INDEX {TARGET}.{name}, and a run builds it again")
    return faults


def _meaning(constraint: Guard | Made) -> tuple[Any, ...]:
    return constraint.kind, constraint.columns, constraint.references, constraint.deferrable, constraint.on_delete


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
