"""What a declaration may say and those of the seven services do not: it works end to end, and again."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, MaxKey, MinKey, Timestamp
from pymongo.database import Database

from demo.postgres import PostgresLogin
from mongo2pg.databases.window import Window
from mongo2pg.errors import PermanentError, PrepareError
from mongo2pg.model import Child, Collection, Column, Domain
from mongo2pg.planning.modes import WINDOW, Request
from mongo2pg.run import MOVE_LOT
from mongo2pg.target import schema, scripts
from tests.documents import NOON, oid, uuid_of
from tests.mover import Mover, counts, outcome
from tests.small_domains import write_sql

Declare = Callable[..., Mover]


@pytest.fixture
def declare(
    mongo_database: Database[dict[str, Any]], target: PostgresLogin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Declare]:
    """A domain of these collections, with its tables' SQL."""
    with target.connect() as conn:

        def declared(*collections: Collection) -> Mover:
            domain = Domain("small", collections)
            monkeypatch.setattr(scripts, "INCLUDE", write_sql(tmp_path / "sql", domain))
            return Mover(mongo_database, conn, tmp_path / "staging", domain)

        yield declared


def passed_twice(mover: Mover) -> dict[str, Any]:
    """The counts of a first run; a second one writes nothing, every document comes back, and reconcile is green."""
    first = mover.passed("first")
    before = mover.image()
    again = mover.move("second")
    assert {check.verdict for check in again.round_trip(1)} == {"passed"}
    counts(again)
    assert mover.image() == before
    assert mover.run("third").reconcile()["passed"] is True
    return first


def test_nobody_loses_a_key_to_a_row_that_hangs_on_an_orphan_of_its_own_table(declare: Declare) -> None:
    columns = (Column("after", "uuid", required=True, references="marks"), Column("tag", "text", required=True))
    mover = declare(Collection("marks", "marks", "at", columns, unique=(("tag",),)))
    after = {1: 3, 2: 2, 3: 4, 4: 99}
    tags = {1: "a", 2: "a", 3: "c", 4: "d"}
    mover.database.marks.insert_many([{"_id": oid(at), "after": oid(after[at]), "tag": tags[at]} for at in after])
    assert outcome(passed_twice(mover)["marks"]) == (4, 1, 0, 0, {"orphan": 3})
    assert mover.column("SELECT id::text FROM marks") == [uuid_of(2)]


def chain(declare: Declare, *children: Child) -> tuple[Mover, Callable[..., None]]:
    """Marks each of which needs another one, or itself, and a tag of its own; and what writes some of them."""
    columns = (Column("after", "uuid", required=True, references="marks"), Column("tag", "text", required=True))
    mover = declare(Collection("marks", "marks", "at", columns, children, unique=(("tag",),)))

    def write(*marks: tuple[int, int, str], **more: Any) -> None:
        for at, after, tag in marks:
            mover.database.marks.replace_one({"_id": oid(at)}, {"after": oid(after), "tag": tag, **more}, upsert=True)

    return mover, write


def test_a_row_goes_that_needs_itself(declare: Declare) -> None:
    mover, write = chain(declare)
    write((2, 2, "a"), (3, 2, "b"), (4, 4, "c"))
    mover.passed("first")
    write((1, 1, "a"))
    assert outcome(mover.passed("second")["marks"]) == (4, 1, 0, 1, {"duplicate_key": 1, "orphan": 1})
    assert mover.rejects() == {("marks", str(oid(2)), "tag", "duplicate_key"), ("marks", str(oid(3)), "after", "orphan")}
    assert mover.column("SELECT id::text FROM marks ORDER BY id") == [uuid_of(1), uuid_of(4)]
    assert mover.run("third").reconcile()["passed"] is True


