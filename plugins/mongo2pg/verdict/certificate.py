"""The report of a run as a document that a person can hand to an auditor: `report.json` and `report.html`.

The page says nothing that the JSON does not: it is made from it, and names its sha256, which the log and the books hold too.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemBytecodeCache, FileSystemLoader, StrictUndefined
from jinja2.bccache import Bucket

from mongo2pg.books import Connection, RunKey
from mongo2pg.checks.differences import READ, SHOWN, excerpts
from mongo2pg.documents.reasons import REASONS
from mongo2pg.files.staging import written
from mongo2pg.model import Domain
from mongo2pg.queries import INCLUDE

if TYPE_CHECKING:
    from mongo2pg.files.staging import StagingPath

PAGES = INCLUDE.parent / "report"
# What reads, converts and writes values: whoever repeats the run wants the same.
LIBRARIES = ("apache-airflow", "pymongo", "pyarrow", "pgpq", "psycopg", "orjson")
# What a run that could not begin has to show.
NO_EVIDENCE: Mapping[str, Any] = {
    "run": {},
    "versions": {},
    "readings": [],
    "rejects": [],
    "round_trip": [],
    "differences": {"total": 0, "by_column": [], "samples": []},
}


def evidence(conn: Connection, run: RunKey, domain: Domain) -> dict[str, Any]:
    """What the books know of a run besides its counts and checks: who, when, by which versions, rejects and differences."""
    return {
        "run": _run(conn, run),
        "versions": _versions(domain),
        "readings": _readings(conn, run),
        "rejects": _rejects(conn, run, domain),
        "round_trip": _round_trip(conn, run),
        "differences": _differences(conn, run),
    }


def write(folder: StagingPath, report: Mapping[str, Any]) -> str:
    """Writes `report.json` and `report.html` into the folder; returns the sha256 of the first, which the second names."""
    with written(folder / "report.json") as file:
        file.write(json.dumps(report, indent=1, sort_keys=True, default=str).encode())
    with written(folder / "report.html") as page:
        page.write(render(report, file.sha256).encode())
    return file.sha256


def remove(folder: StagingPath) -> None:
    """Takes both away: a run that begins again is not to be judged by what it was before."""
    for name in ("report.html", "report.json"):
        (folder / name).unlink(missing_ok=True)


def render(report: Mapping[str, Any], sha256: str) -> str:
    """The report of a domain, or of a platform of several, as a page without scripts or anything from elsewhere."""
    pages = Environment(
        loader=FileSystemLoader(PAGES),
        bytecode_cache=_Compiled(str(PAGES / "__pycache__")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["grouped"] = lambda number: f"{number:,}"
    return pages.get_template("certificate.html").render(
        report=report, domains=report.get("domains", [report]), sha256=sha256, reasons=REASONS
    )


class _Compiled(FileSystemBytecodeCache):
    """Keeps the page compiled beside its source, as Python keeps its modules, and for as long as the source is the same.

    To compile it takes longer than all the rest of a report.
    """

    def dump_bytecode(self, bucket: Bucket) -> None:
        if not sys.dont_write_bytecode:
            with suppress(OSError):  # whoever runs this may not write there
                Path(self.directory).mkdir(exist_ok=True)
                super().dump_bytecode(bucket)


def _run(conn: Connection, run: RunKey) -> dict[str, Any]:
    row = conn.execute(
        """
        SELECT jsonb_build_object('mode', mode, 'params', params, 'started_by', started_by, 'plan_id', %s::text,
                                  'started_at', started_at, 'reported_at', now(), 'replaces', report_sha256,
                                  'source', ends -> 'source', 'target', ends -> 'target')
        FROM migration.runs WHERE domain = %s AND run_id = %s
        """,
        (run.plan_id, run.domain, run.run_id),
    ).fetchone()
    return dict(row[0]) if row else {}


def _versions(domain: Domain) -> dict[str, Any]:
    return {
        "mongo2pg": _code(),
        "Python": platform.python_version(),
        **_libraries(),
        "declarations": {collection.name: collection.fingerprint for collection in domain.collections},
    }


@cache
def _libraries() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


@cache
def _code() -> str:
    """One digest over the engine and its SQL: whoever holds a checkout beside it knows whether that is what ran."""
    files = [*Path(__file__).parents[1].rglob("*.py"), *(INCLUDE / "migration").glob("*.sql")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()[:16]


def _readings(conn: Connection, run: RunKey) -> list[dict[str, Any]]:
    """Per collection: its chunks, when they were read by the source's clock, and one digest over the digests of all raw files."""
    rows = conn.execute(
        """
        SELECT collection, count(*), min(read_time), max(read_time),
               encode(sha256(convert_to(string_agg(raw_sha256, ',' ORDER BY chunk), 'UTF8')), 'hex')
        FROM migration.passes WHERE (domain, run_id, plan_id, stage) = (%s, %s, %s, 'load')
        GROUP BY collection ORDER BY collection
        """,
        tuple(run),
    )
    readings = [(collection, chunks, _moment(first), _moment(last), digest) for collection, chunks, first, last, digest in rows]
    return _named(("collection", "chunks", "read_from", "read_to", "raw_sha256"), readings)


