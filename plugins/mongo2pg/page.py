"""The report of a run, or of a platform of several domains, as a page without scripts or anything from elsewhere.

Whatever the report says is put in by `Markup.format`, which escapes it: no value of a document can become markup. It is Python
and not a template, for to compile a template costs ten times what it takes to write a page that is written once.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from mongo2pg.queries import INCLUDE
from mongo2pg.rejects import REASONS

PAGES = INCLUDE.parent / "report"
# How the documents came to be compared, of which the page says the rest.
_STAGED = Markup("""\
Every document that was read was kept byte for byte; the check <code>live</code>, where it is listed, read MongoDB a second time
  and found the same bytes, but for documents that were written since. From the bytes a second program,""")
_RECONCILED = Markup("""\
Every document was read from MongoDB for this comparison. What seemed to differ was read again, and counts as a difference if it
  still differed and its bytes were the same in two readings one after the other. Rows of PostgreSQL whose document is gone were
  looked for by their ids. From the documents' bytes a second program,""")


def render(report: Mapping[str, Any], sha256: str) -> str:
    """The page of a report; it names the digest of the file that it is made from."""
    domains: Sequence[Mapping[str, Any]] = report.get("domains", [report])
    reconciled = bool(domains) and domains[0]["run"].get("mode") == "reconcile"
    word = "passed" if report["passed"] else "failed"
    page = _file("certificate.html").format(
        name=report.get("domain", "platform"),
        word=word,
        verdict=_verdict(word),
        run_id=report["run_id"],
        sha256=sha256,
        style=_file("certificate.css"),
        reading=_RECONCILED if reconciled else _STAGED,
        sections=_lines([*_failed_tasks(report), *map(_domain, domains)]),
    )
    return str(page)


def _file(name: str) -> Markup:
    return Markup((PAGES / name).read_text())  # noqa: S704 -- what this project wrote itself is markup


def _failed_tasks(report: Mapping[str, Any]) -> Iterator[Markup]:
    if report["failed_tasks"]:
        tasks = _tag("p", ", ".join(report["failed_tasks"]), "bad")
        yield _tag("section", _tag("h2", "Tasks that did not succeed") + tasks)


def _domain(domain: Mapping[str, Any]) -> Markup:
    verdict = _verdict("passed" if domain["passed"] else "failed")
    title = _tag("h2", Markup("{}: {}").format(domain["domain"], verdict))
    return _tag("section", _lines([title, *(part for section in _SECTIONS for part in section(domain))]), "domain")


# --- the sections of a domain, each of which may be empty ------------------------------------------------------------


def _run(domain: Mapping[str, Any]) -> Iterator[Markup]:
    run = domain["run"]
    if run:
        started = f"{run['started_at']} by {run['started_by'] or 'the schedule or another run'}"
        plan = _tag("dd", run["plan_id"] or "none was made", "mono")
        yield _facts([("Mode", run["mode"]), ("Started", started), ("Reported", run["reported_at"]), ("Plan", plan)])


def _failures(domain: Mapping[str, Any]) -> Iterator[Markup]:
    rows = []
    for each in domain["failures"]:
        chunk = each["chunk"] if each["chunk"] >= 0 else _number("")
        sides = (_exactly(_json_facts(each[side])) for side in ("expected", "actual"))
        css = "explained" if each["detail"] else ""
        rows.append(_row(each["check"], each["table"], chunk, _judged(each["verdict"]), *sides, css=css))
        if each["detail"]:
            rows.append(Markup('<tr><td></td><td colspan="5" class="detail">{}</td></tr>').format(each["detail"]))
    yield from _table("Why it failed", "check | of | #chunk | verdict | expected | found", rows, css="faults")


def _documents(domain: Mapping[str, Any]) -> Iterator[Markup]:
    counts = ("source_before", "source_after", "read", "inserted", "updated", "unchanged", "superseded")
    rows = [
        _row(each["collection"], *(each[count] for count in counts), sum(each["rejected"].values()), each["stale"])
        for each in domain["collections"]
    ]
    heads = (
        "collection | #source before | #after | #read | #inserted | #updated | #unchanged | #superseded | #rejected | #stale rows"
    )
    yield from _table("Documents", heads, rows)