@pytest.mark.parametrize("after", [{2: 3, 3: 2, 4: 3}, {2: 3, 3: 4, 4: 2}, {2: 2, 3: 2, 4: 3}], ids=str)
@pytest.mark.parametrize("how", ["it is gone", "its key goes to another"])
def test_rows_go_that_need_each_other(declare: Declare, after: dict[int, int], how: str) -> None:
    mover, write = chain(declare)
    write(*((at, other, f"tag {at}") for at, other in after.items()))
    mover.passed("first")
    if how == "it is gone":
        mover.database.marks.delete_one({"_id": oid(2)})
    else:
        write((1, 1, "tag 2"))
    mover.passed("second")
    left = [] if how == "it is gone" else [uuid_of(1)]
    assert mover.column("SELECT id::text FROM marks") == left
    assert {(at, reason) for _, at, _, reason in mover.rejects()} >= {(str(oid(3)), "orphan"), (str(oid(4)), "orphan")}
    assert mover.run("third").reconcile()["passed"] is True


def test_of_rows_that_go_at_once_each_is_rejected_once_although_one_needs_the_other(declare: Declare) -> None:
    mover, write = chain(declare)
    write((3, 3, "a"), (4, 3, "b"), (5, 4, "c"))
    mover.passed("first")
    write((1, 1, "a"), (2, 2, "b"))
    assert outcome(mover.passed("second")["marks"]) == (5, 2, 0, 0, {"duplicate_key": 2, "orphan": 1})
    assert mover.column("SELECT id::text FROM marks ORDER BY id") == [uuid_of(1), uuid_of(2)]


def test_elements_that_name_their_own_document_go_with_it_and_are_no_rejects(declare: Declare) -> None:
    votes = Child("votes", "votes", "documents", (Column("by", "uuid", required=True, references="marks"),))
    mover, write = chain(declare, votes)
    write((2, 2, "a"), (3, 3, "b"), votes=[{"by": oid(2)}])
    mover.passed("first")
    write((1, 1, "a"))
    mover.passed("second")
    rejects = {("marks", str(oid(2)), "tag", "duplicate_key"), ("marks", str(oid(3)), "votes.0.by", "orphan")}
    assert mover.rejects() == rejects
    assert mover.run("third").reconcile()["passed"] is True


@pytest.mark.parametrize("needs", ["itself", "element"])
def test_who_needs_a_row_that_waits_for_a_key_waits_with_it(declare: Declare, needs: str) -> None:
    votes = Child("votes", "votes", "documents", (Column("by", "uuid", required=True, references="marks"),))
    mover, write = chain(declare, votes)
    write((1, 1, "a"), (9, 9, "z"))
    mover.passed("first")
    # 3 waits for the tag of 1, which waits for that of 9; 2 comes with 3.
    write((9, 9, "y"), (1, 1, "z"), (3, 3, "a"))
    write((2, 3 if needs == "itself" else 2, "c"), votes=[{"by": oid(3)}] if needs == "element" else [])
    assert outcome(mover.passed("second")["marks"]) == (4, 2, 2, 0, {})
    assert mover.column("SELECT tag FROM marks ORDER BY id") == ["z", "c", "a", "y"]
    assert mover.run("third").reconcile()["passed"] is True


@pytest.fixture
def owners_and_pets(declare: Declare) -> Mover:
    """A person and a pet that name each other, and another such pair."""
    columns = (Column("tag", "integer", required=True), Column("favourite", "uuid", references="pets"))
    people = Collection("people", "people", "at", columns, unique=(("tag",),))
    mover = declare(people, Collection("pets", "pets", "at", (Column("owner", "uuid", required=True, references="people"),)))
    mover.database.people.insert_many([{"_id": oid(at), "tag": at, "favourite": oid(10 + at)} for at in (2, 3)])
    mover.database.pets.insert_many([{"_id": oid(10 + at), "owner": oid(at)} for at in (2, 3)])
    mover.passed("first")
    return mover


