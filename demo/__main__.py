"""`python -m demo` runs the whole thing; `python -m demo clean` removes what it made. `make demo` and `make clean` call it."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import select
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from demo.airflow import REPOSITORY, Airflow
from demo.console import say
from demo.folder import DemoFolder, remove
from demo.processes import DemoError
from demo.rest import ApiError
from demo.stack import DAGS, Demo


class Stopped(BaseException):
    """Somebody asked the demo to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """Turns the first SIGINT, SIGTERM or SIGHUP into an orderly end and ignores the impatient ones after it."""

    def __init__(self) -> None:
        self._ending = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)
        # Whoever starts us with nohup wants us to survive the terminal.
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._receive)
            if os.isatty(0):
                threading.Thread(target=watch_terminal, name="terminal", daemon=True).start()

    def ignore(self) -> None:
        self._ending = True

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if not self._ending:
            self._ending = True
            raise Stopped(number)


def watch_terminal() -> None:
    """Raise SIGHUP when the terminal goes away. Where make leads the session the system tells make alone, and make tells nobody."""
    terminal = select.poll()
    terminal.register(0, 0)  # a hang-up is always reported
    terminal.poll()
    os.kill(os.getpid(), signal.SIGHUP)


def settings() -> tuple[float, bool]:
    """SCALE and EXIT from the environment."""
    try:
        scale = float(os.environ.get("SCALE") or 1)
    except ValueError:
        scale = math.nan
    if not 0 < scale < math.inf:
        raise DemoError(f"SCALE is {os.environ['SCALE']!r}: give a number above 0, like SCALE=0.1 or SCALE=10.")
    return scale, os.environ.get("EXIT", "") not in ("", "0")


def run_demo(folder: DemoFolder, signals: Signals) -> int:
    """Exit status 0 only if every check passed."""
    scale, leave = settings()
    with contextlib.ExitStack() as ends:
        ends.callback(folder.close)
        if ended := folder.open():
            say(f"An earlier demo was interrupted; ended what it had left running: {', '.join(ended)}.")
        folder.check_disk()
        if not DAGS:
            raise DemoError("There is no DAG of a domain in dags/: nothing to run.")
        demo = Demo(folder, scale)
        ends.callback(demo.stop)
        ends.callback(lambda: say("\nStopping: Airflow, MongoDB, PostgreSQL."))
        ends.callback(signals.ignore)
        airflow = demo.start()
        with airflow.client() as client:
            passed = demo.run(client)
        say("\nEvery check passed." if passed else "\nNOT everything passed.")
        if not leave:
            show_login(airflow, folder)
            with contextlib.suppress(Stopped):
                demo.wait()
        return 0 if passed else 1
    raise AssertionError("the servers' ends swallow nothing")


def show_login(airflow: Airflow, folder: DemoFolder) -> None:
    """Where the UI is and who may do what."""
    say(f"\nAirflow is at {airflow.url} until Ctrl-C:")
    for user, may in (("admin", "everything"), ("engineer", "runs DAGs"), ("auditor", "reads")):
        say(f"  {user:8}  {airflow.passwords[user]}  ({may})")
    say(f"The databases' passwords are in {folder.passwords}.")


def clean(folder: DemoFolder) -> int:
    """End what an interrupted demo left and remove the demo's folder."""
    if folder.path.exists():
        folder.open()
        remove(folder.path / "lock")
        folder.close()
        with contextlib.suppress(OSError):  # not ours if there is something else in it
            folder.path.rmdir()
    return 0


def main() -> int:
    """Run or clean, and turn every expected end into an exit status and a sentence."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("action", nargs="?", choices=("run", "clean"), default="run")
    parser.add_argument("--folder", type=Path, default=REPOSITORY / ".demo", help="where everything of this demo lies")
    arguments = parser.parse_args()
    folder = DemoFolder(arguments.folder.absolute())
    signals = Signals()
    try:
        return clean(folder) if arguments.action == "clean" else run_demo(folder, signals)
    except (DemoError, ApiError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        return 128 + stopped.number


if __name__ == "__main__":
    sys.exit(main())
