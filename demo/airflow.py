"""A real Airflow, each component started and stopped by us, for this machine alone.

`airflow standalone` will not do: it opens the servers of task logs to every network and orphans its children when it is killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from demo.postgres import PostgresLogin
from demo.processes import Child, Children, DemoError, free_port, write_private
from demo.rest import AirflowClient

REPOSITORY = Path(__file__).resolve().parent.parent
# `-P`: in the folder of the program lies our own `airflow.py`, which must not be taken for Airflow.
PROGRAM = ("-P", str(Path(__file__).with_name("component.py")))

COMPONENTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
ROLES = {"admin": "admin", "engineer": "user", "auditor": "viewer"}

# Measured on two cores: with the default of 32 the tasks fight for them and one was marked failed after its work was done; the
# scheduler's default of a second between two looks costs a second for every task of a chain; a failed task waits for a heartbeat;
# parsing all DAG files again every 30 s takes CPU from the tasks (a file that was changed is parsed at once, whatever is set here).
TUNING = {
    "AIRFLOW__CORE__PARALLELISM": "4",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
    "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__API__WORKERS": "1",
}


class Source(Protocol):
    """What the tasks shall read."""

    def airflow_connection(self) -> str:
        """The value of an `AIRFLOW_CONN_…` variable."""


class Airflow:
    """Scheduler, API server, DAG processor and triggerer on 127.0.0.1, with their own users and their own home."""

    def __init__(
        self,
        children: Children,
        folder: Path,
        *,
        metadata: PostgresLogin,
        source: Source | None,
        target: PostgresLogin,
        staging: Path,
        more_dags: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`more_dags` is a second folder of DAGs, looked at every second; `settings` are variables of the project's own.

        The source may be given later, but before `start`.
        """
        self.children = children
        self.home = folder / "airflow"
        self.logs = folder / "logs"
        for each in (self.home, self.logs, staging):
            each.mkdir(mode=0o700, exist_ok=True)
        self.metadata, self.source, self.target, self.staging, self.more_dags = metadata, source, target, staging, more_dags
        self.settings = dict(settings or {})
        self.passwords = {user: secrets.token_urlsafe(12) for user in ROLES}
        # Tokens between the components; Airflow asks for 64 bytes.
        self._secrets = {
            "AIRFLOW__API__SECRET_KEY": secrets.token_urlsafe(64),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(64),
        }
        self.port = free_port()
        self.migration: Child | None = None
        self.components: list[Child] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, user: str = "admin") -> AirflowClient:
        """A session for one of our users; the caller closes it."""
        return AirflowClient(self.url, user, self.passwords[user])

    def migrate(self) -> None:
        """Create the metadata tables; needs the metadata database and nothing else."""
        self.begin_migration()
        self.finish_migration()

    def begin_migration(self) -> None:
        """The same, but return at once: `finish_migration` waits for it."""
        self.migration = self._start("db migrate", "db", "migrate")

    def finish_migration(self) -> None:
        """Return once the metadata tables are complete; DemoError if they cannot be made."""
        child = self.migration
        process = child.popen if child else None
        if not child or not process:
            raise DemoError("Airflow's migration was not begun.")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(180)
        status = process.poll()
        self.stop()
        if status != 0:
            raise DemoError(f"Airflow could not create its metadata tables; the end of {child.log}:\n{child.last_lines()}")

    def start(self) -> None:
        """Start the four components and return once all of them report health and all logins exist."""
        # Somebody may take the port between our look and the server's: then the next one is tried.
        for _ in range(3):
            self._launch()
            try:
                self._wait_for_health()
            except DemoError as error:
                self.stop()
                if "address already in use" not in str(error).lower():
                    raise
                self.port = free_port()
            else:
                return
        raise DemoError("Airflow's API server found its port taken three times in a row: start again.")

    def stop(self) -> None:
        """Stop the components, all at once, and a migration that goes on; running tasks are ended with them."""
        self.children.stop(*self.components, *([self.migration] if self.migration else []))
        self.migration, self.components = None, []

    def dead(self) -> Child | None:
        """A component that has ended although nobody stopped it."""
        return next((child for child in self.components if not child.alive()), None)

    def environment(self) -> dict[str, str]:
        """Everything that the components, or an `airflow` command, need; nothing of Airflow or PostgreSQL is inherited."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "MONGO2PG_", "PG", "PYTHON"))}
        return {
            **inherited,
            # Tasks report to the API server over HTTP, and not through a proxy.
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "PYTHONUNBUFFERED": "1",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in ROLES.items()),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.home / "passwords.json"),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.metadata.sqlalchemy_url(),
            # Every component would read all migrations to see whether there is one that `migrate` has left out.
            "AIRFLOW__DATABASE__CHECK_MIGRATIONS": "False",
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": self._bundles(),
            # A password inside a URL is percent-encoded: without this it would pass the masking of logs.
            "AIRFLOW__LOGGING__SECRET_MASK_ADAPTER": "urllib.parse.quote_plus",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            **TUNING,
            **self.settings,
            **self._secrets,
            **({"AIRFLOW_CONN_DEEPIRI_MONGO": self.source.airflow_connection()} if self.source else {}),
            "AIRFLOW_CONN_DEEPIRI_POSTGRES": self.target.airflow_connection(),
            "MONGO2PG_STAGING": f"file://{self.staging}",
        }

    def _bundles(self) -> str:
        folders = [("dags-folder", REPOSITORY / "dags", 30)]
        if self.more_dags:
            folders.append(("more-dags", self.more_dags, 1))
        return json.dumps(
            [
                {
                    "name": name,
                    "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                    "kwargs": {"path": str(path), "refresh_interval": seconds},
                }
                for name, path, seconds in folders
            ]
        )

    def _launch(self) -> None:
        write_private(self.home / "passwords.json", json.dumps(self.passwords))
        # On Linux the API server renames itself.
        title = f"airflow api_server -- host:127.0.0.1 port:{self.port}"
        self.components = [
            self._start("API server", "api-server", title=title),
            self._start("scheduler", "scheduler", "--skip-serve-logs"),
            self._start("DAG processor", "dag-processor"),
            # It would wait ten seconds for a process of its own that has nothing to do.
            self._start("triggerer", "triggerer", "--skip-serve-logs", patience=2),
        ]

    def _start(self, name: str, *arguments: str, title: str | None = None, patience: float = 5) -> Child:
        command = [sys.executable, *PROGRAM, *arguments]
        log = self.logs / f"airflow-{name.replace(' ', '-').lower()}.log"
        return self.children.start(f"Airflow {name}", command, log, env=self.environment(), title=title, patience=patience)

    def _wait_for_health(self, seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        with self.client() as client:
            while True:
                health = client.health()
                # Our own processes must be the ones that answer.
                if child := self.dead():
                    raise DemoError(f"{child.name} ended while it started; the end of {child.log}:\n{child.last_lines()}")
                ill = [name for name in COMPONENTS if health.get(name) != "healthy"]
                if not ill:
                    return
                if time.monotonic() > deadline:
                    missing = ", ".join(ill) if health else "API server"
                    raise DemoError(f"Airflow was not healthy after {seconds:.0f} s ({missing}); its logs are in {self.logs}.")
                time.sleep(0.2)
