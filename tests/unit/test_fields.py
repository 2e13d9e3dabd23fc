"""Documents of many shapes read at once: whose field is what, where it lies, and what is left to others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bson import ObjectId, Timestamp

from mongo2pg.reference import fields, walk
from mongo2pg.reference.fields import Documents, Fields, documents_between, fields_of
from mongo2pg.reference.octets import Octets
from mongo2pg.reference.walk import ARRAY, BOOLEAN, DOCUMENT, INT32, NULL, OBJECT_ID, STRING, Group, Path, Some, Trees
from tests.unit.raw_bson import Pairs, Raw, document


@pytest.fixture(autouse=True)
def few_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "FIELD_BYTES", 0)
    monkeypatch.setattr(fields, "LEVEL_BYTES", 0)


def bounds(raws: tuple[bytes, ...]) -> tuple[Octets, Any, Any]:
    ends = np.cumsum([len(raw) for raw in raws])
    return Octets(b"".join(raws)), ends - [len(raw) for raw in raws], ends


def read(*raws: bytes, whole: tuple[Path, ...] = ()) -> Fields:
    """The documents, numbered from 10 on."""
    return fields_of(*bounds(raws), np.arange(len(raws)) + 10, set(whole))


def numbers(documents: Documents, some: Some) -> list[int]:
    rows: list[int] = documents.rows[some].tolist()
    return rows


def kinds_at(documents: Documents, path: Path) -> dict[int, list[int]]:
    return {leaf.kind: numbers(documents, holders) for holders, leaf in documents.values(path)}


def shown(documents: Documents, trees: Trees) -> tuple[list[int], list[tuple[list[int], dict[Path, int]]]]:
    """Who has any, and of each part who they are and what they have."""
    parts = [(numbers(documents, some), {path: leaf.kind for path, leaf in leaves.items()}) for some, leaves in trees.parts]
    return numbers(documents, trees.holders), sorted(parts, key=lambda part: part[0])


MIXED = tuple(
    map(
        document,
        [
            {"a": 1, "b": {"c": "x", "d": [True, None]}},
            {"b": {"d": [False, None], "c": "yy"}, "a": "one"},
            {"a": None},
            {},
            {"b": {"c": 5}, "long name of a field": 1, "long name of another": 2},
        ],
    )
)


def test_each_value_is_told_by_path_and_type_whatever_the_order_of_fields() -> None:
    got = read(*MIXED)
    assert got.rows.tolist() == [10, 11, 12, 13, 14]
    assert kinds_at(got, ("a",)) == {STRING: [11], NULL: [12], INT32: [10]}
    assert kinds_at(got, ("b",)) == {DOCUMENT: [10, 11, 14]}
    assert kinds_at(got, ("b", "c")) == {STRING: [10, 11], INT32: [14]}
    assert kinds_at(got, ("b", "d", "0")) == {BOOLEAN: [10, 11]}
    assert kinds_at(got, ("long name of a field",)) == kinds_at(got, ("long name of another",)) == {INT32: [14]}
    assert kinds_at(got, ("c",)) == kinds_at(got, ()) == {}


def test_a_value_begins_behind_its_key() -> None:
    raws = (document({"x": 7, "a": 258}), document({"a": 1}))
    octets, starts, ends = bounds(raws)
    ((holders, leaf),) = fields_of(octets, starts, ends, np.arange(2), set()).values(("a",))
    assert octets.integers("<i4", leaf.at)[np.argsort(holders)].tolist() == [258, 1]


def test_some_of_the_documents_keep_their_numbers_and_their_fields() -> None:
    some = read(*MIXED).of(np.array([False, True, False, True, True]))
    assert some.rows.tolist() == [11, 13, 14]
    assert kinds_at(some, ("a",)) == {STRING: [11]}
    assert kinds_at(some, ("b", "c")) == {STRING: [11], INT32: [14]}


def test_arrays_and_documents_that_are_taken_whole_are_not_gone_into() -> None:
    got = read(*MIXED, whole=(("b", "d"),))
    assert kinds_at(got, ("b", "d")) == {ARRAY: [10, 11]}
    assert kinds_at(got, ("b", "d", "0")) == {}
    assert kinds_at(got, ("b", "c")) == {STRING: [10, 11], INT32: [14]}


def test_documents_are_parted_by_what_they_have_below_a_path_but_for_those_with_null_or_nothing() -> None:
    got = read(*MIXED, document({"b": None}))
    below = {("b",): DOCUMENT, ("b", "c"): STRING, ("b", "d"): ARRAY, ("b", "d", "0"): BOOLEAN, ("b", "d", "1"): NULL}
    other = {("b",): DOCUMENT, ("b", "c"): INT32}
    assert shown(got, got.trees(("b",))) == ([10, 11, 14], [([10, 11], below), ([14], other)])
    assert shown(got, got.trees(("no",))) == ([], [])


def test_elements_of_an_array_come_in_their_order() -> None:
    got = read(*[document({"a": list(range(12))})] * 2)
    ((_, leaves),) = got.trees(("a",)).parts
    assert [path[1] for path in leaves if len(path) > 1] == [str(number) for number in range(12)]


def test_what_is_kept_comes_with_the_documents_around_it_and_with_no_others() -> None:
    raws = [{"b": {"c": 1, "more": 2}}, {"b": {"c": 1}}, {"top": 1, "b": {"c": 1}}, {"b": {"more": {"x": 1}}}]
    got = read(*map(document, raws))
    kept = got.kept(lambda path, kind: "more" in path or path == ("top",))
    assert shown(got, kept) == (
        [10, 12, 13],
        [
            ([10], {("b",): DOCUMENT, ("b", "more"): INT32}),
            ([12], {("top",): INT32}),
            ([13], {("b",): DOCUMENT, ("b", "more"): DOCUMENT, ("b", "more", "x"): INT32}),
        ],
    )
    assert shown(got, got.kept(lambda path, kind: False)) == ([], [])
    assert shown(got, got.kept(lambda path, kind: kind == DOCUMENT and path == ("b", "more")))[0] == [13]


@pytest.mark.parametrize("asked", ["values", "trees", "kept", "everything"])
def test_documents_of_one_shape_say_the_same_as_a_group_of_them(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raws = [document({"_id": ObjectId(), "a": number, "b": {"c": [None, number]}, "d": None}) for number in range(3)]
    octets, starts, ends = bounds(tuple(raws))
    monkeypatch.setattr(walk, "FEW", 1)
    (group,) = walk.walk(octets, starts, ends)
    apart = fields_of(octets, starts, ends, np.arange(3), set())

    def said(documents: Group | Fields) -> Any:
        paths: list[Path] = [("_id",), ("a",), ("b",), ("b", "c"), ("d",), ("e",)]
        if asked == "values":
            return [[(leaf.kind, leaf.at.tolist()) for _, leaf in documents.values(path)] for path in paths]
        if asked == "trees":
            return [_below(documents, path) for path in paths]
        if asked == "kept":
            kept = documents.kept(lambda path, kind: path == ("b", "c", "1") or kind == OBJECT_ID)
            return shown(documents, kept)
        return sorted((path, leaf.kind, leaf.at.tolist()) for path, _, leaf in documents.everything())

    assert said(apart) == said(group)


def _below(documents: Documents, path: Path) -> list[tuple[list[int], dict[Path, list[int]]]]:
    """The parts of the documents; what else they have beside the path does not count."""
    return [
        (numbers(documents, some), {under: leaf.at.tolist() for under, leaf in leaves.items() if under[: len(path)] == path})
        for some, leaves in documents.trees(path).parts
    ]


ODD = [
    ("a field twice", document(Pairs((("a", 1), ("b", 2), ("a", 1))))),
    ("a field twice inside", document({"b": Pairs((("c", 1), ("c", 1)))})),
    ("a key that is no UTF-8", document({"key": 1}).replace(b"key", b"k\xffy")),
    ("a rare type", document({"a": Timestamp(1, 2)})),
    ("a rare type inside", document({"b": {"c": [Timestamp(1, 2)]}})),
    ("an array whose keys are no numbers", document({"b": Raw(ARRAY, document({"c": 1}))})),
    ("a boolean of 2", document({"a": Raw(BOOLEAN, b"\2")})),
    ("a text longer than its document", document({"a": Raw(STRING, b"\x40\0\0\0x\0")})),
    ("a document that ends too late", document({"b": Raw(DOCUMENT, b"\x09\0\0\0\0")})),
    ("a length that is not that of the document", document({"a": 1})[:-1] + b"\1"),
    ("nothing", b""),
]


@pytest.mark.parametrize("raw", [case[1] for case in ODD], ids=[case[0] for case in ODD])
def test_a_document_that_nobody_can_vouch_for_is_left_out_and_no_other(raw: bytes) -> None:
    got = read(document({"a": 1}), raw, document({"b": {"c": 2}}))
    assert got.rows.tolist() == [10, 12]
    assert kinds_at(got, ("a",)) == {INT32: [10]}
    assert kinds_at(got, ("b", "c")) == {INT32: [12]}


def test_documents_deeper_than_hardly_another_one_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    deep: Any = 1
    for _ in range(walk.DEEPEST):
        deep = {"a": deep}
    assert read(document({"a": 1}), document(deep)).rows.tolist() == [10, 11]
    assert read(document({"a": 1}), document({"a": deep})).rows.tolist() == [10]
    monkeypatch.setattr(fields, "LEVEL_BYTES", 18)  # of one document and more
    assert read(document({"a": 1}), document({"a": {"b": 1}}), document({"c": 1})).rows.tolist() == [10, 12]


def test_documents_with_a_large_one_inside_are_left_out_unless_it_is_taken_whole() -> None:
    raws = [document({"a": [1]}), document({"a": ["x" * 5_000]}), document({"a": "x" * 5_000})]
    assert read(*raws).rows.tolist() == [10, 12]
    assert read(*raws, whole=(("a",),)).rows.tolist() == [10, 11, 12]


def test_documents_that_few_are_like_are_in_no_part_and_yet_have_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "FIELD_BYTES", 20)  # two fields of two documents of 20 bytes
    got = read(*(document({"a": value}) for value in ({"x": 1}, {"x": 2}, {"y": 1})))
    assert shown(got, got.trees(("a",))) == ([10, 11, 12], [([10, 11], {("a",): DOCUMENT, ("a", "x"): INT32})])


def test_the_more_fields_a_part_has_the_more_documents_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    # Or a few documents of a thousand fields, none of which is like another one, would take a minute.
    monkeypatch.setattr(fields, "FIELD_BYTES", 50)
    got = read(*[document({"a": {"b": 1}, "c": {str(number): 1 for number in range(5)}})] * 3)
    assert shown(got, got.trees(("a",)))[1] == [([10, 11, 12], {("a",): DOCUMENT, ("a", "b"): INT32})]
    assert shown(got, got.trees(("c",))) == ([10, 11, 12], [])


def test_a_key_may_be_a_number_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "LARGE_BYTES", 10_000)
    got = read(document({"a": {"1" * 5_000: 1, "2": 1}}))
    assert len(got.trees(("a",)).parts) == 1


def test_of_more_paths_than_are_told_apart_the_rarest_take_their_documents_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "MOST_PATHS", 3)
    got = read(*(document({"a": 1, **more}) for more in ({"b": 1}, {"b": 2}, {"c": 1}, {"d": 1}, {})))
    assert got.rows.tolist() == [10, 11, 14]


def test_keys_and_shapes_whose_marks_are_the_same_are_not_taken_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    raws = [document({"a": 1, "b": {"x": 1}}), document({"a": 1, "b": {"x": 1}}), document({"a": 1, "b": {"y": 1}})]
    got = read(*raws)
    monkeypatch.setattr(fields, "_mixed", np.zeros_like)
    assert shown(got, got.trees(("b",))) == ([10, 11, 12], [])
    assert read(*raws).rows.tolist() == []
    assert read(document({"a": 1}), document({"a": "x"})).rows.tolist() == [10, 11]


def test_documents_of_a_common_shape_come_together_and_the_others_field_by_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "FEW", 2)
    monkeypatch.setattr(fields, "MANY", 2)
    raws = (*[document({"a": 1})] * 2, document({"b": 1}), document({"a": 1}), document({"c": "x"}))
    group, apart = documents_between(*bounds(raws))
    assert isinstance(group, Group)
    assert group.rows.tolist() == [0, 1, 3]
    assert isinstance(apart, Fields)
    assert apart.rows.tolist() == [2, 4]
    # One that is left alone is read sooner by itself.
    assert [each.rows.tolist() for each in documents_between(*bounds(raws[:4]))] == [[0, 1, 3]]
