"""What an auditor opens: staged frames as pandas DataFrames; and files that are not what their manifest describes."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from bson import ObjectId
from pymongo.database import Database

from deepiri.auth import AUTH
from demo.postgres import PostgresLogin
from mongo2pg.errors import StagingError
from mongo2pg.files import parquet
from mongo2pg.run import Run

RUN_ID = "manual__2026-11-22T10:00:00+00:00"


@pytest.fixture
def staged(mongo_database: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path) -> Path:
    for collection in AUTH.collections:
        mongo_database.create_collection(collection.name)
    mongo_database.users.insert_many(
        [
            {"_id": ObjectId("0123456789abcdef01234567"), "email": "a@example.org", "isActive": True, "roles": ["admin", "user"]},
            {"_id": ObjectId("0123456789abcdef01234568"), "email": "b@example.org", "newField": 1},
        ]
    )
    with target.connect() as conn:
        Run(mongo_database, conn, AUTH, tmp_path / "staging", RUN_ID).move()
    return tmp_path / "staging"


def test_a_frame_is_a_dataframe_with_readable_ids_and_no_helper_columns(staged: Path) -> None:
    users = parquet.frame(RUN_ID, "users", staged).sort_values("email")
    assert isinstance(users, pd.DataFrame)
    assert list(users["id"]) == ["01234567-89ab-8cde-8f01-234567000000", "01234567-89ab-8cde-8f01-234568000000"]
    assert list(users["email"]) == ["a@example.org", "b@example.org"]
    assert users["is_active"].tolist()[0] is True
    assert users["is_active"].isna().tolist() == [False, True]
    assert users["extra"].dropna().tolist() == ['{"newField":1}']
    assert not [name for name in users.columns if name.startswith("_")]


def test_the_root_comes_from_the_environment_as_the_readme_says(staged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGO2PG_STAGING", str(staged))
    assert parquet.frame(RUN_ID, "user_roles")["role"].tolist() == ["admin", "user"]


def test_a_run_or_table_that_was_never_staged_is_named(staged: Path) -> None:
    with pytest.raises(StagingError, match="no run 'never' staged a table 'users'"):
        parquet.frame("never", "users", staged)


def test_staged_files_are_private_to_their_owner(staged: Path) -> None:
    for path in staged.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
