"""Faults that a mover may have, put into ours: a run with any of them must end red.

Most change the frames that the normaliser hands on, as a fault in it would; the others sit in reading, copying and merging.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from bson import ObjectId
from pymongo.errors import PyMongoError

from mongo2pg.moving import extract, load, merge
from mongo2pg.moving.normaliser import Batch, Normaliser, Read, Reject

Mutant = Callable[[], AbstractContextManager[None]]
Frame: TypeAlias = pa.RecordBatch


@contextmanager
def replaced(holder: Any, name: str, replacement: Any) -> Iterator[None]:
    """`holder.name` is another one inside the block."""
    original = getattr(holder, name)
    setattr(holder, name, replacement)
    try:
        yield
    finally:
        setattr(holder, name, original)


def in_batches(change: Callable[[Batch], Batch]) -> Mutant:
    """The normaliser with its batches changed."""
    original = Normaliser.finish

    def finish(self: Normaliser, read: Read) -> Batch:
        return change(original(self, read))

    return lambda: replaced(Normaliser, "finish", finish)


def in_frame(table: str, change: Callable[[Frame], Frame]) -> Mutant:
    """The normaliser with the frames of one table changed."""

    def changed(batch: Batch) -> Batch:
        frames = {name: change(frame) if name == table and frame.num_rows else frame for name, frame in batch.frames.items()}
        return batch._replace(frames=frames)

    return in_batches(changed)


def in_column(table: str, column: str, change: Callable[[Any], Any]) -> Mutant:
    """The normaliser with each value of one column changed."""

    def changed(frame: Frame) -> Frame:
        at = frame.schema.get_field_index(column)
        field = frame.schema.field(at)
        values = frame.column(at)
        if pa.types.is_timestamp(field.type):
            values = values.cast(pa.int64())
        return frame.set_column(at, field, pa.array(map(change, values.to_pylist()), values.type).cast(field.type))

    return in_frame(table, changed)


def unless_null(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else change(value)


def in_json(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def changed(text: str) -> str | None:
        content = change(json.loads(text))
        return json.dumps(content) if content else None

    return unless_null(changed)


def without(*path: str) -> Callable[[Any], Any]:
    def cut(content: Any) -> Any:
        holder = content
        for key in path[:-1]:
            holder = holder.get(key, {}) if isinstance(holder, dict) else {}
        if isinstance(holder, dict):
            holder.pop(path[-1], None)
        return content

    return in_json(cut)


def without_last_elements(frame: Frame) -> Frame:
    return frame.filter(pc.not_equal(frame.column("ordinal"), 2))


def on_the_next_parent(frame: Frame) -> Frame:
    at = frame.schema.get_field_index("thing_id")
    parents = frame.column(at).to_pylist()
    shifted = pa.array(parents[1:] + parents[:1], frame.schema.field(at).type)
    return frame.set_column(at, frame.schema.field(at), shifted)


def with_swapped_extra(frame: Frame) -> Frame:
    at = frame.schema.get_field_index("extra")
    return frame.set_column(at, frame.schema.field(at), pa.array(frame.column(at).to_pylist()[::-1], pa.string()))


def with_the_last_row_twice(frame: Frame) -> Frame:
    twice = pa.Table.from_batches([frame, frame.slice(frame.num_rows - 1)]).combine_chunks()
    return twice.to_batches()[0]


def without_rejects(batch: Batch) -> Batch:
    return batch._replace(rejects=[])


def rejecting_a_good_one(batch: Batch) -> Batch:
    frame = batch.frames.get("codes")
    if frame is None or not frame.num_rows:
        return batch
    row = frame.column("_row")[0].as_py()
    oid_text = frame.column("id")[0].as_py().hex()
    document_id = '{"$oid":"' + oid_text[:12] + oid_text[13:16] + oid_text[17:26] + '"}'
    frames = {name: each.filter(pc.not_equal(each.column("_row"), row)) for name, each in batch.frames.items()}
    reject = Reject(row, document_id, "code", "string", "type_mismatch", element=False)
    return batch._replace(frames=frames, rejects=[*batch.rejects, reject])


def without_every_hundredth(frame: Frame) -> Frame:
    return frame.filter(pc.not_equal(pc.bit_wise_and(frame.column("_row"), 63), 63))


def beyond_the_bound() -> AbstractContextManager[None]:
    original = extract.reading

    def reading(*args: Any) -> Any:
        how = original(*args)
        if how.low and isinstance(how.low["_id"], ObjectId):
            how = how._replace(low={"_id": ObjectId((int.from_bytes(how.low["_id"].binary, "big") + 1).to_bytes(12, "big"))})
        return how

    return replaced(extract, "reading", reading)


def deaf_to_cursor_errors() -> AbstractContextManager[None]:
    original = extract._batches

    def batches(*args: Any) -> Iterator[bytes]:
        try:
            for at, batch in enumerate(original(*args)):
                if at:
                    raise PyMongoError("cursor id 7 not found")
                yield batch
        except PyMongoError:
            return

    return replaced(extract, "_batches", batches)


def losing_a_batch_of_copy() -> AbstractContextManager[None]:
    original = load.copy_frames

    def copy(conn: Any, into: Any, table: Any, batches: Any) -> None:
        kept = list(batches)
        original(conn, into, table, kept[:-1] if table.child else kept)

    return replaced(load, "copy_frames", copy)


def never_updating() -> AbstractContextManager[None]:
    return replaced(merge, "_update", lambda *_: None)


def never_deleting_elements() -> AbstractContextManager[None]:
    return replaced(merge, "_delete_absent", lambda *_: None)


def float32(value: float) -> float:
    import struct

    return float(struct.unpack("<f", struct.pack("<f", value))[0]) if abs(value) < 1e38 else value


MUTANTS: dict[str, Mutant] = {
    "drops the last element of an array": in_frame("thing_parts", without_last_elements),
    "begins a chunk after its bound": beyond_the_bound,
    "takes NULL for a misfit and forgets it": in_column("things", "extra", without("meta")),
    "skips a key that nobody declared": in_column("things", "extra", without("nick")),
    "turns the byte order of a UUID": in_column("things", "owner", unless_null(lambda v: v[3::-1] + v[4:])),
    "cuts dates to seconds": in_column("things", "at", unless_null(lambda ms: ms // 1000 * 1000)),
    "takes a dead cursor for the end": deaf_to_cursor_errors,
    "wraps integers": in_column("things", "count", unless_null(lambda v: v & 0xFFFFFF)),
    "takes doubles for floats": in_column("things", "ratio", unless_null(float32)),
    "strips texts": in_column("things", "name", unless_null(lambda v: v.replace("\r\n", "\n").replace("\t", " "))),
    "takes an empty text for NULL": in_column("things", "name", lambda v: v or None),
    "takes NULL for an empty text": in_column("things", "name", lambda v: v or ""),
    "writes texts in ASCII": in_column("things", "name", unless_null(lambda v: v.encode("ascii", "replace").decode())),
    "counts ordinals from one": in_column("thing_scores", "ordinal", lambda v: v + 1),
    "writes the last row of a batch twice": in_frame("thing_scores", with_the_last_row_twice),
    "rejects a good document": in_batches(rejecting_a_good_one),
    "forgets its rejects": in_batches(without_rejects),
    "drops trailing zeros of numerics": in_column("things", "price", unless_null(lambda v: v.rstrip("0").rstrip("."))),
    "takes NaN for NULL": in_column("things", "ratio", lambda v: None if v is None or v != v else v),
    "drops the options of a regex": in_column("things", "payload", without("nested", "pattern", "$regularExpression", "options")),
    "drops the increment of a timestamp": in_column("things", "payload", without("nested", "stamp", "$timestamp", "i")),
    "drops null from jsonb": in_column("things", "payload", without("nested", "absent")),
    "folds the case of a map's keys": in_column("thing_labels", "label", str.lower),
    "puts elements under the next parent": in_frame("thing_parts", on_the_next_parent),
    "mixes up the rest of two documents": in_frame("things", with_swapped_extra),
    "takes NULL for false": in_column("things", "active", bool),
    "sorts arrays": in_column("things", "tags", unless_null(sorted)),
    "forgets the _id of an element": in_column("thing_parts", "source_id", lambda _: None),
    "loses documents": in_frame("codes", without_every_hundredth),
    "loses a batch of a COPY": losing_a_batch_of_copy,
    "never updates": never_updating,
    "never deletes elements that are gone": never_deleting_elements,
}
