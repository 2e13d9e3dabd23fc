"""The table of types holds wherever a value stands: every BSON type, in every column type, in six places of a document."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import bson
import pyarrow as pa
import pytest
from bson import ObjectId

from mongo2pg.documents.bson_types import bson_type
from mongo2pg.documents.decode import OPTIONS, DBPointer, Symbol, Undefined
from mongo2pg.model import Child, Collection, Column
from mongo2pg.moving.normaliser import Normaliser
from tests.unit.projection import project

PAGE = Path(__file__).resolve().parents[2] / "docs" / "types_page.py"
_spec = importlib.util.spec_from_file_location("types_page", PAGE)
assert _spec
assert _spec.loader
types_page = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(types_page)

OWN_ID = ObjectId("0123456789abcdef01234567")

# Where the value stands: the document around it, the declaration that reaches it, and the path under which misfits are counted.
PLACES: dict[str, tuple[Any, Any, str]] = {
    "top level": (lambda v: {"a": v}, lambda kind: {"columns": (Column("a", kind),)}, "a"),
    "sub-document": (lambda v: {"s": {"a": v}}, lambda kind: {"columns": (Column("s.a", kind, "a"),)}, "s.a"),
    "depth 5": (
        lambda v: {"b": {"c": {"d": {"e": {"a": v}}}}},
        lambda kind: {"columns": (Column("b.c.d.e.a", kind, "a"),)},
        "b.c.d.e.a",
    ),
    "array of documents": (
        lambda v: {"l": [{"a": v}]},
        lambda kind: {"columns": (), "children": (Child("child", "l", "documents", (Column("a", kind),)),)},
        "l.a",
    ),
    "map value": (
        lambda v: {"m": {"k": {"a": v}}},
        lambda kind: {"columns": (), "children": (Child("child", "m", "map", (Column("a", kind),), key="k"),)},
        "m.a",
    ),
    "array": (
        lambda v: {"l": [v]},
        lambda kind: {"columns": (), "children": (Child("child", "l", "scalars", (Column("", kind, "a"),)),)},
        "l",
    ),
}
# pymongo has no way to write these: they are tested at the byte level in test_decode.py.
ENCODABLE = [(name, value) for name, value in types_page.SAMPLES if not isinstance(value, Symbol | Undefined | DBPointer)]


def test_the_page_of_types_is_up_to_date() -> None:
    assert types_page.PAGE.read_text() == types_page.page(), "run: python docs/types_page.py"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", types_page.TYPES)
def test_the_verdict_on_a_value_is_the_same_wherever_it_stands(place: str, kind: Any) -> None:
    around, declare, path = PLACES[place]
    for name, value in ENCODABLE:
        collection = Collection("c", "t", "a", **declare(kind))
        raw = bson.encode({"_id": OWN_ID, **around(value)}, codec_options=OPTIONS)
        normaliser = Normaliser(collection)
        batch = normaliser.normalise(pa.array([raw]), 0)
        want = types_page.verdict(value, kind)
        frame = batch.frames["child" if "children" in declare(kind) else "t"]
        if want.startswith("stored"):
            assert frame.column("a")[0].as_py() is not None, (name, kind, place)
            assert not normaliser.counts.misfits, (name, kind, place)
            assert not batch.rejects, (name, kind, place)
            assert (frame.column("extra")[0].as_py() is not None) == (want == "stored, kept"), (name, kind, place)
        elif place == "array":
            assert [(reject.path, reject.reason) for reject in batch.rejects] == [("l.0", want)], (name, kind, place)
        else:
            assert frame.column("a")[0].as_py() is None, (name, kind, place)
            assert frame.column("extra")[0].as_py() is not None, (name, kind, place)
            culprit = value[1] if isinstance(value, list) and kind == "text[]" else value
            assert dict(normaliser.counts.misfits) == {(path, bson_type(culprit), want): 1}, (name, kind, place)
        projection = project(collection, [raw])
        assert sum(map(len, projection.rows.values())) == sum(each.num_rows for each in batch.frames.values()), (name, kind, place)
