"""Documents whose newest version has no row: rejected, or held until a run settles; and rows that are stale for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime

from psycopg import sql

from mongo2pg.books.entries import Connection, RejectRow, RunKey
from mongo2pg.books.passes import record_pass

# Rejects that are written by one statement, and bytes of their documents from which on fewer are.
BATCH = 1000
BATCH_BYTES = 8 << 20


def add_rejects(conn: Connection, run: RunKey, collection: str, rejects: Iterable[RejectRow]) -> None:
    """Opens rejects; an open one of the same document and path is replaced.

    Each version of a document is stored once, and again where what is stored has been damaged.
    """
    last, digest = None, b""
    documents: dict[bytes, bytes] = {}
    rows: list[str] = []
    size = 0
    for reject in rejects:
        if reject.document is not last:  # mostly, the rejects of a document follow one another
            last, digest = reject.document, hashlib.sha256(reject.document).digest()
        if digest not in documents:
            documents[digest] = reject.document
            size += len(reject.document)
        others = {
            "path": reject.path.replace("\0", "\\0"),
            "element": reject.element,
            "bson_type": reject.bson_type,
            "reason": reject.reason,
            "document": f"\\x{digest.hex()}",
            "chunk": reject.chunk,
            "parent_id": reject.parent_id,
        }
        rows.append(f'{{"document_id":{reject.document_id},{json.dumps(others)[1:]}')
        if len(rows) == BATCH or size >= BATCH_BYTES:
            _write_rejects(conn, run, collection, documents, rows)
            documents, rows, size = {}, [], 0
    if rows:
        _write_rejects(conn, run, collection, documents, rows)


def _write_rejects(conn: Connection, run: RunKey, collection: str, documents: dict[bytes, bytes], rows: list[str]) -> None:
    """`rows` are JSON objects."""
    conn.execute(
        """
        INSERT INTO migration.reject_documents AS kept (sha256, bson) SELECT * FROM unnest(%b::bytea[], %b::bytea[])
        -- Other bytes under the same digest have been damaged there.
        ON CONFLICT (sha256) DO UPDATE SET bson = excluded.bson WHERE kept.bson <> excluded.bson
        """,
        (list(documents), list(documents.values())),
    )
    conn.execute(
        """
        INSERT INTO migration.rejects
            (domain, collection, run_id, plan_id, document_id, path, element, bson_type, reason, document, chunk, parent_id,
             rejected_at)
        -- Not now(): a transaction may have begun long before it had the collection's lock. And the last one of a path counts:
        -- one statement may not replace what it has written itself.
        -- json_to_recordset makes NULL of the _id null.
        SELECT DISTINCT ON (document_id, path) %s, %s, %s, %s, coalesce(document_id, 'null'), path, element, bson_type, reason,
            document, chunk, parent_id, clock_timestamp()
        FROM ROWS FROM (json_to_recordset(%s) AS (
            document_id jsonb, path text, element boolean, bson_type text, reason text, document bytea, chunk integer,
            parent_id uuid
        )) WITH ORDINALITY
        ORDER BY document_id, path, ordinality DESC
        ON CONFLICT (domain, collection, md5(document_id::text), md5(path)) WHERE state = 'open' DO UPDATE
        SET element = excluded.element, bson_type = excluded.bson_type, reason = excluded.reason,
            document = excluded.document, run_id = excluded.run_id, plan_id = excluded.plan_id,
            chunk = excluded.chunk, parent_id = excluded.parent_id, rejected_at = excluded.rejected_at
        """,
        (run.domain, collection, run.run_id, run.plan_id, f"[{','.join(rows)}]"),
    )


def open_reject_ids(conn: Connection, run: RunKey, collection: str) -> list[str]:
    """The documents with open rejects, as Extended JSON in PostgreSQL's writing of jsonb."""
    rows = conn.execute(
        "SELECT DISTINCT document_id::text FROM migration.rejects WHERE state = 'open' AND domain = %s AND collection = %s",
        (run.domain, collection),
    )
    return [row[0] for row in rows]


def any_open_rejects(conn: Connection, run: RunKey, collection: str) -> bool:
    """Whether there is an open reject."""
    found = conn.execute(
        # In the order of `rejects_open_key`: EXISTS would be looked for in the table, from the oldest of the closed ones on.
        """
        SELECT FROM migration.rejects WHERE state = 'open' AND domain = %s AND collection = %s
        ORDER BY md5(document_id::text) LIMIT 1
        """,
        (run.domain, collection),
    )
    return found.fetchone() is not None


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


