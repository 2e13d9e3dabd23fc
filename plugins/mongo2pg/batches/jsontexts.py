"""Extended JSON of many BSON values at once, exactly as `extended_json` writes it.

BSON and JSON put things in the same order. So each piece of text (a brace, a key, a number) is noted with the position
in the buffer that it comes from, level by level and type by type; sorted by position, the pieces are the text.
"""

from __future__ import annotations

import numpy as np
import orjson
from numpy.typing import NDArray

from mongo2pg.batches.arrow import pa
from mongo2pg.batches.elements import Content, Keys, Mask, Positions, ends, walk
from mongo2pg.documents.bson_types import ARRAY, BOOLEAN, DATE, DOCUMENT, DOUBLE, INT32, INT64, NULL, OBJECT_ID, STRING
from mongo2pg.documents.decode import MalformedError, read_value
from mongo2pg.documents.extended_json import LARGE_DOUBLE, extended_json
from mongo2pg.documents.reasons import UnfitError

# Levels of documents in documents that are walked; what lies deeper is rare, and left to `decode`.
MOST_LEVELS = 32
# Relaxed Extended JSON writes dates of the years 1970 to 9999 as text.
_DATE_TEXTS_END = 253_402_300_800_000

_BRACKETS = {DOCUMENT: (b"{", b"}"), ARRAY: (b"[", b"]")}
# Of each byte, its two digits as one number: so numpy writes both at once.
_HEX = np.frombuffer(bytes(range(256)).hex().encode(), np.uint16)


def texts(content: Content, kinds: NDArray[np.uint8], at: Positions) -> tuple[pa.Array, Mask]:
    """The JSON of the values, which lie one behind the other, and which of them are left to the rule; no value is null."""
    writer = _Writer(content, len(at))
    root = np.arange(len(at))
    for kind in np.flatnonzero(np.bincount(kinds)).tolist():
        same = kinds == kind
        if kind == STRING:
            writer.put(at[same] - 1, b'"')
        writer.add(kind, at[same], root[same])
    writer.write_containers()
    writer.write_scalars()
    return writer.joined(at), writer.bad


