"""docs/new_domain.md, word for word: its files are taken out of the page, and move documents, dirty ones too."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128
from pymongo.database import Database

from demo.postgres import PostgresLogin
from mongo2pg.model import Domain
from mongo2pg.moving.rehearsal import rehearse
from mongo2pg.planning.modes import DRY_RUN, WINDOW, Request
from mongo2pg.target import scripts
from tests.documents import oid, uuid_of
from tests.mover import Mover, counts, outcome

REPOSITORY = Path(__file__).parents[2]
GUIDE = (REPOSITORY / "docs" / "new_domain.md").read_text()
BLOCKS = {path: (language, text) for path, language, text in re.findall(r"^`(\S+)`\n\n```(\w+)\n(.*?)^```$", GUIDE, re.M | re.S)}
NEW = {path: text for path, (language, text) in BLOCKS.items() if language != "diff"}
CHANGED = {path: text for path, (language, text) in BLOCKS.items() if language == "diff"}

MAY = datetime(2026, 5, 1, tzinfo=UTC)
BORN = datetime(2019, 4, 3, 8, 30, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
ADA, BO, CY, DI, EVA, FAY = map(oid, range(1, 7))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A working copy in which somebody did what the page says."""
    root = tmp_path / "checkout"
    for folder in ("dags", "plugins", "include"):
        shutil.copytree(REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for path, text in NEW.items():
        assert not (root / path).exists(), path
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    for path, text in CHANGED.items():
        (root / path).write_text(changed((root / path).read_text(), text))
    return root


def changed(text: str, diff: str) -> str:
    """The text with the diff's hunks done; each of them fits in one place."""
    for hunk in diff.split("@@\n")[1:]:
        lines = hunk.splitlines(keepends=True)
        before, after = ("".join(line[1:] for line in lines if line[0] in f" {sign}") for sign in "-+")
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


@pytest.fixture
def zoo(checkout: Path) -> Domain:
    return runpy.run_path(str(checkout / "plugins" / "deepiri" / "zoo.py"))["ZOO"]


@pytest.fixture
def mover(
    zoo: Domain,
    checkout: Path,
    mongo_database: Database[dict[str, Any]],
    target: PostgresLogin,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Mover]:
    monkeypatch.setattr(scripts, "INCLUDE", checkout / "include" / "sql")
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path / "staging", zoo)


def fill(database: Database[dict[str, Any]]) -> None:
    keepers = [{"_id": oid(101), "name": "Kim", "phone": "555-1", "since": MAY}, {"name": "Lou"}]
    at = {"updatedAt": MAY, "__v": 0}
    database.animals.insert_many(
        [
            {"_id": ADA, "tag": "A-1", "name": "Ada", "status": "healthy", "price": Decimal128("1200.50"), "bornAt": BORN,
             "enclosure": {"name": "North", "heated": True}, "keepers": keepers, **at},
            {"_id": BO, "tag": "A-1", "name": "Bo", **at},  # the tag of Ada
            {"_id": CY, "tag": "C-1", "name": "Cy", "status": "HEALTHY", "price": 99, **at},
            {"_id": DI, "tag": "D-1", "name": "Di", "status": "asleep", "price": "free", "enclosure": "the hall",
             "diet": "hay", **at},
            {"_id": EVA, "name": "Eva", **at},  # no tag
            {"_id": FAY, "tag": "F-1", "name": "Fay", "keepers": [{"name": "Kim"}, {"phone": "555-2"}], **at},
        ]
    )  # fmt: skip
    database.visits.insert_many(
        [
            {"_id": oid(11), "animalId": ADA, "visitor": "Max", "at": MAY, **at},
            {"_id": oid(12), "animalId": EVA, "visitor": "Mia", "at": MAY, **at},  # of whom there is no row yet
            {"_id": oid(13), "animalId": str(CY), "visitor": "Tom", "at": "2 May", **at},
        ]
    )


def test_the_page_has_the_files_of_a_domain() -> None:
    sql = {f"include/sql/zoo/{part}_data.sql" for part in ("pre", "post")}
    assert set(NEW) == {"plugins/deepiri/zoo.py", "dags/zoo.py", *sql}
    assert set(CHANGED) == {"plugins/deepiri/registry.py", "include/sql/roles.sql"}


