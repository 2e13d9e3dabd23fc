"""The benchmark runs by itself and writes what it promises; how fast anything was is not looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import readme, report
from benchmarks.__main__ import arguments
from benchmarks.data import DATA_SETS
from benchmarks.measure import Measured

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'plugins'}"}


def bench(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", "--folder", str(folder), *words]
    return subprocess.run(command, cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)


def test_ours_and_the_limit_are_measured_side_by_side(tmp_path: Path) -> None:
    data = ("--data", "webhooks=20", "--data", "dirty=60", "--data", "merge=300")
    done = bench(tmp_path, *data, "--contenders", "ours,ours_live,ours_one_worker,ours_unverified,limit", "--runs", "1")

    assert done.returncode == 0, done.stderr
    latest = json.loads((tmp_path / "results" / "latest.json").read_text())
    found = json.loads((tmp_path / "results" / "details.json").read_text())["data_sets"]["webhooks"]
    assert {name: set(each) for name, each in latest.items()} == {
        "webhooks": {"ours", "ours_live", "ours_one_worker", "ours_unverified", "limit", "rows", "peak_rss_mb"},
        "tasks": {"ours", "ours_unverified", "rows", "peak_rss_mb"},
        "merge": {"ours", "limit", "rows", "peak_rss_mb", "wal_mb"},
    }
    assert 50 < latest["tasks"]["rows"] <= 60  # a dirty one may be rejected
    assert latest["merge"]["rows"] == 3
    assert set(latest["webhooks"]["peak_rss_mb"]) == {"ours", "ours_live", "ours_one_worker", "ours_unverified", "limit"}
    # A row for each webhook and each of its logs, whoever wrote them.
    assert {latest["webhooks"]["rows"]} == {each["rows"] for each in found["contenders"].values()} == {225}
    assert [stage["stage"] for stage in found["profile"]["ours"]] == [
        "imports", "prepare", "plan", "extract, normalise, load", "delete", "settle", "checks", "report", "the rest",
    ]  # fmt: skip
    assert [stage["stage"] for stage in found["profile"]["ours_one_worker"]] == [
        "imports", "prepare", "plan", "extract", "normalise", "load", "delete", "settle", "row_counts", "checksums",
        "references", "uniqueness", "round_trip", "live", "report", "the rest",
    ]  # fmt: skip
    assert "Verification costs" in done.stdout
    assert [each.name for each in tmp_path.iterdir() if each.name in ("children.json", "scratch", "frames", "postgres18")] == []


def test_a_contender_that_fails_fails_the_benchmark_with_the_end_of_its_log(tmp_path: Path) -> None:
    source = tmp_path / "data"
    DATA_SETS["webhooks"].sized(1).files(source)
    for file in source.rglob("webhooks.bson"):
        file.unlink()

    done = bench(tmp_path, "--data", "webhooks=1", "--contenders", "limit", "--runs", "1")

    assert done.returncode == 1
    assert "ours_unverified failed with status 1; the end of " in done.stderr
    assert "PrepareError" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "nothing"], "nothing is not of the form"),
        (["--data", "webhooks=x"], "webhooks=x is not of the form"),
        (["--contenders", "ours,luck"], "no such contender: luck"),
    ],
)
def test_what_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    with pytest.raises(SystemExit):
        arguments(words)

    assert said in capsys.readouterr().err


def test_only_the_whole_benchmark_writes_the_results_of_the_repository() -> None:
    assert arguments([]).results == REPOSITORY / "benchmarks" / "results"
    assert arguments(["--runs", "1"]).results == REPOSITORY / ".bench" / "results"
    assert arguments(["--data", "webhooks"]).results == REPOSITORY / ".bench" / "results"


def test_the_readme_shows_the_figures_of_the_results() -> None:
    text = readme.README.read_text()

    assert readme.with_figures(text, readme.RESULTS) == text, "run: python -m benchmarks.readme"


def test_figures_become_a_table(tmp_path: Path) -> None:
    runs = {"ours": [Measured(2.0, 1.0, 150)] * 3, "limit": [Measured(1.0, 1.0, 90)] * 3}
    one = {"documents": 2_000, "mb": 0.3, "rows": 2_000}
    merge = {"ours": {"seconds": 0.2, "wal_mb": 3.0}, "bare": {"seconds": 0.1, "wal_mb": 2.0}}
    window = "A window that changes 200 of 20,000 rows: 0.20 s and 3.0 MB of WAL"
    details = {
        "machine": {"measured_at": "2026-11-26T10:00:00Z", "cpus": 2, "python": "3.11.7"},
        "data_sets": {"points": one | {"contenders": {name: report.summary(2_000, 2_000, each) for name, each in runs.items()}}},
        "series": {"points_200": one | {"contenders": {"ours": report.summary(200, 200, runs["ours"])}}},
        "dirty": {"dirt": one | {"contenders": {"ours": report.summary(2_000, 1_900, runs["ours"])}}},
        "merge": merge | {"rows": {"table": 20_000, "changed": 200}},
    }
    (tmp_path / "details.json").write_text(json.dumps(details))
    (tmp_path / "latest.json").write_text(json.dumps(report.short(details)))

    text = readme.with_figures(f"before\n\n{readme.BEGIN}\n\nold\n\n{readme.END}\n\nafter\n", tmp_path)

    assert (
        text
        == f"""before

{readme.BEGIN}

| seconds | ours | limit |
| --- | --- | --- |
| points: 2,000 documents, 0.3 MB, 2,000 rows | 2.0 | 1.0 |
| – its peak memory in MB | 150 | 90 |

`ours` by size: 2,000 in 2.0 s; peaks of 150 MB.
2,000 of the demo's dirt, half of them dirty, few of one shape: 2.0 s (`ours`).
{window}; a bare `INSERT … ON CONFLICT` of these rows: 0.10 s and 2.0 MB of WAL.
Medians of 2026-11-26 on 2 CPUs, Python 3.11.7.

{readme.END}

after
"""
    )


def test_a_summary_is_the_median_with_the_extremes() -> None:
    runs = [Measured(2.0, 1.0, 100), Measured(8.0, 3.0, 300), Measured(4.0, 2.0, 200)]

    assert report.summary(1_000, 3_000, runs) == {
        "seconds": 4.0,
        "min": 2.0,
        "max": 8.0,
        "runs": [2.0, 8.0, 4.0],
        "documents_per_s": 250,
        "rows": 3_000,
        "rows_per_s": 750,
        "cpu_seconds": 2.0,
        "peak_rss_mb": 200,
    }


def test_the_cost_of_verification_is_a_share_of_moving_the_data() -> None:
    seconds = {"imports": 5.0, "extract": 1.0, "normalise": 2.0, "load": 1.0, "row_counts": 0.5, "checksums": 2.0, "report": 0.0}
    seconds |= {"references": 0.2, "uniqueness": 0.2, "round_trip": 0.1}
    seconds |= {"live": 1.0}
    assert report.checking_percents({"stage": name, "seconds": each} for name, each in seconds.items()) == (75.0, 100.0)
    assert report.checking_percents([{"stage": "extract, normalise, load", "seconds": 1.0}]) is None


def test_a_statement_that_takes_less_than_a_millisecond_takes_some_time() -> None:
    one = {"load": 0.002, "settle": 0.001, "insert": 0.0002, "wal_mb": 0.1}
    runs = {"ours": [{**one, "seconds": 0.003}], "bare": [{**one, "seconds": 0.0002}]}

    merge = report.merge_summary({"rows": {"table": 300, "changed": 3}, **runs})

    assert [row[4] for row in report.merge_table(merge)[1]] == ["15.00", "1.00"]
