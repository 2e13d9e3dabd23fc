"""Lets through only the documents that have to be compared closely; the others are in the target as they must be.

The target's rows of a portion of documents come by column, each with its digests, and the reference says which of the
documents it agrees on (`reference.agreement`). Of these nothing is left to do but to add up their rows' digests, which are
those of both sides.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from mongo2pg.batches.arrow import pa
from mongo2pg.books import Connection
from mongo2pg.checks.expected import PORTION_BYTES, Numbered, Queue
from mongo2pg.checks.stored import DANGLES, HIGH, LOW, stored_rows
from mongo2pg.files.root_ids import COPY_BEGIN, COPY_END, copied
from mongo2pg.model import Collection, Column, Table
from mongo2pg.queries import target
from mongo2pg.reference import fields
from mongo2pg.reference.agreement import Agreement, Ids
from mongo2pg.reference.cells import StoredRows
from mongo2pg.reference.octets import Mask, Positions

ASKED = sql.Identifier("pg_temp", "mongo2pg_asked")
# Elements of one portion, which have a row each: 50 MB of rows and what is kept of their places.
MOST_ELEMENTS = 150_000
# A portion of more bytes has a document of its own size: projected, it is in memory piece by piece.
MOST_BYTES = 2 * PORTION_BYTES

Fetched = dict[str, StoredRows]
# What stands behind FROM where rows of a table are asked for.
Source = Callable[[Table], sql.Composable]


class Sieve:
    """A pass of documents of one collection, in a transaction of the caller.

    `references` are the judged ones. `booked` are the ids of documents that the books have rejects of: these are always let
    through. Afterwards `documents` says how many there were, and `sums` what was agreed on: by table the number of rows, and
    the sums of their digests.
    """

    def __init__(
        self,
        conn: Connection,
        collection: Collection,
        references: Sequence[tuple[Table, Column]],
        booked: Ids,
        writer: Queue,
    ) -> None:
        self._conn, self._collection, self._booked, self._writer = conn, collection, booked, writer
        self._options = {
            table.name: [column for at, column in references if at is table and not column.required] for table in collection.tables
        }
        self.documents = 0
        self.sums = {table.name: (0, 0, 0) for table in collection.tables}

    def all_of(self, portions: Iterable[pa.BinaryArray]) -> Iterator[Numbered]:
        """Each document."""
        for portion in portions:
            first = self._count(portion)
            yield from enumerate(portion.to_pylist(), first)

    def let_through(self, portions: Iterable[pa.BinaryArray]) -> Iterator[Numbered]:
        """The documents that are not agreed on. While they are used, PostgreSQL sends the rows of the next portion."""
        waiting: Iterator[Numbered] = iter(())
        for portion in portions:
            if not fields.pay(len(portion), portion.nbytes) or portion.nbytes > MOST_BYTES:
                yield from self.all_of([portion])
                continue
            for part, agreement in self._agreements(portion):
                if not len(agreement.root_ids):
                    yield from self.all_of([part])
                    continue
                first = self._count(part)
                coming = self._writer.put(0, partial(self._fetch, agreement.root_ids))
                yield from waiting
                waiting = self._differing(first, part, agreement, coming)
                del part, agreement, coming
        yield from waiting

    def _count(self, portion: pa.BinaryArray) -> int:
        """Counts the documents; returns the number of the first one."""
        first = self.documents
        self.documents += len(portion)
        return first

    def _agreements(self, portion: pa.BinaryArray) -> Iterator[tuple[pa.BinaryArray, Agreement]]:
        agreement = Agreement(self._collection, *_content(portion))
        if agreement.elements > MOST_ELEMENTS and len(portion) > 1:
            half = len(portion) // 2
            yield from self._agreements(portion[:half])
            yield from self._agreements(portion[half:])
        else:
            agreement.leave_out(self._booked)
            yield portion, agreement

    def _differing(self, first: int, portion: pa.BinaryArray, agreement: Agreement, coming: Future[Fetched]) -> Iterator[Numbered]:
        stored = coming.result()
        dangling = {name: stored[name].columns[DANGLES].integers("u1") != 0 for name, options in self._options.items() if options}
        agreed = agreement.judge(stored, dangling)
        for table in self._collection.tables:
            self._add(table, stored[table.name], agreed.rows_of(table))
        yield from ((first + at, portion[at].as_py()) for at in np.flatnonzero(~agreed.documents).tolist())

    def _add(self, table: Table, stored: StoredRows, rows: Mask) -> None:
        count, low, high = self.sums[table.name]
        found = [stored.columns[name].integers(">i8")[rows] for name in (LOW, HIGH)]
        self.sums[table.name] = (count + int(rows.sum()), low + _exact_sum(found[0]), high + _exact_sum(found[1]))

    def _fetch(self, root_ids: Ids) -> Fetched:
        """The rows under the ids, and perhaps some that lie between them."""
        root, *children = self._collection.tables
        ascending = root_ids[np.lexsort(root_ids.T[::-1])]
        most = len(root_ids) * 5 // 4
        # Documents that come in the order of their ids are mostly all of a range, and nothing is quicker than to read that.
        source = self._between(ascending)
        rows = self._rows_of(root, source, most + 1) if (ascending == root_ids).all() else None
        if rows is None or rows.count > most:
            source = self._asked(ascending)
            rows = self._rows_of(root, source)
        return {root.name: rows, **{table.name: self._rows_of(table, source) for table in children}}

    def _between(self, ascending: Ids) -> Source:
        first, last = (uuid.UUID(bytes=each.tobytes()) for each in _octets_of(ascending[[0, -1]]))
        return lambda table: sql.SQL("{target} t {parents} WHERE t.{owner} BETWEEN {first} AND {last}").format(
            target=target(table.name), parents=self._parents(table), owner=sql.Identifier(table.owner), first=first, last=last
        )

    def _asked(self, ids: Ids) -> Source:
        self._conn.execute(
            "CREATE TEMP TABLE IF NOT EXISTS mongo2pg_asked (id uuid) ON COMMIT DROP; TRUNCATE pg_temp.mongo2pg_asked"
        )
        with self._conn.cursor() as cursor, cursor.copy("COPY pg_temp.mongo2pg_asked FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(COPY_BEGIN + copied(_octets_of(ids)) + COPY_END)
        return lambda table: sql.SQL("{asked} a JOIN {target} t ON t.{owner} = a.id {parents}").format(
            asked=ASKED, target=target(table.name), owner=sql.Identifier(table.owner), parents=self._parents(table)
        )

    def _rows_of(self, table: Table, source: Source, most: int | None = None) -> StoredRows:
        return stored_rows(self._conn, table, source(table), self._dangles(table), most)

    def _dangles(self, table: Table) -> sql.Composable:
        """Whether an optional reference of the row has no row to refer to."""
        each = [
            sql.SQL("t.{} IS NOT NULL AND {}.id IS NULL").format(sql.Identifier(column.name), _parent(at))
            for at, column in enumerate(self._options[table.name])
        ]
        return sql.SQL(" OR ").join(each) if each else sql.SQL("false")

    def _parents(self, table: Table) -> sql.Composable:
        return sql.SQL(" ").join(
            sql.SQL("LEFT JOIN {} AS {} ON {}.id = t.{}").format(
                target(column.references), _parent(at), _parent(at), sql.Identifier(column.name)
            )
            for at, column in enumerate(self._options[table.name])
        )


def _content(portion: pa.BinaryArray) -> tuple[bytes, Positions]:
    """The documents one after the other, and their bounds."""
    if not len(portion):
        return b"", np.zeros(1, np.int64)
    _, offsets, content = portion.buffers()
    bounds = np.frombuffer(offsets, np.int32)[portion.offset : portion.offset + len(portion) + 1].astype(np.int64)
    return content.slice(int(bounds[0]), int(bounds[-1] - bounds[0])).to_pybytes(), bounds - bounds[0]


def _parent(at: int) -> sql.Identifier:
    return sql.Identifier(f"Parent{at}")


def _octets_of(ids: Ids) -> NDArray[np.uint8]:
    """The ids, n × 16 bytes."""
    return ids.astype(">u8").view(np.uint8)


def _exact_sum(values: Positions) -> int:
    """The sum, which may be beyond 64 bits."""
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())