@pytest.mark.parametrize("others", [False, True], ids=["they alone", "and another hangs on them"])
def test_documents_of_two_collections_that_name_each_other_go_at_once(owners_and_pets: Mover, others: bool) -> None:
    mover = owners_and_pets
    if others:
        mover.database.pets.update_one({"_id": oid(13)}, {"$set": {"owner": oid(2)}})
        mover.passed("second")
    mover.database.people.delete_one({"_id": oid(2)})
    mover.database.pets.delete_one({"_id": oid(12)})
    assert outcome(mover.passed("third")["pets"])[4] == ({"orphan": 1} if others else {})
    assert mover.column("SELECT id::text FROM pets") == ([] if others else [uuid_of(13)])
    assert mover.column("SELECT favourite::text FROM people") == [None if others else uuid_of(13)]
    assert mover.run("fourth").reconcile()["passed"] is True


def test_a_row_goes_that_names_one_that_needs_it(owners_and_pets: Mover) -> None:
    mover = owners_and_pets
    mover.database.people.insert_one({"_id": oid(1), "tag": 2})
    counts = mover.passed("second")
    assert (outcome(counts["people"])[4], outcome(counts["pets"])[4]) == ({"duplicate_key": 1}, {"orphan": 1})
    assert mover.column("SELECT id::text FROM people ORDER BY id") == [uuid_of(1), uuid_of(3)]
    assert mover.run("third").reconcile()["passed"] is True


def test_a_row_goes_to_the_rejects_although_a_document_waits_that_shares_its_id(declare: Declare) -> None:
    owner = Column("owner", "uuid", required=True, references="people")
    mover = declare(Collection("people", "people", "at", ()), Collection("pets", "pets", "at", (owner,)))
    mover.database.people.insert_one({"_id": oid(1)})
    mover.database.pets.insert_one({"_id": oid(9), "owner": oid(1)})
    mover.passed("first")
    mover.database.people.delete_many({})
    mover.database.pets.insert_one({"_id": str(oid(9)), "owner": oid(1)})
    assert outcome(mover.passed("second")["pets"]) == (2, 0, 0, 0, {"orphan": 2})
    assert len(mover.rejects()) == 2
    assert mover.run("third").reconcile()["passed"] is True


def test_a_row_goes_to_the_rejects_although_a_window_holds_a_document_that_shares_its_id(declare: Declare) -> None:
    owner = Column("owner", "uuid", required=True, references="people")
    mover = declare(Collection("people", "people", "at", ()), Collection("pets", "pets", "at", (owner,)))
    mover.database.people.insert_one({"_id": oid(1), "at": NOON})
    mover.database.pets.insert_one({"_id": oid(9), "owner": oid(1), "at": NOON})
    mover.passed("first")
    hour = timedelta(hours=1)
    mover.database.pets.insert_one({"_id": str(oid(9)), "owner": oid(1), "at": NOON + 2 * hour})
    window = mover.run("window")
    window.prepare()
    window.plan(moved=dict.fromkeys(("people", "pets"), Window(NOON + hour, NOON + 3 * hour)))
    for stage in MOVE_LOT:
        getattr(window, stage)()
    mover.database.people.delete_many({})
    mover.run("deletes").delete_alone()
    window.carry("delete")
    counts(window)
    assert mover.column("SELECT count(*) FROM pets") == [0]
    assert {_id for _, _id, _, reason in mover.rejects() if reason == "orphan"} == {str(oid(9)), f'"{oid(9)}"'}


def test_a_row_is_rejected_once_whose_id_no_document_may_have(declare: Declare) -> None:
    mover = declare(Collection("people", "people", "at", (Column("tag", "integer", required=True),), unique=(("tag",),)))
    mover.database.people.insert_one({"_id": oid(1), "tag": 1})
    mover.passed("first")
    # The smaller ones: 1 takes the key of the row, and 2 that of the document which would have the row's id.
    mover.database.people.insert_many([{"_id": 1, "tag": 1}, {"_id": 2, "tag": 2}, {"_id": str(oid(1)), "tag": 2}])
    assert outcome(mover.passed("second")["people"]) == (4, 2, 0, 0, {"duplicate_key": 2})
    assert {path for _, _, path, _ in mover.rejects()} == {"tag"}
    assert mover.run("third").reconcile()["passed"] is True


