"""What the tests' Airflow does to every task: it fails when a file asks for it, and it fails once.

The file `AIRFLOW_HOME/fail/<task id>` asks; it is looked for when the task is about to run. The file
`AIRFLOW_HOME/kill/<DAG id>/<task id>` asks for a kill -9 once the work is done and before Airflow hears of it; tasks of the DAG
MORTAL are then tried again, as they are everywhere but in tests. Copied to AIRFLOW_HOME/config.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

MORTAL = "external_bridge"


def task_policy(task: Any) -> None:
    """Called by Airflow for each task of a DAG file that it reads, by workers just before they run one."""
    changes = {"retry_delay": timedelta(0)} if task.dag_id == MORTAL else {"retries": 0}
    if hasattr(task, "partial_kwargs"):
        task.partial_kwargs.update(changes)
    else:
        for name, value in changes.items():
            setattr(task, name, value)
    if hasattr(task, "python_callable"):
        task.python_callable = _breakable(task, task.python_callable)


def _breakable(task: Any, body: Callable[..., Any]) -> Callable[..., Any]:
    home, dag_id, task_id = Path(os.environ["AIRFLOW_HOME"]), task.dag_id, task.task_id

    @wraps(body)
    def either(*arguments: Any, **named: Any) -> Any:
        if (home / "fail" / task_id).exists():
            raise RuntimeError(f"told to fail: {task_id}")
        result = body(*arguments, **named)
        if (kill := home / "kill" / dag_id / task_id).exists():
            kill.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return either
