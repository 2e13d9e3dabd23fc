"""Documents that no real server would accept, and those that one accepts to everybody's regret, over the wire into PostgreSQL.

The replay server serves them byte for byte. Whatever they hold, the collection finishes, the sums close, every check of the
verifier passes, and each document is a row, with what did not fit in `extra`, or a reject that keeps its very bytes.
"""

from __future__ import annotations

import base64
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson.json_util
import pytest
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.errors import InvalidBSON
from pymongo import MongoClient

from benchmarks.replay_server import ReplayServer
from mongo2pg.documents.decode import DBPointer, Symbol, Undefined
from mongo2pg.model import LONGEST_KEY
from mongo2pg.target import scripts
from tests.documents import oid, uuid_of
from tests.hostile import Hostile, Moved, connect_mover, framed, is_sound, shown, with_length, write_sql
from tests.unit.raw_bson import Pairs, Raw, document, string

REPOSITORY = Path(__file__).resolve().parents[2]
EACH = 1


@pytest.fixture
def hostile(target: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hostile]:
    monkeypatch.setattr(scripts, "INCLUDE", write_sql(tmp_path / "sql"))
    with (
        ReplayServer({}) as server,
        MongoClient[dict[str, Any]](server.uri) as client,
        target.connect() as conn,
    ):
        yield connect_mover(server, client, conn, tmp_path / "staging")


def thing(number: int, **fields: Any) -> dict[str, Any]:
    return {"_id": oid(number), **fields}


SOUND = thing(1, name="sound", count=1)
SOUND_ROW = (uuid_of(1), "sound", 1)


def sound_is_there(moved: Moved) -> bool:
    """The good document beside the bad ones is loaded."""
    return moved.rows("SELECT id::text, name, count FROM things WHERE id = %s", uuid_of(1)) == [SOUND_ROW]


# --------------------------------------------------------------------------------------------------- broken documents

# An element of every shape: fixed sizes, lengths, two texts, nesting.
RICH: dict[str, Any] = {
    "name": "text of some length",
    "at": DatetimeMS(1_700_000_000_000),
    "ratio": 0.5,
    "price": Decimal128("1.10"),
    "payload": {"list": [1, {"x": "y"}, [None]], "code": Code("f()", {"a": 1}), "regex": Regex("a", "i")},
    "list": [{"label": "one", "size": 1}, {"label": "two"}],
    "blob": b"\1\2\3",
    "other": DBPointer("db.c", oid(9)),
    "symbol": Symbol("s"),
}


def test_a_document_cut_anywhere_is_rejected_whole_pp_31(hostile: Hostile) -> None:
    whole = document(thing(2, **RICH))
    raws: list[bytes] = []
    for cut in range(22, len(whole)):
        # Ended with a zero byte in that place: a document without one makes every client refuse the whole batch.
        raws.append(framed(whole[4:cut].replace(oid(2).binary, oid(1000 + cut).binary)))
    raws = list(dict.fromkeys(raws))
    moved = hostile.move([document(SOUND), *raws], beyond_limits=True)
    # Cut between two elements and ended there, it is a smaller document, and sound as pymongo judges.
    sound = [raw for raw in raws if is_sound_or_deprecated(raw)]
    assert len(sound) == len(RICH)
    assert moved.things["rejected"] == {"malformed": len(raws) - len(sound)}
    assert sorted(moved.rejected_bytes()) == sorted(set(raws) - set(sound))
    assert sound_is_there(moved)


def is_sound_or_deprecated(raw: bytes) -> bool:
    """pymongo turns the deprecated types into others: a document that ends with them is judged without them."""
    for name, size in ((b"\x0esymbol\0", 6), (b"\x0cother\0", 21)):
        at = raw.find(name)
        if at >= 0 and raw[at + len(name) + size :] == b"\0":
            raw = with_length(raw[:at] + b"\0")
    return is_sound(raw)


BROKEN = {
    "a string longer than its document": framed(b"\x02name\0" + (999).to_bytes(4, "little") + b"abc\0"),
    "a string of length 0": framed(b"\x02name\0" + bytes(4)),
    "a string of a negative length": framed(b"\x02name\0" + b"\xff\xff\xff\xff" + b"abc\0"),
    "a string without its end": framed(b"\x02name\0" + (3).to_bytes(4, "little") + b"abc"),
    "a sub-document longer than its document": framed(b"\x03payload\0" + (99).to_bytes(4, "little") + b"\0"),
    "a sub-document shorter than one can be": framed(b"\x03payload\0" + (4).to_bytes(4, "little") + b"\0"),
    "a sub-document of a negative length": framed(b"\x03payload\0" + b"\xfb\xff\xff\xff" + b"\0"),
    "a sub-document that ends before its last element": framed(b"\x03payload\0" + (8).to_bytes(4, "little") + b"\x10a\0\1\0\0\0\0"),
    "an array of a wrong length": framed(b"\x04parts\0" + (6).to_bytes(4, "little") + b"\0"),
    "a binary longer than its document": framed(b"\x05blob\0" + (50).to_bytes(4, "little") + b"\0abc"),
    "a binary of a negative length": framed(b"\x05blob\0" + b"\xff\xff\xff\xff" + b"\0"),
    "an old binary whose lengths differ": framed(b"\x05blob\0" + (5).to_bytes(4, "little") + b"\2" + bytes(5)),
    "a boolean that is 2": framed(b"\x08active\0\2"),
    "a type that BSON has not": framed(b"\x20name\0abc\0"),
    "a key without an end": framed(b"\x0aname"),
    "a code with scope of a wrong length": framed(b"\x0fcode\0" + (99).to_bytes(4, "little") + string("f()") + framed(b"")),
    "a regex without an end": framed(b"\x0bpattern\0abc"),
    "an ObjectId cut short": framed(b"\x07owner\0" + bytes(11)),
    "a decimal cut short": framed(b"\x13price\0" + bytes(15)),
    "an empty document": framed(b""),
    "more after the end": with_length(framed(b"\x10count\0\1\0\0\0") + b"\0\0\0"),
}


@pytest.mark.parametrize("where", ["top", "sub-document", "array of documents"])
def test_broken_bytes_are_rejected_and_never_become_empty_documents_pp_31(hostile: Hostile, where: str) -> None:
    raws = []
    for number, broken in enumerate(BROKEN.values(), 100):
        own_id = b"\x07_id\0" + oid(number).binary
        if where == "top":
            raws.append(with_length(broken[:4] + own_id + broken[4:]))
        else:
            kind, content = (0x03, broken) if where == "sub-document" else (0x04, framed(b"\x030\0" + broken))
            raws.append(framed(own_id + bytes([kind]) + b"payload\0" + content))
    moved = hostile.move([document(SOUND), *raws])
    # Without its `_id` the empty one is broken; with it, and inside another, it is a document like any other.
    sound = {list(BROKEN).index("an empty document")}
    # Behind the end of the top level there may be nothing; inside, what follows would be the outer document's.
    want = [raw for at, raw in enumerate(raws) if at not in sound]
    assert sorted(moved.rejected_bytes()) == sorted(want)
    assert sound_is_there(moved)


@pytest.mark.parametrize("how", ["states too much", "states too little"])
def test_a_document_that_hides_where_it_ends_stops_the_reading_loudly_pp_31(hostile: Hostile, how: str) -> None:
    # Length and end are how a client finds the next document of a batch: nobody can tell any more what is whose.
    raws = [document(thing(number, name="x" * 40)) for number in range(1, 6)]
    stated = {"states too much": 7, "states too little": -7}[how]
    raws[2] = (len(raws[2]) + stated).to_bytes(4, "little") + raws[2][4:]
    with pytest.raises(InvalidBSON, match=r"document \d of a reply has no end"):
        hostile.move(list(raws))


