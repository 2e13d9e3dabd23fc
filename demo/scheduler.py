"""`airflow scheduler`, with secrets masked in its own output too, and quicker tasks; run as a program, with its options.

The LocalExecutor repeats every line of a task on the scheduler's output. In the task's log Airflow masks passwords; in that
copy it does not, and our scheduler's output ends in a file.

Its workers, and their tasks, are forks of this process: a module that is imported here costs no task a second of its own.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys

import structlog
from airflow.__main__ import main
from airflow.sdk.log import mask_logs

# Importing Airflow has configured its logging; the workers, which print the copy, are forks of this process.
*processors, render = structlog.get_config()["processors"]
structlog.configure(processors=[*processors, mask_logs, render])
# Airflow puts this folder on the path, but later.
sys.path.append(os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"])
engine = [module.name for module in pkgutil.iter_modules(importlib.import_module("mongo2pg").__path__, "mongo2pg.")]
for name in ("airflow.providers.mongo.hooks.mongo", "airflow.providers.postgres.hooks.postgres", "deepiri.registry", *engine):
    importlib.import_module(name)
sys.argv = ["airflow", "scheduler", *sys.argv[1:]]
main()
