"""The stages as an Airflow DAG.

A task is a thin wrapper: it opens connections and calls the function of its stage. Stage modules are imported inside
task bodies, for what a DAG file imports is paid at every parse.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, TriggerRule, get_current_context, task, task_group
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowSkipException

from mongo2pg.dag.params import all_params, domain_params, param, refuse_unknown_params, request
from mongo2pg.dag.task_run import TaskRun
from mongo2pg.dag.tasks import (
    NOTHING_TO_DO,
    announce,
    audit_task,
    conclude,
    current_run_id,
    for_each,
    left_by,
    permanent,
    run_is_alive,
    task_states,
)
from mongo2pg.databases.connections import source, target
from mongo2pg.model import Collection, Domain
from mongo2pg.planning.modes import DELETES, DRY_RUN, FULL, REPLAY, refuse
from mongo2pg.target.lineage import markdown

if TYPE_CHECKING:
    from pymongo.database import Database

    from mongo2pg.books import Check, Connection, RunKey
    from mongo2pg.files.planned import Lot
    from mongo2pg.files.staging import CollectionStaging

log = logging.getLogger(__name__)

# Runs of one domain side by side: a long full run, hourly windows, and somebody who replays rejects.
RUNS_AT_ONCE = 4


def domain_dag(domain: Domain, neighbours: Sequence[Domain] = ()) -> DAG:
    """The DAG that moves one domain.

    prepare → plan → (extract → normalise → load) per lot → delete → settle → checks → gate

    Its schedule is that of `schedule_of`; what a schedule asks for is the window of its interval. A green run emits the domain's
    asset, with watermark and counts as its extra. `neighbours` are the domains of the same target: rows of theirs may refer to
    rows of this one.
    """
    domain.check_references(neighbours)
    with DAG(
        domain.name,
        description=domain.description or f"Moves the {domain.name} collections from MongoDB to PostgreSQL and verifies them",
        doc_md=markdown(domain),
        schedule=_timetable(domain),
        catchup=False,
        max_active_runs=RUNS_AT_ONCE,
        tags=["mongo2pg", domain.name],
        default_args={"retries": 2, "retry_delay": timedelta(seconds=10), "owner": "data-platform"},
    ) as dag:

        @task(task_id="prepare")
        @permanent
        def prepare_run() -> None:
            """Finds everything that can be wrong from outside, and names all of it, before anything is written; then makes the
            books and the tables where they are missing. Removes what runs staged whose `retention_days` are over.
            """
            from mongo2pg.databases.ends import ends
            from mongo2pg.databases.source import server_time
            from mongo2pg.files.retention import remove_staged
            from mongo2pg.planning.increments import what_moves
            from mongo2pg.planning.prepare import check, prepare

            refuse_unknown_params(domain_params(domain))
            here, asked = _here(domain), request()
            collections, root = here.asked, here.staging.root
            refuse(asked)
            removed: list[str] = []
            with _source_if_read() as database, target() as conn:
                if asked.mode == DRY_RUN:
                    check(database, conn, collections, root)
                else:
                    scan_limit = None if asked.mode in (FULL, REPLAY, DELETES) else param("scan_limit_mb") << 20
                    prepare(database, conn, collections, root, scan_limit, whole=asked.mode == FULL)
                between = ends(database, conn)  # of servers that answered: others have been told of
                if asked.mode != DRY_RUN:
                    if database is not None:
                        what_moves(conn, collections, asked, server_time(database))  # a schedule may come too early
                    here.begin(conn, asked.mode, between)
                    removed = remove_staged(conn, domain.name, root, param("retention_days"), run_is_alive)
            audit_task(log, "prepare", domain.name, mode=asked.mode, **between, staging_removed=removed)

        @task(task_id="plan")
        @permanent
        def plan_run() -> list[Lot]:
            """Cuts each collection into ranges of `_id`, small ones together: each lot is a task of the stages that follow.
            Cleared, it reads the source afresh. A dry run says here what would be read and rejected, and ends.
            """
            from mongo2pg.begin import begin

            here, chunk_bytes, scan_limit = _here(domain), param("chunk_mb") << 20, param("scan_limit_mb") << 20
            with _source_if_read() as database, target() as conn:
                if database is not None and param("mode") == DRY_RUN:
                    from mongo2pg.moving.rehearsal import rehearse

                    facts = rehearse(database, conn, here.asked, request(), chunk_bytes, scan_limit)
                    audit_task(log, "dry_run", domain.name, **facts)
                    return []
                lots = begin(
                    *(database, conn, here.key(), here.asked, request(), here.staging, run_is_alive),
                    chunk_bytes=chunk_bytes, scan_limit=scan_limit, read_concern=param("read_concern"),
                )  # fmt: skip
            plan_id, chunks = here.current().plan_id, sum(len(lot["chunks"]) for lot in lots)
            audit_task(log, "plan", domain.name, plan_id=plan_id, lots=len(lots), chunks=chunks)
            return lots

        @task_group(group_id="move")
        def move(lot: Lot) -> None:
            @task(task_id="extract", map_index_template="{{ task.op_kwargs['lot']['label'] }}")
            @permanent
            def extract_lot(lot: Lot) -> Lot:
                """Stages the documents' bytes as the server sends them. Cleared, it goes on with the chunk that is not complete."""
                from mongo2pg.moving.extract import extract_chunk
                from mongo2pg.moving.replay import extract_rejects

                here = _here(domain).following()
                with _source_if_read() as database, target() as conn:
                    for collection, chunk in lot["chunks"]:
                        staged = here.staged(lot["plan_id"], collection)
                        if database is None:
                            manifest = extract_rejects(conn, here.key(lot["plan_id"]), staged)
                        else:
                            manifest = extract_chunk(database, staged, chunk)
                        audit_task(
                            log,
                            "extract",
                            domain.name,
                            **_facts(manifest, "collection", "chunk", "documents", "bytes", "seconds", "read_time"),
                        )
                return lot

            @task(task_id="normalise", map_index_template="{{ task.op_kwargs['lot']['label'] }}")
            @permanent
            def normalise_lot(lot: Lot) -> Lot:
                """Turns the staged documents into typed rows, one file for each table, and counts what does not fit."""
                from mongo2pg.moving.normalise import normalise_chunk

                here = _here(domain).following()
                for collection, chunk in lot["chunks"]:
                    staged = here.staged(lot["plan_id"], collection)
                    manifest = normalise_chunk(domain.collection(collection), staged, chunk)
                    keys = ("collection", "chunk", "documents", "rows", "rejected", "misfits", "arrays", "seconds")
                    audit_task(log, "normalise", domain.name, **_facts(manifest, *keys))
                return lot

            @task(task_id="load", map_index_template="{{ task.op_kwargs['lot']['label'] }}")
            @permanent
            def load_lot(lot: Lot) -> None:
                """Copies the rows into PostgreSQL, a transaction for each chunk. Cleared, it loads what is not committed."""
                from mongo2pg.moving.load import load_chunk

                here = _here(domain).following()
                run = here.key(lot["plan_id"])
                with target() as conn:
                    for name, chunk in lot["chunks"]:
                        collection, staged = domain.collection(name), here.staged(lot["plan_id"], name)
                        again = partial(_read_again, conn, run, collection, staged, chunk)
                        facts = load_chunk(conn, run, collection, staged, chunk, again)
                        keys = ("read", "inserted", "updated", "unchanged", "held", "rejected", "seconds")
                        audit_task(log, "load", domain.name, collection=name, chunk=chunk, **_facts(facts, *keys))

            load_lot(lot=normalise_lot(lot=extract_lot(lot=lot)))  # type: ignore[arg-type]  # XComArgs stand for lots

        # Of deletes alone there is nothing to move, so that everything before it but the plan is skipped.
        @task(task_id="delete", trigger_rule=TriggerRule.NONE_FAILED)
        @permanent
        def delete_gone() -> None:
            """Takes out the rows whose document is gone; if these are more than `max_delete_ratio`, none; then it fails."""
            from mongo2pg.settling.deletes import delete_domain

            # A run that was deleted in Airflow has left its plan to the dry run that bears its id.
            if param("mode") == DRY_RUN or not (here := _here(domain).following()).is_planned:
                raise AirflowSkipException("nothing was planned, so that there is nothing to delete")
            with _source_if_read() as database, target() as conn:
                if database is None:
                    log.info("a replay reads nothing, so that it misses nothing")
                    return
                place = (here.current(), here.moved(), here.staging, neighbours)
                deletions = delete_domain(database, conn, *place, param("max_delete_ratio"))
                for name, done in deletions.items():
                    facts = {"deleted": len(done.deleted_ids), "read": done.read, "rejected": dict(done.rejected)}
                    audit_task(log, "delete", domain.name, collection=name, **facts)
                if not deletions:  # a first load: nothing was there that could be gone
                    audit_task(log, "delete", domain.name)

        @task(task_id="settle")
        @permanent
        def settle_run() -> None:
            """Judges references and unique keys now that all chunks are in, and builds keys and indexes after a first load, in one
            transaction. Its counts are changes to those of `load`: what goes to the rejects is taken off there.
            """
            from mongo2pg.settling.settle import settle_domain

            if param("mode") == DELETES:
                raise AirflowSkipException("nothing was moved, so that there is nothing to settle")
            here = _here(domain).following()
            with _source_if_read() as database, target() as conn:
                place = (here.current(), here.moved(), here.staging, neighbours)
                for name, outcome in settle_domain(database, conn, *place).items():
                    audit_task(
                        log,
                        "settle",
                        domain.name,
                        collection=name,
                        inserted=outcome.inserted,
                        updated=outcome.updated,
                        unchanged=outcome.unchanged,
                        rejected=dict(outcome.rejected),
                    )

        @task(task_id="row_counts")
        @permanent
        def count_rows() -> None:
            """Closes the sums: what the source has, what was read, what became of it, what the tables hold, how much is dirt."""
            from mongo2pg.checks.count import Limits, count_domain

            here, limits = _here(domain).following(), Limits.of(all_params())
            with _source_if_read() as database, target() as conn:
                checks = count_domain(database, conn, here.current(), here.moved(), here.staging, limits)
            _conclude("row_counts", domain, checks)

        @task(task_id="checksums", map_index_template="{{ task.op_kwargs['lot']['label'] }}")
        @permanent
        def compare_lot(lot: Lot) -> None:
            """Works out by other code which rows the documents must become, and compares them with the tables, cell by cell."""
            from mongo2pg.checks.live import compare_source, is_live
            from mongo2pg.checks.verify import verify_chunk

            here, checks = _here(domain).following(), []
            run = here.key(lot["plan_id"])
            staged = {name: here.staged(lot["plan_id"], name) for name, _ in lot["chunks"]}
            live = {name for name in staged if is_live(param("verify_source"), staged[name])}
            with source() if live else nullcontext() as database, target() as conn:
                for name, chunk in lot["chunks"]:
                    checks += verify_chunk(conn, run, domain, domain.collection(name), staged[name], chunk)
                    if database is not None and name in live:
                        checks.append(compare_source(database, conn, run, domain.collection(name), staged[name], chunk))
            _conclude("checksums", domain, checks)

        @task(task_id="references")
        @permanent
        def judge_references() -> None:
            """Looks for rows that refer to rows that are not there, and for foreign keys that are missing or not enforced."""
            from mongo2pg.checks.references import check_references

            here = _here(domain).following()
            with target() as conn:
                _conclude("references", domain, check_references(conn, here.current(), here.moved(), here.staging))

        @task(task_id="uniqueness")
        @permanent
        def judge_keys() -> None:
            """Looks for rows that share a key, and for unique keys that are missing or not enforced."""
            from mongo2pg.checks.uniqueness import check_uniqueness

            here = _here(domain).following()
            with target() as conn:
                _conclude("uniqueness", domain, check_uniqueness(conn, here.current(), here.moved(), here.staging))

        @task(task_id="round_trip", map_index_template="{{ task.op_kwargs['lot']['label'] }}")
        @permanent
        def rebuild_lot(lot: Lot) -> None:
            """Rebuilds a share of the documents, `round_trip_sample`, from their rows, and compares them with what was read."""
            from mongo2pg.checks.round_trip import round_trip_chunk

            here, checks = _here(domain).following(), []
            with target() as conn:
                for name, chunk in lot["chunks"]:
                    run, staged = here.key(lot["plan_id"]), here.staged(lot["plan_id"], name)
                    checks += round_trip_chunk(conn, run, domain.collection(name), staged, chunk, param("round_trip_sample"))
            _conclude("round_trip", domain, checks)

        asset = Asset(f"mongo2pg/{domain.name}")

        @task(task_id="gate", trigger_rule=TriggerRule.ALL_DONE, outlets=[asset])
        @permanent
        def judge_run() -> None:
            """Writes the report, which the tab Report shows, and fails unless every task and every check passed."""
            report = _gate(_here(domain))
            get_current_context()["outlet_events"][asset].extra = told(report)

        lots = plan_run()
        settled = settle_run()
        moved = move.expand(lot=lots)
        prepare_run() >> lots
        moved >> delete_gone() >> settled
        checks = [count_rows(), for_each(compare_lot, lots), judge_references(), judge_keys(), for_each(rebuild_lot, lots)]
        # Where one lot fails, all that follows fails with it at once, while others may still be at work: the gate waits for these.
        settled >> checks >> judge_run() << moved
    # Only now: each task would get a copy of its own, which Airflow validates whenever it parses or serialises the DAG.
    dag.params = ParamsDict(domain_params(domain))
    return dag


