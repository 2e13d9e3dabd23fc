"""The books: what ran, what was committed, what was rejected, what was checked. Schema `migration` of the target."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from mongo2pg.queries import INCLUDE, SESSION

log = logging.getLogger(__name__)

Connection = psycopg.Connection[Any]
Verdict = Literal["passed", "failed", "not_run"]


class RunKey(NamedTuple):
    """Which run, under which plan, of which domain."""

    domain: str
    run_id: str
    plan_id: str = ""


class Load(NamedTuple):
    """A chunk that a run loaded under a plan."""

    run_id: str
    plan_id: str
    chunk: int


class RejectRow(NamedTuple):
    """A reject on its way into the books; `document` are the document's bytes, `document_id` its name (`document_ids`)."""

    document_id: str
    path: str
    element: bool
    bson_type: str
    reason: str
    document: bytes
    chunk: int


class Check(NamedTuple):
    """One comparison: what was expected, what was found, and the verdict. `chunk` is -1 for the whole."""

    check: str
    subject: str
    verdict: Verdict
    expected: Any = None
    actual: Any = None
    detail: str | None = None
    chunk: int = -1


def open_session(conn: Connection) -> None:
    """Settings that make text images independent of the server's and the role's defaults."""
    conn.execute(SESSION)
    conn.commit()
    # From here on a transaction is what stands in a `with conn.transaction()`, and nothing stays open by accident.
    conn.autocommit = True


def install(conn: Connection) -> None:
    """Creates the schema `migration` with its tables and functions where they are missing, or of another version.

    Where nothing is to be done no table is locked: CREATE INDEX IF NOT EXISTS waits for every load that is under way, even if the
    index is there.
    """
    scripts = [path.read_text() for path in sorted((INCLUDE / "migration").glob("*.sql"))]
    version = hashlib.sha256("".join(scripts).encode()).hexdigest()
    if _installed(conn) == version:
        return
    # CREATE … IF NOT EXISTS of two sessions at once can still collide in the catalog: one at a time.
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('mongo2pg install', 0))")
    if _installed(conn) == version:
        return
    for script in scripts:
        conn.execute(script)
    conn.execute(sql.SQL("COMMENT ON TABLE migration.runs IS {}").format(version))


def _installed(conn: Connection) -> str | None:
    row = conn.execute("SELECT obj_description(to_regclass('migration.runs'), 'pg_class')").fetchone()
    return row[0] if row else None


def start_run(conn: Connection, run: RunKey, mode: str, params: Mapping[str, Any], started_by: str | None) -> None:
    """Notes that a run began, or that it was cleared and begins again."""
    conn.execute(
        """
        INSERT INTO migration.runs (domain, run_id, mode, params, state, started_by)
        VALUES (%s, %s, %s, %s, 'running', %s)
        ON CONFLICT (domain, run_id) DO UPDATE
        SET state = 'running', finished_at = NULL, mode = excluded.mode, params = excluded.params
        """,
        (run.domain, run.run_id, mode, Jsonb(dict(params)), started_by),
    )


def finish_run(conn: Connection, run: RunKey, passed: bool, report: Mapping[str, Any], sha256: str) -> None:
    """Notes the run's end with its report, and the sha256 of the file that holds it."""
    conn.execute(
        """
        UPDATE migration.runs SET state = %s, finished_at = now(), report = %s, report_sha256 = %s
        WHERE domain = %s AND run_id = %s
        """,
        ("passed" if passed else "failed", Jsonb(dict(report)), sha256, run.domain, run.run_id),
    )


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


def phase(conn: Connection, run: RunKey, collection: str) -> tuple[str, str | None, str | None]:
    """Phase, owning run and owning plan of a collection; ('empty', None, None) for one never seen."""
    return phases(conn, run.domain, [collection])[collection]


def phases(conn: Connection, domain: str, collections: Iterable[str]) -> dict[str, tuple[str, str | None, str | None]]:
    """What `phase` says of each of these collections of a domain."""
    rows = conn.execute("SELECT collection, phase, owner_run, owner_plan FROM migration.collections WHERE domain = %s", (domain,))
    known = {collection: (phase, run_id, plan_id) for collection, phase, run_id, plan_id in rows}
    return {name: known.get(name, ("empty", None, None)) for name in collections}