def test_a_document_without_its_last_byte_is_rejected_alone_pp_31(hostile: Hostile) -> None:
    raws = [document(thing(number, name="x" * 40)) for number in range(1, 6)]
    raws[2] = raws[2][:-1] + b"\1"
    moved = hostile.move(list(raws))
    assert moved.rejected_bytes() == [raws[2]]
    assert moved.column("SELECT count(*) FROM things") == [4]


@pytest.mark.parametrize("nested", [False, True], ids=["top level", "nested"])
def test_a_document_that_repeats_a_key_is_rejected_with_both_values(hostile: Hostile, nested: bool) -> None:
    twice = Pairs((("x", 1), ("y", 2), ("x", 3)))
    raws = [
        document(Pairs((("_id", oid(2)), ("name", "a"), ("name", "b")))) if not nested else document(thing(2, payload=twice)),
        document(Pairs((("_id", oid(3)), ("_id", oid(4))))) if not nested else document(thing(3, payload=[{"label": "x"}, twice])),
        document(Pairs((("_id", oid(5)), ("unknown", 1), ("unknown", 1)))) if not nested else document(thing(5, u=[[twice]])),
    ]
    moved = hostile.move([document(SOUND), *raws])
    assert moved.things["rejected"] == {"malformed": 3}
    assert sorted(moved.rejected_bytes()) == sorted(raws)
    assert sound_is_there(moved)


def test_the_arrays_of_malformed_documents_are_accounted_for(hostile: Hostile) -> None:
    # A real server keeps such documents, and counts the elements of their arrays.
    two = [{"label": "one"}, {"label": "two"}]
    no_text = Raw(0x02, (3).to_bytes(4, "little") + b"\xff\xfe\0")
    broken = Raw(0x02, (999).to_bytes(4, "little") + b"abc\0")
    raws = [
        document(Pairs((("_id", oid(2)), ("parts", two), ("name", "a"), ("name", "b")))),
        document(Pairs((("_id", oid(3)), ("parts", two), ("parts", [{"label": "three"}])))),
        document(
            Pairs((("_id", oid(4)), ("parts", [*two, {"label": no_text}]), ("scores", [1.5]), ("labels", {"a": {}, "b": {}})))
        ),
        document(Pairs((("_id", oid(5)), ("parts", Raw(0x04, document(Pairs((("0", {}), ("1", broken), ("2", {}))))))))),
        document(Pairs((("_id", oid(6)), ("scores", [1.5, 2.5]), ("name", broken), ("parts", two)))),
        document(Pairs((("parts", two), ("scores", [0.5])))),
        document(Pairs((("_id", no_text), ("parts", two)))),
    ]
    moved = hostile.move([document(SOUND), document(thing(7, parts=two, labels={"c": {}})), *raws])
    assert moved.things["rejected"] == {"malformed": len(raws)}
    counted = {each.pop("path"): each for each in moved.things["arrays"]}
    assert counted == {
        "parts": {"elements": 14, "rows": 2, "rejected": 0, "of_parents_not_loaded": 12},
        "scores": {"elements": 4, "rows": 0, "rejected": 0, "of_parents_not_loaded": 4},
        "labels": {"elements": 3, "rows": 1, "rejected": 0, "of_parents_not_loaded": 2},
    }
    on_server = moved.rows(
        """
        SELECT split_part(subject, '.', 2), (expected -> 'server')::int FROM migration.checks
        WHERE check_name = 'accounting' AND starts_with(subject, 'things.')
        """
    )
    assert dict(on_server) == {path: counts["elements"] for path, counts in counted.items()}


@pytest.mark.parametrize("chunk_bytes", [64 << 20, EACH], ids=["one chunk", "many chunks"])
@pytest.mark.parametrize("first_id", [oid(1), "a text"], ids=["ObjectIds", "ids of two types"])
def test_a_broken_document_is_one_reject_however_often_it_is_read_until_it_is_mended(
    hostile: Hostile, chunk_bytes: int, first_id: Any
) -> None:
    good = {"_id": first_id, "name": "sound"}
    broken = document(Pairs((("_id", oid(2)), ("name", "a"), ("name", "b"))))
    for _ in range(3):
        moved = hostile.move([good, broken], chunk_bytes=chunk_bytes)
        assert moved.rejects() == [("", "object", "malformed")]
    moved = hostile.move([good, thing(2, name="b")], chunk_bytes=chunk_bytes)
    assert moved.rejects() == []
    assert sorted(moved.column("SELECT name FROM things")) == ["b", "sound"]


def test_a_document_that_is_broken_after_it_was_loaded_leaves_a_stale_row(hostile: Hostile) -> None:
    hostile.move([SOUND, thing(2, name="a")])
    hostile.server.put("hostile", "things", [document(SOUND), document(Pairs((("_id", oid(2)), ("name", "a"), ("name", "b"))))])
    report = hostile.mover.move("run").verify()
    assert [failure["check"] for failure in report["failures"]] == []
    (things, _) = report["collections"]
    assert (things["rejected"], things["stale"]) == ({"malformed": 1}, 1)


@pytest.mark.parametrize("chunk_bytes", [64 << 20, EACH], ids=["one chunk", "many chunks"])
def test_a_row_is_not_stale_for_a_broken_document_whose_id_only_reaches_the_same_uuid(hostile: Hostile, chunk_bytes: int) -> None:
    broken = document(Pairs((("_id", str(oid(2))), ("name", "a"), ("name", "b"))))
    for _ in range(2):
        moved = hostile.move([SOUND, thing(2, name="an ObjectId"), broken], chunk_bytes=chunk_bytes)
        assert (moved.things["stale"], moved.things["rejected"]) == (0, {"malformed": 1})
        assert moved.column("SELECT document_id #>> '{}' FROM migration.rejects WHERE state = 'open'") == [str(oid(2))]


def test_documents_without_an_id_are_rejected_each(hostile: Hostile) -> None:
    raws = [document({"name": "no id"}), document({"name": "no id"}), document({"name": "another"}), framed(b"")]
    moved = hostile.move([document(SOUND), *raws])
    assert moved.things["rejected"] == {"malformed": 4}
    assert sorted(moved.rejected_bytes()) == sorted(set(raws))


def test_broken_ids_do_not_hinder_the_cut_into_chunks(hostile: Hostile) -> None:
    raws = [
        document({"name": "no id"}),
        document(thing(2, name="x")).replace(b"\x07_id", b"\x07id_"),
        framed(b"\x02_id\0" + (4).to_bytes(4, "little") + b"\xff\xfe\xfd\0"),
        framed(b"\x02_id\0" + (999).to_bytes(4, "little") + b"abc\0"),
        framed(b"\x03_id\0" + framed(b"\x08x\0\7")),
    ]
    sound = [document(thing(number, count=number)) for number in range(10, 30)]
    moved = hostile.move([*raws, *sound], chunk_bytes=EACH)
    assert moved.things["rejected"] == {"malformed": len(raws)}
    assert sorted(moved.rejected_bytes()) == sorted(raws)
    assert moved.column("SELECT count FROM things ORDER BY count") == list(range(10, 30))


