"""The end of every run: the report, and the verdict. A run is green only if every task and every check passed."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mongo2pg import books
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.checks.differences import SHOWN
from mongo2pg.files.planned import WINDOW
from mongo2pg.files.staging import RunStaging, read_json
from mongo2pg.model import Domain
from mongo2pg.verdict import certificate
from mongo2pg.verdict.owed import not_run, owed_checks

log = logging.getLogger(__name__)

# What became of a collection's documents, in the report as in the check `accounting`.
OUTCOME = ("read", "inserted", "updated", "unchanged", "superseded", "rejected")


def conclude(
    conn: Connection, run: RunKey, domain: Domain, staging: RunStaging, task_states: Mapping[str, str]
) -> tuple[dict[str, Any], str]:
    """Writes the run's report beside its files and into the books; returns it with the sha256 of its file.

    A check that the run owes and that left no verdict, for its task was killed, skipped or never began, is booked as `not_run`.
    One attempt judges at a time: file and books are of the same one, and it saw all that stood in the books before.
    """
    with conn.transaction():
        books.lock_report(conn, run)
        books.write_checks(conn, run, not_run(owed_checks(domain, run, staging), books.read_checks(conn, run)))
        _check_declaration(conn, run, domain, staging)
        report = report_domain(conn, run, domain, staging, task_states)
        sha256 = certificate.write(staging.folder, report)
        books.finish_run(conn, run, report["passed"], report, sha256)
    return report, sha256


def _check_declaration(conn: Connection, run: RunKey, domain: Domain, staging: RunStaging) -> None:
    """Books a failed check for what is declared otherwise than when the run was planned: the report names what is declared now."""
    changed = staging.by_other_declaration(domain) if run.plan_id else []
    detail = f"has changed since this run was planned: run {domain.name} with mode full"
    books.forget_verdicts(conn, run, ["declaration"], [collection.name for collection in domain.collections])
    books.write_checks(conn, run, [Check("declaration", name, "failed", detail=detail) for name in changed])


def report_domain(
    conn: Connection, run: RunKey, domain: Domain, staging: RunStaging, task_states: Mapping[str, str]
) -> dict[str, Any]:
    """What a person wants to know of a run: per collection, table and check; `passed` only if nothing failed or is missing."""
    checks = books.read_checks(conn, run)
    verdicts: dict[tuple[str, str], str] = {}
    for check in checks:
        key = (check.check, check.subject)
        verdicts[key] = _worse(verdicts.get(key, "passed"), check.verdict)
    failures = [check for check in checks if check.verdict != "passed"]
    shown = _first_of_each(failures)
    failed_tasks = failed(task_states)
    moved = _moved_under(run, staging)
    return {
        "domain": domain.name,
        "run_id": run.run_id,
        "passed": bool(checks) and not failed_tasks and set(verdicts.values()) == {"passed"},
        "collections": [_collection(conn, moved, collection.name, staging, checks) for collection in domain.collections],
        "tables": [_table(table.name, checks) for table in domain.tables],
        "checks": [{"check": name, "table": subject, "verdict": verdict} for (name, subject), verdict in sorted(verdicts.items())],
        "failures": [
            {
                "check": c.check,
                "table": c.subject,
                "chunk": c.chunk,
                "verdict": c.verdict,
                "expected": c.expected,
                "actual": c.actual,
                "detail": c.detail,
            }
            for c in shown
        ],
        "more_failures": len(failures) - len(shown),
        "failed_tasks": failed_tasks,
        **certificate.evidence(conn, moved, domain),
    }


def _moved_under(run: RunKey, staging: RunStaging) -> RunKey:
    """The plan that documents were moved under: a reconcile that repairs makes one beside that of its comparison."""
    path = staging.folder / "repair.json"
    repair = read_json(path) if path.exists() else {}
    return run._replace(plan_id=repair["plan_id"]) if repair.get("compared_by") == run.plan_id else run


def report_unprepared(domain: Domain, run: RunKey, task_states: Mapping[str, str]) -> dict[str, Any]:
    """The report of a run that could not begin: nothing was checked, so nothing passed."""
    failed_tasks = failed(task_states)
    checks = [{"check": each.check, "table": each.subject, "verdict": "not_run"} for each in owed_checks(domain, run)]
    return {
        "domain": domain.name,
        "run_id": run.run_id,
        "passed": False,
        "collections": [],
        "tables": [],
        "checks": checks,
        "failures": [],
        "more_failures": 0,
        "failed_tasks": failed_tasks,
        **certificate.NO_EVIDENCE,
    }


def is_current(conn: Connection, run: RunKey, domain: Domain, staging: RunStaging) -> bool:
    """Whether the books still say of the run's collections what its report and its checks say.

    Another domain that settled since may have taken rows to the rejects. Who did that may be dead: only the books know.
    """
    report, checks = books.last_report(conn, run), books.read_checks(conn, run)
    told = {each["collection"]: each for each in report["collections"]} if report else {}
    counted = {check.subject: check.actual for check in checks if check.check == "accounting" and check.actual}
    for name in told.keys() & {collection.name for collection in domain.collections}:
        now = _collection(conn, run, name, staging, checks)
        reported = all(told[name][key] == now[key] for key in (*OUTCOME, "misfits", "arrays"))
        if not reported or any(counted[name][key] != now[key] for key in OUTCOME if name in counted):
            return False
    return True


def failed(task_states: Mapping[str, str]) -> list[str]:
    """The tasks that turn a run red, those first that failed themselves: one that was skipped had nothing to do."""
    red = (task for task, state in task_states.items() if state not in ("success", "skipped"))
    return sorted(red, key=lambda task: (task_states[task] == "upstream_failed", task))


def faults(report: Mapping[str, Any]) -> list[str]:
    """Why the run is red, a sentence each, what failed before what did not run for that; empty for a green one."""
    sentences = [f"the task {task} did not succeed" for task in report["failed_tasks"]]
    sentences += [f"{c['check']} of {c['table']}: {c['verdict']}" for c in report["checks"] if c["verdict"] == "failed"]
    missing: dict[str, list[str]] = {}
    for check in report["checks"]:
        if check["verdict"] == "not_run":
            missing.setdefault(check["check"], []).append(check["table"])
    return sentences + [f"{name} did not run for {', '.join(tables)}" for name, tables in missing.items()]


def _first_of_each(failures: list[Check]) -> list[Check]:
    """The first few of each check and subject: what is wrong everywhere is wrong in each of thousands of chunks."""
    seen: Counter[tuple[str, str]] = Counter()
    first = []
    for failure in failures:
        seen[failure.check, failure.subject] += 1
        if seen[failure.check, failure.subject] <= SHOWN:
            first.append(failure)
    return first


def _worse(one: str, other: str) -> str:
    return max(one, other, key=("passed", "not_run", "failed").index)


def _collection(conn: Connection, run: RunKey, name: str, staging: RunStaging, found: list[Check]) -> dict[str, Any]:
    totals = books.totals(conn, run, name)
    counted = next((check.expected for check in found if (check.check, check.subject) == ("accounting", name)), None) or {}
    path = staging.collection(run.plan_id, name).plan
    plan = read_json(path) if run.plan_id and path.exists() else {}
    watermark = books.watermark(conn, run, name)
    arrays = [
        {"path": path, **{key: counts.get(key, 0) for key in ("elements", "rows", "rejected", "of_parents_not_loaded")}}
        for path, counts in totals["arrays"].items()
    ]
    return {
        "collection": name,
        "source_before": plan.get("source_before", 0),
        "source_after": counted.get("source_after", 0),
        **{key: totals[key] for key in OUTCOME},
        "stale": books.count_stale(conn, run, name),
        "watermark": watermark and watermark.isoformat(),
        "misfits": totals["misfits"],
        "conversions": totals["conversions"],
        "drift": totals["drift"],
        "bytes": totals["bytes"],
        "arrays": arrays,
        **(_window(plan) if plan.get("scope") == WINDOW else {}),
    }


def _window(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What was moved, and the documents whose change key tells no time: those left wait for reconcile."""
    without, moved = plan["without_key"], plan["without_key_in_window"]
    return {
        "window": plan["window"],
        "scanned": plan["scanned"],
        "without_key": {"documents": without, "moved": moved, "left": max(without - moved, 0)},
    }


def _table(name: str, found: list[Check]) -> dict[str, Any]:
    sums = [c for c in found if c.check in ("checksums", "reconcile") and c.subject == name and c.actual]
    return {
        "table": name,
        "rows": sum(check.actual["rows"] for check in sums),
        "source_checksum": _checksum([check.expected["sum"] for check in sums]),
        "target_checksum": _checksum([check.actual["sum"] for check in sums]),
    }


def _checksum(sums: list[list[int]]) -> str:
    """The chunks' sums as one text of 128 bits: the rows of a table have the same one however they were cut into chunks."""
    return "".join(f"{sum(parts) % 2**64:016x}" for parts in zip(*sums, strict=True))
