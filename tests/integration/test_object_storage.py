"""Staging in S3: a whole run, what auditors open, what a killed task leaves, and what `prepare` says when it cannot work."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from demo.processes import free_port
from mongo2pg.errors import PrepareError, StagingError
from mongo2pg.files import parquet, staging
from mongo2pg.files.retention import remove_staged
from mongo2pg.planning.prepare import staging_faults
from tests.documents import fill, point, skill_tree, user
from tests.mover import EACH, Mover, outcome

if TYPE_CHECKING:
    from tests.object_store import ObjectStore, StorageLogin

REPOSITORY = Path(__file__).parents[2]
Opened = Callable[..., Any]


@pytest.fixture
def bucket(object_store: ObjectStore) -> str:
    name = f"test-{secrets.token_hex(4)}"
    with object_store.admin.client() as s3:
        s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def opened(object_store: ObjectStore, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Staging as a task opens it, by a connection of its own: Airflow keeps what it once opened under an id."""

    def open_as(login: StorageLogin = object_store.admin, bucket: str = bucket) -> Any:
        conn_id = f"s3_{secrets.token_hex(4)}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", login.airflow_connection())
        monkeypatch.setenv("MONGO2PG_STAGING", f"s3://{conn_id}@{bucket}/all/staging")
        return staging.default_root()

    return open_as


def keys(object_store: ObjectStore, bucket: str) -> list[str]:
    with object_store.admin.client() as s3:
        return [found["Key"] for found in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


# ---------------------------------------------------------------------------------------------------- a run


@pytest.fixture
def mover(opened: Opened, mongo_database, target) -> Iterator[Mover]:
    fill(
        mongo_database,
        users=[user(1), user(2, newField=1), user(3, email=...)],
        skilltrees=[skill_tree(11, user(1)["_id"])],
        progresspoints=[point(21, user(2)["_id"])],
    )
    with target.connect() as conn:
        yield Mover(mongo_database, conn, opened())


def test_what_old_runs_staged_goes(mover: Mover, object_store: ObjectStore, bucket: str) -> None:
    for run_id in ("one", "two"):
        mover.passed(run_id)
    mover.conn.execute("UPDATE migration.runs SET finished_at = now() - interval '31 days'")
    assert remove_staged(mover.conn, "auth", mover.staging, 30, lambda run_id: False) == ["one"]
    left = {Path(key).name for key in keys(object_store, bucket) if key.startswith("all/staging/auth/one/")}
    assert left == {"plan.json", "report.json", "report.html"}
    assert outcome(mover.passed("three")["users"]) == (3, 0, 0, 2, {"required": 1})


def test_a_run_is_staged_moved_and_verified(mover: Mover, object_store: ObjectStore, bucket: str) -> None:
    found = mover.passed("run one", EACH)
    assert outcome(found["users"]) == (3, 2, 0, 0, {"required": 1})
    assert outcome(mover.passed("run two")["users"]) == (3, 0, 0, 2, {"required": 1})
    written = keys(object_store, bucket)
    assert [key for key in written if key.startswith("all/staging/auth/run_one-")]
    assert {Path(key).suffix for key in written} == {".json", ".parquet", ".html"}  # and no probe of `prepare`


def test_the_files_are_those_of_a_run_that_is_staged_in_a_folder(mover: Mover, tmp_path: Path) -> None:
    remote = mover.staged("run", EACH)
    local = Mover(mover.database, mover.conn, tmp_path / "staging").staged("run", EACH)
    assert list(remote.chunks()) == list(local.chunks())
    for name, chunk in local.chunks():
        got, want = (staging.read_json(run.staging.collection(run.key.plan_id, name).manifest(chunk)) for run in (remote, local))
        assert (got["raw"], got["frames"], got["rejects"]) == (want["raw"], want["frames"], want["rejects"])


def test_a_frame_of_an_auditor_is_that_of_the_run_and_new_runs_are_found(mover: Mover) -> None:
    mover.staged("run one", EACH)
    with pytest.raises(StagingError, match=r"no run 'run two' staged a table 'users' below s3://"):
        parquet.frame("run two", "users")
    mover.database.users.insert_one(user(4))
    mover.staged("run two", EACH)
    users = parquet.frame("run two", "users")
    assert isinstance(users, pd.DataFrame)
    assert users["email"].tolist() == ["user1@example.com", "user2@example.com", "user4@example.com"]
    assert parquet.frame("run one", "users", mover.staging)["email"].tolist() == ["user1@example.com", "user2@example.com"]


def test_an_object_that_is_missing_or_another_is_not_loaded(mover: Mover) -> None:
    run = mover.staged("run")
    staged = run.staging.collection(run.key.plan_id, "users")
    with staging.written(staged.frame("users", 0)) as file:
        file.write(b"something else")
    with pytest.raises(StagingError, match="is not the file that its manifest describes"):
        run.load()
    staged.frame("users", 0).unlink()
    with pytest.raises(StagingError, match="is missing although its manifest names it"):
        run.load()


# ---------------------------------------------------------------------------------------------------- half of a file


def test_a_block_that_raises_puts_nothing(opened: Opened, object_store: ObjectStore, bucket: str) -> None:
    path = opened() / "file"

    def fail() -> None:
        with staging.written(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert keys(object_store, bucket) == []


# 128 MB take moto's server seconds: the task is killed in the middle of its parts. It starts faster without Airflow.
WRITER = """
import sys
plugins, endpoint, key, secret, path = sys.argv[1:]
sys.path.insert(0, plugins)
from upath import UPath
from mongo2pg.files.staging import written
with written(UPath(path, key=key, secret=secret, endpoint_url=endpoint)) as file:
    for _ in range(128):
        file.write(bytes(1 << 20))
"""


def test_a_task_killed_in_the_middle_of_an_upload_leaves_no_object_and_its_retry_writes_it(
    opened: Opened, object_store: ObjectStore, bucket: str, tmp_path: Path
) -> None:
    path = opened() / "file"
    admin = object_store.admin
    task = subprocess.Popen(
        [
            sys.executable, "-c", WRITER,
            str(REPOSITORY / "plugins"), admin.endpoint, admin.key, admin.secret, f"s3://{bucket}/all/staging/file",
        ],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    try:
        with admin.client() as s3:
            until = time.monotonic() + 120
            while not s3.list_multipart_uploads(Bucket=bucket).get("Uploads"):
                assert task.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
    finally:
        task.kill()
        task.wait()
    assert keys(object_store, bucket) == []
    assert list(tmp_path.iterdir()) == []
    assert not path.exists()
    with staging.written(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"


def test_a_folder_may_be_removed_by_two_at_once(opened: Opened, object_store: ObjectStore, bucket: str) -> None:
    folder, stays = opened() / "old", opened() / "new.json"
    for path in (folder / "one.json", folder / "deep" / "two.json", stays):
        staging.write_json(path, {})
    staging.remove_folder(folder)
    staging.remove_folder(folder)  # as if it had been there when this one looked for it
    assert keys(object_store, bucket) == ["all/staging/new.json"]


def test_a_file_of_many_parts_is_the_same_when_it_is_read(opened: Opened) -> None:
    import pyarrow as pa

    path = opened() / "file.parquet"
    table = pa.table({"bytes": [secrets.token_bytes(1 << 20) for _ in range(20)]})
    with parquet.parquet_writer(path, table.schema) as (writer, file):
        writer.write_table(table)
    assert file.size > 2 * staging.TRANSFER["chunksize"]  # what is smaller is put in one
    with parquet.open_parquet(path, file.sha256) as got:
        assert got.read() == table


# ---------------------------------------------------------------------------------------------------- faults


def test_staging_that_works_has_no_fault(opened: Opened, object_store: ObjectStore, bucket: str) -> None:
    assert staging_faults(opened()) == []
    assert keys(object_store, bucket) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"secret": "wrong-secret-of-forty-characters-0123456"}, "(The request signature we calculated does not match"),
        ({"key": "AKIAUNKNOWN"}, "(The AWS Access Key Id you provided does not exist in our records.)"),
    ],
)
def test_keys_that_the_store_does_not_know(
    opened: Opened, object_store: ObjectStore, change: dict[str, str], sentence: str
) -> None:
    login = replace(object_store.admin, **change)
    (fault,) = staging_faults(opened(login))
    assert "the object store does not let this user write, list and delete below s3://" in fault
    assert sentence in fault
    assert "correct login and password of the connection" in fault
    assert login.secret not in fault


