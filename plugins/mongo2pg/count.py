"""Counts on every side: what the server has, what was read, what the books say became of it, what the tables hold.

The server is asked before and after the reading. Where its count differs from what was read, the difference is resolved
document by document: what was inserted or deleted meanwhile is explained, anything else fails.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import bson
from bson.json_util import RELAXED_JSON_OPTIONS
from bson.json_util import loads as from_extended_json
from psycopg import sql
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.decode import OPTIONS
from mongo2pg.model import Child, Collection, Domain, Table
from mongo2pg.project import identify
from mongo2pg.queries import target
from mongo2pg.rejects import compact
from mongo2pg.staging import CollectionStaging, RunStaging, open_parquet, read_json
from mongo2pg.values import extended_json
from mongo2pg.verify import SHOWN, Difference, describe, write_differences

log = logging.getLogger(__name__)

ARRAY_COUNTS = ("elements", "rows", "rejected", "of_parents_not_loaded")


@dataclass(frozen=True)
class Limits:
    """Shares beyond which dirt is called a broken declaration. Up to `tolerated` of a kind nothing is said.

    Rejected documents of all documents, orphans apart (their parents may still come); misfits of a field of all documents,
    or of all elements of its array; rejected elements of all elements.
    """

    max_reject_ratio: float = 0.01
    max_orphan_ratio: float = 0.05
    max_misfit_ratio: float = 0.10
    tolerated: int = 20


def count_domain(
    database: Database[Any] | None, conn: Connection, run: RunKey, domain: Domain, staging: RunStaging, limits: Limits | None = None
) -> list[Check]:
    """Checks `accounting` of every collection and array path, `limits` of every collection and `row_counts` of every table.

    Without a `database` (a replay reads none, and some documents only) just the sums of the books are checked.
    """
    checks: list[Check] = []
    with conn.transaction():
        conn.execute(
            "DELETE FROM migration.differences WHERE (domain, run_id, check_name) = (%s, %s, 'row_counts')",
            (run.domain, run.run_id),
        )
        for collection in domain.collections:
            checks += _count_collection(database, conn, run, collection, staging.collection(run.plan_id, collection.name))
            if database is not None:
                checks.append(check_limits(collection, books.totals(conn, run, collection.name), limits or Limits()))
        books.write_checks(conn, run, checks)
    for check in checks:
        level = logging.INFO if check.verdict == "passed" else logging.ERROR
        log.log(
            level, "%s %s: expected %s, found %s %s", check.verdict, check.subject, check.expected, check.actual, check.detail or ""
        )
    return checks


def _count_collection(
    database: Database[Any] | None, conn: Connection, run: RunKey, collection: Collection, staging: CollectionStaging
) -> list[Check]:
    plan = read_json(staging.plan)
    manifests = [read_json(staging.manifest(chunk)) for chunk in range(len(plan["bounds"]))]
    read = sum(manifest["documents"] for manifest in manifests)
    booked = books.totals(conn, run, collection.name)
    if database is None:
        outcomes = sum(booked[name] for name in ("inserted", "updated", "unchanged", "superseded"))
        closes = booked["read"] == read == outcomes + sum(booked["rejected"].values())
        return [_check("accounting", collection.name, closes, {"read": read}, _outcome(booked))]
    source_after = database[collection.name].count_documents({}, hint="_id_") if read or plan["source_before"] else 0
    unexplained: list[str] = []
    explained = 0
    if source_after != read:
        unexplained, explained = _explain(database, collection, staging, manifests, plan["planned_at"])
    outcomes = sum(booked[name] for name in ("inserted", "updated", "unchanged", "superseded"))
    closes = booked["read"] == read == outcomes + sum(booked["rejected"].values())
    checks = [
        _check(
            "accounting",
            collection.name,
            closes and not unexplained,
            {"source_before": plan["source_before"], "source_after": source_after, "read": read, "explained": explained},
            _outcome(booked),
            "; ".join(unexplained[:SHOWN]) or None,
        )
    ]
    checks += _count_arrays(database, collection, manifests, booked)
    loaded = booked["read"] - sum(booked["rejected"].values())
    for table in collection.tables:
        rows = loaded if table.child is None else booked["arrays"].get(table.child.path, {}).get("rows", 0)
        checks.append(_count_table(conn, run, collection, table, rows, staging))
    return checks


def _outcome(booked: dict[str, Any]) -> dict[str, Any]:
    return {key: booked[key] for key in ("read", "inserted", "updated", "unchanged", "superseded", "rejected")}


def _check(
    name: str, subject: str, passed: bool, expected: dict[str, Any], actual: dict[str, Any], detail: str | None = None
) -> Check:
    return Check(name, subject, "passed" if passed else "failed", expected, actual, detail)


def check_limits(collection: Collection, booked: dict[str, Any], limits: Limits) -> Check:
    """Whether rejects and misfits stay within the shares that pass as dirt."""
    orphans = booked["rejected"].get("orphan", 0)
    found: list[tuple[str, int, int, float]] = [
        ("rejected documents", sum(booked["rejected"].values()) - orphans, booked["read"], limits.max_reject_ratio),
        ("orphaned documents", orphans, booked["read"], limits.max_orphan_ratio),
    ]
    arrays = {path: {**dict.fromkeys(ARRAY_COUNTS, 0), **counts} for path, counts in booked["arrays"].items()}
    elements = {path: counts.get("elements", 0) for path, counts in arrays.items()}
    for path, counts in arrays.items():
        found.append((f"rejected elements of {path}", counts.get("rejected", 0), elements[path], limits.max_misfit_ratio))
    for path, count in booked["misfits"].items():
        holder = next((array for array in elements if path.startswith(f"{array}.")), None)
        whole = elements[holder] if holder else booked["read"]
        found.append((f"misfits of {path}", count, whole, limits.max_misfit_ratio))
    broken = [
        f"{count:,} {what} are {count / max(whole, 1):.1%} of {whole:,}, more than {ratio:.1%}: "
        "look at the declaration before the data"
        for what, count, whole, ratio in found
        if count > limits.tolerated and count > ratio * whole
    ]
    shares = {what: count for what, count, _, _ in found if count}
    expected = {"max_reject_ratio": limits.max_reject_ratio, "max_orphan_ratio": limits.max_orphan_ratio}
    expected["max_misfit_ratio"] = limits.max_misfit_ratio
    return _check("limits", collection.name, not broken, expected, shares, "; ".join(broken) or None)


# --- the server ------------------------------------------------------------------------------------------------------


def _count_arrays(
    database: Database[Any], collection: Collection, manifests: list[dict[str, Any]], booked: dict[str, Any]
) -> list[Check]:
    if not collection.children:
        return []
    on_server = server_lengths(database, collection)
    checks = []
    for child in collection.children:
        counts = {**dict.fromkeys(ARRAY_COUNTS, 0), **booked["arrays"].get(child.path, {})}
        read = sum(manifest["arrays"][child.path]["elements"] for manifest in manifests)
        closes = counts["elements"] == read == counts["rows"] + counts["rejected"] + counts["of_parents_not_loaded"]
        same = on_server[child.path] == read
        detail = None if same else "the server's arrays hold another number of elements than were read"
        checks.append(
            _check(
                "accounting",
                f"{collection.name}.{child.path}",
                closes and same,
                {"server": on_server[child.path], "read": read},
                counts,
                detail,
            )
        )
    return checks


def server_lengths(database: Database[Any], collection: Collection) -> dict[str, int]:
    """Elements of each array or map path by the server's own count; one pass over the collection."""
    group: dict[str, Any] = {f"n{at}": {"$sum": _length(child)} for at, child in enumerate(collection.children)}
    (row,) = list(database[collection.name].aggregate([{"$group": {"_id": None, **group}}])) or [{}]
    return {child.path: row.get(f"n{at}", 0) for at, child in enumerate(collection.children)}


