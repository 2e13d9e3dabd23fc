"""Which index may find the documents of a window: one that lacks none of them."""

from __future__ import annotations

from typing import Any

import pytest

from deepiri.auth import AUTH
from mongo2pg.databases.window import find_index


class Source(dict[str, Any]):
    """A database whose one collection has an index with these keys, as pymongo tells of it; no array is in it."""

    def __init__(self, *keys: tuple[str, Any]) -> None:
        super().__init__(users=self)
        self._keys = list(keys)

    def index_information(self) -> dict[str, Any]:
        return {"_id_": {"key": [("_id", 1)]}, "made": {"key": self._keys}}

    def command(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"queryPlanner": {"winningPlan": {"stage": "IXSCAN", "isMultiKey": False}}}


@pytest.mark.parametrize(
    "keys",
    [
        [("updatedAt", 1)],
        [("updatedAt", -1.0), ("email", 1)],
        [("updatedAt", 1), ("email", "hashed")],
    ],
    ids=["alone", "with another field", "with a hash"],
)
def test_an_index_that_leads_with_the_change_key_finds_a_window(keys: list[tuple[str, Any]]) -> None:
    assert find_index(Source(*keys), AUTH.collection("users")) == ("made", False)


@pytest.mark.parametrize(
    "keys",
    [
        [("email", 1), ("updatedAt", 1)],
        [("updatedAt", "hashed")],
        [("updatedAt", 1), ("place", "2dsphere")],
        [("updatedAt", 1), ("_fts", "text"), ("_ftsx", 1)],
        [("updatedAt", 1), ("preferences.$**", 1)],
    ],
    ids=["behind another field", "as a hash", "with a place", "with a text", "with a wildcard"],
)
def test_one_that_may_lack_documents_does_not(keys: list[tuple[str, Any]]) -> None:
    assert find_index(Source(*keys), AUTH.collection("users")) is None
