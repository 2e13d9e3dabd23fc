"""What two readings do not have in common is told of both, whatever came, went or changed between them, and nothing else is."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

import bson
import pyarrow as pa
import pytest

from mongo2pg.checks.unlike import unlike


def document(number: int, text: str = "") -> bytes:
    return bson.encode({"_id": number, "text": text})


def pieces(documents: Sequence[bytes], size: int) -> Iterator[pa.Buffer]:
    for first in range(0, len(documents), size):
        yield pa.py_buffer(b"".join(documents[first : first + size]))


HUNDRED = [document(number) for number in range(100)]
NEW = [document(number) for number in range(100, 130)]
CASES: dict[str, tuple[list[bytes], list[bytes], int]] = {
    "nothing differs": (HUNDRED, HUNDRED, 0),
    "both are empty": ([], [], 0),
    "one is empty": (HUNDRED, [], 100),
    "the other is empty": ([], HUNDRED, 100),
    "one document has other bytes": (HUNDRED, [*HUNDRED[:50], document(50, "b"), *HUNDRED[51:]], 2),
    "one byte differs": (HUNDRED, [*HUNDRED[:50], document(51), *HUNDRED[51:]], 2),
    "documents are gone": (HUNDRED, [*HUNDRED[:10], *HUNDRED[12:90], *HUNDRED[91:]], 3),
    "documents were inserted": ([*HUNDRED[:10], *HUNDRED[12:90], *HUNDRED[91:]], HUNDRED, 3),
    "documents were added": (HUNDRED, HUNDRED + NEW, 30),
    "one was replaced where another one came": (HUNDRED, [*HUNDRED[:50], NEW[0], document(50, "b"), *HUNDRED[51:]], 3),
}


@pytest.mark.parametrize("sizes", [(1, 1), (7, 10), (1000, 3), (1000, 1000)], ids=str)
@pytest.mark.parametrize(("one", "other", "want"), CASES.values(), ids=CASES)
def test_only_what_differs_is_told(one: list[bytes], other: list[bytes], want: int, sizes: tuple[int, int]) -> None:
    left, right = told(one, other, sizes)
    left, right = left - right, right - left  # some are told of both where a piece ends between them
    assert left == Counter(one) - Counter(other)
    assert right == Counter(other) - Counter(one)
    assert left.total() + right.total() == want


def test_what_both_have_in_the_same_place_of_large_pieces_is_not_told() -> None:
    for one, other, want in CASES.values():
        left, right = told(one, other, (1000, 1000))
        assert left.total() + right.total() == want


@pytest.mark.parametrize("seed", range(50))
def test_whatever_was_done_to_the_documents_the_difference_is_that_of_the_readings(seed: int) -> None:
    chance = random.Random(seed)
    one = [document(chance.randrange(60), "x" * chance.randrange(3)) for _ in range(80)]  # some of them twice
    other = list(one)
    for _ in range(chance.randrange(30)):
        at = chance.randrange(len(other))
        match chance.randrange(4):
            case 0:
                del other[at]
            case 1:
                other.insert(at, document(chance.randrange(100)))
            case 2:
                other[at] = document(chance.randrange(60), "y")
            case 3:
                other.insert(chance.randrange(len(other)), other.pop(at))
    left, right = told(one, other, (chance.randrange(1, 90), chance.randrange(1, 90)))
    assert left - right == Counter(one) - Counter(other)
    assert right - left == Counter(other) - Counter(one)


def told(one: list[bytes], other: list[bytes], sizes: tuple[int, int]) -> tuple[Counter[bytes], Counter[bytes]]:
    left, right = Counter[bytes](), Counter[bytes]()
    for pair in unlike(pieces(one, sizes[0]), pieces(other, sizes[1])):
        for side, document in zip((left, right), pair, strict=True):
            side.update([] if document is None else [document])
    return left, right
