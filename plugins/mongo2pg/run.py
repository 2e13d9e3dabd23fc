"""All stages one after another in this process, without Airflow: for tests, benchmarks and scripts.

What needs numpy and Arrow is imported where it is called, as in the DAG's tasks: they take a fresh process a fifth of a second,
and half of the stages do without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pymongo.database import Database

from mongo2pg import books
from mongo2pg.begin import begin, plan_moves
from mongo2pg.books import Check, Connection, RunKey
from mongo2pg.databases.ends import ends
from mongo2pg.databases.snapshot import LOCAL
from mongo2pg.databases.window import Window
from mongo2pg.files.planned import Lot
from mongo2pg.files.staging import RunStaging
from mongo2pg.model import Domain
from mongo2pg.planning.modes import DELETES, FULL, REPLAY, WINDOW, Request
from mongo2pg.planning.plan import CHUNK_BYTES
from mongo2pg.planning.prepare import prepare
from mongo2pg.settling.deletes import MAX_DELETE_RATIO, delete_domain
from mongo2pg.settling.places import Deletion
from mongo2pg.settling.settle import settle_domain

if TYPE_CHECKING:
    from mongo2pg.files.staging import StagingPath


# The methods of a run that are its stages, in their order.
MOVE_LOT = ("extract", "normalise", "load")  # what is done lot by lot
MOVE = (*MOVE_LOT, "delete", "settle")
VERIFY = ("row_counts", "checksums", "references", "uniqueness", "round_trip")
STAGES = ("prepare", "plan", *MOVE, *VERIFY, "report")
# Those of a run that compares everything and repairs what differs.
RECONCILE = ("prepare_reconcile", "plan_reconcile", "compare", "rows", "repair", "report")


class Run:
    """One run of one domain. Each method is a stage; `move` and `verify` call them in order."""

    def __init__(
        self,
        database: Database[Any],
        conn: Connection,
        domain: Domain,
        staging_root: StagingPath,
        run_id: str,
        neighbours: Sequence[Domain] = (),
        alive: Callable[[str], bool] = lambda run_id: False,
    ) -> None:
        self.database, self.conn, self.domain, self.neighbours = database, conn, domain, neighbours
        self.staging = RunStaging(staging_root, domain.name, run_id)
        self.key = RunKey(domain.name, run_id)
        self.lots: list[Lot] = []
        self.replaying = False
        self.alive = alive

    def prepare(self) -> None:
        self._begin(FULL)

    def _begin(self, mode: str, *, reads: bool = True, whole: bool = True, **params: Any) -> None:
        books.open_session(self.conn)
        prepare(self.database if reads else None, self.conn, self.domain, self.staging.root, whole=whole)
        between = ends(self.database if reads else None, self.conn)
        books.start_run(self.conn, self.key, mode, {"mode": mode, **params}, None, between)

    def plan(self, chunk_bytes: int = CHUNK_BYTES, moved: Mapping[str, Window] | None = None, read_concern: str = LOCAL) -> None:
        place = (self.database, self.conn, self.key, self.domain, moved or {}, self.staging, self.alive)
        plan_moves(*place, chunk_bytes=chunk_bytes, read_concern=read_concern)
        self._take_up()

    def _plan(self, request: Request, chunk_bytes: int = CHUNK_BYTES, *, reads: bool = True) -> None:
        source = self.database if reads else None
        begin(source, self.conn, self.key, self.domain, request, self.staging, self.alive, chunk_bytes=chunk_bytes)
        self._take_up()

    def resume(self) -> None:
        """Goes on with the run's present plan: in a process that made no plan of its own, as the retry of a task is one."""
        books.open_session(self.conn)
        self._take_up()

    def _take_up(self) -> None:
        current = self.staging.current()
        self.staging.refuse_other_declaration(self.domain)
        self.lots, self.domain = current["lots"], self.domain.only(current["collections"])
        self.key = self.key._replace(plan_id=current["plan_id"])

    def replay(self) -> None:
        """The documents of open rejects instead of the source's, from the stored bytes to settled rows."""
        self.stage_replay()
        self.load()
        self.settle()

    def stage_replay(self) -> None:
        """The first half of a replay: the documents of open rejects as frames."""
        from mongo2pg.moving.replay import extract_rejects

        self._begin(REPLAY, reads=False, whole=False)
        self._plan(Request(REPLAY), reads=False)
        self.replaying = True
        for name, _ in self.chunks():
            extract_rejects(self.conn, self.key, self.staging.collection(self.key.plan_id, name))
        self.normalise()

    def chunks(self) -> Iterable[tuple[str, int]]:
        return ((name, chunk) for lot in self.lots for name, chunk in lot["chunks"])

    def extract(self) -> None:
        from mongo2pg.moving.extract import extract_chunk

        for name, chunk in self.chunks():
            extract_chunk(self.database, self.staging.collection(self.key.plan_id, name), chunk)

    def normalise(self) -> None:
        from mongo2pg.moving.normalise import normalise_chunk

        for name, chunk in self.chunks():
            normalise_chunk(self.domain.collection(name), self.staging.collection(self.key.plan_id, name), chunk)

    def load(self) -> None:
        from mongo2pg.moving.load import load_chunk
        from mongo2pg.moving.versions import read_again, read_rejects_again

        for name, chunk in self.chunks():
            collection, staged = self.domain.collection(name), self.staging.collection(self.key.plan_id, name)
            again = (
                partial(read_rejects_again, self.conn, self.key, collection, staged)
                if self.replaying
                else partial(read_again, self.database, collection, staged, chunk)
            )
            load_chunk(self.conn, self.key, collection, staged, chunk, again)

    def delete(self, max_delete_ratio: float = MAX_DELETE_RATIO) -> dict[str, Deletion]:
        return delete_domain(self.database, self.conn, self.key, self.domain, self.staging, self.neighbours, max_delete_ratio)

    def delete_alone(self, max_delete_ratio: float = MAX_DELETE_RATIO) -> dict[str, Deletion]:
        """A run that moves nothing and takes out what is gone."""
        self.plan_delete()
        return self.delete(max_delete_ratio)

    def plan_delete(self) -> None:
        """Plans such a run, as far as its first task does."""
        self._begin(DELETES, whole=False)
        self._plan(Request(DELETES))

    def reconcile(
        self, *, repair: bool = False, max_repair_ratio: float | None = None, chunk_bytes: int = CHUNK_BYTES
    ) -> dict[str, Any]:
        """A run that compares everything with its source and, with `repair`, moves again what differs; returns the report."""
        self.prepare_reconcile(repair=repair)
        self.plan_reconcile(chunk_bytes)
        self.compare()
        self.rows()
        if repair:
            self.repair(max_repair_ratio)
        return self.report()

    def prepare_reconcile(self, *, repair: bool = True) -> None:
        self._begin("reconcile", repair=repair)

    def plan_reconcile(self, chunk_bytes: int = CHUNK_BYTES) -> None:
        from mongo2pg.reconciling.reconcile import plan_reconcile

        self.lots = plan_reconcile(self.database, self.conn, self.domain, self.staging, chunk_bytes)
        self.key = self.key._replace(plan_id=self.lots[0]["plan_id"])

    def compare(self) -> None:
        from mongo2pg.reconciling.reconcile import Reconciler

        for name, chunk in self.chunks():
            staged = self.staging.collection(self.key.plan_id, name)
            Reconciler(self.database, self.conn, self.key, self.domain, self.domain.collection(name), staged).compare(chunk)

    def rows(self) -> None:
        from mongo2pg.reconciling.reconcile import check_rows

        check_rows(self.database, self.conn, self.key, self.domain, self.staging)

    def repair(self, max_repair_ratio: float | None = None) -> None:
        from mongo2pg.reconciling.repair import MAX_REPAIR_RATIO, repair_domain

        ratio = MAX_REPAIR_RATIO if max_repair_ratio is None else max_repair_ratio
        repair_domain(self.database, self.conn, self.key, self.domain, self.staging, self.neighbours, ratio)

    def settle(self) -> None:
        source = None if self.replaying else self.database
        settle_domain(source, self.conn, self.key, self.domain, self.staging, self.neighbours)

    def move(self, chunk_bytes: int = CHUNK_BYTES, window: Window | None = None) -> None:
        """From documents to rows with all their keys and constraints: all documents, or those of a window."""
        self._begin(WINDOW if window else FULL, whole=window is None)
        self.plan(chunk_bytes, window and {collection.name: window for collection in self.domain.collections})
        self.carry()

    def follow(self, request: Request, chunk_bytes: int = CHUNK_BYTES) -> None:
        """What a schedule, a backfill or a person asks for, by the books: windows, or everything of a new collection."""
        self._begin(request.mode, whole=request.mode == FULL)
        self._plan(request, chunk_bytes)
        self.carry()

    def carry(self, first: str = MOVE[0]) -> None:
        """What the plan says, from documents to settled rows, or from a later stage on."""
        for stage in MOVE[MOVE.index(first) :]:
            getattr(self, stage)()

    def row_counts(self) -> list[Check]:
        from mongo2pg.checks.count import count_domain

        return count_domain(None if self.replaying else self.database, self.conn, self.key, self.domain, self.staging)

    def checksums(self) -> list[Check]:
        from mongo2pg.checks.verify import verify_chunk

        return [
            check
            for name, chunk in self.chunks()
            for check in verify_chunk(
                self.conn,
                self.key,
                self.domain,
                self.domain.collection(name),
                self.staging.collection(self.key.plan_id, name),
                chunk,
            )
        ]

    def live(self) -> list[Check]:
        """What was staged, against the source as it is now."""
        from mongo2pg.checks.live import compare_source

        return [
            compare_source(
                *(self.database, self.conn, self.key, self.domain.collection(name)),
                *(self.staging.collection(self.key.plan_id, name), chunk),
            )
            for name, chunk in self.chunks()
        ]

    def references(self) -> list[Check]:
        from mongo2pg.checks.references import check_references

        return check_references(self.conn, self.key, self.domain, self.staging)

    def uniqueness(self) -> list[Check]:
        from mongo2pg.checks.uniqueness import check_uniqueness

        return check_uniqueness(self.conn, self.key, self.domain, self.staging)

    def round_trip(self, sample: float | None = None) -> list[Check]:
        from mongo2pg.checks.round_trip import SAMPLE, round_trip_chunk

        return [
            check
            for name, chunk in self.chunks()
            for check in round_trip_chunk(
                self.conn,
                self.key,
                self.domain.collection(name),
                self.staging.collection(self.key.plan_id, name),
                chunk,
                SAMPLE if sample is None else sample,
            )
        ]

    def verify(self) -> dict[str, Any]:
        """All checks, and the report."""
        for stage in VERIFY:
            getattr(self, stage)()
        return self.report()

    def report(self) -> dict[str, Any]:
        from mongo2pg.verdict import gate

        report, _ = gate.conclude(self.conn, self.key, self.domain, self.staging, {})
        return report
