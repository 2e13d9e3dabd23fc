"""What the target's catalog guarantees of a table: its primary key, unique keys and foreign keys, and whether they hold.

A constraint that is there may guarantee nothing: one that was added NOT VALID never looked at the rows before it, one whose
triggers are disabled looks at none, and an index that could not be built to its end lacks rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from psycopg import sql

from mongo2pg import books
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.files.planned import FULL, RECONCILE, scope
from mongo2pg.files.staging import CollectionStaging, RunStaging
from mongo2pg.model import Collection, Domain, Table
from mongo2pg.queries import TARGET

log = logging.getLogger(__name__)

ENFORCED, MISSING = "enforced", "missing"


class Guard(NamedTuple):
    """A constraint: its name, its kind in the catalog (p, u or f), its columns, the table that it refers to, and its state.

    It may be `deferrable`, and `on_delete` is what a foreign key does to its rows, by the catalog's letter.
    """

    name: str
    kind: str
    columns: frozenset[str]
    references: str | None
    state: str
    deferrable: bool
    on_delete: str


def guards(conn: Connection, tables: Sequence[str]) -> dict[str, list[Guard]]:
    """The keys and foreign keys of these tables of the target, by table; each `enforced`, or what it is instead."""
    rows = conn.execute(
        """
        SELECT t.name, c.conname::text, c.contype::text,
               ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = ANY(c.conkey)),
               CASE WHEN f.relnamespace = to_regnamespace(%(schema)s) THEN f.relname::text ELSE f.oid::regclass::text END,
               CASE WHEN NOT c.convalidated THEN 'not valid'
                    -- A column of pg_constraint since PostgreSQL 18.
                    WHEN to_jsonb(c) ->> 'conenforced' = 'false' THEN 'not enforced'
                    WHEN NOT coalesce(i.indisvalid AND i.indisready AND i.indislive, true) THEN 'broken index'
                    WHEN EXISTS (SELECT FROM pg_trigger t WHERE t.tgconstraint = c.oid AND t.tgenabled NOT IN ('O', 'A'))
                        THEN 'disabled'
                    ELSE %(enforced)s END,
               c.condeferrable, trim(c.confdeltype::text)
        FROM unnest(%(tables)s::text[]) AS t (name)
        JOIN pg_constraint c ON c.contype IN ('p', 'u', 'f') AND c.conrelid = to_regclass(%(schema)s || '.' || t.name)
        LEFT JOIN pg_class f ON f.oid = c.confrelid
        LEFT JOIN pg_index i ON i.indexrelid = c.conindid AND c.contype IN ('p', 'u')
        """,
        {"schema": TARGET, "tables": list(tables), "enforced": ENFORCED},
    )
    found: dict[str, list[Guard]] = {table: [] for table in tables}
    for table, name, kind, columns, *rest in rows:
        found[table].append(Guard(name, kind, frozenset(columns), *rest))
    return found


def state_of(found: Sequence[Guard], kinds: str, columns: Sequence[str], references: str | None = None) -> str:
    """How well the table's guards hold a key or a reference: the best of those that fit, `missing` where none does."""
    states = [g.state for g in found if g.kind in kinds and g.columns == set(columns) and g.references == references]
    return ENFORCED if ENFORCED in states else states[0] if states else MISSING


# How PostgreSQL is to read: tables and no indexes, and a key of 200,000 rows is grouped in memory, not on disk.
_TABLES_ONLY = """
    SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off;
    SET LOCAL work_mem = '64MB'
"""
_AS_USUAL = """
    SET LOCAL enable_indexscan TO DEFAULT; SET LOCAL enable_indexonlyscan TO DEFAULT; SET LOCAL enable_bitmapscan TO DEFAULT;
    SET LOCAL work_mem TO DEFAULT
"""


@contextmanager
def reading_tables(conn: Connection) -> Iterator[None]:
    """Inside, PostgreSQL reads tables and no indexes: a broken index would vouch for itself."""
    conn.execute(_TABLES_ONLY)
    yield
    conn.execute(_AS_USUAL)


def rows_to_check(table: Table, *, whole: bool) -> sql.Composed:
    """A condition on `x`: all rows of the table, or those of the documents that the run read (`name_read`)."""
    if whole:
        return sql.Composed([sql.SQL("true")])
    return sql.SQL("x.{} IN (SELECT id FROM pg_temp.mongo2pg_read)").format(sql.Identifier(table.owner))


def judge_tables(
    conn: Connection,
    run: RunKey,
    domain: Domain,
    staging: RunStaging,
    name: str,
    judge: Callable[[Collection, Table, list[Guard], bool], Check | None],
) -> list[Check]:
    """The check of this name for every table, in one transaction, in the books and in the log; an earlier verdict goes first.

    `judge` is told what guards the table, and whether all rows are to be looked at, as after a full reading. If not, the ids of
    the documents that were read stand in `mongo2pg_read`.
    """
    tables = [table.name for table in domain.tables]
    books.forget_verdicts(conn, run, [name], tables)
    checks: list[Check] = []
    with conn.transaction():
        books.forget_differences(conn, run, name, -1, tables)
        found = guards(conn, tables)
        for collection in domain.collections:
            full = _is_read_in_full(conn, staging.collection(run.plan_id, collection.name))
            checks += [check for table in collection.tables if (check := judge(collection, table, found[table.name], full))]
        books.write_checks(conn, run, checks)
    for check in checks:
        level = logging.INFO if check.verdict == "passed" else logging.ERROR
        log.log(level, "%s %s of %s: %s %s", check.verdict, name, check.subject, check.actual, check.detail or "")
    return checks


def _is_read_in_full(conn: Connection, staging: CollectionStaging) -> bool:
    if scope(staging) in (FULL, RECONCILE):
        return True
    from mongo2pg.files.root_ids import name_read  # with Arrow, which the check of whole tables does without

    name_read(conn, staging, [])
    return False
