"""Counts on every side: what the server has, what was read, what the books say became of it, what the tables hold.

The server is asked before and after the reading; `source_count` resolves what changed meanwhile. Whole tables are counted
after a full reading only.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg import sql
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.checks.differences import SHOWN, Difference, describe, write_differences
from mongo2pg.checks.source_count import Explanation, SourceCount
from mongo2pg.checks.suspicion import check_progress
from mongo2pg.databases.source import server_time
from mongo2pg.documents.document_ids import compact
from mongo2pg.documents.identity import id_from_value
from mongo2pg.files.planned import FULL, WINDOW
from mongo2pg.files.root_ids import hash_sum, name_read, root_ids
from mongo2pg.files.staging import RunStaging, read_json
from mongo2pg.model import Collection, Domain, Table
from mongo2pg.moving.versions import ids_among, is_kept
from mongo2pg.queries import set_aside, target
from mongo2pg.settling.deletes import behind

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

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Limits:
        """Those that a run was given."""
        return cls(
            **{name: params[name] for name in ("max_reject_ratio", "max_orphan_ratio", "max_misfit_ratio") if name in params}
        )


def count_domain(
    database: Database[Any] | None, conn: Connection, run: RunKey, domain: Domain, staging: RunStaging, limits: Limits | None = None
) -> list[Check]:
    """Checks `accounting` of every collection and array path, and `limits` of every collection; of one that was read in full
    `row_counts` of every table, and of a window its `progress`.

    Without a `database` (a replay reads none, and some documents only) just the sums of the books are checked.
    """
    checks: list[Check] = []
    tables = [table.name for table in domain.tables]
    arrays = [f"{collection.name}.{child.path}" for collection in domain.collections for child in collection.children]
    subjects = [*tables, *arrays, *(collection.name for collection in domain.collections)]
    books.forget_verdicts(conn, run, ["accounting", "limits", "row_counts", "progress"], subjects)
    for collection in domain.collections:
        booked = books.totals(conn, run, collection.name)
        staged = staging.collection(run.plan_id, collection.name)
        plan = read_json(staged.plan)
        manifests = [read_json(staged.manifest(chunk)) for chunk in range(len(plan["bounds"]))]
        source = SourceCount(database, collection, staged, plan, manifests) if database is not None else None
        # Before there is a transaction: the server may count for minutes.
        found = [_count_documents(source, conn, run, collection, manifests, booked)]
        if source:
            found += _count_arrays(source, booked)
            found.append(check_limits(collection, booked, limits or Limits()))
        if source and plan["scope"] == WINDOW:
            found.append(check_progress(source.database, conn, run, collection, staged, plan, manifests, booked))
        with conn.transaction():
            books.forget_differences(conn, run, "row_counts", -1, [table.name for table in collection.tables])
            if source and plan["scope"] == FULL:
                found += _count_tables(source, conn, run, booked)
            books.write_checks(conn, run, found)
        checks += found
    for check in checks:
        level = logging.INFO if check.verdict == "passed" else logging.ERROR
        log.log(
            *(level, "%s %s of %s: expected %s, found %s %s", check.verdict, check.check, check.subject),
            *(check.expected, check.actual, check.detail or ""),
        )
    return checks


def _count_documents(
    source: SourceCount | None,
    conn: Connection,
    run: RunKey,
    collection: Collection,
    manifests: list[dict[str, Any]],
    booked: dict[str, Any],
) -> Check:
    read = sum(manifest["documents"] for manifest in manifests)
    outcomes = sum(booked[name] for name in ("inserted", "updated", "unchanged", "superseded"))
    closes = booked["read"] == read == outcomes + sum(booked["rejected"].values())
    if source is None:
        return _check("accounting", collection.name, closes, {"read": read}, _outcome(booked))
    after, twins = source.documents(), source.twins()
    explanation, withheld = Explanation(), None
    # One that comes twice could stand for one that does not come.
    if after != read - sum(manifest["superseded"] for manifest in manifests):
        explanation = source.explain_documents()
        withheld = None if twins else source.withheld(after, explanation)
    if explanation.unexplained:  # a document that entered the window late, and that another run has read
        others = books.later_loads(conn, run, collection.name, source.plan["planned_at"])
        explanation.explain(ids_among(source.staging, others, explanation.unexplained))
    explanation.unexplained |= twins
    return _check(
        "accounting",
        collection.name,
        closes and not explanation.unexplained and not withheld,
        {"source_before": source.plan["source_before"], "source_after": after, "read": read, "explained": explanation.explained},
        _outcome(booked),
        "; ".join(filter(None, (withheld, explanation.detail))) or None,
    )


def _count_arrays(source: SourceCount, booked: dict[str, Any]) -> list[Check]:
    collection = source.collection
    if not collection.children:
        return []
    on_server = source.elements()
    read = {child.path: sum(m["arrays"][child.path]["elements"] for m in source.manifests) for child in collection.children}
    explanation = source.explain_elements() if on_server != read else Explanation()
    checks = []
    for path in read:
        counts = {**dict.fromkeys(ARRAY_COUNTS, 0), **booked["arrays"].get(path, {})}
        closes = counts["elements"] == read[path] == counts["rows"] + counts["rejected"] + counts["of_parents_not_loaded"]
        same = on_server[path] == read[path] or not explanation.unexplained
        checks.append(
            _check(
                "accounting",
                f"{collection.name}.{path}",
                closes and same,
                {"server": on_server[path], "read": read[path], "changed": explanation.explained},
                counts,
                None if same else explanation.detail,
            )
        )
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
        holder = next((array for array in elements if f"{path}.".startswith(f"{array}.")), None)
        # Something else in the place of a whole array bears the array's path, as its values do.
        whole = (elements[holder] if holder else 0) + (booked["read"] if holder in (None, path) else 0)
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


# --- the target ------------------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """Rows of a table: those that documents must explain, and what is set aside; of the former the sum of their ids' hashes."""

    rows: int
    stale: int
    kept: int
    ids: int


