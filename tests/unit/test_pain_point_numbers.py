"""Every pain point of other movers' users that this project promises to spare them has a test that bears its number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
# The numbers of the survey that two promises stand for: nothing lost, nothing silently changed (1 to 22, 44, 45), and windows,
# deletes and crashes that end in the same rows (23 to 42).
PROMISED = [*range(1, 43), 44, 45]


def numbers_of_tests() -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for file in TESTS.rglob("test_*.py"):
        for name in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE):
            for number in re.findall(r"_pp_(\d+)", name):
                found.setdefault(int(number), []).append(f"{file.name}::{name}")
    return found


@pytest.mark.parametrize("number", PROMISED)
def test_the_pain_point_has_a_test(number: int) -> None:
    assert numbers_of_tests().get(number), f"no test bears pp_{number:02d} in its name"


def test_numbers_have_two_digits() -> None:
    names = [name for tests in numbers_of_tests().values() for name in tests]
    assert [name for name in names if re.search(r"_pp_(\d|\d{3,})(_|$)", name)] == []
