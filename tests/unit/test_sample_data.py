"""The sample data is what it says it is: repeatable, believable, and dirty exactly where its table says so."""

from __future__ import annotations

import ast
import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import bson
import pytest
from bson.binary import Binary
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from demo.sample import DIRT, DOMAINS, Dirt, clean_documents, documents

ROOT = Path(__file__).parents[2]
Document = dict[str, Any]

# At scale 1, and how many of them the pipeline must reject.
SIZES = [
    ("users", 3_000, 15),
    ("skilltrees", 2_900, 14),
    ("socialconnections", 4_000, 20),
    ("progresspoints", 10_100, 50),
    ("tasks", 6_000, 30),
    ("taskversions", 5_000, 25),
    ("taskdependencies", 2_000, 13),
    ("momenta", 2_500, 12),
    ("streaks", 2_500, 12),
    ("boosts", 2_000, 13),
    ("objectives", 3_000, 15),
    ("odysseys", 1_000, 4),
    ("seasons", 300, 1),
    ("rewards", 2_200, 11),
    ("notifications", 5_000, 25),
    ("pushsubscriptions", 1_500, 10),
    ("webhooks", 400, 2),
    ("challenges", 1_600, 10),
    ("analyticsevents", 15_000, 10),
]
COLLECTIONS = [name for name, _, _ in SIZES]


class Sample(NamedTuple):
    """A collection at scale 1: its documents, the same before the dirt, and which kind each position carries."""

    collection: str
    documents: list[Document]
    clean: list[Document]
    planted: dict[int, Dirt]

    def sound(self) -> Iterator[Document]:
        """The documents that load, as they were before anything was planted."""
        return (doc for at, doc in enumerate(self.clean) if not _takes_a_turn(self.planted.get(at)))

    def where(self, path: str, what: str) -> list[Document]:
        found = [self.documents[at] for at, kind in self.planted.items() if kind.path == path and what in kind.what]
        assert found, f"nothing planted at {path}: {what}"
        return found


@pytest.fixture(scope="module", params=COLLECTIONS)
def sample(request: pytest.FixtureRequest) -> Sample:
    return make(request.param)


def make(collection: str, scale: float = 1.0) -> Sample:
    docs = list(documents(collection, scale))
    planted = {at: kind for kind in DIRT[collection] for at in range(kind.phase, len(docs), kind.every)}
    return Sample(collection, docs, list(clean_documents(collection, scale)), planted)


def digest(collection: str, scale: float, seed: int = 7) -> str:
    return hashlib.sha256(b"".join(bson.encode(doc) for doc in documents(collection, scale, seed))).hexdigest()


def _takes_a_turn(kind: Dirt | None) -> bool:
    return kind is not None and kind.takes_a_turn


def key(value: Any) -> Any:
    """An id or reference as something to compare: the hex string of an ObjectId is that ObjectId."""
    return str(value) if isinstance(value, ObjectId) else (type(value).__name__, value) if isinstance(value, bytes) else value


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_the_domains_hold_the_collections_of_the_contract_in_its_order() -> None:
    want = {
        "auth": ("users", "skilltrees", "socialconnections", "progresspoints"),
        "task_orchestrator": ("tasks", "taskversions", "taskdependencies"),
        "engagement": ("momenta", "streaks", "boosts", "objectives", "odysseys", "seasons", "rewards"),
        "notification": ("notifications", "pushsubscriptions"),
        "external_bridge": ("webhooks",),
        "challenge": ("challenges",),
        "platform_analytics": ("analyticsevents",),
    }
    assert want == DOMAINS
    assert list(DOMAINS) == list(want)
    assert set(chain.from_iterable(DOMAINS.values())) == set(DIRT)


def test_scale_1_has_20_000_documents_of_auth_and_70_000_in_all_and_events_are_the_most() -> None:
    sizes = {name: size for name, size, _ in SIZES}
    assert sum(sizes[name] for name in DOMAINS["auth"]) == 20_000
    assert sum(sizes.values()) == 70_000
    assert max(sizes, key=lambda name: sizes[name]) == "analyticsevents"


def test_each_collection_has_its_size_and_its_rejects_at_scale_1(sample: Sample) -> None:
    want = next((size, rejects) for name, size, rejects in SIZES if name == sample.collection)
    rejects = [kind for kind in sample.planted.values() if kind.becomes == "rejected document"]
    assert (len(sample.documents), len(rejects)) == want