def set_phase(conn: Connection, run: RunKey, collection: str, name: Literal["empty", "bulk", "complete"]) -> None:
    """Moves a collection to a phase that this run and plan own."""
    conn.execute(
        """
        INSERT INTO migration.collections (domain, collection, phase, owner_run, owner_plan) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (domain, collection) DO UPDATE
        SET phase = excluded.phase, owner_run = excluded.owner_run, owner_plan = excluded.owner_plan
        """,
        (run.domain, collection, name, run.run_id, run.plan_id),
    )


def forget_held(conn: Connection, run: RunKey, collection: str, *, everybody: bool) -> None:
    """Drops the held documents of other plans of this run, or of whatever plan."""
    conn.execute(
        "DELETE FROM migration.held WHERE domain = %s AND collection = %s AND (%s OR run_id = %s AND plan_id <> %s)",
        (run.domain, collection, everybody, run.run_id, run.plan_id),
    )


def committed_pass(conn: Connection, run: RunKey, collection: str, chunk: int) -> dict[str, Any] | None:
    """What the books say of a chunk that this run and plan loaded already, or None."""
    row = conn.execute(
        """
        SELECT to_jsonb(p) - '{inserted_ids,updated_ids}'::text[] FROM migration.passes p
        WHERE (domain, run_id, plan_id, collection, stage, chunk) = (%s, %s, %s, %s, 'load', %s)
        """,
        (*run, collection, chunk),
    ).fetchone()
    return row[0] if row else None


def later_loads(conn: Connection, run: RunKey, collection: str, read_time: str) -> list[Load]:
    """What other plans loaded and had not finished reading at that time, by the source's clock."""
    rows = conn.execute(
        """
        SELECT run_id, plan_id, chunk FROM migration.passes
        WHERE domain = %s AND collection = %s AND read_until >= %s AND stage = 'load' AND plan_id <> %s
        """,
        (run.domain, collection, read_time, run.plan_id),
    )
    return [Load(*row) for row in rows]


def loads_after(conn: Connection, run: RunKey, collection: str, chunk: int) -> list[Load]:
    """What other plans loaded after this plan had loaded that chunk."""
    rows = conn.execute(
        """
        SELECT o.run_id, o.plan_id, o.chunk FROM migration.passes o
        JOIN migration.passes m ON o.domain = m.domain AND o.collection = m.collection AND o.stage = m.stage
                               AND o.committed_at >= m.committed_at AND o.plan_id <> m.plan_id
        WHERE (m.domain, m.run_id, m.plan_id, m.collection, m.stage, m.chunk) = (%s, %s, %s, %s, 'load', %s)
        """,
        (*run, collection, chunk),
    )
    return [Load(*row) for row in rows]


def deleted_since(conn: Connection, run: RunKey, collection: str, read_time: str) -> list[str]:
    """The root ids whose documents another plan's delete found gone at that time of the source or later."""
    rows = conn.execute(
        """
        SELECT unnest(deleted_ids)::text FROM migration.passes
        WHERE domain = %s AND collection = %s AND stage = 'delete' AND read_time >= %s AND plan_id <> %s
        """,
        (run.domain, collection, read_time, run.plan_id),
    )
    return [row[0] for row in rows]


def committed_since(conn: Connection, run: RunKey, collection: str, books_time: str) -> bool:
    """Whether another plan committed a pass after that time, by PostgreSQL's clock."""
    row = conn.execute(
        """
        SELECT FROM migration.passes
        WHERE domain = %s AND collection = %s AND committed_at >= %s AND plan_id <> %s LIMIT 1
        """,
        (run.domain, collection, books_time, run.plan_id),
    ).fetchone()
    return row is not None


def now(conn: Connection) -> str:
    """PostgreSQL's clock, which tells the order of what the books say."""
    row = conn.execute("SELECT clock_timestamp()::text").fetchone()
    return str(row[0]) if row else ""


