"""The short form of `make verify-score`: every kind of damage and every mutant once, among fewer rows."""

from __future__ import annotations

import random
from pathlib import Path

from tests.conftest import PostgresWithMover
from tests.score.score import Bench

THINGS, ROUNDS = 400, 1


def test_everything_that_is_damaged_is_found_and_nothing_else_reported(postgres: PostgresWithMover, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    score = Bench(postgres.database, tmp_path, seed, THINGS, print).score(ROUNDS)
    assert (score.missed, score.wrong) == ([], [])
    assert len(score.done) >= 190
