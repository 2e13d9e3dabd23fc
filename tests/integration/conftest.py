"""Limits that are known and still open, each shown by a test that expects what should be.

Such a test is marked here, with what stands in the way, and must fail: once it passes, its line has to go.
"""

from __future__ import annotations

import pytest

HOSTILE = "test_hostile_documents.py::"
KNOWN_LIMITS = {
    HOSTILE + "test_one_id_in_two_documents_stops_no_collection": "two documents with the very same _id, which no MongoDB stores",
    HOSTILE + "test_a_text_too_long_for_an_index_stops_no_collection[unique column]": "index rows hold 8,191 bytes",
    HOSTILE + "test_a_text_too_long_for_an_index_stops_no_collection[unique value]": "index rows hold 8,191 bytes",
    HOSTILE + "test_a_text_too_long_for_an_index_stops_no_collection[map key]": "index rows hold 8,191 bytes",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = item.nodeid.rsplit("/", 1)[-1]
        if name in KNOWN_LIMITS:
            item.add_marker(pytest.mark.xfail(reason=KNOWN_LIMITS[name], strict=True))
