"""The replay server answers pymongo as a server does, from bytes that it does not look into, and fails when it is told to."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import AutoReconnect, CursorNotFound, OperationFailure

from benchmarks.replay_server import ReplayServer
from demo.processes import Children, wait_until
from mongo2pg.checks.source_count import server_lengths
from mongo2pg.databases.source import stored_bytes
from mongo2pg.databases.window import Part
from mongo2pg.documents.decode import OPTIONS
from mongo2pg.model import Child, Collection
from mongo2pg.planning.plan import _cuts
from tests.documents import NOON, oid, user
from tests.unit.raw_bson import Pairs, document

REPOSITORY = Path(__file__).resolve().parents[2]

# One `_id` of each type that a collection may have, in the server's order (manual, "Comparison/Sort Order").
IDS_IN_ORDER: list[Any] = [
    MinKey(),
    None,
    float("nan"),
    float("-inf"),
    -5,
    0,
    Decimal128("1.5"),
    2,
    Int64(2**53 + 1),
    float("inf"),
    "",
    "A",
    "a",
    "é",
    {"a": 1},
    {"b": 0},
    {"a": "x"},
    b"",
    b"zz",
    Binary(b"aaa", 4),
    oid(1),
    oid(2),
    False,
    True,
    bson.DatetimeMS(-(2**63)),
    bson.DatetimeMS(0),
    Timestamp(1, 2),
    Timestamp(2, 1),
    Code("x"),
    Code("x", {}),
    MaxKey(),
]


@pytest.fixture
def server() -> Iterator[ReplayServer]:
    with ReplayServer({}) as server:
        yield server


@pytest.fixture
def client(server: ReplayServer) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](server.uri, serverSelectionTimeoutMS=5_000) as client:
        yield client


def put(server: ReplayServer, name: str, documents: list[dict[str, Any]]) -> None:
    server.put("shop", name, [bson.encode(each, codec_options=OPTIONS) for each in documents])


def numbered(count: int) -> list[dict[str, Any]]:
    return [{"_id": oid(number), "n": number, "even": number % 2 == 0} for number in range(count)]


# ------------------------------------------------------------------------------------------------------ what is there


def test_the_first_words_with_a_client(server: ReplayServer, client: MongoClient[dict[str, Any]]) -> None:
    hello = client.admin.command("hello")
    assert (hello["isWritablePrimary"], hello["maxWireVersion"], hello["ok"]) == (True, 21, 1.0)
    assert abs(hello["localTime"].timestamp() - time.time()) < 60
    assert client.admin.command("ping") == {"ok": 1.0}
    assert client.server_info()["version"] == "7.0.0"
    assert client.admin.command("getParameter", 1, featureCompatibilityVersion=1)["featureCompatibilityVersion"] == {
        "version": "7.0"
    }
    assert client.admin.command("connectionStatus")["authInfo"]["authenticatedUsers"] == []


def test_it_presents_itself_as_a_replica_set() -> None:
    with (
        ReplayServer({"shop": {"things": [bson.encode({"_id": 1})]}}, replica_set="rs0") as server,
        MongoClient[dict[str, Any]](server.uri, serverSelectionTimeoutMS=5_000) as client,
    ):
        assert list(client.shop.things.find()) == [{"_id": 1}]
        assert client.primary == ("127.0.0.1", server.port)


def test_lists(server: ReplayServer, client: MongoClient[dict[str, Any]]) -> None:
    put(server, "users", numbered(3))
    put(server, "orders", [])
    assert client.list_database_names() == ["shop"]
    assert client.shop.list_collection_names() == ["orders", "users"]
    assert client.shop.list_collection_names(filter={"name": "users"}, authorizedCollections=True) == ["users"]
    assert client.shop.list_collection_names(filter={"name": {"$regex": "^o"}}) == ["orders"]
    assert [each["idIndex"]["key"] for each in client.shop.list_collections()] == [{"_id": 1}] * 2
    assert [each["name"] for each in client.shop.users.list_indexes()] == ["_id_"]
    assert client.nowhere.list_collection_names() == []


def test_statistics(server: ReplayServer, client: MongoClient[dict[str, Any]]) -> None:
    documents = numbered(7)
    put(server, "users", documents)
    size = sum(len(bson.encode(each)) for each in documents)
    stats = client.shop.command("collStats", "users")
    assert (stats["count"], stats["size"], stats["ns"]) == (7, size, "shop.users")
    assert client.shop.command("collStats", "nothing")["count"] == 0
    (stats,) = client.shop.users.aggregate([{"$collStats": {"storageStats": {}}}])
    assert stats["storageStats"]["size"] == size
    assert client.shop.users.estimated_document_count() == 7


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"insert": "users", "documents": []}, 13),
        ({"saslStart": 1, "mechanism": "PLAIN"}, 59),
        ({"find": "users", "collation": {"locale": "de"}}, 9),
        ({"find": "users", "filter": {"$where": "1"}}, 2),
        ({"find": "users", "filter": {"n": {"$mod": [2, 0]}}}, 2),
        ({"find": "users", "hint": "n_1"}, 2),
        ({"find": "users", "min": {"n": 1}}, 2),
        ({"aggregate": "users", "pipeline": [{"$lookup": {}}], "cursor": {}}, 40324),
        ({"aggregate": "users", "pipeline": [{"$group": {"_id": None, "n": {"$sum": {"$size": "$n"}}}}], "cursor": {}}, 17124),
        ({"getMore": Int64(4711), "collection": "users"}, 43),
    ],
    ids=lambda value: value if isinstance(value, int) else next(iter(value)),
)
def test_what_it_does_not_understand_it_refuses(
    server: ReplayServer, client: MongoClient[dict[str, Any]], command: dict[str, Any], code: int
) -> None:
    put(server, "users", numbered(3))
    with pytest.raises(OperationFailure) as refusal:
        client.shop.command(command)
    assert refusal.value.code == code


# ------------------------------------------------------------------------------------------------------------ reading


def test_documents_arrive_byte_for_byte(server: ReplayServer, client: MongoClient[dict[str, Any]]) -> None:
    broken = b"\x10\0\0\0\x02not bson\xff\0\0"[:16]
    raws = [bson.encode({"_id": 1}), broken, document(Pairs((("a", 1), ("a", 2)))), bson.encode({"no": "id"})]
    server.put("shop", "things", raws)
    assert b"".join(client.shop.things.find_raw_batches({})) == b"".join(raws)
    assert client.shop.things.count_documents({}) == 4
    assert client.shop.things.count_documents({}, hint="_id_") == 4


@pytest.mark.parametrize("batch_size", [None, 1, 2, 100, 250, 1000])
def test_batches_are_as_long_as_asked(server: ReplayServer, client: MongoClient[dict[str, Any]], batch_size: int | None) -> None:
    put(server, "users", numbered(250))
    options = {"batch_size": batch_size} if batch_size else {}
    lengths = [len(bson.decode_all(batch)) for batch in client.shop.users.find_raw_batches({}, **options)]
    want = [101, 149] if batch_size is None else [batch_size] * (250 // batch_size) + [250 % batch_size] * (250 % batch_size > 0)
    assert [length for length in lengths if length] == want


def test_a_batch_holds_16_mb_and_at_least_one_document(server: ReplayServer, client: MongoClient[dict[str, Any]]) -> None:
    put(server, "blobs", [{"_id": number, "blob": b"x" * size} for number, size in enumerate([7 << 20, 7 << 20, 16_776_000, 2000])])
    lengths = [len(bson.decode_all(batch)) for batch in client.shop.blobs.find_raw_batches({})]
    assert lengths == [2, 1, 1]


def test_sort_limit_skip_projection(server: ReplayServer, client: MongoClient[dict[str, Any]]) -> None:
    documents = numbered(20)
    put(server, "users", documents[::-1])
    users = client.shop.users
    assert [each["n"] for each in users.find()] == list(range(19, -1, -1))
    assert [each["n"] for each in users.find().sort("_id", 1)] == list(range(20))
    assert [each["n"] for each in users.find().sort("_id", -1).skip(2).limit(3)] == [17, 16, 15]
    assert [each["n"] for each in users.find().sort([("even", -1), ("n", 1)]).limit(12)] == [*range(0, 20, 2), 1, 3]
    assert list(users.find({}, {"_id": 1}).limit(2)) == [{"_id": oid(19)}, {"_id": oid(18)}]
    assert list(users.find({"_id": oid(3)}, {"n": 1, "_id": 0})) == [{"n": 3}]
    assert users.find_one({"n": 4}) == documents[4]
    assert users.find_one({"_id": oid(77)}) is None
    assert users.find_one(skip=5)["n"] == 14
    with users.find(batch_size=3) as cursor:
        assert next(cursor)["n"] == 19
        number = cursor.cursor_id
    killed = client.shop.command("killCursors", "users", cursors=[Int64(number)])
    assert killed["cursorsNotFound"] == [number], "closing the cursor killed it already"


def test_filters(server: ReplayServer, client: MongoClient[dict[str, Any]]) -> None:
    put(
        server,
        "users",
        [{"_id": 1, "a": 5}, {"_id": 2, "a": 5.0, "b": {"c": ["x", "y"]}}, {"_id": 3, "a": "5"}, {"_id": 4, "a": None}],
    )

    def found(query: dict[str, Any]) -> list[int]:
        assert client.shop.users.count_documents(query) == client.shop.command("count", "users", query=query)["n"]
        return [each["_id"] for each in client.shop.users.find(query)]

    assert found({"a": 5}) == [1, 2]
    assert found({"a": None}) == [4]
    assert found({"b": None}) == [1, 3, 4]
    assert found({"b.c": "y"}) == [2]
    assert found({"a": {"$gte": 5, "$lt": 6}}) == [1, 2]
    assert found({"a": {"$in": ["5", None]}, "_id": {"$gt": 3}}) == [4]
    assert found({"$and": [{"_id": {"$gt": 1}}, {"b": {"$exists": False}}]}) == [3, 4]
    assert found({"a": {"$ne": 5}}) == [3, 4]
    assert found({"_id": {"$in": [4, 1, 9]}}) == [1, 4]
    assert found({"_id": {"$ne": 2}}) == [1, 3, 4]
    assert found({"a": re.compile("^5")}) == [3]
    assert found({"$or": [{"a": {"$gt": 4}, "_id": 2}, {"b": None, "a": None}]}) == [2, 4]
    assert found({"a": {"$type": "number"}}) == [1, 2]
    assert found({"a": {"$type": [1, "string"]}}) == [2, 3]
    assert found({"b.c": {"$type": "array"}}) == [2]
    assert found({"a": {"$gte": 5, "$not": {"$type": "int"}}}) == [2]
    assert found({"_id": {"$gte": 2, "$not": {"$type": "objectId"}}, "$or": [{"a": "5"}]}) == [3]
    with pytest.raises(OperationFailure, match="Unknown type name alias: text"):
        found({"a": {"$type": "text"}})


@pytest.mark.parametrize("in_front", [True, False], ids=["_id first", "_id last"])
def test_ids_of_all_types_have_the_servers_order(server: ReplayServer, client: MongoClient[dict[str, Any]], in_front: bool) -> None:
    # Every order but the right one, so that the order found is the server's work.
    mixed = IDS_IN_ORDER[::-2] + IDS_IN_ORDER[::-1][1::2]
    put(server, "mixed", [{"_id": each, "x": 1} if in_front else {"x": 1, "_id": each} for each in mixed])
    collection = client.shop.get_collection("mixed", codec_options=OPTIONS)

    def ids(cursor: Any) -> list[str]:
        return [repr(each["_id"]) for each in cursor]

    in_order = list(map(repr, IDS_IN_ORDER))
    assert ids(collection.find().sort("_id", 1)) == in_order
    assert ids(collection.find({}, {"_id": 1}, hint="_id_")) == in_order
    assert ids(collection.find({}, {"_id": 1}).sort("_id", -1)) == in_order[::-1]
    for at, bound in enumerate(IDS_IN_ORDER):
        below = ids(collection.find(hint=[("_id", 1)]).max([("_id", bound)]))
        above = ids(collection.find(hint=[("_id", 1)]).min([("_id", bound)]))
        assert (below, above) == (in_order[:at], in_order[at:]), bound
        assert ids(collection.find({"_id": bound})) == [in_order[at]]


@pytest.mark.parametrize(
    ("query", "want"),
    [
        ({"$gt": "A"}, ["a", "é"]),
        ({"$gte": 2}, [2, Int64(2**53 + 1), float("inf")]),
        ({"$lt": 0}, [float("-inf"), -5]),
        ({"$gt": oid(1)}, [oid(2)]),
        ({"$lte": float("nan")}, [float("nan")]),
        ({"$gt": MinKey()}, IDS_IN_ORDER[1:]),
        ({"$lt": MaxKey()}, IDS_IN_ORDER[:-1]),
        ({"$gt": bson.DatetimeMS(-1), "$lte": bson.DatetimeMS(5)}, [bson.DatetimeMS(0)]),
    ],
    ids=str,
)
def test_a_range_finds_only_its_own_type_pp_22(
    server: ReplayServer, client: MongoClient[dict[str, Any]], query: dict[str, Any], want: list[Any]
) -> None:
    put(server, "mixed", [{"_id": each} for each in IDS_IN_ORDER[::-1]])
    found = client.shop.get_collection("mixed", codec_options=OPTIONS).find({"_id": query})
    assert list(map(repr, (each["_id"] for each in found))) == list(map(repr, want))


# ------------------------------------------------------------------------------------------------------- aggregations

THINGS: list[dict[str, Any]] = [
    {"_id": 1, "tags": ["a", "b"], "deep": {"list": [1, [2, 3], None]}, "map": {"x": 1, "y": 2}, "n": 3},
    {"_id": 2, "tags": [], "deep": {"list": None}, "map": {}, "n": 2.5},
    {"_id": 3, "tags": None, "deep": [{"list": [1]}, {"list": [2]}], "map": None},
    {"_id": 4, "tags": "a", "deep": 5, "map": [1, 2], "n": "x"},
    {"_id": 5, "tags": {"0": 1}, "deep": {}, "n": Int64(2**40)},
    {"_id": "six"},
]
LENGTHS = Collection(
    "things",
    "things",
    "updatedAt",
    (),
    children=(
        Child("one", "tags", "documents", ()),
        Child("two", "deep.list", "documents", ()),
        Child("three", "map", "map", (), key="name"),
    ),
)


def test_the_movers_own_questions(server: ReplayServer, client: MongoClient[dict[str, Any]]) -> None:
    put(server, "things", THINGS)
    assert server_lengths(client.shop, LENGTHS, {}) == {"tags": 2, "deep.list": 3, "map": 2}
    size = sum(len(bson.encode(each)) for each in THINGS)
    assert stored_bytes(client.shop, "things") == size
    cuts = _cuts(client.shop, "things", 3, Part({}, None), "_id")
    assert len(cuts) == 2
    put(server, "nothing", [])
    assert server_lengths(client.shop, replace(LENGTHS, name="nothing"), {}) == {"tags": 0, "deep.list": 0, "map": 0}
    assert client.shop.nothing.count_documents({}) == 0


@pytest.mark.parametrize(
    "stages",
    [
        [{"$match": {"_id": {"$gt": 2}}}, {"$group": {"_id": 1, "n": {"$sum": 1}}}],
        [{"$group": {"_id": None, "n": {"$sum": "$n"}, "documents": {"$sum": 1}}}],
        [{"$group": {"_id": {"$type": "$tags"}, "n": {"$sum": 1}}}, {"$sort": {"_id": 1}}],
        [{"$project": {"size": {"$bsonSize": "$$ROOT"}, "type": {"$type": "$deep"}}}, {"$sort": {"_id": -1}}],
        [{"$project": {"_id": 0, "is": {"$isArray": "$tags"}, "or": {"$or": [{"$eq": ["$n", 3]}, {"$gt": ["$n", "a"]}]}}}],
        [{"$sort": {"_id": 1}}, {"$skip": 1}, {"$limit": 2}, {"$project": {"_id": 1}}],
        [{"$match": {"tags": "a"}}, {"$count": "n"}],
        [{"$project": {"c": {"$cond": {"if": {"$isArray": "$tags"}, "then": {"$size": "$tags"}, "else": "none"}}}}],
        [{"$project": {"v": {"$ifNull": ["$n", "$tags", 0]}, "l": {"$literal": "$n"}}}],
    ],
    ids=lambda stages: " ".join(next(iter(stage)) for stage in stages),
)
def test_aggregations_give_what_the_embedded_server_gives(
    server: ReplayServer,
    client: MongoClient[dict[str, Any]],
    mongo_database: Database[dict[str, Any]],
    stages: list[dict[str, Any]],
) -> None:
    put(server, "things", THINGS)
    mongo_database.things.insert_many(THINGS)
    assert list(client.shop.things.aggregate(stages)) == list(mongo_database.things.aggregate(stages))
    assert list(client.shop.things.aggregate(stages)) == list(client.shop.things.aggregate(stages)), "also from its memory"


def test_a_path_leads_through_arrays_of_documents(server: ReplayServer, client: MongoClient[dict[str, Any]]) -> None:
    put(server, "things", THINGS)
    stages = [{"$match": {"_id": 3}}, {"$project": {"list": "$deep.list", "type": {"$type": "$deep.list"}}}]
    assert list(client.shop.things.aggregate(stages)) == [{"_id": 3, "list": [[1], [2]], "type": "array"}]


def test_a_sample_holds_each_document_once_at_most(server: ReplayServer, client: MongoClient[dict[str, Any]]) -> None:
    put(server, "users", numbered(500))
    stages = [{"$sample": {"size": 200}}, {"$project": {"_id": 1}}, {"$sort": {"_id": 1}}]
    one, other = ([each["_id"] for each in client.shop.users.aggregate(stages)] for _ in range(2))
    assert one == sorted(set(one))
    assert len(one) == 200
    assert one != other, "each sample is drawn anew"


def test_the_same_answers_as_the_embedded_server(
    server: ReplayServer, client: MongoClient[dict[str, Any]], mongo_database: Database[dict[str, Any]]
) -> None:
    documents = [user(number, email=f"{number % 7}@x") for number in range(300)]
    put(server, "users", documents)
    mongo_database.users.insert_many(documents)
    ours, theirs = client.shop.users, mongo_database.users
    for query in (
        {},
        {"_id": {"$gt": oid(100)}},
        {"email": "3@x"},
        {"updatedAt": {"$gte": NOON}},
        {"roles": "reader"},
        {"_id": "x"},
    ):
        assert list(ours.find(query).sort("_id", 1)) == list(theirs.find(query).sort("_id", 1))
        assert ours.count_documents(query) == theirs.count_documents(query)
    for low, high in ((None, 50), (50, 60), (290, None)):
        cursors = [each.find().hint([("_id", 1)]) for each in (ours, theirs)]
        for cursor in cursors:
            if low:
                cursor.min([("_id", oid(low))])
            if high:
                cursor.max([("_id", oid(high))])
        one, other = map(list, cursors)
        assert one == other
    raw = ours.with_options(codec_options=bson.CodecOptions(document_class=RawBSONDocument))
    want = theirs.with_options(codec_options=bson.CodecOptions(document_class=RawBSONDocument))
    assert [each.raw for each in raw.find().sort("_id", 1)] == [each.raw for each in want.find().sort("_id", 1)]


# -------------------------------------------------------------------------------------------------------------- faults


def test_cursors_die_when_told_to(server: ReplayServer, client: MongoClient[dict[str, Any]]) -> None:
    put(server, "users", numbered(500))
    server.faults.kill_cursors_after = 3
    got: list[dict[str, Any]] = []
    with pytest.raises(CursorNotFound):
        got.extend(client.shop.users.find(batch_size=100))
    assert len(got) == 300
    assert len(list(client.shop.users.find(batch_size=100))) == 500, "a fault strikes once"


def test_the_connection_ends_in_the_middle_of_a_message_when_told_to(server: ReplayServer) -> None:
    put(server, "users", numbered(500))
    with MongoClient[dict[str, Any]](server.uri, retryReads=False) as client:
        client.admin.command("ping")
        server.faults.close_after = 3000
        with pytest.raises(AutoReconnect):
            list(client.shop.users.find())
        assert len(list(client.shop.users.find())) == 500


def test_a_delay_is_a_delay(server: ReplayServer, client: MongoClient[dict[str, Any]]) -> None:
    put(server, "users", numbered(30))
    server.faults.delay = 0.05
    started = time.monotonic()
    assert len(list(client.shop.users.find(batch_size=10))) == 30
    assert time.monotonic() - started >= 0.15


# -------------------------------------------------------------------------------------------------------- command line


def test_a_folder_is_served_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "data" / "shop").mkdir(parents=True)
    documents = [{"_id": ObjectId(), "r": Regex("x", "i")} for _ in range(5)]
    (tmp_path / "data" / "shop" / "things.bson").write_bytes(b"".join(map(bson.encode, documents)))
    children = Children(tmp_path / "children.json")
    command = [sys.executable, "-m", "benchmarks.replay_server", str(tmp_path / "data")]
    log = tmp_path / "log"
    child = children.start(
        "replay server", command, log, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stop_signal=signal.SIGTERM
    )
    try:
        uri = wait_until(lambda: re.search(r"mongodb://\S+", log.read_text()), child, 30)[0]
        with MongoClient[dict[str, Any]](uri) as client:
            assert list(client.shop.things.find()) == documents
    finally:
        children.close()
    assert child.popen
    assert child.popen.returncode == 0
