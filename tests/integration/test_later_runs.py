"""What comes after a first load, domain beside domain and run beside run: no later reading is undone, and nobody gets stuck."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Jsonb
from pymongo.database import Database

from deepiri.registry import DOMAINS
from mongo2pg.databases.window import Window
from mongo2pg.errors import DeleteError, PermanentError, PrepareError
from mongo2pg.model import Child, Collection, Column, Domain
from mongo2pg.planning.modes import INCREMENTAL, Request
from mongo2pg.run import Run
from mongo2pg.target import scripts
from mongo2pg.verdict.across import settle_across
from tests.documents import NOON, oid, point, skill_tree, user, uuid_of
from tests.small_domains import write_sql

HOUR = timedelta(hours=1)
BY_NAME = {domain.name: domain for domain in DOMAINS}


@dataclass
class Platform:
    """All domains between a source and a target, each run with the others as its neighbours."""

    database: Database[dict[str, Any]]
    conn: Any
    staging: Path
    runs: int = 0

    def run(self, domain: str, *collections: str) -> Run:
        self.runs += 1
        asked = BY_NAME[domain].only(collections) if collections else BY_NAME[domain]
        return Run(self.database, self.conn, asked, self.staging, f"run {self.runs}", DOMAINS)

    def full(self, domain: str, *collections: str) -> dict[str, Any]:
        run = self.run(domain, *collections)
        run.move()
        return self.passed(run)

    def window(self, domain: str) -> dict[str, Any]:
        """What was changed within this hour."""
        run, now = self.run(domain), datetime.now(UTC)
        run.move(window=Window(now - HOUR, now + HOUR))
        return self.passed(run)

    def replay(self, domain: str) -> dict[str, Any]:
        run = self.run(domain)
        run.replay()
        return self.passed(run)

    def reconcile(self, domain: str, *, repair: bool = False) -> dict[str, Any]:
        return self.run(domain).reconcile(repair=repair, max_repair_ratio=1.0)

    def passed(self, run: Run) -> dict[str, Any]:
        """Its collections' counts; every check must have passed."""
        report = run.verify()
        assert report["failures"] == []
        return {each["collection"]: each for each in report["collections"]}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.conn.transaction():
            self.conn.execute("SET LOCAL search_path = public, pg_catalog")
            return list(self.conn.execute(query.encode()).fetchall())

    def rejects(self) -> set[tuple[str, str, str]]:
        """(collection, `_id`, reason) of the open ones."""
        query = "SELECT collection, document_id ->> '$oid', reason FROM migration.rejects WHERE state = 'open'"
        return {(collection, document_id, reason) for collection, document_id, reason in self.rows(query)}


@pytest.fixture
def platform(mongo_database: Database[dict[str, Any]], target: Any, tmp_path: Path) -> Iterator[Platform]:
    for domain in DOMAINS:
        for collection in domain.collections:
            mongo_database.create_collection(collection.name)
    with target.connect() as conn:
        yield Platform(mongo_database, conn, tmp_path / "staging")


STRANGER = Jsonb({"id": "aaaaaaaa-1111-4111-8111-111111111111"})


def now() -> datetime:
    return datetime.now(UTC)


def task(number: int, user_id: Any, **fields: Any) -> dict[str, Any]:
    base = {"_id": oid(number), "userId": user_id, "title": "old", "status": "pending", "createdAt": NOON, "updatedAt": NOON}
    return {**base, **fields}


def user_four_gives_way(platform: Platform) -> None:
    """User 4 loses its new e-mail to user 1, and its row, stale then, is in the way of user 2, who claims the old one."""
    platform.database.users.update_one({"_id": oid(4)}, {"$set": {"email": "new@x", "updatedAt": now()}})
    platform.database.users.insert_many([user(1, email="new@x", updatedAt=now()), user(2, email="old@x", updatedAt=now())])


def a_task_of_user_four_is_moved_and_moved_again(platform: Platform) -> None:
    """By a full run, and by a window when it has a new title."""
    platform.database.tasks.insert_one(task(31, oid(4)))
    platform.full("task_orchestrator")
    platform.database.tasks.update_one({"_id": oid(31)}, {"$set": {"title": "new", "updatedAt": now()}})
    platform.window("task_orchestrator")


# ------------------------------------------------------------------------------------------------ a neighbour's documents


def test_a_neighbours_document_is_rejected_as_it_is_now_and_not_as_its_last_full_run_read_it(platform: Platform) -> None:
    platform.database.users.insert_one(user(4, email="old@x"))
    platform.full("auth")
    a_task_of_user_four_is_moved_and_moved_again(platform)
    user_four_gives_way(platform)
    platform.full("auth")
    assert platform.rejects() == {("tasks", str(oid(31)), "orphan"), ("users", str(oid(4)), "duplicate_key")}
    platform.database.users.update_one({"_id": oid(4)}, {"$set": {"email": "own@x", "updatedAt": now()}})
    platform.window("auth")
    platform.replay("task_orchestrator")
    assert platform.rows("SELECT title FROM tasks") == [("new",)]
    assert platform.reconcile("task_orchestrator")["passed"]


def test_a_first_load_rejects_what_only_a_window_of_a_neighbour_read(platform: Platform) -> None:
    platform.full("challenge")
    stray = {"_id": oid(31), "userId": oid(4), "title": "t", "participants": [], "createdAt": NOON, "updatedAt": now()}
    platform.database.challenges.insert_one(stray)
    platform.window("challenge")
    assert platform.rows("SELECT count(*) FROM challenges") == [(1,)]
    platform.full("auth")
    assert platform.rejects() == {("challenges", str(oid(31)), "orphan")}
    assert platform.rows("SELECT count(*) FROM challenges") == [(0,)]
    assert platform.full("auth")["users"]["read"] == 0
    platform.database.users.insert_one(user(4, updatedAt=now()))
    platform.window("auth")
    platform.replay("challenge")
    assert platform.rejects() == set()
    assert platform.reconcile("challenge")["passed"]


