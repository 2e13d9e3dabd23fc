"""Round trip: documents rebuilt from the target's rows, held against the documents as they were read.

`checksums` asks whether each row is what its document must become; this asks whether a document could be had back. It
shares neither the mover's nor the projector's view of a value. What counts as the same is in docs/round_trip.md.
"""

from __future__ import annotations

import json
import logging
import math
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from mongo2pg import books
from mongo2pg.batches.arrow import pa
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.checks.differences import READ, SHOWN, Difference, describe, digest_of, write_differences
from mongo2pg.checks.verify import newer_elsewhere
from mongo2pg.files.parquet import open_parquet
from mongo2pg.files.staging import CollectionStaging, read_json
from mongo2pg.model import Child, Collection, Column, Table
from mongo2pg.queries import target
from mongo2pg.reference.documents import MISSING, read_all
from mongo2pg.reference.equivalence import Likeness, Unlike, shown
from mongo2pg.reference.ids import identify
from mongo2pg.reference.rebuild import rebuild_document, rebuild_element

log = logging.getLogger(__name__)

# The share of a chunk's documents that is rebuilt unless somebody asks for another, and how many at least.
SAMPLE, AT_LEAST = 0.001, 100
# Documents that are rebuilt at once, and bytes of them.
BATCH, BATCH_BYTES = 500, 2 << 20
# Rows of child tables that are fetched at once.
ROWS = 2000

Row = dict[str, str | None]


@dataclass
class _Document:
    """One document on its way through: what was read, what of it are rejects, and the places of elements that came back."""

    root_id: str
    content: dict[str, Any]
    # The paths of rejects and all that lie above them.
    rejected: set[str] = field(default_factory=set)
    seen: dict[str, set[str]] = field(default_factory=dict)


def round_trip_chunk(
    conn: Connection, run: RunKey, collection: Collection, staging: CollectionStaging, chunk: int, sample: float = SAMPLE
) -> list[Check]:
    """The check `round_trip` of each table for a sample of the chunk's documents, always the same; 1 is all of them."""
    started = time.monotonic()
    tables = [table.name for table in collection.tables]
    books.forget_verdicts(conn, run, ["round_trip"], tables, chunk)
    manifest = read_json(staging.manifest(chunk))
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        # Few documents meet many rejects and rows: these are looked up, as with `checksums`.
        conn.execute("SET LOCAL random_page_cost = 1.1")
        books.forget_differences(conn, run, "round_trip", chunk, tables)
        trip = _Trip(conn, run, collection, chunk)
        if manifest["documents"]:
            newer = newer_elsewhere(conn, run, collection, staging, manifest)
            for names, raws in _sampled(staging, chunk, manifest, sample):
                trip.take(names, raws, newer)
            trip.write()
        checks = trip.checks()
        books.write_checks(conn, run, checks)
    took = time.monotonic() - started
    log.info("%s %s: %s documents rebuilt in %.1f s, %s differences", collection.name, chunk, trip.documents, took, trip.found)
    for difference in trip.first:
        log.error("%s", describe(difference))
    return checks


