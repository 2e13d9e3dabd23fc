"""References of a table to itself: comments that answer comments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from mongo2pg.model import Collection, Column, Domain
from mongo2pg.planning.modes import WINDOW, Request
from mongo2pg.target import scripts
from tests.documents import NOON, oid, uuid_of
from tests.mover import EACH, Mover, counts

COLUMNS = (
    Column("answers", "uuid", references="comments"),
    Column("slug", "text", required=True),
    Column("updatedAt", "timestamptz"),
)
FORUM = Domain("forum", (Collection("comments", "comments", "updatedAt", COLUMNS, unique=(("slug",),)),))
PRE = """
CREATE TABLE IF NOT EXISTS public.comments (
    id uuid NOT NULL, answers uuid, slug text NOT NULL, updated_at timestamptz, extra jsonb
);
"""
POST = """
ALTER TABLE public.comments ADD CONSTRAINT comments_pkey PRIMARY KEY (id);
ALTER TABLE public.comments ADD CONSTRAINT comments_slug_key UNIQUE (slug);
ALTER TABLE public.comments ADD CONSTRAINT comments_answers_fkey FOREIGN KEY (answers) REFERENCES public.comments (id);
"""
HOUR = timedelta(hours=1)


@pytest.fixture
def mover(
    mongo_database: Database[dict[str, Any]], target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mover]:
    folder = tmp_path / "sql" / "forum"
    folder.mkdir(parents=True)
    (folder / "pre_data.sql").write_text(PRE)
    (folder / "post_data.sql").write_text(POST)
    monkeypatch.setattr(scripts, "INCLUDE", tmp_path / "sql")
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path / "staging", FORUM)


def comment(number: int, answers: int | None = None, slug: str = "", hour: int = 0) -> dict[str, Any]:
    slug, updated = slug or f"comment {number}", NOON + hour * HOUR
    return {"_id": oid(number), "answers": answers and oid(answers), "slug": slug, "updatedAt": updated}


def write(mover: Mover, *comments: dict[str, Any]) -> None:
    for each in comments:
        mover.database.comments.replace_one({"_id": each["_id"]}, each, upsert=True)


def follow(mover: Mover, hour: int) -> None:
    run = mover.run(f"hour {hour}")
    run.follow(Request(WINDOW, NOON + hour * HOUR, NOON + (hour + 1) * HOUR))
    counts(run)


def answers(mover: Mover) -> dict[int, int | None]:
    numbers = {uuid_of(number): number for number in range(10)}
    return {
        numbers[own]: numbers.get(other) for own, other in mover.rows("SELECT id::text, answers::text FROM comments ORDER BY id")
    }


@pytest.mark.parametrize("slug", ["new", "comment 2"], ids=["free", "about to be free"])
def test_a_row_that_is_there_may_come_to_refer_to_one_that_is_held_with_it(mover: Mover, slug: str) -> None:
    write(mover, comment(1), comment(2))
    mover.passed("first")
    # 3 is held for its reference to 4, and 1 for its reference to 3.
    write(mover, comment(1, answers=3, hour=1), comment(2, slug="other", hour=1), comment(3, answers=4, slug=slug, hour=1))
    write(mover, comment(4, hour=1))
    follow(mover, 1)
    assert answers(mover) == {1: 3, 2: None, 3: 4, 4: None}


def test_comments_that_answer_each_other_or_themselves(mover: Mover) -> None:
    write(mover, comment(1, answers=2), comment(2, answers=1), comment(3, answers=3), comment(4, answers=5))
    mover.passed("first", EACH)
    assert answers(mover) == {1: 2, 2: 1, 3: 3, 4: None}
    write(mover, comment(1, answers=5, hour=1), comment(5, answers=6, hour=1), comment(6, answers=5, hour=1))
    follow(mover, 1)
    assert answers(mover) == {1: 5, 2: 1, 3: 3, 4: None, 5: 6, 6: 5}
    follow(mover, 2)
    assert answers(mover)[4] == 5, "its turn has come"
    mover.database.comments.delete_one({"_id": oid(5)})
    mover.passed("last")
    assert answers(mover) == {1: None, 2: 1, 3: 3, 4: None, 6: None}


def test_a_required_reference_to_a_row_that_comes_with_it(mover: Mover, tmp_path: Path) -> None:
    (comments,) = FORUM.collections
    answers_column, *others = comments.columns
    required = replace(comments, columns=(replace(answers_column, required=True), *others))
    mover.domain = replace(FORUM, collections=(required,))
    (tmp_path / "sql" / "forum" / "pre_data.sql").write_text(PRE.replace("answers uuid", "answers uuid NOT NULL"))
    write(mover, comment(1, answers=1), comment(2, answers=2))
    mover.passed("first")
    write(mover, comment(1, answers=3, hour=1), comment(3, answers=3, hour=1))
    follow(mover, 1)
    assert answers(mover) == {1: 3, 2: 2, 3: 3}


def test_a_repair_that_brings_a_comment_fills_in_the_reference_of_its_answer(mover: Mover) -> None:
    write(mover, comment(1, answers=2))
    mover.passed("first")
    write(mover, comment(2))
    report = mover.run("repair").reconcile(repair=True)
    assert (report["passed"], report["failures"]) == (True, [])
    assert answers(mover) == {1: 2, 2: None}
    image = mover.image()
    assert mover.run("again").reconcile(repair=True)["passed"] is True
    assert mover.image() == image
