"""Documents are found again in a raw file by their rows, a row group at a time."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mongo2pg.files.staged_documents import documents_at


@pytest.fixture
def raw(tmp_path: Path) -> pq.ParquetFile:
    """Seven documents in row groups of three, three and one."""
    table = pa.table({"_id": [str(row) for row in range(7)], "bson": [b"document %d" % row for row in range(7)]})
    pq.write_table(table, tmp_path / "raw.parquet", row_group_size=3)
    return pq.ParquetFile(tmp_path / "raw.parquet")


@pytest.mark.parametrize("rows", [[], [0], [6], [2, 3], [0, 5], [0, 1, 2, 3, 4, 5, 6]])
def test_each_row_has_its_document_in_whichever_row_group_it_lies(raw: pq.ParquetFile, rows: list[int]) -> None:
    assert list(documents_at(raw, rows)) == [(row, b"document %d" % row) for row in rows]


def test_no_more_than_the_row_groups_that_are_needed_are_read(raw: pq.ParquetFile, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    read_row_group = pq.ParquetFile.read_row_group

    def noted(self: pq.ParquetFile, group: int, **how: object) -> pa.Table:
        read.append(group)
        return read_row_group(self, group, **how)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    found = documents_at(raw, [1, 6])
    assert (next(found), read) == ((1, b"document 1"), [0])
    assert (next(found), read) == ((6, b"document 6"), [0, 2])
