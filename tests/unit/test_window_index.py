"""Which index may find the documents of a window: one that lacks none of them."""

from __future__ import annotations

from typing import Any

import pytest

from mongo2pg.databases.window import finds_all, may_hold_arrays

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


def scan(**facts: Any) -> dict[str, Any]:
    return {"stage": "FETCH", "inputStage": {"stage": "IXSCAN", **facts}}


@pytest.mark.parametrize(
    ("plan", "may"),
    [
        (scan(isMultiKey=False, multiKeyPaths={"updatedAt": []}), False),
        (scan(isMultiKey=True, multiKeyPaths={"updatedAt": ["updatedAt"]}), True),
        (scan(isMultiKey=True, multiKeyPaths={"updatedAt": [], "tags": ["tags"]}), False),
        (scan(isMultiKey=True), True),
        (scan(), True),
        ({"isCached": False, "queryPlan": scan(isMultiKey=True), "slotBasedPlan": {"stages": "[2] nlj"}}, True),
        ({"stage": "SHARD_MERGE", "shards": [{"winningPlan": scan(isMultiKey=each)} for each in (False, True)]}, True),
    ],
    ids=["no arrays", "arrays", "arrays of another field", "no word of fields", "no word", "slot-based", "one shard of two"],
)
def test_whether_an_index_may_hold_arrays_of_the_change_key_is_what_the_server_says_of_that_field(
    plan: dict[str, Any], may: bool
) -> None:
    assert may_hold_arrays("updatedAt", {"queryPlanner": {"winningPlan": plan, "rejectedPlans": []}}) is may
