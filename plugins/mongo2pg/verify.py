"""Compares what the documents must have become with what the target holds, and names id and column of each difference.

The reference projector says what a chunk's documents must become; its rows go by text COPY into temporary tables, and
PostgreSQL compares them with the target's rows of the same documents: counts and a checksum on both sides and, where
these differ, row by row. Rejects are not taken on trust: each must break the rule it stands for.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from bson import json_util
from bson.codec_options import DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from psycopg import sql

from mongo2pg import books, schema
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.model import Collection, Column, Domain, Table
from mongo2pg.progress import Progress
from mongo2pg.project import Projection, Projector, Row, dump, line
from mongo2pg.queries import create_incoming, incoming, names, target
from mongo2pg.rejects import compact
from mongo2pg.staging import CollectionStaging, open_parquet, read_json
from mongo2pg.versions import ids_among

log = logging.getLogger(__name__)

# Reasons that settle gives: their cause lies in other rows, not in the document.
SETTLED = ("orphan", "duplicate_key")
# Differences shown in the log; all of them are in migration.differences.
SHOWN = 20

_IDS = json_util.RELAXED_JSON_OPTIONS.with_options(datetime_conversion=DatetimeConversion.DATETIME_MS)


class Difference(NamedTuple):
    """One row of migration.differences."""

    table: str
    id: str | None
    column: str | None
    kind: str
    source: str | None
    target: str | None


def verify_chunk(
    conn: Connection, run: RunKey, domain: Domain, collection: Collection, staging: CollectionStaging, chunk: int
) -> list[Check]:
    """The chunk's `checksums` and `rejects` checks, written to the books with every difference found."""
    started = time.monotonic()
    manifest = read_json(staging.manifest(chunk))
    with conn.transaction():
        # One view of the target for rows, rejects and what other runs loaded: they may go on meanwhile.
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        conn.execute(
            """
            DELETE FROM migration.differences
            WHERE (domain, run_id, check_name, chunk) = (%s, %s, 'checksums', %s) AND table_name = ANY(%s)
            """,
            (run.domain, run.run_id, chunk, [table.name for table in collection.tables]),
        )
        expected = _Expected(conn, run, domain, collection)
        expected.read(_documents(staging, chunk, manifest, collection))
        newer = expected.leave_out_newer(staging, chunk)
        booked = {reject for reject in _booked_rejects(conn, run, collection, chunk) if reject[0] not in newer}
        faults = expected.confirm_rejects(booked)
        expected.clear_dangling_options()
        expected.copy()
        checks = [
            Check(
                "rejects",
                collection.name,
                "failed" if faults else "passed",
                expected={"rejects": len(expected.own_rejects)},
                actual={"rejects": len(booked)},
                detail="; ".join(fault.source or "" for fault in faults[:SHOWN]) or None,
                chunk=chunk,
            )
        ]
        differences = list(faults)
        for table in collection.tables:
            check, found = _compare(conn, collection, table, chunk)
            checks.append(check)
            differences += found
        write_differences(conn, run, "checksums", chunk, differences)
        books.write_checks(conn, run, checks)
        for table in collection.tables:
            conn.execute(sql.SQL("DROP TABLE {}").format(incoming(table.name)))
        conn.execute("DROP TABLE pg_temp.mongo2pg_ids")
    log.info(
        "%s %s: %s documents verified in %.1f s, %s differences",
        collection.name,
        chunk,
        f"{manifest['documents']:,}",
        time.monotonic() - started,
        len(differences),
    )
    for difference in differences[:SHOWN]:
        log.error("%s", describe(difference))
    if len(differences) > SHOWN:
        log.error("… and %s more: SELECT * FROM migration.differences WHERE run_id = '%s'", len(differences) - SHOWN, run.run_id)
    return checks


def describe(difference: Difference) -> str:
    """A difference as a sentence; values of sensitive columns are digests already."""
    where = f"{difference.table} {difference.id}"
    if difference.kind == "different":
        return f"{where}: column {difference.column} should be {difference.source!r}, is {difference.target!r}"
    if difference.kind == "missing":
        return f"{where}: the row is missing in PostgreSQL"
    if difference.kind == "extra":
        return f"{where}: PostgreSQL has a row that no document explains"
    return f"{difference.table}: {difference.source}"