def _length(child: Child) -> dict[str, Any]:
    """An expression for the number of elements: 0 unless the path leads through documents to an array, or to a map."""
    keys = child.path.split(".")
    conditions: list[Any] = [{"$eq": [{"$type": "$" + ".".join(keys[:end])}, "object"]} for end in range(1, len(keys))]
    whole = f"${child.path}"
    if child.kind == "map":
        conditions.append({"$eq": [{"$type": whole}, "object"]})
        size: dict[str, Any] = {"$size": {"$objectToArray": whole}}
    else:
        conditions.append({"$isArray": whole})
        size = {"$size": whole}
    return {"$cond": [{"$and": conditions}, size, 0]}


def _explain(
    database: Database[Any], collection: Collection, staging: CollectionStaging, manifests: list[dict[str, Any]], planned_at: str
) -> tuple[list[str], int]:
    """Documents that only one side has: those that no insert or delete since the plan explains, and how many it does."""
    read: set[str] = set()
    for manifest in manifests:
        with open_parquet(staging.raw(manifest["chunk"]), manifest["raw"]["sha256"]) as raw:
            read.update(compact(text) for text in raw.read(columns=["_id"]).column(0).to_pylist())
    unexplained, explained = [], 0
    there: set[str] = set()
    for document in _ids(database, collection.name):
        text = compact(extended_json(document["_id"], keep_nul=True))
        there.add(text)
        if text in read:
            continue
        born = document["_id"].generation_time.isoformat() if isinstance(document["_id"], bson.ObjectId) else ""
        if born[:19] >= planned_at[:19]:
            explained += 1
        else:
            unexplained.append(f"{text} is in the source and was not read")
    for text in sorted(read - there):
        query = {"_id": from_extended_json(text, json_options=RELAXED_JSON_OPTIONS)}
        if not text.startswith('{"$malformed"') and database[collection.name].find_one(query, {"_id": 1}) is None:
            explained += 1  # deleted since it was read
        else:
            unexplained.append(f"{text} was read and is in the source, but not in its index")
    return unexplained, explained