@pytest.mark.parametrize(
    ("collection", "scale", "want"),
    [
        ("users", 0.1, 300),
        ("progresspoints", 0.1, 1_010),
        ("seasons", 0.1, 30),
        ("webhooks", 0.1, 40),
        ("analyticsevents", 0.1, 1_500),
        ("seasons", 0.01, 20),
        ("webhooks", 0.001, 20),
        ("tasks", 2.5, 15_000),
    ],
)
def test_scale_multiplies_and_leaves_at_least_20(collection: str, scale: float, want: int) -> None:
    assert sum(1 for _ in documents(collection, scale)) == want


# --- the same again --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collection", COLLECTIONS)
def test_equal_arguments_give_equal_bytes_whatever_was_generated_before(collection: str) -> None:
    want = digest(collection, 0.05)
    half_read = documents(collection, 0.05)
    list(islice(half_read, 7))
    other = documents("users", 0.03)
    next(other)
    got = digest(collection, 0.05)
    next(other)
    assert got == want
    assert digest(collection, 0.05, seed=8) != want


def test_another_process_with_another_hash_seed_gives_the_same_bytes() -> None:
    code = (
        "import bson, hashlib; from demo.sample import documents; "
        "print(hashlib.sha256(b''.join(bson.encode(d) for c in ('users', 'odysseys', 'webhooks') for d in documents(c, 0.05)))"
        ".hexdigest())"
    )
    got = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, check=True, capture_output=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(got) == 1