class _Expected:
    """The expected rows of a chunk, from its documents to temporary tables."""

    def __init__(self, conn: Connection, run: RunKey, domain: Domain, collection: Collection) -> None:
        self.conn, self.run, self.collection = conn, run, collection
        self.stale = set(books.stale_ids(conn, run, collection.name))
        self.rows: dict[str, list[Row]] = {table.name: [] for table in collection.tables}
        self.by_document: dict[str, Projection] = {}
        self.own_rejects: set[tuple[str, str, str, bool]] = set()
        self.ids: set[str] = set()
        own = {table.name for table in domain.tables}
        self.judged = [
            (table, column)
            for table in collection.tables
            for column in table.references
            if column.references in own or schema.is_complete(conn, column.references)
        ]

    def read(self, documents: Iterable[bytes]) -> None:
        """Projects the documents."""
        projector = Projector(self.collection)
        for raw in documents:
            projection = projector.project(raw)
            document_id = _compact(projection.document_id)
            self.by_document[document_id] = projection
            self.own_rejects.update((document_id, *reject) for reject in projection.rejects)

    def leave_out_newer(self, staging: CollectionStaging, chunk: int) -> set[str]:
        """Leaves out the documents of which the target has another run's word: it loaded or rejected them later."""
        keys = {compact(key): key for key in self.by_document}
        newer = ids_among(staging, books.loads_after(self.conn, self.run, self.collection.name, chunk), keys)
        newer |= keys.keys() & set(map(compact, books.rejected_elsewhere(self.conn, self.run, self.collection.name)))
        left_out = {keys[key] for key in newer}
        for key in left_out:
            del self.by_document[key]
        self.own_rejects = {reject for reject in self.own_rejects if reject[0] not in left_out}
        if left_out:
            log.info("%s: %s documents have a newer reading in another run", self.collection.name, f"{len(left_out):,}")
        return left_out

    def confirm_rejects(self, booked: set[tuple[str, str, str, bool]]) -> list[Difference]:
        """Takes the rows of rejects that settle gave, if their cause stands; returns what was rejected without one, or not."""
        faults = [self._fault(reject, "must be rejected but is not in the books") for reject in self.own_rejects - booked]
        for reject in sorted(booked - self.own_rejects):
            document_id, path, reason, element = reject
            projection = self.by_document.get(document_id)
            if reason not in SETTLED or projection is None or projection.rejected:
                faults.append(self._fault(reject, "is rejected without that cause"))
                continue
            if element:
                taken = self._take_element(projection, path)
                if taken is None or not self._is_orphan(*taken):
                    faults.append(self._fault(reject, "is rejected although the row it refers to is there"))
            else:
                root = self.collection.tables[0]
                row = projection.rows[root.name][0]
                projection.rows = {}
                if path == "_id":
                    projection.root_id = None  # the row under this id is the other document's
                column = next((c for c in root.columns if c.path == path), None)
                if reason == "orphan" and (column is None or not self._is_orphan(row, column)):
                    faults.append(self._fault(reject, "is rejected although the row it refers to is there"))
                if reason == "duplicate_key" and not self._slot_is_taken(root, row, path, document_id):
                    faults.append(self._fault(reject, "is rejected although no smaller _id holds its key"))
        for projection in self.by_document.values():
            # Of a rejected document nothing may be in the target, but the last good version where the books call it stale.
            if projection.root_id and (projection.rows or projection.root_id not in self.stale):
                self.ids.add(projection.root_id)
            for name, rows in projection.rows.items():
                self.rows[name] += rows
        return faults

    def _fault(self, reject: tuple[str, str, str, bool], what: str) -> Difference:
        document_id, path, reason, _ = reject
        return Difference(
            self.collection.table, None, None, "reject", f"{document_id} {path or 'document'} ({reason}) {what}", None
        )

    def _take_element(self, projection: Projection, path: str) -> tuple[Row, Column] | None:
        for table in self.collection.tables[1:]:
            child = table.child
            for row in projection.rows.get(table.name, []):
                if child and path.startswith(f"{child.path}.{row.place}"):
                    rest = path.removeprefix(f"{child.path}.{row.place}").removeprefix(".")
                    column = next((c for c in child.columns if c.path == rest), None)
                    if column:
                        projection.rows[table.name].remove(row)
                        return row, column
        return None

    def _is_orphan(self, row: Row, column: Column) -> bool:
        value = row.values[column.name]
        if not column.references:
            return False
        found = self.conn.execute(
            sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE id = %s::uuid)").format(target(column.references)), (value,)
        ).fetchone()
        return value is not None and found == (False,)

    def _slot_is_taken(self, root: Table, row: Row, path: str, document_id: str) -> bool:
        if path == "_id":
            query = sql.SQL("SELECT migration.document_id(id, extra)::text FROM {} WHERE id = %s::uuid").format(target(root.name))
            holder = self.conn.execute(query, (row.values["id"],)).fetchone()
        else:
            key = next((key for key in root.unique if ",".join(c.path for c in root.columns if c.name in key) == path), ())
            if not key:
                return False
            types = {column.name: column.type for column in root.columns}
            same = sql.SQL(" AND ").join(sql.SQL("{} = %s::{}").format(sql.Identifier(n), sql.SQL(types[n])) for n in key)
            query = sql.SQL("SELECT migration.document_id(id, extra)::text FROM {} WHERE {}").format(target(root.name), same)
            holder = self.conn.execute(query, [row.values[name] for name in key]).fetchone()
        return holder is not None and _sorted(holder[0]) < _sorted(document_id)

    def clear_dangling_options(self) -> None:
        """An optional reference to a row that is not there must have become NULL, its original in `extra`."""
        for table, column in self.judged:
            if column.required:
                continue
            rows = [row for row in self.rows[table.name] if row.values[column.name] is not None]
            wanted = sorted({str(row.values[column.name]) for row in rows})
            if not wanted:
                continue
            found = self.conn.execute(
                sql.SQL("SELECT v FROM unnest(%s::uuid[]) AS v WHERE NOT EXISTS (SELECT FROM {} p WHERE p.id = v)").format(
                    target(column.references)
                ),
                (wanted,),
            )
            absent = {str(row[0]) for row in found}
            for row in rows:
                value = row.values[column.name]
                if value in absent:
                    row.values[column.name] = None
                    _keep_reference(row, column.path.split(".") if column.path else ["value"], str(value))

    def copy(self) -> None:
        """The expected rows by text COPY, and the ids of all documents of the chunk."""
        for table in self.collection.tables:
            self.conn.execute(create_incoming(table))
            copy_sql = sql.SQL("COPY {} ({}) FROM STDIN").format(incoming(table.name), names(table.columns))
            with self.conn.cursor() as cursor, cursor.copy(copy_sql) as copy:
                for row in self.rows[table.name]:
                    copy.write(line(table, row))
            self.conn.execute(sql.SQL("ANALYZE {}").format(incoming(table.name)))
        self.conn.execute("CREATE TEMP TABLE mongo2pg_ids (id uuid PRIMARY KEY) ON COMMIT DROP")
        with self.conn.cursor() as cursor, cursor.copy("COPY pg_temp.mongo2pg_ids FROM STDIN") as copy:
            copy.write("".join(f"{root_id}\n" for root_id in self.ids))
        self.conn.execute("ANALYZE pg_temp.mongo2pg_ids")


