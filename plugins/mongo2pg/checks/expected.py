"""The rows that documents must become, in temporary tables that bear their targets' names.

The reference projects the documents batch by batch while PostgreSQL reads and judges those before: nothing is kept of
either but a portion. Rows go by COPY in text format, which is not the mover's.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from typing import Any, TypeVar

from psycopg import sql

from mongo2pg.books import Connection
from mongo2pg.collector import collector_paused
from mongo2pg.model import Collection
from mongo2pg.queries import incoming, names, target
from mongo2pg.reference.projector import Projector, Reject

# BSON that is projected at once: it becomes about ten times as much in Python's objects, which fits a processor's cache ill
# if it is more and pays for the detours if it is less. A larger document is a batch of its own.
BATCH_BYTES = 512 << 10
# BSON that is judged at once: some statements a portion, which cost little beside it, and the last one finds nobody to
# overlap with.
PORTION_BYTES = 4 << 20
# Lines that become one COPY: an array of a large document becomes rows in parts of this size.
COPY_BYTES = 8 << 20
# Lines that wait while PostgreSQL judges: about two portions.
QUEUE_BYTES = 8 << 20

# The number of a row's document, first column of each table here. No declared column has a capital letter.
DOCUMENT = sql.Identifier("Document")
REJECTS = sql.Identifier("pg_temp", "mongo2pg_own_rejects")
# The documents themselves, by their digests.
VERSIONS = sql.Identifier("pg_temp", "mongo2pg_versions")


def create_expected(conn: Connection, collection: Collection) -> None:
    """Makes the empty tables; they end with the transaction, or by `drop_expected`."""
    drop_expected(conn, collection)
    for table in collection.tables:
        conn.execute(
            sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT NULL::bigint AS {}, {} FROM {} WITH NO DATA").format(
                sql.Identifier(table.name), DOCUMENT, names(table.stored), target(table.name)
            )
        )
    conn.execute(
        """
        CREATE TEMP TABLE mongo2pg_own_rejects (
            document bigint, document_id jsonb, root_id uuid, path text, reason text, element boolean
        ) ON COMMIT DROP;
        CREATE TEMP TABLE mongo2pg_versions (document bigint, sha256 bytea) ON COMMIT DROP
        """
    )


def drop_expected(conn: Connection, collection: Collection) -> None:
    """Drops the tables, if they are there."""
    for table in collection.tables:
        conn.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(incoming(table.name)))
    conn.execute(sql.SQL("DROP TABLE IF EXISTS {}, {}").format(REJECTS, VERSIONS))


def expect(
    conn: Connection,
    collection: Collection,
    documents: Iterable[Numbered],
    judge: Callable[[], None],
    writer: Queue,
    *,
    at_once: bool = False,
) -> None:
    """Fills the tables with the rows and the rejects of the documents.

    That goes portion by portion, for documents that come once each; all `at_once` where one may come again.
    `judge` is called when a portion is complete; then the tables are emptied. It runs in the thread of `writer`: while
    PostgreSQL judges one portion, the reference projects the next. The connection is that thread's until its work is done.
    """
    projector = Projector(collection)
    size = 0

    def close_portion() -> None:
        _leave_out_repeated(conn, collection)
        for table in collection.tables:
            columns = sql.SQL(", ").join([sql.Identifier(table.owner), DOCUMENT])
            conn.execute(sql.SQL("ANALYZE {} ({})").format(incoming(table.name), columns))
        judge()
        everything = sql.SQL(", ").join([REJECTS, VERSIONS, *(incoming(table.name) for table in collection.tables)])
        conn.execute(sql.SQL("TRUNCATE {}").format(everything))

    for batch in _batches(documents):
        for lines in _parts(projector, batch):
            writer.put(sum(len(text) for texts in lines.values() for text in texts), partial(_copy, conn, collection, lines))
        size += sum(len(document) for _, document in batch)
        if size >= PORTION_BYTES and not at_once:
            writer.put(0, close_portion)
            size = 0
    if size:
        writer.put(0, close_portion)


@contextmanager
def second_thread() -> Iterator[Queue]:
    """A queue of work for the thread that talks to PostgreSQL while this one computes; at its end all of it is done."""
    with collector_paused(), _quick_turns(), Queue(QUEUE_BYTES) as queue:
        yield queue


Result = TypeVar("Result")


class Queue:
    """Work for a second thread, in order, as long as what waits is at most `most` bytes; `put` and the end raise its errors."""

    def __init__(self, most: int) -> None:
        self._most, self._size = most, 0
        self._waiting: deque[tuple[int, Future[Any]]] = deque()
        self._thread = ThreadPoolExecutor(1, "mongo2pg-expected")

    def __enter__(self) -> Queue:
        return self

    def put(self, size: int, work: Callable[[], Result]) -> Future[Result]:
        """Waits for room, not for the work."""
        while self._waiting and (self._size + size > self._most or self._waiting[0][1].done()):
            self._wait()
        future = self._thread.submit(work)
        self._waiting.append((size, future))
        self._size += size
        return future

    def _wait(self) -> None:
        size, work = self._waiting.popleft()
        self._size -= size
        work.result()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            while self._waiting and kind is None:
                self._wait()
        finally:
            self._thread.shutdown(cancel_futures=True)


def _leave_out_repeated(conn: Connection, collection: Collection) -> None:
    """Of a document that comes twice only the last version is expected: it was read later."""
    root = incoming(collection.table)
    conn.execute("DROP TABLE IF EXISTS pg_temp.mongo2pg_repeated")
    repeated = conn.execute(
        sql.SQL(
            """
            CREATE TEMP TABLE mongo2pg_repeated ON COMMIT DROP AS
            WITH named AS (
                SELECT {document} AS document, id FROM {root}
                UNION ALL SELECT document, root_id FROM {rejects} WHERE NOT element AND root_id IS NOT NULL
            )
            SELECT document FROM (
                SELECT n.document, lead(n.document) OVER (PARTITION BY coalesce(
                    (SELECT migration.document_id(r.id, r.extra) FROM {root} r WHERE r.{document} = n.document),
                    (SELECT j.document_id FROM {rejects} j WHERE j.document = n.document AND NOT j.element)
                ) ORDER BY n.document) AS later
                FROM named n JOIN (SELECT id FROM named GROUP BY id HAVING count(*) > 1) AS twice USING (id)
            ) AS versions WHERE later IS NOT NULL
            """
        ).format(document=DOCUMENT, root=root, rejects=REJECTS)
    ).rowcount
    if not repeated:
        return
    for table, number in [(REJECTS, sql.Identifier("document")), *((incoming(t.name), DOCUMENT) for t in collection.tables)]:
        conn.execute(sql.SQL("DELETE FROM {} x USING pg_temp.mongo2pg_repeated r WHERE x.{} = r.document").format(table, number))


# A document and its number among all that are compared.
Numbered = tuple[int, bytes]


def _batches(documents: Iterable[Numbered]) -> Iterator[list[Numbered]]:
    batch: list[Numbered] = []
    size = 0
    for number, document in documents:
        if batch and size + len(document) > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append((number, document))
        size += len(document)
    if batch:
        yield batch


Lines = dict[str, list[bytes]]
# No table of the target has such a name.
_ASIDE = {"Rejects": REJECTS, "Versions": VERSIONS}


def _parts(projector: Projector, batch: list[Numbered]) -> Iterator[Lines]:
    """The batch's rows as lines for COPY by table; its rejects and its documents' digests beside them."""
    lines: Lines = {"Versions": [b"%d\t\\\\x%s\n" % (number, sha256(raw).hexdigest().encode()) for number, raw in batch]}
    size = 0
    numbers, documents = zip(*batch, strict=True)
    for made in projector.project(documents, numbers):
        name, text = ("Rejects", _reject_line(made)) if isinstance(made, Reject) else (made.table.name, made.copy_text())
        lines.setdefault(name, []).append(text)
        size += len(text)
        if size >= COPY_BYTES:
            yield lines
            lines, size = {}, 0
    yield lines


def _reject_line(reject: Reject) -> bytes:
    values = (str(reject.document), reject.document_id, reject.root_id, reject.path, reject.reason, "ft"[reject.element])
    return ("\t".join(map(copy_text, values)) + "\n").encode()


def copy_text(text: str | None) -> str:
    """A value in COPY's text format."""
    if text is None:
        return r"\N"
    return text.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