def supersede_held(conn: Connection, run: RunKey, collection: str, document_ids: Iterable[str]) -> None:
    """Drops what other plans hold of these documents, which have been read anew, and counts it there as superseded."""
    rows = conn.execute(
        """
        WITH gone AS (
            DELETE FROM migration.held WHERE domain = %s AND collection = %s AND plan_id <> %s AND document_id = ANY(%s::jsonb[])
            RETURNING run_id, plan_id, root_id, document_id
        )
        SELECT run_id, plan_id, count(DISTINCT (root_id, document_id)) FROM gone GROUP BY 1, 2
        """,
        (run.domain, collection, run.plan_id, list(document_ids)),
    ).fetchall()
    for run_id, plan_id, count in rows:
        record_pass(conn, RunKey(run.domain, run_id, plan_id), collection, "settle", None, {"superseded": count})


def held_by(conn: Connection, run: RunKey) -> set[str]:
    """The collections of which this plan holds documents."""
    rows = conn.execute("SELECT DISTINCT collection FROM migration.held WHERE plan_id = %s", (run.plan_id,))
    return {row[0] for row in rows}


def held_elsewhere(conn: Connection, run: RunKey, collection: str) -> list[str]:
    """The documents that other plans hold, as Extended JSON in PostgreSQL's writing of jsonb."""
    rows = conn.execute(
        "SELECT DISTINCT document_id::text FROM migration.held WHERE domain = %s AND collection = %s AND plan_id <> %s",
        (run.domain, collection, run.plan_id),
    )
    return [row[0] for row in rows]


def record_pass(conn: Connection, run: RunKey, collection: str, stage: str, chunk: int | None, facts: Mapping[str, Any]) -> None:
    """Writes what a transaction did to a chunk. A stage that has none may run again: each time has a pass of its own."""
    values = {name: Jsonb(value) if isinstance(value, dict) or name == "misfits" else value for name, value in facts.items()}
    conn.execute(
        sql.SQL(
            """
            INSERT INTO migration.passes (domain, run_id, plan_id, collection, stage, chunk, {})
            VALUES (%(domain)s, %(run_id)s, %(plan_id)s, %(collection)s, %(stage)s, coalesce(%(chunk)s, (
                SELECT coalesce(max(chunk) + 1, 0) FROM migration.passes
                WHERE (domain, run_id, plan_id, collection, stage)
                    = (%(domain)s, %(run_id)s, %(plan_id)s, %(collection)s, %(stage)s)
            )), {})
            """
        ).format(sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(map(sql.Placeholder, values))),
        {**run._asdict(), "collection": collection, "stage": stage, "chunk": chunk, **values},
    )


def count_deletions(conn: Connection, run: RunKey, collection: str) -> tuple[int, int]:
    """How many documents this run and plan deleted or marked, and how many it rejected for that."""
    row = conn.execute(
        """
        SELECT coalesce(sum(cardinality(deleted_ids)), 0),
               coalesce(sum((SELECT sum(count::bigint) FROM jsonb_each_text(rejected) AS r (reason, count))), 0)
        FROM migration.passes
        WHERE (domain, run_id, plan_id, collection, stage) = (%s, %s, %s, %s, 'delete')
        """,
        (*run, collection),
    ).fetchone() or (0, 0)
    return int(row[0]), int(row[1])


def was_bulk(conn: Connection, run: RunKey, collection: str) -> bool:
    """Whether this run and plan loaded the collection in bulk: then every document it loaded counts as inserted."""
    row = conn.execute(
        """
        SELECT FROM migration.passes
        WHERE (domain, run_id, plan_id, collection, stage) = (%s, %s, %s, %s, 'load') AND inserted_ids IS NULL LIMIT 1
        """,
        (*run, collection),
    ).fetchone()
    return row is not None


