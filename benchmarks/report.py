"""What the runs came to: medians, rates and ratios, as data, as a table on the terminal, and as the short file of the results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from benchmarks.measure import Measured
from demo.console import table
from mongo2pg.run import MOVE_LOT, VERIFY

# What the checks of a run cost is compared with what these stages cost.
CHECKING = (*VERIFY, "report")


def summary(documents: int, rows: int, runs: list[Measured]) -> dict[str, Any]:
    """Medians of a contender's runs, with the extremes; `rows` are those that it wrote."""
    seconds = [run.seconds for run in runs]
    middle = median(seconds)
    return {
        "seconds": round(middle, 3),
        "min": min(seconds),
        "max": max(seconds),
        "runs": seconds,
        "documents_per_s": round(documents / middle),
        "rows": rows,
        "rows_per_s": round(rows / middle),
        "cpu_seconds": round(median(run.cpu_seconds for run in runs), 3),
        "peak_rss_mb": round(median(run.peak_rss_mb for run in runs), 1),
    }


def rest(stages: list[dict[str, Any]], whole: Measured) -> dict[str, Any]:
    """What a process took that no stage accounts for: letting go of everything after them."""
    seconds = whole.seconds - sum(stage["seconds"] for stage in stages)
    cpu = whole.cpu_seconds - sum(stage["cpu"]["ours"] for stage in stages)
    return {"stage": "the rest", "seconds": seconds, "cpu": {who: cpu if who == "ours" else 0.0 for who in stages[0]["cpu"]}}