def test_who_is_an_orphan_for_want_of_a_document_that_lost_its_id_is_judged_anew(declare: Declare) -> None:
    people = Collection("people", "people", "at", (Column("tag", "integer", required=True),), unique=(("tag",),))
    mover = declare(people, Collection("pets", "pets", "at", (Column("owner", "uuid", required=True, references="people"),)))
    mover.database.people.insert_many([{"_id": 1, "tag": 1}, {"_id": str(oid(2)), "tag": 1}, {"_id": oid(2), "tag": 2}])
    mover.database.pets.insert_many([{"_id": _id, "owner": oid(2)} for _id in (str(oid(9)), oid(9))])
    passed_twice(mover)
    assert {(name, path, reason) for name, _, path, reason in mover.rejects()} == {
        ("people", "tag", "duplicate_key"),
        ("pets", "_id", "duplicate_key"),
    }


@pytest.mark.parametrize("how", ["rejected", "gone, and its row is marked", "gone by its time, and its row stays"])
def test_what_a_row_names_may_come_when_its_document_is_none_any_more(declare: Declare, how: str) -> None:
    columns = (Column("tag", "integer", required=True), Column("until", "timestamptz"), Column("pet", "uuid", references="pets"))
    people = Collection("people", "people", "at", columns)
    if "mark" in how:
        people = replace(people, deletes="mark")
    if "time" in how:
        people = replace(people, deletes="ignore", expires=("until", 60))
    mover = declare(people, Collection("pets", "pets", "at", ()))
    mover.database.create_collection("pets")
    mover.database.people.insert_one({"_id": oid(1), "tag": 1, "until": NOON, "pet": oid(2)})
    mover.passed("first")
    if how == "rejected":
        mover.database.people.update_one({"_id": oid(1)}, {"$set": {"tag": "none"}})
    else:
        mover.database.people.delete_one({"_id": oid(1)})
    mover.database.pets.insert_one({"_id": oid(2)})
    mover.passed("second")
    assert mover.column("SELECT pet FROM people") == [None], "nobody has read it again"
    assert mover.run("third").reconcile()["passed"] is True
    mover.database.people.replace_one({"_id": oid(1)}, {"tag": 1, "until": NOON, "pet": oid(2)}, upsert=True)
    mover.passed("fourth")
    assert mover.column("SELECT pet::text FROM people") == [uuid_of(2)]


def test_a_row_that_is_marked_as_deleted_keeps_no_key_for_one_that_gives_way(declare: Declare) -> None:
    people = Collection("people", "people", "at", (Column("tag", "integer", required=True),), unique=(("tag",),))
    owner = Column("owner", "uuid", required=True, references="people")
    mover = declare(people, Collection("pets", "pets", "at", (owner,), deletes="mark"))
    mover.database.people.insert_many([{"_id": oid(at), "tag": at} for at in (1, 2, 3)])
    mover.database.pets.insert_one({"_id": oid(9), "owner": oid(3)})
    mover.passed("first")
    mover.database.pets.delete_many({})
    # 3 loses its new tag to 1, and its row, stale then, is in the way of 2, who claims the old one.
    for at, tag in ((2, 3), (3, 1)):
        mover.database.people.update_one({"_id": oid(at)}, {"$set": {"tag": tag}})
    assert outcome(mover.passed("second")["people"])[4] == {"duplicate_key": 1}
    assert mover.rows("SELECT id::text, tag FROM people ORDER BY id") == [(uuid_of(1), 1), (uuid_of(2), 3)]
    assert mover.column("SELECT count(*) FROM pets") == [0]
    assert mover.run("third").reconcile()["passed"] is True


