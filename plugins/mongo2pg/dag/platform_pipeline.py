"""The DAG that runs the DAGs of all domains and answers for the whole."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, TriggerRule, get_current_context, task
from airflow.sdk.definitions.param import ParamsDict

from mongo2pg.dag.params import common_params, refuse_unknown_params
from mongo2pg.dag.tasks import announce, audit_task, current_run_id, permanent, task_states
from mongo2pg.model import Domain
from mongo2pg.planning.modes import FULL, INCREMENTAL, REPLAY
from mongo2pg.target.lineage import overview

log = logging.getLogger(__name__)

# What all domains can be asked for at once; a window or a dry run is a matter of one.
MODES = (FULL, INCREMENTAL, REPLAY)
# How often the triggerer looks whether a domain's run has ended.
SECONDS_BETWEEN_LOOKS = 2


def platform_dag(domains: Sequence[Domain]) -> DAG:
    """unpaused → the first domain → all others side by side → references → gate; each domain in a run of its own DAG."""
    first, *others = domains
    with DAG(
        "platform",
        description="Moves all domains, each by its own DAG, then judges the references between them",
        doc_md=overview(domains),
        schedule=None,
        catchup=False,
        max_active_runs=1,
        tags=["mongo2pg"],
        default_args={"retries": 2, "retry_delay": timedelta(seconds=10), "owner": "data-platform"},
    ) as dag:

        @task(task_id="unpaused")
        @permanent
        def check_unpaused() -> None:
            """Names the DAGs of domains that are paused: their runs would never start."""
            from mongo2pg.errors import PrepareError

            refuse_unknown_params(common_params(*MODES))
            instance: Any = get_current_context()["ti"]
            paused = [domain.name for domain in domains if instance.get_dag(domain.name).is_paused]
            if paused:
                raise PrepareError(
                    [f"the DAG {name} is paused and would never start: airflow dags unpause {name}" for name in paused]
                )
            audit_task(log, "unpaused", "platform", domains=[domain.name for domain in domains])

        @task(task_id="references", trigger_rule=TriggerRule.ALL_DONE)
        @permanent
        def settle_references() -> None:
            """Judges the references between domains that none of their runs could judge yet, and verifies again what changed."""
            from mongo2pg.databases.connections import source, target
            from mongo2pg.files.staging import default_root
            from mongo2pg.verdict.across import settle_across

            with source() as database, target() as conn:
                changed = settle_across(database, conn, domains, default_root())
            audit_task(log, "references", "platform", changed=changed)

        @task(task_id="gate", trigger_rule=TriggerRule.ALL_DONE)
        @permanent
        def judge_platform() -> None:
            """Puts the reports of all domains under one roof (the tab Report), and fails unless each of them passed."""
            from mongo2pg.files.staging import RunStaging, default_root
            from mongo2pg.verdict import certificate
            from mongo2pg.verdict.across import faults, report_platform

            run_id = current_run_id()
            report = report_platform(domains, default_root(), run_id, task_states())
            folder = RunStaging(default_root(), "platform", run_id).folder
            sha256 = certificate.write(folder, report)
            announce(log, "platform", "the run of the platform", folder, report, sha256, faults(report))

        lead = _run_domain(first)
        rest = [_run_domain(domain) for domain in others]
        references = settle_references()
        check_unpaused() >> lead >> rest
        (rest or lead) >> references >> judge_platform()  # `>> []` is no edge
    dag.params = ParamsDict(common_params(*MODES))  # only now, as in `domain_dag`
    return dag


def _run_domain(domain: Domain) -> TriggerDagRunOperator:
    """A run of the domain's own DAG under this run's id; while it goes on, no worker waits for it."""
    return TriggerDagRunOperator(
        task_id=domain.name,
        doc_md=f"Runs the DAG `{domain.name}` under the id of this run, and waits until it has ended.",
        trigger_dag_id=domain.name,
        trigger_run_id="{{ run_id }}",
        conf="{{ dict(params) | tojson }}",  # type: ignore[arg-type]  # the operator reads a text as JSON
        reset_dag_run=True,  # a cleared task runs its domain again
        wait_for_completion=True,
        deferrable=True,
        poke_interval=SECONDS_BETWEEN_LOOKS,
        allowed_states=["success"],
        failed_states=["failed"],
        retries=0,
    )
