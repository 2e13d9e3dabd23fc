"""The names of what the books hold: runs, loads, rejects, checks."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import psycopg

Connection = psycopg.Connection[Any]
Verdict = Literal["passed", "failed", "not_run"]


class RunKey(NamedTuple):
    """Which run, under which plan, of which domain."""

    domain: str
    run_id: str
    plan_id: str = ""


class Load(NamedTuple):
    """A chunk that a run loaded under a plan."""

    run_id: str
    plan_id: str
    chunk: int


class RejectRow(NamedTuple):
    """A reject on its way into the books; `document` are the document's bytes, `document_id` its name (`document_ids`), and
    `parent_id` the id of the row that an orphan refers to.
    """

    document_id: str
    path: str
    element: bool
    bson_type: str
    reason: str
    document: bytes
    chunk: int
    parent_id: str | None = None


class Check(NamedTuple):
    """One comparison: what was expected, what was found, and the verdict. `chunk` is -1 for the whole."""

    check: str
    subject: str
    verdict: Verdict
    expected: Any = None
    actual: Any = None
    detail: str | None = None
    chunk: int = -1
