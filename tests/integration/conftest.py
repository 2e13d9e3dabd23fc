"""Limits that are known and still open, each shown by a test that expects what should be.

Such a test is marked here, with what stands in the way, and must fail: once it passes, its line has to go.
"""

from __future__ import annotations

import pytest

HOSTILE = "test_hostile_documents.py::"
KNOWN_LIMITS = {
    HOSTILE
    + "test_the_arrays_of_a_document_that_repeats_a_key_are_accounted_for": "nobody counts the elements of malformed documents",
    HOSTILE
    + "test_a_document_that_is_broken_after_it_was_loaded_leaves_a_stale_row": "a malformed document is known by its digest",
    HOSTILE + "test_one_id_in_two_documents_stops_no_collection": "two documents with the very same _id, which no MongoDB stores",
    HOSTILE + "test_ids_that_look_alike_as_json_stop_no_collection_pp_21": "`_id`s of other types that look alike as Extended JSON",
    HOSTILE + "test_an_id_that_was_written_again_as_a_decimal_is_the_same_document_pp_21": "an _id that changes its number type",
    HOSTILE + "test_a_text_too_long_for_an_index_stops_no_collection[unique column]": "index rows hold 8,191 bytes",
    HOSTILE + "test_a_text_too_long_for_an_index_stops_no_collection[unique value]": "index rows hold 8,191 bytes",
    HOSTILE + "test_a_text_too_long_for_an_index_stops_no_collection[map key]": "index rows hold 8,191 bytes",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        name = item.nodeid.rsplit("/", 1)[-1]
        if name in KNOWN_LIMITS:
            item.add_marker(pytest.mark.xfail(reason=KNOWN_LIMITS[name], strict=True))
