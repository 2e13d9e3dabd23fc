"""Sessions, the schema, runs, and the locks that runs take."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from mongo2pg.books.entries import Connection, RunKey
from mongo2pg.queries import INCLUDE, SESSION

log = logging.getLogger(__name__)

# What the scripts make, by its name.
_MADE = re.compile(r"^CREATE (?:OR REPLACE )?(?:TABLE|(?:UNIQUE )?INDEX|FUNCTION) (?:IF NOT EXISTS )?(?:migration\.)?(\w+)", re.M)


def open_session(conn: Connection) -> None:
    """Settings that make text images independent of the server's and the role's defaults."""
    conn.execute(SESSION)
    conn.commit()
    # From here on a transaction is what stands in a `with conn.transaction()`, and nothing stays open by accident.
    conn.autocommit = True


def install(conn: Connection) -> None:
    """Creates the schema `migration` with its tables and functions where they are missing, or brings older ones up to date.

    Where nothing is to be done no table is locked: CREATE INDEX IF NOT EXISTS waits for every load that is under way, even if the
    index is there. What somebody dropped is made again, and said: a table comes back empty.
    """
    scripts, version = _scripts()
    if _installed(conn) == version and not lost(conn):
        return
    # CREATE … IF NOT EXISTS of two sessions at once can still collide in the catalog: one at a time.
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('mongo2pg install', 0))")
    gone = lost(conn)
    if _installed(conn) == version and not gone:
        return
    for script in scripts:
        conn.execute(script)
    conn.execute(sql.SQL("COMMENT ON TABLE migration.runs IS {}").format(version))
    if gone:
        log.warning("made again, tables empty: %s. What they said is lost: run every domain with mode full", ", ".join(gone))


def lost(conn: Connection) -> list[str]:
    """What somebody dropped of the books that were there in their present version; none of books that nobody made yet."""
    scripts, version = _scripts()
    made = [name for script in scripts for name in _MADE.findall(script)]
    if _installed(conn) not in (None, version):
        return []  # an older version lacks what came later
    rows = conn.execute(
        """
        WITH there AS (
            SELECT relname AS name FROM pg_class WHERE relnamespace = to_regnamespace('migration')
            UNION SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace('migration')
        )
        SELECT 'migration.' || name FROM unnest(%(made)s::text[]) AS name
        WHERE name NOT IN (SELECT name FROM there) AND EXISTS (SELECT FROM there WHERE name = ANY(%(made)s)) ORDER BY 1
        """,
        {"made": made},
    )
    return [name for (name,) in rows]


def _scripts() -> tuple[list[str], str]:
    """What makes the books, and the version of that."""
    scripts = [path.read_text() for path in sorted((INCLUDE / "migration").glob("*.sql"))]
    return scripts, hashlib.sha256("".join(scripts).encode()).hexdigest()


def _installed(conn: Connection) -> str | None:
    row = conn.execute("SELECT obj_description(to_regclass('migration.runs'), 'pg_class')").fetchone()
    return row[0] if row else None


def are_there(conn: Connection) -> bool:
    """Whether anybody has made the books."""
    return conn.execute("SELECT to_regclass('migration.runs') IS NOT NULL").fetchone() == (True,)


def now(conn: Connection) -> str:
    """PostgreSQL's clock, which tells the order of what the books say."""
    row = conn.execute("SELECT clock_timestamp()::text").fetchone()
    return str(row[0]) if row else ""


def start_run(
    conn: Connection, run: RunKey, mode: str, params: Mapping[str, Any], started_by: str | None, ends: Mapping[str, Any]
) -> None:
    """Notes that a run began, or begins again: it was cleared, or deleted in Airflow and triggered by its old id.

    `ends` are the databases between which it moves.
    """
    conn.execute(
        """
        INSERT INTO migration.runs (domain, run_id, mode, params, state, started_by, ends)
        VALUES (%s, %s, %s, %s, 'running', %s, %s)
        ON CONFLICT (domain, run_id) DO UPDATE
        SET state = 'running', finished_at = NULL, staging_removed_at = NULL,
            mode = excluded.mode, params = excluded.params, started_by = excluded.started_by, ends = excluded.ends
        """,
        (run.domain, run.run_id, mode, Jsonb(dict(params)), started_by, Jsonb(dict(ends))),
    )


