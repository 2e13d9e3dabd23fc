"""An embedded server that speaks MongoDB's wire protocol (SecantusDB), on 127.0.0.1 with users and roles."""

from __future__ import annotations

import json
import os
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from demo.processes import Child, Children, DemoError, free_port, wait_until


@dataclass(frozen=True)
class MongoLogin:
    """One user's way into one database; users live in `admin`."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)

    @property
    def uri(self) -> str:
        credentials = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"mongodb://{credentials}@{self.host}:{self.port}/{quote(self.database, safe='')}?authSource=admin"

    def airflow_connection(self) -> str:
        """The value of an `AIRFLOW_CONN_…` variable."""
        return json.dumps(
            {
                "conn_type": "mongo",
                "host": self.host,
                "port": self.port,
                "schema": self.database,
                "login": self.user,
                "password": self.password,
                "extra": {"authSource": "admin"},
            }
        )

    def connect(self, **options: Any) -> MongoClient[dict[str, Any]]:
        """A new client; the caller closes it."""
        return MongoClient(self.uri, serverSelectionTimeoutMS=options.pop("serverSelectionTimeoutMS", 10_000), **options)


class Mongo:
    """A SecantusDB server that asks for a password from the moment it holds data."""

    def __init__(self, children: Children, folder: Path) -> None:
        self.children = children
        self.log = folder / "mongo.log"
        self.data = folder / "mongo"
        self.configuration = folder / "mongo.toml"
        self.child: Child | None = None
        self.admin = MongoLogin("127.0.0.1", 0, "admin", "admin", secrets.token_urlsafe(24))

    def start(self) -> None:
        """Create the administrator, switch authentication on, and return once the server answers."""
        # Empty, but named: otherwise the server would take one that happens to lie in a home folder.
        self.configuration.touch(mode=0o600)
        if not self.data.exists():
            # A first user can only be made without authentication. The server is empty then and listens on 127.0.0.1 alone.
            self._launch()
            with MongoClient[dict[str, Any]]("127.0.0.1", self.admin.port) as client:
                client.admin.command("createUser", self.admin.user, pwd=self.admin.password, roles=["root"])
            self.stop()
        self._launch("--auth")

    def stop(self) -> None:
        if self.child:
            self.children.stop(self.child)
            self.child = None

    def create_user(self, name: str, role: str, database: str) -> MongoLogin:
        """Create a user with one role (`read`, `readWrite`) on one database and nothing else."""
        password = secrets.token_urlsafe(24)
        with self.admin.connect() as client:
            client.admin.command("createUser", name, pwd=password, roles=[{"role": role, "db": database}])
        return self.login(database, name, password)

    def drop_user(self, name: str) -> None:
        with self.admin.connect() as client:
            client.admin.command("dropUser", name)

    def login(self, database: str, user: str, password: str) -> MongoLogin:
        return MongoLogin(self.admin.host, self.admin.port, database, user, password)

    def _launch(self, *options: str) -> None:
        program = Path(sys.executable).parent / "secantusd-py"
        # Somebody may take the port between our look and the server's: then the next one is tried.
        for _ in range(3):
            port = free_port()
            self.admin = MongoLogin("127.0.0.1", port, "admin", "admin", self.admin.password)
            self.child = self.children.start(
                "SecantusDB",
                [
                    str(program), "--config", str(self.configuration), "--host", "127.0.0.1", "--port", str(port),
                    "--storage-path", str(self.data), "--log-level", "WARNING", *options,
                ],
                self.log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
            child = self.child
            try:
                wait_until(self._answers, child, seconds=60)
            except DemoError:
                if "Address already in use" not in child.last_lines():
                    raise
                self.stop()
            else:
                return
        raise DemoError("SecantusDB found its port taken three times in a row: start again.")

    def _answers(self) -> bool:
        with MongoClient[dict[str, Any]]("127.0.0.1", self.admin.port, serverSelectionTimeoutMS=200) as client:
            try:
                client.admin.command("ping")
            except PyMongoError:
                return False
        return True
