"""Where a run's files lie, and how they are written.

    <root>/<domain>/<run>/plan.json                                   which plan is the run's present one
    <root>/<domain>/<run>/repair.json                                 of a reconcile that repairs: the plan by which it does
    <root>/<domain>/<run>/report.json, report.html                    what came of the run
    <root>/<domain>/<run>/<plan>/<collection>/plan.json               the chunks and their bounds
    <root>/<domain>/<run>/<plan>/<collection>/raw/<chunk>.parquet     _id (text), bson (binary)
    <root>/<domain>/<run>/<plan>/<collection>/raw/<chunk>.json        the commit mark of extract
    <root>/<domain>/<run>/<plan>/<collection>/frames/<table>/<chunk>.parquet
    <root>/<domain>/<run>/<plan>/<collection>/rejects/<chunk>.parquet
    <root>/<domain>/<run>/<plan>/<collection>/<chunk>.json            the manifest, written last: the commit mark

The root is a folder or a place in an object store; beyond opening it nothing here knows which service that is. A file appears
under its name when it is complete, never before; what a manifest does not name does not exist.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

from mongo2pg.databases.connections import object_storage
from mongo2pg.errors import StagingError, TransientError
from mongo2pg.model import Domain

if TYPE_CHECKING:
    from upath.extensions import ProxyUPath

    StagingPath: TypeAlias = Path | ProxyUPath

# The disk is full, the quota is used up, the file is larger than it may become.
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# NAME_MAX of Linux's file systems. Airflow's run ids have up to 250 characters.
LONGEST_NAME = 255
# A file goes to and from an object store in parts, so many at once: 32 MB of memory, whatever its size.
TRANSFER = {"chunksize": 8 << 20, "max_concurrency": 4}


@dataclass(frozen=True)
class RunStaging:
    """The folder of one run of one domain."""

    root: StagingPath
    domain: str
    run_id: str

    @property
    def folder(self) -> StagingPath:
        return self.root / self.domain / safe_name(self.run_id)

    def collection(self, plan_id: str, collection: str) -> CollectionStaging:
        return CollectionStaging(self.folder / plan_id / collection, collection, plan_id)

    def plan_folders(self) -> list[StagingPath]:
        """The folders of the run's plans, where they are still there."""
        return [each for each in self.folder.iterdir() if each.is_dir()] if self.folder.exists() else []

    @property
    def present_plan(self) -> str | None:
        """The id of the run's present plan; None before it has one."""
        return str(self.current()["plan_id"]) if (self.folder / "plan.json").exists() else None

    def current(self) -> dict[str, Any]:
        """The run's present plan as `plan` wrote it; raises StagingError where no plan was made."""
        return read_json(self.folder / "plan.json")

    def by_other_declaration(self, domain: Domain) -> list[str]:
        """The collections of the run's present plan that were declared otherwise when it was made, or that are no more."""
        declared = {collection.name: collection.fingerprint for collection in domain.collections}
        planned = self.current().get("declarations", {})
        return sorted(name for name, fingerprint in planned.items() if declared.get(name) != fingerprint)

    def refuse_other_declaration(self, domain: Domain) -> None:
        """Raises StagingError where the run's present plan was made by another declaration: a stage would mix the two."""
        if changed := self.by_other_declaration(domain):
            raise StagingError(
                f"the declaration of {', '.join(changed)} has changed since this run was planned: clear the task `prepare` and "
                f"what follows, or run {domain.name} with mode full"
            )


@dataclass(frozen=True)
class CollectionStaging:
    """The folder of one collection under one plan."""

    folder: StagingPath
    collection: str
    plan_id: str

    def of_run(self, run_id: str, plan_id: str) -> CollectionStaging:
        """The folder of the same collection under another run's plan."""
        domain = self.folder.parents[2]
        return CollectionStaging(domain / safe_name(run_id) / plan_id / self.collection, self.collection, plan_id)

    @property
    def plan(self) -> StagingPath:
        return self.folder / "plan.json"

    def raw(self, chunk: int) -> StagingPath:
        return self.folder / "raw" / f"{chunk:05d}.parquet"

    def raw_manifest(self, chunk: int) -> StagingPath:
        return self.folder / "raw" / f"{chunk:05d}.json"

    def frame(self, table: str, chunk: int) -> StagingPath:
        return self.folder / "frames" / table / f"{chunk:05d}.parquet"

    def rejects(self, chunk: int) -> StagingPath:
        return self.folder / "rejects" / f"{chunk:05d}.parquet"

    def manifest(self, chunk: int) -> StagingPath:
        return self.folder / f"{chunk:05d}.json"