def _count_tables(source: SourceCount, conn: Connection, run: RunKey, booked: dict[str, Any]) -> list[Check]:
    collection, planned_at = source.collection, source.plan["planned_at"]
    loaded = booked["read"] - booked["repeated"] - sum(booked["rejected"].values())
    others = books.later_loads(conn, run, collection.name, planned_at)
    changes = len(others) + len(books.deleted_since(conn, run, collection.name, planned_at))
    root, *children = collection.tables
    aside = _stale(run, collection)
    found = _count(conn, root, aside)
    extra: list[Difference] = []
    # Looked for even where the count is right: a row too many and one too few cancel out.
    if found.ids != _hashes_of_rows(source, conn, run) and all(is_kept(source.staging, load) for load in others):
        name_read(conn, source.staging, others)
        aside = _with_kept(aside, source.database, collection)
        found = _count(conn, root, aside)
        extra = _extra_rows(conn, collection, aside)
        back = _came_back(source, conn, extra) if extra else set()
        extra = [difference for difference in extra if difference.id not in back]
        changes += len(back)
        write_differences(conn, run, "row_counts", -1, extra)
    counts = [(root, loaded, found, extra)]
    for table in children:
        rows = booked["arrays"].get(table.child.path, {}).get("rows", 0) if table.child else 0
        counts.append((table, rows, _count(conn, table, aside), []))
    if any(found.rows != rows for _, rows, found, _ in counts):  # a row that went may have taken others to the rejects
        changes += books.rejected_since(conn, run, collection.name)
    return [_check_count(collection, table, rows, found, changes, extra) for table, rows, found, extra in counts]


def _check_count(
    collection: Collection, table: Table, rows: int, found: Found, others: int, differences: list[Difference]
) -> Check:
    actual: dict[str, Any] = {"rows": found.rows, "stale": found.stale}
    actual |= {"kept": found.kept} if collection.deletes != "delete" else {}
    if others and found.rows != rows:
        # Child rows cannot be without their parents, and those of this run's documents are compared one by one.
        actual["changes_of_other_runs"] = others
    detail = "; ".join(describe(difference) for difference in differences[:SHOWN]) or None
    passed = (found.rows == rows or others > 0) and not differences
    return _check("row_counts", table.name, passed, {"rows": rows}, actual, detail)


