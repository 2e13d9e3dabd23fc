"""The verifier's own idea of MongoDB's order of `_id`s, from what rows and books keep of them."""

from __future__ import annotations

import pytest

from mongo2pg.reference.id_order import id_order

# One row after the other as MongoDB sorts them (manual, "Comparison/Sort Order").
IN_ORDER = [
    '{"$minKey": 1}',
    "null",
    '{"$numberDouble": "NaN"}',
    '{"$numberDouble": "-Infinity"}',
    "-5",
    '{"$numberDecimal": "0.1"}',
    "0.1",  # the double is a little more
    "1",
    "9007199254740993",
    '""',
    '"Z"',
    '"a"',
    '{"$utf8": "YQA="}',  # "a", U+0000
    '"é"',
    "{}",
    '{"a": 1}',
    '{"a": 1, "b": 0}',
    '{"a": 2}',
    '{"b": 1}',
    '{"$oid": "no ObjectId"}',  # documents with a string in their first field
    '{"$id": 1, "$ref": "a"}',
    '{"$ref": "b", "$id": 0}',
    '{"a": "1"}',
    '{"a": []}',
    '{"a": [2]}',
    '{"a": [10]}',
    '{"a": {"$oid": "000000000000000000000000"}}',
    '{"$binary": {"base64": "eg==", "subType": "00"}}',
    '{"$binary": {"base64": "YWE=", "subType": "00"}}',
    '{"$binary": {"base64": "YWE=", "subType": "05"}}',
    '{"$oid": "000000000000000000000000"}',
    '{"$oid": "ff0000000000000000000000"}',
    "false",
    "true",
    '{"$date": {"$numberLong": "-5"}}',
    '{"$date": "2025-03-14T12:00:00Z"}',
    '{"$timestamp": {"t": 9, "i": 1}}',
    '{"$timestamp": {"t": 10, "i": 0}}',
    '{"$timestamp": {"t": 10, "i": 1}}',
    '{"$regularExpression": {"pattern": "a", "options": ""}}',
    '{"$code": "a"}',
    '{"$code": "b"}',
    '{"$code": "a", "$scope": {}}',
    '{"$code": "a", "$scope": {"x": 1}}',
    '{"$maxKey": 1}',
]


@pytest.mark.parametrize("shift", range(1, len(IN_ORDER)))
def test_ids_sort_as_mongodb_sorts_them(shift: int) -> None:
    for one, other in zip(IN_ORDER, IN_ORDER[shift:], strict=False):
        assert id_order(one) < id_order(other), (one, other)
