"""Puts the figures of `benchmarks/results` into the README: python -m benchmarks.readme. The whole `make bench` does it itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.contenders import REPOSITORY

README, RESULTS = REPOSITORY / "README.md", REPOSITORY / "benchmarks" / "results"
# The figures stand between these.
BEGIN, END = "<!-- figures of make bench: python -m benchmarks.readme -->", "<!-- end of the figures -->"


def figures(latest: dict[str, Any], details: dict[str, Any]) -> str:
    """The table in Markdown: a row for each data set, a column for each contender."""
    sets = {name: found for name, found in latest.items() if name in details["data_sets"]}
    columns = [name for name in next(iter(sets.values())) if name not in ("rows", "peak_rss_mb")]
    lines = [_row("seconds", *columns), _row(*["---"] * (1 + len(columns)))]
    for name, found in sets.items():
        facts = details["data_sets"][name]
        head = f"{name}: {facts['documents']:,} documents, {facts['mb']} MB, {found['rows']:,} rows"
        lines.append(_row(head, *(f"{found[each]:.1f}" for each in columns)))
        lines.append(_row("– its peak memory in MB", *(f"{found['peak_rss_mb'][each]:.0f}" for each in columns)))
    sizes = [f"{facts['documents']:,} in {latest[name]['ours']:.1f} s" for name, facts in details["series"].items()]
    peaks = [f"{latest[name]['peak_rss_mb']['ours']:.0f}" for name in details["series"]]
    lines += ["", f"`ours` by size: {', '.join(sizes)}; peaks of {', '.join(peaks)} MB."]
    for name, facts in details["dirty"].items():
        seconds = " and ".join(f"{latest[name][each]:.1f} s (`{each}`)" for each in facts["contenders"])
        lines.append(f"{facts['documents']:,} of the demo's {name}, half of them dirty, few of one shape: {seconds}.")
    merge, table = latest["merge"], details["merge"]["rows"]
    ours, bare = (f"{merge[who]:.2f} s and {merge['wal_mb'][who]} MB of WAL" for who in ("ours", "limit"))
    window = f"A window that changes {table['changed']:,} of {table['table']:,} rows"
    lines.append(f"{window}: {ours}; a bare `INSERT … ON CONFLICT` of these rows: {bare}.")
    machine = details["machine"]
    lines += [f"Medians of {machine['measured_at'][:10]} on {machine['cpus']} CPUs, Python {machine['python']}."]
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def with_figures(readme: str, results: Path) -> str:
    """The README with the figures of the results, or with none where there are no results."""
    head, rest = readme.split(BEGIN)
    tail = rest.split(END)[1]
    files = [results / name for name in ("latest.json", "details.json")]
    shown = f"\n\n{figures(*(json.loads(file.read_text()) for file in files))}" if all(map(Path.exists, files)) else ""
    return f"{head}{BEGIN}{shown}\n\n{END}{tail}"


if __name__ == "__main__":
    README.write_text(with_figures(README.read_text(), RESULTS))