def rejected_since(conn: Connection, run: RunKey, collection: str) -> int:
    """How many documents and elements other plans rejected, whatever became of that, since this plan had loaded its first chunk."""
    row = conn.execute(
        """
        SELECT count(*) FROM migration.rejects
        WHERE domain = %(domain)s AND collection = %(collection)s AND plan_id <> %(plan_id)s AND rejected_at >= (
            SELECT min(committed_at) FROM migration.passes p
            WHERE (p.domain, p.run_id, p.plan_id, p.collection, p.stage)
                = (%(domain)s, %(run_id)s, %(plan_id)s, %(collection)s, 'load'))
        """,
        {**run._asdict(), "collection": collection},
    ).fetchone()
    return int(row[0]) if row else 0


def supersede_rejects(conn: Connection, run: RunKey, collection: str, document_ids: Collection[str]) -> None:
    """Closes the open rejects of those of these documents that have any: they have been read anew."""
    conn.execute(
        # By the digests of `rejects_open_key`, as an array: of a join PostgreSQL would read all open rejects.
        """
        UPDATE migration.rejects SET state = 'superseded', closed_at = now()
        WHERE state = 'open' AND domain = %(domain)s AND collection = %(collection)s
          AND md5(document_id::text) = ANY(ARRAY(SELECT md5(d.name::text) FROM unnest(%(ids)s::jsonb[]) AS d (name)))
          AND document_id = ANY(%(ids)s::jsonb[])
        """,
        {"domain": run.domain, "collection": collection, "ids": list(document_ids)},
    )


def resolve_rejects(
    conn: Connection, run: RunKey, collection: str, document_ids: Sequence[str], *, opened_before: datetime | None = None
) -> int:
    """Closes those open rejects of these documents that this run and plan did not confirm; returns how many.

    After a replay they belong to what fits now, unless somebody has read a document since, and opened one that is not
    `opened_before`.
    """
    return conn.execute(
        """
        UPDATE migration.rejects SET state = 'resolved', closed_at = now()
        WHERE state = 'open' AND domain = %(domain)s AND collection = %(collection)s
          AND (run_id, plan_id) <> (%(run_id)s, %(plan_id)s)
          AND document_id = ANY(%(ids)s::jsonb[]) AND rejected_at < coalesce(%(before)s, 'infinity'::timestamptz)
        """,
        {**run._asdict(), "collection": collection, "ids": list(document_ids), "before": opened_before},
    ).rowcount


def resolve_unread(conn: Connection, run: RunKey, collection: str) -> int:
    """After a full run: closes the open rejects that it did not confirm, of documents that are gone; returns how many.

    What was opened since the run began may belong to a document that came when it had read already.
    """
    return conn.execute(
        """
        UPDATE migration.rejects SET state = 'resolved', closed_at = now()
        WHERE state = 'open' AND domain = %(domain)s AND collection = %(collection)s
          AND (run_id, plan_id) <> (%(run_id)s, %(plan_id)s)
          AND (run_id = %(run_id)s OR rejected_at < (
              SELECT started_at FROM migration.runs r WHERE (r.domain, r.run_id) = (%(domain)s, %(run_id)s)))
        """,
        {**run._asdict(), "collection": collection},
    ).rowcount


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


def any_held(conn: Connection, run: RunKey, collection: str, *, own: bool = False) -> bool:
    """Whether another plan holds a document, or this one as well; unasked, what this one holds is not read: it may be a lot."""
    found = conn.execute(
        """
        (SELECT FROM migration.held
         WHERE domain = %(domain)s AND collection = %(collection)s AND plan_id < %(plan_id)s ORDER BY plan_id LIMIT 1)
        UNION ALL
        (SELECT FROM migration.held
         WHERE domain = %(domain)s AND collection = %(collection)s AND plan_id > %(plan_id)s ORDER BY plan_id LIMIT 1)
        UNION ALL
        (SELECT FROM migration.held
         WHERE %(own)s AND domain = %(domain)s AND collection = %(collection)s AND plan_id = %(plan_id)s LIMIT 1)
        """,
        {**run._asdict(), "collection": collection, "own": own},
    )
    return found.fetchone() is not None


def left_behind(conn: Connection, run: RunKey, collection: str, table: str, most: int, alive: Callable[[str], bool]) -> list[str]:
    """Up to so many documents that other runs hold which ended before they settled, as Extended JSON in PostgreSQL's writing of
    jsonb; `table` is that of their root rows."""
    runs = conn.execute(
        "SELECT DISTINCT run_id FROM migration.held WHERE domain = %s AND collection = %s AND run_id <> %s",
        (run.domain, collection, run.run_id),
    )
    ended = [run_id for (run_id,) in runs.fetchall() if not alive(run_id)]
    if not ended:
        return []
    rows = conn.execute(
        """
        SELECT document_id::text FROM migration.held
        WHERE domain = %s AND collection = %s AND run_id = ANY(%s) AND table_name = %s ORDER BY root_id LIMIT %s
        """,
        (run.domain, collection, ended, table, most),
    )
    return [row[0] for row in rows]


