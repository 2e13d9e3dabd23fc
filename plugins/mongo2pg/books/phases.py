"""How far each collection has come: its first load and who does it, its last full run, its watermark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

from mongo2pg.books.entries import Connection, RunKey
from mongo2pg.model import Domain


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


def complete(conn: Connection, run: RunKey, fingerprints: Mapping[str, str]) -> None:
    """Notes that a full reading of these collections settled, and by which declaration of each."""
    conn.execute(
        """
        UPDATE migration.collections c
        SET phase = 'complete', full_run = %s, full_plan = %s, full_run_at = now(), fingerprint = f.fingerprint
        FROM unnest(%s::text[], %s::text[]) AS f (collection, fingerprint)
        WHERE (c.domain, c.collection) = (%s, f.collection)
        """,
        (run.run_id, run.plan_id, list(fingerprints), list(fingerprints.values()), run.domain),
    )


def note_declaration(conn: Connection, run: RunKey, collection: str, fingerprint: str) -> None:
    """Notes by which declaration documents are loaded: where that is another one than all rows are by, they are of several now."""
    conn.execute(
        "UPDATE migration.collections SET fingerprint = '' WHERE (domain, collection) = (%s, %s) AND fingerprint <> %s",
        (run.domain, collection, fingerprint),
    )


def changed(conn: Connection, domain: Domain) -> set[str]:
    """The collections of which rows are by another declaration than the present one; older books do not know of all."""
    rows = conn.execute(
        "SELECT collection, fingerprint FROM migration.collections WHERE domain = %s AND fingerprint IS NOT NULL", (domain.name,)
    )
    known = dict(rows.fetchall())
    return {each.name for each in domain.collections if known.get(each.name, each.fingerprint) != each.fingerprint}


def last_full_runs(conn: Connection) -> dict[tuple[str, str], RunKey]:
    """By (domain, collection) the run and plan that last settled it in full; those that none did are not among them."""
    rows = conn.execute(
        """
        SELECT domain, collection, full_run, full_plan FROM migration.collections
        WHERE phase = 'complete' AND full_run IS NOT NULL
        """
    )
    return {(domain, collection): RunKey(domain, run_id, plan_id) for domain, collection, run_id, plan_id in rows}


def watermark(conn: Connection, run: RunKey, collection: str) -> datetime | None:
    """Up to where the collection has been moved; None before its first full run settled."""
    row = conn.execute(
        "SELECT watermark FROM migration.collections WHERE (domain, collection, phase) = (%s, %s, 'complete')",
        (run.domain, collection),
    ).fetchone()
    return row[0] if row else None


def move_watermark(conn: Connection, run: RunKey, collection: str, start: str | None, end: str) -> None:
    """Moves the watermark to the end of what was moved: never backwards, and from a window that begins after it not at all.

    A full run, which has no start, takes it back from where no clock has come yet: that was a wrong one's.
    """
    conn.execute(
        """
        UPDATE migration.collections SET watermark = CASE
            WHEN %(start)s::timestamptz IS NULL AND watermark > clock_timestamp() THEN %(end)s::timestamptz
            ELSE greatest(watermark, %(end)s::timestamptz) END
        WHERE domain = %(domain)s AND collection = %(collection)s
          AND (%(start)s::timestamptz IS NULL OR %(start)s::timestamptz <= watermark)
        """,
        {"domain": run.domain, "collection": collection, "start": start, "end": end},
    )