def _stale(run: RunKey, collection: Collection) -> sql.Composed:
    """A query for the root rows that no count includes, and why: the newer versions of their documents are rejects."""
    return sql.SQL("SELECT root_id AS id, 'stale' AS reason FROM migration.stale WHERE (domain, collection) = ({}, {})").format(
        run.domain, collection.name
    )


def _with_kept(stale: sql.Composed, database: Database[Any], collection: Collection) -> sql.Composed:
    """The same query with those besides that outlive their document by declaration."""
    if collection.deletes == "delete":
        return stale
    return sql.SQL(
        """
        {stale} UNION SELECT t.id, 'kept' FROM {target} t
        WHERE {aside} AND NOT EXISTS (SELECT FROM pg_temp.mongo2pg_read r WHERE r.id = t.id)
          AND NOT EXISTS (SELECT FROM ({stale}) AS s WHERE s.id = t.id)
        """
    ).format(stale=stale, target=target(collection.table), aside=set_aside(collection, "t", server_time(database)))


def _count(conn: Connection, table: Table, aside: sql.Composable) -> Found:
    # The few that are set aside are looked up and taken off: to ask it of every row costs more than to count them.
    counted = conn.execute(
        sql.SQL(
            """
            SELECT whole.rows - apart.stale - apart.kept, apart.stale, apart.kept, whole.ids - apart.ids
            FROM (SELECT count(*) AS rows, {ids} AS ids FROM {target} t) AS whole
            CROSS JOIN (
                SELECT count(*) FILTER (WHERE a.reason = 'stale') AS stale, count(*) FILTER (WHERE a.reason = 'kept') AS kept,
                       {ids} AS ids
                FROM ({aside}) AS a JOIN {target} t ON t.{owner} = a.id
            ) AS apart
            """
        ).format(
            target=target(table.name),
            aside=aside,
            owner=sql.Identifier(table.owner),
            ids=sql.SQL("0" if table.child else "coalesce(sum(uuid_hash_extended(t.id, 0)), 0)"),
        )
    ).fetchone()
    rows, stale, kept, ids = counted or (0, 0, 0, 0)
    return Found(rows, stale, kept, int(ids) % 2**64)


def _hashes_of_rows(source: SourceCount, conn: Connection, run: RunKey) -> int:
    """The sum of hashes that the root table must have: of all documents that were read and not rejected."""
    rejected = list(map(compact, books.rejected_documents(conn, run, source.collection.name)))
    ids = (ids for manifest in source.manifests for ids in root_ids(source.staging, manifest, rejected))
    return sum(map(hash_sum, ids)) % 2**64


def _extra_rows(conn: Connection, collection: Collection, aside: sql.Composable) -> list[Difference]:
    """Root rows that no document of this run explains, nor of the others that came meanwhile, by the ids of all that was read."""
    rows = conn.execute(
        sql.SQL(
            """
            SELECT id::text FROM {} t
            WHERE NOT EXISTS (SELECT FROM pg_temp.mongo2pg_read r WHERE r.id = t.id)
              AND NOT EXISTS (SELECT FROM ({}) AS a WHERE a.id = t.id)
            ORDER BY 1
            """
        ).format(target(collection.table), aside)
    ).fetchall()
    return [Difference(collection.table, row[0], None, "extra", None, None) for row in rows]


def _came_back(source: SourceCount, conn: Connection, extra: list[Difference]) -> set[str]:
    """Those of these rows whose document was away while this run read, and is there again, written since.

    One that was there all the time should have been read.
    """
    there = behind(source.database, conn, source.collection, [difference.id for difference in extra if difference.id])
    ids = [value for values in there.values() for value in values]
    return {str(id_from_value(value)) for value in source.later(ids)}
