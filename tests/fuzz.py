"""Reads random documents by the mover, by the reference and by the sieve, and fails at the first difference: `make fuzz`.

    python -m tests.fuzz [--documents 100000] [--seed 1]

Every declaration is random, too. A few documents are drawn for each and many more are crossed from these: fields and values
change places, are lost, or come twice. Each round has a seed of its own, one more than the round before; with the seed that
is printed, a round comes out the same again. A difference is shown with the smallest declaration and document that have one.

The sieve agrees on documents whose rows stand in a PostgreSQL of the fuzzer's own. Then documents and rows are changed.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import secrets
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.raw_values import ARRAY, DOCUMENT, Value, array, document, followed
from demo.postgres import Postgres
from demo.processes import Children
from mongo2pg.model import Collection, Column
from tests.standing import WAYS, Standing, change_rows, damage, named, reading
from tests.unit.random_documents import collections, damaged, documents
from tests.unit.test_columns_agree_with_rule import mostly_fitting
from tests.unit.two_readings import agree

DOCUMENTS = 100_000
# Declarations of a round, documents drawn for each at most (drawing is what takes the time), and documents crossed from them.
DECLARATIONS, DRAWN, CROSSED = 50, 5, 80


class Pool:
    """What the documents of a declaration are made of, at whatever depth."""

    def __init__(self, raws: list[bytes]) -> None:
        self.elements: list[tuple[bytes, Value]] = []
        self.by_key: dict[bytes, list[Value]] = {}
        for raw in raws:
            self._take(raw)

    def _take(self, raw: bytes) -> None:
        for key, value in followed(raw):
            self.elements.append((key, value))
            self.by_key.setdefault(key, []).append(value)
            if value.kind in (DOCUMENT, ARRAY):
                self._take(value.content)

    def cross(self, raw: bytes, chance: random.Random) -> bytes:
        """The document with other values in some places, without some fields, and now and then with one more."""
        return document(self._crossed(raw, chance))

    def _crossed(self, raw: bytes, chance: random.Random) -> list[tuple[bytes, Value]]:
        pairs = []
        for key, value in followed(raw):
            roll = chance.random()
            if roll < 0.05:
                continue
            if roll < 0.25:
                value = chance.choice(self.by_key[key])
            elif roll < 0.33:
                value = chance.choice(self.elements)[1]
            elif value.kind == DOCUMENT:
                value = Value(DOCUMENT, document(self._crossed(value.content, chance)))
            elif value.kind == ARRAY:
                value = array([item for _, item in self._crossed(value.content, chance)])
            pairs.append((key, value))
        if self.elements and chance.random() < 0.05:
            pairs.append(chance.choice(self.elements))
        return pairs


def read_twice(collection: Collection, raws: list[bytes]) -> None:
    """Fails, with one document if one is enough, where the two readings differ."""
    try:
        agree(collection, raws)
    except Exception:
        for raw in raws:
            agree(collection, [raw])
        raise


QUIET = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), print_blob=False)


def fuzz_round(number: int, phases: tuple[Phase, ...] = (Phase.generate, Phase.shrink)) -> int:
    """Tries the declarations of the round with this seed; returns how many documents were read."""
    count = 0

    @seed(number)
    @settings(QUIET, max_examples=DECLARATIONS, phases=phases)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        nonlocal count
        collection = data.draw(collections())
        raws = data.draw(st.lists(documents(collection), min_size=1, max_size=DRAWN))
        pool, chance = Pool(raws), random.Random(data.draw(st.integers(0, 2**32)))
        raws += [pool.cross(chance.choice(raws), chance) for _ in range(CROSSED)]
        raws += [data.draw(damaged(chance.choice(raws))) for _ in range(DRAWN)]
        read_twice(collection, raws)
        count += len(raws)

    check()
    return count


@st.composite
def ruled(draw: st.DrawFn) -> Collection:
    """A declaration without the types of column that no document is agreed on with."""

    def some(columns: tuple[Column, ...]) -> tuple[Column, ...]:
        return tuple(column for column in columns if column.type not in ("bytea", "numeric"))

    collection = draw(collections())
    children = tuple(replace(child, columns=some(child.columns)) for child in collection.children if some(child.columns))
    return replace(collection, columns=some(collection.columns), children=children)


# Declarations of a round for the sieve, documents crossed for each, and how often these, and their rows, are changed.
RULED, STANDING, CHANGES = 5, 50, 3


def sieve_round(number: int, conn: psycopg.Connection[Any]) -> int:
    """Tries the declarations of the round with this seed; returns how many documents were agreed on."""
    count = 0

    @seed(number)
    @settings(QUIET, max_examples=RULED, phases=(Phase.generate, Phase.shrink))
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        nonlocal count
        with conn.transaction(force_rollback=True):
            count += agreed_on(conn, data)

    check()
    return count


def agreed_on(conn: psycopg.Connection[Any], data: st.DataObject) -> int:
    """Fails where a document that the sieve agrees on must become other rows; returns how many it agreed on.

    In a transaction of the caller, who takes it back.
    """
    collection = data.draw(ruled())
    drawn = data.draw(st.lists(mostly_fitting(collection), min_size=1, max_size=DRAWN))
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    pool = Pool(drawn)
    crossed = [pool.cross(chance.choice(drawn), chance) for _ in range(STANDING // 2)]
    raws = named([*drawn, *crossed, *chance.choices(drawn, k=STANDING // 2)])
    pool = Pool(raws)

    def check(some: list[bytes]) -> int:
        with reading(chance.choice(WAYS)):
            return standing.check(some)

    standing = Standing(conn, collection)
    standing.put(raws)
    count = check(raws)
    for _ in range(CHANGES):
        count += check([chance.choice((damage, pool.cross))(raw, chance) for raw in raws])
        with contextlib.suppress(psycopg.DataError), conn.transaction(force_rollback=True):
            for _ in range(CHANGES):
                change_rows(standing, chance)
            count += check(raws)
    return count


@contextlib.contextmanager
def database() -> Iterator[psycopg.Connection[Any]]:
    """A PostgreSQL for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="mongo2pg-fuzz-") as folder:
        children = Children(Path(folder) / "children.json")
        try:
            server = Postgres(children, Path(folder))
            server.start()
            password = server.create_role("fuzzer")
            server.create_database("fuzz", "fuzzer")
            with server.login("fuzz", "fuzzer", password).connect() as conn:
                yield conn
        finally:
            children.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Random documents, read twice.")
    parser.add_argument("--documents", type=int, default=DOCUMENTS, help="how many at least")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="of the first round; by default a random one")
    given_ = parser.parse_args()
    started, shown, read, agreed, rounds = time.monotonic(), 0.0, 0, 0, 0
    print(f"seed {given_.seed}", flush=True)
    with database() as conn:
        while read < given_.documents:
            try:
                read += fuzz_round(given_.seed + rounds)
                agreed += sieve_round(given_.seed + rounds, conn)
            except BaseException:
                print(
                    f"round of seed {given_.seed + rounds}, after {read:,} documents: --documents 1 --seed {given_.seed + rounds}"
                )
                raise
            rounds += 1
            if (took := time.monotonic() - started) - shown > 30:
                shown = took
                print(f"{read:,} of {given_.documents:,} documents, {rounds:,} rounds, {took:,.0f} s", flush=True)
    took = time.monotonic() - started
    print(
        f"seed {given_.seed}: {read:,} documents in {rounds * DECLARATIONS:,} declarations, no difference; "
        f"{agreed:,} agreed on in {rounds * RULED:,}, rightly; {took:,.0f} s"
    )


if __name__ == "__main__":
    main()