def profile(costs: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Medians per stage over several runs."""
    return [
        {
            "stage": stages[0]["stage"],
            "seconds": round(median(stage["seconds"] for stage in stages), 3),
            "cpu": {who: round(median(stage["cpu"][who] for stage in stages), 3) for who in stages[0]["cpu"]},
        }
        for stages in zip(*costs, strict=True)
    ]


def checking_percents(stages: Iterable[Mapping[str, Any]]) -> tuple[float, float] | None:
    """What verification costs in percent of extracting, normalising and loading, without and with the second reading.

    None where the stages did not come one after another.
    """
    seconds = {stage["stage"]: stage["seconds"] for stage in stages}
    if not {*MOVE_LOT, *CHECKING, "live"} <= seconds.keys():
        return None
    moving, checking = (sum(seconds[name] for name in names) for names in (MOVE_LOT, CHECKING))
    return round(100 * checking / moving, 1), round(100 * (checking + seconds["live"]) / moving, 1)


def merge_summary(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a window that changes rows costs beside the bare statement."""
    costs = {
        name: {
            "seconds": round(median(one["seconds"] for one in found[name]), 6),
            "min": min(one["seconds"] for one in found[name]),
            "max": max(one["seconds"] for one in found[name]),
            "steps": {step: round(median(one[step] for one in found[name]), 3) for step in steps},
            "wal_mb": round(median(one["wal_mb"] for one in found[name]), 1),
        }
        for name, steps in (("ours", ("load", "settle")), ("bare", ("insert",)))
    }
    return {"rows": found["rows"], **costs}


def short(details: Mapping[str, Any]) -> dict[str, Any]:
    """`latest.json`: per data set the median seconds of each contender, the rows, and the peaks of memory.

    The series' sizes and the dirty documents are data sets of ours alone; the limit of `merge` is the bare statement.
    """
    content = {
        name: {each: one["seconds"] for each, one in found["contenders"].items()}
        | {"rows": found["rows"], "peak_rss_mb": {each: one["peak_rss_mb"] for each, one in found["contenders"].items()}}
        for name, found in {**details["data_sets"], **details["series"], **details["dirty"]}.items()
    }
    if merge := details["merge"]:
        content["merge"] = {
            "ours": merge["ours"]["seconds"],
            "limit": merge["bare"]["seconds"],
            "rows": merge["rows"]["changed"],
            "peak_rss_mb": {},
            "wal_mb": {"ours": merge["ours"]["wal_mb"], "limit": merge["bare"]["wal_mb"]},
        }
    return content


def text(details: Mapping[str, Any]) -> str:
    """Everything for the terminal."""
    parts = []
    for name, found in details["data_sets"].items():
        head = f"{name}: {found['documents']:,} documents, {found['mb']} MB, {found['rows']:,} rows; the source gives"
        parts += [f"{head} {found['source_mb_per_s']:,} MB/s", table(*contenders_table(found))]
        for who, stages in found["profile"].items():
            parts += [f"  {who}, stage by stage, medians", table(*profile_table(stages))]
            if percents := checking_percents(stages):
                staged, live = percents
                parts.append(
                    f"  Verification costs {staged:.0f} % of extract + normalise + load, {live:.0f} % with a second reading."
                )
    if details["series"]:
        parts += ["ours, by the number of documents", table(*series_table(details["series"]))]
    for name, found in details["dirty"].items():
        parts += [f"{name}: {found['documents']:,} sample documents, half of them dirty", table(*contenders_table(found))]
    if merge := details["merge"]:
        head = f"a window that changes {merge['rows']['changed']:,} of {merge['rows']['table']:,} rows"
        parts += [f"{head}, beside a bare INSERT … ON CONFLICT of these rows", table(*merge_table(merge))]
    return "\n".join(f"\n{part}" for part in parts)


def series_table(series: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Heads and rows, the smallest first."""
    rows: list[list[object]] = [
        [
            found["documents"],
            f"{found['contenders']['ours']['seconds']:.2f}",
            found["contenders"]["ours"]["documents_per_s"],
            round(found["contenders"]["ours"]["peak_rss_mb"]),
        ]
        for found in series.values()
    ]
    return ["documents", "seconds", "documents/s", "peak MB"], rows


def merge_table(merge: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Heads and rows: ours and the bare statement."""
    rows: list[list[object]] = [
        [
            name,
            f"{one['seconds']:.2f}",
            f"{one['min']:.2f}–{one['max']:.2f}",
            f"{one['wal_mb']:.1f}",
            f"{one['seconds'] / merge['bare']['seconds']:.2f}",
            ", ".join(f"{step} {seconds:.2f}" for step, seconds in one["steps"].items()),
        ]
        for name, one in (("ours", merge["ours"]), ("bare", merge["bare"]))
    ]
    return ["", "seconds", "min–max", "WAL MB", "× bare", "seconds of"], rows


def contenders_table(found: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Heads and rows, the fastest first."""
    ours = found["contenders"].get("ours", {}).get("seconds")
    rows: list[list[object]] = [
        [
            name,
            f"{one['seconds']:.2f}",
            f"{one['min']:.2f}–{one['max']:.2f}",
            one["documents_per_s"],
            one["rows"],
            one["rows_per_s"],
            round(one["peak_rss_mb"]),
            f"{one['seconds'] / ours:.2f}" if ours else None,
        ]
        for name, one in sorted(found["contenders"].items(), key=lambda item: item[1]["seconds"])
    ]
    return ["", "seconds", "min–max", "documents/s", "rows", "rows/s", "peak MB", "× ours"], rows


def profile_table(stages: Iterable[Mapping[str, Any]]) -> tuple[list[str], list[list[object]]]:
    """Heads and rows, in the stages' order, with a sum."""
    stages = list(stages)
    who = list(stages[0]["cpu"])
    total = {
        "stage": "together",
        "seconds": sum(stage["seconds"] for stage in stages),
        "cpu": {each: sum(stage["cpu"][each] for stage in stages) for each in who},
    }
    rows: list[list[object]] = [
        [stage["stage"], f"{stage['seconds']:.2f}", *(f"{stage['cpu'][each]:.2f}" for each in who)] for stage in [*stages, total]
    ]
    return ["stage", "seconds", *(f"CPU of {each}" for each in who)], rows
