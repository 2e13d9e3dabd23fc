"""What transactions did to the chunks of a plan, and the sums over that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from mongo2pg.books.entries import Connection, Load, RunKey
from mongo2pg.model import Domain


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


def loaded_chunks(conn: Connection, run: RunKey) -> dict[str, set[int]]:
    """The chunks that this run and plan loaded, by collection."""
    loaded: dict[str, set[int]] = {}
    for collection, chunk in conn.execute(
        "SELECT collection, chunk FROM migration.passes WHERE (domain, run_id, plan_id, stage) = (%s, %s, %s, 'load')", run
    ):
        loaded.setdefault(collection, set()).add(chunk)
    return loaded


def loaded_otherwise(conn: Connection, run: RunKey) -> set[str]:
    """The collections of which another plan loaded documents by another declaration since this plan had loaded its first chunk."""
    rows = conn.execute(
        """
        SELECT DISTINCT o.collection FROM migration.passes o JOIN (
            SELECT domain, collection, stage, plan_id, fingerprint, min(committed_at) AS since FROM migration.passes
            WHERE (domain, run_id, plan_id, stage) = (%s, %s, %s, 'load') GROUP BY 1, 2, 3, 4, 5
        ) AS m USING (domain, collection, stage)
        WHERE o.plan_id <> m.plan_id AND o.fingerprint <> m.fingerprint AND o.committed_at >= m.since
        """,
        run,
    )
    return {collection for (collection,) in rows}


def loaded_at(conn: Connection, run: RunKey, collection: str) -> datetime | None:
    """When this run and plan had loaded its first chunk of the collection."""
    row = conn.execute(
        """
        SELECT min(committed_at) FROM migration.passes
        WHERE (domain, run_id, plan_id, collection, stage) = (%s, %s, %s, %s, 'load')
        """,
        (*run, collection),
    ).fetchone()
    return row[0] if row else None


def later_loads(conn: Connection, run: RunKey, collection: str, read_time: str, beside: Sequence[int] = ()) -> list[Load]:
    """What other plans, and of this one the chunks `beside`, loaded and had not finished reading then, by the source's clock."""
    rows = conn.execute(
        """
        SELECT run_id, plan_id, chunk FROM migration.passes
        WHERE domain = %s AND collection = %s AND read_until >= %s AND stage = 'load' AND (plan_id <> %s OR chunk = ANY(%s))
        """,
        (run.domain, collection, read_time, run.plan_id, list(beside)),
    )
    return [Load(*row) for row in rows]


def loads_after(conn: Connection, run: RunKey, collection: str, chunk: int, beside: Sequence[int] = ()) -> list[Load]:
    """What other plans loaded, and of this one the chunks `beside`, after this plan had loaded that chunk."""
    rows = conn.execute(
        """
        SELECT run_id, plan_id, chunk FROM migration.passes
        WHERE (domain, collection, stage) = (%s, %s, 'load') AND committed_at >= %s AND (plan_id <> %s OR chunk = ANY(%s))
        """,
        (run.domain, collection, _chunk_loaded_at(conn, run, collection, chunk), run.plan_id, list(beside)),
    )
    return [Load(*row) for row in rows]


def deleted_after(conn: Connection, run: RunKey, collection: str, chunk: int) -> set[str]:
    """The root ids of documents that other plans found gone, with or without a row, after this plan had loaded that chunk."""
    rows = conn.execute(
        """
        SELECT unnest(deleted_ids || gone_ids)::text FROM migration.passes
        WHERE (domain, collection, stage) = (%s, %s, 'delete') AND committed_at >= %s AND plan_id <> %s
        """,
        (run.domain, collection, _chunk_loaded_at(conn, run, collection, chunk), run.plan_id),
    )
    return {row[0] for row in rows}


def _chunk_loaded_at(conn: Connection, run: RunKey, collection: str, chunk: int) -> datetime | None:
    """Asked for itself: PostgreSQL takes a moment that it does not know for one that lies before a third of all passes."""
    row = conn.execute(
        """
        SELECT committed_at FROM migration.passes
        WHERE (domain, run_id, plan_id, collection, stage, chunk) = (%s, %s, %s, %s, 'load', %s)
        """,
        (*run, collection, chunk),
    ).fetchone()
    return row[0] if row else None


def judged_at(run: RunKey, collection: str, since: sql.Composable) -> sql.Composed:
    """When this plan's documents of the collection were first judged, at that time or later: an expression.

    Whoever judges holds the locks of all collections: what others committed later they began later, too. Not so a transaction
    that begins and then waits for them, so no reject's own time tells that.
    """
    return sql.SQL(
        """
        (SELECT min(m.committed_at) FROM migration.passes m
         WHERE (m.domain, m.run_id, m.plan_id, m.collection, m.stage) = ({}, 'settle')
           AND m.seconds IS NOT NULL  -- another run's reading of a held document is no judgement
           AND m.committed_at >= {})
        """
    ).format(sql.SQL(", ").join(map(sql.Literal, (*run, collection))), since)


