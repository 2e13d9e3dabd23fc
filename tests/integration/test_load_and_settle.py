"""What comes first, how it is cut and who died on the way plays no part: the rows, the rejects and the sums are the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Timestamp

from deepiri.auth import AUTH
from mongo2pg.databases.window import Window
from mongo2pg.documents import identity
from mongo2pg.errors import StagingError
from mongo2pg.files.parquet import frame
from mongo2pg.moving.load import load_chunk
from mongo2pg.run import MOVE_LOT, Run
from mongo2pg.target import scripts
from tests.documents import NOON, connection, fill, oid, point, skill_tree, user, uuid_of
from tests.hostile import HOSTILE, write_sql
from tests.mover import EACH, Mover, counts, outcome

PLUGINS = Path(__file__).parents[2] / "plugins"
ANN, BOB, CLEO = oid(1), oid(2), oid(3)
# Many chunks in their order are what the other tests move.
SIZES = pytest.mark.parametrize(("chunk_bytes", "backwards"), [(1 << 20, False), (EACH, True)], ids=["one chunk", "backwards"])


@pytest.fixture
def mover(mongo_database, target, tmp_path: Path) -> Iterator[Mover]:
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path)


def small_world() -> dict[str, list[dict[str, Any]]]:
    return {
        "users": [user(1), user(2), user(3, nickname="Kleo")],
        "skilltrees": [skill_tree(11, ANN), skill_tree(12, str(BOB))],
        "socialconnections": [connection(21, ANN, BOB)],
        "progresspoints": [point(31, ANN), point(32, BOB), point(33, CLEO)],
    }


# ------------------------------------------------------------------------------------------------ again and again


@SIZES
def test_a_second_run_over_the_same_documents_writes_nothing(mover: Mover, chunk_bytes: int, backwards: bool) -> None:
    fill(mover.database, **small_world())
    first = mover.passed("first", chunk_bytes, backwards=backwards)
    assert {name: outcome(each) for name, each in first.items()} == {
        "users": (3, 3, 0, 0, {}),
        "skilltrees": (2, 2, 0, 0, {}),
        "socialconnections": (1, 1, 0, 0, {}),
        "progresspoints": (3, 3, 0, 0, {}),
    }
    before = mover.image()
    assert {row[1] for rows in before.values() for row in rows} == {"0"}, "no row of a first load is marked"
    second = mover.passed("second", chunk_bytes, backwards=not backwards)
    assert mover.image() == before
    assert [outcome(each)[1:] for each in second.values()] == [(0, 0, 3, {}), (0, 0, 2, {}), (0, 0, 1, {}), (0, 0, 3, {})]


def test_the_cut_into_chunks_and_their_order_leave_the_same_rows(mongo_database, postgres, tmp_path: Path) -> None:
    world = small_world()
    world["users"] += [user(4, email="user1@example.com"), user(5, email=...), user(6, _id=str(BOB)), user(7, roles=["a", 1, "a"])]
    world["skilltrees"] += [skill_tree(13, oid(4)), skill_tree(14, ANN), skill_tree(15, oid(99))]
    fill(mongo_database, **world)
    images, rejects = [], []
    for chunk_bytes, backwards in ((1 << 20, False), (700, False), (EACH, False), (EACH, True)):
        with postgres.database() as login, login.connect() as conn:
            mover = Mover(mongo_database, conn, tmp_path / f"{chunk_bytes}{backwards}")
            mover.passed("run", chunk_bytes, backwards=backwards)
            images.append({name: [row[2] for row in rows] for name, rows in mover.image().items()})
            rejects.append(mover.rejects())
            mover.passed("again", chunk_bytes, backwards=backwards)
            assert mover.rejects() == rejects[-1]
    assert images[1:] == images[:1] * 3
    assert (
        rejects
        == [
            {
                ("users", str(oid(4)), "email", "duplicate_key"),
                ("users", str(oid(5)), "email", "required"),
                ("users", str(BOB), "_id", "duplicate_key"),
                ("users", str(oid(7)), "roles.1", "type_mismatch"),
                ("users", str(oid(7)), "roles.2", "duplicate_key"),
                ("skilltrees", str(oid(13)), "userId", "orphan"),
                ("skilltrees", str(oid(14)), "userId", "duplicate_key"),
                ("skilltrees", str(oid(15)), "userId", "orphan"),
            }
        ]
        * 4
    )


def test_stages_that_run_again_change_nothing(mover: Mover) -> None:
    world = small_world()
    world["users"].append(user(4, email="user1@example.com"))
    world["skilltrees"].append(skill_tree(13, oid(99)))
    fill(mover.database, **world)
    run = mover.staged("run", EACH)
    files = staged_files(mover.staging)
    run.extract()
    run.normalise()
    assert staged_files(mover.staging) == files
    run.load()
    loaded = mover.image()
    run.load()
    assert mover.image() == loaded
    run.delete()
    run.settle()
    settled, rejects = mover.image(), mover.rejects()
    run.carry("load")
    assert mover.image() == settled
    assert mover.rejects() == rejects
    assert outcome(counts(run)["users"]) == (4, 3, 0, 0, {"duplicate_key": 1})
    again = mover.rows("SELECT inserted, updated, unchanged, rejected FROM migration.passes WHERE stage = 'settle' AND chunk = 1")
    assert again == [(0, 0, 0, {})] * 4


# A process that goes on with a run: it performs these stages and says what it has loaded after each.
STAGES_ALONE = """
import os, sys
from pathlib import Path
import psycopg
from pymongo import MongoClient
from deepiri.auth import AUTH
from mongo2pg.run import Run
source, target, staging, *stages = sys.argv[1:]
with MongoClient(source) as client, psycopg.connect(target) as conn:
    run = Run(client.get_default_database(), conn, AUTH, Path(staging), "run")
    for stage in stages:
        if run.lots or (run.staging.folder / "plan.json").exists():
            run.resume()
        getattr(run, stage)()
        print(stage, *(name for name in ("numpy", "pyarrow") if name in sys.modules))
