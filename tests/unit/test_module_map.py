"""The engine's map, which a stranger reads first, names every module once."""

from __future__ import annotations

import pkgutil

import mongo2pg

# Left of it stands the stage.
COLUMN = 18


def test_each_module_of_the_engine_stands_in_its_map_once() -> None:
    lines = [line for line in mongo2pg.__doc__.splitlines() if line.startswith("    ")]
    named = [module for line in lines for module in line[COLUMN:].split()]
    assert sorted(named) == sorted(module.name for module in pkgutil.iter_modules(mongo2pg.__path__))
