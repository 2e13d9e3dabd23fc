"""`make verify-score`: what the verifier finds of seeded damage among 100,000 rows and more; status 0 only if it is all."""

from __future__ import annotations

import argparse
import itertools
import logging
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.postgres import Postgres
from demo.processes import Children
from tests.score.score import Bench

# 13,000 things with their parts, scores and labels are 104,000 rows.
THINGS, ROUNDS = 13_000, 3


def main() -> int:
    """Runs the score on a PostgreSQL of its own."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments.add_argument("--things", type=int, default=THINGS)
    arguments.add_argument("--rounds", type=int, default=ROUNDS)
    options = arguments.parse_args()
    print(f"seed {options.seed}", flush=True)
    logging.disable()  # the runs here are red on purpose, and say so at length
    with tempfile.TemporaryDirectory(prefix="mongo2pg-score-") as name:
        folder = Path(name)
        children = Children(folder / "children.json")
        try:
            postgres = Postgres(children, folder, 18)
            postgres.start()
            password = postgres.create_role("mover")
            numbers = itertools.count(1)

            @contextmanager
            def database() -> Iterator[Any]:
                named = f"score_{next(numbers)}"
                postgres.create_database(named, "mover")
                yield postgres.login(named, "mover", password)
                postgres.drop_database(named)

            bench = Bench(database, folder, options.seed, options.things, lambda text: print(text, flush=True))
            score = bench.score(options.rounds)
        finally:
            children.close()
    for what in score.missed:
        print(f"not found: {what}")
    for what in score.wrong:
        print(f"wrongly reported: {what}")
    print(score.line())
    return 1 if score.missed or score.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
