"""Many documents read at once, by hand-written bytes: what is vouched for, where it lies, and what is left to others."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from mongo2pg.reference import arrays, octets, walk
from mongo2pg.reference.arrays import Elements, elements_of
from mongo2pg.reference.octets import Octets
from mongo2pg.reference.walk import ARRAY, DOCUMENT, Leaf
from tests.unit.raw_bson import Pairs, Raw, document


@pytest.fixture(autouse=True, params=[1, 2, 1_000], ids=["all at once", "some at once", "one after the other"])
def every_shape_counts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "FEW", 1)
    monkeypatch.setattr(arrays, "FEW_GOING", request.param)


def framed(body: bytes) -> bytes:
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def shapes(*raws: bytes, whole: tuple[walk.Path, ...] = ()) -> list[tuple[list[int], dict[walk.Path, int]]]:
    """Of each group its documents and the BSON types of their fields; in the order of the first document."""
    ends = np.cumsum([len(raw) for raw in raws])
    starts = ends - [len(raw) for raw in raws]
    groups = walk.walk(Octets(b"".join(raws)), starts, ends, set(whole))
    return sorted((group.rows.tolist(), {path: leaf.kind for path, leaf in group.leaves.items()}) for group in groups)


def is_read(raw: bytes) -> bool:
    """Whether the document is vouched for, with sound ones on both sides of it."""
    sound = document({"a": 1})
    return [1] in [rows for rows, _ in shapes(sound, raw, sound)]


# --- documents ---------------------------------------------------------------------------------------------------------


def test_documents_are_told_apart_by_their_keys_types_and_order() -> None:
    raws = [{"a": 1, "b": "x"}, {"a": 2, "b": ""}, {"b": "x", "a": 1}, {"a": 1.0, "b": "x"}, {"a": 1}, {}, {"a": 7, "b": "yz"}]
    got = shapes(*map(document, raws))
    assert [rows for rows, _ in got] == [[0, 1, 6], [2], [3], [4], [5]]
    assert got[0][1] == {("a",): walk.INT32, ("b",): walk.STRING}
    assert got[-1][1] == {}


def test_the_fields_of_documents_and_arrays_follow_them_unless_they_are_taken_whole() -> None:
    raw = document({"a": {"b": {"c": 1}, "d": []}, "e": [True, {"f": None}], "a.b": 2})
    (everything,) = shapes(raw)
    assert list(everything[1]) == [
        *[("a",), ("a", "b"), ("a", "b", "c"), ("a", "d"), ("e",), ("e", "0"), ("e", "1"), ("e", "1", "f"), ("a.b",)]
    ]
    (parts,) = shapes(raw, whole=(("a", "b"), ("e",)))
    assert list(parts[1]) == [("a",), ("a", "b"), ("a", "d"), ("e",), ("a.b",)]


def test_a_value_begins_behind_its_key() -> None:
    content = document({"a": 1}) + document({"a": 258})
    (group,) = walk.walk(Octets(content), np.array([0, 12]), np.array([12, 24]))
    assert group.leaves["a",].at.tolist() == [7, 19]
    assert Octets(content).integers("<i4", group.leaves["a",].at).tolist() == [1, 258]


def test_a_shape_of_few_documents_is_left_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "FEW", 3)
    got = shapes(*[document({"a": 1})] * 3, *[document({"a": "x"})] * 2)
    assert [rows for rows, _ in got] == [[0, 1, 2]]


def test_where_hardly_two_documents_have_one_shape_the_search_for_more_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    raws = [document({f"key {number}": 1}) for number in range(20)]
    assert len(shapes(*raws)) == 20
    monkeypatch.setattr(walk, "MOST_PARTINGS", 3)
    # The first is parted from 19, the second from 18, the third from 17 and the fourth from 16 others.
    assert [rows for rows, _ in shapes(*raws)] == [[0], [1], [2], [3]]
    assert len(shapes(*[document({f"key {number % 6}": 1}) for number in range(20)])) == 6


SOUND = document({"a": {"b": "xy"}, "c": 1})
MALFORMED: list[tuple[str, bytes]] = [
    ("no byte at all", b""),
    ("fewer bytes than a document has", b"\4\0\0\0"),
    ("a length that is one too small", struct.pack("<i", len(SOUND) - 1) + SOUND[4:]),
    ("a length that is one too large", struct.pack("<i", len(SOUND) + 1) + SOUND[4:]),
    ("a negative length", b"\xff\xff\xff\xff" + SOUND[4:]),
    ("no zero byte at its end", SOUND[:-1] + b"\1"),
    ("a zero byte too early", framed(b"\0\x10a\0\1\0\0\0")),
    ("something behind its end", framed(b"\x10a\0\1\0\0\0\0")),
    ("a key without an end", framed(b"\x10abc")),
    ("a type without a key", framed(b"\x10")),
    ("a key twice", document(Pairs((("a", 1), ("b", 2), ("a", 1))))),
    ("a key twice further down", document({"a": {"b": Pairs((("c", 1), ("c", 1)))}})),
    ("a key twice inside of an array", document({"a": [Pairs((("c", 1), ("c", 1)))]})),
    ("a key that is no UTF-8", framed(b"\x10\xff\0\1\0\0\0")),
    ("a key with a surrogate", framed(b"\x10\xed\xa0\x80\0\1\0\0\0")),
    ("an unknown type", framed(b"\x20a\0\1\0\0\0")),
    ("a number that ends beyond it", framed(b"\x12a\0\1\0\0\0")),
    ("a number that ends with it", framed(b"\x10a\0\1\0\0")),
    ("a string of length 0", framed(b"\2a\0\0\0\0\0\0")),
    ("a string of negative length", framed(b"\2a\0\xff\xff\xff\xffx\0")),
    ("a string of length 2**31 - 1", framed(b"\2a\0\xff\xff\xff\x7fx\0")),
    ("a string one longer than it is", framed(b"\2a\0\3\0\0\0x\0")),
    ("a string without a zero byte at its end", framed(b"\2a\0\2\0\0\0xy")),
    ("a boolean of 2", framed(b"\x08a\0\2")),
    ("a boolean of 255", framed(b"\x08a\0\xff")),
    ("binary data of negative length", framed(b"\5a\0\xff\xff\xff\xff\0")),
    ("binary data that ends beyond it", framed(b"\5a\0\2\0\0\0\0x")),
    ("binary data without a subtype", framed(b"\5a\0\0\0\0\0")),
    ("binary data one shorter than it is", framed(b"\5a\0\1\0\0\0\0xy")),
    ("an inner document of length 4", framed(b"\3a\0\4\0\0\0\0")),
    ("an inner document one shorter than it is", framed(b"\3a\0\x0b\0\0\0\x10b\0\1\0\0\0\0")),
    ("an inner document one longer than it is", framed(b"\3a\0\x0d\0\0\0\x10b\0\1\0\0\0\0\0")),
    ("an inner document that ends with the outer one", framed(b"\3a\0\6\0\0\0")),
    ("an inner document without a zero byte at its end", framed(b"\3a\0\5\0\0\0\1")),
    ("an inner document that ends before its last value", framed(b"\3a\0\x0c\0\0\0\2b\0\6\0\0\0\0\0\0\0\0\0")),
    ("an inner array without a zero byte at its end", framed(b"\4a\0\5\0\0\0\1")),
]


@pytest.mark.parametrize("raw", [case[1] for case in MALFORMED], ids=[case[0] for case in MALFORMED])
def test_a_malformed_document_is_left_to_others(raw: bytes) -> None:
    assert not is_read(raw)
    assert is_read(SOUND)


RARE: list[Any] = [
    *(Raw(0x05, b"\4\0\0\0\2\0\0\0\0"), Raw(0x06, b""), Raw(0x0B, b"\0\0"), Raw(0x0C, b"\1\0\0\0\0" + bytes(12))),
    *(Raw(0x0D, b"\1\0\0\0\0"), Raw(0x0E, b"\1\0\0\0\0"), Raw(0x0F, b"\x0e\0\0\0\1\0\0\0\0\5\0\0\0\0"), Raw(0x11, bytes(8))),
    *(Raw(0x7F, b""), Raw(0xFF, b"")),
]


@pytest.mark.parametrize("value", RARE, ids=[f"{value.kind:02x}" for value in RARE])
def test_a_document_with_a_value_of_a_rare_type_is_left_to_others(value: Raw) -> None:
    assert not is_read(document({"a": value, "b": 1}))
    assert not is_read(document({"a": {"b": [value]}}))


@pytest.mark.parametrize("subtype", [0, 4, 128])
@pytest.mark.parametrize("content", [b"", b"x", bytes(range(16))])
def test_binary_data_is_as_long_as_it_says(subtype: int, content: bytes) -> None:
    value = Raw(0x05, struct.pack("<iB", len(content), subtype) + content)
    assert is_read(document({"a": value, "b": 1}))
    assert is_read(document({"a": {"b": [value, value]}}))


def test_a_document_that_is_nested_deeper_than_mongodb_nests_is_left_to_others() -> None:
    def nested(depth: int) -> bytes:
        inner: Any = 1
        for _ in range(depth):
            inner = {"a": inner}
        return document(inner)

    assert is_read(nested(walk.DEEPEST))
    assert not is_read(nested(walk.DEEPEST + 1))


def test_one_malformed_document_takes_no_other_of_its_shape_along() -> None:
    raws = [SOUND] * 5
    raws[2] = SOUND.replace(b"xy\0", b"xyz")
    assert [rows for rows, _ in shapes(*raws)] == [[0, 1, 3, 4]]


# --- elements of arrays and maps ---------------------------------------------------------------------------------------


def elements(kind: int, *holders: bytes) -> tuple[list[tuple[int, int, int, bytes, bytes]], list[bool]]:
    """(holder, number, type, key, bytes) of each element, and which of the holders are sound; other bytes lie around them."""
    content, at = b"\7\7\7", []
    for holder in holders:
        at.append(len(content))
        content += holder + b"\xff\0\xff"
    got, sound = elements_of(Octets(content), Leaf(kind, np.array(at, np.int64)))
    facts = zip(*(fact.tolist() for fact in (got.holders, got.numbers, got.kinds, got.keys, got.values, got.ends)), strict=True)
    return [(h, n, k, content[key : value - 1], content[value:end]) for h, n, k, key, value, end in facts], sound.tolist()


def array(*values: Any) -> bytes:
    return document({str(at): value for at, value in enumerate(values)})


def test_the_elements_of_arrays_are_found_number_by_number() -> None:
    got, sound = elements(ARRAY, array(5, None), array(), array(True))
    assert sorted(got) == [(0, 0, 0x10, b"0", b"\5\0\0\0"), (0, 1, 0x0A, b"1", b""), (2, 0, 0x08, b"0", b"\1")]
    assert sound == [True, True, True]


def test_the_entries_of_a_map_have_any_keys() -> None:
    got, sound = elements(DOCUMENT, document({"é.b": 1, "": "x"}))
    assert got == [(0, 0, 0x10, "é.b".encode(), b"\1\0\0\0"), (0, 1, 0x02, b"", b"\2\0\0\0x\0")]
    assert sound == [True]


def test_an_element_is_an_inner_document_as_a_whole() -> None:
    inner = document({"a": [1, {"b": 2}]})
    got, sound = elements(ARRAY, array({"a": [1, {"b": 2}]}, [3]))
    assert [raw for *_, raw in got] == [inner, array(3)]
    assert sound == [True]


UNSOUND: list[tuple[str, bytes]] = [
    ("keys from 1 on", document({"1": 1})),
    ("keys out of order", document({"1": 1, "0": 1})),
    ("a key twice", document(Pairs((("0", 1), ("0", 1))))),
    ("a key with a leading zero", document({"00": 1})),
    ("an empty key", document({"": 1})),
    ("a rare type", document({"0": Raw(0x11, bytes(8))})),
    ("a rare type of no size", document({"0": Raw(0x7F, b"")})),
    ("a string of length 0", framed(b"\x020\0\0\0\0\0\0")),
    ("a string of negative length", framed(b"\x020\0\xff\xff\xff\xffx\0")),
    ("a document of negative length", framed(b"\x030\0\xff\xff\xff\xff\0")),
    ("an element behind one of another length than it has", framed(b"\x020\0\6\0\0\0x\0\x101\0\1\0\0\0")),
    ("an unknown type", framed(b"\x200\0\1\0\0\0")),
    ("a value that ends beyond it", framed(b"\x120\0\1\0\0\0")),
    ("a value that ends with it", framed(b"\x100\0\1\0\0")),
    ("a key without an end", framed(b"\x100")),
    ("a zero byte too early", framed(b"\0\x100\0\1\0\0\0")),
    ("an inner document with another length", framed(b"\x030\0\6\0\0\0\0")),
    ("a string without a zero byte at its end", framed(b"\x020\0\2\0\0\0xy")),
    ("a boolean of 2", framed(b"\x080\0\2")),
]


@pytest.mark.parametrize("holder", [case[1] for case in UNSOUND], ids=[case[0] for case in UNSOUND])
def test_an_array_that_cannot_be_read_to_its_end_is_unsound_and_no_other(holder: bytes) -> None:
    _, sound = elements(ARRAY, array(1), holder, array(2))
    assert sound == [True, False, True]


def test_a_holder_may_have_many_more_elements_than_another_one() -> None:
    got, sound = elements(ARRAY, array(*"ab"), array(*map(str, range(1_234))), array("c"))
    assert sound == [True, True, True]
    assert [(number, key.decode(), raw[4:-1].decode()) for holder, number, _, key, raw in got if holder == 1] == [
        (number, str(number), str(number)) for number in range(1_234)
    ]


def test_of_no_holders_there_are_no_elements() -> None:
    got, sound = elements_of(Octets(b""), Leaf(ARRAY, np.zeros(0, np.int64)))
    assert isinstance(got, Elements)
    assert (len(got.holders), len(sound)) == (0, 0)


# --- bytes -------------------------------------------------------------------------------------------------------------

LONG = bytes(range(1, 256)) * 5  # more than are compared by the word


def test_what_lies_beyond_the_bytes_is_zero() -> None:
    content = Octets(b"\1\2\3")
    assert content.integers("<i4", np.array([0, 1, 2, 3, 9])).tolist() == [0x030201, 0x0302, 3, 0, 0]
    assert content.integers(">i4", np.array([0, 2])).tolist() == [0x01020300, 0x03000000]
    assert Octets(b"").integers("u1", np.array([0, 5])).tolist() == [0, 0]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 16, 17, octets.LONG_BYTES, octets.LONG_BYTES + 1])
def test_texts_are_the_same_to_their_last_byte_and_no_further(size: int) -> None:
    text = LONG[:size]
    one, other = Octets(b"<" + text + b">"), Octets(b"[[" + text + b"]")
    at, there, sizes = np.array([1]), np.array([2]), np.array([size])
    assert one.same(at, sizes, other, there).all()
    assert not one.same(at, sizes + 1, other, there).any()
    assert one.hold(at, text).all()
    for place in {0, size // 2, size - 1} if size else set():
        changed = Octets(b"[[" + text[:place] + bytes([text[place] ^ 0x80]) + text[place + 1 :] + b"]")
        assert not one.same(at, sizes, changed, there).any(), place
        assert not changed.hold(there, text).any(), place


@pytest.mark.parametrize("size", [1, 8, 9, octets.LONG_BYTES + 1])
@pytest.mark.parametrize("sign", [b'"', b"\\", b"\n", b"\0", b"\x1f"])
def test_a_text_with_a_sign_that_json_escapes_is_found(size: int, sign: bytes) -> None:
    for place in {0, size // 2, size - 1}:
        text = b"x" * place + sign + b"x" * (size - place - 1)
        assert Octets(b'"' + text + b'"').escaped(np.array([1]), np.array([size])).all()


@pytest.mark.parametrize("size", [0, 1, 8, 9, octets.LONG_BYTES + 1])
@pytest.mark.parametrize("byte", [0x20, 0x21, 0x23, 0x5B, 0x5D, 0x7F, 0x80, 0x9F, 0xA2, 0xDC, 0xFF])
def test_a_text_of_other_signs_is_not_whatever_stands_around_it(byte: int, size: int) -> None:
    content = Octets(b'"' + bytes([byte]) * size + b'"')
    assert not content.escaped(np.array([1]), np.array([size])).any()


def test_a_text_is_one_of_some_with_its_very_size() -> None:
    content = Octets(b"redgreen")
    at, sizes = np.array([0, 0, 3, 3, 0]), np.array([3, 2, 5, 4, 0])
    assert content.are(at, sizes, [b"red", b"green"]).tolist() == [True, False, True, False, False]
    assert content.are(at, sizes, [b""]).tolist() == [False, False, False, False, True]
    assert not content.are(at, sizes, []).any()