class HashingFile:
    """A binary file for writing that knows the sha256 and the size of what went through it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self._hash.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    @property
    def closed(self) -> bool:
        return self._file.closed

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def written(path: StagingPath, unless: StagingPath | None = None) -> Iterator[HashingFile]:
    """A file for writing that takes its name when the block ends well; local files are 0600 in folders of 0700.

    Not where the commit mark `unless` is there by then: another attempt was done sooner, and later stages may have read its files.
    Raises TransientError where there is no room for it.
    """
    try:
        with _renamed(path, unless) if isinstance(path, Path) else _put(path, unless) as file:
            yield file
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        place = path.parent if isinstance(path, Path) else tempfile.gettempdir()
        raise TransientError(
            f"{place} has no room for {path.name} ({error.strerror}): make room there, the next attempt goes on from what is whole"
        ) from None


@contextmanager
def _renamed(path: Path, unless: StagingPath | None) -> Iterator[HashingFile]:
    _make_folder(path.parent)
    # Each attempt has its own: one that Airflow gave up may still be writing.
    partial = path.parent / f"{path.name}.{uuid.uuid4().hex[:12]}.partial"
    try:
        with _open_private(partial) as file:
            yield HashingFile(file)
        if not (unless and unless.exists()):
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _put(path: ProxyUPath, unless: StagingPath | None) -> Iterator[HashingFile]:
    """A put is atomic, in parts or in one; a rename would be a copy."""
    with _private_copy() as (file, name):
        yield HashingFile(file)
        file.flush()
        if not (unless and unless.exists()):
            path.fs.put_file(name, path.path, **TRANSFER)


def _make_folder(folder: Path) -> None:
    """The folder and those above it; the new ones are 0700 where the file system knows modes."""
    if not folder.exists():
        _make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _open_private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


@contextmanager
def _private_copy() -> Iterator[tuple[IO[bytes], str]]:
    """A file of this machine for an object, and how others open it. It has no name: a task that is killed leaves no documents."""
    with tempfile.TemporaryFile() as file:
        yield file, f"/proc/self/fd/{file.fileno()}"


@contextmanager
def on_this_machine(path: StagingPath) -> Iterator[Path]:
    """The file, or a copy of the object, fetched once. Raises FileNotFoundError for an object that is not there."""
    if isinstance(path, Path):
        yield path
    else:
        with _private_copy() as (_, name):
            path.fs.get_file(path.path, name, **TRANSFER)
            yield Path(name)


def remove_folder(folder: StagingPath) -> None:
    """Removes the folder with everything in it; another process may be doing the same."""
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            folder.fs.rm(folder.path, recursive=True)


def write_json(path: StagingPath, content: dict[str, Any]) -> None:
    """Writes the file whole or not at all."""
    with written(path) as file:
        file.write(json.dumps(content, indent=1, sort_keys=True).encode())


def read_json(path: StagingPath) -> dict[str, Any]:
    """The file's content; StagingError where the stage that writes it has not finished."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise StagingError(f"{path} is missing: the task before this one did not finish; clear it and run it again") from None
    return content


def safe_name(run_id: str) -> str:
    """A run id as a folder name; two run ids never share one, and none names a folder that is there, as `..` would."""
    safe = re.sub(r"[^A-Za-z0-9_.=-]|^\.+$", "_", run_id)
    digest = hashlib.sha256(run_id.encode()).hexdigest()[:8]
    return safe if safe == run_id and len(safe) <= LONGEST_NAME else f"{safe[: LONGEST_NAME - 9]}-{digest}"


def default_root() -> StagingPath:
    """`MONGO2PG_STAGING`: a folder, a file:// URI or s3://CONNECTION@BUCKET/PREFIX; else `staging` below AIRFLOW_HOME.

    Raises PrepareError where the URI cannot be opened.
    """
    configured = os.environ.get("MONGO2PG_STAGING", "")
    if "://" in configured and not configured.startswith("file://"):
        return object_storage(configured)
    if configured:
        return Path(configured.removeprefix("file://"))
    return Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "staging"
