"""Who may call whom: those above in the map, Airflow from its own room, the DAGs' modules from the DAGs alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import mongo2pg
from tests.unit.test_module_map import named

PLUGINS = Path(mongo2pg.__file__).parents[1]
PIPELINES = {"mongo2pg.dag.pipeline", "mongo2pg.dag.reconcile_pipeline", "mongo2pg.dag.platform_pipeline"}


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(PLUGINS).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(file): file for file in PLUGINS.joinpath("mongo2pg").rglob("*.py")}


@cache
def imports(module: str) -> frozenset[str]:
    """What the module imports, now or in its functions; not what only its types name."""
    return frozenset(_imports(ast.parse(FILES[module].read_text())))


def _imports(node: ast.AST) -> Iterator[str]:
    for each in ast.iter_child_nodes(node):
        if isinstance(each, ast.If) and isinstance(each.test, ast.Name) and each.test.id == "TYPE_CHECKING":
            continue
        if isinstance(each, ast.Import):
            yield from (alias.name for alias in each.names)
        elif isinstance(each, ast.ImportFrom) and each.module:
            inner = {f"{each.module}.{alias.name}" for alias in each.names}
            yield from (inner & FILES.keys()) or {each.module}
        else:
            yield from _imports(each)


def engine_imports(module: str) -> set[str]:
    return {each for each in imports(module) if each in FILES} - {"mongo2pg", module}


def test_no_module_imports_another_in_a_circle() -> None:
    done: set[str] = set()

    def follow(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " → ".join([*way[way.index(module) :], module])
        if module in done:
            return
        for each in sorted(engine_imports(module)):
            follow(each, (*way, module))
        done.add(module)

    for module in FILES:
        follow(module, ())


def room_of(module: str) -> str:
    return module.split(".")[1]


def test_a_room_uses_those_above_it_in_the_map_and_none_below() -> None:
    order = named(mongo2pg)
    # What all may use comes before the rooms, and has no order of its own but that nobody goes in a circle.
    height = {name: max(0, at - order.index("reference")) for at, name in enumerate(order)}
    below = [
        f"{module} uses {used}"
        for module in FILES.keys() - {"mongo2pg"}
        for used in engine_imports(module)
        if height[room_of(used)] > height[room_of(module)]
    ]
    assert below == []


def test_the_engine_knows_airflow_in_the_room_of_dags_and_where_connections_are_opened() -> None:
    knowing = {module for module in FILES if any(each.split(".")[0] == "airflow" for each in imports(module))}
    assert knowing == {"mongo2pg.databases.connections", "mongo2pg.dag.params", "mongo2pg.dag.tasks"} | PIPELINES


def test_only_dags_import_what_makes_dags() -> None:
    assert {module: found for module in FILES if (found := engine_imports(module) & PIPELINES)} == {}
