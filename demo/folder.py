"""The demo's folder: one demo at a time, cleaned of whatever an interrupted one left."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from demo.processes import DemoError, end_leftovers, write_private

# Databases, logs and staged files of a demo at scale 1 stay well below half of it.
DISK_BYTES = 1_000_000_000

# Everything that a demo writes here, besides the lock. Nothing else is ever removed.
MADE = (
    "children.json", "passwords.json", "report.json", "airflow", "logs", "staging",
    "mongo", "mongo.toml", "mongo.log", "postgres18", "postgres18.log",
)  # fmt: skip


class DemoFolder:
    """Held by one demo from `open` to `close`; the system lets go of it when that process dies, however it dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.children = path / "children.json"
        self.passwords = path / "passwords.json"
        self.report = path / "report.json"
        self.staging = path / "staging"
        self._lock: int | None = None

    def open(self) -> list[str]:
        """Take the folder, end what an interrupted demo left running and remove its files; returns the names of what was ended."""
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            self.path.chmod(0o700)
            self._take()
            ended = end_leftovers(self.children)
            for name in MADE:
                remove(self.path / name)
        except PermissionError as error:
            raise DemoError(
                f"{self.path} belongs to somebody else ({error.strerror}: {error.filename}): remove it as the user who made it."
            ) from None
        return ended

    def check_disk(self) -> None:
        """DemoError if there is not enough room for the databases, here and among the temporary files."""
        for place in (self.path, Path(tempfile.gettempdir())):
            free = shutil.disk_usage(place).free
            if free < DISK_BYTES:
                raise DemoError(
                    f"Only {free / 1e9:.1f} GB are free at {place}; the demo needs {DISK_BYTES / 1e9:.0f} GB:"
                    " make room there, or set TMPDIR for temporary files."
                )

    def announce(self, **facts: Any) -> None:
        """Tell a second demo in this folder about this one."""
        if self._lock is not None:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, json.dumps({"pid": os.getpid(), **facts}).encode(), 0)

    def close(self) -> None:
        """Give the folder back; the reports, logs and staged files stay in it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def write_report(self, report: dict[str, Any]) -> None:
        write_private(self.report, json.dumps(report, indent=2) + "\n")

    def _take(self) -> None:
        lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            facts = _facts(os.pread(lock, 4096, 0))
            os.close(lock)
            where = f" at {facts['url']}" if "url" in facts else ""
            raise DemoError(
                f"A demo of this folder is running already{where}, as process {facts.get('pid', 'unknown')}:"
                " stop it with Ctrl-C in its terminal, or with `kill` and that number."
            ) from None
        self._lock = lock
        self.announce()


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _facts(content: bytes) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        facts: dict[str, Any] = json.loads(content)
        return facts
    return {}
