"""Moves just the documents again that a comparison found different, and takes out the rows whose document is gone.

Nothing is copied from the comparison: each document goes through all stages, as its source has it now, under a plan of its
own, so that the later reading wins as ever. What other documents kept out, orphans, duplicates and references to those that
differ, is judged again with them, as it may fit now. Rows of other documents are not written.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from bson.dbref import DBRef
from psycopg import sql
from pymongo.database import Database

from mongo2pg import books
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.checks.count import count_domain
from mongo2pg.databases import lookup
from mongo2pg.databases.snapshot import usual
from mongo2pg.databases.source import server_time
from mongo2pg.documents.document_ids import compact, document_id
from mongo2pg.documents.outline import UNREADABLE, own_id
from mongo2pg.errors import RepairError
from mongo2pg.files.planned import REPAIR, by_ids, is_plannable, reading
from mongo2pg.files.staging import CollectionStaging, RunStaging, read_json, write_json
from mongo2pg.model import Collection, Domain
from mongo2pg.moving.extract import extract_chunk
from mongo2pg.moving.held import held_images
from mongo2pg.moving.load import load_chunk
from mongo2pg.moving.normalise import normalise_chunk
from mongo2pg.moving.versions import read_again
from mongo2pg.planning.claim import claim
from mongo2pg.queries import create_incoming, target
from mongo2pg.reconciling.reconcile import REPAIRED, Reconciler, check_constraints, find_left, unexplained_ids
from mongo2pg.settling.deletes import create_gone, take_out, too_many
from mongo2pg.settling.settle import settle_domain
from mongo2pg.target import schema

log = logging.getLogger(__name__)

# A collection of which more differs was not damaged here and there: somebody shall look before it is written over.
MAX_REPAIR_RATIO = 0.01


class Found(NamedTuple):
    """What a comparison found of a collection: documents that differ, what rows keep of their `_id`s, rows without a document,
    how many documents there are, and when each chunk was compared."""

    differing: list[str]
    kept: dict[str, str]
    gone: list[str]
    documents: int
    compared_at: list[str]


def repair_domain(
    database: Database[Any],
    conn: Connection,
    run: RunKey,
    domain: Domain,
    staging: RunStaging,
    neighbours: Sequence[Domain] = (),
    max_repair_ratio: float = MAX_REPAIR_RATIO,
) -> list[Check]:
    """Repairs what the comparison of `run` found, then compares it once more; returns the checks as they stand now.

    Raises RepairError, with nothing changed, where more than `max_repair_ratio` of a collection would be written.
    """
    found = {collection.name: _found(conn, run, collection, staging) for collection in domain.collections}
    _brake(found, max_repair_ratio)
    for collection in domain.collections:
        books.forget_verdicts(conn, run, [REPAIRED], [collection.table])
        books.forget_differences(conn, run, REPAIRED, -1, [table.name for table in collection.tables])
    differs = any(each.differing or each.gone for each in found.values())
    waiting = {name: _kept_out(conn, run, name) if differs else {} for name in found}
    coming = {each.table: _row_ids([*found[each.name].differing, *waiting[each.name]]) for each in domain.collections}
    for collection in domain.collections:
        waiting[collection.name] |= _cleared(database, conn, run, collection, coming)
    touched = domain.only(name for name, each in found.items() if each.differing or each.gone or waiting[name])
    # What hangs on a row that goes may be a matter of this domain's other collections.
    everyone = neighbours if any(each.name == domain.name for each in neighbours) else [*neighbours, domain]
    checks: list[Check] = []
    if touched.collections:
        key = plan_repair(database, run, touched, staging, found, waiting)
        claim(conn, key, touched, lambda run_id: True)  # what was compared has a complete first load, and nobody's rows may go
        _repair(database, conn, key, touched, staging, everyone, found, max_repair_ratio)
        checks += count_domain(None, conn, key, touched, staging)
    with conn.transaction():
        schema.build_post_data(conn, [domain], set())  # what somebody dropped
    for collection in touched.collections:
        compared = staging.collection(run.plan_id, collection.name)
        again = Reconciler(database, conn, run, domain, collection, compared)
        for chunk in range(len(read_json(compared.plan)["bounds"])):
            checks += again.compare_again(chunk)
        checks += again.compare_moved(_moved_besides(staging.collection(key.plan_id, collection.name), found[collection.name]))
        checks += find_left(database, conn, run, collection)
    return checks + check_constraints(conn, run, domain, staging)


def _repair(
    database: Database[Any],
    conn: Connection,
    run: RunKey,
    domain: Domain,
    staging: RunStaging,
    everyone: Sequence[Domain],
    found: dict[str, Found],
    ratio: float,
) -> None:
    for collection in domain.collections:
        staged = staging.collection(run.plan_id, collection.name)
        _move(database, conn, run, collection, staged)
        if not read_json(staged.plan)["with_holders"]:
            # One that differs itself, or waited, has been read: a document comes once in a plan.
            read = set(map(compact, _planned(staged)))
            holders = {name: kept for name, kept in _holders(conn, run, collection).items() if compact(name) not in read}
            _move(database, conn, run, collection, staged, _add(database, staged, holders))
    create_gone(conn)
    for name, each in found.items():
        conn.execute("INSERT INTO pg_temp.mongo2pg_gone SELECT %s, unnest(%s::uuid[])", (name, each.gone))
    shares = {name: (len(each.gone), each.documents) for name, each in found.items() if each.gone}
    take_out(database, conn, run, domain, staging, everyone, shares, ratio)
    settle_domain(database, conn, run, domain, staging, everyone)


def _move(
    database: Database[Any], conn: Connection, run: RunKey, collection: Collection, staging: CollectionStaging, first: int = 0
) -> None:
    """The plan's chunks from the first one on, from documents to rows; what is done already is left alone."""
    for chunk in range(first, len(read_json(staging.plan)["bounds"])):
        extract_chunk(database, staging, chunk)
        normalise_chunk(collection, staging, chunk)
        load_chunk(conn, run, collection, staging, chunk, partial(read_again, database, collection, staging, chunk))