def test_a_repair_reads_a_document_once_that_waits_for_the_one_whose_key_it_has(declare: Declare) -> None:
    columns = (Column("tag", "integer", required=True), Column("after", "uuid", references="marks"))
    mover = declare(Collection("marks", "marks", "at", columns, unique=(("tag",),)))
    mover.database.marks.insert_one({"_id": oid(2), "tag": 1, "after": oid(1)})
    mover.passed("first")
    mover.database.marks.insert_one({"_id": oid(1), "tag": 1})
    assert mover.run("repair").reconcile(repair=True)["failures"] == []
    assert mover.rows("SELECT id::text, tag, after FROM marks") == [(uuid_of(1), 1, None)]
    assert mover.rejects() == {("marks", str(oid(2)), "tag", "duplicate_key")}


def test_the_two_zeros_are_one_key(declare: Declare) -> None:
    mover = declare(Collection("marks", "marks", "at", (Column("size", "double precision", required=True),), unique=(("size",),)))
    mover.database.marks.insert_many([{"_id": oid(at), "size": size} for at, size in enumerate([-0.0, 0.0, float("nan"), 1.0])])
    assert outcome(passed_twice(mover)["marks"]) == (4, 3, 0, 0, {"duplicate_key": 1})
    assert mover.rejects() == {("marks", str(oid(1)), "size", "duplicate_key")}


@pytest.mark.parametrize(
    "ids",
    [
        [MinKey(), 5],
        [5, MaxKey()],
        [Timestamp(9, 1), Timestamp(10, 1)],
        [{"a": {"$oid": "none"}}, oid(1)],
        [{"a": [2, "x"]}, {"a": [10]}],
    ],
    ids=str,
)
def test_of_two_documents_with_one_key_that_with_the_smaller_id_stays_whatever_it_is(declare: Declare, ids: list[Any]) -> None:
    columns = (Column("tag", "boolean", required=True), Column("place", "integer"))
    mover = declare(Collection("marks", "marks", "at", columns, unique=(("tag",),)))
    mover.database.marks.insert_many([{"_id": _id, "tag": True, "place": place} for place, _id in enumerate(ids)])
    assert outcome(passed_twice(mover)["marks"]) == (2, 1, 0, 0, {"duplicate_key": 1})
    assert mover.column("SELECT place FROM marks") == [0]


@pytest.mark.parametrize("chunk_bytes", [64 << 20, 1], ids=["one chunk", "a chunk each"])
def test_a_document_gets_the_row_of_another_with_its_id_that_is_rejected_meanwhile(declare: Declare, chunk_bytes: int) -> None:
    columns = (Column("tag", "integer", required=True), Column("at", "timestamptz"))
    children = (Child("parts", "parts", "scalars", (Column("", "text", "part"),)),)
    mover = declare(Collection("marks", "marks", "at", columns, children, unique=(("tag",),)))
    marks = mover.database.marks
    marks.insert_many([{"_id": str(oid(1)), "tag": 1, "parts": ["a", "b"]}, {"_id": oid(1), "tag": 2, "parts": ["c"]}])
    mover.passed("first", chunk_bytes)
    assert mover.rejects() == {("marks", str(oid(1)), "_id", "duplicate_key")}
    marks.update_one({"_id": str(oid(1))}, {"$set": {"tag": "none"}})
    marks.insert_one({"_id": oid(2), "tag": 1})  # what the row had
    mover.passed("second", chunk_bytes)
    assert mover.rejects() == {("marks", f'"{oid(1)}"', "tag", "type_mismatch")}
    assert mover.rows("SELECT id::text, tag, extra FROM marks ORDER BY id") == [(uuid_of(1), 2, None), (uuid_of(2), 1, None)]
    assert mover.column("SELECT part FROM parts") == ["c"]
    assert mover.column("SELECT count(*) FROM migration.stale") == [0]
    before = mover.image()
    mover.passed("third", chunk_bytes)
    assert mover.image() == before
    assert mover.run("fourth").reconcile()["passed"] is True


