"""The report of a run inside Airflow: for whoever may see the run, and for nobody else."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from deepiri.auth import AUTH
from mongo2pg.books import RunKey
from mongo2pg.files.staging import RunStaging
from mongo2pg.verdict import certificate, gate

RUN = "manual__2026-11-01T00:00:00+00:00"
PAGE = f"/migration-report/dags/auth/runs/{RUN}/report.html"


@pytest.fixture(scope="module")
def sha256(airflow: Any) -> str:
    report = gate.report_unprepared(AUTH, RunKey("auth", RUN), {"prepare": "failed"})
    return certificate.write(RunStaging(airflow.staging, "auth", RUN).folder, report)


def get(airflow: Any, path: str, user: str | None) -> httpx.Response:
    headers = {}
    if user:
        login = {"username": user, "password": airflow.server.passwords[user]}
        token = httpx.post(f"{airflow.server.url}/auth/token", json=login, trust_env=False, timeout=60).json()["access_token"]
        headers["Authorization"] = f"Bearer {token}"
    return httpx.get(airflow.server.url + path, headers=headers, trust_env=False, timeout=60)


def test_an_auditor_reads_the_page_and_the_file_behind_it(airflow: Any, sha256: str) -> None:
    page = get(airflow, PAGE, "auditor")
    assert page.status_code == 200
    assert sha256 in page.text
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert get(airflow, PAGE.replace(".html", ".json"), "auditor").json()["run_id"] == RUN


def test_nobody_reads_it_without_a_login(airflow: Any, sha256: str) -> None:
    answer = get(airflow, PAGE, None)
    assert answer.status_code == 401
    assert sha256 not in answer.text


@pytest.mark.parametrize("file", ["plan.json", "..%2Freport.html", "report.html%00"])
def test_no_other_file_of_staging_is_shown(airflow: Any, sha256: str, file: str) -> None:
    assert get(airflow, PAGE.replace("report.html", file), "admin").status_code == 404


def test_a_run_without_a_report_says_who_writes_it(airflow: Any) -> None:
    answer = get(airflow, PAGE.replace(RUN, "another"), "auditor")
    assert answer.status_code == 404
    assert "the task gate writes it" in answer.text