def test_nothing_reads_the_clock_or_the_system_s_randomness() -> None:
    forbidden = {"now", "utcnow", "today", "time", "time_ns", "urandom", "uuid1", "uuid4", "SystemRandom", "secrets", "hash"}
    for path in sorted((ROOT / "demo" / "sample").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            assert name not in forbidden, f"{path.name}:{getattr(node, 'lineno', 0)} uses {name}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("ObjectId", "Random"):
                assert node.args, f"{path.name}:{node.lineno}: {node.func.id}() draws from the system"


def test_a_collection_is_streamed_and_not_built_first() -> None:
    assert len(list(islice(documents("analyticsevents", 10_000.0), 5))) == 5


# --- dirt ------------------------------------------------------------------------------------------------------------


def test_only_the_planted_documents_differ_from_clean_ones_and_only_in_the_named_fields(sample: Sample) -> None:
    for at, (clean, got) in enumerate(zip(sample.clean, sample.documents, strict=True)):
        kind = sample.planted.get(at)
        fields = {path.split(".")[0] for path in kind.path.split(", ")} if kind else set()
        assert bson.encode({k: v for k, v in clean.items() if k not in fields}) == bson.encode(
            {k: v for k, v in got.items() if k not in fields}
        ), (at, kind)


def test_each_planted_kind_shows_in_each_document_that_the_table_gives_it(sample: Sample) -> None:
    for at, kind in sample.planted.items():
        # What may be so by itself: an empty array, an anonymous event, a reference to a document without an ObjectId.
        if kind.becomes not in ("kept", "null"):
            assert bson.encode(sample.clean[at]) != bson.encode(sample.documents[at]), (at, kind)


def test_a_document_carries_one_kind_of_dirt_at_most(sample: Sample) -> None:
    kinds = DIRT[sample.collection]
    assert len(sample.planted) == sum(len(range(kind.phase, len(sample.documents), kind.every)) for kind in kinds)
    assert len({(kind.path, kind.what) for kind in kinds}) == len(kinds)


def test_every_kind_says_what_it_is_and_each_reject_and_misfit_why(sample: Sample) -> None:
    reasons = {"required", "type_mismatch", "nul_character", "duplicate_key", "orphan"}
    reasons |= {"enum", "not_integral", "out_of_range", "inexact"}
    for kind in DIRT[sample.collection]:
        assert kind.collection == sample.collection
        assert kind.what
        assert kind.share == 1 / kind.every
        if kind.becomes in ("misfit", "rejected element", "rejected document"):
            assert kind.reason in reasons, kind
        else:
            assert not kind.reason, kind


@pytest.mark.parametrize("scale", [0.1, 0.25, 0.37, 0.5, 1.0, 1.7, 3.0, 10.0])
@pytest.mark.parametrize(("collection", "size"), [(name, size) for name, size, _ in SIZES])
def test_rejected_documents_stay_under_one_percent_from_scale_a_tenth(collection: str, size: int, scale: float) -> None:
    count = round(size * scale)
    rejects = sum(len(range(kind.phase, count, kind.every)) for kind in DIRT[collection] if kind.takes_a_turn)
    assert rejects < count / 100


@pytest.mark.parametrize(
    ("collection", "what", "want"),
    [
        ("users", lambda doc: "email" not in doc, 3),
        ("users", lambda doc: "email" in doc and doc["email"] is None, 3),
        ("users", lambda doc: type(doc.get("email")) is int, 3),
        ("users", lambda doc: "\x00" in str(doc.get("email")), 3),
        ("users", lambda doc: doc.get("roles") == ["user", "mentor", "user"], 60),
        ("users", lambda doc: doc.get("roles") == "admin", 30),
        ("users", lambda doc: type(doc.get("name")) is int, 60),
        ("skilltrees", lambda doc: type(doc.get("userId")) is str and len(doc["userId"]) == 24, 58),
        ("skilltrees", lambda doc: isinstance(doc.get("skills"), dict) and len(doc["skills"]) == 24, 58),
        ("skilltrees", lambda doc: type(doc.get("skillPoints")) is str, 58),
        ("socialconnections", lambda doc: doc.get("connectionType") == "nemesis", 80),
        ("socialconnections", lambda doc: "connectedUserId" not in doc, 2),
        ("progresspoints", lambda doc: "timestamp" not in doc, 51),
        ("tasks", lambda doc: doc.get("tags") == ["home", None], 60),
        ("taskversions", lambda doc: doc.get("version") == "2", 2),
        ("streaks", lambda doc: isinstance(doc["project"], dict) and type(doc["project"]["projectId"]) is ObjectId, 50),
        ("odysseys", lambda doc: "stages" not in (doc.get("progressMap") or {"stages": 0}), 20),
        ("notifications", lambda doc: doc.get("channels", 0) is None, 100),
        ("pushsubscriptions", lambda doc: type(doc.get("endpoint")) is int, 2),
        ("webhooks", lambda doc: doc.get("events") == ["push", None], 8),
        ("challenges", lambda doc: type(doc.get("difficultyScore")) is Decimal128, 32),
        ("analyticsevents", lambda doc: doc.get("userId") == "anonymous", 150),
    ],
)
def test_dirt_counted_by_looking_at_the_documents(collection: str, what: Any, want: int) -> None:
    assert sum(1 for doc in documents(collection) if what(doc)) == want


def test_every_reason_to_reject_a_document_occurs_at_least_twice_where_there_is_room(sample: Sample) -> None:
    got = Counter((kind.path, kind.what) for kind in sample.planted.values() if kind.becomes == "rejected document")
    want = {(kind.path, kind.what) for kind in DIRT[sample.collection] if kind.becomes == "rejected document"}
    assert set(got) == want
    if sample.collection not in ("webhooks", "seasons"):
        assert min(got.values()) >= 2


# --- clean otherwise -------------------------------------------------------------------------------------------------


def test_ids_are_unique_but_for_the_planted_twins(sample: Sample) -> None:
    seen = Counter(key(doc["_id"]) for doc in sample.documents)
    twins = sum(1 for kind in sample.planted.values() if "another document's ObjectId" in kind.what)
    assert len(sample.documents) - len(seen) == twins
    assert len({repr(doc["_id"]) for doc in sample.documents}) == len(sample.documents)


@pytest.mark.parametrize("scale", [0.005, 0.1, 1.0])
@pytest.mark.parametrize(
    ("collection", "fields"),
    [
        ("users", ("email",)),
        ("skilltrees", ("userId",)),
        ("momenta", ("userId",)),
        ("streaks", ("userId",)),
        ("boosts", ("userId",)),
        ("socialconnections", ("userId", "connectedUserId")),
        ("taskversions", ("taskId", "version")),
        ("taskdependencies", ("taskId", "dependsOn")),
        ("pushsubscriptions", ("endpoint",)),
    ],
)
def test_unique_keys_hold_among_documents_that_are_not_planted_to_break_them(
    collection: str, fields: tuple[str, ...], scale: float
) -> None:
    it = make(collection, scale)
    loadable = [doc for at, doc in enumerate(it.documents) if not _takes_a_turn(it.planted.get(at))]
    keys = Counter(tuple(key(doc[field]) for field in fields) for doc in loadable)
    assert max(keys.values()) == 1
    duplicates = [
        it.documents[at]
        for at, kind in it.planted.items()
        if kind.reason == "duplicate_key" and kind.becomes == "rejected document" and kind.path == ", ".join(fields)
    ]
    assert all(tuple(key(doc[field]) for field in fields) in keys for doc in duplicates)
    assert len(duplicates) >= 2 or scale < 1


def test_nobody_is_connected_to_themselves() -> None:
    assert all(key(doc.get("userId")) != key(doc.get("connectedUserId")) for doc in documents("socialconnections"))


@pytest.mark.parametrize("scale", [0.005, 0.1, 0.5])
def test_every_reference_of_a_sound_document_reaches_a_document_that_loads(scale: float) -> None:
    loaded = {}
    for name in ("users", "tasks", "challenges", "objectives", "odysseys", "seasons"):
        it = make(name, scale)
        loaded[name] = {key(doc["_id"]) for at, doc in enumerate(it.documents) if not _takes_a_turn(it.planted.get(at))}
    targets = {"userId": "users", "connectedUserId": "users", "changedBy": "users", "taskId": "tasks", "dependsOn": "tasks"}
    targets |= {"challengeId": "challenges", "odysseyId": "odysseys", "seasonId": "seasons"}
    for name in COLLECTIONS:
        for doc in make(name, scale).sound():
            for field, target in targets.items():
                assert doc.get(field) is None or key(doc[field]) in loaded[target], (name, doc["_id"], field)
            for field, target in (("objectives", "objectives"), ("odysseys", "odysseys")):
                assert {key(one) for one in doc.get(field, [])} <= loaded[target], (name, doc["_id"], field)


@pytest.mark.parametrize("scale", [0.005, 0.1, 1.0])
def test_objectives_odysseys_and_seasons_say_the_same_of_each_other(scale: float) -> None:
    objectives, odysseys, seasons = (
        {key(clean["_id"] if type(doc["_id"]) is str else doc["_id"]): clean
         for at, (clean, doc) in enumerate(zip(it.clean, it.documents, strict=True)) if not _takes_a_turn(it.planted.get(at))}
        for it in (make(name, scale) for name in ("objectives", "odysseys", "seasons"))
    )  # fmt: skip
    for name, odyssey in odysseys.items():
        for one in odyssey["objectives"]:
            if key(one) in objectives:  # an objective with a text as its `_id` is listed under that
                assert key(objectives[key(one)]["odysseyId"]) == name
                assert objectives[key(one)].get("seasonId") == odyssey.get("seasonId")
    for name, season in seasons.items():
        for one in season["odysseys"]:
            assert key(odysseys[key(one)]["seasonId"]) == name
            assert key(odysseys[key(one)]["userId"]) == key(season["userId"])
    assert sum(len(season["odysseys"]) for season in seasons.values()) == sum("seasonId" in one for one in odysseys.values())


def test_documents_encode_and_stay_below_mongodb_s_limits(sample: Sample) -> None:
    for doc in sample.documents:
        assert len(bson.encode(doc)) < 16 * 1024 * 1024
        assert _depth(doc) < 100


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


def test_documents_were_made_over_two_years_and_never_after_the_last_day(sample: Sample) -> None:
    field = "timestamp" if sample.collection == "progresspoints" else "createdAt"
    made = [doc[field] for doc in sample.clean]
    assert made[-1] < datetime.fromisoformat("2026-10-31T00:00:00Z")
    days = 500 if sample.collection == "progresspoints" else 730
    assert days - 4 < (made[-1] - made[0]).days <= days
    assert all(moment.microsecond % 1_000 == 0 for moment in made)


def test_people_have_names_addresses_hashes_and_mongoose_s_counter() -> None:
    for doc in islice(clean_documents("users"), 200):
        assert " " in doc["name"]
        local, host = doc["email"].split("@")
        assert local.isascii()
        assert host.split(".")[-2] in ("example", "co")
        assert doc["password"].startswith("$2b$10$")
        assert len(doc["password"]) == 60
        assert type(doc["__v"]) is int


# --- hard shapes -----------------------------------------------------------------------------------------------------


def test_numbers_are_int32_int64_and_double_in_one_field() -> None:
    assert {type(doc["skillPoints"]) for doc in clean_documents("skilltrees")} == {int, Int64, float}


def test_sub_documents_with_and_without_an_id_occur_inside_one_array() -> None:
    assert any({True, False} == {"_id" in one for one in doc["refreshTokens"]} for doc in clean_documents("users"))


def test_skill_maps_have_22_skills_and_some_two_unknown_ones_or_odd_keys() -> None:
    trees = make("skilltrees")
    assert {len(doc["skills"]) for doc in trees.clean} == {22}
    assert all({"promptCraft", "publicSpeaking"} < set(doc["skills"]) for doc in trees.where("skills", "two unknown"))
    for doc in trees.where("skills", "map keys"):
        assert {"c++.templates", "$pricing", 'say "no"', ""} < set(doc["skills"])
        assert max(len(name.encode()) for name in doc["skills"]) > 63


def test_webhooks_have_from_no_log_to_20_000() -> None:
    lengths = Counter(len(doc["logs"]) for doc in clean_documents("webhooks"))
    assert lengths[20_000] == 2
    assert lengths[0] >= 80
    assert set(lengths) == {*range(21), 20_000}
    assert max(len(doc["logs"]) for doc in clean_documents("webhooks", 0.1)) == 2_000


def test_a_log_s_id_occurs_twice_in_one_array() -> None:
    for doc in make("webhooks").where("logs", "one sub-document _id twice"):
        assert [one.get("_id") for one in doc["logs"]].count(ObjectId("5f3c0000000000000000d00d")) == 2


def test_a_user_takes_part_twice_in_a_challenge() -> None:
    for doc in make("challenges").where("participants", "one user twice"):
        users = [one["userId"] for one in doc["participants"]]
        assert users[0] == users[2]


def test_stages_are_empty_missing_null_and_without_their_parent() -> None:
    odysseys = make("odysseys")
    assert all(doc["progressMap"]["stages"] == [] for doc in odysseys.where("progressMap.stages", "an empty array"))
    assert all("stages" not in doc["progressMap"] for doc in odysseys.where("progressMap.stages", "no array"))
    assert all(doc["progressMap"]["stages"] is None for doc in odysseys.where("progressMap.stages", "null where"))
    assert all("progressMap" not in doc for doc in odysseys.where("progressMap", "no sub-document"))


def test_seasons_have_contributors_with_and_without_names() -> None:
    contributors = [one for doc in clean_documents("seasons") for one in doc["highlights"]["topContributors"]]
    assert len(contributors) > 300
    assert {"name" in one for one in contributors} == {True, False}


def test_project_ids_are_texts_also_where_they_look_like_object_ids() -> None:
    ids = {doc["project"]["projectId"] for doc in clean_documents("streaks")}
    assert ids == {"proj-atlas", "5f3c0000000000000000beef", "42", None}


def test_notifications_go_to_no_channel_and_events_belong_to_nobody() -> None:
    assert sum(doc["channels"] == [] for doc in clean_documents("notifications")) > 1_000
    events = list(clean_documents("analyticsevents"))
    assert sum("userId" not in doc for doc in events) > 2_000
    assert sum("userId" in doc and doc["userId"] is None for doc in events) > 2_000


def test_mixed_fields_go_deep_and_grow_large() -> None:
    events = make("analyticsevents")
    assert all(_depth(doc["properties"]) == 80 for doc in events.where("properties", "80 levels"))
    assert all(len(bson.encode(doc)) > 300_000 for doc in events.where("properties", "megabyte"))


def test_texts_hold_what_breaks_imports() -> None:
    titles = {doc["title"] for doc in make("tasks").where("title", "text that needs care")}
    joined = "\n".join(sorted(titles))
    assert "" in titles
    assert "\\N" in titles
    for part in ("🚀", "مرحبا", "שלום", "\\temp", '"', "'", "\t", "\r\n", "\\u0000", "\u2028", "\x01", "\U0010ffff"):
        assert part in joined
    assert "\x00" not in joined


@pytest.mark.parametrize(
    "collection",
    ["users", "progresspoints", "tasks", "objectives", "rewards", "notifications", "challenges", "analyticsevents"],
)
def test_a_few_ids_are_no_object_ids(collection: str) -> None:
    odd = [doc["_id"] for doc in documents(collection) if not isinstance(doc["_id"], ObjectId)]
    assert len(odd) < 0.01 * next(size for name, size, _ in SIZES if name == collection)
    texts = [one for one in odd if type(one) is str]
    assert any(len(one) == 24 for one in texts)
    assert any(one.startswith(f"legacy-{collection}-") for one in texts)
    assert {type(one) for one in odd} == {str, int, Int64, Binary}
    assert {one.subtype for one in odd if type(one) is Binary} == {3, 4}


def test_a_document_with_an_odd_id_is_referred_to() -> None:
    odd = {key(doc["_id"]) for doc in documents("users") if not isinstance(doc["_id"], ObjectId)}
    owners = {key(doc.get("userId")) for doc in clean_documents("skilltrees")}
    assert len(odd) == 12
    assert len(odd & owners) >= 10