@pytest.mark.parametrize("chunk_bytes", [64 << 20, EACH], ids=["one chunk", "many chunks"])
def test_one_id_in_two_documents_stops_no_collection(hostile: Hostile, chunk_bytes: int) -> None:
    # A document that is deleted and inserted again during a scan is read twice: the later reading is the newer version.
    broken = document(Pairs((("_id", oid(4)), ("parts", [{"label": "x"}]), ("name", "a"), ("name", "b"))))
    raws = [
        document(SOUND),
        document(thing(2, name="first", parts=[{"label": "one"}, {"label": "two"}], scores=["no number"])),
        document(thing(2, name="second", parts=[{"label": "three"}])),
        document({"_id": 5, "name": "first"}),
        document({"_id": Decimal128("5.0"), "name": "second"}),
        document(thing(3, name="sound first")),
        document(Pairs((("_id", oid(3)), ("name", "a"), ("name", "b")))),
        broken,
        document(thing(4, name="sound at last")),
    ]
    hostile.server.put("hostile", "codes", [])
    for run_id in ("first", "second"):
        hostile.server.put("hostile", "things", raws)
        run = hostile.mover.move(run_id, chunk_bytes)
        # Two that are there at once are two documents, as in a sharded cluster, and of one of them there is no row.
        (two,) = [check for check in run.row_counts() if (check.check, check.subject) == ("accounting", "things")]
        assert two.verdict == "failed"
        assert sorted(str(two.detail).split("; ")) == [
            "2 documents of the source have the _id 5",
            *(f'2 documents of the source have the _id {{"$oid":"{oid(number)}"}}' for number in (2, 3, 4)),
        ]
        hostile.server.put("hostile", "things", [raws[0], raws[2], raws[4], raws[6], raws[8]])
        report = run.verify()
        assert report["passed"] is True, report["failures"]
        things = report["collections"][0]
        assert (things["read"], things["superseded"], things["rejected"]) == (9, 4, {"malformed": 1})
        assert sorted(hostile.mover.column("SELECT name FROM things")) == ["second", "second", "sound", "sound at last"]
        assert hostile.mover.column("SELECT label FROM thing_parts") == ["three"]
        (parts, *_) = things["arrays"]
        assert parts == {"path": "parts", "elements": 4, "rows": 1, "rejected": 0, "of_parents_not_loaded": 3}
        assert hostile.mover.column("SELECT reason FROM migration.rejects WHERE state = 'open'") == ["malformed"]


def test_a_document_whose_id_is_a_symbol_is_found_where_it_is_asked_for(hostile: Hostile) -> None:
    symbol = {"_id": Symbol("s"), "code": "a", "at": DatetimeMS(0)}
    hostile.move([SOUND], [symbol])
    assert hostile.mover.run("untouched").reconcile()["passed"] is True
    hostile.mover.conn.execute("UPDATE public.codes SET code = 'b'")
    assert hostile.mover.run("changed").reconcile()["passed"] is False
    assert hostile.mover.run("repaired").reconcile(repair=True)["passed"] is True
    assert hostile.mover.column("SELECT code FROM codes") == ["a"]
    hostile.mover.run("deletes").delete_alone()
    assert hostile.mover.column("SELECT code FROM codes") == ["a"]


def test_the_first_field_need_not_be_the_id(hostile: Hostile) -> None:
    raws = [document({"name": f"thing {number}", "_id": oid(number), "count": number}) for number in range(5)]
    moved = hostile.move([*raws, document({"name": "text", "count": 7, "_id": "a text"})], chunk_bytes=EACH)
    assert moved.rows("SELECT id::text, count FROM things WHERE count < 7 ORDER BY count") == [(uuid_of(n), n) for n in range(5)]
    assert moved.rows("SELECT extra FROM things WHERE count = 7") == [({"_id": "a text"},)]


# --------------------------------------------------------------------------------------------------------------- text

# As a client with a broken encoder writes them; the pair of surrogates as CESU-8 does.
NO_UTF8 = {
    "a stray byte": b"a\xffb",
    "a cut character": b"a\xe2\x82",
    "an overlong slash": b"\xc0\xaf",
    "a lone high surrogate": b"\xed\xa0\x80",
    "a lone low surrogate": b"\xed\xb0\x80",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond the last character": b"\xf4\x90\x80\x80",
    "latin-1": "Zoë".encode("latin-1"),
}


@pytest.mark.parametrize(
    "where", ["value", "key", "nested value", "nested key", "array", "map key", "symbol", "code", "regex", "_id"]
)
def test_text_that_is_no_utf_8_is_rejected_with_its_bytes(hostile: Hostile, where: str) -> None:
    raws = []
    for number, text in enumerate(NO_UTF8.values(), 10):
        value = (len(text) + 1).to_bytes(4, "little") + text + b"\0"
        own_id = b"\x07_id\0" + oid(number).binary
        raws.append(
            {
                "value": framed(own_id + b"\x02name\0" + value),
                "key": framed(own_id + b"\x10" + text + b"\0\1\0\0\0"),
                "nested value": framed(own_id + b"\x03payload\0" + framed(b"\x02x\0" + value)),
                "nested key": framed(own_id + b"\x03other\0" + framed(b"\x0a" + text + b"\0")),
                "array": framed(own_id + b"\x04tags\0" + framed(b"\x020\0" + value)),
                "map key": framed(own_id + b"\x03labels\0" + framed(b"\x03" + text + b"\0" + framed(b""))),
                "symbol": framed(own_id + b"\x0eother\0" + value),
                "code": framed(own_id + b"\x0dother\0" + value),
                "regex": framed(own_id + b"\x0bother\0" + text + b"\0\0"),
                "_id": framed(b"\x02_id\0" + value),
            }[where]
        )
    moved = hostile.move([document(SOUND), *raws], chunk_bytes=500)
    if where == "map key":
        assert moved.things["rejected"] == {"malformed": len(raws)}
    assert sorted(moved.rejected_bytes()) == sorted(raws)
    assert {reject[2] for reject in moved.rejects()} == {"malformed"}
    assert sound_is_there(moved)


def nul(text: str) -> dict[str, str]:
    return {"$utf8": base64.b64encode(text.encode()).decode()}


def test_u_0000_is_kept_whole_wherever_it_stands_pp_01_pp_02(hostile: Hostile) -> None:
    text = "a\0b\0"
    moved = hostile.move(
        [
            thing(2, name=text),
            thing(3, payload={"deep": [{"x": text}]}),
            thing(4, tags=["good", text]),
            thing(5, unknown={"deep": [text]}),
            thing(6, parts=[{"label": text, "size": 1, "more": text}]),
            thing(7, labels={"k": {"value": [text], "rank": 1}}),
            thing(8, meta=text),
            {"_id": text, "name": "id"},
            {"_id": {"a": text}, "name": "id in a document"},
            thing(9, payload=Symbol(text)),
            thing(10, payload=Code(text, {"x": text})),
            SOUND,
        ],
        chunk_bytes=EACH,
    )
    assert moved.things["rejected"] == {}
    extra = {
        row_id: (extra, rest) for row_id, extra, *rest in moved.rows("SELECT id::text, extra, name, payload, tags FROM things")
    }
    assert extra[uuid_of(2)] == ({"name": nul(text)}, [None] * 3)
    assert extra[uuid_of(3)] == ({"payload": {"deep": [{"x": nul(text)}]}}, [None] * 3)
    assert extra[uuid_of(4)] == ({"tags": ["good", nul(text)]}, [None] * 3)
    assert extra[uuid_of(5)] == ({"unknown": {"deep": [nul(text)]}}, [None] * 3)
    assert extra[uuid_of(8)] == ({"meta": nul(text)}, [None] * 3)
    assert extra[uuid_of(9)] == ({"payload": {"$symbol": nul(text)}}, [None] * 3)
    assert extra[uuid_of(10)] == ({"payload": {"$code": nul(text), "$scope": {"x": nul(text)}}}, [None] * 3)
    assert moved.rows("SELECT label, size, extra FROM thing_parts") == [(None, 1, {"label": nul(text), "more": nul(text)})]
    assert moved.rows("SELECT label, value, rank, extra FROM thing_labels") == [("k", None, 1, {"value": [nul(text)]})]
    assert moved.by_name("extra") | {None: 0, "sound": 0} == {
        "id": {"_id": nul(text)},
        "id in a document": {"_id": {"a": nul(text)}},
        None: 0,
        "sound": 0,
    }
    misfits = moved.rows("SELECT DISTINCT m ->> 'path', m ->> 'reason' FROM migration.passes, jsonb_array_elements(misfits) m")
    assert sorted(misfits) == [
        ("labels.value", "nul_character"),
        ("meta", "type_mismatch"),
        ("name", "nul_character"),
        ("parts.label", "nul_character"),
        ("payload", "nul_character"),
        ("tags", "nul_character"),
    ]