def test_the_look_at_the_data_tells_the_types_of_each_field(mongo_database: Database[dict[str, Any]]) -> None:
    fill(mongo_database)
    steps = json.loads(re.search(r"^db\.animals\.aggregate\((\[.*?^\])\)$", GUIDE, re.M | re.S)[1])
    found = {(row["_id"]["field"], row["_id"]["type"]): row["documents"] for row in mongo_database.animals.aggregate(steps)}
    assert {key: number for key, number in found.items() if key[0] in ("tag", "price", "enclosure", "keepers")} == {
        ("tag", "string"): 5,
        ("price", "decimal"): 1,
        ("price", "int"): 1,
        ("price", "string"): 1,
        ("enclosure", "object"): 1,
        ("enclosure", "string"): 1,
        ("keepers", "array"): 2,
    }


def test_a_dry_run_foretells_what_will_not_fit_and_writes_nothing(mover: Mover) -> None:
    fill(mover.database)
    found = rehearse(mover.database, mover.conn, mover.domain, Request(DRY_RUN))
    assert found["tables_to_create"] == ["animals", "animal_keepers", "visits"]
    animals = found["collections"]["animals"]
    assert (animals["documents"], animals["rejected"], animals["drift"]) == (6, {"required": 1}, ["diet"])
    assert animals["misfits"] == {"enclosure": 1, "price": 1, "status": 1}
    assert mover.rows("SELECT to_regclass('animals'), to_regnamespace('migration')") == [(None, None)]


def test_a_full_run_a_window_and_a_reconcile_move_the_zoo(mover: Mover) -> None:
    fill(mover.database)
    first = mover.passed("first")
    assert outcome(first["animals"]) == (6, 4, 0, 0, {"required": 1, "duplicate_key": 1})
    assert outcome(first["visits"]) == (3, 2, 0, 0, {"orphan": 1})
    assert (first["animals"]["misfits"], first["visits"]["misfits"]) == ({"enclosure": 1, "price": 1, "status": 1}, {"at": 1})
    assert first["animals"]["conversions"] == {"status": {"alias": {"count": 1, "samples": [['"HEALTHY"', '"healthy"']]}}}
    assert set(first["animals"]["drift"]) == {"diet"}
    keepers = {"path": "keepers", "elements": 4, "rows": 3, "rejected": 1, "of_parents_not_loaded": 0}
    assert first["animals"]["arrays"] == [keepers]
    assert animals(mover) == [
        ("Ada", "A-1", "healthy", "1200.50", BORN, "North", True, None),
        ("Cy", "C-1", "healthy", "99", None, None, None, {"status": "HEALTHY"}),
        ("Di", "D-1", None, None, None, None, None,
         {"status": "asleep", "price": "free", "enclosure": "the hall", "diet": "hay"}),
        ("Fay", "F-1", None, None, None, None, None, None),
    ]  # fmt: skip
    assert animal_keepers(mover) == [
        ("Ada", 0, uuid_of(101), "Kim", "555-1", MAY),
        ("Ada", 1, None, "Lou", None, None),
        ("Fay", 0, None, "Kim", None, None),
    ]
    assert visits(mover) == [("Max", "Ada", MAY, None), ("Tom", "Cy", None, {"at": "2 May", "animalId": str(CY)})]
    assert mover.rejects() == {
        ("animals", str(BO), "tag", "duplicate_key"),
        ("animals", str(EVA), "tag", "required"),
        ("animals", str(FAY), "keepers.1.name", "required"),
        ("visits", str(oid(12)), "animalId", "orphan"),
    }

    # What the services do in June: Eva gets a tag, Ada's keepers change places, Gus and a visit are new.
    june = {"updatedAt": JUNE + timedelta(minutes=5)}
    lou, kim = {"name": "Lou"}, {"_id": oid(101), "name": "Kim", "phone": "555-1", "since": MAY}
    mover.database.animals.update_one({"_id": EVA}, {"$set": {"tag": "E-1", **june}})
    mover.database.animals.update_one({"_id": ADA}, {"$set": {"keepers": [lou, kim], **june}})
    mover.database.animals.insert_one({"_id": oid(7), "tag": "G-1", "name": "Gus", **june})
    mover.database.visits.insert_one({"_id": oid(14), "animalId": oid(7), "visitor": "Zoe", "at": JUNE, **june})
    second = moved_window(mover, "second", JUNE)
    assert outcome(second["animals"]) == (3, 2, 1, 0, {})
    assert outcome(second["visits"]) == (1, 1, 0, 0, {})
    third = moved_window(mover, "third", JUNE + timedelta(hours=1))
    assert outcome(third["visits"]) == (1, 1, 0, 0, {})  # the one that waited for Eva
    assert [row[:2] for row in animal_keepers(mover)] == [("Ada", 0), ("Ada", 1), ("Fay", 0)]
    assert [row[3] for row in animal_keepers(mover)] == ["Lou", "Kim", "Kim"]
    assert [row[:2] for row in visits(mover)] == [("Max", "Ada"), ("Mia", "Eva"), ("Tom", "Cy"), ("Zoe", "Gus")]
    assert {reject[1] for reject in mover.rejects()} == {str(BO), str(FAY)}
    assert mover.run("fourth").reconcile()["passed"] is True

    # What no window sees.
    mover.database.animals.update_one({"_id": CY}, {"$set": {"price": Decimal128("98.90")}})
    mover.database.visits.delete_one({"_id": oid(11)})
    red = mover.run("fifth").reconcile()
    found = {(failure["check"], failure["table"]) for failure in red["failures"]}
    assert found == {("reconcile", "animals"), ("unexplained_rows", "visits")}
    assert mover.run("sixth").reconcile(repair=True)["passed"] is True
    assert mover.column("SELECT price::text FROM animals WHERE name = 'Cy'") == ["98.90"]
    assert [row[0] for row in visits(mover)] == ["Mia", "Tom", "Zoe"]


