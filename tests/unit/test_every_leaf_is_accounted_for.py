"""Each leaf of each random document is in a row, in `extra`, in a reject, or ignored by declaration: nothing is dropped.

What the document says is asked of the reference's decoder, what became of it of the frames; nothing of the mover's own
rule says here where a value belongs.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa
import pytest
from bson import Binary, DatetimeMS, Decimal128, Int64, ObjectId
from hypothesis import given
from hypothesis import strategies as st

from mongo2pg.batches.rows import Rows
from mongo2pg.documents import values
from mongo2pg.files.parquet import RAW_ROW
from mongo2pg.model import Child, Collection, Column
from mongo2pg.moving.normaliser import Batch, Normaliser
from mongo2pg.reference.documents import Unreadable, read
from mongo2pg.reference.extended_json import json_text
from mongo2pg.reference.ids import identify
from tests.unit.column_text import plain
from tests.unit.random_documents import FEW, collections, damaged, documents
from tests.unit.raw_bson import document

Path = tuple[str, ...]
NOTHING = object()


class Row(NamedTuple):
    """A row of a frame by its columns, `extra` read as JSON."""

    columns: dict[str, Any]
    extra: Any


class Outcome:
    """What became of a batch: its rows by table and document, its rejects by document; `ids` are the documents' own."""

    ids: list[Any]

    def __init__(self, collection: Collection, batch: Batch) -> None:
        self.collection = collection
        self.rows: dict[tuple[str, int], list[Row]] = {}
        for table in collection.tables:
            frame = batch.frames[table.name]
            for cells in zip(*map(plain, frame.columns), strict=True):
                columns = dict(zip(frame.schema.names, cells, strict=True))
                extra = json.loads(columns["extra"]) if columns["extra"] is not None else {}
                self.rows.setdefault((table.name, columns[RAW_ROW]), []).append(Row(columns, extra))
        self.rejected = {reject.row for reject in batch.rejects if not reject.element}
        self.elements = {(reject.row, reject.path) for reject in batch.rejects if reject.element}

    def holds(self, number: int, path: Path, value: Any) -> bool:
        """Whether this leaf of the document of this number is anywhere."""
        if number in self.rejected:
            return True
        (row,) = self.rows[self.collection.table, number]
        for child in self.collection.children:
            keys = tuple(child.path.split("."))
            if path[: len(keys)] == keys and len(path) > len(keys) and at(row.extra, keys) is NOTHING:
                return self._element_holds(number, child, path[len(keys)], path[len(keys) + 1 :], value)
            if path == keys and value in ([], {}, None):  # no element, no row
                return True
        if path == ("_id",) or path[:1] == ("_id",):
            return row.columns["id"].hex() == identify(self.ids[number]).replace("-", "")
        if any(path[: len(keys)] == keys for keys in (tuple(ignored.split(".")) for ignored in self.collection.ignored)):
            return True
        return held(row, self.collection.columns, path, value)

    def _element_holds(self, number: int, child: Child, place: str, below: Path, value: Any) -> bool:
        beginning = f"{child.path}.{place}"
        if any(row == number and (path == beginning or path.startswith(f"{beginning}.")) for row, path in self.elements):
            return True
        rows = [
            row
            for row in self.rows.get((child.table, number), [])
            if (row.columns[child.key] if child.key else str(row.columns["ordinal"])) == place
        ]
        if len(rows) != 1:
            return False
        if child.kind == "scalars":
            kept = at(rows[0].extra, ("value", *below))
            column = child.columns[0]
            return (
                same_json(kept, value)
                or (not below and stores(rows[0].columns[column.name], column, value))
                or in_json(rows[0].columns[column.name], column, below, value)
            )
        if below[:1] == ("_id",) and child.has_source_id and not below[1:] and type(value) is ObjectId:
            return rows[0].columns["source_id"].hex() == identify(value).replace("-", "")
        return held(rows[0], child.columns, below, value)


def held(row: Row, columns: tuple[Column, ...], path: Path, value: Any) -> bool:
    """Whether the row's column at this path, or `extra`, has the value; where columns are expected, null and {} are nothing."""
    if same_json(at(row.extra, path), value):
        return True
    for column in columns:
        keys = tuple(column.path.split("."))
        if path[: len(keys)] == keys:
            found = row.columns[column.name]
            if path == keys and (value is None or stores(found, column, value)):
                return True
            return in_json(found, column, path[len(keys) :], value)
    holds_columns = any(tuple(column.path.split("."))[: len(path)] == path for column in columns)
    return (value is None or value == {}) and holds_columns


def in_json(found: Any, column: Column, below: Path, value: Any) -> bool:
    """Whether a column that takes documents or lists whole has the value inside."""
    if found is None:
        return False
    if column.type == "jsonb":
        return same_json(at(json.loads(found), below), value)
    return column.type == "text[]" and len(below) == 1 and type(value) is str and found[int(below[0])] == value


def stores(found: Any, column: Column, value: Any) -> bool:
    """Whether the stored value is this very value."""
    if found is None:
        return False
    if column.type == "jsonb":
        return same_json(json.loads(found), value)
    if column.type == "uuid":
        told = type(value) is ObjectId or (type(value) is Binary and value.subtype == 4)
        return told and found.hex() == identify(value).replace("-", "")
    if column.type == "bytea":
        return type(value) is bytes and found == value
    if column.type in ("numeric", "integer", "bigint", "double precision"):
        return same_number(found, value)
    if column.type == "timestamptz":
        return found == milliseconds(value)
    return type(found) is type(value) and found == value