def test_six_characters_that_look_like_an_escape_are_text_pp_03(hostile: Hostile) -> None:
    texts = [
        r"\u0000",
        r"a\u0000b",
        "\\",
        r"\\u0000",
        '"\\',
        "\x01\x7f\x1b",
        "\ufeff",
        "\ufffe\uffff",
        "\u2028",
        "\N{PARROT}",
        r"\x00",
    ]
    things = [
        thing(n, name=t, payload={t: [t]}, tags=[t], **{f"x{t}": t}, labels={t: {"value": t}}) for n, t in enumerate(texts, 10)
    ]
    moved = hostile.move([SOUND, *things])
    assert (moved.things["rejected"], moved.things["misfits"]) == ({}, {})
    rows = moved.rows("SELECT name, payload, tags, extra FROM things WHERE count IS NULL ORDER BY id")
    assert rows == [(text, {text: [text]}, [text], {f"x{text}": text}) for text in texts]
    assert moved.rows("SELECT label, value FROM thing_labels ORDER BY thing_id") == [(text, text) for text in texts]


LONG = "schlüssel" * 20


def test_keys_of_every_kind_are_kept_apart_pp_20(hostile: Hostile) -> None:
    keys = [
        "",
        ".",
        "a.b",
        "a.",
        "$",
        "$x",
        "$oid",
        "'",
        '"',
        "a b",
        "\n",
        "\\",
        "-- ",
        ";",
        "é",
        "\N{PARROT}",
        LONG + "1",
        LONG + "2",
        "id",
    ]
    flat = {key: number for number, key in enumerate(keys)}
    nested = {"a": {"b": "nested"}}
    moved = hostile.move(
        [
            thing(2, name="undeclared", **flat, **nested),
            thing(3, name="nested", deep={"deeper": flat | nested}),
            thing(4, name="payload", payload=flat | nested),
            thing(5, name="map", labels={key: {"rank": number, "more": {key: key}} for number, key in enumerate(keys)}),
            thing(6, name="rejected", labels={key: number for number, key in enumerate(keys)}),
            thing(7, name="dotted", **{"meta.level": 5}, meta={"level": 6, "level.x": 7}),
        ]
    )
    extra = moved.by_name("extra")
    assert extra["undeclared"] == flat | nested
    assert extra["nested"] == {"deep": {"deeper": flat | nested}}
    assert moved.by_name("payload")["payload"] == flat | nested
    assert dict(moved.rows("SELECT label, rank FROM thing_labels")) == flat
    assert dict(moved.rows("SELECT label, extra FROM thing_labels")) == {key: {"more": {key: key}} for key in keys}
    assert moved.by_name("meta_level")["dotted"] == 6
    assert extra["dotted"] == {"meta.level": 5, "meta": {"level.x": 7}}
    assert moved.rejects() == sorted((f"labels.{key}", "int", "type_mismatch") for key in keys)


def test_paths_that_read_alike_are_rejected_apart_pp_20(hostile: Hostile) -> None:
    elements = {"a": {"rank": "x"}, "a.rank": 5, "": 5, "a.": 5}
    moved = hostile.move([thing(2, labels=elements), thing(3, scores=[None, "x"])])
    assert dict(moved.rows("SELECT label, extra FROM thing_labels")) == {"a": {"rank": "x"}}
    assert len(moved.rejects()) == 5


# --------------------------------------------------------------------------------------------------------------- dates

FIRST_MS, LAST_MS = -210_866_803_200_000, 9_224_318_015_999_999
DATES = {
    "the first of int64": (-(2**63), None),
    "the last of int64": (2**63 - 1, None),
    "year 0": (-62_167_219_200_000, "0001-01-01 00:00:00+00 BC"),
    "before year 0": (-62_167_219_200_001, "0002-12-31 23:59:59.999+00 BC"),
    "year 10217": (260_250_931_200_123, "10217-01-09 13:20:00.123+00"),
    "the end of JavaScript": (8_640_000_000_000_000, "275760-09-13 00:00:00+00"),
    "the end of PostgreSQL": (LAST_MS, "294276-12-31 23:59:59.999+00"),
    "year 294277": (LAST_MS + 1, None),
    "the beginning of PostgreSQL": (FIRST_MS, "4714-11-24 00:00:00+00 BC"),
    "a millisecond before it": (FIRST_MS - 1, None),
    "the first of 9999": (253_370_764_800_000, "9999-01-01 00:00:00+00"),
    "the first of 10000": (253_402_300_800_000, "10000-01-01 00:00:00+00"),
    "a millisecond before 1970": (-1, "1969-12-31 23:59:59.999+00"),
}


@pytest.mark.parametrize("chunk_bytes", [64 << 20, EACH], ids=["one chunk", "many chunks"])
def test_no_date_stops_a_collection_and_none_is_clamped_pp_04_pp_05(hostile: Hostile, chunk_bytes: int) -> None:
    dates = {name: DatetimeMS(ms) for name, (ms, _) in DATES.items()}
    things = [thing(n, name=name, at=date, payload=[date], other={"at": date}) for n, (name, date) in enumerate(dates.items(), 10)]
    moved = hostile.move([SOUND, *things], chunk_bytes=chunk_bytes)
    assert moved.things["rejected"] == {}
    assert moved.by_name("at::text") == {"sound": None} | {name: text for name, (_, text) in DATES.items()}
    exact = moved.by_name("(extract(epoch FROM at) * 1000)::bigint")
    extra, payload = moved.by_name("extra"), moved.by_name("payload")
    for name, (ms, text) in DATES.items():
        kept = payload[name][0]
        assert milliseconds(kept) == ms, "jsonb has the very milliseconds"
        assert extra[name] == {"other": {"at": kept}} | ({} if text else {"at": kept})
        assert exact[name] == (ms if text else None)
    (misfit,) = {
        (m["path"], m["bson_type"], m["reason"]) for (ms,) in moved.rows("SELECT misfits FROM migration.passes") for m in ms
    }
    assert misfit == ("at", "date", "out_of_range")
    assert moved.things["misfits"] == {"at": 4}


def milliseconds(extended: dict[str, Any]) -> int:
    date = extended["$date"]
    return (
        int(date["$numberLong"]) if isinstance(date, dict) else int(bson.json_util.loads(json.dumps(extended)).timestamp() * 1000)
    )


def test_a_date_that_a_required_column_cannot_hold_names_field_and_document_pp_04(hostile: Hostile) -> None:
    codes = [{"_id": oid(n), "code": name, "at": DatetimeMS(ms)} for n, (name, (ms, _)) in enumerate(DATES.items())]
    moved = hostile.move([SOUND], list(codes))
    assert moved.collections["codes"]["rejected"] == {"out_of_range": 4}
    rejects = moved.rows("SELECT document_id ->> '$oid', path, bson_type, reason FROM migration.rejects ORDER BY 1")
    assert rejects == [(str(code["_id"]), "at", "date", "out_of_range") for code in codes if DATES[code["code"]][1] is None]
    assert sorted(moved.rejected_bytes()) == sorted(document(code) for code in codes if DATES[code["code"]][1] is None)


