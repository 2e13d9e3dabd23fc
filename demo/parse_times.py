"""Prints how long Airflow takes to parse each DAG file, and all of them together; needs no database."""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def main() -> int:
    """Status 1 if a file cannot be imported."""
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(
            AIRFLOW_HOME=home,
            AIRFLOW__CORE__UNIT_TEST_MODE="True",
            AIRFLOW__CORE__LOAD_EXAMPLES="False",
            AIRFLOW__CORE__DAGS_FOLDER=str(REPOSITORY / "dags"),
            AIRFLOW__CORE__PLUGINS_FOLDER=str(REPOSITORY / "plugins"),
            AIRFLOW__DATABASE__SQL_ALCHEMY_CONN="sqlite:////nonexistent/never/used.db",
            AIRFLOW__LOGGING__LOGGING_LEVEL="ERROR",
        )
        sys.path.insert(0, str(REPOSITORY / "plugins"))
        from airflow.dag_processing.dagbag import DagBag

        bag = DagBag(str(REPOSITORY / "dags"))
    for file in bag.dagbag_stats:
        print(f"{file.duration.total_seconds():7.3f} s  {file.file}")
    total = sum((file.duration for file in bag.dagbag_stats), timedelta())
    print(f"{total.total_seconds():7.3f} s  all {len(bag.dagbag_stats)} files, {len(bag.dags)} DAGs")
    for file_name, error in bag.import_errors.items():
        print(f"{file_name}: {error}", file=sys.stderr)
    return int(bool(bag.import_errors))


if __name__ == "__main__":
    sys.exit(main())
