"""Draws `latest.png` from `details.json`: python benchmarks/plot.py FOLDER. Runs in the environment that has matplotlib."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

# Ours in one hue, the limit apart, everybody else grey.
COLOURS = {
    "ours": "#1f6f8b",
    "ours_live": "#17536a",
    "ours_one_worker": "#0f3a4a",
    "ours_unverified": "#5aa9c4",
    "ours_dag": "#99d0e2",
    "limit": "#2e2e2e",
}
OTHERS = "#b8b8b8"
FIGURES = (("seconds", "seconds"), ("documents_per_s", "documents/s"), ("rows_per_s", "rows/s"), ("peak_rss_mb", "peak memory, MB"))


def bars(axes: Axes, contenders: dict[str, Any], figure: str, title: str, ours: float | None) -> None:
    """One figure of all contenders, the fastest on top; with the seconds stands how many times those of ours they are."""
    names = sorted(contenders, key=lambda name: -contenders[name]["seconds"])
    values = [contenders[name][figure] for name in names]
    spread = None
    if figure == "seconds":
        lows, highs = ([contenders[name][end] for name in names] for end in ("min", "max"))
        spread = [
            [value - low for value, low in zip(values, lows, strict=True)],
            [high - value for value, high in zip(values, highs, strict=True)],
        ]
    drawn = axes.barh(names, values, color=[COLOURS.get(name, OTHERS) for name in names], xerr=spread, ecolor="#555555")
    labels = [f"{value:,.3g}" if value < 100 else f"{value:,.0f}" for value in values]
    if figure == "seconds" and ours:
        labels = [f"{label}  ({value / ours:.1f} ×)" for label, value in zip(labels, values, strict=True)]
    axes.bar_label(drawn, labels, padding=4, fontsize=8)
    axes.set_title(title, fontsize=9, loc="left")
    axes.margins(x=0.3)
    axes.xaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.tick_params(labelsize=8, length=0)


def main(folder: Path) -> None:
    """A row for each data set, a column for each figure."""
    details = json.loads((folder / "details.json").read_text())
    sets = details["data_sets"]
    heights = [0.9 + 0.28 * len(found["contenders"]) for found in sets.values()]
    picture, grid = plt.subplots(
        len(sets), len(FIGURES), figsize=(16, sum(heights) + 0.6), squeeze=False, height_ratios=heights, layout="constrained"
    )
    for row, (name, found) in zip(grid, sets.items(), strict=True):
        ours = found["contenders"].get("ours", {}).get("seconds")
        for axes, (figure, title) in zip(row, FIGURES, strict=True):
            bars(axes, found["contenders"], figure, title, ours)
        row[0].set_title(
            f"{name}: {found['documents']:,} documents, {found['rows']:,} rows\nseconds (× ours)", fontsize=9, loc="left"
        )
    machine = details["machine"]
    picture.suptitle(f"Medians on {machine['cpus']} CPUs, {machine['measured_at'][:10]}; bars of min and max", fontsize=9)
    picture.savefig(folder / "latest.png", dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
