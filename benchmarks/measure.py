"""Runs a command and says what it cost: seconds from start to end, CPU, and the memory of all its processes."""

from __future__ import annotations

import os
import resource
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from demo.processes import Children

# Between two looks at the memory: a look costs a fraction of a millisecond, and the kernel keeps each process's peak.
LOOK_SECONDS = 0.05


class Measured(NamedTuple):
    """What one run of a command cost."""

    seconds: float
    cpu_seconds: float
    peak_rss_mb: float


class RunError(Exception):
    """A measured command failed or took too long; the message has the end of its log."""


def measure(children: Children, name: str, command: list[str], log: Path, env: dict[str, str], most_seconds: float) -> Measured:
    """Runs the command to its end, at most so long; RunError unless it succeeds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    child = children.start(name, command, log, env=env)
    assert child.popen is not None  # noqa: S101 - it was started just now
    handle = os.pidfd_open(child.pid)
    try:
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        peak = 0
        while not ended.poll(LOOK_SECONDS * 1000) and time.perf_counter() - started < most_seconds:
            peak = max(peak, sum(map(peak_bytes, family(child.pid))))
        seconds = time.perf_counter() - started
    finally:
        os.close(handle)
        running = child.alive()
        children.stop(child)
    if running:
        raise RunError(f"{name} had not ended after {most_seconds:.0f} s; the end of {log}:\n{child.last_lines()}")
    if child.popen.returncode:
        raise RunError(f"{name} failed with status {child.popen.returncode}; the end of {log}:\n{child.last_lines(40)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(round(seconds, 3), round(cpu, 3), round(peak / 1e6, 1))


def peak_bytes(pid: int) -> int:
    """The most memory that the process has had; 0 for one that has ended."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    return 0


def cpu_seconds(pid: int) -> float:
    """CPU of the process and of all its descendants, those that have ended included."""
    ticks = 0
    for member in family(pid):
        with suppress(OSError):
            # The name may hold anything; behind it stand, from the 12th on: utime, stime, and both of children that ended.
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """The process and its living descendants."""
    found = [pid]
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                for child in (thread / "children").read_text().split():
                    found += family(int(child))
    return found
