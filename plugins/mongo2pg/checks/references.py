"""References: no row of the target refers to a row that is not there, whatever foreign keys say or fail to say.

The source's side of it stands beside: how many documents or elements were rejected as orphans, and how many optional
references are NULL because what they refer to is not there.
"""

from __future__ import annotations

from typing import Any

from psycopg import sql

from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.checks.differences import booked_differences, describe
from mongo2pg.files.staging import RunStaging
from mongo2pg.model import Collection, Column, Domain, Table
from mongo2pg.queries import set_aside, target
from mongo2pg.target import schema
from mongo2pg.target.guards import ENFORCED, Guard, judge_tables, reading_tables, rows_to_check, state_of

# Of a reference into another domain whose first load is still to come: nobody can judge it yet.
WAITS = "the table that it refers to is not loaded yet"


def judged_references(table: Table) -> list[Column]:
    """The columns that must refer to a row: the parent key of a child table, and every reference that is judged."""
    return [c for c in table.columns if c.references and c.judged]


def check_references(conn: Connection, run: RunKey, domain: Domain, staging: RunStaging) -> list[Check]:
    """The check `references` of every table with a reference; every orphan stands in migration.differences.

    All rows after a full reading, else those of the documents that were read and what no foreign key vouches for. A foreign key
    that is missing or guards nothing fails the check even where the rows are right.
    """

    def judge(collection: Collection, table: Table, found: list[Guard], full: bool) -> Check | None:
        return _check_table(conn, run, domain, collection, table, found, full) if judged_references(table) else None

    return judge_tables(conn, run, domain, staging, "references", judge)


def waited(conn: Connection, run: RunKey) -> bool:
    """Whether the run's check passed over a reference because the table that it refers to was still to come."""
    row = conn.execute(
        """
        SELECT FROM migration.checks, LATERAL jsonb_each(actual -> 'columns') AS c
        WHERE (domain, run_id, check_name) = (%s, %s, 'references') AND c.value ->> 'foreign_key' = %s LIMIT 1
        """,
        (run.domain, run.run_id, WAITS),
    ).fetchone()
    return row is not None


def _check_table(
    conn: Connection, run: RunKey, domain: Domain, collection: Collection, table: Table, found: list[Guard], full: bool
) -> Check:
    own = {each.name for each in domain.tables}
    elsewhere = {column.references for column in judged_references(table)} - own
    coming = elsewhere and elsewhere - schema.complete_tables(conn)
    facts: dict[str, Any] = {}
    faults: list[str] = []
    orphans = 0
    for column in judged_references(table):
        if column.references in coming:
            facts[column.name] = {"foreign_key": WAITS}
            continue
        state = state_of(found, "f", [column.name], column.references)
        if state != ENFORCED:
            faults.append(f"the foreign key of {column.name} to {column.references} is {state}")
        whole = full or state != ENFORCED
        count = _find_orphans(conn, run, table, column, whole=whole)
        orphans += count
        facts[column.name] = {"orphans": count, "foreign_key": state, "rejected": _rejected(conn, run, collection, table, column)}
        if not column.required:
            cleared, in_vain = _cleared(conn, run, collection, table, column, whole=whole, fault=full and column.references in own)
            facts[column.name] |= {"cleared": cleared}
            if in_vain:
                facts[column.name] |= {"cleared_in_vain": in_vain}
                if full and column.references in own:
                    faults.append(f"{in_vain} references of {column.name} were cleared although their row is there")
    passed = not faults and not orphans
    named = [] if passed else booked_differences(conn, run, "references", table.name)[1]
    detail = "; ".join([*faults, *map(describe, named)]) or None
    return Check(
        "references", table.name, "passed" if passed else "failed", {"orphans": 0}, {"orphans": orphans, "columns": facts}, detail
    )


def _find_orphans(conn: Connection, run: RunKey, table: Table, column: Column, *, whole: bool) -> int:
    statement = sql.SQL(
        """
        INSERT INTO migration.differences (domain, run_id, check_name, table_name, chunk, id, column_name, kind, target)
        SELECT %s, %s, 'references', %s, -1, x.id, %s, 'orphan', x.{column}::text FROM {table} x
        WHERE x.{column} IS NOT NULL AND {rows} AND NOT EXISTS (SELECT FROM {parent} p WHERE p.id = x.{column})
        """
    ).format(
        column=sql.Identifier(column.name),
        table=target(table.name),
        rows=rows_to_check(table, whole=whole),
        parent=target(column.references),
    )
    values = (run.domain, run.run_id, table.name, column.name)
    if not whole:
        return conn.execute(statement, values).rowcount
    with reading_tables(conn):
        return conn.execute(statement, values).rowcount