def moved_window(mover: Mover, run_id: str, start: datetime) -> dict[str, Any]:
    """An hour's window, all of whose checks pass."""
    run = mover.run(run_id)
    run.follow(Request(WINDOW, start, start + timedelta(hours=1), lookback=timedelta(0)))
    return counts(run)


def animals(mover: Mover) -> list[tuple[Any, ...]]:
    return mover.rows(
        "SELECT name, tag, status, price::text, born_at, enclosure_name, enclosure_heated, extra FROM animals ORDER BY name"
    )


def animal_keepers(mover: Mover) -> list[tuple[Any, ...]]:
    return mover.rows(
        """
        SELECT a.name, k.ordinal, k.source_id::text, k.name, k.phone, k.since
        FROM animal_keepers k JOIN animals a ON a.id = k.animal_id ORDER BY a.name, k.ordinal
        """
    )


def visits(mover: Mover) -> list[tuple[Any, ...]]:
    return mover.rows(
        "SELECT v.visitor, a.name, v.at, v.extra FROM visits v JOIN animals a ON a.id = v.animal_id ORDER BY v.visitor"
    )


# ------------------------------------------------------------------------------------- what the other files are told

LOAD = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

bag = DagBag(sys.argv[1])
dags = bag.dags
print(json.dumps({
    "errors": bag.import_errors,
    "tasks": sorted(dags["zoo"].task_dict),
    "collections": dags["zoo"].params["collections"],
    "platform": sorted(dags["platform"].task_dict),
    "reconcile": dags["reconcile"].params.get_param("domain").schema["enum"],
}))
"""


def test_the_dag_loads_and_platform_and_reconcile_know_the_domain(checkout: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(checkout / "dags")],
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
            "PYTHONPATH": str(checkout / "plugins"),
            "AIRFLOW_HOME": str(tmp_path / "home"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(checkout / "dags"),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(checkout / "plugins"),
        },
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert loaded["errors"] == {}
    assert {"prepare", "plan", "move.load", "settle", "gate"} <= set(loaded["tasks"])
    assert loaded["collections"] == ["animals", "visits"]
    assert "zoo" in loaded["platform"]
    assert "zoo" in loaded["reconcile"]


def test_readers_are_kept_from_what_is_sensitive(zoo: Domain, checkout: Path) -> None:
    lines = re.findall(r"^ +\('(\w+)', +'\{(.*)\}'", (checkout / "include" / "sql" / "roles.sql").read_text(), re.M)
    hidden = {table: columns.split(", ") if columns else [] for table, columns in lines}
    assert {table.name: hidden[table.name] for table in zoo.tables} == {
        table.name: [column.name for column in table.columns if column.sensitive] for table in zoo.tables
    }
