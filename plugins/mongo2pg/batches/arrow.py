"""pyarrow without pandas.

pyarrow imports pandas, where it is installed, as soon as it makes an array: half a second and 60 MB that no stage has a
use for. Whoever imports this module first spares both; pandas is still found when somebody asks for a data frame.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder

import pyarrow as pa

__all__ = ["pa"]


class _NoPandas(MetaPathFinder):
    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


if "pandas" not in sys.modules:
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    pa.array([])  # here pyarrow looks for it, this once
    sys.meta_path.remove(finder)
