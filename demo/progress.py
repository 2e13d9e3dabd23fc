"""Shows a run while it goes on: a line whenever something has changed."""

from __future__ import annotations

import time
from typing import Any

from demo.console import say

RUNNING = frozenset({"running", "restarting", "deferred"})
DONE = frozenset({"success", "failed", "upstream_failed", "skipped", "removed"})


class Progress:
    """One domain's run; every poll hands over the task instances that have changed."""

    def __init__(self, domain: str, width: int) -> None:
        self._domain = domain.ljust(width)
        self._began = time.monotonic()
        self._tasks: dict[tuple[str, int], dict[str, Any]] = {}
        self._done: set[str] = set()
        self._shown: tuple[str, ...] = ()

    def show(self, changed: list[dict[str, Any]]) -> None:
        """Print which tasks have ended since the last time and which are running, if that has changed."""
        for task in changed:
            if task["map_index"] >= 0:  # a mapped task is one until its parts are known
                self._tasks.pop((task["task_id"], -1), None)
            self._tasks[task["task_id"], task["map_index"]] = task
        tasks = self._tasks.values()
        ended = {label(task): task["state"] for task in tasks if task["state"] in DONE}
        running = tuple(sorted(label(task) for task in tasks if task["state"] in RUNNING))
        new = [name if ended[name] == "success" else f"{name} {ended[name].upper()}" for name in ended if name not in self._done]
        if not new and running == self._shown:
            return
        self._done, self._shown = set(ended), running
        parts = [f"{time.monotonic() - self._began:5.0f} s  {self._domain}  {len(ended):3d}/{len(tasks)} tasks"]
        if new:
            parts.append(f"done: {', '.join(sorted(new))}")
        if running:
            parts.append(f"running: {', '.join(running)}")
        say("  ".join(parts))


def label(task: dict[str, Any]) -> str:
    """The task's name, with that of its part if it is mapped."""
    if task["map_index"] < 0:
        return str(task["task_id"])
    return f"{task['task_id']}[{task.get('rendered_map_index') or task['map_index']}]"
