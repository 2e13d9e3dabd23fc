"""The engine's map, which a stranger reads first: each package says once what it holds."""

from __future__ import annotations

import importlib
import pkgutil
import re
from types import ModuleType

import pytest

import mongo2pg

ROOMS = [module.name for module in pkgutil.iter_modules(mongo2pg.__path__) if module.ispkg]


def named(package: ModuleType) -> list[str]:
    """What the package's docstring lists, in its order: a name, a gap, and what it is."""
    return re.findall(r"^ *(\w+) {2,}\S", package.__doc__ or "", re.MULTILINE)


@pytest.mark.parametrize("name", ["mongo2pg", *(f"mongo2pg.{room}" for room in ROOMS)])
def test_each_module_stands_in_the_map_of_its_room_once(name: str) -> None:
    package = importlib.import_module(name)
    assert sorted(named(package)) == sorted(module.name for module in pkgutil.iter_modules(package.__path__))