def test_a_window_leaves_a_row_to_a_document_that_it_did_not_read_until_the_next_full_run(declare: Declare) -> None:
    mover = declare(Collection("marks", "marks", "at", (Column("tag", "integer"), Column("at", "timestamptz"))))
    mover.database.marks.insert_one({"_id": oid(1), "tag": 1, "at": NOON})
    mover.passed("first")
    mover.database.marks.insert_one({"_id": str(oid(1)), "tag": 2, "at": NOON + timedelta(days=1)})
    window = mover.run("window")
    window.follow(Request(WINDOW, NOON + timedelta(hours=1), NOON + timedelta(days=2), lookback=timedelta(0)))
    assert outcome(counts(window)["marks"]) == (1, 0, 0, 0, {"duplicate_key": 1})
    assert mover.column("SELECT tag FROM marks") == [1]
    mover.passed("second")
    assert mover.column("SELECT tag FROM marks") == [2]
    assert mover.rejects() == {("marks", str(oid(1)), "_id", "duplicate_key")}


def test_a_document_whose_id_is_null_may_be_rejected(declare: Declare) -> None:
    mover = declare(Collection("marks", "marks", "at", (Column("size", "integer", required=True),)))
    mover.database.marks.insert_many([{"_id": None}, {"_id": 1, "size": 1}])
    assert outcome(passed_twice(mover)["marks"]) == (2, 1, 0, 0, {"required": 1})
    assert mover.rejects() == {("marks", "null", "size", "required")}
    mover.database.marks.update_one({"_id": None}, {"$set": {"size": 2}})
    mover.passed("fourth")
    assert (mover.rejects(), mover.column("SELECT size FROM marks ORDER BY size")) == (set(), [1, 2])


@pytest.mark.parametrize(
    "reference",
    [
        Binary(b"short", 4),
        Binary(b"sixteen bytes ..", 4),
        {"$binary": {"base64": "?", "subType": "04"}},
        {"$oid": "none"},
        "text",
        5,
        None,
    ],
    ids=str,
)
def test_an_optional_reference_to_nobody_may_be_anything(declare: Declare, reference: Any) -> None:
    columns = (Column("after", "uuid", references="marks"),)
    children = (Child("friends", "friends", "scalars", (Column("", "uuid", "friend", references="marks"),)),)
    mover = declare(Collection("marks", "marks", "at", columns, children))
    friends = [oid(1)] if reference is None else [reference, oid(1)]
    mover.database.marks.insert_one({"_id": oid(1), "after": reference, "friends": friends})
    assert outcome(passed_twice(mover)["marks"]) == (1, 1, 0, 0, {})
    assert mover.column("SELECT after FROM marks") == [None]
    assert mover.column("SELECT friend::text FROM friends WHERE friend IS NOT NULL") == [uuid_of(1)]


@pytest.mark.parametrize("table", ["uuid", "text", "jsonb", "timestamptz", "pg_class", "pg_constraint", "path"])
def test_a_table_may_be_called_as_a_type_or_a_catalog_of_postgresql_is(declare: Declare, table: str) -> None:
    columns = (Column("at", "timestamptz", required=True), Column("names", "text[]"), Column("more", "jsonb"))
    child = Child("points", "points", "documents", (Column("name", "text"),))
    mover = declare(Collection("marks", table, "at", columns, (child,)))
    mover.database.marks.insert_many([{"_id": oid(1)}, {"_id": oid(2), "at": oid(3).generation_time, "points": [{"name": "a"}]}])
    assert outcome(passed_twice(mover)["marks"]) == (2, 1, 0, 0, {"required": 1})


