"""The verification reports of all domains, as one file and as tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from demo.console import table

# As many digits of a checksum as a person compares; the file has them all.
DIGITS = 12


def read_domain(staging: Path, domain: str, run_id: str) -> dict[str, Any] | None:
    """The report that the run wrote; None if it ended before it wrote one."""
    file = staging / domain / run_id / "report.json"
    if not file.exists():
        return None
    report: dict[str, Any] = json.loads(file.read_text())
    return report


def merge(reports: Mapping[str, dict[str, Any] | None], states: Mapping[str, str]) -> dict[str, Any]:
    """One report of all domains. It passed if each domain has a report, each says so and every run ended well."""
    domains = [
        report or {"domain": domain, "passed": False, "collections": [], "tables": [], "checks": []}
        for domain, report in reports.items()
    ]
    runs_ended_well = set(states.values()) == {"success"}
    return {"passed": bool(domains) and runs_ended_well and all(one["passed"] for one in domains), "domains": domains}


def describe(domain: Mapping[str, Any]) -> str:
    """One domain as text: what was read and what became of it, the tables on both sides, the checks."""
    parts = [f"{domain['domain']}: {'passed' if domain['passed'] else 'FAILED'}"]
    if domain["collections"]:
        parts += [_collections(domain["collections"]), *_explanations(domain["collections"])]
    if domain["tables"]:
        parts.append(_tables(domain["tables"]))
    if domain["checks"]:
        parts.append(_checks(domain["checks"]))
    return "\n\n".join(parts)


def _collections(collections: list[dict[str, Any]]) -> str:
    heads = ("collection", "source", "read", "inserted", "updated", "unchanged", "superseded", "rejected", "misfits")
    rows = []
    for one in collections:
        before, after = one["source_before"], one["source_after"]
        rows.append(
            (
                one["collection"],
                before if before == after else f"{before:,} then {after:,}",
                *(one[key] for key in heads[2:7]),
                sum(one["rejected"].values()),
                sum(one["misfits"].values()),
            )
        )
    return table(heads, rows)


def _explanations(collections: list[dict[str, Any]]) -> list[str]:
    """Why documents and elements were rejected, and which values are in `extra` because their column cannot hold them."""
    rejected = [(one["collection"], reason, count) for one in collections for reason, count in sorted(one["rejected"].items())]
    counts = ("elements", "rows", "rejected", "of_parents_not_loaded")
    arrays = [(f"{one['collection']}.{a['path']}", *(a[key] for key in counts)) for one in collections for a in one["arrays"]]
    misfits = [(one["collection"], path, count) for one in collections for path, count in sorted(one["misfits"].items())]
    found = (
        (("documents rejected in", "reason", "documents"), rejected),
        (("array", "elements", "rows", "rejected", "of rejected documents"), arrays),
        (("misfits in", "field", "values kept in extra"), misfits),
    )
    return [table(heads, rows) for heads, rows in found if rows]


def _tables(tables: list[dict[str, Any]]) -> str:
    heads = ("table", "rows", "checksum of the source", "checksum of the target", "")
    rows = []
    for one in tables:
        source, target = one["source_checksum"], one["target_checksum"]
        verdict = "equal" if source == target and source is not None else "DIFFERENT"
        rows.append((one["table"], one["rows"], _short(source), _short(target), verdict))
    return table(heads, rows)


def _checks(checks: list[dict[str, Any]]) -> str:
    verdicts = Counter(one["verdict"] for one in checks)
    lines = [f"  checks: {verdicts['passed']} passed, {verdicts['failed']} failed, {verdicts['not_run']} not run"]
    lines += [f"  {one['verdict'].upper()}: {one['check']} of {one['table']}" for one in checks if one["verdict"] != "passed"]
    return "\n".join(lines)


def _short(checksum: object) -> str | None:
    return None if checksum is None else str(checksum)[:DIGITS]
