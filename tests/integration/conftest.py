"""Limits that are known and still open, each shown by a test that expects what should be.

Such a test is marked here, with what stands in the way, and must fail: once it passes, its line has to go.
"""

from __future__ import annotations

import pytest

KNOWN_LIMITS = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = item.nodeid.rsplit("/", 1)[-1]
        if name in KNOWN_LIMITS:
            item.add_marker(pytest.mark.xfail(reason=KNOWN_LIMITS[name], strict=True))
