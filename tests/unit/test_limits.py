"""How much dirt passes: shares of what they are shares of."""

from __future__ import annotations

from typing import Any

import pytest

from deepiri.engagement import ENGAGEMENT
from mongo2pg.checks.count import Limits, check_limits

ARRAYS = {"objectives": {"elements": 10_000, "rows": 10_000}, "milestones": {}}


@pytest.mark.parametrize(
    ("misfits", "want"),
    [
        ({"objectives": 900}, "passed"),
        ({"objectives.title": 900}, "passed"),
        ({"objectives": 1_200}, "failed"),
        ({"objectivesOfOthers": 190}, "failed"),
        ({"milestones": 90}, "passed"),
        ({"milestones": 190}, "failed"),
        ({"title": 190}, "failed"),
    ],
    ids=[
        "values of an array",
        "fields in an array",
        "more than a tenth",
        "a field that begins alike",
        "something else than an array",
        "in too many documents",
        "a field of documents",
    ],
)
def test_misfits_in_an_array_are_a_share_of_its_elements_others_of_the_documents(misfits: dict[str, int], want: str) -> None:
    booked: dict[str, Any] = {"read": 1_000, "rejected": {}, "arrays": ARRAYS, "misfits": misfits}
    assert check_limits(ENGAGEMENT.collection("odysseys"), booked, Limits()).verdict == want
