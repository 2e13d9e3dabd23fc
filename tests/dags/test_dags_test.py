"""`airflow dags test` moves a domain with nothing but two connections, a home and the folders of DAGs and plugins."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from psycopg import sql

from tests.documents import fill, oid, point, skill_tree, user, uuid_of

REPOSITORY = Path(__file__).resolve().parents[2]
AIRFLOW = Path(sys.executable).parent / "airflow"

# What URLs encode in two ways: the log must hold it in none of them.
PASSWORD = "p@ss/w:rd%+ with spaces"


@dataclass(frozen=True)
class Surroundings:
    """A home without a scheduler, an empty database whose owner is no superuser, and a source with a few documents."""

    home: Path
    target: Any
    environment: dict[str, str]

    def airflow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(AIRFLOW), *arguments],
            env=self.environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=240,
        )

    def reports(self) -> list[dict[str, Any]]:
        return [json.loads(file.read_text()) for file in sorted((self.home / "staging" / "auth").glob("*/report.json"))]


@pytest.fixture(scope="module")
def surroundings(postgres, mongo, mongo_admin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Surroundings]:
    source = mongo_admin["dags_test"]
    fill(
        source,
        users=[user(1), user(2), user(3, email=...)],
        skilltrees=[skill_tree(11, user(1)["_id"])],
        progresspoints=[point(21, user(2)["_id"])],
    )
    source.analyticsevents.insert_many([{"_id": oid(31), "eventType": "page_view"}, {"_id": oid(32), "eventType": "click"}])
    reader = mongo.create_user("dags_test", "read", source.name)
    postgres.server.create_role("owner")
    with postgres.server.superuser.connect(autocommit=True) as conn:
        conn.execute(sql.SQL("ALTER ROLE owner PASSWORD {}").format(sql.Literal(PASSWORD)))
    postgres.server.create_database("dags_test", "owner")
    target = postgres.server.login("dags_test", "owner", PASSWORD)
    home = tmp_path_factory.mktemp("airflow")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "MONGO2PG_", "PYTHON", "MONGO_", "DATABASE_"))}
    environment = {
        **inherited,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW_CONN_DEEPIRI_MONGO": reader.airflow_connection(),
        "AIRFLOW_CONN_DEEPIRI_POSTGRES": target.airflow_connection(),
    }
    made = Surroundings(home, target, environment)
    migrated = made.airflow("db", "migrate")
    assert migrated.returncode == 0, migrated.stdout
    yield made
    postgres.server.drop_database("dags_test")
    mongo_admin.drop_database(source.name)


@pytest.fixture(scope="module")
def first(surroundings: Surroundings) -> subprocess.CompletedProcess[str]:
    return surroundings.airflow("dags", "test", "auth", "-c", '{"mode": "full"}')


def test_a_full_run_ends_with_status_0_and_a_report_that_passed(
    surroundings: Surroundings, first: subprocess.CompletedProcess[str]
) -> None:
    assert first.returncode == 0, first.stdout[-8000:]
    (report,) = surroundings.reports()
    assert report["passed"] is True
    assert report["collections"][0]["rejected"] == {"required": 1}
    with surroundings.target.connect() as conn:
        assert conn.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() == (False,)
        assert conn.execute("SELECT id::text FROM users ORDER BY id").fetchall() == [(uuid_of(1),), (uuid_of(2),)]
        assert conn.execute(
            "SELECT count(*) FROM pg_constraint WHERE conrelid = 'users'::regclass AND contype = 'p'"
        ).fetchone() == (1,)


def test_no_password_is_in_its_output_or_files(surroundings: Surroundings, first: subprocess.CompletedProcess[str]) -> None:
    mongo_password = json.loads(surroundings.environment["AIRFLOW_CONN_DEEPIRI_MONGO"])["password"]
    secrets = {f(word) for f in (str, quote, quote_plus) for word in (PASSWORD, mongo_password)} | {quote(PASSWORD, safe="")}
    secrets |= {"password-of", "token-of"}
    texts = {"output": first.stdout}
    # Staged documents hold what documents do.
    files = [file for file in surroundings.home.rglob("*") if file.is_file() and file.suffix != ".parquet"]
    assert {"report.json", "report.html", "airflow.db"} <= {file.name for file in files}
    texts |= {str(file): file.read_text(errors="replace") for file in files}
    for where, text in texts.items():
        assert [secret for secret in secrets if secret in text] == [], where


def test_a_run_that_is_staged_in_s3_passes_and_its_report_lies_there(surroundings: Surroundings, object_store) -> None:
    login = object_store.admin
    with login.client() as s3:
        s3.create_bucket(Bucket="dags-test")
        variables = {"MONGO2PG_STAGING": "s3://deepiri_s3@dags-test/staging", "AIRFLOW_CONN_DEEPIRI_S3": login.airflow_connection()}
        staged = replace(surroundings, environment=surroundings.environment | variables)
        done = staged.airflow("dags", "test", "platform_analytics", "-c", '{"mode": "full"}')
        assert done.returncode == 0, done.stdout[-8000:]
        keys = [found["Key"] for found in s3.list_objects_v2(Bucket="dags-test")["Contents"]]
        (key,) = [key for key in keys if key.endswith("/report.json")]
        assert key.startswith("staging/platform_analytics/")
        report = json.loads(s3.get_object(Bucket="dags-test", Key=key)["Body"].read())
    assert report["passed"] is True
    assert [(found["read"], found["inserted"]) for found in report["collections"]] == [(2, 2)]
    assert not (surroundings.home / "staging" / "platform_analytics").exists()
    assert login.secret not in done.stdout
