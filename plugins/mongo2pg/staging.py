"""Where a run's files lie, how they are written, and how an auditor opens them.

    <root>/<domain>/<run>/plan.json                                   which plan is the run's present one
    <root>/<domain>/<run>/<plan>/<collection>/plan.json               the chunks and their bounds
    <root>/<domain>/<run>/<plan>/<collection>/raw/<chunk>.parquet     _id (text), bson (binary)
    <root>/<domain>/<run>/<plan>/<collection>/raw/<chunk>.json        the commit mark of extract
    <root>/<domain>/<run>/<plan>/<collection>/frames/<table>/<chunk>.parquet
    <root>/<domain>/<run>/<plan>/<collection>/rejects/<chunk>.parquet
    <root>/<domain>/<run>/<plan>/<collection>/<chunk>.json            the manifest, written last: the commit mark

A file appears under its name when it is complete, never before; what a manifest does not name does not exist.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from mongo2pg.errors import StagingError

if TYPE_CHECKING:
    import pandas as pd

# One read of a file that is hashed: large enough to keep the disk busy, small enough not to count as memory.
HASH_BYTES = 1 << 20


@dataclass(frozen=True)
class RunStaging:
    """The folder of one run of one domain."""

    root: Path
    domain: str
    run_id: str

    @property
    def folder(self) -> Path:
        return self.root / self.domain / safe_name(self.run_id)

    def collection(self, plan_id: str, collection: str) -> CollectionStaging:
        return CollectionStaging(self.folder / plan_id / collection, collection, plan_id)

    def current(self) -> dict[str, Any]:
        """The run's present plan as `plan` wrote it; raises StagingError where no plan was made."""
        return read_json(self.folder / "plan.json")


@dataclass(frozen=True)
class CollectionStaging:
    """The folder of one collection under one plan."""

    folder: Path
    collection: str
    plan_id: str

    def of_run(self, run_id: str, plan_id: str) -> CollectionStaging:
        """The folder of the same collection under another run's plan."""
        domain = self.folder.parents[2]
        return CollectionStaging(domain / safe_name(run_id) / plan_id / self.collection, self.collection, plan_id)

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    def raw(self, chunk: int) -> Path:
        return self.folder / "raw" / f"{chunk:05d}.parquet"

    def raw_manifest(self, chunk: int) -> Path:
        return self.folder / "raw" / f"{chunk:05d}.json"

    def frame(self, table: str, chunk: int) -> Path:
        return self.folder / "frames" / table / f"{chunk:05d}.parquet"

    def rejects(self, chunk: int) -> Path:
        return self.folder / "rejects" / f"{chunk:05d}.parquet"

    def manifest(self, chunk: int) -> Path:
        return self.folder / f"{chunk:05d}.json"


class _HashingFile:
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
def written(path: Path) -> Iterator[_HashingFile]:
    """A file for writing that takes its name when the block ends well; local files are 0600 in folders of 0700."""
    make_folder(path.parent)
    partial = path.parent / f"{path.name}.partial"
    with _open_private(partial) as file:
        yield _HashingFile(file)
    partial.replace(path)


def make_folder(folder: Path) -> None:
    """The folder and those above it; the new ones are 0700 where the file system knows modes."""
    if not folder.exists():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _open_private(path: Path) -> IO[bytes]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


@contextmanager
def parquet_writer(path: Path, schema: pa.Schema) -> Iterator[tuple[pq.ParquetWriter, _HashingFile]]:
    """A Parquet file that exists only when it is whole, with the hash of its bytes."""
    with (
        written(path) as file,
        pq.ParquetWriter(pa.PythonFile(file, "w"), schema, compression="zstd", compression_level=1) as writer,
    ):
        yield writer, file


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes the file whole or not at all."""
    with written(path) as file:
        file.write(json.dumps(content, indent=1, sort_keys=True).encode())


def read_json(path: Path) -> dict[str, Any]:
    """The file's content; StagingError where the stage that writes it has not finished."""
    if not path.exists():
        raise StagingError(f"{path} is missing: the task before this one did not finish; clear it and run it again")
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def open_parquet(path: Path, sha256: str) -> pq.ParquetFile:
    """The file, if its bytes are those that the manifest names; the caller closes it. Raises StagingError."""
    if not path.exists():
        raise StagingError(f"{path} is missing although its manifest names it; clear the task `plan` to read the source again")
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(HASH_BYTES):
            digest.update(block)
    if digest.hexdigest() != sha256:
        raise StagingError(f"{path} is not the file that its manifest describes; clear the task `plan` to read the source again")
    return pq.ParquetFile(path, pre_buffer=False)


def safe_name(run_id: str) -> str:
    """A run id as a folder name; two run ids never share one."""
    safe = re.sub(r"[^A-Za-z0-9_.=-]", "_", run_id)
    return safe if safe == run_id else f"{safe}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


def default_root() -> Path:
    """`MONGO2PG_STAGING` (a folder, or a file:// URI), else the folder `staging` below AIRFLOW_HOME. StagingError."""
    configured = os.environ.get("MONGO2PG_STAGING", "")
    if "://" in configured and not configured.startswith("file://"):
        raise StagingError(f"MONGO2PG_STAGING is {configured}: staging lies in a folder that all workers share; give its path")
    if configured:
        return Path(configured.removeprefix("file://"))
    return Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser() / "staging"


def frame(run_id: str, table: str, root: Path | None = None) -> pd.DataFrame:
    """The rows of one table as one run staged them, before PostgreSQL saw them: Arrow-backed, uuids as text.

    numeric columns are exact text. Raises StagingError where no run of that id staged that table.
    """
    import pandas as pd

    found = (root or default_root()).glob(f"*/{safe_name(run_id)}/plan.json")
    for pointer in found:
        plan_id = read_json(pointer)["plan_id"]
        files = sorted(pointer.parent.glob(f"{plan_id}/*/frames/{table}/*.parquet"))
        if files:
            whole = pa.concat_tables([pq.read_table(file) for file in files])
            readable = {
                name: _uuid_texts(whole.column(name))
                if pa.types.is_fixed_size_binary(whole.schema.field(name).type)
                else whole.column(name)
                for name in whole.column_names
                if not name.startswith("_")
            }
            data: pd.DataFrame = pa.table(readable).to_pandas(types_mapper=pd.ArrowDtype)
            return data
    raise StagingError(f"no run {run_id!r} staged a table {table!r} below {root or default_root()}")


def _uuid_texts(column: pa.ChunkedArray) -> pa.Array:
    from mongo2pg.values import uuid_text

    return pa.array([None if value is None else uuid_text(value) for value in column.to_pylist()], pa.string())
