"""The Airflow that demo and tests start: reachable from this machine alone, with users and roles, and it runs what it is given."""

from __future__ import annotations

import stat

import httpx
import psutil
import pytest

from demo.airflow import ROLES
from demo.rest import AirflowClient, ApiError

# Written to the folder of further DAGs. The word Airflow in its text is what makes Airflow look at the file at all.
PROBE = '''
"""A DAG for a test of Airflow: it opens both connections, and fails when it is told to."""
import logging

from airflow.sdk import dag, task

log = logging.getLogger(__name__)


@dag(schedule=None, params={"fail": False})
def probe():
    @task
    def connect():
        from airflow.providers.mongo.hooks.mongo import MongoHook
        from airflow.providers.postgres.hooks.postgres import PostgresHook

        hook = MongoHook(mongo_conn_id="deepiri_mongo")
        log.info("the source is %s", hook.uri)
        with hook.get_conn() as client:
            documents = client.get_default_database().probes.count_documents({})
        with PostgresHook("deepiri_postgres").get_conn() as connection:
            role, database = connection.execute("SELECT current_user, current_database()").fetchone()
        connection.close()
        return [role, database, f"documents: {documents}"]

    @task
    def part(name, params=None):
        if params["fail"]:
            raise ValueError(f"told to fail at {name}")
        return name.upper()

    part.expand(name=connect())


probe()
'''


@pytest.fixture(scope="module")
def probe(airflow) -> AirflowClient:
    """A client of an Airflow that knows the DAG `probe`."""
    airflow.source.probes.insert_one({"_id": 1})
    (airflow.more_dags / "probe.py").write_text(PROBE)
    airflow.client.wait_for_dag("probe")
    airflow.client.unpause("probe")
    yield airflow.client
    (airflow.more_dags / "probe.py").unlink()
    airflow.source.probes.drop()


def test_every_component_is_healthy(airflow) -> None:
    want = dict.fromkeys(("metadatabase", "scheduler", "triggerer", "dag_processor"), "healthy")
    assert airflow.client.health() == want


def test_nothing_listens_beyond_this_machine(airflow) -> None:
    got: dict[str, set[str]] = {}
    for child in airflow.server.children.children:
        processes = child.session()
        assert processes, f"{child.name} does not run"
        sockets = [one for process in processes for one in process.net_connections(kind="inet")]
        got[child.name] = {one.laddr.ip for one in sockets if one.status == psutil.CONN_LISTEN}
    # Scheduler, DAG processor and triggerer would serve logs to every network; they must listen nowhere at all.
    open_servers = ("PostgreSQL 18", "PostgreSQL 16", "SecantusDB", "Airflow API server")
    assert got == {name: {"127.0.0.1"} if name in open_servers else set() for name in got}
    assert {"PostgreSQL 18", "SecantusDB", "Airflow API server", "Airflow scheduler", "Airflow triggerer"} <= set(got)


def test_files_with_passwords_are_private(airflow) -> None:
    for file in (airflow.server.home / "passwords.json", airflow.server.children.file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_every_user_logs_in_with_a_password_of_their_own(airflow) -> None:
    assert len(set(airflow.server.passwords.values())) == len(ROLES)
    for user in ROLES:
        with airflow.server.client(user) as client:
            assert client.request("GET", "/dags")["total_entries"] >= 0
    with AirflowClient(airflow.server.url, "admin", "wrong") as client, pytest.raises(ApiError, match="401"):
        client.request("GET", "/dags")


def test_without_login_there_is_nothing_to_see(airflow) -> None:
    assert httpx.get(f"{airflow.server.url}/api/v2/dags", trust_env=False).status_code == httpx.codes.UNAUTHORIZED


def test_the_auditor_reads_and_the_engineer_runs(airflow, probe: AirflowClient) -> None:
    with airflow.server.client("auditor") as auditor, pytest.raises(ApiError) as refused:
        auditor.trigger("probe")
    assert refused.value.status == httpx.codes.FORBIDDEN
    with airflow.server.client("engineer") as engineer:
        run = engineer.trigger("probe")
        assert engineer.wait_for_run("probe", run) == "success"
    with airflow.server.client("auditor") as auditor:
        assert "the source is mongodb://" in auditor.log_text("probe", run, "connect")


def test_a_run_reaches_both_databases_and_shows_no_password(airflow, probe: AirflowClient) -> None:
    run = probe.trigger("probe")
    assert probe.wait_for_run("probe", run) == "success"
    assert probe.xcom("probe", run, "connect") == ["mover", "deepiri", "documents: 1"]
    assert probe.xcom("probe", run, "part", map_index=2) == "DOCUMENTS: 1"
    assert "mongodb://mover:***@127.0.0.1" in probe.log_text("probe", run, "connect")
    # Neither in the task's log nor in the scheduler's, which repeats it: there demo/component.py masks, not Airflow.
    assert "mongodb://mover:***@127.0.0.1" in (airflow.server.logs / "airflow-scheduler.log").read_text()
    files = [*airflow.server.logs.glob("*.log"), *airflow.server.home.glob("logs/**/attempt=*.log")]
    assert any("dag_id=probe" in str(file) for file in files)
    for file in files:
        text = file.read_text(errors="replace")
        assert not any(password in text for password in (airflow.server.source.password, airflow.target.password)), file


def test_a_failed_task_makes_the_run_red_and_its_log_says_why(probe: AirflowClient) -> None:
    run = probe.trigger("probe", {"fail": True}, "manual~a:run+with.odd-characters")
    assert probe.wait_for_run("probe", run) == "failed"
    assert "ValueError: told to fail at deepiri" in probe.log_text("probe", run, "part", map_index=1)


def test_a_cleared_task_runs_again(probe: AirflowClient) -> None:
    run = probe.trigger("probe")
    assert probe.wait_for_run("probe", run) == "success"
    assert sorted(set(probe.clear("probe", run, ["part"]))) == ["part"]
    assert probe.wait_for_run("probe", run) == "success"
    assert [task["try_number"] for task in probe.tasks("probe", run)] == [1, 2, 2, 2]


def test_an_unknown_dag_is_an_error_that_names_it(airflow) -> None:
    with pytest.raises(ApiError, match="/dags/unheard_of"):
        airflow.client.wait_for_dag("unheard_of", seconds=0)