def test_a_user_who_may_only_read(opened: Opened, object_store: ObjectStore) -> None:
    (fault,) = staging_faults(opened(object_store.user("reader", "s3:GetObject", "s3:ListBucket")))
    assert "(Access Denied): correct login and password of the connection, or the rights on the bucket" in fault


def test_a_bucket_that_does_not_exist(opened: Opened) -> None:
    root = opened(bucket="no-such-bucket")
    assert staging_faults(root) == [f"the bucket of {root} does not exist: create it, or set MONGO2PG_STAGING to another"]


def test_a_server_that_does_not_answer(opened: Opened, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    login = replace(object_store.admin, endpoint=f"http://127.0.0.1:{free_port()}")
    (fault,) = staging_faults(opened(login))
    assert "cannot be reached (EndpointConnectionError: " in fault
    assert "check endpoint_url and region_name of the connection, and the server" in fault
    assert login.secret not in fault


@pytest.mark.parametrize(
    "uri",
    ["gs://bucket/staging", "s3://", "s3:///staging", "s3://conn@/staging", "s3://AKIAKEY:planted-secret@bucket/staging"],
)
def test_a_place_that_is_no_folder_and_no_bucket_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MONGO2PG_STAGING", uri)
    with pytest.raises(PrepareError) as failure:
        staging.default_root()
    assert failure.value.faults == [
        "MONGO2PG_STAGING cannot be read: write it as a folder's path, or as s3://CONNECTION@BUCKET/PREFIX"
    ]


def test_a_connection_that_nobody_defined_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGO2PG_STAGING", "s3://nobody_s3@bucket/staging")
    with pytest.raises(PrepareError, match="names the connection nobody_s3, which is not defined: define AIRFLOW_CONN_NOBODY_S3"):
        staging.default_root()


def test_an_airflow_without_the_library_for_s3_says_what_to_install(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(PrepareError, match=r"which this Airflow cannot open: install apache-airflow-providers-amazon\[s3fs\]"):
        opened()
