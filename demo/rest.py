"""What the demo and the tests ask of a running Airflow, through its REST API and with a user's rights."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

# One line of a task's log.
Line = dict[str, Any]

NOT_FOUND = 404
FINISHED_RUN = frozenset({"success", "failed"})


class ApiError(Exception):
    """Airflow refused a request, with HTTP's status and its own message, or it did not answer: then `status` is None."""

    def __init__(self, method: str, path: str, status: int | None, answer: str) -> None:
        super().__init__(method, path, status, answer)
        self.status, self.answer = status, answer

    def __str__(self) -> str:
        method, path, status, answer = self.args
        return f"Airflow answered {status or 'nothing'} to {method} {path}: {answer}"


class AirflowClient:
    """One user's session; close it, or use it in a `with`."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url, self.user = url, user
        self._password = password
        # Without the environment's proxies: the server is on this machine.
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=60)

    def __enter__(self) -> AirflowClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def health(self) -> dict[str, str | None]:
        """The status of each component; empty while nothing answers. Needs no login."""
        try:
            answer = self._http.get("/api/v2/monitor/health", timeout=5)
        except httpx.TransportError:
            return {}
        return {name: part["status"] for name, part in answer.json().items()} if answer.is_success else {}

    def request(self, method: str, path: str, **arguments: Any) -> Any:
        """Call `/api/v2` + path with the user's token and return the decoded answer; ApiError unless it is a success."""
        if "Authorization" not in self._http.headers:
            login = self._send("POST", "/auth/token", json={"username": self.user, "password": self._password})
            self._http.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
        answer = self._send(method, f"/api/v2{path}", **arguments)
        return answer.json() if answer.content else None

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise ApiError(method, path, None, repr(error)) from error
        if not answer.is_success:
            raise ApiError(method, path, answer.status_code, answer.text)
        return answer

    def wait_for_dag(self, dag_id: str, seconds: float = 90) -> None:
        """Return once the DAG is known; ApiError with Airflow's import errors, if there are any, when it stays unknown."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.request("GET", f"/dags/{dag_id}")
            except ApiError as error:
                if error.status != httpx.codes.NOT_FOUND:
                    raise
                broken = self.request("GET", "/importErrors")["import_errors"]
                if broken or time.monotonic() > deadline:
                    traces = "\n".join(f"{one['filename']}:\n{one['stack_trace']}" for one in broken)
                    raise ApiError("GET", f"/dags/{dag_id}", error.status, traces or "the DAG stayed unknown") from None
                time.sleep(0.25)
            else:
                return

    def unpause(self, dag_id: str) -> None:
        self.request("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, run_id: str | None = None) -> str:
        """Start a run and return its id."""
        body: dict[str, Any] = {"logical_date": None, "conf": conf or {}}
        if run_id:
            body["dag_run_id"] = run_id
        return str(self.request("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """The run; ApiError with status NOT_FOUND where there is none."""
        answer: dict[str, Any] = self.request("GET", _run(dag_id, run_id))
        return answer

    def started(self, dag_id: str, run_id: str) -> bool:
        """Whether there is such a run."""
        try:
            self.run(dag_id, run_id)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            return False
        return True

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Every task instance of the run, each mapped one by itself."""
        return self._task_instances(_run(dag_id, run_id))

    def changed_tasks(self, run_id: str, since: datetime) -> list[dict[str, Any]]:
        """Those of all DAGs' runs of that id which have changed since, in one request: asking Airflow takes CPU from its tasks."""
        return self._task_instances("/dags/~/dagRuns/~", run_id_prefix_pattern=run_id, updated_at_gte=since.isoformat())

    def _task_instances(self, path: str, **filters: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            parameters = {"limit": 100, "offset": len(found), **filters}
            page = self.request("GET", f"{path}/taskInstances", params=parameters)
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return found

    def wait_for_run(
        self, dag_id: str, run_id: str, seconds: float = 300, each: Callable[[list[dict[str, Any]]], None] | None = None
    ) -> str:
        """Poll until the run has ended and return its state; `each` sees the task instances of every poll."""
        deadline = time.monotonic() + seconds
        while True:
            state = str(self.run(dag_id, run_id)["state"])
            if each:
                each(self.tasks(dag_id, run_id))
            if state in FINISHED_RUN:
                return state
            if time.monotonic() > deadline:
                raise TimeoutError(f"{dag_id}, run {run_id}: still {state} after {seconds:.0f} s")
            time.sleep(0.5)

    def clear(self, dag_id: str, run_id: str, tasks: list[str], *, downstream: bool = False) -> list[str]:
        """Let the tasks run again, whatever state they are in; returns the ids of the cleared ones."""
        body = {
            "dry_run": False, "dag_run_id": run_id, "task_ids": tasks, "include_downstream": downstream,
            "only_failed": False, "reset_dag_runs": True,
        }  # fmt: skip
        cleared = self.request("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)["task_instances"]
        return [one["task_id"] for one in cleared]

    def log(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1, attempt: int | None = None) -> list[Line]:
        """The lines of one attempt, the last by default, as Airflow keeps them: `event`, `level`, `timestamp`, …"""
        path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}"
        if attempt is None:
            attempt = self.request("GET", path if map_index < 0 else f"{path}/{map_index}")["try_number"]
        answer = self.request("GET", f"{path}/logs/{attempt}", params={"map_index": map_index, "full_content": True})
        return [line if isinstance(line, dict) else {"event": str(line)} for line in answer["content"]]

    def log_text(self, dag_id: str, run_id: str, task_id: str, **which: Any) -> str:
        """The same as text, a line each, with the trace of an exception where there is one."""
        return "\n".join(_text(line) for line in self.log(dag_id, run_id, task_id, **which))

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", *, map_index: int = -1) -> Any:
        path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}/xcomEntries/{key}"
        return self.request("GET", path, params={"map_index": map_index, "deserialize": False})["value"]


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"


def _text(line: Line) -> str:
    parts = [str(line.get("event", ""))]
    for error in line.get("error_detail") or []:
        parts.append(f"{error.get('exc_type')}: {error.get('exc_value')}")
    return "\n".join(parts)