def _keep_reference(row: Row, path: list[str], value: str) -> None:
    extra: dict[str, Any] = row.extra
    for key in path[:-1]:
        extra = extra.setdefault(key, {})
    if path[-1] not in extra:
        digits = value.replace("-", "")
        if digits[12] == "8" and digits[16] == "8" and digits[26:] == "000000":
            extra[path[-1]] = {"$oid": digits[:12] + digits[13:16] + digits[17:26]}
        else:
            encoded = base64.b64encode(bytes.fromhex(digits)).decode()
            extra[path[-1]] = {"$binary": {"base64": encoded, "subType": "04"}}


def _documents(staging: CollectionStaging, chunk: int, manifest: dict[str, Any], collection: Collection) -> Iterator[bytes]:
    progress = Progress(log, f"verify {collection.name} {chunk}", manifest["documents"])
    done = 0
    with open_parquet(staging.raw(chunk), manifest["raw"]["sha256"]) as raw:
        for group in range(raw.num_row_groups):
            documents = raw.read_row_group(group, columns=["bson"]).column(0).to_pylist()
            yield from documents
            done += len(documents)
            progress.update(done)


def _booked_rejects(conn: Connection, run: RunKey, collection: Collection, chunk: int) -> set[tuple[str, str, str, bool]]:
    rows = conn.execute(
        """
        SELECT document_id::text, path, reason, element FROM migration.rejects
        WHERE state = 'open' AND (domain, run_id, plan_id, collection, chunk) = (%s, %s, %s, %s, %s)
        """,
        (*run, collection.name, chunk),
    )
    return {(_compact(document_id), path, reason, element) for document_id, path, reason, element in rows}


def _compact(extended_json: str) -> str:
    return dump(json.loads(extended_json))


def _sorted(document_id: str) -> tuple[Any, ...]:
    """Where MongoDB sorts an `_id`: the rank of its type, then its value (MongoDB manual, "Comparison/Sort Order")."""
    return _order(json_util.loads(document_id, json_options=_IDS))


def _order(value: Any) -> tuple[Any, ...]:
    if value is None or isinstance(value, bool):
        return (1,) if value is None else (8, value)
    if isinstance(value, int | float | Decimal128):
        number = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
        return (2, not number.is_nan(), Decimal(0) if number.is_nan() else number)
    if isinstance(value, dict) and list(value) == ["$utf8"]:
        return (3, base64.b64decode(value["$utf8"]))  # a string with U+0000, as `project.to_json` writes it
    if isinstance(value, str):
        return (3, value.encode())
    if isinstance(value, dict):
        return (4, *((_order(item)[0], key.encode(), _order(item)) for key, item in value.items()))
    if isinstance(value, bytes):
        return (6, len(value), getattr(value, "subtype", 0), bytes(value))
    if isinstance(value, ObjectId):
        return (7, value.binary)
    return (9, int(value)) if isinstance(value, DatetimeMS) else (10, type(value).__name__, repr(value))