# -------------------------------------------------------------------------------------------------------------- numbers

DOUBLES = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "-0.0": "-0", "5e-324": "5e-324", "1e+300": "1e+300", "0.1": "0.1"}


def test_doubles_that_json_has_not_arrive_pp_06(hostile: Hostile) -> None:
    things = [
        thing(
            n, name=text, ratio=float(text), price=float(text), payload={"x": float(text)}, count=float(text), other=[float(text)]
        )
        for n, text in enumerate(DOUBLES, 10)
    ]
    moved = hostile.move([*things, thing(50, name="scores", scores=[float(text) for text in DOUBLES])])
    assert moved.things["rejected"] == {}
    assert moved.by_name("ratio::text") == DOUBLES | {"scores": None}
    assert moved.column("SELECT score::text FROM thing_scores ORDER BY ordinal") == list(DOUBLES.values())
    long = "1" + "0" * 300
    tiny = "0." + "0" * 323 + "5"
    assert moved.by_name("price::text") == {
        "nan": "NaN",
        "inf": "Infinity",
        "-inf": "-Infinity",
        "-0.0": "0",
        "5e-324": tiny,
        "1e+300": long,
        "0.1": "0.1",
        "scores": None,
    }
    special = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "-0.0": "-0.0", "1e+300": "1e+300"}
    shown_as = {text: {"$numberDouble": special[text]} if text in special else float(text) for text in DOUBLES}
    assert moved.by_name("payload -> 'x'") == shown_as | {"scores": None}
    # No integer: kept whole beside the row, counted.
    assert moved.by_name("extra") == {text: {"count": as_json, "other": [as_json]} for text, as_json in shown_as.items()} | {
        "scores": None
    }
    assert moved.things["misfits"]["count"] == len(DOUBLES)


DECIMALS = {
    "1.10": "1.10",
    "1.1": "1.1",
    "1E+6144": "1" + "0" * 6144,
    "1E-6176": "0." + "0" * 6175 + "1",
    "9999999999999999999999999999999999": "9999999999999999999999999999999999",
    "-1.234567890123456789012345678901234": "-1.234567890123456789012345678901234",
    "9.999999999999999999999999999999999E+6144": "9" * 34 + "0" * 6111,
    "0E-6176": "0." + "0" * 6176,
    "-0.00": "0.00",
    "NaN": "NaN",
    "Infinity": "Infinity",
    "-Infinity": "-Infinity",
}


def test_decimals_keep_every_digit_and_their_scale_pp_07(hostile: Hostile) -> None:
    things = [
        thing(n, name=text, price=Decimal128(text), payload=Decimal128(text), ratio=Decimal128(text))
        for n, text in enumerate(DECIMALS, 10)
    ]
    moved = hostile.move(list(things))
    assert moved.by_name("price::text") == DECIMALS
    in_json = {text: {"$numberDecimal": str(Decimal128(text))} for text in DECIMALS}
    assert moved.by_name("payload") == in_json
    assert moved.by_name("extra -> 'ratio'") == in_json
    assert moved.things["misfits"] == {"ratio": len(DECIMALS)}
    # 1E+6144 is spelled out, -0.00 loses its sign: each is counted.
    assert sum(rule["count"] for rule in moved.things["conversions"]["price"].values()) == 3


# -------------------------------------------------------------------------------------------------------------- types

# A value of every type, and what jsonb keeps of it: relaxed Extended JSON v2 (MongoDB manual).
VALUES: list[tuple[Any, Any]] = [
    ("text", "text"),
    ("", ""),
    (7, 7),
    (Int64(2**62), 2**62),
    (1.0, 1.0),
    (0.25, 0.25),
    (1e15, {"$numberDouble": "1000000000000000.0"}),
    (float("nan"), {"$numberDouble": "NaN"}),
    (-0.0, {"$numberDouble": "-0.0"}),
    (Decimal128("1.10"), {"$numberDecimal": "1.10"}),
    (Decimal128("1E-6176"), {"$numberDecimal": "1E-6176"}),
    (True, True),
    (None, None),
    (oid(7), {"$oid": str(oid(7))}),
    (DatetimeMS(1_700_000_000_123), {"$date": "2023-11-14T22:13:20.123Z"}),
    (DatetimeMS(-(2**63)), {"$date": {"$numberLong": str(-(2**63))}}),
    (b"", {"$binary": {"base64": "", "subType": "00"}}),
    (b"\0\xff", {"$binary": {"base64": "AP8=", "subType": "00"}}),
    (Binary(bytes(range(16)), 3), {"$binary": {"base64": "AAECAwQFBgcICQoLDA0ODw==", "subType": "03"}}),
    (Binary(bytes(range(16)), 4), {"$binary": {"base64": "AAECAwQFBgcICQoLDA0ODw==", "subType": "04"}}),
    (Binary(b"x", 128), {"$binary": {"base64": "eA==", "subType": "80"}}),
    (Regex("a/b", "imx"), {"$regularExpression": {"pattern": "a/b", "options": "imx"}}),
    (Raw(0x0B, b"a\0zi\0"), {"$regularExpression": {"pattern": "a", "options": "zi"}}),
    (Timestamp(7, 9), {"$timestamp": {"t": 7, "i": 9}}),
    (Timestamp(7, 10), {"$timestamp": {"t": 7, "i": 10}}),
    (Timestamp(2**32 - 1, 2**32 - 1), {"$timestamp": {"t": 2**32 - 1, "i": 2**32 - 1}}),
    (Code("f()"), {"$code": "f()"}),
    (Code("f()", {"x": oid(7)}), {"$code": "f()", "$scope": {"x": {"$oid": str(oid(7))}}}),
    (Symbol("s"), {"$symbol": "s"}),
    (Undefined(), {"$undefined": True}),
    (DBPointer("db.c", oid(7)), {"$dbPointer": {"$ref": "db.c", "$id": {"$oid": str(oid(7))}}}),
    (MinKey(), {"$minKey": 1}),
    (MaxKey(), {"$maxKey": 1}),
    ({"$ref": "c", "$id": 5, "more": 1}, {"$ref": "c", "$id": 5, "more": 1}),
    ({}, {}),
    ([], []),
]
NESTINGS = {
    "depth 1": lambda value: {"v": value},
    "depth 5": lambda value: {"a": {"b": {"c": {"d": {"v": value}}}}},
    "array": lambda value: [value, value],
    "array of arrays": lambda value: [[], [[value]], value],
    "array of documents": lambda value: [{"v": value}, {}],
    "map": lambda value: {"k.1": {"v": value}, "$k": {"v": [value]}},
}


@pytest.mark.parametrize("nesting", NESTINGS)
def test_every_type_is_kept_at_every_depth_pp_08_pp_09_pp_10_pp_11(hostile: Hostile, nesting: str) -> None:
    nest = NESTINGS[nesting]
    things = [thing(n, payload=nest(value), other=nest(value), name=str(n)) for n, (value, _) in enumerate(VALUES)]
    moved = hostile.move(list(things))
    assert (moved.things["rejected"], moved.things["misfits"]) == ({}, {})
    payload, extra = moved.by_name("payload"), moved.by_name("extra")
    for number, (value, want) in enumerate(VALUES):
        assert shown(payload[str(number)]) == shown(nest(want)), value
        assert shown(extra[str(number)]) == shown({"other": nest(want)}), value