def object_id_texts(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """ObjectIds, n × 12 bytes, as the 35 characters of `{"$oid":"…"}`."""
    text = np.broadcast_to(np.frombuffer(b'{"$oid":"' + b"0" * 24 + b'"}', np.uint8), (len(packed), 35)).copy()
    text[:, 9:33] = _HEX.take(packed).view(np.uint8)
    return text


def fixed_texts(lines: NDArray[np.uint8]) -> pa.Array:
    """Texts of one length, n × length bytes, as a column of bytes."""
    bounds = np.arange(len(lines) + 1, dtype=np.int32) * lines.shape[1]
    return pa.Array.from_buffers(pa.binary(), len(lines), [None, pa.py_buffer(bounds), pa.py_buffer(np.ascontiguousarray(lines))])


class _Writer:
    """Pieces of text by position; `bad` marks the values, by number, that are left to the rule."""

    def __init__(self, content: Content, count: int) -> None:
        self._content, self.bad = content, np.zeros(count, np.bool_)
        self._open: dict[int, list[tuple[Positions, Positions]]] = {}
        self._scalars: dict[int, list[tuple[Positions, Positions]]] = {}
        # What pieces are made of: texts that occur again and again, and columns of texts behind them.
        self._constants: dict[bytes, int] = {}
        self._columns: list[pa.Array] = []
        self._placed: list[tuple[Positions, int, Positions | int]] = []

    def put(self, at: Positions, text: bytes) -> None:
        """The same text at all these positions."""
        self._placed.append((at, -1, self._constants.setdefault(text, len(self._constants))))

    def _put_column(self, at: Positions, column: pa.Array, index: Positions) -> None:
        self._placed.append((at, len(self._columns), index))
        self._columns.append(column)

    def add(self, kind: int, at: Positions, root: Positions) -> None:
        """Values of one type, each with the number of the value that it is part of."""
        if kind != NULL:
            (self._open if kind in _BRACKETS else self._scalars).setdefault(kind, []).append((at, root))

    # --- documents and arrays ---

    def write_containers(self) -> None:
        """Braces, keys and commas, level by level; notes the scalars on the way."""
        for _ in range(MOST_LEVELS):
            level, self._open = self._open, {}
            for kind, parts in level.items():
                self._write_level(kind, *map(np.concatenate, zip(*parts, strict=True)))
        for parts in self._open.values():
            for _, root in parts:
                self.bad[root] = True

    def _write_level(self, kind: int, at: Positions, root: Positions) -> None:
        stop = at + self._content.int32s(at)
        for where, bracket in zip((at, stop - 1), _BRACKETS[kind], strict=True):
            self.put(where, bracket)
        fields, bad = walk(self._content, at, stop, Keys.NAMES if kind == DOCUMENT else Keys.ORDINALS)
        self.bad[root[bad]] = True
        for field in fields:
            before = b"" if field.first else b","
            if kind == DOCUMENT:
                before += orjson.dumps(field.key.decode()) + b":"
            before += {STRING: b'"', NULL: b"null"}.get(field.kind, b"")
            if before:
                self.put(field.begin, before)
            self.add(field.kind, field.at, root[field.owner])

    # --- scalars ---

    def write_scalars(self) -> None:
        for kind, parts in self._scalars.items():
            at, root = map(np.concatenate, zip(*parts, strict=True))
            write = {
                STRING: self._write_strings,
                DOUBLE: self._write_doubles,
                INT32: self._write_int32s,
                INT64: self._write_int64s,
                BOOLEAN: self._write_booleans,
                OBJECT_ID: self._write_object_ids,
                DATE: self._write_dates,
            }.get(kind)
            if write:
                write(at, root)
            else:
                self._write_by_rule(kind, at, root)

    def _write_strings(self, at: Positions, root: Positions) -> None:
        order = np.argsort(at, kind="stable")
        at, root = at[order], root[order]
        end = at + 3 + self._content.int32s(at)
        self.put(end, b'"')
        column = self._content.slices(at + 4, end)
        bounds, octets = octets_of(column)
        plain = np.ones(len(at), np.bool_)
        # JSON escapes control characters, quotes and backslashes.
        odd = np.flatnonzero((octets < 0x20) | (octets == 0x22) | (octets == 0x5C))
        plain[np.searchsorted(bounds, odd, "right") - 1] = False
        self._put_column(at[plain], column, np.flatnonzero(plain))
        escaped = []
        for index in np.flatnonzero(~plain).tolist():
            try:
                text = column[index].as_py()
                if b"\0" in text:
                    raise UnfitError("nul_character")
                escaped.append(orjson.dumps(text.decode())[1:-1])
            except (UnicodeDecodeError, UnfitError):
                self.bad[root[index]] = True
                escaped.append(b"")
        self._put_column(at[~plain], pa.array(escaped, pa.binary()), np.arange(len(escaped)))
        self.bad[root[invalid_texts(column)]] = True

    def _write_doubles(self, at: Positions, root: Positions) -> None:
        values = self._content.doubles(at)
        with np.errstate(invalid="ignore"):
            usual = (np.abs(values) < LARGE_DOUBLE) & ~((values == 0) & np.signbit(values))
        self._put_numbers(at[usual], values[usual])
        self._write_by_rule(DOUBLE, at[~usual], root[~usual])

    def _write_int32s(self, at: Positions, root: Positions) -> None:
        self._put_numbers(at, self._content.int32s(at))

    def _write_int64s(self, at: Positions, root: Positions) -> None:
        self._put_numbers(at, self._content.int64s(at))

    def _put_numbers(self, at: Positions, values: NDArray[np.generic]) -> None:
        """All in one list, as orjson writes it: what stands between two commas is a number."""
        if not len(values):
            return
        listed = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
        comma = np.flatnonzero(np.frombuffer(listed, np.uint8) == ord(","))
        bounds = np.empty(2 * len(values), np.int32)
        bounds[0], bounds[-1] = 1, len(listed) - 1
        bounds[1:-1:2], bounds[2::2] = comma, comma + 1
        column = pa.Array.from_buffers(pa.binary(), len(bounds) - 1, [None, pa.py_buffer(bounds), pa.py_buffer(listed)])
        self._put_column(at, column, np.arange(0, len(bounds), 2))

    def _write_booleans(self, at: Positions, root: Positions) -> None:
        true = self._content.octets(at) == 1
        self.put(at[true], b"true")
        self.put(at[~true], b"false")

    def _write_object_ids(self, at: Positions, root: Positions) -> None:
        self._put_fixed(at, object_id_texts(self._content.object_ids(at)))

    def _write_dates(self, at: Positions, root: Positions) -> None:
        ms = self._content.int64s(at)
        usual = (ms >= 0) & (ms < _DATE_TEXTS_END)
        self._write_by_rule(DATE, at[~usual], root[~usual])
        at, ms = at[usual], ms[usual]
        moment = np.datetime_as_string(ms.astype("datetime64[ms]")).astype("S23")
        for whole, digits in ((ms % 1000 != 0, 23), (ms % 1000 == 0, 19)):
            lines = np.ascontiguousarray(moment[whole]).view(np.uint8).reshape(-1, 23)[:, :digits]
            frame = b'{"$date":"', b'Z"}'
            before, after = (np.broadcast_to(np.frombuffer(text, np.uint8), (len(lines), len(text))) for text in frame)
            self._put_fixed(at[whole], np.concatenate([before, lines, after], axis=1))

    def _put_fixed(self, at: Positions, lines: NDArray[np.uint8]) -> None:
        self._put_column(at, fixed_texts(lines), np.arange(len(lines)))

    def _write_by_rule(self, kind: int, at: Positions, root: Positions) -> None:
        """One by one: values that are rare, or that Extended JSON writes in more than one way."""
        stop = ends(self._content, kind, at)
        written = []
        for start, end, number in zip(at.tolist(), stop.tolist(), root.tolist(), strict=True):
            raw = self._content.piece(start, end) + b"\0"
            try:
                written.append(extended_json(read_value(raw, kind, 0, len(raw))[0]).encode())
            except (MalformedError, UnfitError, ValueError):
                self.bad[number] = True
                written.append(b"")
        self._put_column(at, pa.array(written, pa.binary()), np.arange(len(written)))

    # --- the text ---

    def joined(self, at: Positions) -> pa.Array:
        """The text of each value, in the order of their positions."""
        bases = np.cumsum([0, len(self._constants), *map(len, self._columns)])
        pool = pa.concat_arrays([pa.array(list(self._constants), pa.binary()), *self._columns])
        places = [where for where, _, _ in self._placed]
        pieces = [np.broadcast_to(np.asarray(index + bases[column + 1]), len(where)) for where, column, index in self._placed]
        place, piece = np.concatenate([*places, _NONE]), np.concatenate([*pieces, _NONE])
        order = np.argsort(place, kind="stable")  # a few runs, each in order: merged, not sorted
        text = pool.take(pa.array(piece[order]))
        begin = np.searchsorted(place[order], at - 1)
        bounds = octets_of(text)[0][np.append(begin, len(text))]
        return pa.Array.from_buffers(pa.string(), len(at), [None, pa.py_buffer(bounds), text.buffers()[2]])


_NONE = np.zeros(0, np.int64)


def octets_of(column: pa.Array) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """The bounds of the column's values, and all their bytes."""
    if not len(column):
        return np.zeros(1, np.int32), np.zeros(0, np.uint8)
    bounds = np.frombuffer(column.buffers()[1], np.int32)[: len(column) + 1]
    return bounds, np.frombuffer(column.buffers()[2] or b"", np.uint8)[: bounds[-1]]


def invalid_texts(column: pa.Array) -> list[int]:
    """Which of these bytes are no UTF-8."""
    try:
        column.view(pa.string()).validate(full=True)
    except pa.ArrowInvalid:
        return [index for index, text in enumerate(column.to_pylist()) if text is not None and not _is_utf8(text)]
    return []


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
