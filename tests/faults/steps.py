"""The steps of a task that others can see: a file that takes its name, a COPY, a commit.

Between two of them a process changes nothing outside itself: to be killed here or there between them is one and the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any

import psycopg

STEPS = (
    ("rename", os, "replace"),
    ("rename", os, "rename"),
    ("COPY", psycopg.Copy, "finish"),
    ("commit", psycopg.Transaction, "__exit__"),
)


def watch(reached: Callable[[str], None]) -> None:
    """In this process, and from now on, `reached` is called just after each step, with its kind."""
    for kind, owner, name in STEPS:
        setattr(owner, name, _watched(kind, getattr(owner, name), reached))


def _watched(kind: str, step: Callable[..., Any], reached: Callable[[str], None]) -> Callable[..., Any]:
    @wraps(step)
    def watched(*arguments: Any, **named: Any) -> Any:
        result = step(*arguments, **named)
        reached(kind)
        return result

    return watched