def test_every_type_meets_every_column_and_nothing_is_lost_pp_08(hostile: Hostile) -> None:
    names = ["name", "at", "count", "total", "ratio", "price", "active", "owner", "blob", "tags", "meta", "parts", "scores"]
    values = [(value, want) for value, want in VALUES if value is not None]
    things = [thing(100 * c + v, **{name: value}) for c, name in enumerate(names) for v, (value, _) in enumerate(values)]
    moved = hostile.move([*things])
    assert moved.things["rejected"] == {}
    rows = {
        row_id: (extra or {}, row)
        for row_id, extra, *row in moved.rows(
            "SELECT id::text, extra, name, at, count, total, ratio, price, active, owner, blob, tags FROM things".replace(
                " at,", " at::text,"
            )
        )
    }
    for c, name in enumerate(names):
        for v, (value, want) in enumerate(values):
            extra, row = rows[uuid_of(100 * c + v)]
            stored = any(cell is not None for cell in row)
            assert stored or name in extra or (name == "meta" and value == {}) or (name in ("parts", "scores") and value == []), (
                name,
                value,
            )
            if name in extra:
                assert shown(extra[name]) == shown(want), (name, value)


def test_uuids_of_both_subtypes_are_the_same_uuid_as_id_and_reference_pp_11(hostile: Hostile) -> None:
    plain, legacy = bytes.fromhex("00112233445546778899aabbccddeeff"), bytes.fromhex("ffeeddccbbaa49887766554433221100")
    moved = hostile.move(
        [
            {"_id": Binary(plain, 4), "name": "four", "owner": Binary(legacy, 3)},
            {"_id": Binary(legacy, 3), "name": "three", "owner": Binary(plain, 4)},
            {"_id": Binary(plain, 5), "name": "md5", "blob": Binary(b"", 0)},
            {"_id": b"", "name": "empty", "blob": b""},
            {"_id": Binary(plain[:5], 4), "name": "short", "owner": Binary(plain[:5], 4)},
        ],
        chunk_bytes=EACH,
    )
    ids = moved.by_name("id::text")
    assert ids["four"] == "00112233-4455-4677-8899-aabbccddeeff"
    assert ids["three"] == "ffeeddcc-bbaa-4988-7766-554433221100"
    assert moved.by_name("owner::text") | {"short": None} == {
        "four": ids["three"],
        "three": ids["four"],
        "md5": None,
        "empty": None,
        "short": None,
    }
    extra = moved.by_name("extra")
    assert (
        extra["four"]["owner"]
        == extra["three"]["_id"]
        == {"$binary": {"base64": base64.b64encode(legacy).decode(), "subType": "03"}}
    )
    assert extra["short"]["_id"] == {"$binary": {"base64": base64.b64encode(plain[:5]).decode(), "subType": "04"}}
    assert {name: bytes(blob) for name, blob in moved.by_name("blob").items() if blob is not None} == {"md5": b"", "empty": b""}


def test_heterogeneous_arrays_keep_place_and_value_of_each_element_pp_19(hostile: Hostile) -> None:
    mixed: list[Any] = [1, "a", {"rank": 1}, None, [2]]
    moved = hostile.move(
        [
            thing(2, name="payload", payload=mixed),
            thing(3, name="tags", tags=mixed),
            thing(4, name="parts", parts=[*mixed, {"label": "x", "size": 1.5}, {"_id": 5, "label": 5}]),
            thing(5, name="scores", scores=[*mixed, 2.5, Int64(2**60 + 1)]),
            thing(6, name="unknown", unknown=mixed),
            thing(7, name="labels", labels={str(n): value for n, value in enumerate(mixed)}),
            thing(8, name="nulls", tags=[None], parts=[None], scores=[None], payload=[None, [None], {}]),
            thing(9, name="no arrays", tags="a", parts={"0": {"label": "x"}}, scores=5, labels=[{"value": 1}]),
            thing(10, name="arrays", parts=[[{"label": "x"}]], scores=[[1.0]], tags=[["a"]], payload=[[["a"]]]),
        ]
    )
    assert moved.by_name("payload") | {"nulls": 0} == dict.fromkeys(
        ["tags", "parts", "scores", "unknown", "labels", "no arrays"]
    ) | {"payload": mixed, "nulls": 0, "arrays": [[["a"]]]}
    extra = moved.by_name("extra")
    assert (extra["tags"], extra["unknown"]) == ({"tags": mixed}, {"unknown": mixed})
    assert extra["nulls"] == {"tags": [None]}
    assert extra["no arrays"] == {"tags": "a", "parts": {"0": {"label": "x"}}, "scores": 5, "labels": [{"value": 1}]}
    assert moved.rows("SELECT ordinal, label, size, extra FROM thing_parts ORDER BY 1") == [
        (2, None, None, {"rank": 1}),
        (5, "x", None, {"size": 1.5}),
        (6, None, None, {"_id": 5, "label": 5}),
    ]
    assert moved.rows("SELECT ordinal, score FROM thing_scores ORDER BY 1") == [(0, 1.0), (5, 2.5)]
    assert moved.rows("SELECT label, rank FROM thing_labels") == [("2", 1)]
    places = {(path, reason) for path, _, reason in moved.rejects()}
    assert places == {
        *((f"parts.{n}", "type_mismatch") for n in (0, 1, 3, 4)),
        *((f"scores.{n}", "type_mismatch") for n in (1, 2, 4)),
        ("scores.3", "required"),
        ("scores.6", "inexact"),
        *((f"labels.{n}", "type_mismatch") for n in (0, 1, 3, 4)),
        ("scores.0", "required"),
        ("scores.0", "type_mismatch"),
    }


def test_null_missing_and_empty_stay_apart_pp_18(hostile: Hostile) -> None:
    values: dict[str, dict[str, Any]] = {
        "null": {"x": None},
        "missing": {},
        "array": {"x": []},
        "document": {"x": {}},
        "text": {"x": ""},
    }
    moved = hostile.move(
        [thing(n, name=name, payload=value, other=value, **value) for n, (name, value) in enumerate(values.items())]
        + [
            thing(10, name="columns null", tags=None, parts=None, scores=None, labels=None, meta=None, payload=None),
            thing(11, name="columns empty", tags=[], parts=[], scores=[], labels={}, meta={}, payload=[]),
            thing(12, name="columns wrong", tags={}, parts={}, scores={}, labels=[], meta=[], payload=""),
        ]
    )
    payload, extra = moved.by_name("payload"), moved.by_name("extra")
    for name, value in values.items():
        assert shown(payload[name]) == shown(value)
        assert shown(extra[name]) == shown({"other": value, **value})
    # Null and missing are both NULL where a column is declared: the table of types says so.
    assert moved.rows("SELECT tags, payload, extra FROM things WHERE name = 'columns null'") == [(None, None, None)]
    assert moved.rows("SELECT tags, payload, extra FROM things WHERE name = 'columns empty'") == [([], [], None)]
    wrong = {"tags": {}, "parts": {}, "scores": {}, "labels": [], "meta": []}
    assert moved.rows("SELECT tags, payload, extra FROM things WHERE name = 'columns wrong'") == [(None, "", wrong)]
    assert moved.things["misfits"] == dict.fromkeys(wrong, 1)


# ---------------------------------------------------------------------------------------------------------------- ids

