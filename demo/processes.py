"""Child processes that outlive no launcher unnoticed: each is on disk before it does anything, and only those are ended."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psutil

T = TypeVar("T")

# The child waits in this shell until it has been recorded; `exec` keeps its pid and its start time. If the launcher
# dies before that, `read` meets the end of the pipe and the child is gone: there is no moment at which a server runs unrecorded.
GATE = 'read -r go && exec "$@" </dev/null'

# Below the range from which Linux takes ports for outgoing connections (32768 on): nobody connects into a port by accident.
PORTS = range(20_000, 32_000)

# psutil derives start times from the boot time, which moves by a little when the clock is set.
CLOCK_TOLERANCE = 1.0


class DemoError(Exception):
    """The demo cannot go on; the message is one sentence that says what to do or what happened."""


@dataclass(frozen=True)
class Account:
    """An unprivileged account for a server that refuses to run as root."""

    name: str
    uid: int
    gid: int

    def popen_arguments(self) -> dict[str, Any]:
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def may_run(self, program: Path) -> bool:
        """True if this account reaches the program; tried, because permissions of all parent folders count."""
        with contextlib.suppress(OSError):
            done = subprocess.run([program, "--version"], cwd="/", capture_output=True, check=False, **self.popen_arguments())
            return done.returncode == 0
        return False


def unprivileged_account() -> Account | None:
    """None for a normal user, who needs nobody else; an unprivileged account for root."""
    if os.geteuid() != 0:
        return None
    for name in ("nobody", "daemon"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            if entry.pw_uid != 0:
                return Account(name, entry.pw_uid, entry.pw_gid)
    raise DemoError("PostgreSQL refuses to run as root and there is no account `nobody` or `daemon`: run this as a normal user.")


@dataclass
class Child:
    """One process in a session of its own, with everything that it takes to recognise it later."""

    name: str
    pid: int
    started: float
    command: list[str]
    log: str
    stop_signal: int = signal.SIGTERM
    # Seconds between that signal and the end of everything in its session.
    patience: float = 20
    # What the process calls itself later, if it renames itself.
    title: str | None = None
    popen: subprocess.Popen[bytes] | None = field(default=None, repr=False, compare=False)

    def record(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(_without_popen(self)).items() if key != "popen"}

    def process(self) -> psutil.Process | None:
        """The running process: our own child, or one whose pid, start time and command all are the recorded ones; else None."""
        try:
            if self.popen:
                return psutil.Process(self.pid) if self.popen.poll() is None else None
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.started) > CLOCK_TOLERANCE or process.status() == psutil.STATUS_ZOMBIE:
                return None
            running = " ".join(process.cmdline()).strip()
        except psutil.Error:
            return None
        return process if running.endswith(" ".join(self.command).strip()) or running == self.title else None

    def alive(self) -> bool:
        return self.popen.poll() is None if self.popen else self.process() is not None

    def last_lines(self, count: int = 15) -> str:
        try:
            return "\n".join(Path(self.log).read_text(errors="replace").splitlines()[-count:])
        except FileNotFoundError:
            return ""

    def session(self) -> list[psutil.Process]:
        """Every process of the child's session that is certainly the child's.

        While the leader lives its session is ours. Once it is gone, a member counts only if it also holds the child's log open.
        """
        leader = self.process()
        return [p for p in _processes() if _session_of(p) == self.pid and (leader is not None or self._holds_log(p))]

    def _holds_log(self, process: psutil.Process) -> bool:
        try:
            if process.create_time() < self.started - CLOCK_TOLERANCE:
                return False
            return any(opened.path == self.log for opened in process.open_files())
        except psutil.Error:
            return False


def _without_popen(child: Child) -> Child:
    return Child(child.name, child.pid, child.started, child.command, child.log, child.stop_signal, child.patience, child.title)


def _processes() -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _session_of(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except (ProcessLookupError, PermissionError):
        return None


class Children:
    """The processes and private folders of one launcher, kept in a file that the next launcher can clean up by."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.children: list[Child] = []
        self.folders: list[Path] = []

    def start(
        self,
        name: str,
        command: list[str],
        log: Path,
        *,
        env: dict[str, str] | None = None,
        account: Account | None = None,
        stop_signal: int = signal.SIGTERM,
        patience: float = 20,
        title: str | None = None,
    ) -> Child:
        """Start the command in its own session, in `/`, without input; it begins only after it has been recorded."""
        with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
            popen = subprocess.Popen(
                ["/bin/sh", "-c", GATE, "sh", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=env,
                start_new_session=True,
                umask=0o077,
                **(account.popen_arguments() if account else {}),
            )
        started = psutil.Process(popen.pid).create_time()
        child = Child(name, popen.pid, started, command, str(log), int(stop_signal), patience, title, popen)
        self.children.append(child)
        self._write()
        assert popen.stdin is not None  # noqa: S101 - PIPE was asked for
        with contextlib.suppress(BrokenPipeError), popen.stdin as gate:
            gate.write(b"go\n")
        return child

    def private_folder(self, account: Account) -> Path:
        """A new folder that the account owns and others cannot read; recorded, and removed with the rest."""
        folder = Path(tempfile.mkdtemp(prefix="mongo2pg-"))
        self.folders.append(folder)
        self._write()
        os.chown(folder, account.uid, account.gid)
        return folder

    def stop(self, *children: Child) -> None:
        """Ask the children to stop, all at once, wait, and end what is left of their sessions."""
        end(children)
        self.children = [child for child in self.children if child not in children]
        self._write()

    def close(self) -> None:
        """Stop everything, the youngest first, and remove the private folders and the record."""
        for child in reversed(list(self.children)):
            self.stop(child)
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)
        self.folders = []
        self.file.unlink(missing_ok=True)

    def _write(self) -> None:
        content = {"children": [child.record() for child in self.children], "folders": [str(folder) for folder in self.folders]}
        write_private(self.file, json.dumps(content, indent=2))