def _elements(domain: Mapping[str, Any]) -> Iterator[Markup]:
    counts = ("elements", "rows", "rejected", "of_parents_not_loaded")
    rows = [
        _row(f"{each['collection']}.{array['path']}", *(array[count] for count in counts))
        for each in domain["collections"]
        for array in each["arrays"]
    ]
    yield from _table("Elements of arrays and maps", "path | #elements | #rows | #rejected | #of documents not loaded", rows)


def _sums(domain: Mapping[str, Any]) -> Iterator[Markup]:
    rows = []
    for each in domain["tables"]:
        source, target = each["source_checksum"], each["target_checksum"]
        word = "not_run" if not source else "equal" if source == target else "different"
        rows.append(
            _row(each["table"], each["rows"], *(_exactly(side or "not compared") for side in (source, target)), _judged(word))
        )
    yield from _table("Rows and sums on both sides", "table | #rows | sum of the source | sum of the target | ", rows)


def _checks(domain: Mapping[str, Any]) -> Iterator[Markup]:
    found: dict[str, Counter[str]] = {}
    for each in domain["checks"]:
        found.setdefault(each["check"], Counter())[each["verdict"]] += 1
    rows = [
        _row(name, words["passed"], *(_number(words[word], "bad" if words[word] else "") for word in ("failed", "not_run")))
        for name, words in _sorted(found)
    ]
    yield from _table("Checks", "check | #passed | #failed | #not run", rows)


def _round_trip(domain: Mapping[str, Any]) -> Iterator[Markup]:
    rows = []
    for each in domain["round_trip"]:
        used = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in _sorted(each["equivalences"]))
        rows.append(_row(each["table"], each["rebuilt"], each["passed_over"], each["differences"], used))
    title = "Round trip: documents rebuilt from their rows"
    yield from _table(title, "table | #rebuilt | #passed over | #differences | equivalent, not equal", rows)


def _rejects(domain: Mapping[str, Any]) -> Iterator[Markup]:
    rows = []
    for each in domain["rejects"]:
        what = "element" if each["element"] else "document"
        reason = f"{each['reason']}: {REASONS[each['reason']]}"
        rows.append(_row(each["collection"], what, reason, each["bson_type"], each["count"], _exactly(each["example"])))
    title = Markup("Rejects, each kept with its bytes in <code>migration.reject_documents</code>")
    yield from _table(title, "collection | what | reason | BSON type | #count | for example", rows)


def _misfits(domain: Mapping[str, Any]) -> Iterator[Markup]:
    rows = [_row(field, count) for field, count in _by_field(domain, "misfits")]
    yield from _table(Markup("Values that their column cannot hold, kept in <code>extra</code>"), "field | #values", rows)


def _conversions(domain: Mapping[str, Any]) -> Iterator[Markup]:
    rows = []
    for field, rules in _by_field(domain, "conversions"):
        for rule, tally in _sorted(rules):
            samples = "; ".join(f"{before} → {after}" for before, after in tally["samples"])
            rows.append(_row(field, rule, tally["count"], _exactly(samples)))
    yield from _table("Declared conversions", "field | rule | #values | before → after", rows)


def _drift(domain: Mapping[str, Any]) -> Iterator[Markup]:
    rows = [
        _row(field, ", ".join(found["bson_types"]), found["count"], _exactly(found["first_id"]))
        for field, found in _by_field(domain, "drift")
    ]
    title = Markup("Fields that nobody declared, kept in <code>extra</code>")
    yield from _table(title, "field | BSON types | #values | first in", rows)


