"""What the tests' Airflow does to every task: it fails when a file asks for it, and it fails once.

The file `AIRFLOW_HOME/fail/<task id>` asks; it is looked for when the task is about to run. Copied to AIRFLOW_HOME/config.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any


def task_policy(task: Any) -> None:
    """Called by Airflow for each task of a DAG file that it reads, by workers just before they run one."""
    if hasattr(task, "partial_kwargs"):
        task.partial_kwargs["retries"] = 0
    else:
        task.retries = 0
    if hasattr(task, "python_callable"):
        task.python_callable = _breakable(task.task_id, task.python_callable)
    elif hasattr(task, "ask"):
        task.ask = _breakable(task.task_id, task.ask)


def _breakable(task_id: str, body: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(body)
    def either(*arguments: Any, **named: Any) -> Any:
        if (Path(os.environ["AIRFLOW_HOME"]) / "fail" / task_id).exists():
            raise RuntimeError(f"told to fail: {task_id}")
        return body(*arguments, **named)

    return either