def test_tables_and_columns_may_have_names_that_are_words_of_sql(declare: Declare) -> None:
    users = Collection("users", "user", "at", (Column("order", "integer", required=True),), unique=(("order",),))
    child = Child("from", "from", "documents", (Column("user", "uuid", references="user"),), parent_key="table")
    groups = Collection("groups", "references", "at", (Column("user", "uuid", required=True, references="user"),), (child,))
    mover = declare(users, groups)
    mover.database.users.insert_many([{"_id": oid(1), "order": 1}, {"_id": oid(2), "order": 1}])
    mover.database.groups.insert_many(
        [{"_id": oid(3), "user": oid(1), "from": [{"user": oid(1)}]}, {"_id": oid(4), "user": oid(2)}]
    )
    first = passed_twice(mover)
    assert (outcome(first["users"])[4], outcome(first["groups"])[4]) == ({"duplicate_key": 1}, {"orphan": 1})
    assert mover.column('SELECT "user"::text FROM "from"') == [uuid_of(1)]
    mover.conn.execute('ALTER TABLE public."user" ALTER "order" DROP NOT NULL')
    with pytest.raises(PrepareError, match=r'DELETE FROM public\."user" WHERE "order" IS NULL first') as fault:
        mover.run("changed by hand").prepare()
    statement = str(fault.value)[str(fault.value).index("ALTER TABLE") :].partition(";")[0]
    mover.conn.execute(statement.encode())  # as the sentence has it
    mover.run("mended").prepare()


def test_names_may_be_so_long_that_postgresql_cuts_those_of_constraints(declare: Declare) -> None:
    status = Column("status", "text", "status_of_" + "x" * 53, enum=("new", "it's"))
    tag = Column("tag", "integer", "tag_of_" + "x" * 56, required=True)
    mover = declare(Collection("marks", "marks_of_somebody", "at", (status, tag), unique=((tag.name,),)))
    mover.database.marks.insert_many([{"_id": oid(at), "status": "new", "tag": 1} for at in (1, 2)])
    assert outcome(passed_twice(mover)["marks"]) == (2, 1, 0, 0, {"duplicate_key": 1})


@pytest.mark.parametrize(
    "document",
    [
        {"meta": {"level": 3}},
        {"meta": {}},
        {"meta": None},
        {"meta": {"cache": 1}},
        {"meta": "flat"},
        {"other": {"cache": {"a": 1}}},
        {"other": {"cache": 1, "kept": 2}},
        {"other": {}},
        {"other": None},
        {"other": "flat"},
        {},
    ],
)
def test_defaults_and_ignored_fields_in_sub_documents_that_hold_nothing_else(declare: Declare, document: dict[str, Any]) -> None:
    columns = (Column("meta.level", "integer", default=1), Column("meta.name", "text"))
    mover = declare(Collection("marks", "marks", "at", columns, ignored=("other.cache", "meta.cache")))
    mover.database.marks.insert_one({"_id": oid(1), **document})
    assert outcome(passed_twice(mover)["marks"]) == (1, 1, 0, 0, {})
    level = 3 if document.get("meta") == {"level": 3} else 1
    assert mover.column("SELECT meta_level FROM marks") == [level]


def test_no_message_tells_a_sensitive_value_that_stands_in_the_way_of_a_key(declare: Declare) -> None:
    mover = declare(
        Collection("keys", "keys", "at", (Column("token", "text", required=True, sensitive=True),), unique=(("token",),))
    )
    mover.database.keys.insert_one({"_id": oid(1), "token": "a-secret"})
    mover.passed("first")
    mover.conn.execute("ALTER TABLE public.keys DROP CONSTRAINT keys_token_key")
    mover.conn.execute("INSERT INTO public.keys SELECT gen_random_uuid(), token FROM public.keys")
    with pytest.raises(PermanentError, match=r"keys_token_key of keys cannot be built \(could not create unique index") as raised:
        schema.build_post_data(mover.conn, [mover.domain], set())
    assert "a-secret" not in "".join(traceback.format_exception(raised.value))
