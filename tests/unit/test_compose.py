"""docker-compose.yml names nothing that is not there, opens nothing to the network, and starts nothing with a default password."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mongo2pg.databases import connections
from mongo2pg.files import staging
from mongo2pg.queries import INCLUDE

REPOSITORY = Path(__file__).parents[2]
TEXT = (REPOSITORY / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
AIRFLOW = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (REPOSITORY / "docker" / "Dockerfile").read_text()
EXAMPLE = dict(
    line.split("=", 1) for line in (REPOSITORY / ".env.example").read_text().splitlines() if line and not line.startswith("#")
)
# Names and addresses may have a default, whatever lets somebody in may not.
HARMLESS = {"MONGO_ROOT_USER", "POSTGRES_USER", "POSTGRES_DB", "PGADMIN_EMAIL", "MINIO_ROOT_USER", "MONGO2PG_SCHEDULE"}
ONCE = {"minio-init", "airflow-init"}


def pinned(package: str) -> str:
    found = re.search(rf"^{package}==(\S+)$", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE)
    assert found, package
    return found[1]


def volumes(service: dict[str, Any]) -> list[list[str]]:
    return [volume.split(":") for volume in service.get("volumes", [])]


# ---------------------------------------------------------------------------------------------------- what is there


def test_the_services_are_the_platform_s_and_airflow_s() -> None:
    want = {
        "mongo": "mongo:7.0",
        "postgres": "postgres:16-alpine",
        "airflow-db": "postgres:16-alpine",
        "pgadmin": "dpage/pgadmin4",
        "minio": "pgsty/minio",
        "minio-init": "pgsty/mc",
        **dict.fromkeys(AIRFLOW, f"mongo2pg-airflow:{pinned('apache-airflow')}"),
    }
    assert {name for name in SERVICES if name.startswith("airflow-") and name != "airflow-db"} == set(AIRFLOW)
    assert {service.get("command") for service in AIRFLOW.values()} - {None} == {
        "api-server", "scheduler", "dag-processor", "triggerer",
    }  # fmt: skip
    got = {name: service["image"] for name, service in SERVICES.items()}
    assert got.keys() == want.keys()
    assert [name for name, image in got.items() if not image.startswith(want[name])] == []
    assert [image for image in got.values() if ":" not in image or image.endswith(":latest")] == []


def test_the_image_is_the_airflow_of_requirements_txt_on_a_python_that_the_project_takes() -> None:
    found = re.search(r"^FROM apache/airflow:(\S+)-python3\.(\d+)$", DOCKERFILE, re.MULTILINE)
    assert found
    assert found[1] == pinned("apache-airflow")
    low, high = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (REPOSITORY / "pyproject.toml").read_text()).groups()
    assert int(low) <= int(found[2]) < int(high)


def test_what_the_image_is_built_from_exists_and_reaches_the_build() -> None:
    for service in AIRFLOW.values():
        assert service["build"] == {"context": ".", "dockerfile": "docker/Dockerfile"}
    copied = re.findall(r"^COPY (\S+) \S+$", DOCKERFILE, re.MULTILINE)
    sent = (REPOSITORY / "docker" / "Dockerfile.dockerignore").read_text().splitlines()
    assert sorted(f"!{path}" for path in copied) == sorted(line for line in sent if line.startswith("!"))
    assert "*" in sent
    assert [path for path in copied if not (REPOSITORY / path).is_file()] == []
    for path in re.findall(r"/opt/mongo2pg/\S+?(?=[\s\],])", DOCKERFILE + TEXT):
        assert path in re.findall(r"^COPY \S+ (\S+)$", DOCKERFILE, re.MULTILINE)


def test_the_code_is_mounted_read_only_and_where_it_looks_for_its_sql() -> None:
    for name, service in AIRFLOW.items():
        mounted = {source: (target, mode) for source, target, *mode in volumes(service) if source.startswith(".")}
        if name in ONCE:
            assert mounted == {}
            continue
        assert mounted == {f"./{folder}": (f"/opt/airflow/{folder}", ["ro"]) for folder in ("dags", "plugins", "include")}
    assert all((REPOSITORY / folder).is_dir() for folder in ("dags", "plugins", "include"))
    assert INCLUDE.relative_to(REPOSITORY) == Path("include/sql")
    others = [source for name in SERVICES.keys() - AIRFLOW for source, *_ in volumes(SERVICES[name]) if source.startswith(".")]
    assert others == []


def test_named_volumes_are_declared_and_used() -> None:
    used = {source for service in SERVICES.values() for source, *_ in volumes(service) if not source.startswith(".")}
    assert used == set(COMPOSE["volumes"])


def test_passwords_lie_where_the_image_made_a_private_folder() -> None:
    made = re.search(r"^RUN install -d -m 0700 (.+)$", DOCKERFILE, re.MULTILINE)[1]
    assert made == str(Path(COMPOSE["x-airflow-environment"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]).parent)
    mounted = {name for name, service in SERVICES.items() if made in {target for _, target, *_ in volumes(service)}}
    assert mounted == {"airflow-init", "airflow-api-server"}


def test_documents_are_staged_in_the_bucket_that_is_made_in_minio(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the scheduler, whose tasks write them, and by the API server, which shows their reports."""
    using = {name for name, service in AIRFLOW.items() if "MONGO2PG_STAGING" in service["environment"]}
    assert using == {"airflow-scheduler", "airflow-api-server"}
    environment = COMPOSE["x-staging"]
    connection = re.sub(r"\$\{(\w+):[^}]*\}", r"value of \1", environment["AIRFLOW_CONN_DEEPIRI_S3"])
    monkeypatch.setenv("AIRFLOW_CONN_DEEPIRI_S3", connection)
    monkeypatch.setenv("MONGO2PG_STAGING", environment["MONGO2PG_STAGING"])
    root: Any = staging.default_root()
    minio, init = SERVICES["minio"], SERVICES["minio-init"]
    assert f"mc mb --ignore-existing staging/{root.bucket}\n" in init["command"][0]
    assert root.fs.endpoint_url == "http://minio:9000"
    assert f":{root.fs.endpoint_url.rpartition(':')[2]}" in minio["ports"][0]
    defined = json.loads(connection)
    assert (defined["login"], defined["password"]) == ("value of MINIO_ROOT_USER", "value of MINIO_ROOT_PASSWORD")
    assert {name for name in ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD") if name in minio["environment"]} == {
        "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD",
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------- ports and variables


def test_ports_are_the_known_ones_and_open_to_this_machine_alone() -> None:
    got = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert got == {
        "mongo": ["127.0.0.1:27017:27017"],
        "postgres": ["127.0.0.1:5432:5432"],
        "pgadmin": ["127.0.0.1:5050:80"],
        "minio": ["127.0.0.1:9000:9000", "127.0.0.1:9001:9001"],
        "airflow-api-server": ["127.0.0.1:8080:8080"],
    }
    assert all(service.get("network_mode") is None for service in SERVICES.values())


def test_every_variable_is_in_the_example_and_the_other_way_round() -> None:
    assert set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT)) == set(EXAMPLE)
    assert re.findall(r"(?<!\$)\$(?![{$])\w+", TEXT) == []


