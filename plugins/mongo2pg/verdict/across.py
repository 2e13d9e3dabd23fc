"""What concerns several domains at once: references between them, and one report over all."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pymongo.database import Database

from mongo2pg import books
from mongo2pg.audit import audit
from mongo2pg.books import Connection, RunKey
from mongo2pg.checks.references import check_references, waited
from mongo2pg.checks.uniqueness import check_uniqueness
from mongo2pg.files.staging import RunStaging, read_json
from mongo2pg.model import Domain
from mongo2pg.settling.settle import settle_domain
from mongo2pg.target import schema
from mongo2pg.verdict import gate

if TYPE_CHECKING:
    from mongo2pg.files.staging import StagingPath

log = logging.getLogger(__name__)


def settle_across(database: Database[Any], conn: Connection, domains: Sequence[Domain], staging_root: StagingPath) -> list[str]:
    """Judges the references between domains that no run could judge yet, builds their foreign keys, and verifies what changed.

    A domain that settles judges what its neighbours' rows refer to, but two that settle at the same time do not see each
    other. Returns the names of the domains whose rows changed. Their checks and reports are made anew, by what their runs were
    given, and each new report names the one that it replaces. Where nobody has moved anything there is nothing to judge.
    """
    if not books.are_there(conn):
        return []
    waiting: set[str] = set()
    settled = False
    for domain in domains:
        run = _last_run(conn, domain)
        if run and waited(conn, run):
            waiting.add(domain.name)
        if run is None or not _pending(conn, domain):
            continue
        settle_domain(database, conn, run, domain, RunStaging(staging_root, domain.name, run.run_id), domains)
        settled = True
    if not settled and not waiting:
        return []
    changed: list[str] = []
    # Those that waited come last: the attempt after one that is killed here finds that they still do, and looks at all once more.
    for domain in sorted(domains, key=lambda each: each.name in waiting):
        run = _last_run(conn, domain)
        if run is None:
            continue
        staging = RunStaging(staging_root, domain.name, run.run_id)
        if not gate.is_current(conn, run, domain, staging):
            changed.append(domain.name)
            _verify_again(database, conn, run, domain, staging)
        if domain.name in {*changed, *waiting}:
            _judge_again(conn, run, domain, staging)
    return sorted(changed)


def _last_run(conn: Connection, domain: Domain) -> RunKey | None:
    """The full run that all rows come from; None where there is none, or it went by another declaration than the present one."""
    if books.changed(conn, domain):
        return None
    full = books.last_full_runs(conn)
    runs = {full.get((domain.name, collection.name)) for collection in domain.collections}
    return runs.pop() if len(runs) == 1 else None


def _pending(conn: Connection, domain: Domain) -> bool:
    """Whether a foreign key of the domain is still to be built although both of its sides are complete."""
    built, complete = schema.foreign_keys(conn), schema.complete_tables(conn)
    return any(
        (table.name, column.name) not in built and column.references in complete
        for table in domain.tables
        for column in table.references
    )


def _verify_again(database: Database[Any], conn: Connection, run: RunKey, domain: Domain, staging: RunStaging) -> None:
    from mongo2pg.checks.count import Limits, count_domain
    from mongo2pg.checks.round_trip import SAMPLE, round_trip_chunk
    from mongo2pg.checks.verify import verify_chunk

    params = books.run_params(conn, run)
    count_domain(database, conn, run, domain, staging, Limits.of(params))
    for collection in domain.collections:
        staged = staging.collection(run.plan_id, collection.name)
        for chunk in range(len(read_json(staged.plan)["bounds"])):
            verify_chunk(conn, run, domain, collection, staged, chunk)
            round_trip_chunk(conn, run, collection, staged, chunk, params.get("round_trip_sample", SAMPLE))


def _judge_again(conn: Connection, run: RunKey, domain: Domain, staging: RunStaging) -> None:
    check_references(conn, run, domain, staging)
    check_uniqueness(conn, run, domain, staging)
    states = {}
    if (staging.folder / "report.json").exists():
        states = dict.fromkeys(read_json(staging.folder / "report.json")["failed_tasks"], "failed")
    report, sha256 = gate.conclude(conn, run, domain, staging, states)
    audit(log, "gate", domain=domain.name, run_id=run.run_id, passed=report["passed"], report_sha256=sha256)


def report_platform(
    domains: Sequence[Domain], staging_root: StagingPath, run_id: str, task_states: Mapping[str, str]
) -> dict[str, Any]:
    """The reports of all domains under one roof; a domain without a report of this run has not passed."""
    reports = []
    for domain in domains:
        path = RunStaging(staging_root, domain.name, run_id).folder / "report.json"
        reports.append(read_json(path) if path.exists() else gate.report_unprepared(domain, RunKey(domain.name, run_id), {}))
    failed_tasks = gate.failed(task_states)
    return {
        "run_id": run_id,
        "passed": not failed_tasks and all(report["passed"] for report in reports),
        "domains": reports,
        "failed_tasks": failed_tasks,
    }


def faults(report: Mapping[str, Any]) -> list[str]:
    """Why the platform's run is red, a sentence each."""
    sentences = [f"the task {task} did not succeed" for task in report["failed_tasks"]]
    for domain in report["domains"]:
        if not domain["passed"]:
            sentences += [f"{domain['domain']}: {fault}" for fault in gate.faults(domain)]
    return sentences
