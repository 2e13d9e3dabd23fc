"""What every task of every DAG shares: its params, its audit line, and failures that no retry can cure."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from airflow.sdk import Param, get_current_context
from airflow.sdk.exceptions import AirflowFailException

from mongo2pg.audit import audit
from mongo2pg.errors import PermanentError, PrepareError

FULL, REPLAY = "full", "replay"
MODES = {FULL: "full: every document of every collection", REPLAY: "replay: the documents of open rejects, from the stored bytes"}

P = ParamSpec("P")
R = TypeVar("R")


def common_params() -> dict[str, Param]:
    """The params of a run, as Airflow's trigger form shows them."""
    return {
        "mode": Param(
            "full", type="string", enum=list(MODES), title="Mode", description="full: every document of every collection"
        ),
        "chunk_mb": Param(
            64,
            type="integer",
            minimum=1,
            maximum=1024,
            title="Chunk size in MB",
            description="BSON bytes that one chunk holds, about",
        ),
        "max_reject_ratio": _share(0.01, "Rejected documents", "of all documents of a collection, orphans apart"),
        "max_orphan_ratio": _share(0.05, "Orphaned documents", "of all documents of a collection"),
        "max_delete_ratio": _share(0.10, "Deleted documents", "of all rows of a collection; beyond it nothing is deleted"),
        "max_misfit_ratio": _share(0.10, "Misfits", "of all values of a field; rejected elements of all elements of an array"),
    }


def _share(default: float, title: str, of_what: str) -> Param:
    """A share beyond which the run fails; `count.Limits` says how it is judged."""
    return Param(default, type="number", minimum=0, maximum=1, title=f"{title} at most", description=f"A share {of_what}")


def refuse_unknown_params() -> None:
    """Airflow takes unknown keys of a run's conf without a word: a mistyped one would do nothing. Raises PrepareError."""
    known = common_params()
    unknown = sorted(set(get_current_context()["dag_run"].conf or {}) - set(known))
    if unknown:
        raise PrepareError([f"unknown parameter {name!r}: the parameters are {', '.join(known)}" for name in unknown])


def param(name: str) -> Any:
    """The run's value of a param."""
    return get_current_context()["params"][name]


def started_by() -> str | None:
    """Who triggered the run; None where nobody did by hand."""
    return getattr(get_current_context()["dag_run"], "triggering_user_name", None)


def run_is_alive(run_id: str) -> bool:
    """Whether a run of this DAG is under way, or will be."""
    instance: Any = get_current_context()["ti"]
    count: int = instance.get_dr_count(dag_id=instance.dag_id, run_ids=[run_id], states=["queued", "running"])
    return count > 0


def task_states() -> dict[str, str]:
    """The state of every task instance of this run but the one that asks."""
    context = get_current_context()
    instance: Any = context["ti"]
    states = instance.get_task_states(dag_id=instance.dag_id, run_ids=[context["run_id"]])[context["run_id"]]
    return {name: str(state) for name, state in states.items() if name != instance.task_id}


def audit_task(log: logging.Logger, stage: str, domain: str, **facts: Any) -> None:
    """The task's machine-readable line."""
    audit(log, stage, domain=domain, run_id=str(get_current_context()["run_id"]), **facts)


def permanent(stage: Callable[P, R]) -> Callable[P, R]:
    """A failure that a retry cannot cure fails the task at once."""

    @wraps(stage)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return stage(*args, **kwargs)
        except PermanentError as error:
            raise AirflowFailException(str(error)) from error

    return wrapped
