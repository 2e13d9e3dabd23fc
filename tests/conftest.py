"""What tests share: real servers, started once a session, and a fresh database in them for every test.

Nothing is shared with the demo: the servers, their passwords and a home for Airflow lie in a private temporary folder. What an
earlier session left running because it was killed is ended first, by its own record.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.database import Database

    from demo.airflow import Airflow
    from demo.mongo import Mongo, MongoLogin
    from demo.postgres import Postgres, PostgresLogin
    from demo.processes import Children
    from demo.rest import AirflowClient
    from tests.object_store import ObjectStore

REPOSITORY = Path(__file__).resolve().parent.parent
# A session makes and removes about a million files. ext4 spares the inodes of what was just removed, and soon takes a
# millisecond to find another; memory takes 10 µs. The most that a session was seen to have there is 0.7 GB.
MEMORY, ROOM = Path("/dev/shm"), 4 << 30  # noqa: S108


def _memory_has_room() -> bool:
    if "TMPDIR" in os.environ or not MEMORY.is_dir():
        return False
    there = os.statvfs(MEMORY)
    # The servers' programs are copied there for an account that cannot reach the installed ones.
    return there.f_bavail * there.f_frsize >= ROOM <= psutil.virtual_memory().available and not there.f_flag & os.ST_NOEXEC


if _memory_has_room():
    tempfile.tempdir = os.environ["TMPDIR"] = str(MEMORY)
PREFIX = f"mongo2pg-tests-{os.getuid()}-"
FOLDER = Path(tempfile.mkdtemp(prefix=PREFIX))
# Held before it has its name: another session that looks for abandoned folders never sees one that is not locked yet.
LOCK = os.open(FOLDER / "lock.new", os.O_CREAT | os.O_RDWR, 0o600)
fcntl.flock(LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB)
(FOLDER / "lock.new").rename(FOLDER / "lock")

# Before anything imports Airflow: importing it reads the configuration. Parsing DAGs needs no metadata database, and the
# URL makes sure that a test which uses one by accident fails.
KEPT = ("MONGO2PG_FAULTS", "MONGO2PG_POSTGRES")
for name in [name for name in os.environ if name.startswith(("AIRFLOW", "MONGO2PG_")) and name not in KEPT]:
    del os.environ[name]
os.environ.update(
    AIRFLOW_HOME=str(FOLDER / "airflow-import"),
    AIRFLOW__CORE__UNIT_TEST_MODE="True",
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__DAGS_FOLDER=str(REPOSITORY / "dags"),
    AIRFLOW__CORE__PLUGINS_FOLDER=str(REPOSITORY / "plugins"),
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN="sqlite:////nonexistent/never/used.db",
)


def pytest_configure() -> None:
    """Let a polite kill end the session as Ctrl-C does: with every server stopped."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes share the tests, each file stays with one of them, and all that run Airflow with one: it is large."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return "those that run Airflow" if _runs_airflow(nodeid) else file

    return Scheduling(config, log)


def _runs_airflow(nodeid: str) -> bool:
    return nodeid.startswith(("tests/browser/", "tests/dags/"))


AIRFLOW: pytest.StashKey[Airflow] = pytest.StashKey()


@pytest.hookimpl(trylast=True)  # after the fixtures of the test, which may still ask it
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Airflow ends with the last test that runs it: its components take a third of a processor while they wait for work."""
    if nextitem and _runs_airflow(item.nodeid) and not _runs_airflow(nextitem.nodeid) and AIRFLOW in item.config.stash:
        item.config.stash[AIRFLOW].stop()


def pytest_sessionstart() -> None:
    """End what killed sessions left behind: theirs are the folders whose lock nobody holds."""
    from demo.processes import end_leftovers

    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # Another session may end its folder at any moment.
        with contextlib.suppress(FileNotFoundError, BlockingIOError), (folder / "lock").open() as lock:
            if folder == FOLDER or folder.lstat().st_uid != os.getuid():
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            end_leftovers(folder / "children.json")
            shutil.rmtree(folder, ignore_errors=True)


def pytest_unconfigure() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    os.close(LOCK)


NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def children() -> Iterator[Children]:
    """The session's processes; all of them end with it, also on Ctrl-C."""
    from demo.processes import Children

    children = Children(FOLDER / "children.json")
    yield children
    children.close()


# ---------------------------------------------------------------------------------------------------- PostgreSQL


@dataclass(frozen=True)
class PostgresWithMover:
    """A running server and the role that owns every test's database."""

    server: Postgres
    password: str

    @contextlib.contextmanager
    def database(self) -> Iterator[PostgresLogin]:
        name = f"test_{next(NUMBERS)}"
        self.server.create_database(name, "mover")
        yield self.server.login(name, "mover", self.password)
        self.server.drop_database(name)