def last_full_runs(conn: Connection) -> dict[tuple[str, str], RunKey]:
    """By (domain, collection) the run and plan that last settled it in full; those that none did are not among them."""
    rows = conn.execute(
        """
        SELECT domain, collection, full_run, full_plan FROM migration.collections
        WHERE phase = 'complete' AND full_run IS NOT NULL
        """
    )
    return {(domain, collection): RunKey(domain, run_id, plan_id) for domain, collection, run_id, plan_id in rows}


def totals(conn: Connection, run: RunKey, collection: str) -> dict[str, Any]:
    """The sums over what chunks of the collection brought in this run and plan, and what settling changed of it.

    Of the `superseded`, the `repeated` came again in the same reading; for the others another run's reading was later.
    """
    rows = conn.execute(
        """
        SELECT read, inserted, updated, unchanged, superseded, rejected, misfits, conversions, arrays, bytes, drift,
               CASE stage WHEN 'load' THEN superseded ELSE 0 END
        FROM migration.passes WHERE (domain, run_id, plan_id, collection) = (%s, %s, %s, %s) AND stage <> 'delete'
        """,
        (*run, collection),
    ).fetchall()
    names = ("read", "inserted", "updated", "unchanged", "superseded")
    sums: dict[str, Any] = dict.fromkeys((*names, "bytes", "repeated"), 0)
    rejected: dict[str, int] = {}
    misfits: dict[str, int] = {}
    conversions: dict[str, dict[str, dict[str, Any]]] = {}
    arrays: dict[str, dict[str, int]] = {}
    drift: dict[str, dict[str, Any]] = {}
    for row in rows:
        for name, value in zip(names, row, strict=False):
            sums[name] += value
        sums["bytes"] += row[9]
        sums["repeated"] += row[11]
        _add(rejected, row[5])
        for path, rules in row[7].items():
            for rule, tally in rules.items():
                total = conversions.setdefault(path, {}).setdefault(rule, {"count": 0, "samples": tally["samples"]})
                total["count"] += tally["count"]
        for misfit in row[6]:
            misfits[misfit["path"]] = misfits.get(misfit["path"], 0) + misfit["count"]
        for path, counts in row[8].items():
            _add(arrays.setdefault(path, {}), counts)
        for path, found in row[10].items():
            seen = drift.setdefault(path, {"count": 0, "bson_types": {}, "first_id": found["first_id"]})
            seen["count"] += found["count"]
            _add(seen["bson_types"], found["bson_types"])
    return {**sums, "rejected": rejected, "misfits": misfits, "conversions": conversions, "arrays": arrays, "drift": drift}


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for key, value in more.items():
        total[key] = total.get(key, 0) + value
        if not total[key] and value < 0:
            del total[key]


def mark_stale(
    conn: Connection, run: RunKey, collection: str, table: sql.Identifier, documents: Collection[tuple[str, str]]
) -> int:
    """Marks the rows of these documents (the row's id, the document's name) as stale: their newer versions were rejected.

    Under such an id may be the row of another document; that one stays what it is.
    """
    if not documents:  # in a first load the table has no key yet: looking for nobody would read all of it
        return 0
    return conn.execute(
        sql.SQL(
            """
            INSERT INTO migration.stale (domain, collection, root_id, run_id)
            SELECT %s, %s, t.id, %s FROM {} t JOIN unnest(%s::uuid[], %s::jsonb[]) AS d (id, name) ON d.id = t.id
            WHERE migration.document_id(t.id, t.extra) = d.name
            ON CONFLICT (domain, collection, root_id) DO UPDATE SET run_id = excluded.run_id
            """
        ).format(table),
        (run.domain, collection, run.run_id, *map(list, zip(*documents, strict=True))),
    ).rowcount


def forget_stale(conn: Connection, run: RunKey, collection: str, root_ids: Iterable[str] | None = None) -> None:
    """Takes the marks of these rows, or of all of the collection, away: the rows themselves are gone."""
    conn.execute(
        "DELETE FROM migration.stale WHERE domain = %s AND collection = %s AND (%s::uuid[] IS NULL OR root_id = ANY(%s::uuid[]))",
        (run.domain, collection, *[None if root_ids is None else list(root_ids)] * 2),
    )


