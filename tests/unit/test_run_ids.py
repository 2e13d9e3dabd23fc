"""What Airflow calls a run: as the name of a folder, and in the books, which know reconciles by another name."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mongo2pg.dag import tasks
from mongo2pg.dag.tasks import run_is_alive
from mongo2pg.files.staging import safe_name

# The longest id that Airflow takes.
LONGEST = "manual__" + "x" * 242


@pytest.mark.parametrize(
    "run_id", ["manual__2026-11-22", "..", "a/b", "a:b", "Zoë", LONGEST, f"reconcile__{LONGEST}", f"{LONGEST[:-2]}:a"]
)
def test_a_run_id_is_the_name_of_one_folder_however_long_it_is(run_id: str) -> None:
    name = safe_name(run_id)
    assert name.isascii()
    assert len(name) <= 255
    assert not {"/", ":"} & {*name}
    assert name.strip(".")


def test_two_run_ids_never_share_a_folder() -> None:
    ids = ["a:b", "a/b", "a_b", f"reconcile__{LONGEST}", f"reconcile__{LONGEST[:-1]}y", f"{LONGEST[:-1]}:", f"{LONGEST[:-1]}/"]
    assert len(set(map(safe_name, ids))) == len(ids)
    assert safe_name("manual__2026-11-22") == "manual__2026-11-22"


@pytest.mark.parametrize(
    ("run_id", "alive"),
    [
        ("first", True),
        ("ended", False),
        ("reconcile__first", False),
        ("reconcile__compares", True),
        ("compares", False),
        ("reconcile__by hand", True),
    ],
)
def test_a_reconcile_that_goes_on_is_alive_to_its_domain(monkeypatch: pytest.MonkeyPatch, run_id: str, alive: bool) -> None:
    running = {("auth", "first"), ("auth", "reconcile__by hand"), ("reconcile", "compares")}

    def count(*, dag_id: str, run_ids: list[str], states: list[str]) -> int:
        assert states == ["queued", "running"]
        return sum((dag_id, each) in running for each in run_ids)

    monkeypatch.setattr(tasks, "get_current_context", lambda: {"ti": SimpleNamespace(dag_id="auth", get_dr_count=count)})
    assert run_is_alive(run_id) is alive
