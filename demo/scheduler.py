"""`airflow scheduler`, with secrets masked in its own output too; run as a program, with the scheduler's options.

The LocalExecutor repeats every line of a task on the scheduler's output. In the task's log Airflow masks passwords; in that
copy it does not, and our scheduler's output ends in a file.
"""

from __future__ import annotations

import sys

import structlog
from airflow.__main__ import main
from airflow.sdk.log import mask_logs

# Importing Airflow has configured its logging; the workers, which print the copy, are forks of this process.
*processors, render = structlog.get_config()["processors"]
structlog.configure(processors=[*processors, mask_logs, render])
sys.argv = ["airflow", "scheduler", *sys.argv[1:]]
main()