def _holders(conn: Connection, run: RunKey, collection: Collection) -> dict[str, str | None]:
    """The documents of rows that have a unique key, or the id, that a held document claims, and what the rows keep of their `_id`s.

    Who of them has it is judged between documents that were read: a row of another one would keep it.
    """
    root = collection.tables[0]
    claims: list[sql.Composable] = [sql.SQL("t.id = i.id AND migration.document_id(t.id, t.extra) <> h.document_id")]
    for key in root.unique:
        same = [sql.SQL("t.{0} = i.{0}").format(sql.Identifier(name)) for name in key]
        claims.append(sql.SQL(" AND ").join([sql.SQL("t.id <> i.id"), *same]))
    holders: dict[str, str | None] = {}
    for claim_of in claims:
        with conn.transaction():
            conn.execute(create_incoming(root))
            rows = conn.execute(
                sql.SQL(
                    """
                    SELECT migration.document_id(t.id, t.extra)::text, (t.extra -> '_id')::text
                    FROM ({held}) AS h, LATERAL (SELECT (h.image).*) AS i, {target} t WHERE {claim}
                    """
                ).format(held=held_images(root), target=target(root.name), claim=claim_of),
                (run.plan_id, root.name),
            )
            holders |= dict(rows.fetchall())
    return holders


def _add(database: Database[Any], staging: CollectionStaging, documents: dict[str, str | None]) -> int:
    """Adds chunks of these documents, the holders, to the plan; returns the number of the first one."""
    plan = read_json(staging.plan)
    kept = {name: text for name, text in documents.items() if text is not None}
    added = _ids(database, staging.collection, list(documents), kept)
    bounds = plan["bounds"] + _chunks(added)
    write_json(staging.plan, plan | {"source_before": plan["source_before"] + len(added), "bounds": bounds, "with_holders": True})
    return len(plan["bounds"])


def _ids(database: Database[Any], name: str, documents: Sequence[str], kept: dict[str, str]) -> list[Any]:
    """The `_id`s of those documents that are there."""
    there = lookup.find_ids(database, name, documents, kept)
    return [value for values in there.values() for value in values if is_plannable(value)]


def _chunks(ids: list[Any]) -> list[dict[str, Any]]:
    return list(map(by_ids, lookup.slices(ids)))


def _kept_out(conn: Connection, run: RunKey, collection: str) -> dict[str, Any]:
    """The documents that are rejected, or have an element that is, because of others: their `_id`s by their names.

    Those that a plan cannot hold are left to full runs.
    """
    found: dict[str, Any] = {}
    with conn.transaction(), conn.cursor("mongo2pg_kept_out") as cursor:
        cursor.execute(
            """
            SELECT bson FROM migration.reject_documents WHERE sha256 IN (
                SELECT document FROM migration.rejects
                WHERE state = 'open' AND (domain, collection) = (%s, %s)
                  AND (reason = 'orphan' OR reason = 'duplicate_key' AND NOT element))
            """,
            (run.domain, collection),
        )
        for (bson,) in cursor:
            value = own_id(bytes(bson))
            if value is not UNREADABLE and is_plannable(value):
                found[document_id(value)] = value
    return found


