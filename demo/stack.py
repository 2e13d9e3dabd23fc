"""One demo: servers, Airflow and sample data, a run of every domain that has a DAG, and the report of it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from demo.airflow import REPOSITORY, Airflow
from demo.console import say
from demo.folder import DemoFolder, remove
from demo.mongo import Mongo
from demo.postgres import Postgres
from demo.processes import Child, Children, DemoError, write_private
from demo.progress import Progress, label
from demo.report import describe, merge, read_domain
from demo.rest import FINISHED_RUN, AirflowClient
from demo.sample import DOMAINS
from demo.seed import Seeding

DATABASE = "deepiri"

# The domains that have a DAG, in the order of the sample data.
DAGS = tuple(domain for domain in DOMAINS if (REPOSITORY / "dags" / f"{domain}.py").exists())

# The DAG that runs them, each in a run of its own DAG under one run id.
PLATFORM = "platform"

# A look every second takes Airflow a tenth of a core from its tasks.
SECONDS_BETWEEN_LOOKS = 2
# A change bears the time at which it was made, and is seen when its transaction ends.
UNSEEN = timedelta(seconds=10)

# The end of a failed task's log that says why.
LOG_LINES = 12


class Demo:
    """Servers, Airflow and sample data, from the start to the report."""

    def __init__(self, folder: DemoFolder, scale: float) -> None:
        self.folder, self.scale = folder, scale
        self.children = Children(folder.children)
        self.postgres = Postgres(self.children, folder.path)
        self.mongo = Mongo(self.children, folder.path)
        self.airflow: Airflow | None = None
        self.seeding: Seeding | None = None

    def start(self) -> Airflow:
        """Everything up, the sample data in MongoDB, and an empty target."""
        with step("PostgreSQL"):
            self.postgres.start()
            logins = {}
            for role, database in (("airflow", "airflow"), ("mover", DATABASE)):
                logins[role] = self.postgres.login(database, role, self.postgres.create_role(role))
                self.postgres.create_database(database, role)
        self.airflow = Airflow(
            self.children, self.folder.path, metadata=logins["airflow"], source=None, target=logins["mover"],
            staging=self.folder.staging, settings={"MONGO2PG_SCHEDULE": "none"},
        )  # fmt: skip
        collections = [collection for domain in DAGS for collection in DOMAINS[domain]]
        with step("SecantusDB, which speaks MongoDB's protocol, and beside it Airflow's metadata tables"):
            self.airflow.begin_migration()
            self.mongo.start()
            seeder = self.mongo.create_user("seeder", "readWrite", DATABASE)
            mover = self.airflow.source = self.mongo.create_user("mover", "read", DATABASE)
            self.seeding = Seeding(seeder, collections, self.scale)
            self.airflow.finish_migration()
        with step("Airflow: scheduler, API server, DAG processor, triggerer"):
            self.airflow.start()
        passwords = {
            "airflow": {"url": self.airflow.url, **self.airflow.passwords},
            "mongo": {login.user: login.uri for login in (self.mongo.admin, seeder, mover)},
            "postgres": {login.user: login.dsn for login in (self.postgres.superuser, *logins.values())},
        }
        write_private(self.folder.passwords, json.dumps(passwords, indent=2) + "\n")
        self.folder.announce(url=self.airflow.url)
        with step(f"sample data in {len(collections)} collections"):
            count = self.seeding.finish()
        say(f"  {count:,} documents in MongoDB\n")
        return self.airflow

    def run(self, client: AirflowClient) -> bool:
        """Run the platform, and with it every domain's DAG; show and write the report; True if everything passed."""
        run_id = f"demo-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        for dag_id in (*DAGS, PLATFORM):
            client.wait_for_dag(dag_id)
            client.unpause(dag_id)
        client.trigger(PLATFORM, {"mode": "full"}, run_id)
        states = self._watch(client, run_id)
        reports = {domain: read_domain(self.folder.staging, domain, run_id) for domain in DAGS}
        merged = merge(reports, states)
        self.folder.write_report(merged)
        for domain in merged["domains"]:
            say(f"\n{describe(domain)}")
        for dag_id, state in states.items():
            if state != "success":
                explain_failure(client, dag_id, run_id)
        say(f"\nThe same as a file: {self.folder.report}")
        return bool(merged["passed"])

    def wait(self) -> None:
        """Stay until somebody stops the demo; DemoError if a server ends before that."""
        while True:
            for child in self.children.children:
                if not child.alive():
                    raise ended_by_itself(child)
            time.sleep(1)

    def stop(self) -> None:
        """Stop Airflow, then MongoDB, then PostgreSQL; their data goes with them."""
        if self.seeding:
            self.seeding.cancel()
        if self.airflow:
            self.airflow.stop()
        self.mongo.stop()
        self.postgres.remove()
        self.children.close()
        remove(self.mongo.data)

    def _watch(self, client: AirflowClient, run_id: str) -> dict[str, str]:
        """Show all runs until the platform's has ended; the state in which each did that was started."""
        width = max(map(len, (*DAGS, PLATFORM)))
        shown = {dag_id: Progress(dag_id, width) for dag_id in (*DAGS, PLATFORM)}
        since = datetime.now(UTC) - UNSEEN
        while True:
            if self.airflow and (child := self.airflow.dead()):
                raise ended_by_itself(child)
            looked = datetime.now(UTC)
            # The state first: what the tasks show after it has ended is then complete.
            state = client.run(PLATFORM, run_id)["state"]
            changed = client.changed_tasks(run_id, since)
            for dag_id, progress in shown.items():
                progress.show([task for task in changed if task["dag_id"] == dag_id])
            if state in FINISHED_RUN:
                return {dag_id: str(client.run(dag_id, run_id)["state"]) for dag_id in shown if client.started(dag_id, run_id)}
            since = looked - UNSEEN
            time.sleep(SECONDS_BETWEEN_LOOKS)


@contextlib.contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is being done and how long it took."""
    began = time.monotonic()
    yield
    say(f"{time.monotonic() - began:5.1f} s  {what}")


def explain_failure(client: AirflowClient, domain: str, run_id: str) -> None:
    """Name the tasks that failed, with what their logs say at the end."""
    if not client.started(domain, run_id):
        return
    for task in client.tasks(domain, run_id):
        if task["state"] == "failed":
            say(f"\n{domain}: task {label(task)} failed. The end of its log:")
            lines = client.log_text(domain, run_id, task["task_id"], map_index=task["map_index"]).splitlines()
            say("\n".join(f"  {line}" for line in (without_groups(lines) or lines)[-LOG_LINES:]))


def without_groups(lines: list[str]) -> list[str]:
    """The lines outside of the groups that Airflow's UI folds: what the task itself said."""
    outside, inside = [], False
    for line in lines:
        if line.startswith("::group::"):
            inside = True
        elif line.startswith("::endgroup::"):
            inside = False
        elif not inside:
            outside.append(line)
    return outside


def ended_by_itself(child: Child) -> DemoError:
    """Something that should run no longer does, and nobody stopped it."""
    return DemoError(f"{child.name} has ended by itself; the end of {child.log}:\n{child.last_lines()}")
