"""The page of a report: it shows all that the report says, as text, whatever that is."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from mongo2pg.page import render

COLLECTION = {
    "collection": "users",
    **dict.fromkeys(("source_before", "source_after", "read", "inserted", "updated", "unchanged", "superseded", "stale"), 1234567),
    "rejected": {"orphan": 2, "enum": 40},
    "misfits": {"age": 17},
    "conversions": {"level": {"alias": {"count": 3, "samples": [["LOW", "low"], ["HIGH", "high"]]}}},
    "drift": {"nickname": {"bson_types": {"string": 5, "int": 1}, "count": 6, "first_id": "the first one"}},
    "arrays": [{"path": "roles", "elements": 9, "rows": 8, "rejected": 1, "of_parents_not_loaded": 0}],
}
REPORT: dict[str, Any] = {
    "domain": "auth",
    "run_id": "the run",
    "passed": False,
    "failed_tasks": ["move.load", "settle"],
    "run": {"mode": "full", "started_at": "nine", "reported_at": "ten", "started_by": None, "plan_id": "the plan"},
    "failures": [
        {
            **{"check": "checksums", "table": "users", "chunk": 12, "verdict": "failed", "detail": "what differs"},
            **{"expected": {"rows": 2, "Name": ["a"]}, "actual": None},
        }
    ],
    "collections": [COLLECTION],
    "tables": [
        {"table": "users", "rows": 3, "source_checksum": "aa", "target_checksum": "aa"},
        {"table": "roles", "rows": 3, "source_checksum": "bb", "target_checksum": "cc"},
        {"table": "skills", "rows": 0, "source_checksum": "", "target_checksum": ""},
    ],
    "checks": [
        {"check": "live", "table": "users", "verdict": "passed"},
        {"check": "accounting", "table": "users", "verdict": "not_run"},
        {"check": "live", "table": "roles", "verdict": "failed"},
    ],
    "round_trip": [{"table": "users", "rebuilt": 100, "passed_over": 1, "differences": 0, "equivalences": {"field_order": 1500}}],
    "rejects": [
        {"collection": "users", "element": True, "reason": "orphan", "bson_type": "objectId", "count": 1, "example": "of a reject"}
    ],
    "differences": {
        "total": 4321,
        "by_column": [{"table": "users", "column": None, "kind": "missing", "count": 4321}],
        "samples": [{"table": "users", "id": None, "column": "email", "kind": "different", "source": "'x'", "target": None}],
    },
    "readings": [{"collection": "users", "chunks": 2, "read_from": "one o'clock", "read_to": None, "raw_sha256": "dd"}],
    "versions": {"PostgreSQL": "18", "declarations": {"users": "f1", "skilltrees": "f2"}},
}


class Page(HTMLParser):
    """The cells of the page's tables and lists row by row, and the names of all its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        if tag in ("tr", "dt"):
            self.rows.append([])
        if tag in ("td", "dt", "dd"):
            self.in_cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "dt", "dd")

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.rows[-1][-1] += data


def test_every_part_of_the_report_is_on_the_page() -> None:
    rows = Page(render(REPORT, "the digest")).rows
    for want in (
        ["Run", "the run"],
        ["This page is made from", "report.json, sha256 the digest"],
        ["Started", "nine by the schedule or another run"],
        ["Plan", "the plan"],
        ["checksums", "users", "12", "failed", 'Name ["a"], rows 2', ""],
        ["", "what differs"],
        ["users", *["1,234,567"] * 7, "42", "1,234,567"],
        ["users.roles", "9", "8", "1", "0"],
        ["users", "3", "aa", "aa", "equal"],
        ["roles", "3", "bb", "cc", "different"],
        ["skills", "0", "not compared", "not compared", "not run"],
        ["accounting", "0", "0", "1"],
        ["live", "1", "1", "0"],
        ["users", "100", "1", "0", "field order 1,500"],
        ["users", "element", "orphan: the row it refers to is not there", "objectId", "1", "of a reject"],
        ["users.age", "17"],
        ["users.level", "alias", "3", "LOW → low; HIGH → high"],
        ["users.nickname", "string, int", "6", "the first one"],
        ["users", "", "missing", "4,321"],
        ["users", "", "email", "different", "'x'", "NULL"],
        ["users", "2", "one o'clock", "", "dd"],
        ["PostgreSQL", "18"],
        ["Declarations", "skilltrees f2, users f1"],
    ):
        assert want in rows


# Whose names the documents and the books give, too; those of everything else are this project's.
NAMED_BY_DATA = ("misfits", "conversions", "level", "drift", "bson_types", "expected", "equivalences", "versions", "declarations")
MARKUP = "</td><script>'\"&{x}%s"


def spoilt(value: Any, within: str = "") -> Any:
    """The report with markup in every text, and in every name that is not this project's own."""
    if isinstance(value, dict):
        names = {name: name + MARKUP if within in NAMED_BY_DATA and name != "declarations" else name for name in value}
        return {names[name]: spoilt(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [spoilt(each) for each in value]
    return value + MARKUP if isinstance(value, str) and within != "reason" else value


def test_nothing_that_a_report_says_becomes_markup() -> None:
    plain, got = Page(render(REPORT, "the digest")), Page(render(spoilt(REPORT), "the digest"))
    assert got.tags == plain.tags
    assert got.rows[0] == ["Run", f"the run{MARKUP}"]
    assert [f"users{MARKUP}.age{MARKUP}", "17"] in got.rows


def test_a_section_with_nothing_to_say_is_left_out() -> None:
    nothing = {"misfits": {}, "conversions": {}, "drift": {}, "arrays": []}
    page = render(REPORT | {"failures": [], "rejects": [], "failed_tasks": [], "collections": [COLLECTION | nothing]}, "the digest")
    for title in ("Why it failed", "Rejects", "did not succeed", "Values that", "conversions", "nobody declared", "Elements"):
        assert f"<h3>{title}" not in page
        assert title in render(REPORT, "the digest")


def test_a_reconcile_says_that_everything_was_read_again() -> None:
    page = render(REPORT | {"run": REPORT["run"] | {"mode": "reconcile"}}, "the digest")
    assert "Every document was read from MongoDB for this comparison" in page
    assert "was kept byte for byte" in render(REPORT, "the digest")
