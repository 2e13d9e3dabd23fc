"""What may be a name in PostgreSQL, what a path makes one, and which paths can be mapped beside each other."""

from __future__ import annotations

import itertools
import re

from mongo2pg.errors import DeclarationError

# PostgreSQL cuts identifiers at NAMEDATALEN - 1 bytes without a word (manual, 4.1.1 "Identifiers and Key Words").
MAX_NAME_BYTES = 63


def snake_case(path: str) -> str:
    """`lastPRDate` → `last_pr_date`, `daily.canCashIn` → `daily_can_cash_in`: the contract's rule for column names."""
    words = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", path.replace(".", "_"))
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words).lower()


def check_name(place: str, name: str) -> None:
    """Raises DeclarationError unless PostgreSQL takes the name as it is: unquoted and uncut."""
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", name):
        raise DeclarationError(place, f"{name!r} is no plain SQL name", "Use lower-case letters, digits and underscores.")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise DeclarationError(place, f"the name {name!r} is over {MAX_NAME_BYTES} bytes", "Give it a shorter name.")


def check_paths(place: str, paths: list[str]) -> None:
    """Raises DeclarationError unless each column has a field, and each field one destination: no path twice, none below another."""
    if "" in paths:
        raise DeclarationError(place, "a column without a path", "Name its field: only the value of an array of scalars has none.")
    ordered = sorted(paths, key=lambda path: path.split("."))
    for path, following in itertools.pairwise(ordered):
        if path == following:
            raise DeclarationError(place, f"the path {path!r} is used twice", "A field goes to one place: drop one of the two.")
        if following.startswith(path + "."):
            raise DeclarationError(
                place, f"the path {following!r} lies below {path!r}, which is mapped whole", "Map either the whole or its parts."
            )