def stale_ids(conn: Connection, run: RunKey, collection: str) -> list[str]:
    """The collection's rows whose document has a newer version in the rejects."""
    rows = conn.execute(
        "SELECT root_id::text FROM migration.stale WHERE domain = %s AND collection = %s ORDER BY 1", (run.domain, collection)
    )
    return [row[0] for row in rows]


def rejected_documents(conn: Connection, run: RunKey, collection: str) -> list[str]:
    """The documents that are rejects as a whole, whoever read them, as Extended JSON in PostgreSQL's writing of jsonb."""
    rows = conn.execute(
        """
        SELECT document_id::text FROM migration.rejects
        WHERE state = 'open' AND NOT element AND domain = %s AND collection = %s
        """,
        (run.domain, collection),
    )
    return [row[0] for row in rows]


def supersede_rejects(conn: Connection, run: RunKey, collection: str, document_ids: Iterable[str]) -> None:
    """Closes the open rejects of documents that have been read anew."""
    conn.execute(
        """
        UPDATE migration.rejects SET state = 'superseded', closed_at = now()
        WHERE state = 'open' AND domain = %s AND collection = %s AND document_id = ANY(%s::jsonb[])
        """,
        (run.domain, collection, list(document_ids)),
    )


def resolve_rejects(conn: Connection, run: RunKey, collection: str, document_ids: Sequence[str] | None = None) -> int:
    """Closes open rejects that this run and plan did not confirm, of these documents or of all; returns how many.

    After a full run they belong to documents that are gone; after a replay of these documents, to what fits now.
    """
    return conn.execute(
        """
        UPDATE migration.rejects SET state = 'resolved', closed_at = now()
        WHERE state = 'open' AND domain = %s AND collection = %s AND (run_id, plan_id) <> (%s, %s)
          AND (%s::jsonb[] IS NULL OR document_id = ANY(%s::jsonb[]))
        """,
        (run.domain, collection, run.run_id, run.plan_id, *[None if document_ids is None else list(document_ids)] * 2),
    ).rowcount


def open_reject_ids(conn: Connection, run: RunKey, collection: str) -> list[str]:
    """The documents with open rejects, as Extended JSON in PostgreSQL's writing of jsonb."""
    return [
        row[0]
        for row in conn.execute(
            "SELECT DISTINCT document_id::text FROM migration.rejects WHERE state = 'open' AND domain = %s AND collection = %s",
            (run.domain, collection),
        )
    ]


def rejected_elsewhere(conn: Connection, run: RunKey, collection: str) -> list[str]:
    """The documents whose open rejects other plans opened, as Extended JSON in PostgreSQL's writing of jsonb."""
    rows = conn.execute(
        """
        SELECT DISTINCT document_id::text FROM migration.rejects
        WHERE state = 'open' AND domain = %s AND collection = %s AND plan_id <> %s
        """,
        (run.domain, collection, run.plan_id),
    )
    return [row[0] for row in rows]


def add_rejects(conn: Connection, run: RunKey, collection: str, rejects: Iterable[RejectRow]) -> None:
    """Opens rejects, each version of a document stored once; an open one of the same document and path is replaced."""
    document, digest = None, b""
    stored: set[bytes] = set()
    with conn.cursor() as cursor:
        for reject in rejects:
            if reject.document is not document:  # mostly, the rejects of a document follow one another
                document, digest = reject.document, hashlib.sha256(reject.document).digest()
            if digest not in stored:
                stored.add(digest)
                cursor.execute(
                    "INSERT INTO migration.reject_documents (sha256, bson) VALUES (%s, %b) ON CONFLICT DO NOTHING",
                    (digest, reject.document),
                )
            cursor.execute(
                """
                INSERT INTO migration.rejects
                    (domain, collection, document_id, path, element, bson_type, reason, document, run_id, plan_id, chunk)
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
                ON CONFLICT (domain, collection, md5(document_id::text), md5(path)) WHERE state = 'open' DO UPDATE
                SET element = excluded.element, bson_type = excluded.bson_type, reason = excluded.reason,
                    document = excluded.document, run_id = excluded.run_id, plan_id = excluded.plan_id,
                    chunk = excluded.chunk, rejected_at = now()
                """,
                (
                    run.domain,
                    collection,
                    Jsonb(json.loads(reject.document_id)),
                    reject.path.replace("\0", "\\0"),
                    reject.element,
                    reject.bson_type,
                    reject.reason,
                    digest,
                    run.run_id,
                    run.plan_id,
                    reject.chunk,
                ),
            )


