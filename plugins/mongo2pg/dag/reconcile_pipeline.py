"""The DAG that compares a domain with MongoDB as it is now, and repairs what differs if it is asked to."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, TriggerRule, task
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.exceptions import AirflowSkipException

from mongo2pg.dag.params import param, reconcile_params, refuse_unknown_params
from mongo2pg.dag.task_run import TaskRun
from mongo2pg.dag.tasks import (
    RECONCILE,
    RECONCILE_PREFIX,
    announce,
    audit_task,
    conclude,
    current_run_id,
    for_each,
    named,
    permanent,
    task_states,
)
from mongo2pg.databases.connections import source, target
from mongo2pg.model import Domain

if TYPE_CHECKING:
    from mongo2pg.files.planned import Lot

log = logging.getLogger(__name__)

DOC = """
Compares every document of a domain, as MongoDB has it now, with its rows in PostgreSQL, and looks for rows whose document is
gone, that hang on nothing, or whose keys occur twice. Nothing is staged for it, and windows may go on meanwhile: what seems to
differ is read again, and counts if it still differs and did not change between two readings.

Without `repair` the run changes nothing and is red if anything differs. With `repair` just the documents that differ go
through all stages again, rows without a document are taken out as the declaration says, and everything that differed is compared
once more; beyond `max_repair_ratio` it fails with the numbers and changes nothing.

Differences stand in `migration.differences`, the verdicts in `migration.checks`, under the run id with `reconcile__` before it.
"""


def reconcile_dag(domains: Sequence[Domain]) -> DAG:
    """prepare → plan → (compare per lot, rows) → repair → gate, for the domain that the run names.

    Its runs are independent of those of the domain's own DAG, in the books and in staging.
    """
    with DAG(
        RECONCILE,
        description="Compares a whole domain with MongoDB and, if asked to, repairs what differs",
        doc_md=DOC,
        schedule=None,
        catchup=False,
        max_active_runs=len(domains),
        tags=["mongo2pg"],
        default_args={"retries": 2, "retry_delay": timedelta(seconds=10), "owner": "data-platform"},
    ) as dag:

        @task(task_id="prepare")
        @permanent
        def prepare_run() -> None:
            """Finds everything that can be wrong from outside, and names all of it, before anything is read."""
            from mongo2pg.databases.ends import ends
            from mongo2pg.planning.prepare import prepare

            refuse_unknown_params(reconcile_params(domains))
            here = _here(domains)
            with source() as database, target() as conn:
                prepare(database, conn, here.domain, here.staging.root)
                between = ends(database, conn)
                here.begin(conn, RECONCILE, between)
            audit_task(log, "prepare", here.domain.name, mode=RECONCILE, **between)

        @task(task_id="plan")
        @permanent
        def plan_run() -> list[Lot]:
            """Cuts each collection into ranges of `_id`. Cleared, it begins the comparison anew."""
            from mongo2pg.reconciling.reconcile import plan_reconcile

            here = _here(domains)
            with source() as database, target() as conn:
                lots = plan_reconcile(database, conn, here.domain, here.staging, param("chunk_mb") << 20)
            chunks = sum(len(lot["chunks"]) for lot in lots)
            audit_task(log, "plan", here.domain.name, plan_id=lots[0]["plan_id"], lots=len(lots), chunks=chunks)
            return lots

        @task(task_id="compare", map_index_template="{{ task.op_kwargs['lot']['label'] }}")
        @permanent
        def compare_lot(lot: Lot) -> None:
            """Reads the documents and compares them with their rows; what seems to differ is read again before it counts."""
            from mongo2pg.reconciling.reconcile import Reconciler

            here, checks = _here(domains).following(), []
            domain, run = here.domain, here.key(lot["plan_id"])
            with source() as database, target() as conn:
                for name, chunk in lot["chunks"]:
                    staged = here.staged(lot["plan_id"], name)
                    checks += Reconciler(database, conn, run, domain, domain.collection(name), staged).compare(chunk)
            _conclude("compare", domain, checks)

        @task(task_id="rows")
        @permanent
        def find_rows() -> None:
            """Looks for rows whose document is gone, that refer to nothing or share a key, and for keys that are missing."""
            from mongo2pg.reconciling.reconcile import check_rows

            here = _here(domains).following()
            with source() as database, target() as conn:
                _conclude("rows", here.domain, check_rows(database, conn, here.current(), here.domain, here.staging))

        @task(task_id="repair")
        @permanent
        def repair_differences() -> None:
            """Moves the documents that differ again, takes out rows whose document is gone, and compares all of them once more."""
            from mongo2pg.reconciling.repair import repair_domain

            if not param("repair"):
                raise AirflowSkipException("nothing differs, and the run was not asked to repair")
            here = _here(domains).following()
            place = (here.current(), here.domain, here.staging, domains)
            with source() as database, target() as conn:
                checks = repair_domain(database, conn, *place, param("max_repair_ratio"))
            conclude(log, "repair", here.domain.name, checks)

        @task(task_id="gate", trigger_rule=TriggerRule.ALL_DONE)
        @permanent
        def judge_run() -> None:
            """Writes the report, which the tab Report shows, and fails if anything differs still."""
            _gate(_here(domains))

        lots = plan_run()
        repaired = repair_differences()
        prepare_run() >> lots
        compared, gate = [for_each(compare_lot, lots), find_rows()], judge_run()
        # What differs fails one of these and the repair with it, while others may still be at work: the gate waits for them.
        lots >> compared >> repaired >> gate << compared
    dag.params = ParamsDict(reconcile_params(domains))  # only now, as in `domain_dag`
    return dag


def _conclude(stage: str, domain: Domain, checks: list[Any]) -> None:
    """What differs fails the task, unless it is to be repaired: then it is no more than listed."""
    if param("repair"):
        differ = [named(check) for check in checks if check.verdict != "passed"]
        audit_task(log, stage, domain.name, checks=len(checks), to_repair=differ)
    else:
        conclude(log, stage, domain.name, checks)


def _gate(here: TaskRun) -> None:
    from mongo2pg.files.staging import RunStaging
    from mongo2pg.verdict import certificate, gate

    states = task_states()
    if not param("repair"):
        states.pop("repair", None)  # it did not begin because something differs: the checks say what
    report, sha256 = here.report(states)
    # Where the tab of the run in Airflow's UI looks for it.
    certificate.write(RunStaging(here.staging.root, RECONCILE, current_run_id()).folder, report)
    name = here.domain.name
    announce(log, name, f"the reconcile of {name}", here.staging.folder, report, sha256, gate.faults(report))


def _here(domains: Sequence[Domain]) -> TaskRun:
    """The run of the domain, or of those collections of it, that are to be compared. Raises PrepareError for another domain's."""
    from mongo2pg.errors import PrepareError

    domain = next(domain for domain in domains if domain.name == param("domain"))
    names = [collection.name for collection in domain.collections]
    asked = param("collections") or names
    if strange := sorted({*asked} - {*names}):
        raise PrepareError([f"{name} is no collection of {domain.name}" for name in strange])
    # A run of the domain's own DAG may bear the same id.
    return TaskRun(domain.only(asked), domain.only(asked), f"{RECONCILE_PREFIX}{current_run_id()}")