def test_every_variable_is_refused_where_it_is_empty_with_its_name_in_the_sentence() -> None:
    for name, how in re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", TEXT):
        assert how.startswith(f":?set {name} in .env"), name


def test_the_example_holds_no_password() -> None:
    assert {name for name, value in EXAMPLE.items() if value} == HARMLESS


def test_the_variables_are_the_platform_s_own() -> None:
    platform = {
        "MONGO_URI", "DATABASE_URL", "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB", "PGADMIN_EMAIL", "PGADMIN_PASSWORD",
        "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD",
    }  # fmt: skip
    assert platform <= set(EXAMPLE)
    assert {connections.SOURCE_URI, connections.TARGET_URL} <= set(SERVICES["airflow-scheduler"]["environment"])


def test_no_value_in_the_file_is_a_secret() -> None:
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if (
                re.search("PASSWORD$|SECRET|FERNET|SQL_ALCHEMY_CONN|AIRFLOW_CONN|MONGO_URI|DATABASE_URL", name)
                and "MASK" not in name
            ):
                assert "${" in value, name


def test_airflow_knows_every_option_that_is_set() -> None:
    from airflow.configuration import conf

    options = {name for service in AIRFLOW.values() for name in service["environment"] if name.startswith("AIRFLOW__")}
    known = {
        f"AIRFLOW__{section.upper()}__{option.upper()}"
        for section, described in conf.configuration_description.items()
        for option in described["options"]
    }
    assert sorted(options - known) == []