def write_checks(conn: Connection, run: RunKey, checks: Iterable[Check]) -> None:
    """Notes the checks, each in the place of an earlier one of the same name, subject and chunk of this run."""
    with conn.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO migration.checks (domain, run_id, check_name, subject, chunk, verdict, expected, actual, detail)
            VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
            ON CONFLICT (domain, run_id, check_name, subject, chunk) DO UPDATE
            SET verdict = excluded.verdict, expected = excluded.expected, actual = excluded.actual,
                detail = excluded.detail, checked_at = now()
            """,
            [
                (run.domain, run.run_id, c.check, c.subject, c.chunk, c.verdict, Jsonb(c.expected), Jsonb(c.actual), c.detail)
                for c in checks
            ],
        )


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


def complete(conn: Connection, run: RunKey, collections: Sequence[str]) -> None:
    """Notes that a full reading of these collections settled."""
    conn.execute(
        """
        UPDATE migration.collections SET phase = 'complete', full_run = %s, full_plan = %s, full_run_at = now()
        WHERE domain = %s AND collection = ANY(%s)
        """,
        (run.run_id, run.plan_id, run.domain, list(collections)),
    )


def watermark(conn: Connection, run: RunKey, collection: str) -> datetime | None:
    """Up to where the collection has been moved; None before its first full run settled."""
    row = conn.execute(
        "SELECT watermark FROM migration.collections WHERE (domain, collection, phase) = (%s, %s, 'complete')",
        (run.domain, collection),
    ).fetchone()
    return row[0] if row else None


def move_watermark(conn: Connection, run: RunKey, collection: str, start: str | None, end: str) -> None:
    """Moves the watermark to the end of what was moved: never backwards, and from a window that begins after it not at all."""
    conn.execute(
        """
        UPDATE migration.collections SET watermark = greatest(watermark, %(end)s::timestamptz)
        WHERE domain = %(domain)s AND collection = %(collection)s
          AND (%(start)s::timestamptz IS NULL OR %(start)s::timestamptz <= watermark)
        """,
        {"domain": run.domain, "collection": collection, "start": start, "end": end},
    )


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


def rejected_before(conn: Connection, run: RunKey, collection: str) -> tuple[int, int]:
    """How many documents the twenty plans before this one rejected, and how many they read."""
    row = conn.execute(
        """
        WITH plans AS (
            SELECT plan_id, sum(read) AS read, max(committed_at) AS at FROM migration.passes
            WHERE domain = %(domain)s AND collection = %(collection)s AND plan_id <> %(plan_id)s
            GROUP BY plan_id ORDER BY at DESC LIMIT 20
        )
        SELECT coalesce(sum(count), 0)::bigint, (SELECT coalesce(sum(read), 0)::bigint FROM plans)
        FROM migration.passes p JOIN plans USING (plan_id) CROSS JOIN LATERAL (
            SELECT sum(value::bigint) AS count FROM jsonb_each_text(p.rejected)
        ) AS rejected
        WHERE p.domain = %(domain)s AND p.collection = %(collection)s
        """,
        {"collection": collection, **run._asdict()},
    ).fetchone()
    return row or (0, 0)


def loaded_chunks(conn: Connection, run: RunKey) -> dict[str, set[int]]:
    """The chunks that this run and plan loaded, by collection."""
    loaded: dict[str, set[int]] = {}
    for collection, chunk in conn.execute(
        "SELECT collection, chunk FROM migration.passes WHERE (domain, run_id, plan_id, stage) = (%s, %s, %s, 'load')", run
    ):
        loaded.setdefault(collection, set()).add(chunk)
    return loaded