def test_a_neighbours_document_that_has_gone_meanwhile_takes_its_row_along(platform: Platform) -> None:
    platform.database.challenges.insert_one(
        {"_id": oid(31), "userId": oid(4), "title": "t", "participants": [], "createdAt": NOON, "updatedAt": NOON}
    )
    platform.full("challenge")
    platform.database.challenges.delete_many({})
    platform.full("auth")
    assert platform.rejects() == set()
    assert platform.rows("SELECT count(*) FROM challenges") == [(0,)]
    taken = "SELECT domain, cardinality(deleted_ids) FROM migration.passes WHERE stage = 'delete' AND collection = 'challenges'"
    assert platform.rows(taken) == [("challenge", 1)]


def test_a_replay_that_would_set_a_neighbours_document_back_says_so_and_changes_nothing(platform: Platform) -> None:
    platform.database.users.insert_one(user(4, email="old@x"))
    platform.database.skilltrees.insert_one(skill_tree(11, oid(4)))
    platform.full("auth")
    a_task_of_user_four_is_moved_and_moved_again(platform)
    user_four_gives_way(platform)
    platform.window("auth")  # the skill tree, which it does not read, hangs on the row of user 4
    platform.database.skilltrees.delete_many({})
    platform.run("auth").delete_alone(1.0)
    before = platform.rejects()
    with pytest.raises(PermanentError, match=r"tasks: .* must be rejected .* run task_orchestrator again in full"):
        platform.replay("auth")
    assert platform.rejects() == before
    platform.full("task_orchestrator")
    platform.replay("auth")
    assert platform.rejects() == {("tasks", str(oid(31)), "orphan"), ("users", str(oid(4)), "duplicate_key")}


PEOPLE = Domain("people", (Collection("people", "people", "at", (Column("name", "text"),)),))
OWNER = Column("owner", "uuid", required=True, references="people")
TOYS = Child("toys", "toys", "scalars", (Column("", "text", "toy"),))
PETS = Collection("pets", "pets", "at", (OWNER,), (TOYS,))


@dataclass
class Neighbours:
    """People, and pets that refer to them: the declaration of the pets may change from run to run."""

    database: Database[dict[str, Any]]
    conn: Any
    folder: Path
    monkeypatch: pytest.MonkeyPatch
    domains: tuple[Domain, ...] = ()
    runs: int = 0

    def declare(self, pets: Collection) -> None:
        self.domains = (PEOPLE, Domain("pets", (pets,)))
        include = self.folder / f"declared {self.runs}"
        for domain in self.domains:
            write_sql(include, domain)
        self.monkeypatch.setattr(scripts, "INCLUDE", include)

    def full(self, number: int) -> dict[str, Any]:
        self.runs += 1
        run = Run(self.database, self.conn, self.domains[number], self.folder / "staging", f"run {self.runs}", self.domains)
        run.move()
        return run.verify()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return list(self.conn.execute(query.encode()).fetchall())