def _postgres(children: Children, major: int, programs: Path | None = None) -> PostgresWithMover:
    from demo.postgres import Postgres

    server = Postgres(children, FOLDER, major, programs=programs)
    server.start()
    return PostgresWithMover(server, server.create_role("mover"))


@pytest.fixture(scope="session")
def postgres(children: Children) -> PostgresWithMover:
    """PostgreSQL 18, or the one whose programs lie in MONGO2PG_POSTGRES."""
    other = os.environ.get("MONGO2PG_POSTGRES")
    return _postgres(children, 18, Path(other) if other else None)


@pytest.fixture(scope="session")
def postgres_16(children: Children) -> PostgresWithMover:
    return _postgres(children, 16)


@pytest.fixture
def target(postgres: PostgresWithMover) -> Iterator[PostgresLogin]:
    """An empty database on PostgreSQL 18 that `mover`, no superuser, owns: `.connect()`, `.conninfo`, `.dsn`."""
    with postgres.database() as login:
        yield login


@pytest.fixture
def target_16(postgres_16: PostgresWithMover) -> Iterator[PostgresLogin]:
    """The same on PostgreSQL 16."""
    with postgres_16.database() as login:
        yield login


# ---------------------------------------------------------------------------------------------------- MongoDB


@pytest.fixture(scope="session")
def mongo(children: Children) -> Mongo:
    """SecantusDB with authentication."""
    from demo.mongo import Mongo

    server = Mongo(children, FOLDER)
    server.start()
    return server


@pytest.fixture(scope="session")
def mongo_admin(mongo: Mongo) -> Iterator[MongoClient[dict[str, Any]]]:
    with mongo.admin.connect() as client:
        yield client


@pytest.fixture
def mongo_database(mongo_admin: MongoClient[dict[str, Any]]) -> Iterator[Database[dict[str, Any]]]:
    """A fresh database in which a test may do anything."""
    database = mongo_admin[f"test_{next(NUMBERS)}"]
    yield database
    mongo_admin.drop_database(database.name)


@pytest.fixture
def source(mongo: Mongo, mongo_database: Database[dict[str, Any]]) -> Iterator[MongoLogin]:
    """The mover's way into `mongo_database`, which it may read and nothing else: `.connect()`, `.uri`, `.airflow_connection()`."""
    user = f"mover_{mongo_database.name}"
    yield mongo.create_user(user, "read", mongo_database.name)
    mongo.drop_user(user)


# ---------------------------------------------------------------------------------------------------- object storage


@pytest.fixture(scope="session")
def object_store(children: Children) -> ObjectStore:
    """An S3 that asks for signatures: `.admin`, `.user(name, *actions)`."""
    from tests.object_store import ObjectStore

    store = ObjectStore(children, FOLDER)
    store.start()
    return store


# ---------------------------------------------------------------------------------------------------- Airflow


@dataclass(frozen=True)
class RunningAirflow:
    """The session's Airflow: its REST client, and both ends of what its DAGs move.

    `source` may be filled at will, `target` is what the DAGs load. Files written to `more_dags` become DAGs within seconds.
    """

    server: Airflow
    client: AirflowClient
    source: Database[dict[str, Any]]
    target: PostgresLogin
    staging: Path
    more_dags: Path


@pytest.fixture(scope="session")
def airflow(
    request: pytest.FixtureRequest,
    children: Children,
    postgres: PostgresWithMover,
    mongo: Mongo,
    mongo_admin: MongoClient[dict[str, Any]],
) -> Iterator[RunningAirflow]:
    """A real Airflow, started when the first test asks for it; its databases are called `deepiri` on both sides."""
    from demo.airflow import Airflow

    metadata = postgres.server.login("airflow", "airflow", postgres.server.create_role("airflow"))
    postgres.server.create_database("airflow", "airflow")
    postgres.server.create_database("deepiri", "mover")
    target = postgres.server.login("deepiri", "mover", postgres.password)
    mover = mongo.create_user("mover", "read", "deepiri")
    staging, more_dags = FOLDER / "staging", FOLDER / "dags"
    more_dags.mkdir()
    server = Airflow(
        children,
        FOLDER,
        metadata=metadata,
        source=mover,
        target=target,
        staging=staging,
        more_dags=more_dags,
        # One domain has a schedule; all others run when a test asks them to.
        settings={"MONGO2PG_SCHEDULE": "none", "MONGO2PG_SCHEDULE_NOTIFICATION": "0 0 * * *"},
    )
    shutil.copytree(REPOSITORY / "tests" / "dags" / "config", server.home / "config")
    server.migrate()
    server.start()
    request.config.stash[AIRFLOW] = server
    with server.client() as client:
        yield RunningAirflow(server, client, mongo_admin["deepiri"], target, staging, more_dags)
    server.stop()
