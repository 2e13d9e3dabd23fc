"""Rows of documents in real tables, and whether what the sieve agrees on is what must stand there.

The rows are the projector's. What is then asked of the sieve, documents or rows may have been changed: a document that it
agrees on must still become exactly the rows under its id.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql

from benchmarks.raw_values import Value, document, followed
from mongo2pg.checks.expected import DOCUMENT, create_expected, second_thread
from mongo2pg.checks.sieve import Sieve
from mongo2pg.model import Collection, Column, Table
from mongo2pg.queries import SESSION, comma, incoming, names, target
from mongo2pg.reference import arrays, fields, walk
from mongo2pg.reference.agreement import Ids
from mongo2pg.reference.projector import Projector, Reject

NONE: Ids = np.zeros((0, 2), np.uint64)
# How documents are read at once: those of one shape together, or field by field, whatever their shapes.
WAYS = ("by shape", "by field")


@contextlib.contextmanager
def reading(way: str) -> Iterator[None]:
    """Documents are read in this way, however few are alike."""
    shapes = walk.walk if way == "by shape" else lambda *_: []
    going = 1 if way == "by shape" else 1_000
    with (
        patch.multiple(walk, FEW=1, walk=shapes),
        patch.multiple(arrays, FEW_GOING=going),
        patch.multiple(fields, MANY=1, FIELD_BYTES=0, LEVEL_BYTES=0),
    ):
        yield


class Standing:
    """The tables of a collection, without constraints, in a transaction of the caller that he takes back."""

    def __init__(self, conn: psycopg.Connection[Any], collection: Collection) -> None:
        self.conn, self.collection = conn, collection
        conn.execute(SESSION)
        for table in collection.tables:
            columns = comma(sql.SQL("{} {}").format(sql.Identifier(c.name), sql.SQL(c.type)) for c in table.stored)
            conn.execute(sql.SQL("CREATE TABLE {} ({})").format(target(table.name), columns))
        create_expected(conn, collection)

    def put(self, raws: Sequence[bytes]) -> None:
        """Puts the rows of the documents into the tables; of one that is rejected there is none."""
        self._expect(raws, range(len(raws)))
        for table in self.collection.tables:
            into, columns = target(table.name), names(table.stored)
            self.conn.execute(sql.SQL("INSERT INTO {} SELECT {} FROM {}").format(into, columns, incoming(table.name)))

    def agreed(
        self, raws: Sequence[bytes], references: Sequence[tuple[Table, Column]] = (), booked: Ids = NONE, portion: int = 1_000
    ) -> list[int]:
        """The numbers of the documents that the sieve agrees on; see there. `portion` documents come at once."""
        portions = [pa.array(raws[at : at + portion], pa.binary()) for at in range(0, len(raws), portion)]
        with second_thread() as writer:
            sieve = Sieve(self.conn, self.collection, references, booked, writer)
            through = dict(sieve.let_through(portions))
        assert through == {number: raws[number] for number in through}
        return [number for number in range(len(raws)) if number not in through]

    def check(self, raws: Sequence[bytes]) -> int:
        """How many documents are agreed on; fails where one is rejected or must become other rows than those that stand there."""
        agreed = self.agreed(raws)
        rejects = self._expect([raws[number] for number in agreed], agreed)
        assert not rejects, (rejects, [raws[reject.document] for reject in rejects])
        for table in self.collection.tables:
            wrong = self._unlike(table)
            assert not wrong, (table.name, wrong, [raws[number] for number, *_ in wrong if number is not None])
        return len(agreed)

    def _expect(self, raws: Sequence[bytes], numbers: Sequence[int]) -> list[Reject]:
        self.conn.execute(sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(incoming(t.name) for t in self.collection.tables)))
        rejects = []
        for made in Projector(self.collection).project(raws, numbers):
            if isinstance(made, Reject):
                rejects.append(made)
                continue
            into = sql.SQL("COPY {} ({}, {}) FROM STDIN").format(incoming(made.table.name), DOCUMENT, names(made.table.columns))
            with self.conn.cursor() as cursor, cursor.copy(into) as copy:
                copy.write(made.copy_text())
        return rejects

    def _unlike(self, table: Table) -> list[Any]:
        """Rows that only the documents or only the table has: the document's number, its row, the table's row."""
        return self.conn.execute(
            sql.SQL(
                """
                SELECT e.number, e.image, t.image
                FROM (SELECT {number} AS number, e.{owner} AS owner, {expected} AS image FROM {incoming} e) AS e
                FULL JOIN (
                    SELECT {owner} AS owner, {present} AS image FROM {target} t WHERE {owner} IN (SELECT id FROM {root})
                ) AS t USING (image)
                WHERE e.image IS NULL OR t.image IS NULL
                UNION ALL
                SELECT NULL, {expected}, count(*)::text FROM {target} e WHERE {owner} IN (SELECT id FROM {root})
                GROUP BY 2 HAVING count(*) > 1
                """
            ).format(
                number=DOCUMENT,
                owner=sql.Identifier(table.owner),
                expected=sql.SQL("ROW({})::text").format(names(table.stored, "e")),
                present=sql.SQL("ROW({})::text").format(names(table.stored, "t")),
                incoming=incoming(table.name),
                target=target(table.name),
                root=incoming(self.collection.table),
            )
        ).fetchall()


# --- changes ---------------------------------------------------------------------------------------------------------


def named(raws: Iterable[bytes]) -> list[bytes]:
    """The documents with an ObjectId of their own each, wherever their `_id` stood."""
    made = []
    for number, raw in enumerate(raws):
        _id = Value(0x07, (0x65A1B2C3D4E5F607_18293A00 + number).to_bytes(12, "big"))
        pairs = [(key, _id if key == b"_id" else value) for key, value in followed(raw)]
        made.append(document(pairs if any(key == b"_id" for key, _ in pairs) else [(b"_id", _id), *pairs]))
    return made


def damage(raw: bytes, chance: random.Random) -> bytes:
    """The bytes with one of them changed."""
    at = chance.randrange(4, len(raw))
    near = raw[at] ^ 1 << chance.randrange(8)
    return raw[:at] + bytes([chance.choice([near, near, 0, 1, 0xFF, chance.randrange(256)])]) + raw[at + 1 :]


# What a cell may turn into, by the type of its column; `x` is the cell, `other` that of another row.
CHANGES = {
    "bigint": ["x + 1", "-x"],
    "boolean": ["NOT x", "false"],
    "double precision": ["-x", "x + 1", "'NaN'", "0"],
    "integer": ["x # 1", "-x", "0"],
    "jsonb": [
        "'{}'", "'[]'", "'null'", "'0'", "jsonb_build_object('a', x)", "x #- ARRAY[(SELECT min(k) FROM jsonb_object_keys(x) k)]",
        "replace(x::text, '.0', '.00')::jsonb", "replace(x::text, '\"a', '\"A')::jsonb",
    ],
    "text": ["x || ' '", "upper(x)", "''", "left(x, -1)"],
    "text[]": ["'{}'", "x || x", "x[2:]", "x || NULL", "'[0:0]={a}'", "array_replace(x, x[1], '')"],
    "timestamptz": ["x + interval '1 us'", "x + interval '1 ms'", "x - interval '1 day'", "'infinity'"],
    "uuid": ["gen_random_uuid()", "'00000000-0000-0000-0000-000000000000'"],
}  # fmt: skip


def change_rows(standing: Standing, chance: random.Random) -> None:
    """Changes a cell in some rows of some table, or deletes or doubles some rows."""
    table = chance.choice(standing.collection.tables)
    rows = sql.SQL("ctid IN (SELECT ctid FROM {} ORDER BY hashtextextended(ctid::text, {}) LIMIT {})").format(
        target(table.name), chance.randrange(1 << 30), chance.choice([1, 5, 50])
    )
    columns, into = names(table.stored), target(table.name)
    roll = chance.random()
    if roll < 0.05:
        standing.conn.execute(sql.SQL("DELETE FROM {} WHERE {}").format(into, rows))
    elif roll < 0.1:
        standing.conn.execute(sql.SQL("INSERT INTO {} SELECT {} FROM {} WHERE {}").format(into, columns, into, rows))
    else:
        column = chance.choice(table.stored)
        standing.conn.execute(sql.SQL("UPDATE {} t SET {} = {} WHERE {}").format(into, *_change(table, column, chance), rows))


def _change(table: Table, column: Column, chance: random.Random) -> tuple[sql.Composable, sql.Composable]:
    name = sql.Identifier(column.name)
    other = sql.SQL("(SELECT {} FROM {} ORDER BY hashtextextended(ctid::text || t.ctid::text, 0) LIMIT 1)").format(
        name, target(table.name)
    )
    change = chance.choice(["NULL", "other", "other", *CHANGES.get(column.type, [])])
    if change in ("NULL", "other"):
        return name, sql.SQL("NULL") if change == "NULL" else other
    guarded = f"CASE WHEN jsonb_typeof(x) = 'object' THEN {change} END" if "object_keys" in change else change
    return name, sql.SQL("(SELECT ({})::{} FROM (SELECT t.{} AS x) AS one)").format(sql.SQL(guarded), sql.SQL(column.type), name)
