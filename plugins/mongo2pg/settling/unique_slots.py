"""Unique keys that several rows of a collection claim: which of them gives way."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Sequence, Set
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

from psycopg import sql

from mongo2pg import books
from mongo2pg.books import Connection
from mongo2pg.databases.lookup import read_id
from mongo2pg.documents import identity
from mongo2pg.model import Column, Table
from mongo2pg.queries import comma, incoming, marked, target
from mongo2pg.settling.places import Place
from mongo2pg.target.guards import ENFORCED, guards, state_of

# The references that can be judged.
References: TypeAlias = Sequence[tuple[Place, Table, Column]]


class Claim(NamedTuple):
    """A row's claim on one value of a unique key: the key's columns, the value as text, and what its row keeps of its `_id`."""

    key: tuple[str, ...]
    value: str
    root_id: str
    kept: str
    held: bool


def unguarded(conn: Connection, place: Place) -> set[tuple[str, ...]]:
    """The unique keys that no constraint holds: all in a first load, later one that was declared or dropped meanwhile."""
    root = place.tables[0]
    found = guards(conn, [root.name])[root.name] if root.unique else []
    return {key for key in root.unique if state_of(found, "pu", key) != ENFORCED}


def slot_losers(
    conn: Connection, place: Place, references: References, unheld: Set[tuple[str, ...]]
) -> list[tuple[sql.Identifier, tuple[str, ...], list[str]]]:
    """The ids that give way, by where their rows stand and by the key. A held row stands for its own row in the target, too.

    All keys are judged at once, claimant after claimant: whoever loses a slot of one key leaves those of the others free.
    """
    keys = [key for key in place.collection.unique if place.held or key in unheld]
    claims = [claim for key in keys for claim in _claims(conn, place, key, everywhere=key in unheld)]
    loaded = sorted({claim.root_id for claim in claims if not claim.held})
    read = place.documents(loaded)
    stale = books.stale_among(conn, place.run, place.collection.name, loaded) if loaded else set[str]()
    gives_way = stale - _bound(conn, place, references, stale) if stale else stale

    def order(claim: Claim) -> tuple[Any, ...]:
        # A row whose document this run did not read keeps its slot: nobody knows yet that it must go. A stale row's document
        # claims something else, or nothing: the row gives way, unless something hangs on it that this run did not read.
        root_id = claim.root_id
        unread = not claim.held and root_id not in gives_way and (root_id in stale or uuid.UUID(root_id).bytes not in read)
        return not unread, root_id in gives_way, bson_order_of(claim.kept), root_id

    root = place.collection.table
    taken: set[tuple[tuple[str, ...], str]] = set()
    lost: dict[tuple[bool, tuple[str, ...]], list[str]] = {}
    for _, group in itertools.groupby(sorted(claims, key=order), key=attrgetter("root_id")):
        own = list(group)
        if beaten := next((claim for claim in own if (claim.key, claim.value) in taken), None):
            lost.setdefault((beaten.held, beaten.key), []).append(beaten.root_id)
        else:
            taken.update((claim.key, claim.value) for claim in own)
    return [(incoming(root) if held else target(root), key, ids) for (held, key), ids in lost.items()]


def _claims(conn: Connection, place: Place, key: tuple[str, ...], *, everywhere: bool) -> Iterator[Claim]:
    """The claims on those values of a key that several rows claim; of one that a constraint holds, a held row is among them."""
    table = place.collection.table
    parts = {"columns": comma(map(sql.Identifier, key)), "incoming": incoming(table), "target": target(table)}
    everyone = sql.SQL("SELECT id, extra, false AS held, {columns} FROM {target}").format(**parts)
    if place.held:
        everyone = sql.SQL(
            """
            SELECT id, extra, true AS held, {columns} FROM {incoming}
            UNION ALL
            SELECT id, extra, false, {columns} FROM {target} t WHERE NOT EXISTS (SELECT FROM {incoming} i WHERE i.id = t.id)
            """
        ).format(**parts)
    wanted = sql.SQL(
        "SELECT {columns} FROM ({everyone}) AS a GROUP BY {columns} HAVING count(*) > 1"
        if everywhere
        else "SELECT DISTINCT {columns} FROM {incoming}"
    ).format(everyone=everyone, **parts)
    rows = conn.execute(
        sql.SQL(
            """
            SELECT slot, id::text, coalesce(extra -> '_id', migration.document_id(id, extra))::text, held FROM (
                -- One text for values that are equal, as 0.0 and -0.0 are.
                SELECT id, extra, held, min(ROW({columns})::text) OVER (PARTITION BY {columns}) AS slot,
                    count(*) OVER (PARTITION BY {columns}) AS claims
                FROM ({everyone}) AS e JOIN ({wanted}) AS w USING ({columns})
            ) AS claimed WHERE claims > 1
            """
        ).format(everyone=everyone, wanted=wanted, **parts)
    )
    return (Claim(key, *row) for row in rows)


def _bound(conn: Connection, place: Place, references: References, ids: set[str]) -> set[str]:
    """Those of these rows that a required reference of a document hangs on that this run did not read.

    A row that is marked as deleted has no document, and goes with the row that it needs.
    """
    bound: set[str] = set()
    for other, table, column in references:
        if not column.required or column.references != place.collection.table or other is place:
            continue
        rows = conn.execute(
            sql.SQL(
                """
                SELECT x.{column}::text, x.{owner}::text FROM {table} x
                WHERE x.{column} = ANY(%s::uuid[]) AND NOT EXISTS (SELECT FROM {root} t WHERE t.id = x.{owner} AND {marked})
                """
            ).format(
                column=sql.Identifier(column.name),
                owner=sql.Identifier(table.owner),
                table=target(table.name),
                root=target(other.collection.table),
                marked=marked(other.collection, "t"),
            ),
            (list(ids),),
        ).fetchall()
        dependents = {root_id for _, root_id in rows}
        read = other.documents(sorted(dependents))
        fixed = {root_id for root_id in dependents if uuid.UUID(root_id).bytes not in read}
        if dependents and not table.child:
            fixed |= _bound(conn, other, references, dependents)
        bound |= {root_id for root_id, dependent in rows if dependent in fixed}
    return bound


def bson_order_of(extended_json: str) -> tuple[Any, ...]:
    """Where the `_id` behind its Extended JSON comes in the order of BSON values."""
    return identity.bson_order(read_id(extended_json))
