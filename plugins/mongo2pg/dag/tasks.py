"""What tasks of every DAG share: their audit line, what they know of other tasks and runs, failures that no retry can cure."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, AirflowSkipException

from mongo2pg.audit import audit
from mongo2pg.errors import CheckError, GateError, NothingToDoError, OwnedError, PermanentError

if TYPE_CHECKING:
    from mongo2pg.books import Check
    from mongo2pg.files.staging import StagingPath

log = logging.getLogger(__name__)

# numpy looks at this when it is loaded: its library of linear algebra, of which no task has a use, would start a thread for each
# core, and each task would have spent a tenth of a second of CPU before it began.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A first load takes hours where it is worth waiting for: how often a run asks whether the other one has ended.
BETWEEN_TURNS = timedelta(seconds=15)

# The DAG that compares domains. In the books of a domain its runs have this before their ids: the domain's own may bear the same.
RECONCILE, RECONCILE_PREFIX = "reconcile", "reconcile__"

# By this name a task that found nothing to do leaves the reason.
NOTHING_TO_DO = "nothing_to_do"

P = ParamSpec("P")
R = TypeVar("R")


def started_by() -> str | None:
    """Who triggered the run; None where nobody did by hand."""
    return getattr(get_current_context()["dag_run"], "triggering_user_name", None)


def current_run_id() -> str:
    """The id of the run that this task belongs to."""
    return str(get_current_context()["run_id"])


def run_is_alive(run_id: str) -> bool:
    """Whether a run that the books know by this id, of this domain's DAG or a reconcile of the domain, is under way, or will be."""
    instance: Any = get_current_context()["ti"]
    states = ["queued", "running"]
    return any(
        instance.get_dr_count(dag_id=dag_id, run_ids=[each], states=states) for dag_id, each in runs_called(run_id, instance.dag_id)
    )


def runs_called(run_id: str, dag_id: str) -> list[tuple[str, str]]:
    """The runs that bear this id in the books of a domain, as Airflow knows them: DAG and id."""
    reconcile = [(RECONCILE, run_id.removeprefix(RECONCILE_PREFIX))] if run_id.startswith(RECONCILE_PREFIX) else []
    return [(dag_id, run_id), *reconcile]


def task_states() -> dict[str, str]:
    """The state of every task instance of this run but the one that asks."""
    context = get_current_context()
    instance: Any = context["ti"]
    states = instance.get_task_states(dag_id=instance.dag_id, run_ids=[context["run_id"]])[context["run_id"]]
    return {name: str(state) for name, state in states.items() if name != instance.task_id}


def left_by(task_id: str, key: str = "return_value") -> Any:
    """What a task of this run handed on; None where it did nothing, for somebody marked it in Airflow."""
    instance: Any = get_current_context()["ti"]
    return instance.xcom_pull(task_ids=task_id, key=key)


def audit_task(log: logging.Logger, stage: str, domain: str, **facts: Any) -> None:
    """The task's machine-readable line."""
    audit(log, stage, domain=domain, run_id=current_run_id(), **facts)


def named(check: Check) -> str:
    """What a check was about: its subject, and the chunk where it is about one."""
    return check.subject if check.chunk < 0 else f"{check.subject} {check.chunk}"


def conclude(log: logging.Logger, stage: str, domain: str, checks: Sequence[Check]) -> None:
    """One machine-readable line for a task of checks; a failed one fails the task, which lists both sides of each."""
    failed = [check for check in checks if check.verdict != "passed"]
    audit_task(log, stage, domain, checks=len(checks), failed=[named(check) for check in failed])
    if failed:
        raise CheckError(stage, failed)


def announce(
    log: logging.Logger, name: str, what: str, folder: StagingPath, report: Mapping[str, Any], sha256: str, faults: Sequence[str]
) -> None:
    """Says where the report is, and what came of the run. Raises GateError with its faults where `what`, a run, is red."""
    log.info("the report is %s, sha256 %s", folder / "report.json", sha256)
    audit_task(log, "gate", name, passed=report["passed"], failed_tasks=report["failed_tasks"], report_sha256=sha256)
    if not report["passed"]:
        raise GateError("\n".join([f"{what} is red:", *(f"- {fault}" for fault in faults)]))


def for_each(stage: Any, lots: Any) -> Any:
    """The task `stage`, once for each lot. To a mapped task Airflow does not give its function's docs by itself."""
    return stage.override(doc_md=stage.function.__doc__).expand(lot=lots)


def permanent(stage: Callable[P, R]) -> Callable[P, R]:
    """A failure that a retry cannot cure fails the task at once; where there is nothing to do it is skipped.

    Where another run is in the way it is tried again until that has ended, and meanwhile no worker waits.
    """

    @wraps(stage)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return stage(*args, **kwargs)
        except NothingToDoError as error:
            log.info("%s", error)  # Airflow says that a task is skipped, and not why
            instance: Any = get_current_context()["ti"]
            instance.xcom_push(NOTHING_TO_DO, str(error))
            raise AirflowSkipException(str(error)) from error
        except AirflowSkipException as error:
            log.info("%s", error)
            raise
        except OwnedError as error:
            log.info("%s", error)
            raise AirflowRescheduleException(datetime.now(UTC) + BETWEEN_TURNS) from error  # type: ignore[no-untyped-call]
        except PermanentError as error:
            raise AirflowFailException(str(error)) from error

    return wrapped