def _rejected(conn: Connection, run: RunKey, collection: Collection, table: Table, column: Column) -> int:
    """The documents, or elements of the table's array, whose open reject names this reference."""
    child = table.child
    row = conn.execute(
        """
        SELECT count(*) FROM migration.rejects
        WHERE state = 'open' AND reason = 'orphan' AND domain = %(domain)s AND collection = %(collection)s AND element = %(element)s
          AND CASE WHEN element THEN starts_with(path, %(above)s) AND right(path, length(%(below)s)) = %(below)s
                   ELSE path = %(path)s END
        """,
        {
            "domain": run.domain,
            "collection": collection.name,
            "element": child is not None,
            "above": f"{child.path}." if child else "",
            "below": f".{column.path}" if column.path else "",
            "path": column.path,
        },
    ).fetchone()
    return row[0] if row else 0


def _cleared(
    conn: Connection, run: RunKey, collection: Collection, table: Table, column: Column, *, whole: bool, fault: bool
) -> tuple[int, int]:
    """How many rows have NULL for an id that `extra` keeps, and of how many of them the row is there; a `fault` is written down.

    Not of a row whose document is none any more, because its newer version is a reject or it is gone by declaration: what that one
    named may come, and nobody fills it in.
    """
    path = column.path.split(".") if column.path else ["value"]
    cleared = sql.SQL(
        """
        SELECT x.id, x.{owner} AS root_id, CASE jsonb_typeof(o.original)
                WHEN 'string' THEN migration.uuid_from_objectid(o.original #>> '{{}}')
                WHEN 'object' THEN coalesce(migration.uuid_from_objectid(o.original ->> '$oid'),
                    -- Binary data of another length is no UUID, whatever its subtype says.
                    CASE WHEN o.original #>> '{{$binary,subType}}' = '04'
                            AND o.original #>> '{{$binary,base64}}' ~ '^[A-Za-z0-9+/]{{22}}==$'
                         THEN encode(decode(o.original #>> '{{$binary,base64}}', 'base64'), 'hex')::uuid END)
            END AS parent_id
        FROM {table} x CROSS JOIN LATERAL (SELECT x.extra #> {path} AS original) AS o
        WHERE x.{column} IS NULL AND x.extra IS NOT NULL AND o.original IS NOT NULL AND {rows}
        """
    ).format(
        owner=sql.Identifier(table.owner),
        table=target(table.name),
        path=sql.Literal(path),
        column=sql.Identifier(column.name),
        rows=rows_to_check(table, whole=whole),
    )
    in_vain = sql.SQL(
        """
        EXISTS (SELECT FROM {parent} p WHERE p.id = c.parent_id)
        AND NOT EXISTS (
            SELECT FROM migration.stale s WHERE (s.domain, s.collection, s.root_id) = ({domain}, {collection}, c.root_id))
        AND NOT EXISTS (SELECT FROM {root} t WHERE t.id = c.root_id AND {aside})
        """
    ).format(
        parent=target(column.references),
        domain=run.domain,
        collection=collection.name,
        root=target(collection.table),
        aside=set_aside(collection, "t", "now"),
    )
    row = conn.execute(
        sql.SQL("SELECT count(*), count(*) FILTER (WHERE {in_vain}) FROM ({cleared}) AS c WHERE c.parent_id IS NOT NULL").format(
            in_vain=in_vain, cleared=cleared
        )
    ).fetchone() or (0, 0)
    if row[1] and fault:
        conn.execute(
            sql.SQL(
                """
                INSERT INTO migration.differences (domain, run_id, check_name, table_name, chunk, id, column_name, kind, source)
                SELECT %s, %s, 'references', %s, -1, c.id, %s, 'different', c.parent_id::text
                FROM ({cleared}) AS c WHERE {in_vain}
                """
            ).format(in_vain=in_vain, cleared=cleared),
            (run.domain, run.run_id, table.name, column.name),
        )
    return row
