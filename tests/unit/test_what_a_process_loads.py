"""Each task is a process of its own: what its modules load, it pays for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"


def printed(program: str, **environment: str) -> list[str]:
    """The words that the program prints in a fresh process, which gets no more of this one's environment than what is given."""
    environment["PYTHONPATH"] = str(PLUGINS)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    return done.stdout.split()


def airflow_environment() -> dict[str, str]:
    """Where Airflow, which some modules import, finds its folder."""
    return {name: os.environ[name] for name in ("HOME", "AIRFLOW_HOME") if name in os.environ}


# The modules of prepare, plan, delete, settle, references, uniqueness and gate, and those of a task that ends a platform's run.
WITHOUT_ARRAYS = (
    *("planning.prepare", "planning.increments", "planning.plan", "planning.besides", "planning.claim"),
    *("settling.deletes", "settling.settle", "checks.references", "checks.uniqueness", "verdict.gate", "verdict.across"),
    *("run", "dag.pipeline"),
)


def test_a_stage_that_only_asks_and_writes_sql_loads_neither_numpy_nor_arrow() -> None:
    program = f"""
import importlib, sys
for module in {WITHOUT_ARRAYS}:
    importlib.import_module(f"mongo2pg.{{module}}")
    if not sys.modules.keys().isdisjoint(["numpy", "pyarrow"]):
        print(module)
        break
"""
    assert printed(program, **airflow_environment()) == []


@pytest.mark.parametrize(
    "module",
    [
        *("moving.extract", "moving.replay", "moving.rehearsal", "moving.normalise", "moving.load", "moving.versions"),
        *("files.parquet", "files.staged_documents"),
        *("checks.count", "checks.verify", "checks.live", "checks.round_trip", "reconciling.reconcile", "reconciling.repair"),
    ],
)
def test_whichever_module_comes_first_no_array_brings_pandas(module: str) -> None:
    program = f"import sys, mongo2pg.{module}, pyarrow; pyarrow.array([1]); print('pandas' in sys.modules)"
    assert printed(program) == ["False"]


def test_making_frames_imports_no_pandas() -> None:
    program = """
import sys
import bson
from mongo2pg.moving.normaliser import Normaliser, pa
from deepiri.auth import AUTH
raws = [bson.encode({"_id": 5, "email": "a@example.com", "odd": 1}), bson.encode({"_id": bson.ObjectId(), "email": "b"})]
batch = Normaliser(AUTH.collection("users")).normalise(pa.array(raws), 0)
print(batch.frames["users"].num_rows, "pandas" in sys.modules)
batch.frames["users"].to_pandas()
print("pandas" in sys.modules)
"""
    assert printed(program) == ["2", "False", "True"]


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="Arrow's wheels have jemalloc for x86-64 alone")
@pytest.mark.parametrize(("asked", "chosen"), [({}, "jemalloc"), ({"ARROW_DEFAULT_MEMORY_POOL": "system"}, "system")])
def test_arrow_takes_its_memory_from_jemalloc_unless_somebody_chose_otherwise(asked: dict[str, str], chosen: str) -> None:
    assert printed("from mongo2pg.moving.normaliser import pa; print(pa.default_memory_pool().backend_name)", **asked) == [chosen]


@pytest.mark.parametrize("installed", [False, True])
def test_pymongo_loads_cryptography_only_where_it_can_use_it(tmp_path: Path, installed: bool) -> None:
    if installed:
        (tmp_path / "service_identity.py").touch()
    program = f"import sys; sys.path.append({str(tmp_path)!r}); import mongo2pg, pymongo; print('cryptography.x509' in sys.modules)"
    assert printed(program) == [str(installed)]


# OpenBLAS never starts more than there are cores.
@pytest.mark.parametrize(("asked", "more"), [({}, 0), ({"OPENBLAS_NUM_THREADS": "2"}, min(len(os.sched_getaffinity(0)), 2) - 1)])
def test_numpy_starts_no_threads_in_a_task_for_sums_that_nobody_asks_for(asked: dict[str, str], more: int) -> None:
    count = "len(os.listdir('/proc/self/task'))"
    program = f"import os, mongo2pg.dag.tasks; before = {count}; import numpy; print({count} - before)"
    assert printed(program, **airflow_environment(), **asked) == [str(more)]
