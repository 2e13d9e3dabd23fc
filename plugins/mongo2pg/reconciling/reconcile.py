"""Holds the whole of a domain against MongoDB, chunk by chunk and without staging it, and moves again what differs if asked to.

The source may be written and windows may be loaded meanwhile. A document that seems to differ is therefore read again, by its
`_id`, in rounds: it counts when its rows still differ and its bytes were the same twice; one that changes every time is
counted as such. Rows whose document is gone are found by ids alone, as a delete finds them.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from bson.json_util import dumps as to_extended_json
from psycopg import Rollback, sql
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Check, Connection, RunKey, Verdict
from mongo2pg.checks.compare import Comparison, compare_documents, in_portions
from mongo2pg.checks.compare_tables import NOTHING, Sum, plus
from mongo2pg.checks.differences import booked_differences, describe
from mongo2pg.checks.live import digest, read_chunk
from mongo2pg.checks.references import check_references
from mongo2pg.checks.reject_causes import of_collection
from mongo2pg.checks.uniqueness import check_uniqueness
from mongo2pg.databases import lookup
from mongo2pg.databases.source import server_time
from mongo2pg.documents.document_ids import MALFORMED, compact
from mongo2pg.errors import PermanentError
from mongo2pg.files.planned import BOUNDS, RECONCILE, Lot, reading
from mongo2pg.files.staging import CollectionStaging, RunStaging, read_json, write_json
from mongo2pg.model import Collection, Domain
from mongo2pg.planning.plan import CHUNK_BYTES, forget_earlier, plan_collection, write_plans
from mongo2pg.progress import Progress
from mongo2pg.queries import set_aside, target
from mongo2pg.settling.deletes import absent, create_gone, find_gone

log = logging.getLogger(__name__)

# Readings of a document that keeps changing, before it is called one that does.
ROUNDS = 5
# The checks, and the names under which their differences stand in the books; the last one tells what a repair left, or did
# beside what differed.
CHECK, ROWS, REPAIRED = "reconcile", "unexplained_rows", "repair"


Sums = dict[str, tuple[Sum, Sum]]


@dataclass
class Judgement:
    """What became of a chunk's documents: sums of both sides by table, the `_id`s of those that differ, how many keep changing.

    Documents that break the BSON specification are `unreadable`: those that differ cannot be asked for again.
    """

    documents: int
    sums: Sums
    unreadable: int = 0
    differing: list[str] = field(default_factory=list)
    changing: int = 0


def plan_reconcile(
    database: Database[Any], conn: Connection, domain: Domain, staging: RunStaging, chunk_bytes: int = CHUNK_BYTES
) -> list[Lot]:
    """The chunks in which everything is compared. PermanentError before the first full run of a collection is complete."""
    plan_id = uuid.uuid4().hex[:12]
    run = RunKey(domain.name, staging.run_id, plan_id)
    for collection in domain.collections:
        if books.phase(conn, run, collection.name)[0] != "complete":
            raise PermanentError(f"{collection.name} has no complete first run: run {domain.name} with mode full first")
    plans = ({**plan_collection(database, c, plan_id, chunk_bytes), "scope": RECONCILE} for c in domain.collections)
    lots = write_plans(staging, domain, plan_id, plans, chunk_bytes)
    forget_earlier(conn, run, domain, staging)
    return lots


@dataclass(frozen=True)
class Reconciler:
    """The comparison of one collection: both ends, and where its plan and its findings lie."""

    database: Database[Any]
    conn: Connection
    run: RunKey
    domain: Domain
    collection: Collection
    staging: CollectionStaging

    def compare(self, chunk: int) -> list[Check]:
        """Compares the chunk's documents with their rows: a check for each table, every difference in the books.

        What a repair needs is written to the chunk's file.
        """
        started, since = time.monotonic(), books.now(self.conn)
        self._forget(CHECK, chunk)
        with self._compared(self._read(chunk)) as comparison:
            agreed = comparison.agreed
            found = list(comparison.differing())
            kept = comparison.kept_ids()
            unreadable = [document_id for document_id in found if compact(document_id).startswith(MALFORMED)]
            comparison.book(self.run, CHECK, chunk, unreadable)
        suspects = sorted({*found} - {*unreadable})
        judged = Judgement(comparison.documents, _both(agreed), len(unreadable))
        self._judge(judged, suspects, kept, CHECK, chunk)
        checks = self._checks(judged, CHECK, chunk)
        if not books.write_checks(self.conn, self.run, checks, since):
            log.warning("%s %s: another attempt, begun later, has compared this: its word stands", self.collection.name, chunk)
            return checks
        write_json(
            self.staging.manifest(chunk),
            {
                "chunk": chunk,
                "compared_at": server_time(self.database),
                "documents": judged.documents,
                "agreed": agreed,
                "suspects": suspects,
                "kept": kept,
                "unreadable": judged.unreadable,
                "differing": judged.differing,
                "changing": judged.changing,
                "seconds": round(time.monotonic() - started, 3),
            },
        )
        log.info(
            "%s %s: %s documents compared in %.1f s, %s seemed to differ, %s do, %s keep changing",
            *(self.collection.name, chunk, f"{judged.documents:,}", time.monotonic() - started),
            *(f"{count:,}" for count in (len(found), len(judged.differing) + judged.unreadable, judged.changing)),
        )
        return checks

    def compare_again(self, chunk: int) -> list[Check]:
        """After a repair: compares those documents of the chunk that seemed to differ once more, and writes its checks anew."""
        before, since = read_json(self.staging.manifest(chunk)), books.now(self.conn)
        self._forget(REPAIRED, chunk)
        judged = Judgement(before["documents"], _both(before["agreed"]), before["unreadable"])
        self._judge(judged, before["suspects"], before["kept"], REPAIRED, chunk)
        moved = len(before["differing"])
        remark = f"{moved:,} documents differed and were moved again" if moved else None
        if moved and judged.differing:
            remark = f"{remark}; clear the task compare to repair what has changed since"
        checks = self._checks(judged, REPAIRED, chunk, remark)
        books.write_checks(self.conn, self.run, checks, since)
        return checks

    def compare_moved(self, moved: Mapping[str, Any]) -> list[Check]:
        """After a repair: compares what it moved beside the documents that differed; none, one check `repair` for the collection.

        `moved` are `_id`s by the documents' names.
        """
        if not moved:
            return []
        judged = Judgement(len(moved), {table.name: (NOTHING, NOTHING) for table in self.collection.tables})
        kept = {name: to_extended_json(value, json_options=BOUNDS) for name, value in moved.items()}
        self._judge(judged, list(moved), kept, REPAIRED, -1)
        found = [booked_differences(self.conn, self.run, REPAIRED, table.name)[1] for table in self.collection.tables]
        detail = "; ".join(map(describe, chain.from_iterable(found))) or None
        actual = {"documents": len(moved), "differing": len(judged.differing), "changing": judged.changing}
        verdict: Verdict = "failed" if judged.differing else "passed"
        checks = [Check(REPAIRED, self.collection.table, verdict, {"differing": 0}, actual, detail)]
        books.write_checks(self.conn, self.run, checks)
        return checks

    # --- documents ---

    @contextmanager
    def _compared(self, documents: Iterable[bytes]) -> Iterator[Comparison]:
        """One view of the target for its rows and the books: other runs may go on meanwhile."""
        booked = of_collection(self.domain.name, self.collection.name)
        with self.conn.transaction():
            self.conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            with compare_documents(self.conn, self.domain, self.collection, in_portions(documents), booked) as comparison:
                yield comparison

    def _read(self, chunk: int) -> Iterator[bytes]:
        plan = read_json(self.staging.plan)
        progress = Progress(log, f"compare {self.collection.name} {chunk}", plan["source_before"] // len(plan["bounds"]))
        how = reading(self.staging, chunk)
        for done, document in enumerate(read_chunk(self.database, self.collection.name, how), 1):
            yield document
            progress.update(done)

    def _judge(self, judged: Judgement, suspects: Sequence[str], kept: Mapping[str, str], check: str, chunk: int) -> None:
        """Reads suspects again until each agrees, is gone, or differs with the same bytes twice; books what is left."""
        name = self.collection.name
        waiting, before = list(suspects), dict[str, bytes]()
        for last in (*[False] * (ROUNDS - 1), True):
            if not waiting:
                return
            digests: list[bytes] = []
            there = lookup.find_ids(self.database, name, waiting, kept)
            documents = lookup.read_documents(self.database, name, [value for found in there.values() for value in found])
            with self._compared(_noted(documents, digests)) as comparison:
                now = {document_id: digests[number] for document_id, number in comparison.differing().items()}
                steady = [document_id for document_id, bytes_now in now.items() if before.get(document_id) == bytes_now]
                if last or len(steady) == len(now):
                    judged.differing += steady
                    judged.changing += len(now) - len(steady)
                    _add(judged.sums, comparison.sums)
                    comparison.book(self.run, check, chunk, steady)
                    return
                _add(judged.sums, _both(comparison.agreed))
            waiting, before = list(now), now

    # --- the books ---

    def _forget(self, check: str, chunk: int) -> None:
        tables = [table.name for table in self.collection.tables]
        books.forget_verdicts(self.conn, self.run, [CHECK], tables, chunk)
        books.forget_differences(self.conn, self.run, check, chunk, tables)

    def _checks(self, judged: Judgement, check: str, chunk: int, remark: str | None = None) -> list[Check]:
        checks = []
        for table in self.collection.tables:
            root = table.child is None
            count, first = booked_differences(self.conn, self.run, check, table.name, chunk)
            expected, actual = judged.sums[table.name]
            failed = count or (root and judged.unreadable)
            if root and judged.changing:
                actual = {**actual, "changing_documents": judged.changing}
            remarks = [*([remark] if root and remark else []), *map(describe, first)]
            verdict: Verdict = "failed" if failed else "passed"
            checks.append(Check(CHECK, table.name, verdict, expected, actual, "; ".join(remarks) or None, chunk))
        return checks


def _both(sums: dict[str, Sum]) -> Sums:
    return {name: (each, each) for name, each in sums.items()}


def _add(sums: Sums, more: Sums) -> None:
    for name, sides in more.items():
        source, present = (plus(one, other) for one, other in zip(sums[name], sides, strict=True))
        sums[name] = source, present


def _noted(documents: Iterable[bytes], digests: list[bytes]) -> Iterator[bytes]:
    for document in documents:
        digests.append(digest(document))
        yield document


# --- rows ------------------------------------------------------------------------------------------------------------


def check_rows(database: Database[Any], conn: Connection, run: RunKey, domain: Domain, staging: RunStaging) -> list[Check]:
    """What comparing documents cannot see: rows without a document, rows that hang on nothing, keys that occur twice."""
    return [*find_unexplained(database, conn, run, domain), *check_constraints(conn, run, domain, staging)]


def check_constraints(conn: Connection, run: RunKey, domain: Domain, staging: RunStaging) -> list[Check]:
    """The checks `references` and `uniqueness` over all rows."""
    return [*check_references(conn, run, domain, staging), *check_uniqueness(conn, run, domain, staging)]


def find_unexplained(database: Database[Any], conn: Connection, run: RunKey, domain: Domain) -> list[Check]:
    """Rows whose document is gone and that no declared expiry explains: each in the books, a check for each root table.

    What another attempt found that was begun later stands.
    """
    checks: list[Check] = []
    since = books.now(conn)
    books.forget_verdicts(conn, run, [ROWS], [collection.table for collection in domain.collections])
    for collection in domain.collections:
        create_gone(conn)
        gone, rows = find_gone(database, conn, collection)
        with conn.transaction() as noting:
            books.forget_differences(conn, run, ROWS, -1, [collection.table])
            conn.execute(
                """
                INSERT INTO migration.differences (domain, run_id, check_name, table_name, chunk, id, kind)
                SELECT %s, %s, %s, %s, -1, id, 'extra' FROM pg_temp.mongo2pg_gone
                """,
                (run.domain, run.run_id, ROWS, collection.table),
            )
            _, first = booked_differences(conn, run, ROWS, collection.table)
            detail = "; ".join(map(describe, first)) or None
            checks.append(_rows_check(collection, gone, {"without_document": gone, "rows": rows}, detail))
            if not books.write_checks(conn, run, checks[-1:], since):
                raise Rollback(noting)
    return checks


def find_left(database: Database[Any], conn: Connection, run: RunKey, collection: Collection) -> list[Check]:
    """After a repair: the rows that were found without a document and still are, in the check's place."""
    found = unexplained_ids(conn, run, collection)
    left = absent(database, conn, collection, found)
    marked = conn.execute(
        sql.SQL("SELECT count(*) FROM {target} t WHERE id = ANY(%s::uuid[]) AND {aside}").format(
            target=target(collection.table), aside=set_aside(collection, "t", server_time(database))
        ),
        (left,),
    ).fetchone() or (0,)
    remain = len(left) - marked[0]
    detail = f"{len(found):,} rows had no document, {remain:,} have none now" if found else None
    checks = [_rows_check(collection, remain, {"without_document": remain}, detail)]
    books.write_checks(conn, run, checks)
    return checks


def unexplained_ids(conn: Connection, run: RunKey, collection: Collection) -> list[str]:
    """The root rows that `find_unexplained` found."""
    rows = conn.execute(
        """
        SELECT id::text FROM migration.differences
        WHERE (domain, run_id, check_name, chunk, table_name) = (%s, %s, %s, -1, %s)
        """,
        (run.domain, run.run_id, ROWS, collection.table),
    )
    return [row[0] for row in rows]


def _rows_check(collection: Collection, gone: int, actual: dict[str, Any], detail: str | None) -> Check:
    return Check(ROWS, collection.table, "failed" if gone else "passed", {"without_document": 0}, actual, detail)
