"""An S3 on 127.0.0.1 that knows its users and what they may do: moto's server, from an environment of its own."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from demo.processes import Children, DemoError, free_port, wait_until

PROGRAM = Path(__file__).parents[1] / ".venv-moto" / "bin" / "moto_server"
REGION = "us-east-1"


@dataclass(frozen=True)
class StorageLogin:
    """One user's keys."""

    endpoint: str
    key: str
    secret: str

    def airflow_connection(self) -> str:
        """The value of an `AIRFLOW_CONN_…` variable."""
        extra = {"endpoint_url": self.endpoint, "region_name": REGION}
        return json.dumps({"conn_type": "aws", "login": self.key, "password": self.secret, "extra": extra})

    @contextlib.contextmanager
    def client(self, service: str = "s3") -> Iterator[Any]:
        client = boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
        )
        yield client
        client.close()


class ObjectStore:
    """The server, with an administrator who may do everything and nobody else."""

    def __init__(self, children: Children, folder: Path) -> None:
        self.children = children
        self.log = folder / "moto.log"
        self.admin = StorageLogin("", "", "")

    def start(self) -> None:
        """Returns once the server answers and asks everybody for a signature."""
        if not PROGRAM.exists():
            raise DemoError(f"{PROGRAM} is missing: `make test` installs it, and so does `make .venv-moto/.installed`.")
        port = free_port()
        endpoint = f"http://127.0.0.1:{port}"
        child = self.children.start(
            "moto",
            [str(PROGRAM), "-H", "127.0.0.1", "-p", str(port)],
            self.log,
            # The first three calls make the administrator; after them nobody gets in without a signature.
            env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "3", "MOTO_S3_CUSTOM_ENDPOINTS": endpoint},
        )
        wait_until(lambda: "Running on" in child.last_lines(), child, seconds=60)
        self.admin = self._user(StorageLogin(endpoint, "none", "none"), "admin", "*")

    def user(self, name: str, *actions: str) -> StorageLogin:
        """A user who may do these actions (`s3:PutObject`), with all buckets."""
        return self._user(self.admin, name, list(actions))

    def _user(self, by: StorageLogin, name: str, actions: Any) -> StorageLogin:
        policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": actions, "Resource": "*"}}
        with by.client("iam") as iam:
            iam.create_user(UserName=name)
            key = iam.create_access_key(UserName=name)["AccessKey"]
            iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(policy))
        return StorageLogin(by.endpoint, key["AccessKeyId"], key["SecretAccessKey"])