def _differences(domain: Mapping[str, Any]) -> Iterator[Markup]:
    found = domain["differences"]
    columns = [_row(each["table"], each["column"] or "", each["kind"], each["count"]) for each in found["by_column"]]
    title = Markup("Differences: {:,}, all of them in <code>migration.differences</code>").format(found["total"])
    yield from _table(title, "table | column | kind | #count", columns)
    samples = []
    for each in found["samples"]:
        sides = (_exactly("NULL" if each[side] is None else each[side]) for side in ("source", "target"))
        samples.append(_row(each["table"], _exactly(each["id"] or ""), each["column"] or "", each["kind"], *sides))
    yield from _table(f"The first {len(samples)}", "table | id | column | kind | source | target", samples)


def _readings(domain: Mapping[str, Any]) -> Iterator[Markup]:
    rows = []
    for each in domain["readings"]:
        first, last, digest = (each[name] or "" for name in ("read_from", "read_to", "raw_sha256"))
        rows.append(_row(each["collection"], each["chunks"], first, last, _exactly(digest)))
    heads = "collection | #chunks | first read at | last read at | sha256 over the raw files' sha256"
    yield from _table("Readings, by the source's clock", heads, rows)


def _versions(domain: Mapping[str, Any]) -> Iterator[Markup]:
    if domain["versions"]:
        versions = dict(domain["versions"])
        declarations = ", ".join(f"{name} {value}" for name, value in _sorted(versions.pop("declarations")))
        yield _tag("h3", "Versions")
        yield _facts([*versions.items(), ("Declarations", _tag("dd", declarations, "mono"))])


_SECTIONS = (
    *(_run, _failures, _documents, _elements, _sums, _checks, _round_trip, _rejects, _misfits, _conversions, _drift),
    *(_differences, _readings, _versions),
)


def _by_field(domain: Mapping[str, Any], kind: str) -> Iterator[tuple[str, Any]]:
    for each in domain["collections"]:
        for path, found in _sorted(each[kind]):
            yield f"{each['collection']}.{path}", found


def _sorted(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(found.items(), key=lambda item: item[0].lower())


def _json_facts(found: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} {json.dumps(value, sort_keys=True)}" for name, value in _sorted(found or {}))


# --- markup: content is escaped unless it is markup itself ------------------------------------------------------------


def _tag(name: str, content: str, css: str = "") -> Markup:
    attribute = Markup(' class="{}"').format(css) if css else ""
    return Markup("<{0}{1}>{2}</{0}>").format(name, attribute, content)


def _lines(parts: Iterable[Markup]) -> Markup:
    return Markup("\n").join(parts)


def _table(title: str, heads: str, rows: Sequence[Markup], css: str = "") -> Iterator[Markup]:
    """A table below its title, nothing where it has no rows; heads that begin with # are those of numbers."""
    if rows:
        line = Markup().join(_tag("th", head.removeprefix("#"), "n" if head.startswith("#") else "") for head in heads.split(" | "))
        content = _tag("thead", _tag("tr", line)) + _tag("tbody", _lines(rows))
        yield _tag("h3", title)
        yield _tag("div", _tag("table", content, css), "wide")


def _row(*cells: str | int, css: str = "") -> Markup:
    """A row of texts, numbers and what is a cell already."""
    return _tag("tr", Markup().join(map(_cell, cells)), css)


def _cell(value: str | int) -> Markup:
    if isinstance(value, Markup):
        return value
    return _number(value) if isinstance(value, int) else _tag("td", value)


def _number(value: int | str, css: str = "") -> Markup:
    return _tag("td", f"{value:,}" if isinstance(value, int) else value, f"n {css}".rstrip())


def _exactly(text: str) -> Markup:
    return _tag("td", text, "mono")


def _judged(word: str) -> Markup:
    return _tag("td", _verdict(word))


def _verdict(word: str) -> Markup:
    return _tag("span", word.replace("_", " "), "good" if word in ("passed", "equal") else "bad")


def _facts(pairs: Iterable[tuple[str, str]]) -> Markup:
    """A list of names and what they are."""
    lines = [_tag("dt", name) + (value if isinstance(value, Markup) else _tag("dd", value)) for name, value in pairs]
    return _tag("dl", _lines(lines))
