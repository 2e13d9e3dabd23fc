"""The servers that are measured against: one durable PostgreSQL for all runs, and a replay server for each data set."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from psycopg import sql

from benchmarks.contenders import REPOSITORY
from benchmarks.data import DATABASE
from demo.folder import DemoFolder
from demo.postgres import Postgres, PostgresLogin
from demo.processes import Children, free_port, wait_until


class Source(NamedTuple):
    """A replay server, which knows no users; `pid` once it runs."""

    port: int
    pid: int = 0

    def airflow_connection(self) -> str:
        """The value of an `AIRFLOW_CONN_…` variable."""
        return json.dumps({"conn_type": "mongo", "host": "127.0.0.1", "port": self.port, "schema": DATABASE})


class Servers:
    """A context manager; everything that was started ends with it."""

    def __init__(self, folder: DemoFolder) -> None:
        self.folder = folder.path
        self.children = Children(folder.children)
        self.postgres = Postgres(self.children, self.folder, durable=True)
        self._numbers = itertools.count(1)

    def __enter__(self) -> Servers:
        try:
            self.postgres.start()
            self._password = self.postgres.create_role("mover")
            with self.postgres.superuser.connect(autocommit=True) as conn:
                conn.execute("GRANT pg_checkpoint TO mover")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.postgres.remove()
        self.children.close()

    @property
    def postgres_pid(self) -> int:
        assert self.postgres.child is not None  # noqa: S101 - it runs from the first to the last moment
        return self.postgres.child.pid

    def login(self, database: str) -> PostgresLogin:
        """The way of whoever is measured into a database."""
        return self.postgres.login(database, "mover", self._password)

    @contextlib.contextmanager
    def database(self, name: str | None = None) -> Iterator[PostgresLogin]:
        """An empty database; nothing of earlier runs is left to be written to the disk."""
        name = name or f"bench_{next(self._numbers)}"
        self.postgres.create_database(name, "mover")
        with self.postgres.superuser.connect(autocommit=True) as conn:
            conn.execute("CHECKPOINT")
        try:
            yield self.login(name)
        finally:
            self.postgres.drop_database(name)

    def rows(self, login: PostgresLogin, others: set[str]) -> dict[str, int]:
        """How many rows each table has, apart from books (ours, dlt's) and the tables named in `others`."""
        with login.connect() as conn:
            tables = conn.execute(
                r"""
                SELECT schemaname, tablename FROM pg_tables
                WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'migration') AND tablename NOT LIKE '\_dlt%'
                """
            ).fetchall()
            count = sql.SQL("SELECT count(*) FROM {}")
            return {
                name: (conn.execute(count.format(sql.Identifier(schema, name))).fetchone() or (0,))[0]
                for schema, name in tables
                if name not in others
            }

    @contextlib.contextmanager
    def source(self, files: Path, port: int | None = None) -> Iterator[Source]:
        """A replay server of these files."""
        port = port or free_port()
        child = self.children.start(
            "replay server",
            [sys.executable, "-m", "benchmarks.replay_server", str(files), "--port", str(port)],
            self.folder / "replay.log",
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )
        try:
            wait_until(lambda: _listens(port), child, seconds=120)
            yield Source(port, child.pid)
        finally:
            self.children.stop(child)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
