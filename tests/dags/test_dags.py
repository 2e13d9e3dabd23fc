"""The DAGs as Airflow reads them: which there are, what follows what, and what reading them does to Python."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepiri.registry import DOMAINS

REPOSITORY = Path(__file__).resolve().parents[2]
DAGS = REPOSITORY / "dags"

DOMAIN_IDS = {
    "auth",
    "task_orchestrator",
    "engagement",
    "notification",
    "external_bridge",
    "challenge",
    "platform_analytics",
}
DAG_IDS = DOMAIN_IDS | {"platform", "reconcile"}

# task → what must have ended before it.
DOMAIN_GRAPH = {
    "prepare": set(),
    "plan": {"prepare"},
    "move.extract": {"plan"},
    "move.normalise": {"move.extract"},
    "move.load": {"move.normalise"},
    "delete": {"move.load"},
    "settle": {"delete"},
    "row_counts": {"settle"},
    "checksums": {"settle", "plan"},
    "references": {"settle"},
    "uniqueness": {"settle"},
    "round_trip": {"settle", "plan"},
    "gate": {"move.load", "row_counts", "checksums", "references", "uniqueness", "round_trip"},
}
PLATFORM_GRAPH = {
    "unpaused": set(),
    "auth": {"unpaused"},
    **{domain: {"auth"} for domain in DOMAIN_IDS - {"auth"}},
    "references": DOMAIN_IDS - {"auth"},
    "gate": {"references"},
}
RECONCILE_GRAPH = {
    "prepare": set(),
    "plan": {"prepare"},
    "compare": {"plan"},
    "rows": {"plan"},
    "repair": {"compare", "rows"},
    "gate": {"compare", "rows", "repair"},
}
GRAPHS = {"platform": PLATFORM_GRAPH, "reconcile": RECONCILE_GRAPH}
# Every other task waits until all before it succeeded.
ALL_DONE = {"gate", "references"}
PARAMS = {
    "mode": "full",
    "chunk_mb": 64,
    "verify_source": "auto",
    "max_reject_ratio": 0.01,
    "max_orphan_ratio": 0.05,
    "max_delete_ratio": 0.1,
    "max_misfit_ratio": 0.1,
    "round_trip_sample": 0.001,
}
OF_A_RECONCILE = {"domain": "auth", "repair": False, "max_repair_ratio": 0.01, "chunk_mb": 64}
# What a domain can be asked for besides; `collections` are its own.
OF_A_DOMAIN = {
    "mode": "incremental",
    "from": None,
    "to": None,
    "lookback_minutes": 10,
    "scan_limit_mb": 1024,
    "retention_days": 30,
    "read_concern": "local",
}
MODES = {"incremental", "full", "window", "replay", "deletes", "dry_run"}


@pytest.fixture(scope="module")
def bag():
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(DAGS)


# --------------------------------------------------------------------------------------------------------- the DAGs


def test_every_dag_file_loads_and_these_are_the_dags(bag) -> None:
    assert bag.import_errors == {}
    assert set(bag.dags) == DAG_IDS
    assert {domain.name for domain in DOMAINS} == DOMAIN_IDS
    assert {Path(dag.fileloc).stem for dag in bag.dags.values()} == DAG_IDS - {"platform"} | {"whole_platform"}


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_what_follows_what(bag, dag_id: str) -> None:
    graph = {task.task_id: set(task.upstream_task_ids) for task in bag.dags[dag_id].tasks}
    assert graph == GRAPHS.get(dag_id, DOMAIN_GRAPH)


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_no_task_has_a_copy_of_its_dags_params(bag, dag_id: str) -> None:
    # Airflow would validate each copy whenever it parses or serialises the DAG: ten times the CPU of everything else in it.
    assert [task.task_id for task in bag.dags[dag_id].tasks if task.params] == []


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_only_what_judges_runs_after_a_failure(bag, dag_id: str) -> None:
    rules = {task.task_id: task.trigger_rule.value for task in bag.dags[dag_id].tasks}
    others = dict.fromkeys(ALL_DONE if dag_id == "platform" else {"gate"}, "all_done")
    if dag_id in DOMAIN_IDS:
        others["delete"] = "none_failed"  # where deletes alone were asked for nothing is moved
    assert rules == {task: others.get(task, "all_success") for task in rules}


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_the_gate_is_the_one_end_and_whatever_is_killed_is_tried_again(bag, dag_id: str) -> None:
    dag = bag.dags[dag_id]
    assert [task.task_id for task in dag.leaves] == ["gate"]
    assert [task.task_id for task in dag.roots] == ["unpaused" if dag_id == "platform" else "prepare"]
    # A red verdict is final (AirflowFailException), and a domain's run that failed is red by its own gate: the platform does
    # not run it again.
    tried_once = DOMAIN_IDS if dag_id == "platform" else ()
    assert {task.task_id: task.retries for task in dag.tasks if task.task_id not in tried_once} == {
        task.task_id: 2 for task in dag.tasks if task.task_id not in tried_once
    }


@pytest.mark.parametrize("dag_id", sorted(DOMAIN_IDS | {"reconcile"}))
def test_what_is_mapped_is_named_after_its_chunks(bag, dag_id: str) -> None:
    templates = {
        task.task_id: task.map_index_template
        for task in bag.dags[dag_id].tasks
        if task.is_mapped or task.get_closest_mapped_task_group()
    }
    of_a_domain = ("move.extract", "move.normalise", "move.load", "checksums", "round_trip")
    mapped = ("compare",) if dag_id == "reconcile" else of_a_domain
    assert templates == dict.fromkeys(mapped, "{{ task.op_kwargs['lot']['label'] }}")


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_dags_say_what_they_are_and_catch_up_with_nothing(bag, dag_id: str) -> None:
    dag = bag.dags[dag_id]
    assert dag.catchup is False
    assert {task.pool for task in dag.tasks} == {"default_pool"}
    assert "mongo2pg" in dag.tags
    assert dag.description
    assert dag.doc_md
    assert [task.task_id for task in dag.tasks if not task.doc_md] == []


@pytest.mark.parametrize("dag_id", sorted(DOMAIN_IDS))
def test_a_domain_is_moved_every_hour_in_real_intervals(bag, dag_id: str) -> None:
    # A plain cron string becomes another timetable, whose intervals have no length.
    timetable = bag.dags[dag_id].timetable
    assert (type(timetable).__name__, timetable.expression) == ("CronDataIntervalTimetable", "0 * * * *")


def test_a_platform_of_one_domain_judges_references_after_it() -> None:
    from deepiri.auth import AUTH
    from mongo2pg.dag.platform_pipeline import platform_dag

    dag = platform_dag([AUTH])
    assert {task_id: set(dag.get_task(task_id).upstream_task_ids) for task_id in dag.task_ids} == {
        "unpaused": set(), "auth": {"unpaused"}, "references": {"auth"}, "gate": {"references"},
    }  # fmt: skip


def test_the_platform_runs_by_hand_alone_and_once_at_a_time(bag) -> None:
    assert (bag.dags["platform"].schedule, bag.dags["platform"].max_active_runs) == (None, 1)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "0 * * * *"),
        ({"MONGO2PG_SCHEDULE": "30 2 * * *"}, "30 2 * * *"),
        ({"MONGO2PG_SCHEDULE": "30 2 * * *", "MONGO2PG_SCHEDULE_TASK_ORCHESTRATOR": "*/5 * * * *"}, "*/5 * * * *"),
        ({"MONGO2PG_SCHEDULE_TASK_ORCHESTRATOR": "none"}, None),
    ],
)
def test_the_schedule_is_a_setting_of_the_domain_or_of_all(monkeypatch, settings: dict[str, str], expected: str | None) -> None:
    from deepiri.registry import TASK_ORCHESTRATOR
    from mongo2pg.dag.pipeline import schedule_of

    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert schedule_of(TASK_ORCHESTRATOR) == expected


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_the_params_have_these_defaults_and_are_explained(bag, dag_id: str) -> None:
    params = bag.dags[dag_id].params
    expected = {"platform": PARAMS, "reconcile": OF_A_RECONCILE}.get(dag_id, {**PARAMS, **OF_A_DOMAIN})
    assert {name: params[name] for name in params if name != "collections"} == expected
    params.validate()
    for name in params:
        schema = params.get_param(name).schema
        assert schema["type"] in ("string", "integer", "number", "array", "boolean", ["null", "string"], ["null", "array"])
        assert params.get_param(name).description
        assert schema["title"]
    if dag_id == "reconcile":
        assert set(params.get_param("domain").schema["enum"]) == DOMAIN_IDS
    else:
        modes = {"full", "incremental", "replay"} if dag_id == "platform" else MODES
        assert set(params.get_param("mode").schema["enum"]) == modes


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_a_number_has_a_largest_value_that_airflow_can_hand_to_a_task(bag, dag_id: str) -> None:
    schemas = {name: bag.dags[dag_id].params.get_param(name).schema for name in bag.dags[dag_id].params}
    numbers = {name: schema["maximum"] for name, schema in schemas.items() if schema["type"] in ("integer", "number")}
    assert max(numbers.values()) < 2**63


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.name)
def test_the_collections_of_a_run_are_picked_from_a_list(bag, domain) -> None:
    names = [collection.name for collection in domain.collections]
    schema = bag.dags[domain.name].params.get_param("collections").schema
    assert bag.dags[domain.name].params["collections"] == names
    # `examples` make the list to pick from, `enum` makes the server refuse other names.
    assert (schema["examples"], schema["items"]["enum"], schema["minItems"]) == (names, names, 1)


@pytest.mark.parametrize("dag_id", sorted(DAG_IDS))
def test_a_dag_goes_through_the_database_and_comes_back(bag, dag_id: str) -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    written = DagSerialization.to_dict(bag.dags[dag_id])
    back = DagSerialization.from_dict(json.loads(json.dumps(written)))
    assert {task.task_id: set(task.upstream_task_ids) for task in back.tasks} == {
        task.task_id: set(task.upstream_task_ids) for task in bag.dags[dag_id].tasks
    }


# ------------------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("path", sorted(DAGS.glob("*.py")), ids=lambda path: path.name)
def test_a_dag_file_is_a_docstring_its_imports_and_one_call(path: Path) -> None:
    module = ast.parse(path.read_text())
    docstring = ast.get_docstring(module)
    # Airflow looks for the two words "dag" and "airflow" in a file's text before it reads it, and passes over it in silence.
    assert docstring
    assert "Airflow" in docstring
    _, *imports, call = module.body
    assert imports
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    froms = [statement for statement in imports if isinstance(statement, ast.ImportFrom)]
    assert froms == imports
    imported = [name.name for statement in froms for name in statement.names]
    used = [node.id for node in ast.walk(call) if isinstance(node, ast.Name)]
    assert sorted(used) == sorted(imported)


def test_a_dag_file_can_be_run_by_itself_to_look_for_mistakes(tmp_path: Path) -> None:
    # As Airflow advises. Python looks for modules beside the file first: no DAG file may bear the name of one of its own.
    done = subprocess.run(
        [sys.executable, DAGS / "auth.py"],
        env={"PYTHONPATH": str(REPOSITORY / "plugins"), "AIRFLOW_HOME": str(tmp_path), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------- what loading does to Python, apart from ours

LOAD = """
import json, sys
from pathlib import Path