class _Trip:
    """The documents of one chunk, batch after batch; differences go to the books as they are found."""

    def __init__(self, conn: Connection, run: RunKey, collection: Collection, chunk: int) -> None:
        self.conn, self.run, self.collection, self.chunk = conn, run, collection, chunk
        self.likeness = {table.name: Likeness() for table in collection.tables}
        self.likeness[collection.table].ignored = collection.ignored
        self.counts: dict[str, Counter[str]] = {table.name: Counter() for table in collection.tables}
        self.differing: Counter[str] = Counter()
        self.documents = self.found = 0
        self.first: list[Difference] = []
        self.waiting: list[Difference] = []
        self.waiting_size = 0

    def take(self, names: Sequence[str], raws: Sequence[bytes], newer: sql.Composable) -> None:
        """Rebuilds these documents, but those that were rejected or of which another run had a later word (`newer`)."""
        root, *children = self.collection.tables
        documents = self._present(names, raws, newer)
        rows = {row["id"]: row for row in self._rows(root, "id", list(documents))}
        for document in documents.values():
            self.documents += 1
            self.counts[root.name]["documents"] += 1
            row = rows.get(document.root_id)
            if row is None:
                self._note(root, Difference(root.name, document.root_id, None, "missing", None, None))
                continue
            rebuilt = rebuild_document(self.collection, row, _json(row["extra"]))
            self.likeness[root.name].compare(document.content, rebuilt)
            self._collect(root, document.root_id)
        for table in children:
            if table.child:
                self._take_elements(table, table.child, documents)

    def _take_elements(self, table: Table, child: Child, documents: dict[str, _Document]) -> None:
        likeness, counts = self.likeness[table.name], self.counts[table.name]
        place_of = child.key or "ordinal"
        for row in self._rows(table, table.parent_key, list(documents)):
            document, place = documents[str(row[table.parent_key])], str(row[place_of])
            original = _element(document.content, child, place)
            seen = document.seen.setdefault(child.path, set())
            if original is MISSING or place in seen:
                self._note(table, Difference(table.name, row["id"], None, "extra", None, None))
                continue
            seen.add(place)
            counts["elements"] += 1
            rebuilt = rebuild_element(child, row, _json(row["extra"]))
            if isinstance(rebuilt, dict) and isinstance(original, dict):
                likeness.compare(original, rebuilt)
            else:
                likeness.compare_value(original, rebuilt, child.path)
            self._collect(table, row["id"])
        for document in documents.values():
            seen = document.seen.get(child.path, set())
            for place in _places(document.content, child):
                if place in seen:
                    continue
                what = f"{child.path}.{place}"
                if what.replace("\0", "\\0") in document.rejected:
                    counts["rejected"] += 1
                else:
                    value = self._shown(table, None, shown(_element(document.content, child, place)))
                    self._note(table, Difference(table.name, document.root_id, what, "rebuilt", value, None))

    def _present(self, names: Sequence[str], raws: Sequence[bytes], newer: sql.Composable) -> dict[str, _Document]:
        apart = self.conn.execute(
            sql.SQL(
                """
                SELECT d.n, NULL, false FROM unnest(%(ids)s::jsonb[]) WITH ORDINALITY AS d (id, n) WHERE d.id IN ({newer})
                UNION ALL
                SELECT d.n, r.path, r.element FROM unnest(%(ids)s::jsonb[]) WITH ORDINALITY AS d (id, n)
                JOIN migration.rejects r ON r.document_id = d.id
                WHERE r.state = 'open' AND r.domain = %(domain)s AND r.collection = %(collection)s
                  -- By the index of open rejects, as an array: of a join of digests PostgreSQL would read them all.
                  AND md5(r.document_id::text) = ANY(ARRAY(SELECT md5(i.id::text) FROM unnest(%(ids)s::jsonb[]) AS i (id)))
                """
            ).format(newer=newer),
            {"ids": list(names), "domain": self.run.domain, "collection": self.collection.name},
        )
        passed_over: set[int] = set()
        rejected: dict[int, set[str]] = {}
        for number, path, element in apart:
            if element:
                steps = path.split(".")
                rejected.setdefault(number - 1, set()).update(".".join(steps[:end]) for end in range(1, len(steps) + 1))
            else:
                passed_over.add(number - 1)
        self.counts[self.collection.table]["passed_over"] += len(passed_over)
        documents: dict[str, _Document] = {}
        for at, content in enumerate(read_all(raws)):
            if at not in passed_over and content is not None and "_id" in content:
                root_id = identify(content["_id"])
                documents[root_id] = _Document(root_id, content, rejected.get(at, set()))
        return documents

    def _rows(self, table: Table, column: str, ids: list[str]) -> Iterator[Row]:
        with self.conn.cursor("mongo2pg_round_trip") as cursor:
            cursor.itersize = ROWS
            cursor.execute(
                sql.SQL("SELECT {} FROM {} AS t WHERE t.{} = ANY(%s::uuid[])").format(
                    sql.SQL(", ").join(map(_as_text, table.columns)), target(table.name), sql.Identifier(column)
                ),
                (ids,),
            )
            names = [each.name for each in table.columns]
            for row in cursor:
                yield dict(zip(names, row, strict=True))

    # --- what was found ---

    def _collect(self, table: Table, row_id: str | None) -> None:
        for unlike in self.likeness[table.name].found:
            source, got = (self._shown(table, unlike, text) for text in (unlike.source, unlike.target))
            self._note(table, Difference(table.name, row_id, unlike.path, "rebuilt", source, got))
        self.likeness[table.name].found.clear()

    def _shown(self, table: Table, unlike: Unlike | None, text: str | None) -> str | None:
        """A field without a column may hold anything: where the table has something sensitive, so may that field."""
        column = unlike.column if unlike else None
        sensitive = column.sensitive if column else any(each.sensitive for each in table.columns)
        return digest_of(text) if sensitive else text

    def _note(self, table: Table, difference: Difference) -> None:
        self.waiting.append(difference)
        self.waiting_size += len(difference.source or "") + len(difference.target or "")
        if len(self.waiting) >= ROWS or self.waiting_size >= BATCH_BYTES:
            self.write()
        self.differing[table.name] += 1
        self.found += 1
        if len(self.first) < SHOWN:
            source, got = (text and text[:READ] for text in (difference.source, difference.target))
            self.first.append(difference._replace(source=source, target=got))

    def write(self) -> None:
        """Puts the differences so far into the books."""
        if not self.waiting:
            return
        write_differences(self.conn, self.run, "round_trip", self.chunk, self.waiting)
        self.waiting.clear()
        self.waiting_size = 0

    def checks(self) -> list[Check]:
        """The verdicts, with how often which equivalence was used."""
        return [
            Check(
                "round_trip",
                table.name,
                "failed" if self.differing[table.name] else "passed",
                {"differences": 0},
                {
                    "differences": self.differing[table.name],
                    **self.counts[table.name],
                    "equivalences": {name: count for name, count in sorted(self.likeness[table.name].used.items()) if count},
                },
                "; ".join(describe(each) for each in self.first if each.table == table.name) or None,
                self.chunk,
            )
            for table in self.collection.tables
        ]


