"""Increments as a schedule and people ask for them: up to where a collection has been moved, and whose turn a first load is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from deepiri.auth import AUTH
from mongo2pg.databases.source import server_time
from mongo2pg.errors import NothingToDoError, OwnedError, PermanentError, PrepareError, StagingError
from mongo2pg.model import Column, Domain
from mongo2pg.planning.claim import claim
from mongo2pg.planning.modes import DELETES, INCREMENTAL, REPLAY, WINDOW, Request
from mongo2pg.run import Run
from tests.documents import NOON, fill, point, user
from tests.mover import EACH, Mover, counts, outcome

HOUR = timedelta(hours=1)
USERS = Domain("auth", (AUTH.collection("users"),))


@pytest.fixture
def mover(mongo_database: Database[dict[str, Any]], target: Any, tmp_path: Path) -> Iterator[Mover]:
    fill(mongo_database)
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path / "staging", USERS)


def now(mover: Mover) -> datetime:
    return datetime.fromisoformat(server_time(mover.database))


def watermark(mover: Mover, collection: str = "users") -> datetime:
    (moment,) = mover.column("SELECT watermark FROM migration.collections WHERE collection = %s", collection)
    assert isinstance(moment, datetime)
    return moment


def follow(mover: Mover, run_id: str, **asked: Any) -> Run:
    run = mover.run(run_id)
    run.follow(Request(INCREMENTAL, **asked))
    return run


def sign_up(mover: Mover, *numbers: int) -> None:
    """New users, written now."""
    moment = now(mover)
    mover.database.users.insert_many([user(n, _id=ObjectId(), createdAt=moment, updatedAt=moment) for n in numbers])


def test_each_run_moves_what_came_since_the_last_one_and_never_goes_back_pp_33(mover: Mover) -> None:
    first = follow(mover, "first")
    assert outcome(counts(first)["users"])[:2] == (0, 0)
    marks = [watermark(mover)]
    for turn in range(3):
        sign_up(mover, *range(turn * 10, turn * 10 + 5))
        report = counts(follow(mover, f"turn {turn}", lookback=timedelta(0)))["users"]
        assert outcome(report)[:2] == (5, 5)
        marks.append(watermark(mover))
    assert marks == sorted(set(marks))
    assert mover.column("SELECT count(*) FROM users") == [15]


def test_the_watermark_moves_while_nothing_is_written_pp_34(mover: Mover) -> None:
    follow(mover, "first")
    marks = [watermark(mover)]
    for turn in range(3):
        assert outcome(counts(follow(mover, f"idle {turn}"))["users"])[0] == 0
        marks.append(watermark(mover))
    assert marks == sorted(set(marks))


def test_a_window_of_the_past_leaves_the_watermark_and_one_that_meets_it_moves_it(mover: Mover) -> None:
    follow(mover, "first")
    mark = watermark(mover)
    for run_id, start, end in (("past", NOON, NOON + HOUR), ("gap", mark + HOUR, mark + 2 * HOUR)):
        mover.run(run_id).follow(Request(WINDOW, start, end))
        assert watermark(mover) == mark
    # Its end lies in the future by the source's clock: nobody has seen what will be written until then.
    mover.run("meets").follow(Request(WINDOW, mark, mark + HOUR))
    assert mark < watermark(mover) <= now(mover)


def test_a_watermark_that_the_source_s_clock_has_not_reached_is_refused_until_a_full_run_sets_it_right(mover: Mover) -> None:
    """The server that gave it had a wrong clock: from it on nothing is found, and every run would be green."""
    follow(mover, "first")
    sign_up(mover, 1, 2)
    mover.rows("UPDATE migration.collections SET watermark = %s RETURNING 1", now(mover) + 24 * HOUR)
    for run_id, asked in (("by hand", {}), ("scheduled", {"interval": (NOON, now(mover))})):
        with pytest.raises(PrepareError, match="an earlier one was wrong, set it right, and run auth with mode full"):
            follow(mover, run_id, **asked)
    mover.passed("full")
    assert watermark(mover) <= now(mover)
    sign_up(mover, 3)
    assert outcome(counts(follow(mover, "next", lookback=timedelta(0)))["users"])[:2] == (1, 1)
    # A server that took over and is a little behind finds all that it has been given since.
    mover.rows("UPDATE migration.collections SET watermark = %s RETURNING 1", now(mover) + timedelta(minutes=1))
    sign_up(mover, 4)
    follow(mover, "behind")
    assert mover.column("SELECT count(*) FROM users WHERE name = 'User 4'") == [1]


def test_the_watermark_stays_where_a_chunk_is_not_loaded_pp_33(mover: Mover) -> None:
    follow(mover, "first")
    mark = watermark(mover)
    sign_up(mover, *range(20))
    run = mover.run("half")
    run.prepare()
    run.plan(EACH)
    run.extract()
    run.normalise()
    run.lots = run.lots[1:]
    run.load()
    with pytest.raises(StagingError, match="users: chunk 0 of the present plan is not loaded; clear the failed tasks of this run"):
        run.settle()
    assert watermark(mover) == mark


def test_where_somebody_cleared_plan_alone_settle_says_that_the_new_plan_is_to_be_followed(mover: Mover) -> None:
    run = follow(mover, "first")
    run.plan()
    with pytest.raises(StagingError, match="where none failed but this one, the task `plan` with all that follows"):
        run.settle()


def test_a_schedule_goes_back_to_the_watermark_where_its_interval_begins_later_pp_35(mover: Mover) -> None:
    follow(mover, "first")
    sign_up(mover, 1, 2, 3)
    later = (now(mover) + HOUR, now(mover) + 2 * HOUR)
    assert outcome(counts(follow(mover, "scheduled", interval=later))["users"])[:2] == (3, 3)
    # A backfill moves the interval that it was asked for, and no other.
    sign_up(mover, 4)
    assert outcome(counts(follow(mover, "backfill", interval=later, backfill=True, lookback=timedelta(0)))["users"])[0] == 0


def test_a_schedule_before_the_first_full_run_is_skipped_with_a_sentence(mover: Mover) -> None:
    with pytest.raises(NothingToDoError, match=r"no full run of auth is complete yet, .*: trigger auth with mode full"):
        follow(mover, "early", interval=(NOON, NOON + HOUR))
    with pytest.raises(PrepareError, match="users has no complete full run yet: run auth with mode full first"):
        mover.run("window").follow(Request(WINDOW, NOON, NOON + HOUR))


def test_a_collection_that_joins_a_domain_leaves_the_others_alone_pp_36(mover: Mover) -> None:
    follow(mover, "first")
    mark = watermark(mover)
    sign_up(mover, 1)
    mover.domain = Domain("auth", (AUTH.collection("users"), AUTH.collection("progresspoints")))
    report = follow(mover, "scheduled", interval=(mark, mark + HOUR)).verify()
    # The others move on; that the new one waits for a full run turns the run red.
    assert [(each["check"], each["table"]) for each in report["failures"]] == [("full_run", "progresspoints")]
    (users,) = [each for each in report["collections"] if each["collection"] == "users"]
    assert outcome(users)[:2] == (1, 1)


# ------------------------------------------------------------------------------------------------ another declaration


def declare_nickname(mover: Mover) -> None:
    """A field that stood in `extra` gets a column, in the declaration and in the table."""
    users = AUTH.collection("users")
    mover.domain = Domain("auth", (replace(users, columns=(*users.columns, Column("nick", "text"))),))
    mover.conn.execute("ALTER TABLE public.users ADD COLUMN nick text")


def nicknames(mover: Mover) -> list[Any]:
    return mover.column("SELECT coalesce(nick, extra ->> 'nick') FROM users WHERE nick IS NOT NULL ORDER BY id")


def test_after_a_change_of_the_declaration_an_incremental_run_reads_everything_once_more(mover: Mover) -> None:
    fill(mover.database, users=[user(number, nick=f"nick {number}", updatedAt=NOON) for number in (1, 2)])
    follow(mover, "first")
    declare_nickname(mover)
    assert outcome(counts(follow(mover, "second"))["users"])[:3] == (2, 0, 2)
    assert nicknames(mover) == ["nick 1", "nick 2"]
    assert outcome(counts(follow(mover, "third", lookback=timedelta(0)))["users"])[0] == 0


def test_after_a_change_of_the_declaration_windows_and_schedules_are_refused_until_a_full_run(mover: Mover) -> None:
    fill(mover.database, users=[user(1, nick="nick 1", updatedAt=NOON)])
    follow(mover, "first")
    declare_nickname(mover)
    interval = (NOON - HOUR, NOON + HOUR)
    for number, request in enumerate(
        (
            Request(WINDOW, *interval),
            Request(INCREMENTAL, interval=interval),
            Request(INCREMENTAL, interval=interval, backfill=True),
        )
    ):
        with pytest.raises(PrepareError, match="the declaration of users has changed since its last full run: run auth with mode"):
            mover.run(f"refused {number}").follow(request)
    assert nicknames(mover) == []
    mover.passed("full")
    assert nicknames(mover) == ["nick 1"]
    counts(follow(mover, "scheduled", interval=interval))


def test_a_schedule_passes_over_a_collection_whose_declaration_changed_and_is_red(mover: Mover) -> None:
    points = AUTH.collection("progresspoints")
    mover.domain = Domain("auth", (*USERS.collections, points))
    follow(mover, "first")
    declare_nickname(mover)
    mover.domain = Domain("auth", (*mover.domain.collections, points))
    report = follow(mover, "scheduled", interval=(NOON, NOON + HOUR)).verify()
    assert [(each["check"], each["table"]) for each in report["failures"]] == [("full_run", "users")]
    assert "no full run by its present declaration is complete: trigger auth for it with mode full" in str(report["failures"])


@pytest.mark.parametrize("tried", ["a full run that does not settle", "a replay"])
def test_a_declaration_that_is_taken_back_leaves_no_row_that_it_made_to_windows(mover: Mover, tried: str) -> None:
    fill(mover.database, users=[user(1, bio=...), user(2, email=...)])
    follow(mover, "first")
    defaults = {"bio": "none", "email": "none@x"}
    users = AUTH.collection("users")
    columns = tuple(replace(column, default=defaults.get(column.name)) for column in users.columns)
    mover.domain = Domain("auth", (replace(users, columns=columns),))
    if tried == "a replay":
        mover.run("tried").replay()
    else:
        mover.staged("tried").load()
    mover.domain = USERS
    with pytest.raises(PrepareError, match="the declaration of users has changed since its last full run: run auth with mode"):
        follow(mover, "scheduled", interval=(NOON, NOON + HOUR))
    assert outcome(counts(follow(mover, "again"))["users"])[0] == 2
    assert mover.column("SELECT bio FROM users WHERE email <> 'none@x'") == [None]
    counts(follow(mover, "scheduled again", interval=(NOON, NOON + HOUR)))


def test_a_load_by_the_old_declaration_that_ends_late_leaves_no_full_run_by_the_new_one_green(mover: Mover) -> None:
    fill(mover.database, users=[user(1, nick="nick 1", updatedAt=NOON)])
    follow(mover, "first")
    late = mover.staged("late")  # its task began before the new declaration was there
    declare_nickname(mover)
    full = mover.staged("full")
    full.load()
    mover.database.users.update_one({}, {"$set": {"nick": "nick 2"}})
    late.load()
    with pytest.raises(StagingError, match="another run loaded users by another declaration meanwhile; clear the task `plan`"):
        full.settle()
    with pytest.raises(PrepareError, match="the declaration of users has changed since its last full run"):
        mover.run("window").follow(Request(WINDOW, NOON - HOUR, NOON + HOUR))
    mover.passed("full")
    assert mover.column("SELECT nick FROM users WHERE NOT coalesce(extra, '{}') ? 'nick'") == ["nick 2"]


def test_books_that_do_not_know_by_which_declaration_they_were_filled_are_taken_at_their_word(mover: Mover) -> None:
    follow(mover, "first")
    mover.conn.execute("UPDATE migration.collections SET fingerprint = NULL")
    declare_nickname(mover)
    counts(follow(mover, "second", lookback=timedelta(0)))


# ------------------------------------------------------------------------------------------------ whose turn it is


def test_a_first_load_waits_for_another_one_that_is_alive_and_takes_over_from_a_dead_one(mover: Mover) -> None:
    fill(mover.database, users=[user(number) for number in range(1, 5)])
    dead = mover.staged("dead", EACH)
    dead.lots = dead.lots[:1]
    dead.load()
    other = mover.run("other")
    other.prepare()
    with pytest.raises(OwnedError, match="run dead has the first load of users: this run waits until it has ended"):
        claim(mover.conn, other.key, USERS, lambda run_id: run_id == "dead")
    assert len(mover.column("SELECT id FROM users")) == 1
    other.move()
    assert outcome(counts(other)["users"]) == (4, 4, 0, 0, {})
    with pytest.raises(StagingError, match=r"clear the task `plan`|not loaded"):
        dead.settle()


def test_a_run_that_passes_a_collection_over_leaves_its_unfinished_first_load_as_it_is(mover: Mover) -> None:
    mover.domain = Domain("auth", (AUTH.collection("users"), AUTH.collection("progresspoints")))
    fill(mover.database, users=[user(1)], progresspoints=[point(number, user(1)["_id"]) for number in range(3)])
    mover.domain = USERS
    follow(mover, "first")
    points = Domain("auth", (AUTH.collection("progresspoints"),))
    mover.domain = points
    dead = mover.staged("dead", EACH)
    dead.lots = dead.lots[:2]
    dead.load()
    mover.domain = Domain("auth", (*USERS.collections, *points.collections))
    mark = watermark(mover)
    follow(mover, "scheduled", interval=(mark, mark + HOUR))
    for mode in (REPLAY, DELETES):
        with pytest.raises(PermanentError, match="progresspoints has no complete first run"):
            mover.run(mode).delete_alone() if mode == DELETES else mover.run(mode).replay()
    owner = "SELECT phase, owner_run FROM migration.collections WHERE collection = 'progresspoints'"
    assert mover.rows(owner) == [("bulk", "dead")]
    assert mover.column("SELECT count(*) FROM progress_points") == [2]


def test_a_schedule_waits_for_a_first_load_that_is_alive_before_it_passes_anything_over(mover: Mover) -> None:
    follow(mover, "first")
    mover.domain = Domain("auth", (AUTH.collection("users"), AUTH.collection("progresspoints")))
    fill(mover.database, progresspoints=[point(1, user(1)["_id"])])
    mover.staged("alive")
    scheduled = mover.run("scheduled")
    scheduled.alive = lambda run_id: run_id == "alive"
    with pytest.raises(OwnedError, match="run alive has the first load of progresspoints"):
        scheduled.follow(Request(INCREMENTAL, interval=(NOON, NOON + HOUR)))


def test_four_runs_that_start_at_once_on_an_empty_target_end_in_the_same_rows(mover: Mover, target: Any) -> None:
    fill(mover.database, users=[user(number) for number in range(200)])
    mover.run("books").prepare()
    ended, alive, faults = set[str](), {f"run {n}" for n in range(4)}, list[BaseException]()
    turn = threading.Condition()

    def move(run_id: str) -> None:
        try:
            with target.connect() as conn:
                run = Run(mover.database, conn, USERS, mover.staging, run_id, alive=lambda other: other in alive - ended)
                run.prepare()
                while True:
                    try:
                        claim(conn, run.key, USERS, run.alive)
                        break
                    except OwnedError:
                        with turn:
                            turn.wait(0.2)
                run.plan(20_000)
                run.carry()
                counts(run)
        except BaseException as fault:
            faults.append(fault)
            raise
        finally:
            with turn:
                ended.add(run_id)
                turn.notify_all()

    threads = [threading.Thread(target=move, args=(run_id,)) for run_id in sorted(alive)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert mover.column("SELECT count(*) FROM users") == [200]
    inserted = mover.rows("SELECT run_id, sum(inserted), sum(unchanged) FROM migration.passes GROUP BY 1 ORDER BY 2")
    assert [row[1:] for row in inserted] == [(0, 200), (0, 200), (0, 200), (200, 0)]
    mover.passed("afterwards")