def _copy(conn: Connection, collection: Collection, lines: Lines) -> None:
    for name, texts in lines.items():
        if name in _ASIDE:
            into = sql.Composed([_ASIDE[name]])
        else:
            table = next(table for table in collection.tables if table.name == name)
            into = sql.SQL("{} ({}, {})").format(incoming(name), DOCUMENT, names(table.columns))
        with conn.cursor() as cursor, cursor.copy(sql.SQL("COPY {} FROM STDIN").format(into)) as copy:
            for text in texts:
                copy.write(text)


@contextmanager
def _quick_turns() -> Iterator[None]:
    """Threads take turns every 0.1 ms.

    psycopg hands 128 kB at a time to the server, and would wait up to 5 ms for its turn before each.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0001)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def rows_of(collection: Collection, documents: sql.Composable) -> sql.Composed:
    """The query for number (`document`), `root_id` and `document_id` of those expected root rows whose `document_id` is asked for.

    A name is made from a row only where that cannot be told from its id: making all of them costs more than all the rest.
    """
    return sql.SQL(
        """
        WITH asked AS MATERIALIZED (SELECT DISTINCT document_id FROM ({documents}) AS named (document_id))
        SELECT r.{document} AS document, r.id AS root_id, a.document_id
        FROM {root} r JOIN asked a ON a.document_id = migration.document_id(r.id, r.extra)
        WHERE r.extra ? '_id' OR r.id IN (
            SELECT migration.uuid_from_objectid(document_id ->> '$oid') FROM asked WHERE document_id ? '$oid'
            UNION ALL
            SELECT encode(decode(document_id #>> '{{$binary,base64}}', 'base64'), 'hex')::uuid FROM asked
            WHERE document_id #>> '{{$binary,subType}}' IN ('03', '04'))
        """
    ).format(documents=documents, document=DOCUMENT, root=incoming(collection.table))
