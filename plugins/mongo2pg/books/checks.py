"""The verdicts of checks, and the differences that they found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg.types.json import Jsonb

from mongo2pg.books.entries import Check, Connection, RunKey


def write_checks(conn: Connection, run: RunKey, checks: Iterable[Check], since: str | None = None) -> bool:
    """Notes the checks, each in the place of an earlier one of the same name, subject and chunk of this run.

    Where they were begun at a time (`since`, of PostgreSQL's clock), one that was begun later stays: it saw more. Returns whether
    all were noted.
    """
    rows = [
        (run.domain, run.run_id, c.check, c.subject, c.chunk, c.verdict, Jsonb(c.expected), Jsonb(c.actual), c.detail, since, since)
        for c in checks
    ]
    with conn.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO migration.checks AS c
                (domain, run_id, check_name, subject, chunk, verdict, expected, actual, detail, checked_at)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, coalesce(%s::timestamptz, now()))
            ON CONFLICT (domain, run_id, check_name, subject, chunk) DO UPDATE
            SET verdict = excluded.verdict, expected = excluded.expected, actual = excluded.actual,
                detail = excluded.detail, checked_at = excluded.checked_at
            WHERE %s::timestamptz IS NULL OR c.checked_at < excluded.checked_at
            """,
            rows,
        )
        return cursor.rowcount == len(rows)


def read_checks(conn: Connection, run: RunKey) -> list[Check]:
    """All checks of a run, as they were last written."""
    rows = conn.execute(
        """
        SELECT check_name, subject, verdict, expected, actual, detail, chunk FROM migration.checks
        WHERE domain = %s AND run_id = %s ORDER BY check_name, subject, chunk
        """,
        (run.domain, run.run_id),
    )
    return [Check(*row) for row in rows]


def last_progress(conn: Connection, run: RunKey, collection: str) -> dict[str, Any] | None:
    """What the window before this one read of the collection, as its check `progress` found it; None before the second one."""
    row = conn.execute(
        """
        SELECT actual FROM migration.checks
        WHERE (domain, check_name, subject) = (%s, 'progress', %s) AND run_id <> %s ORDER BY checked_at DESC LIMIT 1
        """,
        (run.domain, collection, run.run_id),
    ).fetchone()
    return row[0] if row else None


def forget_checks(conn: Connection, run: RunKey) -> None:
    """Before a new plan: what an earlier plan of this run was checked for says nothing of this one."""
    conn.execute("DELETE FROM migration.checks WHERE domain = %s AND run_id = %s", (run.domain, run.run_id))
    conn.execute("DELETE FROM migration.differences WHERE domain = %s AND run_id = %s", (run.domain, run.run_id))


def forget_verdicts(conn: Connection, run: RunKey, checks: Sequence[str], subjects: Sequence[str], chunk: int = -1) -> None:
    """Before checks are made again, and not in their transaction: whoever is killed meanwhile leaves no earlier verdict."""
    conn.execute(
        """
        DELETE FROM migration.checks
        WHERE (domain, run_id, chunk) = (%s, %s, %s) AND check_name = ANY(%s) AND subject = ANY(%s)
        """,
        (run.domain, run.run_id, chunk, list(checks), list(subjects)),
    )


def forget_differences(conn: Connection, run: RunKey, check: str, chunk: int, tables: Sequence[str]) -> None:
    """Before a check is made again: the differences that it found the last time."""
    conn.execute(
        """
        DELETE FROM migration.differences
        WHERE (domain, run_id, check_name, chunk) = (%s, %s, %s, %s) AND table_name = ANY(%s)
        """,
        (run.domain, run.run_id, check, chunk, list(tables)),
    )
