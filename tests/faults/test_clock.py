"""The worker's clock is wrong by a day: it plays no part in what is read, written, compared or reported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.faults.grounds import Ground, outcome
from tests.faults.tasks import attempt

DAY = 86_400


@pytest.mark.parametrize("seconds", [-DAY, DAY], ids=["a day behind", "a day ahead"])
def test_a_wrong_clock_of_the_worker_changes_nothing(ground: Ground, seconds: int) -> None:
    with ground.job() as job:
        made = attempt(job, clock=seconds)
        assert made.next is None
        assert outcome(job) == ground.clean.outcome


def test_such_a_clock_is_wrong_for_whoever_asks() -> None:
    program = """
import time
from datetime import UTC, date, datetime, timedelta
from bson import ObjectId
from tests.faults import wrong_clock
right = datetime.now(UTC)
wrong_clock.shift(86_400)
ahead = timedelta(days=1)
assert datetime.now(UTC) - right >= ahead
assert datetime.fromtimestamp(time.time(), UTC) - right >= ahead
assert datetime.fromtimestamp(time.time_ns() / 1e9, UTC) - right >= ahead
assert date.today() > right.date()
assert time.strftime("%Y-%m-%d", time.gmtime()) > str(right.date())
assert ObjectId().generation_time - right > ahead - timedelta(seconds=1)
assert isinstance(right, datetime) and isinstance(right.date(), date) and not isinstance(5, date)
"""
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", program], env=path, check=True, timeout=60)
