"""What a person sees: lines and tables, even when the terminal has gone away in the meantime."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence


def say(text: str = "") -> None:
    """Print a line now. A terminal that was closed stops nothing: servers still have to be ended in order."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the rest of the process


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The rows under their heads, aligned: numbers to the right with separated thousands, all else to the left."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    numeric = [all(_is_number(row[i]) for row in cells) for i in range(len(heads))]
    lines = []
    for row in (list(heads), *cells):
        aligned = zip(row, widths, numeric, strict=True)
        padded = [cell.rjust(width) if right else cell.ljust(width) for cell, width, right in aligned]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(f"  {line}" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(",", "").isdigit()