IDS: list[Any] = [
    MinKey(),
    None,
    float("nan"),
    float("inf"),
    -5,
    Int64(2**53 + 1),
    0.5,
    Decimal128("1.10"),
    Decimal128("NaN"),
    "",
    "text",
    "a\0b",
    Symbol("symbol"),
    str(oid(500)),
    {},
    {"a": 1, "b": [1, {"c": None}]},
    {"$ref": "c", "$id": 5},
    {"$oid": "no oid"},
    {"$numberLong": "x"},
    {"$date": 5},
    b"",
    b"bytes",
    Binary(bytes(range(16)), 4),
    Binary(bytes(range(16, 32)), 3),
    oid(501),
    oid(502),
    False,
    True,
    DatetimeMS(-(2**63)),
    DatetimeMS(0),
    DatetimeMS(2**63 - 1),
    Timestamp(1, 2),
    Code("f()"),
    Code("f()", {"a": 1}),
    DBPointer("db.c", oid(7)),
    Undefined(),
    [1, 2],
    Regex("a", "i"),
    Raw(0x0B, b"a\0zi\0"),
    MaxKey(),
]


@pytest.mark.parametrize("chunk_bytes", [64 << 20, 300, EACH], ids=["one chunk", "some chunks", "many chunks"])
def test_ids_of_every_type_are_copied_pp_21_pp_22(hostile: Hostile, chunk_bytes: int) -> None:
    documents = [{"_id": value, "count": number} for number, value in enumerate(IDS)]
    # The two NaN are one `_id` to a server: only one of them can be there.
    documents = [each for each in documents if not (type(each["_id"]) is Decimal128 and str(each["_id"]) == "NaN")]
    moved = hostile.move([*documents], chunk_bytes=chunk_bytes)
    assert moved.things["rejected"] == {}
    assert moved.column("SELECT count FROM things ORDER BY 1") == sorted(each["count"] for each in documents), "each once"
    kept = dict(moved.rows("SELECT count, extra -> '_id' FROM things"))
    assert [kept[at] for at, value in enumerate(IDS) if type(value) is ObjectId] == [None, None]
    for value, want in (
        ("text", "text"),
        (Symbol("symbol"), {"$symbol": "symbol"}),
        ({"$date": 5}, {"$date": 5}),
        ([1, 2], [1, 2]),
    ):
        assert kept[IDS.index(value)] == want
    if chunk_bytes == EACH:
        assert moved.column("SELECT count(*) > 20 FROM migration.passes WHERE stage = 'load' AND collection = 'things'") == [True]
    again = hostile.move([*documents], chunk_bytes=1000)
    assert again.things["unchanged"] == len(documents), "a second run finds each by the same id"


def test_numbers_of_one_value_are_one_id_whatever_their_type_pp_21(hostile: Hostile) -> None:
    first = hostile.move([{"_id": 5, "name": "int"}])
    ids = first.column("SELECT id::text FROM things")
    for value in (Int64(5), 5.0):
        moved = hostile.move([{"_id": value, "name": type(value).__name__}])
        assert moved.column("SELECT id::text FROM things") == ids


def test_an_id_that_was_written_again_as_a_decimal_is_the_same_document_pp_21(hostile: Hostile) -> None:
    hostile.move([{"_id": 5, "name": "int"}])
    moved = hostile.move([{"_id": Decimal128("5.0"), "name": "decimal"}])
    assert moved.column("SELECT name FROM things") == ["decimal"]