def same_number(found: Any, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal128):
        return False
    one = Decimal(found)
    # A double in a numeric column is its shortest decimal.
    exact = (
        value.to_decimal() if isinstance(value, Decimal128) else Decimal(repr(value) if isinstance(value, float) else int(value))
    )
    other = exact if isinstance(found, str) or not isinstance(value, float) else Decimal(value)
    if one.is_nan() or other.is_nan():
        return one.is_nan() and other.is_nan()
    if isinstance(found, float) and isinstance(value, float) and math.copysign(1, found) != math.copysign(1, value):
        return False
    exponents = isinstance(value, Decimal128) and one.is_finite() and isinstance(found, str)
    scale_kept = not exponents or one.as_tuple().exponent == min(int(other.as_tuple().exponent), 0)
    return one == other and scale_kept


def milliseconds(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return round((value - datetime.datetime(1970, 1, 1)) / datetime.timedelta(milliseconds=1))
    return int(value) if isinstance(value, DatetimeMS) else NOTHING


def at(holder: Any, path: Path) -> Any:
    """What JSON has at this path; NOTHING where it has not."""
    for key in path:
        if isinstance(holder, dict) and key in holder:
            holder = holder[key]
        elif isinstance(holder, list) and key.isdigit() and int(key) < len(holder):
            holder = holder[int(key)]
        else:
            return NOTHING
    return holder


def same_json(found: Any, value: Any) -> bool:
    if found is NOTHING:
        return False
    return json.dumps(found, sort_keys=True) == json.dumps(json.loads(json_text(value, keep_nul=True)), sort_keys=True)


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Path and value of everything in a document that is no document or list, and of those that are empty."""
    if type(value) is dict and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif type(value) is list and value:
        for number, item in enumerate(value):
            yield from leaves(item, (*path, str(number)))
    else:
        yield path, value


def account(collection: Collection, raws: list[bytes]) -> int:
    """Looks for every leaf of these documents; returns how many there are."""
    normaliser = Normaliser(collection)
    batch = normaliser.normalise(pa.array(raws, pa.binary()), first_row=0)
    outcome = Outcome(collection, batch)
    contents = []
    for raw in raws:
        try:
            content: Any = read(raw)
        except Unreadable:
            content = {}
        contents.append(content)
    outcome.ids = [content.get("_id") for content in contents]
    count = 0
    for number, content in enumerate(contents):
        if "_id" not in content:
            assert number in outcome.rejected
            continue
        for path, value in leaves(content):
            count += 1
            assert outcome.holds(number, path, value), f"{path} = {value!r} of document {number} is nowhere"
    counts = normaliser.counts
    assert counts.read == len(raws) == counts.rows + sum(counts.rejected.values())
    for each in counts.arrays.values():
        assert each.elements == each.rows + each.rejected + each.of_parents_not_loaded
    again = Normaliser(collection).normalise(pa.array(raws, pa.binary()), first_row=0)
    assert again.rejects == batch.rejects
    assert [frame.serialize().to_pybytes() for frame in again.frames.values()] == [
        frame.serialize().to_pybytes() for frame in batch.frames.values()
    ], "the same input gives the same bytes"
    return count


@given(data=st.data())
@FEW
def test_every_leaf_of_a_document_is_in_a_row_in_extra_or_in_a_reject(data: st.DataObject) -> None:
    collection = data.draw(collections())
    account(collection, data.draw(st.lists(documents(collection), min_size=1, max_size=3)))


@given(data=st.data())
@FEW
def test_every_leaf_of_a_damaged_document_that_can_be_read_is_somewhere(data: st.DataObject) -> None:
    collection = data.draw(collections())
    account(collection, [data.draw(damaged(raw)) for raw in data.draw(st.lists(documents(collection), min_size=1, max_size=2))])


THINGS = Collection(
    "things",
    "things",
    "at",
    (Column("name", "text"), Column("count", "integer"), Column("price", "numeric"), Column("meta.at", "timestamptz")),
    children=(
        Child("parts", "parts", "documents", (Column("label", "text", required=True),)),
        Child("labels", "meta.labels", "map", (Column("rank", "integer"),), key="label"),
        Child("tags", "tags", "scalars", (Column("", "text", "tag"),)),
    ),
    ignored=("__v",),
)
OID = ObjectId("0123456789abcdef01234567")
FULL = {
    "_id": OID,
    "name": "a\0",
    "count": 1.5,
    "price": Decimal128("1.10"),
    "meta": {"at": DatetimeMS(2**62), "labels": {"a": {"rank": 1, "more": [None, {}]}, "b": 5}, "x": {"y": Int64(2**60)}},
    "parts": [{"_id": OID, "label": "one", "size": 1}, {"label": None}, 5],
    "tags": ["x", None, {"deep": [1]}],
    "__v": 3,
    "unknown": [[{"$oid": "no"}, b"\0"], -0.0],
}


def test_every_leaf_of_a_document_written_by_hand_is_counted() -> None:
    # _id, name, count, price; meta: at, two of `more` and rank, b, y; parts: three, one, one; tags: three; __v; unknown: three.
    assert account(THINGS, [document(FULL)]) == 4 + 6 + 5 + 3 + 1 + 3


@pytest.mark.parametrize("lost", ["name", "count", "unknown", "size", "more", "y"])
def test_a_leaf_that_were_dropped_would_be_missed(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = Rows.keep
    monkeypatch.setattr(
        Rows, "keep", lambda rows, row, path, value: None if lost in str((path, value)) else keep(rows, row, path, value)
    )
    with pytest.raises(AssertionError, match=rf"{lost}.* is nowhere"):
        account(THINGS, [document(FULL)])


def test_a_value_that_were_changed_would_be_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(values._CONVERT, "numeric", lambda value: "1.1")
    with pytest.raises(AssertionError, match=r"price.* is nowhere"):
        account(THINGS, [document(FULL)])
