"""`airflow` with one of its commands and the options of that, on less CPU than by itself; run as a program.

What a command imports it keeps: looking through it for garbage, again and again while it grows, takes a quarter of a start.
Forks of the scheduler are its workers, and forks of these are the tasks: a module that is imported here costs no task a second
of its own.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import sys

# What each would import by itself, but later.
IMPORTS = {
    "api-server": ("airflow.api_fastapi.main",),
    "dag-processor": ("airflow.cli.commands.dag_processor_command", "airflow.api_fastapi.execution_api.routes"),
    "db": ("airflow.cli.commands.db_command",),
    "scheduler": ("airflow.providers.mongo.hooks.mongo", "airflow.providers.postgres.hooks.postgres", "deepiri.registry"),
    "triggerer": ("airflow.cli.commands.triggerer_command",),
}


def mask_output() -> None:
    """Mask secrets in the scheduler's own output, too.

    The LocalExecutor repeats every line of a task there. In the task's log Airflow masks passwords; in that copy it does not,
    and our scheduler's output ends in a file.
    """
    import structlog
    from airflow.sdk.log import mask_logs

    # Importing Airflow has configured its logging; the workers, which print the copy, are forks of this process.
    *processors, render = structlog.get_config()["processors"]
    structlog.configure(processors=[*processors, mask_logs, render])


def import_all(command: str) -> None:
    """Import what the command needs, and the engine for the tasks of the scheduler."""
    names = list(IMPORTS[command])
    if command == "scheduler":
        # Airflow puts this folder on the path, but later.
        sys.path.append(os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"])
        engine = importlib.import_module("mongo2pg")
        names += [module.name for module in pkgutil.walk_packages(engine.__path__, "mongo2pg.")]
    for name in names:
        importlib.import_module(name)


if __name__ == "__main__":
    gc.disable()
    airflow = importlib.import_module("airflow.__main__")
    if sys.argv[1] == "scheduler":
        mask_output()
    import_all(sys.argv[1])
    gc.freeze()
    gc.enable()
    sys.argv[0] = "airflow"
    airflow.main()
