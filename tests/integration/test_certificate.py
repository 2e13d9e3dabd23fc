"""The report as a document for auditors: complete, bound to its file by a digest, and without anything secret."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from deepiri.auth import AUTH
from mongo2pg import books
from mongo2pg.books import RejectRow, RunKey
from mongo2pg.databases.window import Window
from mongo2pg.model import Child, Collection, Column, Domain
from mongo2pg.run import Run
from mongo2pg.verdict import certificate, gate
from mongo2pg.verdict.across import report_platform
from tests.documents import NOON, oid, uuid_of
from tests.mover import Mover


@pytest.fixture
def mover(source: Any, target: Any, mongo_database: Any, tmp_path: Path) -> Iterator[Mover]:
    mongo_database["users"].insert_many(
        [
            {"_id": oid(1), "email": "ada@example.org", "password": "$2b$10$secret-of-ada", "name": "Ada <b>", "nickname": "A"},
            {"_id": oid(2), "email": 7, "password": "$2b$10$secret-of-bob", "name": "Bob"},
            {"_id": oid(3), "email": "eve@example.org", "password": "$2b$10$secret-of-eve", "name": "Eve", "isActive": "yes"},
        ]
    )
    for name in ("skilltrees", "socialconnections", "progresspoints"):
        mongo_database.create_collection(name)
    with source.connect() as client, target.connect() as conn:
        yield Mover(client[mongo_database.name], conn, tmp_path / "staging")


def pages(run: Run) -> tuple[bytes, str]:
    return (run.staging.folder / "report.json").read_bytes(), (run.staging.folder / "report.html").read_text()


def test_the_page_names_the_digest_of_the_report_and_so_do_the_books(mover: Mover) -> None:
    run = mover.move("r1")
    report = run.verify()
    content, page = pages(run)
    digest = hashlib.sha256(content).hexdigest()
    assert json.loads(content) == json.loads(json.dumps(report, default=str))
    assert digest in page
    assert mover.rows("SELECT state, report_sha256 FROM migration.runs WHERE run_id = 'r1'") == [("passed", digest)]


def test_a_run_that_somebody_triggers_again_by_its_old_id_bears_that_name(mover: Mover) -> None:
    run = mover.move("r1")
    for who in ("ada", "bob"):
        books.start_run(mover.conn, run.key, "full", {}, who, {})
    assert run.verify()["run"]["started_by"] == "bob"


def test_the_page_says_what_was_rejected_kept_and_compared(mover: Mover) -> None:
    run = mover.move("r1")
    report = run.verify()
    assert report["rejects"] == [
        {
            "collection": "users",
            "field": "email",
            "element": False,
            "reason": "type_mismatch",
            "bson_type": "int",
            "count": 1,
            "example": json.dumps({"$oid": str(oid(2))}),
        }
    ]
    assert report["versions"]["declarations"]["users"] == AUTH.collection("users").fingerprint
    assert [(each["collection"], each["chunks"]) for each in report["readings"]] == [
        ("progresspoints", 1),
        ("skilltrees", 1),
        ("socialconnections", 1),
        ("users", 1),
    ]
    users = next(each for each in report["round_trip"] if each["table"] == "users")
    assert (users["rebuilt"], users["passed_over"], users["differences"]) == (2, 1, 0)
    _, page = pages(run)
    for text in (
        "Round trip: documents rebuilt",
        "references",
        "uniqueness",
        "the column takes no value of this BSON type",
        "users.isActive",
        "users.nickname",
        "passed",
        run.key.plan_id,
        "<td>email</td>",
        f"<strong>{mover.database.name}</strong> on 127.0.0.1:",
        f"<strong>{mover.conn.info.dbname}</strong> on ",
        f"as {mover.conn.info.user}, PostgreSQL ",
    ):
        assert text in page
    table = next(each for each in report["tables"] if each["table"] == "users")
    assert page.count(table["source_checksum"]) == 2


def test_an_element_stands_in_an_array_of_its_own_collection_whatever_paths_others_have(mover: Mover) -> None:
    run = mover.move("r1")
    users = Collection("users", "users", "at", (), (Child("roles", "roles", "scalars", (Column("", "text", "role"),)),))
    teams = Collection("teams", "teams", "at", (), (Child("more", "roles.a", "scalars", (Column("", "text", "more"),)),))
    odd = RejectRow('{"$oid":"65a1b2c3d4e5f60718293a4b"}', "roles.a.b", True, "int", "type_mismatch", b"", 0)
    books.add_rejects(mover.conn, run.key, "users", [odd])
    found = certificate.evidence(mover.conn, run.key, Domain("auth", (users, teams)))["rejects"]
    assert [each["field"] for each in found if each["element"]] == ["roles"]


def test_the_page_says_which_window_was_moved_and_which_array_an_element_stood_in(mover: Mover, mongo_database: Any) -> None:
    mover.move("r1")
    mongo_database.users.insert_one({"_id": oid(4), "email": "dan@example.org", "roles": ["a", 5], "updatedAt": NOON})
    run = mover.run("r2")
    run.move(window=Window(NOON, NOON + timedelta(hours=1)))
    report = run.verify()
    assert [(each["field"], each["element"], each["count"]) for each in report["rejects"]] == [("roles", True, 1)]
    _, page = pages(run)
    for text in ("Windows: the documents", NOON.isoformat(), (NOON + timedelta(hours=1)).isoformat(), "<td>roles</td>"):
        assert text in page
    assert {each["check"] for each in report["checks"]}.isdisjoint({"deletes"}), "a window looks for none"


def test_no_secret_and_no_markup_of_a_document_reaches_the_page(mover: Mover) -> None:
    run = mover.move("r1")
    mover.rows("UPDATE users SET password = 'stolen', name = '<script>' WHERE id = %s RETURNING 1", uuid_of(1))
    report = run.verify()
    content, page = pages(run)
    assert report["passed"] is False
    assert {(each["table"], each["column"]) for each in report["differences"]["by_column"]} == {
        ("users", "password"),
        ("users", "name"),
    }
    for secret in ("secret-of", "stolen"):
        assert secret not in page
        assert secret not in content.decode()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_a_field_s_name_is_no_line_of_its_own_in_the_log(
    mover: Mover, mongo_database: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    mongo_database.users.update_one({"_id": oid(1)}, {"$set": {'a\nAUDIT {"passed": true}': 1, "x" * 1000: 1}})
    mover.move("r1")
    said = [record.getMessage() for record in caplog.records if "is not declared" in record.getMessage()]
    assert any('users.a\\nAUDIT {"passed": true} is not declared' in each for each in said)
    assert all("\n" not in each and len(each) < 400 for each in said)


def test_a_row_that_is_missing_is_no_row_of_nulls_on_the_page(mover: Mover) -> None:
    run = mover.move("r1")
    mover.rows("DELETE FROM users WHERE id = %s RETURNING 1", uuid_of(1))
    run.verify()
    _, page = pages(run)
    assert '<td>missing</td><td class="mono"></td><td class="mono"></td>' in page


def test_a_reason_that_nobody_knows_is_shown_and_no_gate_fails_by_it(mover: Mover) -> None:
    run = mover.move("r1")
    mover.rows("UPDATE migration.rejects SET reason = 'by hand' WHERE reason = 'type_mismatch' RETURNING 1")
    assert run.verify()["passed"] is False
    assert "<td>by hand</td>" in pages(run)[1]


def test_a_run_that_could_not_begin_has_a_page_too(tmp_path: Path) -> None:
    report = gate.report_unprepared(AUTH, RunKey("auth", "r1"), {"prepare": "failed"})
    certificate.write(tmp_path, report)
    page = (tmp_path / "report.html").read_text()
    assert "Tasks that did not succeed" in page
    assert "not run" in page


def test_the_page_is_compiled_once_and_made_just_the_same_where_it_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = gate.report_unprepared(AUTH, RunKey("auth", "r1"), {"prepare": "failed"})
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(certificate, "PAGES", Path(shutil.copytree(certificate.PAGES, tmp_path / "pages")))
    kept = certificate.PAGES / "__pycache__"
    shutil.rmtree(kept, ignore_errors=True)
    page = certificate.render(report, "0" * 64)
    assert len(list(kept.iterdir())) == 1
    assert certificate.render(report, "0" * 64) == page
    shutil.rmtree(kept)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(kept))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert certificate.render(report, "0" * 64) == page
    assert not kept.exists()


def test_the_platform_has_one_page_over_all_domains(mover: Mover) -> None:
    mover.move("r1").verify()
    report = report_platform([AUTH], mover.staging, "r1", {})
    page = certificate.render(report, "0" * 64)
    assert "platform" in page
    assert "auth: " in page
