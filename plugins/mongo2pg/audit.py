"""One machine-readable line per task, so that a reviewer needs only the task logs."""

from __future__ import annotations

import json
import logging
import resource
from typing import Any


def audit(log: logging.Logger, stage: str, **facts: Any) -> None:
    """Logs `AUDIT {…}`: the stage, its facts, and the peak memory of the process in MB. No values of documents, ever."""
    # ru_maxrss is in KiB on Linux (getrusage(2)).
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    log.info("AUDIT %s", json.dumps({"stage": stage, **facts, "peak_rss_mb": peak}, default=str, sort_keys=True))
