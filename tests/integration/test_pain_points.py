"""What hurts the users of other movers, from a server that keeps any document to PostgreSQL; each test bears its number.

The numbers PP-… are those of the team's survey of other tools; `tests/unit/test_pain_point_numbers.py` holds the list of them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, DatetimeMS, Decimal128, Int64
from pymongo.database import Database

from mongo2pg.files.staging import read_json
from mongo2pg.model import Column, Domain
from mongo2pg.target import scripts
from tests.documents import oid, uuid_of
from tests.hostile import HOSTILE, THINGS, write_sql
from tests.mover import EACH, Mover


@pytest.fixture
def mover(
    mongo_database: Database[dict[str, Any]], target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Mover]:
    monkeypatch.setattr(scripts, "INCLUDE", write_sql(tmp_path / "sql"))
    for collection in HOSTILE.collections:
        mongo_database.create_collection(collection.name)
    with target.connect() as conn:
        yield Mover(mongo_database, conn, tmp_path / "staging", HOSTILE)


def with_column(name: str, **changes: Any) -> Domain:
    """The domain with one column of things declared otherwise."""
    columns = tuple(replace(column, **changes) if column.name == name else column for column in THINGS.columns)
    return replace(HOSTILE, collections=(replace(THINGS, columns=columns), *HOSTILE.collections[1:]))


def numbered(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"_id": oid(number), "count": number, **fields} for number in range(count)]


@pytest.mark.parametrize(
    ("policy", "stored"), [("remove", "abc"), ("replace", "a\N{REPLACEMENT CHARACTER}bc\N{REPLACEMENT CHARACTER}")]
)
def test_a_declared_policy_for_u_0000_is_verified_and_counted_pp_01_pp_03(mover: Mover, policy: str, stored: str) -> None:
    documents = [{"_id": oid(1), "name": "a\0bc\0"}, {"_id": oid(2), "name": r"a\u0000bc"}, {"_id": oid(3), "name": "abc"}]
    mover.database.things.insert_many(documents)
    mover.domain = with_column("name", nul=policy)
    report = mover.passed("run")["things"]
    assert mover.column("SELECT name FROM things ORDER BY id") == [stored, r"a\u0000bc", "abc"]
    assert [rule["count"] for rule in report["conversions"]["name"].values()] == [1]
    assert report["misfits"] == {}


def test_one_text_among_ten_thousand_numbers_leaves_the_numbers_and_is_kept_pp_12(mover: Mover) -> None:
    documents = numbered(10_000)
    documents[7_000]["count"] = "P0009414"
    mover.database.things.insert_many(documents)
    report = mover.passed("run")["things"]
    assert mover.rows("SELECT count(count), sum(count) FROM things") == [(9_999, sum(range(10_000)) - 7_000)]
    assert mover.rows("SELECT id::text, extra FROM things WHERE count IS NULL") == [(uuid_of(7_000), {"count": "P0009414"})]
    assert report["misfits"] == {"count": 1}


MISMATCHES: dict[str, Any] = {
    "name": 5,
    "at": "2025-01-01T00:00:00Z",
    "count": 1.5,
    "total": 2.0**63,
    "ratio": Int64(2**53 + 1),
    "price": "1.10",
    "active": 1,
    "owner": [oid(1)],
    "blob": "bytes",
    "tags": ["a", 5],
    "meta": 5,
}


@pytest.mark.parametrize("field", MISMATCHES)
def test_a_mismatch_is_never_counted_as_none_pp_13(mover: Mover, field: str) -> None:
    fitting = {"name": "a", "at": DatetimeMS(0), "ratio": 0.5, "price": Decimal128("1"), "active": True, "tags": ["a"]}
    documents = [{"_id": oid(number), **fitting} for number in range(40)]
    for number in (0, 17, 39):
        documents[number][field] = MISMATCHES[field]
    mover.database.things.insert_many(documents)
    report = mover.passed("run")["things"]
    assert sum(report["misfits"].values()) == 3
    assert mover.column("SELECT id::text FROM things WHERE extra ? %s ORDER BY 1", field) == [uuid_of(n) for n in (0, 17, 39)]


def test_long_numbers_after_ten_thousand_short_ones_are_neither_cut_nor_a_failure_pp_14(mover: Mover) -> None:
    documents = [{"_id": oid(n), "count": n, "total": n, "ratio": n, "price": n, "scores": [n]} for n in range(10_000)]
    large = Int64(10**12)
    documents.append({"_id": oid(10_000), "count": large, "total": large, "ratio": large, "price": large, "scores": [large]})
    mover.database.things.insert_many(documents)
    report = mover.passed("run")["things"]
    last = mover.rows("SELECT count, total, ratio, price, extra FROM things WHERE id = %s", uuid_of(10_000))
    assert last == [(None, 10**12, 1e12, 10**12, {"count": 10**12})]
    assert mover.column("SELECT max(score) FROM thing_scores") == [1e12]
    assert report["misfits"] == {"count": 1}


def test_nulls_in_nested_arrays_shift_nothing_pp_15(mover: Mover) -> None:
    chance = random.Random(15)

    def part() -> dict[str, Any]:
        fields = {"label": chance.choice(["a", "b", None, ...]), "size": chance.choice([1, 2, None, ...] * 10 + [0.5])}
        return {key: value for key, value in fields.items() if value is not ...}

    documents: list[dict[str, Any]] = [
        {
            "_id": oid(number),
            "meta": chance.choice([{"level": number}, {"level": None}, {}, None]),
            "parts": chance.choice([None, [], [part() for _ in range(chance.randrange(5))]]),
            "scores": chance.choice([[], [float(number), 0.5]]),
            "payload": chance.choice([None, [None, number, [None, {}]], {"x": None}]),
        }
        for number in range(2_000)
    ]
    mover.database.things.insert_many(documents)
    mover.passed("run", 50_000)
    levels = dict(mover.rows("SELECT id::text, meta_level FROM things"))
    payloads = dict(mover.rows("SELECT id::text, payload FROM things"))
    parts: dict[tuple[str, int], Any] = {
        (thing, ordinal): (label, size, extra)
        for thing, ordinal, label, size, extra in mover.rows("SELECT thing_id::text, ordinal, label, size, extra FROM thing_parts")
    }
    scores = mover.rows("SELECT thing_id::text, ordinal, score FROM thing_scores")
    want_parts = {}
    for number, document in enumerate(documents):
        assert levels[uuid_of(number)] == (document["meta"] or {}).get("level")
        assert payloads[uuid_of(number)] == document["payload"]
        for ordinal, each in enumerate(document["parts"] or []):
            size = each.get("size")
            misfit = {"size": size} if size == 0.5 else None
            want_parts[uuid_of(number), ordinal] = (each.get("label"), None if misfit else size, misfit)
    assert parts == want_parts
    assert sorted(scores) == sorted(
        (uuid_of(n), at, value) for n, d in enumerate(documents) for at, value in enumerate(d["scores"])
    )


def test_a_field_that_appears_in_the_last_documents_only_is_kept_and_reported_pp_16(mover: Mover) -> None:
    documents = numbered(3_000)
    for document in documents[-30:]:
        document |= {"loyalty": {"tier": 3}, "active": True}
    mover.database.things.insert_many(documents)
    report = mover.passed("run")["things"]
    assert mover.rows('SELECT count(*), min(id::text) FROM things WHERE extra = \'{"loyalty": {"tier": 3}}\'') == [
        (30, uuid_of(2_970))
    ]
    assert mover.column("SELECT count(*) FROM things WHERE active") == [30], "declared, so it has its column"
    assert report["drift"].keys() == {"loyalty"}
    assert (report["drift"]["loyalty"]["count"], report["drift"]["loyalty"]["bson_types"]) == (30, {"object": 30})


def test_a_second_run_that_sees_only_nulls_changes_no_type_pp_17(mover: Mover) -> None:
    def columns() -> list[tuple[Any, ...]]:
        return mover.rows(
            """
            SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns
            WHERE table_schema = 'public' ORDER BY 1, 2
            """
        )

    full = {"name": "a", "at": DatetimeMS(0), "count": 1, "ratio": 0.5, "payload": {"x": 1}, "tags": ["a"], "unknown": 5}
    mover.database.things.insert_many([{"_id": oid(number), **full} for number in range(50)])
    mover.passed("first")
    before = columns()
    mover.database.things.update_many({}, {"$set": dict.fromkeys(full)})
    report = mover.passed("second")["things"]
    assert columns() == before
    assert (report["updated"], report["misfits"]) == (50, {})
    assert mover.rows("SELECT DISTINCT name, at, count, ratio, payload, tags, extra FROM things") == [
        (None,) * 6 + ({"unknown": None},)
    ]


@pytest.mark.parametrize("chunk_bytes", [64 << 20, 400, EACH], ids=["one chunk", "some chunks", "many chunks"])
def test_chunks_over_ids_of_mixed_types_hold_every_document_once_pp_21_pp_22(mover: Mover, chunk_bytes: int) -> None:
    ids: list[Any] = [*range(20), *(f"text {n}" for n in range(20)), *(oid(n) for n in range(20)), 0.5, True, DatetimeMS(5), None]
    ids += [{"a": 1}, b"bytes", Binary(bytes(16), 4), Decimal128("7.5")]
    documents = [{"_id": value, "count": number} for number, value in enumerate(ids)]
    random.Random(22).shuffle(documents)
    mover.database.things.insert_many(documents)
    run = mover.move("run", chunk_bytes)
    report = run.verify()
    assert report["passed"] is True, report["failures"]
    staging = run.staging.collection(run.key.plan_id, "things")
    chunks = [read_json(staging.manifest(at))["documents"] for at in range(len(read_json(staging.plan)["bounds"]))]
    assert sum(chunks) == mover.database.things.count_documents({}) == len(ids)
    assert len(chunks) == 1 if chunk_bytes > 10_000 else len(chunks) > 5
    assert mover.column("SELECT count FROM things ORDER BY 1") == list(range(len(ids)))


def test_a_name_that_postgresql_would_cut_is_no_declaration_pp_20() -> None:
    from mongo2pg.errors import DeclarationError

    with pytest.raises(DeclarationError, match="over 63 bytes"):
        Column("a" * 64, "text")
    with pytest.raises(DeclarationError, match="no plain SQL name"):
        Column("price$", "text")
    with pytest.raises(DeclarationError, match="two columns are called 'a_b'"):
        replace(THINGS, columns=(Column("a.b", "text"), Column("aB", "text")))
