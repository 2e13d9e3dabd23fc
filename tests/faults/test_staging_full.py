"""Staging runs out of space: the task says so in a sentence, leaves nothing half-written, and the next attempt completes."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mongo2pg.errors import TransientError
from tests.documents import fill, oid, point, user
from tests.mover import Mover

POINTS = 3_000
MOUNT, UMOUNT = shutil.which("mount"), shutil.which("umount")


@pytest.fixture
def mover(mongo_database: Any, target: Any, tmp_path: Path) -> Iterator[Mover]:
    # Texts that no compression makes much smaller.
    texts = [hashlib.sha512(str(number).encode()).hexdigest() for number in range(POINTS)]
    fill(mongo_database, users=[user(1)], progresspoints=[point(10 + n, oid(1), metadata=text) for n, text in enumerate(texts)])
    (tmp_path / "staging").mkdir()
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path / "staging")


@contextmanager
def files_of_at_most(size: int) -> Iterator[Callable[[], None]]:
    """No file of this process grows beyond that, as under a quota; calling what comes out lifts it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def disk_of(folder: Path, size: int) -> Iterator[Callable[[], None]]:
    """The folder on a disk of its own, in memory; calling what comes out makes it larger. Only root may mount one."""
    if not (MOUNT and UMOUNT and os.geteuid() == 0):
        pytest.skip("only root can mount a small disk")

    def mount(*options: str) -> subprocess.CompletedProcess[str]:
        command = [MOUNT, "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    mounted = mount(f"size={size}", "mode=0700")
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        yield lambda: mount("remount", "size=64m").check_returncode()
    finally:
        subprocess.run([UMOUNT, "--lazy", str(folder)], check=True)


def sizes(mover: Mover) -> tuple[int, int]:
    """What a run's raw files take, and all that extract and normalise write."""
    run = replace(mover, staging=mover.staging.with_name("measured")).staged("measured")
    files = [file for file in run.staging.folder.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files if file.parent.name == "raw"), sum(file.stat().st_size for file in files)


def fails_then_completes(mover: Mover, failing: str, make_room: Callable[[], None], said: str) -> None:
    """The task fails; with more room it completes, and so do those after it."""
    run = mover.run("run")
    run.prepare()
    run.plan()
    if failing == "normalise":
        run.extract()
    with pytest.raises(TransientError, match=said) as failed:
        getattr(run, failing)()
    assert str(mover.staging) in str(failed.value)
    assert list(mover.staging.rglob("*partial*")) == []
    make_room()
    run.carry()
    assert run.verify()["passed"] is True
    assert mover.rows("SELECT count(*), count(DISTINCT id) FROM progress_points") == [(POINTS, POINTS)]


@pytest.mark.parametrize("task", ["extract", "normalise"])
def test_a_full_disk_fails_in_words_and_the_next_attempt_completes(mover: Mover, task: str) -> None:
    raw, everything = sizes(mover)
    with disk_of(mover.staging, raw // 2 if task == "extract" else (raw + everything) // 2) as make_room:
        fails_then_completes(mover, task, make_room, "No space left on device")


def test_a_quota_fails_in_words_and_the_next_attempt_completes(mover: Mover) -> None:
    with files_of_at_most(sizes(mover)[0] // 2) as make_room:
        fails_then_completes(mover, "extract", make_room, "File too large")