"""


def test_what_a_first_load_asks_of_postgresql_alone_needs_neither_numpy_nor_arrow(mover: Mover, source, target) -> None:
    fill(mover.database, **small_world())

    def loaded(*stages: str) -> list[str]:
        words = [sys.executable, "-c", STAGES_ALONE, source.uri, target.conninfo, str(mover.staging), *stages]
        done = subprocess.run(words, env={"PYTHONPATH": str(PLUGINS)}, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    assert loaded("prepare", "plan") == ["prepare", "plan"]
    run = mover.run("run")
    run.resume()
    for stage in MOVE_LOT:
        getattr(run, stage)()
    light = ["delete", "settle", "references", "uniqueness"]
    assert loaded(*light) == light
    assert counts(run)["users"]["inserted"] == 3
    assert loaded("report") == ["report"]


def test_a_chunk_that_is_committed_returns_what_the_books_say(mover: Mover) -> None:
    fill(mover.database, **small_world())
    run = mover.staged("run")
    staging = run.staging.collection(run.key.plan_id, "users")
    first = load_chunk(mover.conn, run.key, AUTH.collection("users"), staging, 0, never)
    second = load_chunk(mover.conn, run.key, AUTH.collection("users"), staging, 0, never)
    keys = ("read", "inserted", "held", "rejected", "arrays", "bytes", "raw_sha256")
    assert {key: second[key] for key in keys} == {key: first[key] for key in keys}
    assert mover.column("SELECT count(*) FROM users") == [3]


def test_a_task_killed_within_a_chunk_leaves_nothing_of_it(mover: Mover) -> None:
    fill(mover.database, **small_world())
    run = mover.staged("run")
    staging = run.staging.collection(run.key.plan_id, "users")
    staging.rejects(0).rename(staging.rejects(0).with_suffix(".away"))  # what load opens last
    with pytest.raises(StagingError, match="missing although its manifest names it"):
        run.load()
    assert mover.column("SELECT count(*) FROM users") == [0]
    staging.rejects(0).with_suffix(".away").rename(staging.rejects(0))
    run.carry("load")
    counts(run)


@pytest.mark.parametrize("same_run", [True, False], ids=["a new plan of the same run", "another run"])
def test_what_the_dead_owner_of_a_first_load_left_is_removed(mover: Mover, same_run: bool) -> None:
    fill(mover.database, **small_world())
    dead = mover.staged("dead", EACH)
    dead.load()
    assert mover.column("SELECT count(*) FROM users") == [3]
    fill(mover.database, **{**small_world(), "users": [user(1), user(2)], "progresspoints": []})
    run = mover.move("dead" if same_run else "heir")
    assert outcome(counts(run)["users"]) == (2, 2, 0, 0, {})
    assert mover.column("SELECT id::text FROM users ORDER BY 1") == [uuid_of(1), uuid_of(2)]
    assert mover.column("SELECT DISTINCT phase FROM migration.collections") == ["complete"]


def test_the_dead_owner_that_comes_back_loads_nothing(mover: Mover) -> None:
    fill(mover.database, **small_world())
    dead = mover.staged("dead")
    heir = mover.staged("heir")
    with pytest.raises(StagingError, match="belongs to run heir"):
        dead.load()
    heir.carry("load")
    counts(heir)


# ---------------------------------------------------------------------------------------- frames that do not belong


def never() -> None:
    """Nobody else reads here: nothing is read again."""
    raise AssertionError


def test_frames_of_another_plan_are_refused(mover: Mover) -> None:
    fill(mover.database, **small_world())
    run = mover.staged("run")
    staging = run.staging.collection(run.key.plan_id, "users")
    with pytest.raises(StagingError, match="belong to another plan or another declaration; clear the task `plan`"):
        load_chunk(mover.conn, run.key._replace(plan_id="0123456789ab"), AUTH.collection("users"), staging, 0, never)
    assert mover.column("SELECT count(*) FROM users") == [0]


def test_frames_of_another_declaration_are_refused(mover: Mover) -> None:
    fill(mover.database, **small_world())
    run = mover.staged("run")
    staging = run.staging.collection(run.key.plan_id, "users")
    changed = replace(AUTH.collection("users"), ignored=("__v", "nickname"))
    with pytest.raises(StagingError, match="another declaration"):
        load_chunk(mover.conn, run.key, changed, staging, 0, never)
    assert mover.column("SELECT count(*) FROM users") == [0]


def test_documents_that_another_declaration_loaded_are_not_settled(mover: Mover) -> None:
    fill(mover.database, **small_world())
    mover.staged("run").load()
    names = [collection.name for collection in AUTH.collections]
    changed = [
        replace(AUTH.collection(name), ignored=("__v", "nickname")) if name == "users" else AUTH.collection(name) for name in names
    ]
    later = mover.run("run")
    later.resume()
    later.domain = replace(AUTH, collections=tuple(changed))
    with pytest.raises(StagingError, match="users was loaded by another declaration than the present one; clear the task `plan`"):
        later.settle()
    with pytest.raises(StagingError, match="the declaration of users has changed since this run was planned: clear the task"):
        replace(mover, domain=later.domain).run("run").resume()
    same = mover.run("run")
    same.resume()
    same.carry("delete")
    assert same.verify()["failures"] == []
    same.domain = later.domain  # the certificate names the declaration that it speaks of
    assert [(each["check"], each["table"]) for each in same.report()["failures"]] == [("declaration", "users")]


@pytest.mark.parametrize("file", ["frames/users/00000.parquet", "frames/user_roles/00000.parquet", "rejects/00000.parquet"])
def test_a_frame_whose_bytes_changed_is_refused(mover: Mover, file: str) -> None:
    fill(mover.database, **small_world())
    run = mover.staged("run")
    path = run.staging.collection(run.key.plan_id, "users").folder / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(StagingError, match="is not the file that its manifest describes"):
        run.load()
    assert mover.column("SELECT count(*) FROM users") == [0]


def test_raw_bytes_that_changed_are_refused(mover: Mover) -> None:
    fill(mover.database, **small_world())
    run = mover.move("run")
    path = run.staging.collection(run.key.plan_id, "users").raw(0)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(StagingError, match="is not the file"):
        run.checksums()


def test_bounds_that_changed_are_refused(mover: Mover) -> None:
    fill(mover.database, **small_world())
    run = mover.staged("run")
    plan = run.staging.collection(run.key.plan_id, "users").plan
    plan.write_text(plan.read_text().replace('"min": null', '"min": "x"'))
    with pytest.raises(StagingError, match="another plan"):
        run.load()


def test_a_stage_whose_predecessor_did_not_finish_says_so(mover: Mover) -> None:
    fill(mover.database, **small_world())
    run = mover.run("run")
    run.prepare()
    run.plan()
    with pytest.raises(StagingError, match=r"is missing: the task before this one did not finish"):
        run.normalise()


# ------------------------------------------------------------------------------------------------ child rows as sets

ARRAYS = [
    ("shrinks", ["a", "b", "c"], ["b"]),
    ("grows at the end", ["a"], ["a", "b"]),
    ("grows at the front", ["a", "b"], ["c", "a", "b"]),
    ("is turned round", ["a", "b", "c"], ["c", "b", "a"]),
    ("is emptied", ["a", "b"], []),
    ("vanishes", ["a", "b"], ...),
    ("becomes null", ["a", "b"], None),
    ("becomes a text", ["a", "b"], "a"),
    ("appears", ..., ["a"]),
    ("is another one", ["a", "b"], ["x", "y", "z"]),
    ("repeats an element", ["a", "b"], ["b", "b", "a"]),
]


@pytest.mark.parametrize(("before", "after"), [case[1:] for case in ARRAYS], ids=[case[0] for case in ARRAYS])
def test_an_array_of_texts_that_changes_is_the_new_one_pp_39(mover: Mover, before: Any, after: Any) -> None:
    fill(mover.database, users=[user(1, roles=before), user(2)])
    mover.passed("first")
    others = mover.rows("SELECT xmin::text, xmax::text, r::text FROM user_roles r WHERE user_id = %s", uuid_of(2))
    fill(mover.database, users=[user(1, roles=after), user(2)])
    second = mover.passed("second")
    assert outcome(second["users"]) == (2, 0, 1, 1, {})
    want = list(dict.fromkeys(after)) if isinstance(after, list) else []
    assert mover.column("SELECT role FROM user_roles WHERE user_id = %s ORDER BY ordinal", uuid_of(1)) == want
    assert mover.rows("SELECT xmin::text, xmax::text, r::text FROM user_roles r WHERE user_id = %s", uuid_of(2)) == others


def session(number: int | None, token: str) -> dict[str, Any]:
    own = {} if number is None else {"_id": oid(number)}
    return {**own, "token": token, "createdAt": NOON}


DOCUMENTS = [
    ("is turned round", [session(1, "a"), session(2, "b")], [session(2, "b"), session(1, "a")]),
    ("is turned round without ids", [session(None, "a"), session(None, "b")], [session(None, "b"), session(None, "a")]),
    ("changes one", [session(1, "a"), session(2, "b")], [session(1, "a"), session(2, "c")]),
    ("gets ids", [session(None, "a"), session(None, "b")], [session(1, "a"), session(2, "b")]),
    ("loses ids", [session(1, "a"), session(2, "b")], [session(None, "a"), session(None, "b")]),
    ("mixes both", [session(1, "a"), session(None, "b"), session(3, "c")], [session(None, "x"), session(3, "c"), session(1, "a")]),
    ("repeats an id", [session(1, "a"), session(2, "b")], [session(1, "a"), session(1, "b")]),
    ("repeats an id no more", [session(1, "a"), session(1, "b")], [session(1, "b"), session(2, "a")]),
    ("loses the first", [session(1, "a"), session(2, "b"), session(3, "c")], [session(2, "b"), session(3, "c")]),
]


@pytest.mark.parametrize(("before", "after"), [case[1:] for case in DOCUMENTS], ids=[case[0] for case in DOCUMENTS])
def test_an_array_of_documents_that_changes_is_the_new_one_pp_39(mover: Mover, before: list[Any], after: list[Any]) -> None:
    fill(mover.database, users=[user(1, refreshTokens=before)])
    mover.passed("first")
    fill(mover.database, users=[user(1, refreshTokens=after)])
    assert outcome(mover.passed("second")["users"]) == (1, 0, 1, 0, {})
    got = mover.rows("SELECT ordinal, token, source_id::text FROM user_sessions ORDER BY ordinal")
    assert got == [(at, each["token"], uuid_of(each["_id"]) if "_id" in each else None) for at, each in enumerate(after)]


def test_a_map_that_changes_is_the_new_one(mover: Mover) -> None:
    fill(mover.database, users=[user(1)], skilltrees=[skill_tree(11, ANN)])
    mover.passed("first")
    coding = mover.rows("SELECT xmin::text, s::text FROM skills s WHERE skill_name = 'coding'")
    skills = {"Coding": {"level": 9}, "coding": {"level": 3, "xp": 1200, "unlocked": True}, "": {"level": 0}, "a.b": {}}
    fill(mover.database, users=[user(1)], skilltrees=[skill_tree(11, ANN, skills=skills)])
    assert outcome(mover.passed("second")["skilltrees"]) == (1, 0, 1, 0, {})
    assert mover.rows("SELECT skill_name, level FROM skills ORDER BY 1") == [("", 0), ("Coding", 9), ("a.b", None), ("coding", 3)]
    assert mover.rows("SELECT xmin::text, s::text FROM skills s WHERE skill_name = 'coding'") == coding


def test_a_change_of_a_child_row_alone_leaves_its_root_row_alone(mover: Mover) -> None:
    fill(mover.database, users=[user(1)])
    mover.passed("first")
    before = mover.image()
    fill(mover.database, users=[user(1, roles=["reader"])])
    assert outcome(mover.passed("second")["users"]) == (1, 0, 1, 0, {})
    after = mover.image()
    assert after["users"] == before["users"]
    assert after["user_sessions"] == before["user_sessions"]
    assert after["user_roles"] == before["user_roles"][:0] + [row for row in before["user_roles"] if "reader" in row[2]]


def test_documents_that_are_new_changed_and_the_same_are_told_apart(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2)])
    mover.passed("first", EACH)
    fill(mover.database, users=[user(1), user(2, bio="new"), user(3)])
    assert outcome(mover.passed("second", EACH)["users"]) == (3, 1, 1, 1, {})


# ------------------------------------------------------------------------------------------------------- unique keys


def test_a_first_load_leaves_statistics_of_keys_and_the_other_columns_to_autovacuum(mover: Mover) -> None:
    fill(mover.database, **small_world())
    mover.passed("first")
    analyzed = "SELECT attname FROM pg_stats WHERE schemaname = 'public' AND tablename = %s ORDER BY 1"
    assert mover.column(analyzed, "progress_points") == ["id", "user_id"]
    assert mover.column(analyzed, "user_roles") == ["id", "ordinal", "role", "user_id"]
    mover.column("SELECT pg_stat_force_next_flush()")
    left = "SELECT n_mod_since_analyze FROM pg_stat_user_tables WHERE schemaname = 'public' AND relname = %s"
    assert mover.column(left, "progress_points") == [3], "for autovacuum nobody has analyzed the table yet"


@SIZES
def test_an_e_mail_passes_from_one_user_to_another(mover: Mover, chunk_bytes: int, backwards: bool) -> None:
    fill(mover.database, users=[user(1, email="a@x"), user(2, email="b@x")])
    mover.passed("first", chunk_bytes, backwards=backwards)
    fill(mover.database, users=[user(1, email="c@x"), user(2, email="a@x")])
    assert outcome(mover.passed("second", chunk_bytes, backwards=backwards)["users"]) == (2, 0, 2, 0, {})
    assert mover.column("SELECT email FROM users ORDER BY id") == ["c@x", "a@x"]
    assert mover.rejects() == set()


@SIZES
def test_an_e_mail_passes_to_a_new_user_with_a_smaller_or_larger_id(mover: Mover, chunk_bytes: int, backwards: bool) -> None:
    fill(mover.database, users=[user(2, email="a@x")], skilltrees=[skill_tree(11, BOB)])
    mover.passed("first", chunk_bytes, backwards=backwards)
    fill(
        mover.database,
        users=[user(1, email="a@x"), user(2, email="b@x"), user(3, email="c@x")],
        skilltrees=[skill_tree(11, BOB), skill_tree(12, ANN)],
    )
    mover.passed("second", chunk_bytes, backwards=backwards)
    fill(
        mover.database,
        users=[user(1, email="d@x"), user(2, email="b@x"), user(3, email="c@x"), user(4, email="a@x")],
        skilltrees=[skill_tree(11, BOB), skill_tree(12, ANN), skill_tree(13, oid(4))],
    )
    assert outcome(mover.passed("third", chunk_bytes, backwards=backwards)["users"]) == (4, 1, 1, 2, {})
    assert mover.column("SELECT email FROM users ORDER BY id") == ["d@x", "b@x", "c@x", "a@x"]
    assert mover.rejects() == set()


@SIZES
def test_two_users_swap_their_e_mails(mover: Mover, chunk_bytes: int, backwards: bool) -> None:
    fill(mover.database, users=[user(1, email="a@x"), user(2, email="b@x"), user(3)], skilltrees=[skill_tree(11, ANN)])
    mover.passed("first", chunk_bytes, backwards=backwards)
    fill(mover.database, users=[user(1, email="b@x"), user(2, email="a@x"), user(3)], skilltrees=[skill_tree(11, ANN)])
    assert outcome(mover.passed("second", chunk_bytes, backwards=backwards)["users"]) == (3, 0, 2, 1, {})
    assert mover.column("SELECT email FROM users ORDER BY id") == ["b@x", "a@x", "user3@example.com"]
    keys = mover.column("SELECT conname FROM pg_constraint WHERE conrelid = 'users'::regclass AND contype IN ('p', 'u') ORDER BY 1")
    assert keys == ["users_email_key", "users_pkey"]


@SIZES
def test_a_ring_and_a_chain_of_e_mails_move_on_at_once(mover: Mover, chunk_bytes: int, backwards: bool) -> None:
    before = ["a@x", "b@x", "c@x", "k@x", "l@x", "m@x"]
    after = ["b@x", "c@x", "a@x", "l@x", "m@x", "n@x"]
    fill(mover.database, users=[user(n, email=email) for n, email in enumerate(before, 1)])
    mover.passed("first", chunk_bytes, backwards=backwards)
    fill(mover.database, users=[user(n, email=email) for n, email in enumerate(after, 1)])
    assert outcome(mover.passed("second", chunk_bytes, backwards=backwards)["users"]) == (6, 0, 6, 0, {})
    assert mover.column("SELECT email FROM users ORDER BY id") == after


@SIZES
def test_of_two_users_with_one_e_mail_the_smaller_id_stays_in_a_first_load(mover: Mover, chunk_bytes: int, backwards: bool) -> None:
    fill(
        mover.database,
        users=[user(3, email="a@x"), user(1, email="a@x"), user(2, email="b@x")],
        skilltrees=[skill_tree(11, CLEO), skill_tree(12, ANN)],
        socialconnections=[connection(21, BOB, CLEO), connection(22, CLEO, ANN), connection(23, ANN, BOB)],
        progresspoints=[point(31, CLEO), point(32, BOB)],
    )
    report = mover.passed("run", chunk_bytes, backwards=backwards)
    assert outcome(report["users"]) == (3, 2, 0, 0, {"duplicate_key": 1})
    assert report["users"]["arrays"][0] == {"path": "roles", "elements": 6, "rows": 4, "rejected": 0, "of_parents_not_loaded": 2}
    assert outcome(report["skilltrees"]) == (2, 1, 0, 0, {"orphan": 1})
    assert outcome(report["socialconnections"]) == (3, 1, 0, 0, {"orphan": 2})
    assert mover.column("SELECT id::text FROM users ORDER BY 1") == [uuid_of(1), uuid_of(2)]
    assert mover.rejects() == {
        ("users", str(CLEO), "email", "duplicate_key"),
        ("skilltrees", str(oid(11)), "userId", "orphan"),
        ("socialconnections", str(oid(21)), "connectedUserId", "orphan"),
        ("socialconnections", str(oid(22)), "userId", "orphan"),
        ("progresspoints", str(oid(31)), "userId", "orphan"),
    }
    documents = mover.rows("SELECT bson FROM migration.reject_documents JOIN migration.rejects ON document = sha256")
    assert len(documents) == 5
    before = mover.image()
    mover.passed("again", chunk_bytes, backwards=not backwards)
    assert mover.image() == before


@SIZES
def test_the_smaller_id_wins_although_it_comes_in_a_later_run(mover: Mover, chunk_bytes: int, backwards: bool) -> None:
    later = {
        "users": [user(2, email="b@x"), user(3, email="a@x")],
        "skilltrees": [skill_tree(11, CLEO)],
        "socialconnections": [connection(21, BOB, CLEO)],
        "progresspoints": [point(31, CLEO)],
    }
    fill(mover.database, **later)
    mover.passed("first", chunk_bytes, backwards=backwards)
    fill(mover.database, **{**later, "users": [user(1, email="a@x"), *later["users"]]})
    report = mover.passed("second", chunk_bytes, backwards=backwards)
    assert outcome(report["users"]) == (3, 1, 0, 1, {"duplicate_key": 1})
    assert outcome(report["skilltrees"]) == (1, 0, 0, 0, {"orphan": 1})
    assert outcome(report["socialconnections"]) == (1, 0, 0, 0, {"orphan": 1})
    assert mover.rejects() == {
        ("users", str(CLEO), "email", "duplicate_key"),
        ("skilltrees", str(oid(11)), "userId", "orphan"),
        ("socialconnections", str(oid(21)), "connectedUserId", "orphan"),
        ("progresspoints", str(oid(31)), "userId", "orphan"),
    }
    before = mover.image()
    mover.passed("third", chunk_bytes, backwards=not backwards)
    assert mover.image() == before


@SIZES
def test_a_loser_comes_back_when_the_winner_changes_its_e_mail(mover: Mover, chunk_bytes: int, backwards: bool) -> None:
    trees = [skill_tree(11, BOB)]
    fill(mover.database, users=[user(1, email="a@x"), user(2, email="a@x")], skilltrees=trees)
    assert outcome(mover.passed("first", chunk_bytes, backwards=backwards)["users"]) == (2, 1, 0, 0, {"duplicate_key": 1})
    fill(mover.database, users=[user(1, email="b@x"), user(2, email="a@x")], skilltrees=trees)
    report = mover.passed("second", chunk_bytes, backwards=backwards)
    assert outcome(report["users"]) == (2, 1, 1, 0, {})
    assert outcome(report["skilltrees"]) == (1, 1, 0, 0, {})
    assert mover.rejects() == set()
    assert len(mover.rejects("superseded")) == 2


def test_many_claims_on_one_slot_over_many_chunks_leave_the_smallest(mover: Mover) -> None:
    fill(mover.database, users=[user(n, email=f"{n % 3}@x") for n in range(1, 22)])
    report = mover.passed("run", EACH, backwards=True)
    assert outcome(report["users"]) == (21, 3, 0, 0, {"duplicate_key": 18})
    assert mover.column("SELECT id::text FROM users ORDER BY 1") == [uuid_of(n) for n in (1, 2, 3)]


@SIZES
def test_ids_of_other_types_are_ordered_as_mongodb_orders_them(mover: Mover, chunk_bytes: int, backwards: bool) -> None:
    ids = [oid(1), "text", 7, 3.5, {"a": 1}, True, NOON]
    fill(mover.database, users=[user(n, _id=value, email="a@x") for n, value in enumerate(ids)])
    mover.passed("run", chunk_bytes, backwards=backwards)
    assert mover.rows("SELECT extra -> '_id' FROM users") == [(3.5,)]
    assert mover.database.users.find_one(sort=[("_id", 1)], projection={"_id": 1}) == {"_id": 3.5}


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        (-1, 0.5),
        (2.5, Int64(3)),
        (Decimal128("1E-3"), 1),
        (10**12, ""),
        ("", "a"),
        ("Z", "a"),
        ("z", "\u00e9"),
        ("\uffff", "\U0001f600"),
        ("a\0", {"a": 1}),
        ("zzz", {"a": 1}),
        ({"a": 1}, {"a": 2}),
        ({"a": 2}, {"b": 1}),
        ({"a": 1}, {"a": 1, "b": 1}),
        ({"a": "x"}, ObjectId()),
        ({"b": 1}, {"a": "x"}),
        (Binary(b"zz", 0), Binary(b"aaa", 0)),
        (Binary(b"a" * 16, 5), oid(1)),
        (oid(1), oid(2)),
        (oid(2), False),
        (False, True),
        (True, NOON),
        (MinKey(), 1),
        ({"a": [1]}, {"a": oid(1)}),
        ({"a": [2]}, {"a": [10]}),
        (NOON, Timestamp(1, 1)),
        (Timestamp(9, 2), Timestamp(10, 1)),
        (Timestamp(10, 1), Code("a")),
        (Code("b", {}), MaxKey()),
    ],
)
def test_of_two_ids_the_one_that_mongodb_sorts_first_wins(mover: Mover, winner: Any, loser: Any) -> None:
    fill(mover.database, users=[user(1, _id=loser, email="a@x", bio="lost"), user(2, _id=winner, email="a@x", bio="won")])
    mover.passed("run")
    assert mover.column("SELECT bio FROM users") == ["won"]


# ------------------------------------------------------------------------------------------------------------- twins

TWIN = str(BOB)


@SIZES
@pytest.mark.parametrize("string_first", [True, False])
def test_of_twins_in_a_first_load_the_smaller_stays(mover: Mover, chunk_bytes: int, backwards: bool, string_first: bool) -> None:
    twins = [user(2, _id=TWIN, email="string@x", roles=["s"], refreshTokens=[]), user(2, email="oid@x", roles=["o", "p", 5])]
    fill(mover.database, users=[user(1), *twins[:: 1 if string_first else -1], user(3)], skilltrees=[skill_tree(11, BOB)])
    report = mover.passed("run", chunk_bytes, backwards=backwards)
    read, *others, rejected = outcome(report["users"])
    assert (read, sum(others), rejected) == (4, 3, {"duplicate_key": 1})
    assert mover.rows("SELECT email, extra -> '_id' FROM users WHERE id = %s", uuid_of(2)) == [("string@x", TWIN)]
    assert mover.column("SELECT role FROM user_roles WHERE user_id = %s", uuid_of(2)) == ["s"]
    assert mover.rejects() == {("users", TWIN, "_id", "duplicate_key"), ("users", TWIN, "roles.2", "type_mismatch")}
    before = mover.image()
    mover.passed("again", chunk_bytes, backwards=not backwards)
    assert mover.image() == before


@SIZES
@pytest.mark.parametrize("string_later", [True, False])
def test_of_twins_in_two_runs_the_smaller_stays(mover: Mover, chunk_bytes: int, backwards: bool, string_later: bool) -> None:
    one, other = user(2, email="oid@x", roles=["o"]), user(2, _id=TWIN, email="string@x", roles=["s", "t"])
    if not string_later:
        one, other = other, one
    fill(mover.database, users=[user(1), one], skilltrees=[skill_tree(11, BOB)])
    mover.passed("first", chunk_bytes, backwards=backwards)
    fill(mover.database, users=[user(1), one, other], skilltrees=[skill_tree(11, BOB)])
    report = mover.passed("second", chunk_bytes, backwards=backwards)
    assert outcome(report["users"]) == (3, 0, int(string_later), 2 - int(string_later), {"duplicate_key": 1})
    assert mover.rows("SELECT email FROM users ORDER BY id") == [("user1@example.com",), ("string@x",)]
    assert mover.column("SELECT role FROM user_roles WHERE user_id = %s ORDER BY ordinal", uuid_of(2)) == ["s", "t"]
    before = mover.image()
    mover.passed("third", chunk_bytes, backwards=not backwards)
    assert mover.image() == before


# Pairs of `_id`s that reach one id, the one that MongoDB sorts first in front.
PAIRS = {
    "large and small digits": (TWIN.upper(), TWIN.lower()),
    "a UUID of the old kind and the ObjectId in it": (Binary(identity.uuid_from_objectid(BOB).bytes, 3), BOB),
    "a number and the UUID of its name": (5, Binary(identity.id_from_value(5).bytes, 4)),
}


@pytest.mark.parametrize("chunk_bytes", [1 << 20, EACH], ids=["one chunk", "many chunks"])
@pytest.mark.parametrize("later", [False, True], ids=["in a first load", "in a second run"])
@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_of_all_documents_that_might_share_an_id_only_those_that_do_are_held(
    mover: Mover, chunk_bytes: int, later: bool, pair: tuple[Any, Any]
) -> None:
    winner, loser = pair
    others = [user(number, _id=str(oid(number))) for number in (1, 3, 4)]
    twins = [user(8, _id=winner, roles=["won"]), user(9, _id=loser, roles=["lost", "twice"])]
    if later:
        fill(mover.database, users=[others[0], twins[1]])
        mover.passed("first", chunk_bytes)
    fill(mover.database, users=[*others, *twins])
    run = mover.staged("run", chunk_bytes, backwards=later)
    run.load()
    (held,) = mover.column("SELECT count(*) FROM migration.held WHERE table_name = 'users'")
    assert 1 <= held <= 2 if later else held == 0
    run.carry("delete")
    report = counts(run)
    assert (report["users"]["read"], report["users"]["rejected"]) == (5, {"duplicate_key": 1})
    assert mover.column("SELECT role FROM user_roles WHERE user_id = %s", str(identity.id_from_value(winner))) == ["won"]
    assert mover.column("SELECT count(*) FROM users") == [4]
    before = mover.image()
    mover.passed("again", chunk_bytes)
    assert mover.image() == before
    assert mover.run("look").reconcile()["passed"]


@SIZES
def test_triplets_that_share_an_e_mail_leave_one_row(mover: Mover, chunk_bytes: int, backwards: bool) -> None:
    value = ObjectId("65a1b2c3d4e5f60abcdef012")
    ids = [value, str(value), str(value).upper()]
    fill(mover.database, users=[user(2, _id=each, email="a@x") for each in ids])
    report = mover.passed("run", chunk_bytes, backwards=backwards)
    assert report["users"]["rejected"] == {"duplicate_key": 2}
    assert mover.column("SELECT extra ->> '_id' FROM users") == [str(value).upper()]


@SIZES
@pytest.mark.parametrize("second", [False, True], ids=["in a first load", "in a second run"])
def test_a_twin_that_is_rejected_for_something_else_leaves_the_row_to_the_other(
    mover: Mover, chunk_bytes: int, backwards: bool, second: bool
) -> None:
    a_tree = str(oid(11))
    users = [user(1), user(9, _id="0", email="a@x"), user(8, _id=TWIN, email="a@x"), user(2, email="oid@x")]
    if second:
        fill(mover.database, users=users[:1])
        mover.passed("first", chunk_bytes, backwards=backwards)
    fill(mover.database, users=users, skilltrees=[skill_tree(11, oid(99), _id=a_tree), skill_tree(11, ANN), skill_tree(12, BOB)])
    report = mover.passed("run", chunk_bytes, backwards=backwards)
    assert (report["users"]["rejected"], report["skilltrees"]["rejected"]) == ({"duplicate_key": 1}, {"orphan": 1})
    assert mover.rejects() == {
        ("users", json.dumps(TWIN), "email", "duplicate_key"),
        ("skilltrees", json.dumps(a_tree), "userId", "orphan"),
    }
    assert mover.rows("SELECT email, extra FROM users WHERE id = %s", uuid_of(2)) == [("oid@x", None)]
    assert mover.rows("SELECT id::text, extra FROM skill_trees ORDER BY id") == [(uuid_of(11), None), (uuid_of(12), None)]
    before = mover.image()
    mover.passed("again", chunk_bytes, backwards=not backwards)
    assert mover.image() == before
    assert mover.run("look").reconcile()["passed"]


@SIZES
def test_of_twins_that_both_are_rejected_each_has_its_own_reason_and_the_good_row_stays(
    mover: Mover, chunk_bytes: int, backwards: bool
) -> None:
    a_tree = str(oid(11))
    fill(mover.database, users=[user(1), user(2)], skilltrees=[skill_tree(11, ANN, _id=a_tree)])
    mover.passed("first", chunk_bytes, backwards=backwards)
    fill(mover.database, users=[user(1), user(2)], skilltrees=[skill_tree(11, oid(99), _id=a_tree), skill_tree(11, oid(98))])
    report = mover.passed("run", chunk_bytes, backwards=backwards)
    assert report["skilltrees"]["rejected"] == {"orphan": 2}
    assert mover.rejects() == {("skilltrees", name, "userId", "orphan") for name in (json.dumps(a_tree), str(oid(11)))}
    assert mover.column("SELECT extra ->> '_id' FROM skill_trees") == [a_tree]
    assert mover.column("SELECT root_id::text FROM migration.stale") == [uuid_of(11)]
    assert mover.run("look").reconcile()["passed"]


@SIZES
@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
def test_a_stale_row_goes_to_the_twin_of_its_document(mover: Mover, chunk_bytes: int, backwards: bool, later: bool) -> None:
    fill(mover.database, users=[user(1), user(2)], skilltrees=[skill_tree(11, BOB)])
    mover.passed("first", chunk_bytes, backwards=backwards)
    spoilt = user(2, email=None)
    if later:
        fill(mover.database, users=[user(1), spoilt], skilltrees=[skill_tree(11, BOB)])
        mover.passed("second", chunk_bytes, backwards=backwards)
        assert mover.column("SELECT root_id::text FROM migration.stale") == [uuid_of(2)]
    twin = user(9, _id=TWIN)
    fill(mover.database, users=[user(1), spoilt, twin], skilltrees=[skill_tree(11, BOB)])
    if later:
        run = mover.run("window")
        run.move(window=Window(NOON + timedelta(hours=9), NOON + timedelta(hours=10)))
        counts(run)
    else:
        mover.passed("second", chunk_bytes, backwards=backwards)
    assert mover.rows("SELECT email, extra FROM users WHERE id = %s", uuid_of(2)) == [("user9@example.com", {"_id": TWIN})]
    assert mover.rejects() == {("users", str(BOB), "email", "required")}
    assert mover.column("SELECT count(*) FROM migration.stale") == [0]
    mover.passed("third", chunk_bytes, backwards=not backwards)
    assert mover.run("look").reconcile()["passed"]


@SIZES
def test_who_loses_one_key_leaves_his_value_of_another_to_the_next(
    mover: Mover, chunk_bytes: int, backwards: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    include = write_sql(tmp_path / "sql")
    with (include / "hostile" / "post_data.sql").open("a") as post_data:
        post_data.write("ALTER TABLE public.codes ADD CONSTRAINT codes_at_key UNIQUE (at);\n")
    monkeypatch.setattr(scripts, "INCLUDE", include)
    things, codes = HOSTILE.collections
    mover.domain = replace(HOSTILE, collections=(things, replace(codes, unique=(("code",), ("at",)))))
    hours = [NOON + timedelta(hours=hour) for hour in range(3)]
    mover.database.create_collection("things")
    mover.database.codes.insert_many(
        [
            {"_id": oid(1), "code": "a", "at": hours[0]},
            {"_id": oid(2), "code": "b", "at": hours[0]},  # loses its hour to the first one
            {"_id": oid(3), "code": "b", "at": hours[1]},  # and so its code to nobody
            {"_id": oid(4), "code": "c", "at": hours[1]},
            {"_id": oid(5), "code": "c", "at": hours[2]},
        ]
    )
    report = mover.passed("run", chunk_bytes, backwards=backwards)
    assert report["codes"]["rejected"] == {"duplicate_key": 2}
    assert mover.rejects() == {("codes", str(oid(number)), "at", "duplicate_key") for number in (2, 4)}
    mover.passed("again", chunk_bytes, backwards=not backwards)
    assert mover.column("SELECT code FROM codes ORDER BY id") == ["a", "b", "c"]


# -------------------------------------------------------------------------------------------------------- references


@SIZES
def test_orphans_are_tried_again_when_their_parent_comes(mover: Mover, chunk_bytes: int, backwards: bool) -> None:
    children = {
        "skilltrees": [skill_tree(11, BOB), skill_tree(12, str(CLEO))],
        "socialconnections": [connection(21, ANN, BOB), connection(22, BOB, ANN)],
        "progresspoints": [point(31, BOB)],
    }
    fill(mover.database, users=[user(1)], **children)
    first = mover.passed("first", chunk_bytes, backwards=backwards)
    assert [each["rejected"] for each in first.values()] == [{}, {"orphan": 2}, {"orphan": 2}, {"orphan": 1}]
    types = mover.rows("SELECT document_id ->> '$oid', bson_type FROM migration.rejects WHERE collection = 'skilltrees' ORDER BY 1")
    assert types == [(str(oid(11)), "objectId"), (str(oid(12)), "string")]
    fill(mover.database, users=[user(1), user(2)], **children)
    second = mover.passed("second", chunk_bytes, backwards=backwards)
    assert [each["rejected"] for each in second.values()] == [{}, {"orphan": 1}, {}, {}]
    assert mover.rejects() == {("skilltrees", str(oid(12)), "userId", "orphan")}
    assert mover.column("SELECT count(*) FROM social_connections") == [2]


def test_a_reject_whose_document_is_gone_is_resolved(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2, email=None)], skilltrees=[skill_tree(11, oid(9))])
    mover.passed("first")
    fill(mover.database, users=[user(1)])
    mover.passed("second")
    assert mover.rejects() == set()
    assert mover.rejects("resolved") == {
        ("users", str(BOB), "email", "required"),
        ("skilltrees", str(oid(11)), "userId", "orphan"),
    }


def test_a_rejected_document_is_kept_byte_for_byte_and_once(mover: Mover) -> None:
    fill(mover.database, users=[user(1, roles=[1, 2, 3])])
    mover.passed("first")
    mover.passed("second")
    rows = mover.rows("SELECT bson FROM migration.reject_documents")
    (raw,) = mover.database.users.find_raw_batches({})
    assert [bytes(row[0]) for row in rows] == [raw]
    assert len(mover.rejects()) == 3


STALE = [
    ("it has no e-mail", {"email": None}, "email", "required"),
    ("its e-mail is taken", {"email": "user1@example.com"}, "email", "duplicate_key"),
]


@SIZES
@pytest.mark.parametrize(("change", "path", "reason"), [case[1:] for case in STALE], ids=[case[0] for case in STALE])
def test_a_document_whose_new_version_is_rejected_keeps_its_row_which_is_stale(
    mover: Mover, change: dict[str, Any], path: str, reason: str, chunk_bytes: int, backwards: bool
) -> None:
    trees = [skill_tree(11, BOB)]
    fill(mover.database, users=[user(1), user(2)], skilltrees=trees)
    mover.passed("first", chunk_bytes, backwards=backwards)
    before = mover.image()
    fill(mover.database, users=[user(1), user(2, bio="newer", **change)], skilltrees=trees)
    for run_id in ("second", "third"):
        run = mover.move(run_id, chunk_bytes, backwards=backwards)
        report = run.verify()
        assert report["failures"] == []
        assert outcome(report["collections"][0]) == (2, 0, 0, 1, {reason: 1})
        assert report["collections"][0]["stale"] == 1
        assert mover.image() == before
        assert mover.rejects() == {("users", str(BOB), path, reason)}
    fill(mover.database, users=[user(1), user(2, bio="newest")], skilltrees=trees)
    report = mover.passed("fourth", chunk_bytes, backwards=backwards)
    assert (outcome(report["users"]), report["users"]["stale"]) == ((2, 0, 1, 1, {}), 0)
    assert mover.rejects() == set()


def test_a_stale_row_is_compared_again_once_its_document_is_good(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2)])
    mover.passed("first")
    fill(mover.database, users=[user(1), user(2, email=None)])
    mover.move("second")
    mover.conn.execute("UPDATE public.users SET bio = 'changed by hand' WHERE id = %s", (uuid_of(2),))
    fill(mover.database, users=[user(1), user(2)])
    mover.passed("third")
    assert mover.column("SELECT bio FROM users WHERE id = %s", uuid_of(2)) == ["Bio of 2"]


def test_calling_a_good_row_stale_hides_nothing(mover: Mover) -> None:
    fill(mover.database, users=[user(1), user(2)])
    run = mover.move("run")
    mover.conn.execute("UPDATE public.users SET bio = 'x' WHERE id = %s", (uuid_of(2),))
    columns = mover.column(
        "SELECT column_name::text FROM information_schema.columns WHERE (table_schema, table_name) = ('migration', 'stale')"
    )
    facts = {"domain": "auth", "collection": "users", "root_id": uuid_of(2), "run_id": run.key.run_id}
    named = ", ".join(set(columns) & set(facts))
    values = [facts[name] for name in named.split(", ")]
    mover.conn.execute(f"INSERT INTO migration.stale ({named}) VALUES ({', '.join(['%s'] * len(values))})".encode(), values)
    report = run.verify()
    assert report["passed"] is False
    assert {(failure["check"], failure["table"]) for failure in report["failures"]} >= {("checksums", "users")}


def test_a_stale_row_gives_its_e_mail_to_the_only_document_that_claims_it(mover: Mover) -> None:
    trees = [skill_tree(11, BOB)]
    fill(mover.database, users=[user(2, email="a@x"), user(3)], skilltrees=trees)
    mover.passed("first")
    fill(mover.database, users=[user(1, email="a@x"), user(2, email=None), user(3)], skilltrees=trees)
    mover.passed("second")
    assert mover.rows("SELECT id::text FROM users WHERE email = 'a@x'") == [(uuid_of(1),)]
    # The row could not stay without an e-mail; its document is in the rejects, and so is what hung on it.
    assert mover.column("SELECT id::text FROM users ORDER BY id") == [uuid_of(1), uuid_of(3)]
    assert mover.rejects() == {("users", str(BOB), "email", "required"), ("skilltrees", str(oid(11)), "userId", "orphan")}
    fill(mover.database, users=[user(1, email="a@x"), user(2, email="b@x"), user(3)], skilltrees=trees)
    report = mover.passed("third")
    assert (outcome(report["users"]), outcome(report["skilltrees"])) == ((3, 1, 0, 2, {}), (1, 1, 0, 0, {}))
    assert mover.rejects() == set()


def test_a_stale_row_gives_its_e_mail_to_the_smallest_of_those_that_claim_it(mover: Mover) -> None:
    fill(mover.database, users=[user(1, email="a@x"), user(5)])
    mover.passed("first")
    # The newer version of the first is no duplicate of its own row, and loses what it claims instead.
    fill(mover.database, users=[user(1, email=None), user(2, email="a@x"), user(3, email="a@x"), user(5)])
    assert outcome(mover.passed("second")["users"]) == (4, 1, 0, 1, {"required": 1, "duplicate_key": 1})
    assert mover.rows("SELECT id::text FROM users WHERE email = 'a@x'") == [(uuid_of(2),)]
    assert mover.rejects() == {("users", str(oid(1)), "email", "required"), ("users", str(oid(3)), "email", "duplicate_key")}


def test_a_stale_row_that_nobody_claims_the_e_mail_of_stays(mover: Mover) -> None:
    fill(mover.database, users=[user(1, email="a@x"), user(2)])
    mover.passed("first")
    fill(mover.database, users=[user(1, email=None), user(2), user(3)])
    assert mover.passed("second")["users"]["stale"] == 1
    assert mover.rows("SELECT id::text FROM users WHERE email = 'a@x'") == [(uuid_of(1),)]


# ---------------------------------------------------------------------------------------------------------- the rest


def test_an_empty_source_is_moved_and_passes(mover: Mover) -> None:
    fill(mover.database)
    assert {name: outcome(each) for name, each in mover.passed("run").items()} == {
        collection.name: (0, 0, 0, 0, {}) for collection in AUTH.collections
    }
    fill(mover.database, **small_world())
    assert outcome(mover.passed("second")["users"]) == (3, 3, 0, 0, {})


def test_the_staged_frames_open_as_pandas(mover: Mover) -> None:
    fill(mover.database, **small_world())
    mover.passed("run one", EACH)
    users = frame("run one", "users", root=mover.staging)
    assert sorted(users["email"]) == ["user1@example.com", "user2@example.com", "user3@example.com"]
    assert set(users["id"]) == {uuid_of(n) for n in (1, 2, 3)}
    assert users["profile_picture"].isna().all()
    with pytest.raises(StagingError, match="no run 'another' staged a table 'users'"):
        frame("another", "users", root=mover.staging)


def test_everything_holds_on_postgresql_16(mongo_database, target_16, tmp_path: Path) -> None:
    world = small_world()
    world["users"] += [user(4, email="user1@example.com"), user(5, _id=str(BOB)), user(6, roles=["a", None])]
    world["skilltrees"] += [skill_tree(13, oid(4))]
    fill(mongo_database, **world)
    with target_16.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path)
        assert conn.info.server_version // 10000 == 16
        mover.passed("first", EACH)
        before = mover.image()
        mover.passed("second")
        assert mover.image() == before
        world["users"][0]["email"], world["users"][2]["email"] = world["users"][2]["email"], world["users"][0]["email"]
        world["users"].pop(3)
        world["skilltrees"].pop()
        world["users"].append(user(7, roles=[]))
        fill(mongo_database, **world)
        mover.passed("third", EACH, backwards=True)
        conn.execute("UPDATE public.users SET bio = 'x' WHERE id = %s", (uuid_of(1),))
        run: Run = mover.run("third")
        run.key = run.key._replace(plan_id=run.staging.current()["plan_id"])
        run.lots = run.staging.current()["lots"]
        assert [(check.check, check.subject) for check in run.checksums() if check.verdict == "failed"] == [("checksums", "users")]


def staged_files(root: Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in root.rglob("*") if path.is_file()}
