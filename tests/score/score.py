"""Counts what the verifier finds of everything that is done to the data, and what it reports though nothing was done."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
import psycopg
from pymongo import MongoClient

from benchmarks.replay_server import ReplayServer
from mongo2pg.checks.round_trip import SAMPLE
from mongo2pg.documents.decode import OPTIONS
from mongo2pg.errors import PermanentError
from mongo2pg.run import Run
from mongo2pg.target import scripts
from tests.documents import oid, uuid_of
from tests.hostile import HOSTILE, write_sql
from tests.score.corruptions import (
    EQUIVALENT,
    GUARDS,
    HARMLESS,
    OWNERS,
    SET_UP,
    STRUCTURES,
    VALUES,
    Found,
    Ground,
    a_whole_chunk_missing,
    change_value,
)
from tests.score.data import code, thing
from tests.score.mutants import MUTANTS, replaced
from tests.score.sources import SAME_ROWS, SOURCES, STAGED, restored

Say = Callable[[str], None]


@dataclass
class Score:
    """What was done and found; `wrong` are reports that nothing explains."""

    done: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def note(self, what: str, found: bool) -> None:
        self.done.append(what)
        if not found:
            self.missed.append(what)

    def line(self) -> str:
        return f"found {len(self.done) - len(self.missed)}/{len(self.done)}, wrongly reported {len(self.wrong)}"


class Bench:
    """A replay server with documents, and as many empty databases as are asked for."""

    def __init__(self, new_database: Callable[[], Any], folder: Path, seed: int, things: int, say: Say) -> None:
        self.new_database, self.folder, self.seed, self.say = new_database, folder, seed, say
        self.things, self.codes = documents(seed, things, things // 10)

    def score(self, rounds: int) -> Score:
        """`rounds` times each corruption, and each mutant once."""
        score = Score()
        with (
            replaced(scripts, "INCLUDE", write_sql(self.folder / "sql")),
            ReplayServer({"hostile": {"things": self.things, "codes": self.codes}}) as server,
            MongoClient[dict[str, Any]](server.uri) as client,
        ):
            with self.new_database() as login, login.connect() as conn:
                run = Run(client["hostile"], conn, HOSTILE, self.folder / "staging", "clean")
                run.move(chunk_bytes=sum(map(len, self.things)) // 4)
                report = run.verify()
                rows = sum(table["rows"] for table in report["tables"])
                self.say(f"{rows:,} rows in {len(list(run.chunks()))} chunks, clean: {'green' if report['passed'] else 'RED'}")
                score.wrong += [f"clean run: {failure}" for failure in report["failures"]]
                for at in range(rounds):
                    self._corrupt(score, run, self.seed + at, 1 if at == 0 else SAMPLE)
                self._lose_a_chunk(score, run)
                self._weaken(score, run)
                self._corrupt_source(score, run, server)
                self._damage_staging(score, run)
            self._mutate(score, server, client)
        return score

    def _corrupt(self, score: Score, run: Run, seed: int, sample: float) -> None:
        """All kinds at once, each in documents of its own; every difference must be named, and no other."""
        with run.conn.transaction(force_rollback=True):
            ground = prepared(run.conn, seed)
            owed: dict[str, set[Found]] = {
                what: change_value(ground, table, column, where, value) for what, table, column, where, value in VALUES
            }
            owed |= {each.__name__.replace("_", " "): each(ground) for each in STRUCTURES}
            damaged = {*ground.taken, *(str(row) for _, row, _, _ in set().union(*owed.values()))}
            for each in HARMLESS:
                each(ground)
            found = self._differences(run)
            run.round_trip(sample)
            rebuilt = self._booked(run, rebuilt=True)
        for what, differences in owed.items():
            score.note(f"{what} (seed {seed})", differences <= found)
        if sample == 1:
            shown = {(table, row) for table, row, _, _ in rebuilt}
            for what, *_ in VALUES:
                if what not in EQUIVALENT:
                    rows = {(table, row) for table, row, _, _ in owed[what]}
                    score.note(f"{what}, by the round trip (seed {seed})", rows <= shown)
        # A row that hangs on another document is one too many for that one's chunk.
        moved = {(table, row, None, "extra") for table, row, column, _ in set().union(*owed.values()) if column in OWNERS.values()}
        strange = found - moved - set().union(*owed.values())
        strange |= {each for each in rebuilt if each[1] not in damaged}
        score.wrong += [f"{difference} (seed {seed})" for difference in sorted(map(str, strange))]
        self.say(
            f"seed {seed}: {len(owed)} kinds of corruption, {len(found)} differences named, {len(rebuilt)} fields that do not come "
            f"back, {len(HARMLESS)} harmless changes"
        )

    def _lose_a_chunk(self, score: Score, run: Run) -> None:
        with run.conn.transaction(force_rollback=True):
            ground = prepared(run.conn, self.seed)
            ids = [row[0] for row in run.conn.execute("SELECT id::text FROM public.things ORDER BY id")]
            lost = a_whole_chunk_missing(ground, ids[len(ids) // 4], ids[len(ids) // 2])
            found = self._differences(run)
        score.note("a whole chunk missing", lost <= found)
        score.wrong += [f"{difference} beside a lost chunk" for difference in sorted(map(str, found - lost))]
        self.say(f"a whole chunk missing: {len(lost):,} rows")

    def _differences(self, run: Run) -> set[Found]:
        run.conn.execute("SET LOCAL search_path = pg_catalog")
        report = run.verify()
        return self._booked(run, rebuilt=False) if report["passed"] is False else set()

    def _booked(self, run: Run, *, rebuilt: bool) -> set[Found]:
        return set(
            run.conn.execute(
                """
                SELECT table_name, id::text, column_name, kind FROM migration.differences
                WHERE run_id = %s AND (check_name = 'round_trip') = %s
                """,
                (run.key.run_id, rebuilt),
            )
        )

    def _weaken(self, score: Score, run: Run) -> None:
        """Constraints that are gone or promise nothing, one after another."""
        for what, how, check, table in GUARDS:
            with run.conn.transaction(force_rollback=True):
                prepared(run.conn, self.seed)
                run.conn.execute(how.encode())
                run.conn.execute("SET LOCAL search_path = pg_catalog")
                failed = {(each.check, each.subject) for each in (*run.references(), *run.uniqueness()) if each.verdict != "passed"}
            score.note(what, (check, table) in failed)
            score.wrong += [f"{each} when {what}" for each in sorted(failed - {(check, table)})]
        self.say(f"{len(GUARDS)} constraints that hold nothing")

    def _corrupt_source(self, score: Score, run: Run, server: ReplayServer) -> None:
        """All kinds at once in documents that are read again: each must differ from its rows, and no other."""
        chance = random.Random(self.seed)
        raws = list(self.things)
        order = chance.sample(range(len(raws)), len(raws))
        owed: dict[str, Found] = {}

        def take(fits: Callable[[dict[str, Any]], bool]) -> tuple[int, dict[str, Any]]:
            for at in order:
                content = bson.decode(raws[at], OPTIONS)
                if fits(content):
                    order.remove(at)
                    return at, content
            raise LookupError("no place for it")

        for what, fits, changed, (table, column, place) in SOURCES:
            at, content = take(fits)
            changed(content)
            raws[at] = encode(content)
            owed[f"source: {what}"] = (table, self._row(run, table, uuid_of(content["_id"]), place), column, "different")
        for changed in SAME_ROWS:
            at, content = take(lambda _: True)
            changed(content)
            raws[at] = encode(content)
        at, content = take(lambda d: d["name"] == "plain words")
        lost = uuid_of(content["_id"])
        raws[at] = encode({**content, "_id": oid(9 * 10**6), "parts": [], "scores": [], "labels": {}})
        owed["source: a document is gone"] = ("things", lost, None, "extra")
        owed["source: a document is new"] = ("things", uuid_of(9 * 10**6), None, "missing")
        server.put("hostile", "things", raws)
        found = self._reconciled(run)
        for what, difference in owed.items():
            score.note(what, difference in found)
        strange = found - set(owed.values())
        score.wrong += [f"{difference} of the source" for difference in sorted(map(str, strange))]
        server.put("hostile", "things", [*self.things, encode({**content, "_id": oid(9 * 10**6)})])
        score.note("source: a document that nobody read", any(c.verdict == "failed" for c in run.row_counts()))
        server.put("hostile", "things", self.things)
        run.row_counts()
        self.say(f"{len(owed) + 1} kinds of corruption of the source, {len(SAME_ROWS)} harmless changes")

    def _reconciled(self, run: Run) -> set[Found]:
        """What a run finds that compares everything with the source as it is now."""
        again = Run(run.database, run.conn, HOSTILE, run.staging.root, "reconcile")
        again.reconcile(chunk_bytes=sum(map(len, self.things)) // 4)
        return set(
            run.conn.execute(
                "SELECT table_name, id::text, column_name, kind FROM migration.differences WHERE run_id = 'reconcile'"
            ).fetchall()
        )

    def _row(self, run: Run, table: str, root_id: str, place: str | None) -> str:
        if place is None:
            return root_id
        key = "label" if table == "thing_labels" else "ordinal"
        row = run.conn.execute(
            f"SELECT id::text FROM public.{table} WHERE thing_id = %s AND {key}::text = %s".encode(), (root_id, place)
        ).fetchone()
        assert row, (table, root_id, place)
        return str(row[0])

    def _damage_staging(self, score: Score, run: Run) -> None:
        staged = run.staging.collection(run.key.plan_id, "things")
        one, other = Path(str(staged.raw(0))), Path(str(staged.raw(1)))
        for what, damage in STAGED.items():
            with restored(one, other):
                damage(one, other)
                for check in (run.checksums, run.round_trip):
                    try:
                        found = any(each.verdict != "passed" for each in check())
                    except (PermanentError, OSError):
                        found = True
                    score.note(f"{what}, {check.__name__}", found)
        self.say(f"{len(STAGED)} kinds of damage to staged files")

    def _mutate(self, score: Score, server: ReplayServer, client: MongoClient[dict[str, Any]]) -> None:
        # Enough for several chunks, for a second batch of a cursor, and for a reject.
        few, fewer = documents(self.seed, 200, 150)
        for number, (what, mutant) in enumerate({"": None, **MUTANTS}.items()):
            with self.new_database() as login, login.connect() as conn:
                server.put("hostile", "things", few)
                server.put("hostile", "codes", fewer)
                staging = self.folder / f"mutant-{number}"
                red = is_red(client, conn, staging, "first", mutant)
                if not red:  # a fault of updating shows when documents have changed
                    server.put("hostile", "things", [shrunk(raw) if at % 7 == 0 else raw for at, raw in enumerate(few)])
                    red = is_red(client, conn, staging, "second", mutant)
            if mutant is None:
                score.wrong += ["a run of the mover as it is"] if red else []
            else:
                score.note(f"a mover that {what}", red)
        self.say(f"{len(MUTANTS)} mutants of the mover")


def documents(seed: int, things: int, codes: int) -> tuple[list[bytes], list[bytes]]:
    """So many of each, the same for the same seed."""
    chance = random.Random(seed)
    return (
        [encode(thing(number, chance)) for number in range(1, things + 1)],
        [encode(code(number, chance)) for number in range(1, codes + 1)],
    )


def prepared(conn: psycopg.Connection[Any], seed: int) -> Ground:
    # As verifying does it, which now stands inside this transaction.
    conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    conn.execute("SET LOCAL search_path = public, pg_catalog")
    conn.execute(SET_UP)
    return Ground(conn, seed)


def is_red(client: MongoClient[dict[str, Any]], conn: psycopg.Connection[Any], staging: Path, run_id: str, mutant: Any) -> bool:
    """Whether a run fails, by a check or by an error."""
    run = Run(client["hostile"], conn, HOSTILE, staging, run_id)
    try:
        if mutant is None:
            run.move(chunk_bytes=40_000)
        else:
            with mutant():
                run.move(chunk_bytes=40_000)
        # The first check that fails is enough.
        checks = (run.checksums, run.row_counts, run.references, run.uniqueness, run.round_trip)
        return any(each.verdict != "passed" for check in checks for each in check()) or run.report()["passed"] is not True
    except (PermanentError, psycopg.Error):
        return True


def shrunk(raw: bytes) -> bytes:
    """The document after an update: another name, an element less, another score."""
    content = bson.decode(raw, OPTIONS)
    content["name"] = "renamed"
    content["parts"] = content["parts"][:1]
    content["scores"] = [0.5, *content["scores"][1:]]
    return encode(content)


def encode(content: dict[str, Any]) -> bytes:
    return bson.encode(content, codec_options=OPTIONS)
