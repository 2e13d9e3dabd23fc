"""Which checks a run owes: by its plan, for every collection, array path, table and chunk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mongo2pg.books import Check, RunKey
from mongo2pg.checks.references import judged_references
from mongo2pg.files.planned import DELETES, FULL, RECONCILE, REJECTS, WINDOW, scope
from mongo2pg.files.staging import CollectionStaging, RunStaging, read_json
from mongo2pg.model import Collection, Domain


class Owed(NamedTuple):
    """A check by name, subject and chunk; chunk -1 is the whole."""

    check: str
    subject: str
    chunk: int = -1


def owed_checks(domain: Domain, run: RunKey, staging: RunStaging | None = None) -> list[Owed]:
    """Everything that must have been checked before the run may pass; of a run without a plan, what a full one owes."""
    owed: list[Owed] = []
    for collection in domain.collections:
        owed += _of_collection(collection, staging.collection(run.plan_id, collection.name) if staging and run.plan_id else None)
    return owed


def not_run(owed: list[Owed], found: list[Check]) -> list[Check]:
    """The verdict on those that left none."""
    there = {(check.check, check.subject, check.chunk) for check in found}
    return [Check(each.check, each.subject, "not_run", chunk=each.chunk) for each in owed if tuple(each) not in there]


def _of_collection(collection: Collection, staging: CollectionStaging | None) -> Iterator[Owed]:
    planned = staging if staging and staging.plan.exists() else None
    chunks = len(read_json(planned.plan)["bounds"]) if planned else 1
    how = scope(planned) if planned else FULL
    if how == DELETES:
        yield Owed("deletes", collection.name)
        return
    for table in collection.tables:
        yield Owed("uniqueness", table.name)
        if judged_references(table):
            yield Owed("references", table.name)
    if how == RECONCILE:
        yield Owed("unexplained_rows", collection.table)
        yield from (Owed("reconcile", table.name, chunk) for table in collection.tables for chunk in range(chunks))
        return
    yield Owed("accounting", collection.name)
    for chunk in range(chunks):
        yield Owed("rejects", collection.name, chunk)
        yield from (Owed(check, table.name, chunk) for check in ("checksums", "round_trip") for table in collection.tables)
    if how != REJECTS:
        yield Owed("limits", collection.name)
        yield from (Owed("accounting", f"{collection.name}.{child.path}") for child in collection.children)
    if how == WINDOW:
        yield Owed("progress", collection.name)
    if how == FULL:
        yield Owed("deletes", collection.name)
        yield from (Owed("row_counts", table.name) for table in collection.tables)
