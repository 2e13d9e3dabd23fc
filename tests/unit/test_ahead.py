"""What is made ahead or side by side comes in order, with its errors; what is heavy is made alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from mongo2pg.ahead import side_by_side


def squared(number: int) -> int:
    if number == 13:
        raise ValueError("13")
    return number * number


def test_what_is_made_side_by_side_comes_in_the_order_of_the_items() -> None:
    assert list(side_by_side(squared, range(10), lambda number: number % 4 != 0)) == [number * number for number in range(10)]
    assert list(side_by_side(squared, [], bool)) == []


def test_what_fails_beside_another_is_raised_when_its_turn_comes() -> None:
    made = side_by_side(squared, [1, 13, 2], bool)
    assert next(made) == 1
    with pytest.raises(ValueError, match="13"):
        next(made)


def test_light_items_are_made_two_at_once() -> None:
    both = threading.Barrier(2, timeout=30)
    assert list(side_by_side(lambda number: number if both.wait() >= 0 else None, [1, 2, 3, 4], lambda _: True)) == [1, 2, 3, 4]


def test_while_a_heavy_item_is_made_nothing_else_is_made_or_read() -> None:
    events: list[tuple[str, int]] = []

    def items() -> Iterator[int]:
        for number in range(4):
            events.append(("read", number))
            yield number

    def make(number: int) -> int:
        events.append(("made", number))
        return number

    for number in side_by_side(make, items(), lambda _: False):
        events.append(("used", number))
    assert events == [(what, number) for number in range(4) for what in ("read", "made", "used")]