def came_after(run: RunKey, domain: Domain, table: str, root_id: sql.Composable, moment: sql.Composable) -> sql.Composed:
    """Whether another plan brought this row of the table after that moment: a condition.

    It need not ask of first loads, which name no rows: to a table that has none yet no reference is judged.
    """
    # In which collection rows of another domain's table are at home nobody knows here.
    others = [collection.name for collection in domain.collections if collection.table != table]
    return sql.SQL(
        """
        {root_id} IN (
            SELECT unnest(o.inserted_ids) FROM migration.passes o
            WHERE o.committed_at > {moment} AND o.plan_id <> {plan_id} AND (o.domain <> {domain} OR o.collection <> ALL({others})))
        """
    ).format(root_id=root_id, moment=moment, plan_id=run.plan_id, domain=domain.name, others=others)


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


def deleted_since(conn: Connection, run: RunKey, collection: str, read_time: str) -> list[str]:
    """The root ids whose documents another plan's delete found gone at that time of the source or later, with or without a row."""
    rows = conn.execute(
        """
        SELECT unnest(deleted_ids || gone_ids)::text FROM migration.passes
        WHERE domain = %s AND collection = %s AND stage = 'delete' AND read_time >= %s AND plan_id <> %s
        """,
        (run.domain, collection, read_time, run.plan_id),
    )
    return [row[0] for row in rows]


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


def any_doubtful(conn: Connection, run: RunKey, collection: str) -> bool:
    """Whether this run and plan loaded documents in bulk that may share their id with another one."""
    row = conn.execute(
        """
        SELECT FROM migration.passes
        WHERE (domain, run_id, plan_id, collection, stage) = (%s, %s, %s, %s, 'load') AND doubtful > 0 LIMIT 1
        """,
        (*run, collection),
    ).fetchone()
    return row is not None


def rejected_before(conn: Connection, run: RunKey, collection: str) -> tuple[int, int]:
    """How many documents the twenty plans before this one rejected, and how many they read."""
    row = conn.execute(
        """
        WITH RECURSIVE plans AS (  -- from each to the next older one: years of others are not read
            (
                SELECT run_id, plan_id, committed_at, ARRAY[%(plan_id)s, plan_id] AS seen FROM migration.passes
                WHERE domain = %(domain)s AND collection = %(collection)s AND plan_id <> %(plan_id)s
                ORDER BY committed_at DESC LIMIT 1
            )
            UNION ALL
            SELECT older.* FROM plans p CROSS JOIN LATERAL (
                SELECT o.run_id, o.plan_id, o.committed_at, p.seen || o.plan_id FROM migration.passes o
                WHERE o.domain = %(domain)s AND o.collection = %(collection)s AND o.committed_at <= p.committed_at
                  AND o.plan_id <> ALL(p.seen)
                ORDER BY o.committed_at DESC LIMIT 1
            ) AS older
            WHERE cardinality(p.seen) <= 20
        )
        SELECT coalesce(sum(rejected.count), 0)::bigint, coalesce(sum(p.read), 0)::bigint
        FROM plans JOIN migration.passes p USING (run_id, plan_id) CROSS JOIN LATERAL (
            SELECT sum(value::bigint) AS count FROM jsonb_each_text(p.rejected)
        ) AS rejected
        WHERE p.domain = %(domain)s AND p.collection = %(collection)s
        """,
        {"collection": collection, **run._asdict()},
    ).fetchone()
    return row or (0, 0)


def totals(conn: Connection, run: RunKey, collection: str) -> dict[str, Any]:
    """The sums over what chunks of the collection brought in this run and plan, and what settling changed of it.

    Of the `superseded`, the `repeated` came again in the same reading; for the others another run's reading was later.
    """
    names = ("read", "inserted", "updated", "unchanged", "superseded", "bytes", "repeated")
    sums: dict[str, Any] = dict.fromkeys(names, 0)
    rejected: dict[str, int] = {}
    misfits: dict[str, int] = {}
    conversions: dict[str, dict[str, dict[str, Any]]] = {}
    arrays: dict[str, dict[str, int]] = {}
    drift: dict[str, dict[str, Any]] = {}
    for each in conn.cursor(row_factory=dict_row).execute(
        """
        SELECT read, inserted, updated, unchanged, superseded, rejected, misfits, conversions, arrays, bytes, drift,
               CASE stage WHEN 'load' THEN superseded ELSE 0 END AS repeated
        FROM migration.passes WHERE (domain, run_id, plan_id, collection) = (%s, %s, %s, %s) AND stage <> 'delete'
        """,
        (*run, collection),
    ):
        for name in names:
            sums[name] += each[name]
        _add(rejected, each["rejected"])
        for misfit in each["misfits"]:
            _add(misfits, {misfit["path"]: misfit["count"]})
        for path, rules in each["conversions"].items():
            for rule, tally in rules.items():
                total = conversions.setdefault(path, {}).setdefault(rule, {"count": 0, "samples": tally["samples"]})
                total["count"] += tally["count"]
        for path, counts in each["arrays"].items():
            _add(arrays.setdefault(path, {}), counts)
        for path, found in each["drift"].items():
            seen = drift.setdefault(path, {"count": 0, "bson_types": {}, "first_id": found["first_id"]})
            seen["count"] += found["count"]
            _add(seen["bson_types"], found["bson_types"])
    return {**sums, "rejected": rejected, "misfits": misfits, "conversions": conversions, "arrays": arrays, "drift": drift}


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for key, value in more.items():
        total[key] = total.get(key, 0) + value
        if not total[key] and value < 0:
            del total[key]
