"""Which index may find the documents of a window: one that lacks none of them."""

from __future__ import annotations

from typing import Any

import pytest

from mongo2pg.databases.window import finds_all

AT = ("updatedAt", 1)


@pytest.mark.parametrize(
    "facts",
    [
        {"key": [AT]},
        {"key": [AT], "sparse": False, "hidden": False},
        {"key": [("updatedAt", -1.0), ("email", 1)]},
        {"key": [AT, ("email", "hashed")]},
    ],
    ids=["alone", "with options that are off", "with another field", "with a hash"],
)
def test_an_index_that_leads_with_the_change_key_finds_a_window(facts: dict[str, Any]) -> None:
    assert finds_all("updatedAt", facts)


@pytest.mark.parametrize(
    "facts",
    [
        {"key": [("email", 1), AT]},
        {"key": [("updatedAt", "hashed")]},
        {"key": [AT, ("place", "2dsphere")]},
        {"key": [AT, ("_fts", "text"), ("_ftsx", 1)]},
        {"key": [AT, ("preferences.$**", 1)]},
        {"key": [AT], "sparse": True},
        {"key": [AT], "partialFilterExpression": {"email": {"$exists": True}}},
        {"key": [AT], "hidden": True},
    ],
    ids=["behind another field", "as a hash", "with a place", "with a text", "with a wildcard", "sparse", "partial", "hidden"],
)
def test_one_that_lacks_documents_or_may_lack_them_does_not(facts: dict[str, Any]) -> None:
    assert not finds_all("updatedAt", facts)
