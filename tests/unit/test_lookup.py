"""What the source is asked for: `_id`s as rows keep them, and how many at once."""

from __future__ import annotations

from typing import Any

import pytest
from bson.binary import Binary

from mongo2pg.databases.lookup import read_id, slices

MEGABYTE = 1 << 20


@pytest.mark.parametrize(
    ("values", "lengths"),
    [
        ([], []),
        (list(range(2_500)), [1_000, 1_000, 500]),
        (["x" * 3 * MEGABYTE] * 5, [2, 2, 1]),
        ([1, Binary(bytes(15 * MEGABYTE)), 2], [1, 1, 1]),
    ],
    ids=["none", "small ones", "large ones", "one as large as a document may be"],
)
def test_ids_are_asked_for_as_many_at_once_as_a_command_of_mongodb_holds(values: list[Any], lengths: list[int]) -> None:
    found = list(slices(values))
    assert [len(some) for some in found] == lengths
    assert [value for some in found for value in some] == values


def test_an_id_that_looks_like_a_dbref_is_asked_for_as_the_document_that_it_is() -> None:
    assert read_id('{"$id": 1, "$ref": "users"}') == {"$ref": "users", "$id": 1}
