"""What Airflow calls a run: as the name of a folder, and in the books, which know reconciles by another name."""

from __future__ import annotations

import pytest

from mongo2pg.dag.tasks import runs_called
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


def test_a_domain_knows_its_reconciles_by_a_name_that_its_own_runs_may_bear_too() -> None:
    assert runs_called("compares", "auth") == [("auth", "compares")]
    assert runs_called("reconcile__compares", "auth") == [("auth", "reconcile__compares"), ("reconcile", "compares")]