def _row_ids(documents: Iterable[str]) -> list[str]:
    return [row_id for row_id in map(lookup.root_id_of, documents) if row_id]


def _cleared(
    database: Database[Any], conn: Connection, run: RunKey, collection: Collection, coming: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The documents of which a reference to one of these rows, by their tables, was cleared: their `_id`s by their names."""
    named: dict[str, str | None] = {}
    for parent, row_ids in coming.items():
        if row_ids:
            named |= books.cleared_of(conn, run, collection.name, target(collection.table), parent, row_ids)
    kept = {name: text for name, text in named.items() if text is not None}
    return {document_id(value): value for value in _ids(database, collection.name, list(named), kept)}


def _moved_besides(staging: CollectionStaging, found: Found) -> dict[str, Any]:
    """The documents that a repair moved although they did not differ: their `_id`s by their names."""
    differed = set(map(compact, found.differing))
    return {name: value for name, value in _planned(staging).items() if name not in differed}


def _planned(staging: CollectionStaging) -> dict[str, Any]:
    """The documents that the plan reads: their `_id`s by their names."""
    planned: dict[str, Any] = {}
    for chunk in range(len(read_json(staging.plan)["bounds"])):
        asked = reading(staging, chunk).query["_id"]["$in"]
        # What pymongo reads as a DBRef is a document to the server, and to those who name it.
        ids = (value.as_doc() if isinstance(value, DBRef) else value for value in asked)
        planned |= {document_id(value): value for value in ids}
    return planned


def plan_repair(
    database: Database[Any],
    run: RunKey,
    domain: Domain,
    staging: RunStaging,
    found: dict[str, Found],
    waiting: Mapping[str, dict[str, Any]],
) -> RunKey:
    """A plan for these documents as far as the source has them; returns its key. The run's present plan stays the comparison's.

    One that an earlier attempt made is gone on with, unless something was compared again: what it did counts as this run's.
    """
    mark = staging.folder / "repair.json"
    comparison = {
        "compared_by": run.plan_id,
        "compared_at": {each.name: found[each.name].compared_at for each in domain.collections},
    }
    if mark.exists() and comparison.items() <= (before := read_json(mark)).items():
        return run._replace(plan_id=before["plan_id"])
    key = run._replace(plan_id=uuid.uuid4().hex[:12])
    for collection in domain.collections:
        each = found[collection.name]
        ids = _ids(database, collection.name, each.differing, each.kept)
        differ = set(map(compact, each.differing))
        ids += [value for name, value in waiting[collection.name].items() if name not in differ]
        plan = {
            "plan_id": key.plan_id,
            "collection": collection.name,
            "fingerprint": collection.fingerprint,
            "scope": REPAIR,
            "query": {"repair": run.plan_id},
            "read_concern": usual(database),
            "planned_at": server_time(database),
            "source_before": len(ids),
            "estimated_bytes": 0,
            "bounds": _chunks(ids),
            "with_holders": False,
        }
        write_json(staging.collection(key.plan_id, collection.name).plan, plan)
        log.info("%s: %s documents are moved again", collection.name, f"{len(ids):,}")
    write_json(mark, {"plan_id": key.plan_id, **comparison})
    return key


def _found(conn: Connection, run: RunKey, collection: Collection, staging: RunStaging) -> Found:
    compared = staging.collection(run.plan_id, collection.name)
    chunks = [read_json(compared.manifest(chunk)) for chunk in range(len(read_json(compared.plan)["bounds"]))]
    differing = [document_id for chunk in chunks for document_id in chunk["differing"]]
    kept = {document_id: text for chunk in chunks for document_id, text in chunk["kept"].items()}
    documents = sum(chunk["documents"] for chunk in chunks)
    return Found(differing, kept, unexplained_ids(conn, run, collection), documents, [chunk["compared_at"] for chunk in chunks])


def _brake(found: dict[str, Found], ratio: float) -> None:
    counted = {name: (len(each.differing) + len(each.gone), each.documents) for name, each in found.items()}
    if beyond := too_many(counted, ratio):
        raise RepairError(beyond, ratio)
