"""Parquet files of a run: written whole, opened only as the bytes that a manifest names, and read by auditors as frames."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from mongo2pg.batches.arrow import pa
from mongo2pg.documents.identity import uuid_text
from mongo2pg.errors import StagingError
from mongo2pg.files.staging import HashingFile, default_root, on_this_machine, read_json, safe_name, written

if TYPE_CHECKING:
    import pandas as pd

    from mongo2pg.files.staging import CollectionStaging, StagingPath
    from mongo2pg.model import Collection


# Columns that PostgreSQL does not get: the row of the raw file that the document stands in and, in root frames, whether
# the document may share its id, because another `_id` may reach the same UUID.
RAW_ROW = "_row"
MAY_SHARE = "_may_share"


@contextmanager
def parquet_writer(
    path: StagingPath, schema: pa.Schema, unless: StagingPath | None = None
) -> Iterator[tuple[pq.ParquetWriter, HashingFile]]:
    """A Parquet file that exists only when it is whole, with the hash of its bytes; `unless` as in `written`."""
    with (
        written(path, unless) as file,
        # Without dictionaries: nearly every value occurs once, and lz4 finds those that occur again. It leaves twice what zstd
        # does, at half the cost, and is read in half the time: a file is read three times and kept for weeks.
        pq.ParquetWriter(pa.PythonFile(file, "w"), schema, compression="lz4", use_dictionary=False) as writer,
    ):
        yield writer, file


def open_parquet(path: StagingPath, sha256: str) -> pq.ParquetFile:
    """The file, if its bytes are those that the manifest names; the caller closes it. Raises StagingError."""
    try:
        with on_this_machine(path) as place:
            with place.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != sha256:
                raise StagingError(
                    f"{path} is not the file that its manifest describes; clear the task `plan` to read the source again"
                )
            return pq.ParquetFile(place, pre_buffer=False)
    except FileNotFoundError:
        raise StagingError(
            f"{path} is missing although its manifest names it; clear the task `plan` to read the source again"
        ) from None


@contextmanager
def open_frames(
    staging: CollectionStaging, manifest: Mapping[str, Any], collection: Collection
) -> Iterator[dict[str, pq.ParquetFile]]:
    """The frames of a chunk, by table."""
    with ExitStack() as opened:
        yield {
            table.name: opened.enter_context(
                open_parquet(staging.frame(table.name, manifest["chunk"]), manifest["frames"][table.name]["sha256"])
            )
            for table in collection.tables
        }


def frame(run_id: str, table: str, root: StagingPath | None = None) -> pd.DataFrame:
    """The rows of one table as one run staged them, before PostgreSQL saw them: Arrow-backed, uuids as text.

    numeric columns are exact text. Raises StagingError where no run of that id staged that table.
    """
    import pandas as pd

    root = root or default_root()
    for pointer in root.glob(f"*/{safe_name(run_id)}/plan.json"):
        plan_id = read_json(pointer)["plan_id"]
        files: list[StagingPath] = sorted(pointer.parent.glob(f"{plan_id}/*/frames/{table}/*.parquet"), key=str)
        if files:
            whole = pa.concat_tables([_read_table(file) for file in files])
            readable = {
                name: _uuid_texts(whole.column(name))
                if pa.types.is_fixed_size_binary(whole.schema.field(name).type)
                else whole.column(name)
                for name in whole.column_names
                if not name.startswith("_")
            }
            data: pd.DataFrame = pa.table(readable).to_pandas(types_mapper=pd.ArrowDtype)
            return data
    raise StagingError(f"no run {run_id!r} staged a table {table!r} below {root}")


def _read_table(path: StagingPath) -> pa.Table:
    with on_this_machine(path) as place:
        return pq.read_table(place)


def _uuid_texts(column: pa.ChunkedArray) -> pa.Array:
    return pa.array([None if value is None else uuid_text(value) for value in column.to_pylist()], pa.string())