@pytest.fixture
def neighbours(
    mongo_database: Database[dict[str, Any]], target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Neighbours]:
    mongo_database.people.insert_many([{"_id": oid(number)} for number in (1, 2)])
    mongo_database.pets.insert_many([{"_id": oid(10 + at), "owner": oid(1 + at // 2), "toys": ["ball"]} for at in range(4)])
    with target.connect(autocommit=True) as conn:
        both = Neighbours(mongo_database, conn, tmp_path, monkeypatch)
        both.declare(PETS)
        assert [both.full(number)["failures"] for number in (0, 1)] == [[], []]
        yield both


@pytest.mark.parametrize(
    ("changed", "by_hand"),
    [
        ({"columns": (OWNER, Column("walker", "uuid", references="people"))}, "ALTER TABLE public.pets ADD walker uuid"),
        ({"children": (TOYS, Child("walkers", "walkers", "scalars", (Column("", "uuid", "walker", references="people"),)))}, ""),
        ({"unique": (("name",),), "columns": (OWNER, Column("name", "integer", default=1, required=True))}, ""),
        ({"children": (Child("toys", "toys", "scalars", (Column("", "text", "kind"),)),)}, ""),
    ],
    ids=["a column", "a table", "a key", "a column of a child"],
)
def test_a_domain_runs_on_while_its_neighbour_s_tables_lack_what_its_new_declaration_has(
    neighbours: Neighbours, changed: dict[str, Any], by_hand: str
) -> None:
    neighbours.declare(replace(PETS, **changed))
    neighbours.database.people.delete_one({"_id": oid(1)})
    assert neighbours.full(0)["failures"] == []
    assert neighbours.rows("SELECT owner::text FROM public.pets") == [(uuid_of(2),)] * 2
    assert neighbours.rows("SELECT count(*) FROM public.toys") == [(2,)]
    assert neighbours.rows("SELECT count(*) FROM migration.rejects WHERE (state, reason) = ('open', 'orphan')") == [(2,)]
    before = neighbours.rows("SELECT conname FROM pg_constraint WHERE contype IN ('p', 'u', 'f') ORDER BY 1")
    assert settle_across(neighbours.database, neighbours.conn, neighbours.domains, neighbours.folder / "staging") == []
    assert neighbours.rows("SELECT conname FROM pg_constraint WHERE contype IN ('p', 'u', 'f') ORDER BY 1") == before
    if by_hand:
        neighbours.conn.execute(by_hand)
        assert neighbours.full(1)["failures"] == []


def test_a_domain_runs_on_while_its_neighbour_s_table_has_a_new_name(neighbours: Neighbours) -> None:
    neighbours.conn.execute("ALTER TABLE public.pets RENAME TO animals")
    neighbours.declare(replace(PETS, table="animals", children=()))
    neighbours.conn.execute("DROP TABLE public.toys")
    neighbours.database.people.delete_one({"_id": oid(1)})
    assert neighbours.full(0)["failures"] == []
    assert neighbours.rows("SELECT owner::text FROM public.animals") == [(uuid_of(2),)] * 2
    assert neighbours.rows("SELECT count(*) FROM migration.rejects WHERE (state, reason) = ('open', 'orphan')") == [(2,)]


@pytest.mark.parametrize("order", [1, -1], ids=["the first", "the last"])
def test_a_unique_key_that_is_declared_later_is_judged_among_the_rows_that_are_there(neighbours: Neighbours, order: int) -> None:
    tagged = replace(PETS, columns=(OWNER, Column("tag", "integer", required=True, default=1)), unique=(("tag",),))
    pets = [10, 11, 12, 13][::order]
    neighbours.database.pets.update_one({"_id": oid(pets[0])}, {"$set": {"tag": 2}})
    neighbours.database.pets.update_one({"_id": oid(pets[1])}, {"$set": {"tag": 2}})
    neighbours.conn.execute("ALTER TABLE public.pets ADD tag integer NOT NULL DEFAULT 1")
    neighbours.declare(tagged)
    left = [(uuid_of(10), 2 if order == 1 else 1), (uuid_of(12), 1 if order == 1 else 2)]
    for _ in range(2):
        assert neighbours.full(1)["failures"] == []
        assert neighbours.rows("SELECT id::text, tag FROM public.pets ORDER BY id") == left
        query = "SELECT document_id ->> '$oid', path, reason FROM migration.rejects WHERE state = 'open' ORDER BY 1"
        assert neighbours.rows(query) == [(str(oid(number)), "tag", "duplicate_key") for number in (11, 13)]
    neighbours.database.pets.delete_many({"_id": {"$in": [oid(11), oid(13)]}})  # a second key, and nobody claims the first one
    neighbours.declare(replace(tagged, unique=(("tag",), ("owner",))))
    assert neighbours.full(1)["failures"] == []
    assert neighbours.rows("SELECT id::text, tag FROM public.pets ORDER BY id") == left


def test_a_unique_key_that_a_row_of_before_is_too_long_for_is_named_with_the_way_out(neighbours: Neighbours) -> None:
    tagged = replace(PETS, columns=(OWNER, Column("tag", "text", required=True)))
    for pet, tag in ((10, random.Random(1).randbytes(2_000).hex()), (11, "a"), (12, "b"), (13, "c")):
        neighbours.database.pets.update_one({"_id": oid(pet)}, {"$set": {"tag": tag}})
    neighbours.conn.execute("ALTER TABLE public.pets ADD tag text NOT NULL DEFAULT ''")
    neighbours.declare(tagged)
    assert neighbours.full(1)["failures"] == []
    neighbours.declare(replace(tagged, unique=(("tag",),)))
    with pytest.raises(PermanentError, match=r"pets_tag_key of pets cannot be built \(index row size .*: DELETE FROM") as refused:
        neighbours.full(1)
    neighbours.conn.execute("ALTER TABLE public.toys DROP CONSTRAINT toys_pet_id_fkey")  # no cascade, in these tests
    neighbours.conn.execute("DELETE FROM public.toys USING public.pets p WHERE pet_id = p.id AND length(p.tag) > 10")
    neighbours.conn.execute(str(refused.value).split(": ")[1].split(", which takes")[0].encode())
    assert neighbours.full(1)["failures"] == []
    assert neighbours.rows("SELECT tag FROM public.pets ORDER BY 1") == [("a",), ("b",), ("c",)]
    assert neighbours.rows("SELECT path, reason FROM migration.rejects WHERE state = 'open'") == [("tag", "too_long")]


def test_a_statement_of_post_data_that_postgresql_refuses_is_named_with_its_file(neighbours: Neighbours) -> None:
    neighbours.declare(PETS)
    with (scripts.INCLUDE / "pets" / "post_data.sql").open("a") as file:
        file.write("\nCREATE INDEX pets_walker_idx ON public.pets (walker);\n")
    with pytest.raises(PermanentError, match=r"include/sql/pets/post_data.sql fails at pets_walker_idx: column .walker. does not"):
        neighbours.full(1)


def test_a_row_goes_on_which_a_column_hangs_that_its_declaration_calls_a_reference_no_more_once_the_key_is_gone(
    neighbours: Neighbours,
) -> None:
    neighbours.declare(replace(PETS, columns=(Column("owner", "uuid", required=True),)))
    neighbours.database.people.delete_one({"_id": oid(1)})
    said = "rows of people must go, but owner of pets, which no declaration here names as a reference, refers to them: drop its"
    with pytest.raises(PermanentError, match=said):
        neighbours.full(0)
    neighbours.conn.execute("ALTER TABLE public.pets DROP CONSTRAINT pets_owner_fkey")
    assert [neighbours.full(number)["failures"] for number in (0, 1)] == [[], []]
    assert neighbours.rows("SELECT count(*) FROM public.pets") == [(4,)]


# ------------------------------------------------------------------------------------------------ run beside run


def test_a_replay_reads_a_document_of_which_two_versions_are_rejected_once_as_it_was_read_last(platform: Platform) -> None:
    platform.database.users.insert_one(user(4))
    platform.full("auth")
    platform.database.odysseys.insert_one({"_id": oid(21), "userId": oid(4), "title": "old", "objectives": [None]})
    platform.full("engagement")
    platform.database.odysseys.update_one({"_id": oid(21)}, {"$set": {"title": "new"}})
    platform.database.users.delete_one({"_id": oid(4)})
    platform.full("auth")
    assert len(platform.rows("SELECT DISTINCT document FROM migration.rejects WHERE state = 'open'")) == 2
    report = platform.replay("engagement")["odysseys"]
    assert (report["read"], report["rejected"]) == (1, {"orphan": 1})
    platform.database.users.insert_one(user(4))
    platform.full("auth")
    assert platform.replay("engagement")["odysseys"]["inserted"] == 1
    assert platform.rows("SELECT title FROM odysseys") == [("new",)]


def test_a_full_run_that_settles_late_leaves_the_rejects_of_later_readings_open(platform: Platform) -> None:
    users = platform.database.users
    users.insert_many([user(1), user(2)])
    platform.full("auth")
    late = platform.run("auth")
    late.prepare()
    late.plan()
    for stage in ("extract", "normalise", "load"):
        getattr(late, stage)()
    users.update_one({"_id": oid(2)}, {"$unset": {"email": ""}, "$set": {"updatedAt": now()}})
    users.insert_one(user(3, email=5, updatedAt=now()))
    platform.window("auth")
    opened = {("users", str(oid(2)), "required"), ("users", str(oid(3)), "type_mismatch")}
    assert platform.rejects() == opened
    late.delete()
    late.settle()
    platform.passed(late)
    assert platform.rejects() == opened
    assert platform.rows("SELECT root_id::text FROM migration.stale") == [(uuid_of(2),)]
    # A full run that begins now has the last word.
    users.delete_one({"_id": oid(3)})
    platform.full("auth")
    assert platform.rejects() == {("users", str(oid(2)), "required")}


def test_judging_the_last_full_run_again_leaves_the_rejects_of_later_windows_open(platform: Platform) -> None:
    platform.database.users.insert_one(user(1))
    platform.full("auth")
    platform.database.users.insert_one(user(3, email=5, updatedAt=now()))
    platform.window("auth")
    platform.conn.execute("ALTER TABLE public.skill_trees DROP CONSTRAINT skill_trees_user_id_fkey")
    settle_across(platform.database, platform.conn, DOMAINS, platform.staging)
    assert platform.rejects() == {("users", str(oid(3)), "type_mismatch")}


def test_a_replay_leaves_those_rejects_open_that_a_run_beside_it_confirmed(platform: Platform) -> None:
    platform.database.users.insert_many([user(1), user(2), user(3, email=5)])
    platform.full("auth")
    replay = platform.run("auth")
    replay.stage_replay()
    replay.load()
    platform.full("auth")
    replay.settle()
    platform.passed(replay)
    assert platform.rejects() == {("users", str(oid(3)), "type_mismatch")}
    assert platform.reconcile("auth")["passed"]


def test_a_full_run_leaves_the_reject_of_a_document_open_that_came_after_its_reading(platform: Platform) -> None:
    platform.database.users.insert_many([user(1), user(2)])
    platform.full("auth")
    late = platform.run("auth")
    for stage in ("prepare", "plan", "extract", "normalise"):
        getattr(late, stage)()
    platform.database.users.insert_one(user(3, email=5, updatedAt=now()))
    platform.window("auth")
    late.carry("load")
    platform.passed(late)
    assert platform.rejects() == {("users", str(oid(3)), "type_mismatch")}


def test_a_full_run_that_settles_late_rejects_what_a_window_read_since_as_it_is_now(platform: Platform) -> None:
    users = platform.database.users
    users.insert_many([user(1, email="a@x"), user(2, email="e@x", name="old")])
    platform.full("auth")
    users.update_one({"_id": oid(1)}, {"$set": {"email": "e@x"}})
    late = platform.run("auth")
    for stage in ("prepare", "plan", "extract", "normalise", "load"):
        getattr(late, stage)()
    users.update_one({"_id": oid(2)}, {"$set": {"name": "new", "updatedAt": now()}})
    platform.window("auth")
    late.carry("delete")
    platform.passed(late)
    assert platform.rejects() == {("users", str(oid(2)), "duplicate_key")}
    users.update_one({"_id": oid(1)}, {"$set": {"email": "a@x", "updatedAt": now()}})
    platform.window("auth")
    platform.replay("auth")
    assert platform.rows("SELECT email, name FROM users ORDER BY id") == [("a@x", "User 1"), ("e@x", "new")]
    assert platform.reconcile("auth")["passed"]


@pytest.mark.parametrize("taken_over", [False, True], ids=["a window that never settles", "a full run that took it over and stops"])
def test_what_a_run_held_that_never_settles_is_read_by_the_next_window(platform: Platform, taken_over: bool) -> None:
    platform.database.users.insert_many([user(number) for number in range(1, 60)])
    platform.full("auth")
    platform.database.skilltrees.insert_one(skill_tree(101, oid(99), updatedAt=now()))
    window, full = platform.run("auth"), platform.run("auth")
    window.prepare()
    window.plan(moved={each.name: Window(now() - HOUR, now()) for each in window.domain.collections})
    for stage in ("extract", "normalise", "load"):
        getattr(window, stage)()
    if taken_over:
        full.prepare()
        full.plan()
        for stage in ("extract", "normalise", "load"):
            getattr(full, stage)()
        window.carry("delete")
        platform.passed(window)
        platform.database.users.delete_many({"_id": {"$gt": oid(20)}})
        with pytest.raises(DeleteError):
            full.delete()
    platform.database.skilltrees.update_one({}, {"$set": {"updatedAt": now() - 5 * HOUR}})  # no window's any more
    platform.window("auth")
    assert platform.rejects() == {("skilltrees", str(oid(101)), "orphan")}
    platform.database.users.insert_one(user(99, updatedAt=now()))
    platform.window("auth")
    platform.window("auth")
    assert platform.rows("SELECT count(*) FROM skill_trees") == [(1,)]
    assert platform.rejects() == set()


def test_a_reference_that_a_window_cleared_is_there_again_after_the_next_one_once_its_row_is(platform: Platform) -> None:
    platform.database.users.insert_one(user(1))
    for name in ("auth", "challenge", "task_orchestrator"):
        platform.full(name)
    platform.database.tasks.insert_one(task(31, oid(1), challengeId=oid(41), updatedAt=now()))
    platform.database.challenges.insert_one(
        {"_id": oid(41), "userId": oid(1), "title": "t", "participants": [], "createdAt": NOON, "updatedAt": now()}
    )
    platform.window("task_orchestrator")
    assert platform.rows("SELECT challenge_id, root_id::text FROM tasks, migration.cleared") == [(None, uuid_of(31))]
    platform.window("challenge")
    platform.database.tasks.update_one({}, {"$set": {"updatedAt": now() - 5 * HOUR}})  # no window's any more
    assert platform.window("task_orchestrator")["tasks"]["updated"] == 1
    assert platform.rows("SELECT challenge_id::text, extra FROM tasks") == [(uuid_of(41), None)]
    assert platform.rows("SELECT count(*) FROM migration.cleared") == [(0,)]
    assert platform.window("task_orchestrator")["tasks"]["read"] == 0
    assert platform.reconcile("task_orchestrator")["passed"]


def test_a_document_whose_newer_version_is_a_reject_is_not_read_in_every_window_for_a_reference_that_was_cleared(
    platform: Platform,
) -> None:
    platform.database.users.insert_one(user(1))
    platform.database.tasks.insert_one(task(31, oid(1), challengeId=oid(41)))
    for name in ("auth", "challenge", "task_orchestrator"):
        platform.full(name)
    platform.database.tasks.update_one({}, {"$set": {"userId": None, "updatedAt": now()}})
    assert platform.window("task_orchestrator")["tasks"]["rejected"] == {"required": 1}
    platform.database.challenges.insert_one(
        {"_id": oid(41), "userId": oid(1), "title": "t", "participants": [], "createdAt": NOON, "updatedAt": now()}
    )
    platform.window("challenge")
    platform.database.tasks.update_one({}, {"$set": {"updatedAt": now() - 5 * HOUR}})  # no window's any more
    assert platform.window("task_orchestrator")["tasks"]["read"] == 0


@pytest.mark.parametrize("how", ["window", "full"])
@pytest.mark.parametrize("value", [oid(2), "ann", 5, 2.5], ids=["an ObjectId", "a text", "a number", "another"])
def test_rows_that_a_run_of_deletes_took_before_the_checks_are_not_missed(platform: Platform, how: str, value: Any) -> None:
    users = platform.database.users
    users.insert_many([user(1), user(2, _id=value)])
    platform.full("auth")
    users.update_one({"_id": value}, {"$set": {"updatedAt": now()}})
    run = platform.run("auth")
    run.move(window=Window(now() - HOUR, now() + HOUR) if how == "window" else None)
    users.delete_one({"_id": value})
    platform.run("auth").delete_alone(1.0)
    platform.passed(run)


def read(platform: Platform, domain: str, how: str) -> Run:
    """A run that has loaded a window or everything, and has not judged it yet."""
    run = platform.run(domain)
    run.prepare()
    window = Window(now() - HOUR, now() + HOUR)
    run.plan(moved={collection.name: window for collection in run.domain.collections} if how == "window" else None)
    for stage in ("extract", "normalise", "load"):
        getattr(run, stage)()
    return run


def settled(run: Run) -> Run:
    run.delete(1.0)
    run.settle()
    return run


def failures(run: Run) -> set[tuple[str, str]]:
    """(check, what it is about) of the checks that fail."""
    return {(each["check"], each["table"]) for each in run.verify()["failures"]}


@pytest.fixture
def new_user_makes_things(platform: Platform) -> Platform:
    """User 2 and all that refers to it came after full runs of all domains."""
    platform.database.users.insert_one(user(1))
    for domain in ("auth", "task_orchestrator", "challenge"):
        platform.full(domain)
    platform.database.users.insert_one(user(2, updatedAt=now()))
    platform.database.tasks.insert_one(task(31, oid(2), updatedAt=now()))
    version = {"_id": oid(41), "taskId": oid(31), "userId": oid(1), "version": 1, "changedBy": oid(2), "createdAt": now()}
    platform.database.taskversions.insert_one(version)
    challenge = {"_id": oid(51), "userId": oid(1), "title": "t", "participants": [{"userId": oid(2)}]}
    platform.database.challenges.insert_one({**challenge, "createdAt": NOON, "updatedAt": now()})
    return platform


@pytest.mark.parametrize("how", ["window", "full"])
def test_what_another_run_brings_between_a_run_and_its_checks_was_not_there_when_the_run_judged(
    new_user_makes_things: Platform, how: str
) -> None:
    platform = new_user_makes_things
    runs = [settled(read(platform, domain, how)) for domain in ("task_orchestrator", "challenge")]
    assert platform.rejects() == {("tasks", str(oid(31)), "orphan")}
    assert platform.rows("SELECT changed_by FROM task_versions") == [(None,)]
    assert platform.rows("SELECT user_id FROM challenge_participants") == [(None,)]
    platform.window("auth")
    for run in runs:
        platform.passed(run)
    platform.full("task_orchestrator")
    platform.full("challenge")
    assert platform.rejects() == set()
    assert platform.rows("SELECT changed_by::text FROM task_versions") == [(uuid_of(2),)]


def test_what_was_there_when_the_run_judged_is_no_cause_whatever_came_since(new_user_makes_things: Platform) -> None:
    platform = new_user_makes_things
    tasks = settled(read(platform, "task_orchestrator", "window"))
    platform.window("auth")
    platform.conn.execute("UPDATE migration.rejects SET rejected_at = now()")
    platform.conn.execute("UPDATE public.task_versions SET extra = extra || %s", (Jsonb({"changedBy": 5}),))
    assert failures(tasks) == {("rejects", "tasks"), ("checksums", "task_versions"), ("round_trip", "task_versions")}
    # As if user 2 had been there before the run judged, and only others came afterwards.
    platform.conn.execute("UPDATE migration.passes SET committed_at = committed_at - interval '1 day' WHERE domain = 'auth'")
    platform.database.users.insert_one(user(3, updatedAt=now()))
    platform.window("auth")
    assert {("rejects", "tasks"), ("checksums", "task_versions")} <= failures(tasks)


def test_rows_that_a_run_of_deletes_rejected_before_the_counts_are_not_missed(platform: Platform) -> None:
    database = platform.database
    database.users.insert_many([user(1), user(5)])
    database.skilltrees.insert_many([skill_tree(11, oid(1)), skill_tree(12, oid(5))])
    platform.full("auth")
    run = settled(read(platform, "auth", "full"))
    database.users.delete_one({"_id": oid(5)})
    platform.run("auth").delete_alone(1.0)
    assert platform.rejects() == {("skilltrees", str(oid(12)), "orphan")}
    platform.passed(run)
    # No more than that: a row that just is not there is missed.
    platform.conn.execute("DELETE FROM public.skills WHERE skill_tree_id = %s", (uuid_of(11),))
    assert ("checksums", "skills") in failures(run)


def test_elements_that_a_run_of_deletes_rejected_before_the_counts_are_not_missed(platform: Platform) -> None:
    database = platform.database
    database.users.insert_one(user(1))
    platform.full("auth")
    base = {"userId": oid(1), "title": "t", "createdAt": NOON, "updatedAt": NOON}
    database.objectives.insert_many([{**base, "_id": oid(21)}, {**base, "_id": oid(22)}])
    database.odysseys.insert_one({**base, "_id": oid(31), "objectives": [oid(21), oid(22)]})
    platform.full("engagement")
    run = settled(read(platform, "engagement", "full"))
    database.objectives.delete_one({"_id": oid(22)})
    platform.run("engagement").delete_alone(1.0)
    assert platform.rejects() == {("odysseys", str(oid(31)), "orphan")}
    platform.passed(run)


@pytest.mark.parametrize("value", [oid(2), "ann", 2.5, {"a": 1, "b": 2}], ids=["an ObjectId", "a text", "a number", "a document"])
def test_a_document_that_is_away_while_a_full_run_reads_explains_its_row_when_it_is_back(platform: Platform, value: Any) -> None:
    users = platform.database.users
    users.insert_many([user(1), user(2, _id=value), user(3)])
    platform.full("auth")
    run = platform.run("auth")
    run.prepare()
    run.plan()
    users.delete_one({"_id": value})
    for stage in ("extract", "normalise", "load"):
        getattr(run, stage)()
    users.insert_one(user(2, _id=value, updatedAt=now()))
    settled(run)
    platform.passed(run)
    assert platform.rows("SELECT count(*) FROM users") == [(3,)]
    # A copy of its row is explained by nothing, nor is a row whose document is gone.
    copied = Jsonb({"id": "aaaaaaaa-1111-4111-8111-111111111111", "email": "copy@x"})
    copy = "INSERT INTO public.users SELECT (jsonb_populate_record(u, %s)).* FROM public.users u WHERE email = %s"
    platform.conn.execute(copy, (copied, user(2)["email"]))
    assert failures(run) == {("row_counts", "users")}
    assert platform.rows("SELECT id::text, kind FROM migration.differences") == [("aaaaaaaa-1111-4111-8111-111111111111", "extra")]
    platform.conn.execute("DELETE FROM public.users WHERE email = 'copy@x'")
    users.delete_one({"_id": value})
    assert ("row_counts", "users") in failures(run)


def test_a_document_that_a_full_run_did_not_read_although_it_was_there_explains_no_row(platform: Platform) -> None:
    users = platform.database.users
    users.insert_many([user(1), user(2)])
    platform.full("auth")
    users.delete_one({"_id": oid(2)})
    run = read(platform, "auth", "full")
    users.insert_one(user(2))  # by all that it says of itself it was there
    settled(run)
    assert ("row_counts", "users") in failures(run)


@pytest.mark.parametrize(
    ("how", "value", "rows"),
    [("window", oid(2), 0), ("full", "ann", 0), ("full", oid(2), 1), ("window", 2.5, 1)],
    ids=["a window's", "a full run's", "after it settled", "a window's after it settled"],
)
def test_documents_without_a_row_that_a_run_of_deletes_found_gone_are_not_missed(
    platform: Platform, how: str, value: Any, rows: int
) -> None:
    users, trees = platform.database.users, platform.database.skilltrees
    users.insert_many([user(1, email="a@x"), user(5)])
    platform.full("auth")
    # User 2 waits for the key that user 1 has left, the skill tree for a user; user 3 is a reject as it is.
    users.update_one({"_id": oid(1)}, {"$set": {"email": "b@x", "updatedAt": now()}})
    users.insert_many([user(2, _id=value, email="a@x", updatedAt=now()), user(3, email=5, updatedAt=now())])
    trees.insert_one(skill_tree(11, oid(99), updatedAt=now()))
    run = read(platform, "auth", how)
    if rows:
        settled(run)
    users.delete_many({"_id": {"$in": [value, oid(3)]}})
    trees.delete_many({})
    platform.run("auth").delete_alone(1.0)
    assert platform.rejects() == set()
    # What never was a row is no deleted one.
    deleted = "SELECT subject, actual -> 'deleted' FROM migration.checks WHERE check_name = 'deletes' AND run_id = 'run 3'"
    assert dict(platform.rows(deleted)).items() >= {"users": rows, "skilltrees": 0}.items()
    if not rows:
        settled(run)
    platform.passed(run)
    assert platform.rows("SELECT email FROM users ORDER BY 1") == [("b@x",), ("user5@example.com",)]
    platform.conn.execute("DELETE FROM public.users WHERE email = 'b@x'")
    assert ("checksums", "users") in failures(run)


def test_a_key_that_rows_forbid_is_named_with_the_way_out(platform: Platform) -> None:
    platform.database.users.insert_many([user(1), user(2)])
    platform.full("auth")
    platform.conn.execute("ALTER TABLE public.users DROP CONSTRAINT users_email_key")
    copied = "INSERT INTO public.users SELECT (jsonb_populate_record(u, %s)).* FROM public.users u LIMIT 1"
    platform.conn.execute(copied, (STRANGER,))
    with pytest.raises(PermanentError, match=r"users_email_key of users cannot be built \(Key .* is duplicated.*\): remove the"):
        platform.window("auth")
    platform.full("auth")  # which takes the stranger out, that no document explains
    assert platform.rows("SELECT count(*) FROM pg_constraint WHERE conname = 'users_email_key'") == [(1,)]


# ------------------------------------------------------------------------------------------------ tables that are gone


@pytest.fixture
def loaded(platform: Platform) -> Platform:
    """Two users with a skill tree each, and a task of another domain that refers to one of them."""
    platform.database.users.insert_many([user(1), user(2)])
    platform.database.skilltrees.insert_many([skill_tree(11, oid(1)), skill_tree(12, oid(2))])
    platform.full("auth")
    platform.database.tasks.insert_one(task(31, oid(2)))
    platform.full("task_orchestrator")
    return platform


def keys(platform: Platform) -> list[tuple[Any, ...]]:
    query = "SELECT conrelid::regclass::text, conname, contype::text FROM pg_constraint WHERE contype IN ('p', 'u', 'f')"
    return platform.rows(f"{query} AND connamespace = 'public'::regnamespace ORDER BY 1, 2")


def refused(platform: Platform, domain: str, sentence: str) -> None:
    """Every kind of run that does not read whole collections ends with this sentence, and makes no table."""
    before = platform.rows("SELECT oid FROM pg_class ORDER BY 1")
    for run in (
        platform.window,
        platform.replay,
        lambda name: platform.run(name).follow(Request(INCREMENTAL)),
        lambda name: platform.run(name).follow(Request(INCREMENTAL, interval=(now() - HOUR, now()))),
        lambda name: platform.run(name).delete_alone(1.0),
    ):
        with pytest.raises(PrepareError, match=sentence):
            run(domain)
    assert platform.rows("SELECT oid FROM pg_class ORDER BY 1") == before


@pytest.mark.parametrize(
    ("table", "collection", "cascade"),
    [("skills", "skilltrees", ""), ("progress_points", "progresspoints", ""), ("users", "users", " CASCADE")],
)
def test_a_table_that_somebody_dropped_is_made_and_filled_by_a_full_run_alone(
    loaded: Platform, table: str, collection: str, cascade: str
) -> None:
    loaded.database.progresspoints.insert_one(point(41, oid(1)))
    loaded.full("auth")
    before, rows = keys(loaded), loaded.rows(f"SELECT t::text FROM {table} t ORDER BY id")
    assert rows
    loaded.conn.execute(f"DROP TABLE public.{table}{cascade}".encode())
    refused(loaded, "auth", f"the table public.{table} of the loaded collection {collection} is gone: run auth with mode full")
    assert loaded.full("auth")["users"]["rejected"] == {}
    assert (keys(loaded), loaded.rows(f"SELECT t::text FROM {table} t ORDER BY id")) == (before, rows)
    assert loaded.rejects() == set()
    loaded.window("auth")
    assert loaded.reconcile("auth")["passed"]
    assert loaded.reconcile("task_orchestrator")["passed"]


def test_a_table_that_a_full_run_made_anew_is_not_taken_for_filled_until_that_run_settles(loaded: Platform) -> None:
    loaded.conn.execute("DROP TABLE public.skills")
    late = loaded.run("auth")
    late.prepare()
    late.plan()
    refused(loaded, "auth", "public.skills of the loaded collection skilltrees has no primary key, as if nobody had filled it: run")
    late.carry()
    loaded.passed(late)
    loaded.window("auth")


def test_a_reconcile_finds_the_rows_of_a_dropped_table_missing_and_its_repair_brings_them_back(loaded: Platform) -> None:
    before = keys(loaded), loaded.rows("SELECT t::text FROM skills t ORDER BY id")
    loaded.conn.execute("DROP TABLE public.skills")
    assert not loaded.reconcile("auth")["passed"]
    refused(loaded, "auth", "skills of the loaded collection skilltrees has no primary key, as if nobody had filled it")
    assert loaded.reconcile("auth", repair=True)["passed"]
    assert (keys(loaded), loaded.rows("SELECT t::text FROM skills t ORDER BY id")) == before
    loaded.window("auth")


# ------------------------------------------------------------------------------------------------ rows that become stale


def test_a_row_that_became_stale_in_this_window_keeps_what_hangs_on_it_until_a_full_run(platform: Platform) -> None:
    platform.database.users.insert_one(user(4, email="old@x"))
    platform.database.skilltrees.insert_one(skill_tree(11, oid(4)))
    platform.full("auth")
    user_four_gives_way(platform)
    for _ in range(2):
        assert platform.window("auth")["users"]["rejected"] == {"duplicate_key": 2}
    assert platform.full("auth")["users"]["rejected"] == {"duplicate_key": 1}
    assert platform.rejects() == {("skilltrees", str(oid(11)), "orphan"), ("users", str(oid(4)), "duplicate_key")}


def test_nobody_loses_a_slot_to_a_document_that_is_an_orphan_by_then(platform: Platform) -> None:
    platform.database.users.insert_one(user(4, email="old@x"))
    platform.database.skilltrees.insert_many([skill_tree(11, oid(4)), skill_tree(12, oid(4))])
    platform.full("auth")
    user_four_gives_way(platform)
    for _ in range(2):
        assert platform.full("auth")["skilltrees"]["rejected"] == {"orphan": 2}


def test_a_stale_row_that_somebody_deleted_leaves_no_mark_behind(platform: Platform) -> None:
    platform.database.skilltrees.insert_many([skill_tree(11, oid(1)), skill_tree(12, oid(2))])
    platform.database.users.insert_many([user(1), user(2)])
    platform.full("auth")
    platform.database.skilltrees.update_many({}, {"$set": {"userId": oid(99), "updatedAt": now()}})
    platform.full("auth")
    assert platform.rows("SELECT count(*) FROM migration.stale") == [(2,)]
    platform.conn.execute("DELETE FROM public.skills WHERE skill_tree_id = %s", (uuid_of(11),))
    platform.conn.execute("DELETE FROM public.skill_trees WHERE id = %s", (uuid_of(11),))
    platform.run("auth").delete_alone(1.0)
    assert platform.rows("SELECT root_id::text FROM migration.stale") == [(uuid_of(12),)]
    assert platform.reconcile("auth")["passed"]


# ------------------------------------------------------------------------------------------------ parts of a domain


def test_the_last_collection_of_a_domain_can_be_loaded_by_itself(platform: Platform) -> None:
    platform.database.users.insert_one(user(1))
    platform.database.skilltrees.insert_one(skill_tree(11, oid(1)))
    platform.full("auth", "skilltrees", "socialconnections", "progresspoints")
    platform.full("auth", "users")
    assert platform.rows("SELECT count(*) FROM skill_trees") == [(1,)]
    platform.conn.execute("ALTER TABLE public.users DROP CONSTRAINT users_email_key")
    platform.full("auth", "users")
    assert platform.rows("SELECT count(*) FROM pg_constraint WHERE conname = 'users_email_key'") == [(1,)]


# ------------------------------------------------------------------------------------------------ repairs


@pytest.mark.parametrize("first", [oid(1), str(oid(1))], ids=["ObjectIds", "a text and an ObjectId"])
def test_a_repair_moves_two_documents_that_exchanged_their_keys(platform: Platform, first: Any) -> None:
    users = platform.database.users
    users.insert_many([user(1, _id=first, email="a@x"), user(2, email="b@x"), user(3, email="c@x")])
    platform.full("auth")
    users.update_one({"_id": first}, {"$set": {"email": "b@x"}})
    users.update_one({"_id": oid(2)}, {"$set": {"email": "a@x"}})
    assert platform.reconcile("auth", repair=True)["passed"]
    assert platform.rows("SELECT id::text, email FROM users ORDER BY email") == [
        (uuid_of(2), "a@x"), (uuid_of(1), "b@x"), (uuid_of(3), "c@x"),
    ]  # fmt: skip
    for document_id in (first, oid(2)):
        users.update_one({"_id": document_id}, {"$set": {"email": "c@x"}})
    assert platform.reconcile("auth", repair=True)["passed"]
    assert len(platform.rejects()) == 2


def test_a_repair_brings_those_along_that_other_documents_kept_out(platform: Platform) -> None:
    users, trees = platform.database.users, platform.database.skilltrees
    users.insert_many([user(1, email=5), user(2, email="a@x"), user(3, email="a@x"), user(4), user(5, _id=7.5, email="a@x")])
    trees.insert_many([skill_tree(11, oid(1)), skill_tree(12, oid(4)), skill_tree(13, oid(99)), skill_tree(14, 7.5)])
    platform.full("auth")
    assert len(platform.rejects()) == 5
    users.update_one({"_id": oid(1)}, {"$set": {"email": "one@x"}})
    users.update_one({"_id": 7.5}, {"$set": {"email": "b@x"}})
    assert platform.reconcile("auth", repair=True)["passed"]
    assert platform.rejects() == {("users", str(oid(3)), "duplicate_key"), ("skilltrees", str(oid(13)), "orphan")}
    assert platform.rows("SELECT verdict, actual FROM migration.checks WHERE check_name = 'repair' ORDER BY subject") == [
        ("passed", {"documents": 2, "differing": 0, "changing": 0}),
        ("passed", {"documents": 2, "differing": 0, "changing": 0}),
    ]
    assert platform.reconcile("auth")["passed"]


def test_a_copy_of_a_row_under_another_id_is_no_document_s_row(platform: Platform) -> None:
    platform.database.users.insert_many([user(1), user(2, _id="ann")])
    platform.full("auth")
    copied = {"id": "aaaaaaaa-1111-4111-8111-111111111111", "email": "copy@x"}
    platform.conn.execute(
        "INSERT INTO public.users SELECT (jsonb_populate_record(u, %s)).* FROM public.users u WHERE extra ->> '_id' = 'ann'",
        (Jsonb(copied),),
    )
    assert not platform.reconcile("auth")["passed"]
    assert platform.reconcile("auth", repair=True)["passed"]
    assert platform.rows("SELECT count(*) FROM users") == [(2,)]
    assert platform.full("auth")["users"]["unchanged"] == 2


def test_a_publication_of_all_tables_hinders_no_run(platform: Platform, postgres: Any) -> None:
    with postgres.server.superuser.connect(dbname=platform.conn.info.dbname, autocommit=True) as admin:
        admin.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    users, trees = platform.database.users, platform.database.skilltrees
    users.insert_many([user(1, roles=["a", "a"]), user(2, email="a@x"), user(3, email="a@x"), user(4, email="b@x")])
    trees.insert_many([skill_tree(11, oid(1)), skill_tree(12, oid(3))])
    platform.full("auth")
    platform.database.tasks.insert_one({**task(31, oid(1)), "challengeId": oid(91)})
    platform.full("task_orchestrator")
    users.update_one({"_id": oid(1)}, {"$set": {"roles": ["b"], "updatedAt": now()}})
    users.delete_one({"_id": oid(4)})
    platform.window("auth")
    platform.replay("auth")
    platform.full("auth")
    platform.conn.execute("DELETE FROM public.skill_trees")
    assert not platform.reconcile("auth")["passed"]
    assert platform.reconcile("auth", repair=True)["passed"]
    assert platform.rows("SELECT count(*) FROM users") == [(2,)]
    # The identity of a row is its key's again, once there is one: whole old rows would swell the log.
    identities = "SELECT DISTINCT relreplident FROM pg_class WHERE relname IN ('users', 'user_roles', 'skills', 'tasks')"
    assert platform.rows(identities) == [("d",)]