# --- comparison ------------------------------------------------------------------------------------------------------


def _compare(conn: Connection, collection: Collection, table: Table, chunk: int) -> tuple[Check, list[Difference]]:
    # The target's rows of these documents, and rows that should be theirs but hang on another parent.
    owner = sql.Identifier(table.parent_key or "id")
    theirs = sql.SQL("SELECT t.* FROM {target} t WHERE t.{owner} IN (SELECT id FROM pg_temp.mongo2pg_ids)").format(
        target=target(table.name), owner=owner
    )
    if table.child:
        theirs += sql.SQL(
            """
            UNION ALL SELECT t.* FROM {target} t JOIN {incoming} e ON e.id = t.id
            WHERE t.{owner} NOT IN (SELECT id FROM pg_temp.mongo2pg_ids)
            """
        ).format(target=target(table.name), incoming=incoming(table.name), owner=owner)
    source = _checksum(conn, table, sql.SQL("SELECT * FROM {}").format(incoming(table.name)))
    found = _checksum(conn, table, theirs)
    same = source == found
    differences = [] if same else _differences(conn, table, theirs)
    detail = None if same else "; ".join(describe(difference) for difference in differences[:SHOWN])
    return Check("checksums", table.name, "passed" if same else "failed", source, found, detail, chunk), differences


def _checksum(conn: Connection, table: Table, rows: sql.Composable) -> dict[str, Any]:
    """Rows and a sum of 128 bits of digest per row over its text image: order plays no part, and equal rows do not cancel out."""
    row = conn.execute(
        sql.SQL(
            """
            SELECT count(*),
                   coalesce(sum(hashtextextended(image, 0)::numeric), 0), coalesce(sum(hashtextextended(image, 1)::numeric), 0)
            FROM (SELECT ROW({columns})::text AS image FROM ({rows}) AS r) AS images
            """
        ).format(columns=names(table.stored, "r"), rows=rows)
    ).fetchone()
    count, low, high = row or (0, 0, 0)
    return {"rows": count, "sum": [int(low), int(high)]}


def _differences(conn: Connection, table: Table, theirs: sql.Composable) -> list[Difference]:
    columns = [column for column in table.stored if column.name != "id"]
    pairs = sql.SQL(", ").join(sql.SQL("e.{0}::text, t.{0}::text").format(sql.Identifier(column.name)) for column in columns)
    rows = conn.execute(
        sql.SQL(
            """
            SELECT coalesce(e.id, t.id)::text, e.id IS NOT NULL, t.id IS NOT NULL, {pairs}
            FROM {incoming} e FULL JOIN ({theirs}) AS t ON t.id = e.id
            WHERE e.id IS NULL OR t.id IS NULL OR ROW({left})::text <> ROW({right})::text
            ORDER BY 1
            """
        ).format(pairs=pairs, incoming=incoming(table.name), theirs=theirs, left=names(columns, "e"), right=names(columns, "t"))
    )
    found = []
    for row_id, expected, present, *texts in rows:
        if not (expected and present):
            found.append(Difference(table.name, row_id, None, "missing" if expected else "extra", None, None))
            continue
        for column, source, actual in zip(columns, texts[0::2], texts[1::2], strict=True):
            if source != actual:
                found.append(
                    Difference(table.name, row_id, column.name, "different", _shown(column, source), _shown(column, actual))
                )
    return found


_DIGEST_KEY = secrets.token_bytes(32)


def _shown(column: Column, text: str | None) -> str | None:
    """A sensitive value as a keyed digest: equal values look alike within a run, and no value can be guessed from it."""
    if text is None or not column.sensitive:
        return text
    return "hmac:" + hmac.new(_DIGEST_KEY, text.encode(), hashlib.sha256).hexdigest()[:16]


def write_differences(conn: Connection, run: RunKey, check: str, chunk: int, differences: Sequence[Difference]) -> None:
    """All of them, however many, by COPY."""
    columns = "domain, run_id, check_name, table_name, chunk, id, column_name, kind, source, target"
    with conn.cursor() as cursor, cursor.copy(f"COPY migration.differences ({columns}) FROM STDIN") as copy:
        for d in differences:
            copy.write_row((run.domain, run.run_id, check, d.table, chunk, d.id, d.column, d.kind, d.source, d.target))