def _moment(moment: Any) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"


def _rejects(conn: Connection, run: RunKey, domain: Domain) -> list[dict[str, Any]]:
    """The open rejects of this run by collection, field, kind, reason and BSON type, each with one document as an example.

    Of elements the field is their array or map: where in it they stood, each reject says.
    """
    children = [(collection.name, child.path) for collection in domain.collections for child in collection.children]
    rows = conn.execute(
        """
        SELECT collection, field, element, reason, bson_type, count(*), min(document_id::text)
        FROM migration.rejects r CROSS JOIN LATERAL (
            SELECT CASE WHEN element THEN (
                SELECT max(h.path) FROM unnest(%s::text[], %s::text[]) AS h (collection, path)
                WHERE h.collection = r.collection AND starts_with(r.path, h.path || '.')
            ) ELSE r.path END AS field
        ) AS named
        WHERE state = 'open' AND (domain, run_id, plan_id) = (%s, %s, %s)
        GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5
        """,
        ([name for name, _ in children], [path for _, path in children], *run),
    )
    return _named(("collection", "field", "element", "reason", "bson_type", "count", "example"), rows.fetchall())


def _round_trip(conn: Connection, run: RunKey) -> list[dict[str, Any]]:
    """Per table: how many documents or elements came back, how often what was equivalent and not equal, and the differences."""
    found: dict[str, dict[str, Any]] = {}
    for table, actual in conn.execute(
        """
        SELECT subject, actual FROM migration.checks
        WHERE (domain, run_id, check_name) = (%s, %s, 'round_trip') AND verdict <> 'not_run' ORDER BY subject, chunk
        """,
        (run.domain, run.run_id),
    ):
        one = found.setdefault(table, {"table": table, "rebuilt": 0, "passed_over": 0, "differences": 0, "equivalences": Counter()})
        one["rebuilt"] += actual.get("documents", 0) + actual.get("elements", 0)
        one["passed_over"] += actual.get("passed_over", 0) + actual.get("rejected", 0)
        one["differences"] += actual["differences"]
        one["equivalences"].update(actual["equivalences"])
    return list(found.values())


def _differences(conn: Connection, run: RunKey) -> dict[str, Any]:
    """How many differences by table, column and kind, and the first few; values of sensitive columns are digests already."""
    counted = conn.execute(
        """
        SELECT table_name, column_name, kind, count(*) FROM migration.differences WHERE (domain, run_id) = (%s, %s)
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
        """,
        (run.domain, run.run_id),
    )
    by_column = _named(("table", "column", "kind", "count"), counted.fetchall())
    first = conn.execute(
        """
        SELECT table_name, id::text, column_name, kind, left(source, %s), left(target, %s) FROM migration.differences
        WHERE (domain, run_id) = (%s, %s) ORDER BY table_name, id, column_name LIMIT %s
        """,
        (READ, READ, run.domain, run.run_id, SHOWN),
    )
    rows = [(*row[:4], *excerpts(*row[4:])) for row in first]
    samples = _named(("table", "id", "column", "kind", "source", "target"), rows)
    return {"total": sum(each["count"] for each in by_column), "by_column": by_column, "samples": samples}


def _named(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in rows]