def has_begun(conn: Connection, run: RunKey) -> bool:
    """Whether the books know the run: they do not where nothing made them, or where somebody marked the task that begins it."""
    if not are_there(conn):
        return False
    found = conn.execute("SELECT FROM migration.runs WHERE (domain, run_id) = (%s, %s)", (run.domain, run.run_id))
    return found.fetchone() is not None


def run_params(conn: Connection, run: RunKey) -> dict[str, Any]:
    """What the run was given when it began; nothing for one that never did."""
    row = conn.execute("SELECT params FROM migration.runs WHERE (domain, run_id) = (%s, %s)", (run.domain, run.run_id)).fetchone()
    return dict(row[0]) if row else {}


def finish_run(conn: Connection, run: RunKey, passed: bool, report: Mapping[str, Any], sha256: str) -> None:
    """Notes the run's end with its report, and the sha256 of the file that holds it."""
    conn.execute(
        """
        UPDATE migration.runs SET state = %s, finished_at = now(), report = %s, report_sha256 = %s
        WHERE domain = %s AND run_id = %s
        """,
        ("passed" if passed else "failed", Jsonb(dict(report)), sha256, run.domain, run.run_id),
    )


def last_report(conn: Connection, run: RunKey) -> dict[str, Any] | None:
    """The report that the run ended with; None before it has one."""
    row = conn.execute("SELECT report FROM migration.runs WHERE (domain, run_id) = (%s, %s)", (run.domain, run.run_id)).fetchone()
    return row[0] if row else None


def forgettable_runs(conn: Connection, domain: str, days: int, most: int, alive: Callable[[str], bool]) -> list[str]:
    """Runs that ended that many days ago, whose staged files are not removed yet, and which are no collection's last full run.

    One that began so long ago, never ended and is not `alive` has been given up.
    """
    rows = conn.execute(
        """
        SELECT run_id, state = 'running' FROM migration.runs r
        WHERE domain = %s AND coalesce(finished_at, started_at) < now() - make_interval(days => %s) AND staging_removed_at IS NULL
          AND NOT EXISTS (SELECT FROM migration.collections c WHERE (c.domain, c.full_run) = (r.domain, r.run_id))
        ORDER BY coalesce(finished_at, started_at) LIMIT %s
        """,
        (domain, days, most),
    )
    return [run_id for run_id, unfinished in rows if not (unfinished and alive(run_id))]


def note_removal(conn: Connection, run: RunKey) -> None:
    """Notes that the run's staged files are gone, but for its report."""
    conn.execute("UPDATE migration.runs SET staging_removed_at = now() WHERE (domain, run_id) = (%s, %s)", (run.domain, run.run_id))


def lock_collection(conn: Connection, domain: str, collection: str, *, shared: bool = False) -> None:
    """Waits for the collection's lock and holds it to the end of the transaction."""
    function = "pg_advisory_xact_lock_shared" if shared else "pg_advisory_xact_lock"
    conn.execute(f"SELECT {function}(hashtextextended(%s, 0))", (f"mongo2pg {domain}.{collection}",))


def lock_collections(conn: Connection, collections: Iterable[tuple[str, str]]) -> None:
    """Waits for the locks of these collections, (domain, name), in the order that everybody takes several in."""
    conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(name, 0)) FROM unnest(%s::text[]) AS name",
        ([f"mongo2pg {domain}.{name}" for domain, name in sorted(collections)],),
    )


def lock_chunk(conn: Connection, run: RunKey, collection: str, chunk: int) -> None:
    """Waits for the chunk's lock and holds it to the end of the transaction: a task and its own retry may run at once."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"mongo2pg {run.plan_id} {collection} {chunk}",))


def lock_report(conn: Connection, run: RunKey) -> None:
    """Waits for the lock of the run's report and holds it to the end of the transaction."""
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"mongo2pg report {run.domain} {run.run_id}",))