def _ids(database: Database[Any], name: str) -> Iterator[dict[str, Any]]:
    yield from database[name].with_options(codec_options=OPTIONS).find({}, {"_id": 1}, hint="_id_")


# --- the target ------------------------------------------------------------------------------------------------------


def _count_table(
    conn: Connection, run: RunKey, collection: Collection, table: Table, rows: int, staging: CollectionStaging
) -> Check:
    count, stale = conn.execute(
        sql.SQL("SELECT count(*), count(*) FILTER (WHERE {} = ANY(%s::uuid[])) FROM {}").format(
            sql.Identifier(table.parent_key or "id"), target(table.name)
        ),
        (books.stale_ids(conn, run, collection.name),),
    ).fetchone() or (0, 0)
    differences: list[Difference] = []
    if count - stale != rows and table.child is None:
        differences = _extra_rows(conn, collection, staging)
        write_differences(conn, run, "row_counts", -1, differences)
    detail = "; ".join(describe(difference) for difference in differences[:SHOWN]) or None
    return _check("row_counts", table.name, count - stale == rows, {"rows": rows}, {"rows": count - stale, "stale": stale}, detail)


def _extra_rows(conn: Connection, collection: Collection, staging: CollectionStaging) -> list[Difference]:
    """Root rows that no document of this run explains, found by the ids of all that was read."""
    conn.execute("CREATE TEMP TABLE mongo2pg_read (id uuid) ON COMMIT DROP")
    with conn.cursor() as cursor, cursor.copy("COPY pg_temp.mongo2pg_read FROM STDIN") as copy:
        for chunk in range(len(read_json(staging.plan)["bounds"])):
            manifest = read_json(staging.manifest(chunk))
            with open_parquet(staging.raw(chunk), manifest["raw"]["sha256"]) as raw:
                for group in range(raw.num_row_groups):
                    texts = raw.read_row_group(group, columns=["_id"]).column(0).to_pylist()
                    copy.write("".join(f"{_id_of(text)}\n" for text in texts if not text.startswith('{"$malformed"')))
    rows = conn.execute(
        sql.SQL(
            "SELECT id::text FROM {} t WHERE NOT EXISTS (SELECT FROM pg_temp.mongo2pg_read r WHERE r.id = t.id) ORDER BY 1"
        ).format(target(collection.table))
    ).fetchall()
    conn.execute("DROP TABLE pg_temp.mongo2pg_read")
    return [Difference(collection.table, row[0], None, "extra", None, None) for row in rows]


def _id_of(text: str) -> uuid.UUID:
    return identify(
        bson.decode(bson.encode(from_extended_json('{"_id":' + text + "}", json_options=RELAXED_JSON_OPTIONS)), OPTIONS)["_id"]
    )
