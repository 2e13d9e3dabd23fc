"""One machine-readable line per task, so that a reviewer needs only the task logs; and what others wrote, kept to one line."""

from __future__ import annotations

import json
import logging
import re
import resource
from typing import Any

# Characters shown of a name: a field's may have sixteen million.
EXCERPT = 200


def audit(log: logging.Logger, stage: str, **facts: Any) -> None:
    """Logs `AUDIT {…}`: the stage, its facts, and the peak memory of the process in MB. No values of documents, ever."""
    # ru_maxrss is in KiB on Linux (getrusage(2)).
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    log.info("AUDIT %s", json.dumps({"stage": stage, **facts, "peak_rss_mb": peak}, default=str, sort_keys=True))


def one_line(text: str) -> str:
    """The text with what breaks a line, colours it, turns it round or cannot be seen written as an escape.

    Field names and ids are what a document's author made them: in a log, one could pass for a line of ours.
    """
    return re.sub(r"[^ -~]", lambda found: found[0] if found[0].isprintable() else ascii(found[0])[1:-1], text)


def excerpt(text: str) -> str:
    """The beginning of it as one line of bounded length."""
    return one_line(text[:EXCERPT]) + (" …" if len(text) > EXCERPT else "")