def schedule_of(domain: Domain) -> str | None:
    """`MONGO2PG_SCHEDULE_<DOMAIN>`, else `MONGO2PG_SCHEDULE`, else every hour: a cron expression, or `none` for runs by hand."""
    own, every = os.environ.get(f"MONGO2PG_SCHEDULE_{domain.name.upper()}"), os.environ.get("MONGO2PG_SCHEDULE")
    schedule = own or every or "0 * * * *"
    return None if schedule == "none" else schedule


def _timetable(domain: Domain) -> CronDataIntervalTimetable | None:
    # A plain cron string would give intervals of no length.
    schedule = schedule_of(domain)
    return CronDataIntervalTimetable(schedule, timezone="UTC") if schedule else None


def _source_if_read() -> AbstractContextManager[Database[Any] | None]:
    """The source, or None for a run that does not touch it."""
    return nullcontext() if param("mode") == REPLAY else source()


def _read_again(conn: Connection, run: RunKey, collection: Collection, staged: CollectionStaging, chunk: int) -> None:
    from mongo2pg.moving.versions import read_again, read_rejects_again

    with _source_if_read() as database:
        if database is None:
            read_rejects_again(conn, run, collection, staged)
        else:
            read_again(database, collection, staged, chunk)


def _gate(here: TaskRun) -> dict[str, Any]:
    from mongo2pg.verdict import gate

    states = task_states()
    # A task that somebody marked by hand left nothing: what it should have done was not done, and the run is red.
    if states.get("prepare") == "skipped" and left_by("prepare", NOTHING_TO_DO):
        raise AirflowSkipException("prepare says why there was nothing to do")
    if param("mode") == DRY_RUN and states.get("plan") == "success" and left_by("plan") is not None:
        raise AirflowSkipException("a dry run moves nothing: there is nothing to judge")
    report, sha256 = here.report(states, booked=param("mode") != DRY_RUN)
    announce(log, here.domain.name, f"the run of {here.domain.name}", here.staging.folder, report, sha256, gate.faults(report))
    return report


def told(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the asset's event says: per collection its watermark and counts, for people and for DAGs that wait for the asset."""
    keys = ("watermark", "read", "inserted", "updated", "unchanged", "superseded", "rejected")
    return {
        "run_id": report["run_id"],
        "collections": {each["collection"]: {key: each[key] for key in keys if key in each} for each in report["collections"]},
    }


def _conclude(stage: str, domain: Domain, checks: list[Check]) -> None:
    conclude(log, stage, domain.name, checks)


def _here(domain: Domain) -> TaskRun:
    return TaskRun(domain, domain.only(param("collections")), current_run_id())


def _facts(record: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: record[key] for key in keys if key in record}
