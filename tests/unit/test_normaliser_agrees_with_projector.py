"""Two independent readings of one document agree: the mover's rows and rejects are those of the reference projector.

Some dozens of random documents here; `make fuzz` reads a hundred thousand.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepiri.registry import DOMAINS
from mongo2pg.model import Collection
from tests.unit.random_documents import EXAMPLES, FEW, collections, damaged, documents
from tests.unit.two_readings import agree


@given(data=st.data())
@FEW
def test_any_document_becomes_the_same_rows_and_rejects_by_both_readings(data: st.DataObject) -> None:
    collection = data.draw(collections())
    agree(collection, data.draw(st.lists(documents(collection), min_size=1, max_size=3)))


@given(data=st.data())
@FEW
def test_damaged_bytes_are_judged_alike_by_both_readings(data: st.DataObject) -> None:
    collection = data.draw(collections())
    agree(collection, [data.draw(damaged(raw)) for raw in data.draw(st.lists(documents(collection), min_size=1, max_size=2))])


DECLARED = [collection for domain in DOMAINS for collection in domain.collections]


@pytest.mark.parametrize("collection", DECLARED, ids=[collection.name for collection in DECLARED])
def test_the_domains_own_declarations_are_read_alike_by_both(collection: Collection) -> None:
    @given(raws=st.lists(documents(collection), min_size=1, max_size=3))
    @settings(FEW, max_examples=max(10, EXAMPLES // 10))
    def check(raws: list[bytes]) -> None:
        agree(collection, raws)

    check()