def files():
    return {name: getattr(module, "__file__", None) or "" for name, module in sys.modules.items()}

import airflow
from airflow import plugins_manager
from airflow.dag_processing.dagbag import DagBag

before = files()
plugins_manager.ensure_plugins_loaded()
after = files()
bag = DagBag(sys.argv[2])
parsed = files()
print(json.dumps({
    "plugin_errors": plugins_manager.get_import_errors(),
    "dag_errors": bag.import_errors,
    "replaced": {name: after.get(name) for name, file in before.items() if after.get(name) != file},
    "ours": {name: file for name, file in after.items() if file.startswith(sys.argv[1])},
    "packages": sorted({name.split(".")[0] for name, file in parsed.items() if file.startswith(sys.argv[1])}),
    "parsed": sorted(set(parsed) - set(before)),
}))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """What a fresh interpreter holds after Airflow loaded its plugins and our DAGs."""
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("PYTHON")},
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("home")),
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(REPOSITORY / "plugins"), str(DAGS)],
        env=environment,
        cwd=tmp_path_factory.mktemp("elsewhere"),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_loading_plugins_leaves_the_standard_library_alone(loaded) -> None:
    assert loaded["replaced"] == {}
    assert loaded["plugin_errors"] == {}


def test_loading_plugins_imports_the_plugin_alone_and_reading_dags_nothing_under_a_bare_name(loaded) -> None:
    assert set(loaded["ours"]) == {"migration_report"}
    assert loaded["dag_errors"] == {}
    assert loaded["packages"] == ["deepiri", "migration_report", "mongo2pg"]


def test_reading_all_dag_files_imports_nothing_heavy(loaded) -> None:
    heavy = {"bson", "numpy", "orjson", "pandas", "pgpq", "psycopg", "pyarrow", "pymongo"}
    assert heavy & set(loaded["parsed"]) == set()
