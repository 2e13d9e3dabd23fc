"""What an attempt left half-done is never taken for done: a manifest comes last, and a new plan reads no file of the old one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deepiri.notification import NOTIFICATION
from mongo2pg.errors import StagingError
from mongo2pg.files.staging import read_json
from mongo2pg.run import MOVE
from tests.documents import fill, oid, point, skill_tree, user
from tests.mover import EACH, Mover, counts


@pytest.fixture
def mover(mongo_database: Any, target: Any, tmp_path: Path) -> Iterator[Mover]:
    fill(
        mongo_database,
        users=[user(n) for n in range(1, 5)],
        skilltrees=[skill_tree(11, oid(1))],
        progresspoints=[point(21, oid(1))],
    )
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path / "staging")


def planned(mover: Mover) -> Any:
    run = mover.run("run")
    run.prepare()
    run.plan()
    return run


def test_a_manifest_takes_its_name_after_all_files_that_it_names(mover: Mover, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[Path] = []
    rename = os.replace

    def noted(source: Any, name: Any) -> None:
        rename(source, name)
        named.append(Path(name))

    monkeypatch.setattr(os, "replace", noted)
    run = planned(mover)
    run.extract()
    run.normalise()
    for collection, chunk in run.chunks():
        staged = run.staging.collection(run.key.plan_id, collection)
        tables = mover.domain.collection(collection).tables
        assert named.index(staged.raw(chunk)) < named.index(staged.raw_manifest(chunk))
        for file in (*(staged.frame(table.name, chunk) for table in tables), staged.rejects(chunk)):
            assert named.index(file) < named.index(staged.manifest(chunk))


def test_files_without_a_manifest_are_written_anew(mover: Mover) -> None:
    run = planned(mover)
    users = run.staging.collection(run.key.plan_id, "users")
    for file in (users.raw(0), users.frame("users", 0), users.frame("user_roles", 0), users.rejects(0)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half of a file")
        file.with_name(f"{file.name}.partial").write_bytes(b"less than half of one")
    run.carry()
    assert counts(run)["users"]["inserted"] == 4


@pytest.mark.parametrize("which", ["raw", "frame", "rejects"])
@pytest.mark.parametrize("how", ["cut short", "changed", "gone"])
def test_a_file_that_is_not_what_its_manifest_says_is_never_loaded(mover: Mover, which: str, how: str) -> None:
    run = planned(mover)
    run.extract()
    run.normalise()
    users = run.staging.collection(run.key.plan_id, "users")
    file = {"raw": users.raw(0), "frame": users.frame("user_roles", 0), "rejects": users.rejects(0)}[which]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if how == "gone":
        file.unlink()
    else:
        file.write_bytes(content if how == "changed" else content[:-1])
    with pytest.raises(StagingError, match="clear the task `plan`"):
        run.load()
    assert mover.column("SELECT count(*) FROM users") == [0]
    run.plan()
    run.carry()
    assert counts(run)["users"]["inserted"] == 4


def test_a_collection_that_failed_turns_its_domain_red_and_no_check_of_it_passes_pp_41(mover: Mover) -> None:
    run = planned(mover)
    run.extract()
    run.normalise()
    run.staging.collection(run.key.plan_id, "skilltrees").frame("skills", 0).unlink()
    with pytest.raises(StagingError, match="skilltrees"):
        run.carry("load")
    report = run.report()
    assert report["passed"] is False
    assert {check["verdict"] for check in report["checks"]} == {"not_run"}
    assert {"check": "accounting", "table": "skilltrees", "verdict": "not_run"} in report["checks"]
    # Nothing of it touches another domain of the same target.
    for name in ("notifications", "pushsubscriptions"):
        mover.database.create_collection(name)
    mover.database.notifications.insert_one({"_id": oid(31), "userId": oid(1), "type": "badge", "title": "You have won"})
    other = replace(mover, domain=NOTIFICATION)
    assert other.passed("run")["notifications"]["inserted"] == 1


@pytest.mark.parametrize("done", ["extract", "normalise", "load", "settle"])
def test_a_plan_that_is_cleared_reads_afresh_and_mixes_with_nothing_of_the_old_one(mover: Mover, done: str) -> None:
    run = planned(mover)
    for stage in MOVE[: MOVE.index(done) + 1]:
        getattr(run, stage)()
    old = run.key.plan_id
    mover.database.users.update_one({"_id": oid(1)}, {"$set": {"name": "renamed", "roles": ["writer"]}})
    mover.database.users.delete_one({"_id": oid(4)})
    mover.database.users.insert_one(user(5, email="user4@example.com"))
    again = mover.run("run")
    again.prepare()
    again.plan(EACH)  # into other chunks, too
    assert again.key.plan_id != old
    # The old files say nothing to anybody: they may as well be gone.
    shutil.rmtree(run.staging.folder / old)
    again.carry()
    assert read_json(run.staging.folder / "plan.json")["plan_id"] == again.key.plan_id
    assert mover.rows("SELECT name, email FROM users ORDER BY id")[:1] == [("renamed", "user1@example.com")]
    assert mover.column("SELECT role FROM user_roles r JOIN users u ON u.id = user_id WHERE u.name = 'renamed'") == ["writer"]
    report = counts(again)
    assert report["users"]["read"] == 4
    assert mover.column("SELECT count(*) FROM users") == [4]