def supersede_held(conn: Connection, run: RunKey, collection: str, document_ids: Collection[str], *, own: bool = False) -> None:
    """Drops what other plans, or this one as well, hold of these documents, which have been read anew, and counts it there as
    superseded."""
    rows = conn.execute(
        # By the digests of `held_document_idx`, as in `supersede_rejects`.
        """
        WITH gone AS (
            DELETE FROM migration.held
            WHERE domain = %(domain)s AND collection = %(collection)s AND (%(own)s OR plan_id <> %(plan_id)s)
              AND md5(document_id::text) = ANY(ARRAY(SELECT md5(d.name::text) FROM unnest(%(ids)s::jsonb[]) AS d (name)))
              AND document_id = ANY(%(ids)s::jsonb[])
            RETURNING run_id, plan_id, root_id, document_id
        )
        SELECT run_id, plan_id, count(DISTINCT (root_id, document_id)) FROM gone GROUP BY 1, 2
        """,
        {"domain": run.domain, "plan_id": run.plan_id, "collection": collection, "own": own, "ids": list(document_ids)},
    ).fetchall()
    for run_id, plan_id, count in rows:
        record_pass(conn, RunKey(run.domain, run_id, plan_id), collection, "settle", None, {"superseded": count})


def forget_held(conn: Connection, run: RunKey, collection: str, *, everybody: bool) -> None:
    """Drops the held documents of other plans of this run, or of whatever plan."""
    conn.execute(
        "DELETE FROM migration.held WHERE domain = %s AND collection = %s AND (%s OR run_id = %s AND plan_id <> %s)",
        (run.domain, collection, everybody, run.run_id, run.plan_id),
    )


def mark_stale(
    conn: Connection, run: RunKey, collection: str, table: sql.Identifier, documents: Collection[tuple[str, str]]
) -> int:
    """Marks the rows of these documents (the row's id, the document's name) as stale: their newer versions were rejected.

    Under such an id may be the row of another document; that one stays what it is.
    """
    if not documents:
        return 0
    return conn.execute(
        # With `=` a hash join could use names as its key, too, and would make that of each row of the table.
        sql.SQL(
            """
            INSERT INTO migration.stale (domain, collection, root_id, run_id)
            SELECT %s, %s, t.id, %s FROM {} t JOIN unnest(%s::uuid[], %s::jsonb[]) AS d (id, name) ON d.id = t.id
            WHERE migration.document_id(t.id, t.extra) IS NOT DISTINCT FROM d.name
            ON CONFLICT (domain, collection, root_id) DO UPDATE SET run_id = excluded.run_id
            """
        ).format(table),
        (run.domain, collection, run.run_id, *map(list, zip(*documents, strict=True))),
    ).rowcount


def stale_among(conn: Connection, run: RunKey, collection: str, root_ids: Collection[str]) -> set[str]:
    """Those of these rows whose document has a newer version in the rejects."""
    rows = conn.execute(
        "SELECT root_id::text FROM migration.stale WHERE domain = %s AND collection = %s AND root_id = ANY(%s::uuid[])",
        (run.domain, collection, list(root_ids)),
    )
    return {row[0] for row in rows}


def count_stale(conn: Connection, run: RunKey, collection: str) -> int:
    """How many rows of the collection have a document with a newer version in the rejects."""
    row = conn.execute("SELECT count(*) FROM migration.stale WHERE domain = %s AND collection = %s", (run.domain, collection))
    return int((row.fetchone() or (0,))[0])


def forget_without_row(conn: Connection, run: RunKey, collection: str, table: sql.Identifier) -> None:
    """Takes the marks away, and what was noted of cleared references, of rows that are not there any more."""
    for noted in ("stale", "cleared"):
        conn.execute(
            sql.SQL(
                "DELETE FROM {} n WHERE (domain, collection) = (%s, %s) AND NOT EXISTS (SELECT FROM {} t WHERE t.id = n.root_id)"
            ).format(sql.Identifier("migration", noted), table),
            (run.domain, collection),
        )


def forget_stale(conn: Connection, run: RunKey, collection: str, root_ids: Iterable[str] | None = None) -> None:
    """Takes the marks of these rows, or of all of the collection, away: the rows go, or are marked as deleted."""
    conn.execute(
        "DELETE FROM migration.stale WHERE domain = %s AND collection = %s AND (%s::uuid[] IS NULL OR root_id = ANY(%s::uuid[]))",
        (run.domain, collection, *[None if root_ids is None else list(root_ids)] * 2),
    )
