"""What is measured as `ours_dag`: a domain's DAG in an Airflow that runs already, from queueing the run to the end of its gate.

It is measured by itself, for a waiting Airflow takes CPU from everybody else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from types import TracebackType

from benchmarks.data import DataSet
from benchmarks.measure import LOOK_SECONDS, Measured, RunError, cpu_seconds, family, peak_bytes
from benchmarks.servers import Servers, Source
from demo.airflow import Airflow
from demo.postgres import PostgresLogin
from demo.processes import free_port
from demo.rest import FINISHED_RUN, AirflowClient

TARGET = "bench_dag"
MOST_SECONDS = 600


class WarmAirflow:
    """A context manager: Airflow between one source's port and one target's name, whatever is behind them at the moment."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.source_port = free_port()
        postgres = servers.postgres
        metadata = postgres.login("airflow", "airflow", postgres.create_role("airflow"))
        postgres.create_database("airflow", "airflow")
        self.target = servers.login(TARGET)
        self.airflow = Airflow(
            servers.children, servers.folder, metadata=metadata, source=Source(self.source_port),
            target=self.target, staging=servers.folder / "staging",
        )  # fmt: skip

    def __enter__(self) -> WarmAirflow:
        self.airflow.migrate()
        self.airflow.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.airflow.stop()

    def measure(self, data_set: DataSet, runs: int, rows: Callable[[PostgresLogin], int]) -> tuple[list[Measured], int]:
        """So many runs of the domain's DAG after one that is not counted, each into an empty target; and the rows of the last."""
        files, measured, found = data_set.files(self.servers.folder / "data"), [], 0
        with self.servers.source(files, self.source_port), self.airflow.client() as client:
            client.wait_for_dag(data_set.domain.name)
            client.unpause(data_set.domain.name)
            for _ in range(1 + runs):
                with self.servers.database(TARGET) as target:
                    measured.append(self._run(client, data_set.domain.name))
                    found = rows(target)
        return measured[1:], found

    def _run(self, client: AirflowClient, dag_id: str) -> Measured:
        before, peak = self._cpu(), 0
        scheduler = next(child for child in self.airflow.components if child.name == "Airflow scheduler")
        run_id = client.trigger(dag_id, {"mode": "full"})
        deadline = time.monotonic() + MOST_SECONDS
        while (run := client.run(dag_id, run_id))["state"] not in FINISHED_RUN:
            if time.monotonic() > deadline:
                raise RunError(f"the DAG {dag_id} had not ended after {MOST_SECONDS} s; Airflow's logs are in {self.airflow.logs}")
            # Tasks are processes below the scheduler; asking Airflow costs it more than looking at them.
            for _ in range(10):
                peak = max([peak, *map(peak_bytes, family(scheduler.pid))])
                time.sleep(LOOK_SECONDS)
        if run["state"] != "success":
            raise RunError(f"the run {run_id} of the DAG {dag_id} is {run['state']}; Airflow's logs are in {self.airflow.logs}")
        begin, end = (datetime.fromisoformat(run[name]) for name in ("queued_at", "end_date"))
        return Measured(round((end - begin).total_seconds(), 3), round(self._cpu() - before, 3), round(peak / 1e6, 1))

    def _cpu(self) -> float:
        """CPU seconds of Airflow's processes, those that have ended included."""
        return sum(cpu_seconds(child.pid) for child in self.airflow.components)