def _sampled(
    staging: CollectionStaging, chunk: int, manifest: dict[str, Any], sample: float
) -> Iterator[tuple[list[str], list[bytes]]]:
    """The chosen documents, batch by batch, with their `_id`s; chosen by their `_id`s alone."""
    with open_parquet(staging.raw(chunk), manifest["raw"]["sha256"]) as raw:
        wanted = min(manifest["documents"], max(math.ceil(manifest["documents"] * sample), AT_LEAST))
        all_names = [raw.read_row_group(group, columns=["_id"]).column(0) for group in range(raw.num_row_groups)]
        all_ranks = list(map(_ranks, all_names))
        limit = np.partition(np.concatenate(all_ranks), wanted - 1)[wanted - 1]
        names: list[str] = []
        raws: list[bytes] = []
        size = 0
        for group, (content, ranks) in enumerate(zip(all_names, all_ranks, strict=True)):
            chosen = np.flatnonzero(ranks <= limit).tolist()
            if not chosen:
                continue
            documents = raw.read_row_group(group, columns=["bson"]).column(0)
            for at in chosen:
                names.append(content[at].as_py())
                raws.append(documents[at].as_py())
                size += len(raws[-1])
                if len(raws) >= BATCH or size >= BATCH_BYTES:
                    yield names, raws
                    names, raws, size = [], [], 0
        if raws:
            yield names, raws


def _ranks(names: pa.ChunkedArray) -> NDArray[np.uint32]:
    return np.fromiter(map(zlib.crc32, names.cast(pa.binary()).to_pylist()), np.uint32, len(names))


def _as_text(column: Column) -> sql.Composable:
    """The column as a text that says all of its value: dates as milliseconds, arrays as JSON."""
    name = sql.Identifier("t", column.name)
    if column.type == "timestamptz":
        return sql.SQL("(extract(epoch FROM {}) * 1000)::text").format(name)
    if column.type == "text[]":
        return sql.SQL("to_jsonb({})::text").format(name)
    return sql.SQL("{}::text").format(name)


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _holder(content: dict[str, Any], child: Child) -> Any:
    value: Any = content
    for key in child.path.split("."):
        value = value.get(key, MISSING) if type(value) is dict else MISSING
    return value if type(value) is (dict if child.kind == "map" else list) else MISSING


def _element(content: dict[str, Any], child: Child, place: str) -> Any:
    holder = _holder(content, child)
    if holder is MISSING:
        return MISSING
    if child.kind == "map":
        return holder.get(place, MISSING)
    return holder[int(place)] if 0 <= int(place) < len(holder) else MISSING


def _places(content: dict[str, Any], child: Child) -> Iterator[str]:
    holder = _holder(content, child)
    if holder is not MISSING:
        yield from holder if child.kind == "map" else map(str, range(len(holder)))