def test_ids_that_look_alike_as_json_are_told_apart_pp_21(hostile: Hostile) -> None:
    alike: list[Any] = [
        *(Undefined(), {"$undefined": True}, oid(7), {"$oid": str(oid(7))}, Symbol("s"), {"$symbol": "s"}),
        *(Decimal128("5"), {"$numberDecimal": "5"}, {"$numberLong": "5"}, {"$document": [["$numberLong", {"$numberLong": "5"}]]}),
        *({"a": oid(7)}, {"a": {"$oid": str(oid(7))}}, {"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ]
    things = [{"_id": value, "name": str(number)} for number, value in enumerate(alike)]
    codes = [{"_id": value, "number": number} for number, value in enumerate(alike)]
    for run in range(2):
        moved = hostile.move([*things], [*codes])
        assert sorted(map(int, moved.by_name("id"))) == list(range(len(alike)))
        assert moved.things["unchanged"] == len(alike) * run
        # Each lacks its code, and each is a reject of its own, the same one in the second run.
        assert moved.column("SELECT count(DISTINCT document_id) FROM migration.rejects WHERE state = 'open'") == [len(alike)]
        assert len(moved.rejected_bytes()) == len(alike)
    moved = hostile.move([*things], [*codes[1::2]])
    assert sorted(moved.rejected_bytes()) == sorted(document(code) for code in codes[1::2])


# ---------------------------------------------------------------------------------------------------------------- size


def test_a_text_of_16_mb_and_a_document_of_15_9_mb_arrive_pp_45(hostile: Hostile) -> None:
    text = "\N{PARROT}" * (3 << 20) + "x" * (3 << 20) + "\N{PARROT}" * 100
    wide = [f"element {number}" for number in range(500_000)]
    documents = [
        thing(2, name=text),
        thing(3, payload={"text": text}),
        thing(4, unknown=text),
        thing(5, tags=wide),
        thing(6, blob=b"\0" * 15_900_000),
        thing(7, name="a\0" + text),
        SOUND,
    ]
    sizes = [len(document(each)) for each in documents]
    assert max(sizes) > 15_700_000
    moved = hostile.move([*documents])
    assert moved.things["rejected"] == {}
    assert moved.things["bytes"] == sum(sizes), "the report states the size"
    digest = "SELECT {} FROM things WHERE id = %s"
    assert moved.rows(digest.format("name"), uuid_of(2)) == [(text,)]
    assert moved.rows(digest.format("payload ->> 'text'"), uuid_of(3)) == [(text,)]
    assert moved.rows(digest.format("extra ->> 'unknown'"), uuid_of(4)) == [(text,)]
    assert moved.rows(digest.format("tags"), uuid_of(5)) == [(wide,)]
    assert moved.rows(digest.format("length(blob)"), uuid_of(6)) == [(15_900_000,)]
    assert moved.rows(digest.format("name, extra"), uuid_of(7)) == [(None, {"name": nul("a\0" + text)})]


def test_a_document_of_15_9_mb_that_is_rejected_keeps_its_bytes_pp_45(hostile: Hostile) -> None:
    raw = document(thing(2, payload=["x" * 15_900_000])).replace(b"x" * 10, b"\xff" * 10, 1)
    moved = hostile.move([raw, SOUND])
    assert moved.rejects() == [("", "object", "malformed")]
    assert moved.rejected_bytes() == [raw]
    assert sound_is_there(moved)


def test_a_text_is_too_long_for_a_unique_key_from_a_byte_on_and_no_sooner(hostile: Hostile) -> None:
    # Bytes that no compression makes fewer: what is loaded here fits the index however it is stored.
    fits = "".join(random.Random(1).choices("".join(map(chr, range(33, 127))), k=LONGEST_KEY - 2)) + "é"
    long = fits[:-1] + "€"
    codes = [{"_id": oid(n), "code": text, "at": DatetimeMS(0), "words": [text, "a"]} for n, text in ((2, fits), (3, long))]
    codes.append({"_id": oid(4), "code": "b", "at": DatetimeMS(0), "words": [fits, long, "a"]})
    things = [SOUND, thing(2, name=long, labels={fits: {"rank": 1}, long: {"rank": 2}, long + "x": 5})]
    moved = hostile.move(things, list(codes))
    assert sorted(moved.column("SELECT code FROM codes")) == sorted([fits, "b"])
    assert sorted(moved.column("SELECT word FROM code_words")) == sorted([fits, "a"] * 2)
    assert moved.column("SELECT label FROM thing_labels") == [fits]
    assert sorted(moved.rejects()) == sorted(
        [
            ("code", "string", "too_long"),
            ("words.1", "string", "too_long"),
            (f"labels.{long}", "string", "too_long"),
            (f"labels.{long}x", "int", "type_mismatch"),
        ]
    )
    assert moved.by_name("id::text")[long] == uuid_of(2), "no key holds it"


@pytest.mark.parametrize("where", ["unique column", "unique value", "map key"])
def test_a_text_too_long_for_an_index_stops_no_collection(hostile: Hostile, where: str) -> None:
    # A B-tree's entry holds 2,704 bytes (PostgreSQL manual, 64.1.4): such a text fits its column and no UNIQUE key.
    long = base64.b85encode(bytes(n * n % 251 for n in range(100_000))).decode()
    codes: list[Any] = [{"_id": oid(9), "code": "short", "at": DatetimeMS(0)}]
    things: list[Any] = [SOUND]
    if where == "unique column":
        codes.append({"_id": oid(2), "code": long, "at": DatetimeMS(0)})
    elif where == "unique value":
        codes.append({"_id": oid(2), "code": "x", "at": DatetimeMS(0), "words": ["a", long]})
    else:
        things.append(thing(2, labels={"a": {"rank": 1}, long: {"rank": 2}}))
    moved = hostile.move(things, codes)
    assert sound_is_there(moved)
    assert len(moved.rejects()) == 1


@pytest.mark.parametrize("depth", [99, 179])
@pytest.mark.parametrize("kind", ["documents", "arrays"])
def test_deep_documents_arrive_whole(hostile: Hostile, depth: int, kind: str) -> None:
    value: Any = "bottom"
    for _ in range(depth):
        value = {"d": value} if kind == "documents" else [value]
    moved = hostile.move([bson.encode(thing(2, name="deep", payload=value, other=value)), SOUND])
    assert moved.things["rejected"] == {}
    assert moved.by_name("payload")["deep"] == value
    assert moved.by_name("extra")["deep"] == {"other": value}


def test_a_document_deeper_than_any_server_allows_is_a_reject(hostile: Hostile) -> None:
    raw = framed(b"")
    for _ in range(20_000):
        raw = framed(b"\x03d\0" + raw)
    raw = framed(b"\x07_id\0" + oid(2).binary + b"\x03payload\0" + raw)
    moved = hostile.move([raw, SOUND])
    assert moved.things["rejected"] == {"malformed": 1}
    assert moved.rejected_bytes() == [raw]
    assert sound_is_there(moved)


def test_an_array_of_100_000_elements_becomes_as_many_rows(hostile: Hostile) -> None:
    parts = [{"label": f"part {number}", "size": number} if number % 1000 else number for number in range(100_000)]
    scores = [float(number) for number in range(100_000)]
    labels = {f"key {number}": {"rank": number} for number in range(20_000)}
    moved = hostile.move([thing(2, parts=parts, scores=scores, labels=labels), SOUND])
    arrays = {each["path"]: each for each in moved.things["arrays"]}
    assert arrays["parts"] == {"path": "parts", "elements": 100_000, "rows": 99_900, "rejected": 100, "of_parents_not_loaded": 0}
    assert arrays["scores"]["rows"] == 100_000
    assert arrays["labels"]["rows"] == 20_000
    assert moved.rows("SELECT count(*), sum(size), min(ordinal), max(ordinal) FROM thing_parts") == [
        (99_900, sum(n for n in range(100_000) if n % 1000), 1, 99_999)
    ]
    # A hundred rejected elements, and their document's 7 MB once.
    assert moved.rows("SELECT count(*) FROM migration.rejects") == [(100,)]
    assert moved.rows("SELECT count(*) FROM migration.reject_documents") == [(1,)]


# Promised: 350 MB above an idle process (issue "Speed and memory", 6).
PROMISED_MB = 350
MOVE_IN_A_PROCESS = r"""
import re, sys
from pathlib import Path
import psycopg
from pymongo import MongoClient
from mongo2pg.target import scripts
from tests.hostile import HOSTILE
from tests.mover import Mover
import mongo2pg.run, pandas

def peak():
    # Not ru_maxrss: that one begins with what the parent held.
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10

uri, conninfo, include, staging = sys.argv[1:]
scripts.INCLUDE = Path(include)
with MongoClient(uri) as client, psycopg.connect(conninfo) as conn:
    client.admin.command("ping")
    idle = peak()
    run = Mover(client["hostile"], conn, Path(staging), HOSTILE).move("run")
    moved = peak()
    report = run.verify()
    print([failure["check"] for failure in report["failures"]], report["collections"][0]["read"])
    print(moved - idle, peak() - idle)
"""
LARGE = {
    "documents of 16 MB": lambda: [thing(n, name="x" * 16_700_000) for n in range(8)],
    "arrays of 100,000 elements": lambda: [
        thing(n, parts=[{"label": f"part {at}", "size": at, "more": {"at": at}} for at in range(100_000)]) for n in range(2)
    ],
    "5,000 keys that nobody declared": lambda: [
        thing(n, **{f"key {n % 50} {at}": {"value": at} for at in range(5_000)}) for n in range(40)
    ],
    "a field of 5,000 different names": lambda: [thing(n, **{f"name {n}": "x" * 1000}) for n in range(5_000)],
}


@pytest.mark.parametrize("name", LARGE)
def test_memory_stays_bound_by_bytes_pp_44(hostile: Hostile, target: Any, tmp_path: Path, name: str) -> None:
    raws = [document(each) for each in LARGE[name]()]
    hostile.server.put("hostile", "things", raws)
    hostile.server.put("hostile", "codes", [])
    arguments = [hostile.server.uri, target.conninfo, str(tmp_path / "sql"), str(tmp_path / "staging")]
    done = subprocess.run(
        [sys.executable, "-c", MOVE_IN_A_PROCESS, *arguments],
        cwd=REPOSITORY,
        env={"PYTHONPATH": f"{REPOSITORY}/plugins:{REPOSITORY}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcome, peak = done.stdout.splitlines()
    assert outcome == f"[] {len(raws)}"
    moved, verified = map(int, peak.split())
    assert moved <= PROMISED_MB, f"{moved} MB above idle while moving {sum(map(len, raws)) / 1e6:.0f} MB"
    assert verified <= PROMISED_MB, f"{verified} MB above idle while verifying"


def test_reasons_are_those_of_the_documented_list(hostile: Hostile) -> None:
    documents: list[Any] = [
        framed(b"\x02_id\0" + bytes(4)),
        thing(2, scores=[1.5, "x", None, Int64(2**60 + 1)], parts=[5]),
    ]
    codes: list[Any] = [
        {"_id": oid(3), "at": DatetimeMS(0)},
        {"_id": oid(4), "code": "a\0", "at": DatetimeMS(0)},
        {"_id": oid(5), "code": "a", "at": DatetimeMS(2**62)},
        {"_id": oid(6), "code": 5, "at": DatetimeMS(0)},
        {"_id": oid(7), "code": "same", "at": DatetimeMS(0), "words": ["a", "a"]},
        {"_id": oid(8), "code": "same", "at": DatetimeMS(0)},
        {"_id": oid(9), "code": "x" * (LONGEST_KEY + 1), "at": DatetimeMS(0)},
    ]
    moved = hostile.move(documents, codes)
    assert Counter(reason for _, _, reason in moved.rejects()) == {
        "malformed": 1,
        "type_mismatch": 3,
        "required": 2,
        "inexact": 1,
        "nul_character": 1,
        "out_of_range": 1,
        "duplicate_key": 2,
        "too_long": 1,
    }