def test_the_roles_of_the_users_are_roles_of_the_auth_manager() -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManagerRole

    users = dict(
        user.split(":") for user in COMPOSE["x-airflow-environment"]["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"].split(",")
    )
    assert users.keys() == {"admin", "engineer", "auditor"}
    assert {role.upper() for role in users.values()} <= {role.name for role in SimpleAuthManagerRole}
    given = SERVICES["airflow-init"]["environment"]
    assert {f"AIRFLOW_{user.upper()}_PASSWORD" for user in users} <= set(given)


# ---------------------------------------------------------------------------------------------------- start order


def test_whatever_stays_up_says_when_it_is_healthy() -> None:
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == ONCE
    assert {name for name, service in SERVICES.items() if service.get("restart") != "unless-stopped"} == ONCE


def test_nothing_starts_before_what_it_needs() -> None:
    got = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in SERVICES.items()
    }
    up, done = "service_healthy", "service_completed_successfully"
    ready = {"airflow-init": done, "airflow-api-server": up}
    assert got == {
        "mongo": {},
        "postgres": {},
        "minio": {},
        "airflow-db": {},
        "pgadmin": {"postgres": up},
        "minio-init": {"minio": up},
        "airflow-init": {"airflow-db": up},
        "airflow-api-server": {"airflow-init": done},
        "airflow-scheduler": {**ready, "mongo": up, "postgres": up, "minio-init": done},
        "airflow-dag-processor": ready,
        "airflow-triggerer": ready,
    }


# ---------------------------------------------------------------------------------------------------- docker-compose's own view

WITHOUT_DOCKER_COMPOSE = pytest.mark.skipif(
    not shutil.which("docker-compose"), reason="docker-compose is not installed (Debian: apt-get install docker-compose)"
)


def config(tmp_path: Path, **changes: str) -> subprocess.CompletedProcess[str]:
    """`docker-compose config` with everything filled in but for the changes; it needs no engine."""
    filled = {name: value or f"filled{index}" for index, (name, value) in enumerate(EXAMPLE.items())} | changes
    file = tmp_path / "env"
    file.write_text("".join(f"{name}={value}\n" for name, value in filled.items()))
    environment = {name: value for name, value in os.environ.items() if name not in EXAMPLE}
    return subprocess.run(
        ["docker-compose", "--env-file", file, "--file", REPOSITORY / "docker-compose.yml", "config"],  # noqa: S607
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@WITHOUT_DOCKER_COMPOSE
def test_docker_compose_takes_the_file(tmp_path: Path) -> None:
    done = config(tmp_path)
    assert done.returncode == 0, done.stderr
    understood = yaml.safe_load(done.stdout)
    assert understood["services"].keys() == SERVICES.keys()
    assert "${" not in done.stdout


@WITHOUT_DOCKER_COMPOSE
@pytest.mark.parametrize("variable", EXAMPLE)
def test_docker_compose_refuses_an_empty_variable_by_name(tmp_path: Path, variable: str) -> None:
    done = config(tmp_path, **{variable: ""})
    assert done.returncode != 0
    assert f"set {variable} in .env" in done.stderr


# ---------------------------------------------------------------------------------------------------- docker/init.py


def init(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """docker/init.py with an `airflow` that only says how it was called."""
    program = tmp_path / "bin" / "airflow"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "airflow $*"\n')
    program.chmod(0o755)
    return subprocess.run(
        [sys.executable, REPOSITORY / "docker" / "init.py"],
        env={
            "PATH": f"{program.parent}:/usr/bin:/bin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,auditor:viewer",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(tmp_path / "passwords.json"),
            **environment,
        },
        capture_output=True, text=True, check=False, umask=0,
    )  # fmt: skip


def test_the_passwords_file_is_private_and_the_metadata_tables_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    file = tmp_path / "passwords.json"
    file.write_text("of an earlier start")
    done = init(tmp_path, AIRFLOW_ADMIN_PASSWORD='a"ä$', AIRFLOW_AUDITOR_PASSWORD="b")
    assert (done.returncode, done.stdout, done.stderr) == (0, "airflow db migrate\n", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.setattr(SimpleAuthManager, "get_generated_password_file", staticmethod(lambda: str(file)))
    assert SimpleAuthManager.get_passwords() == {"admin": 'a"ä$', "auditor": "b"}


def test_a_user_without_a_password_ends_the_start(tmp_path: Path) -> None:
    done = init(tmp_path, AIRFLOW_ADMIN_PASSWORD="a")
    assert done.returncode == 1
    assert done.stderr == "No password for Airflow's users: set AIRFLOW_AUDITOR_PASSWORD in .env.\n"
    assert not (tmp_path / "passwords.json").exists()