def end_leftovers(file: Path) -> list[str]:
    """End what an interrupted launcher left running, by its record alone; returns the names of what was still there."""
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        return []
    left = []
    for child in [Child(**record) for record in reversed(content["children"])]:
        if child.process() or child.session():
            left.append(child.name)
            end([child])
    for folder in map(Path, content["folders"]):
        if folder.name.startswith("mongo2pg-") and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
    file.unlink()
    return left


def end(children: Iterable[Child]) -> None:
    """Signal all children, let each have its patience, then kill what its session still holds."""
    children = sorted(children, key=lambda child: child.patience)
    members = {child.pid: child.session() for child in children}
    for child in children:
        process = child.process()
        if process:
            with contextlib.suppress(psutil.Error):
                process.send_signal(child.stop_signal)
    signalled = time.monotonic()
    for child in children:
        _wait_while(child.alive, signalled + child.patience)
        # Processes of the session keep it in being even after its leader has gone, so its number cannot have been given away.
        rest = {*members[child.pid], *child.session()}
        for process in rest:
            with contextlib.suppress(psutil.Error):
                if process.is_running() and _session_of(process) == child.pid:
                    process.kill()
        _wait_while(partial(_any_runs, rest), time.monotonic() + 5)
        if child.popen:
            child.popen.wait()


def runs(process: psutil.Process) -> bool:
    """False for a zombie too: after its launcher was killed nobody may ever collect it."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _any_runs(processes: Iterable[psutil.Process]) -> bool:
    return any(map(runs, processes))


def _wait_while(condition: Callable[[], bool], deadline: float) -> None:
    while condition() and time.monotonic() < deadline:
        time.sleep(0.02)


def wait_until(condition: Callable[[], T], child: Child, seconds: float, interval: float = 0.05) -> T:
    """Poll until the condition is true and return its value; fail in words when the child ends or time runs out."""
    deadline = time.monotonic() + seconds
    while child.alive():
        # If the child has ended meanwhile, it was somebody else who met the condition.
        if (value := condition()) and child.alive():
            return value
        if time.monotonic() > deadline:
            raise DemoError(f"{child.name} did not answer within {seconds:.0f} s; the end of {child.log}:\n{child.last_lines()}")
        time.sleep(interval)
    raise DemoError(f"{child.name} ended while it started; the end of {child.log}:\n{child.last_lines()}")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at this moment."""
    for port in random.sample(PORTS, 200):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise DemoError(f"No free port on 127.0.0.1 between {PORTS.start} and {PORTS.stop}.")


def write_private(file: Path, text: str) -> None:
    """Replace the file in one step; only its owner can read it, at every moment."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    with os.fdopen(handle, "w") as output:
        output.write(text)
    Path(name).replace(file)
