"""`make fuzz` tries what it says, and would find a difference."""

from __future__ import annotations

import pytest
from hypothesis import Phase

from mongo2pg.documents import extended_json
from mongo2pg.model import Collection, Column
from tests import fuzz
from tests.unit.raw_bson import document
from tests.unit.test_columns_agree_with_rule import same_by_both


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "DECLARATIONS", 3)
    monkeypatch.setattr(fuzz, "CROSSED", 40)


def test_a_round_reads_as_many_documents_each_time_it_comes_again() -> None:
    got = fuzz.fuzz_round(5)
    assert got >= 3 * 40
    assert fuzz.fuzz_round(5) == got


def test_a_fault_of_the_mover_is_found_in_a_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extended_json, "LARGE_DOUBLE", 1e16)
    monkeypatch.setattr(fuzz, "DECLARATIONS", 50)

    def rounds() -> None:
        # Mostly it is the first. What a seed makes depends on the modules that are loaded: Hypothesis draws on their constants.
        for number in range(10):
            fuzz.fuzz_round(number, (Phase.generate,))

    with pytest.raises(AssertionError):
        rounds()


def test_a_difference_is_shown_with_one_document_where_one_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    collection = Collection("things", "things", "at", (Column("x", "jsonb"),))
    raws = [document({"_id": number, "x": [value]}) for number, value in enumerate((1.0, 1e15, 2.0))]
    fuzz.read_twice(collection, raws)
    same_by_both(collection, raws)
    monkeypatch.setattr(extended_json, "LARGE_DOUBLE", 1e16)
    seen: list[list[bytes]] = []
    agree = fuzz.agree
    monkeypatch.setattr(fuzz, "agree", lambda collection, raws: (seen.append(raws), agree(collection, raws)))
    with pytest.raises(AssertionError):
        fuzz.read_twice(collection, raws)
    assert seen[-1] == [raws[1]]
