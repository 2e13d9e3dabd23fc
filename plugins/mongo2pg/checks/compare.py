"""Documents against the rows of the target that should be theirs, exactly: no rounding, no folding of case, no trimming.

1.10 is not 1.1, NULL is not '' and -0.0 is not 0.0; the order of keys inside jsonb is nothing that PostgreSQL keeps. Most
documents are agreed on as they come (`sieve`). The rows of the others PostgreSQL compares by its own types: counts and a
checksum on both sides and, where these differ, row by row and column by column.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString

from psycopg import sql

from mongo2pg.batches.arrow import pa
from mongo2pg.books import Connection, RunKey
from mongo2pg.checks.cleared_references import clear_dangling, clear_what_came_later
from mongo2pg.checks.compare_tables import NOTHING, Sum, agreed_rows, checksum, compare_table, name_documents, plus
from mongo2pg.checks.differences import READ, SHOWN, Difference
from mongo2pg.checks.expected import (
    DOCUMENT,
    PORTION_BYTES,
    REJECTS,
    Numbered,
    create_expected,
    drop_expected,
    expect,
    rows_of,
    second_thread,
)
from mongo2pg.checks.reject_causes import (
    SETTLED,
    Booked,
    any_booked,
    asks_who_was_read,
    booked_ids,
    count_booked,
    judge_rejects,
    judge_unread,
    name_booked,
)
from mongo2pg.checks.sieve import Sieve
from mongo2pg.model import Collection, Column, Domain, Table
from mongo2pg.queries import incoming, target
from mongo2pg.target import schema

NO_DOCUMENTS = sql.SQL("SELECT NULL::jsonb WHERE false")


@dataclass
class Comparison:
    """What was compared and found; the differences stand in `pg_temp.mongo2pg_differences` until the block ends.

    Where all documents are agreed on and the books have rejects of none, `closely` stays false, and no table is made: to make
    them all costs as much as to compare thousands of documents.
    """

    conn: Connection
    collection: Collection
    closely: bool = False
    booked_rejects: int = 0
    documents: int = 0
    own_rejects: int = 0
    # Rows and checksum of the expected and of the present rows, by table; and of the documents in which nothing differs,
    # which are the same on both sides.
    sums: dict[str, tuple[Sum, Sum]] = field(init=False)
    agreed: dict[str, Sum] = field(init=False)

    def __post_init__(self) -> None:
        self.sums = {table.name: (NOTHING, NOTHING) for table in self.collection.tables}
        self.agreed = {table.name: NOTHING for table in self.collection.tables}

    def add(self, found: Mapping[str, tuple[Sum, Sum]]) -> None:
        """Adds the sums of a portion, whose expected rows are still there."""
        differ = bool(self.count())
        for table in self.collection.tables:
            source, present = found[table.name]
            of_source, of_target = self.sums[table.name]
            self.sums[table.name] = plus(of_source, source), plus(of_target, present)
            agreed = checksum(self.conn, table, agreed_rows(table)) if differ else source
            self.agreed[table.name] = plus(self.agreed[table.name], agreed)

    def add_agreed(self, sums: Mapping[str, tuple[int, int, int]]) -> None:
        """Adds rows that are the same on both sides: their number, and the sums of their digests."""
        for name, (rows, low, high) in sums.items():
            same: Sum = {"rows": rows, "sum": [low, high]}
            of_source, of_target = self.sums[name]
            self.sums[name] = plus(of_source, same), plus(of_target, same)
            self.agreed[name] = plus(self.agreed[name], same)

    def count(self) -> int:
        """How many differences there are."""
        return sum(count for (count,) in self._found("SELECT count(*) FROM pg_temp.mongo2pg_differences"))

    def first(self, table: str | None = None, *, rejects: bool = False) -> list[Difference]:
        """The first differences, as many as are shown anywhere; of one table or of all, of values and rows or of rejects."""
        rows = self._found(
            """
            SELECT table_name, id::text, column_name, kind, left(source, %(read)s), left(target, %(read)s)
            FROM pg_temp.mongo2pg_differences
            WHERE (%(table)s::text IS NULL OR table_name = %(table)s) AND (kind = 'reject') = %(rejects)s
            ORDER BY table_name, id, column_name LIMIT %(limit)s
            """,
            {"table": table, "rejects": rejects, "limit": SHOWN, "read": READ},
        )
        return [Difference(*row) for row in rows]

    def differing(self) -> dict[str, int]:
        """The documents in which something differs: their names in the books → their places among the documents."""
        named = (
            "SELECT DISTINCT document_id::text, document FROM pg_temp.mongo2pg_differences WHERE document IS NOT NULL ORDER BY 2"
        )
        return dict(self._found(named))

    def kept_ids(self) -> dict[str, str]:
        """What rows keep of the `_id`s of differing documents, as Extended JSON by the documents' names: where to look for them."""
        return dict(self._found("SELECT document_id::text, kept::text FROM pg_temp.mongo2pg_differences WHERE kept IS NOT NULL"))

    def _found(self, query: LiteralString, params: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return self.conn.execute(query, params).fetchall() if self.closely else []

    def book(self, run: RunKey, check: str, chunk: int, documents: Iterable[str] | None = None) -> None:
        """Writes all of them, however many, or those of these documents, into migration.differences."""
        if not self.closely:
            return
        self.conn.execute(
            """
            INSERT INTO migration.differences
                (domain, run_id, check_name, table_name, chunk, id, column_name, kind, source, target)
            SELECT %(domain)s, %(run_id)s, %(check)s, table_name, %(chunk)s, id, column_name, kind, source, target
            FROM pg_temp.mongo2pg_differences
            WHERE %(documents)s::jsonb[] IS NULL OR document_id = ANY(%(documents)s::jsonb[])
            """,
            {
                "domain": run.domain,
                "run_id": run.run_id,
                "check": check,
                "chunk": chunk,
                "documents": None if documents is None else list(documents),
            },
        )


@contextmanager
def compare_documents(
    conn: Connection,
    domain: Domain,
    collection: Collection,
    documents: Iterable[pa.BinaryArray],
    booked: Booked,
    *,
    apart: sql.Composable = NO_DOCUMENTS,
    at_once: bool = False,
) -> Iterator[Comparison]:
    """Compares what these documents must have become with what the target holds of them, inside a transaction of the caller.

    `documents` are BSON as the source has it, from staging or read again, in arrays of about `PORTION_BYTES`: memory is bounded by
    two of them, unless they are compared `at_once`, as documents must be of which one may come twice. They must not use the
    connection. `booked` says which rejects of the books are theirs (`reject_causes.of_chunk`,
    `reject_causes.of_collection`). `apart` is a query for the `_id`s (as the books write them) of documents that are left
    out on both sides.

        with conn.transaction(), compare_documents(conn, domain, collection, in_portions(raws), of_collection(…)) as comparison:
            comparison.sums, comparison.first(), comparison.differing(), comparison.book(run, "reconcile", chunk)
    """
    # Few rows meet many: PostgreSQL's default, made for disks that turn, would read the whole target for each portion. And
    # what the temporary tables need of statistics, a small sample says.
    conn.execute("SET LOCAL random_page_cost = 1.1; SET LOCAL default_statistics_target = 10")
    comparison = Comparison(conn, collection)
    references = _judged(conn, domain, collection)

    def begin() -> None:
        _create(conn, apart)
        create_expected(conn, collection)
        name_booked(conn, booked, sql.SQL("TABLE pg_temp.mongo2pg_set_apart"))
        comparison.closely, comparison.booked_rejects = True, count_booked(conn)

    def was_cleared(table: Table) -> bool:
        options = [column for each, column in references if each is table and not column.required]
        if booked.run is None or not options:
            return False
        return clear_what_came_later(conn, booked.run, domain, collection, table, options)

    def judge() -> None:
        _leave_out(conn, collection)
        comparison.own_rejects += judge_rejects(conn, domain, collection, references, booked)
        clear_dangling(conn, references)
        _name_ids(conn, domain.name, collection)
        sums = {table.name: compare_table(conn, table, was_cleared) for table in collection.tables}
        name_documents(conn, collection)
        comparison.add(sums)

    def announced(unlike: Iterator[Numbered]) -> Iterator[Numbered]:
        if (first := next(unlike, None)) is not None:
            writer.put(0, begin)
            yield first
            yield from unlike

    try:
        with second_thread() as writer:
            sieve = Sieve(conn, collection, references, booked_ids(conn, booked), writer)
            if any_booked(conn, booked):
                begin()
            unlike = (sieve.all_of if at_once or asks_who_was_read(conn, booked) else sieve.let_through)(documents)
            expect(conn, collection, unlike if comparison.closely else announced(unlike), judge, writer, at_once=at_once)
        comparison.documents = sieve.documents
        comparison.add_agreed(sieve.sums)
        if comparison.booked_rejects and booked.run:
            judge_unread(conn, collection)
        yield comparison
    finally:
        if comparison.closely and not conn.broken and conn.info.transaction_status != conn.info.transaction_status.INERROR:
            drop_expected(conn, collection)
            _drop(conn)


def in_portions(documents: Iterable[bytes]) -> Iterator[pa.BinaryArray]:
    """Documents in arrays of about `PORTION_BYTES`."""
    portion: list[bytes] = []
    size = 0
    for document in documents:
        portion.append(document)
        size += len(document)
        if size >= PORTION_BYTES:
            yield pa.array(portion, pa.binary())
            portion, size = [], 0
    yield pa.array(portion, pa.binary())


def _create(conn: Connection, apart: sql.Composable) -> None:
    conn.execute(
        sql.SQL(
            """
            CREATE TEMP TABLE mongo2pg_differences (
                root_id uuid, table_name text, id uuid, column_name text, kind text, source text, target text,
                document bigint, document_id jsonb, kept jsonb
            ) ON COMMIT DROP;
            CREATE TEMP TABLE mongo2pg_set_apart ON COMMIT DROP AS {};
            CREATE TEMP TABLE mongo2pg_apart (document bigint, root_id uuid) ON COMMIT DROP;
            CREATE TEMP TABLE mongo2pg_ids (id uuid) ON COMMIT DROP
            """
        ).format(apart)
    )


def _drop(conn: Connection) -> None:
    conn.execute(
        "DROP TABLE IF EXISTS pg_temp.mongo2pg_differences, pg_temp.mongo2pg_ids, "
        "pg_temp.mongo2pg_set_apart, pg_temp.mongo2pg_apart, pg_temp.mongo2pg_booked, pg_temp.mongo2pg_settled"
    )


# --- what is compared ------------------------------------------------------------------------------------------------


def _leave_out(conn: Connection, collection: Collection) -> None:
    conn.execute(
        sql.SQL(
            """
            INSERT INTO pg_temp.mongo2pg_apart
            SELECT document, root_id FROM ({rows}) AS rows
            UNION
            SELECT document, root_id FROM {rejects} WHERE document_id IN (TABLE pg_temp.mongo2pg_set_apart)
            """
        ).format(rows=rows_of(collection, sql.SQL("TABLE pg_temp.mongo2pg_set_apart")), rejects=REJECTS)
    )
    for table, number in [(REJECTS, sql.Identifier("document")), *((incoming(t.name), DOCUMENT) for t in collection.tables)]:
        conn.execute(sql.SQL("DELETE FROM {} x USING pg_temp.mongo2pg_apart a WHERE x.{} = a.document").format(table, number))


def _name_ids(conn: Connection, domain: str, collection: Collection) -> None:
    """The ids whose rows are compared: of the expected rows, and of all documents without one.

    Of a rejected document nothing may be in the target, but the last good version where the books call it stale; and
    where two documents share an id, the row under it is the other one's.
    """
    conn.execute(
        sql.SQL(
            """
            TRUNCATE pg_temp.mongo2pg_ids;
            INSERT INTO pg_temp.mongo2pg_ids
            SELECT id FROM {root} r WHERE NOT EXISTS (SELECT FROM pg_temp.mongo2pg_apart a WHERE a.root_id = r.id)
            UNION ALL
            SELECT id FROM (
                SELECT root_id, document_id FROM {rejects} WHERE NOT element
                UNION ALL
                SELECT root_id, document_id FROM pg_temp.mongo2pg_settled
                WHERE NOT element AND path <> '_id' AND reason = ANY({settled})
            ) AS without_row (id, document_id)
            -- Not `NOT IN`: of more ids than `work_mem` holds PostgreSQL makes a list, and reads it to its end for each.
            WHERE id IS NOT NULL AND NOT EXISTS (SELECT FROM pg_temp.mongo2pg_apart a WHERE a.root_id = without_row.id)
              AND NOT EXISTS (
                SELECT FROM {target} t
                WHERE t.id = without_row.id AND migration.document_id(t.id, t.extra) <> without_row.document_id)
              AND NOT EXISTS (
                SELECT FROM migration.stale s WHERE (s.domain, s.collection, s.root_id) = ({domain}, {collection}, without_row.id));
            ANALYZE pg_temp.mongo2pg_ids
            """
        ).format(
            root=incoming(collection.table),
            target=target(collection.table),
            rejects=REJECTS,
            settled=sql.Literal(list(SETTLED)),
            domain=domain,
            collection=collection.name,
        )
    )


def _judged(conn: Connection, domain: Domain, collection: Collection) -> list[tuple[Table, Column]]:
    """The references that were judged: into another domain only when that one's table is complete."""
    judged = {table.name for table in domain.tables} | schema.complete_tables(conn)
    return [(table, column) for table in collection.tables for column in table.references if column.references in judged]
