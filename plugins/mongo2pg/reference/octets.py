"""Bytes looked at in many places at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]
Mask = NDArray[np.bool_]
Words = NDArray[np.uint64]

# Texts longer than this are compared one by one: a round of the columnar way would look at few of them.
LONG_BYTES = 512
# The first bytes of a little-endian word, by their number.
_FIRST = np.array([(1 << 8 * size) - 1 for size in range(9)], np.uint64)
_ONES, _HIGHS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_QUOTE, _BACKSLASH, _SPACE = (_ONES * np.uint64(ord(sign)) for sign in '"\\ ')
# The bytes that JSON escapes inside of strings (RFC 8259, 7).
ESCAPED = re.compile(rb'["\\\x00-\x1f]')


class Octets:
    """Some bytes. What is asked for at a position beyond them is zero; no position may be negative."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        padded = content + bytes(8)
        # Values begin anywhere, so that each byte is where one may begin. As bytes without a meaning (V) numpy gathers them at
        # two thirds of the time that numbers take which lie across the processor's words.
        self._views = {size: np.ndarray((len(content) + 1,), f"V{size}", padded, strides=(1,)) for size in (1, 4, 8)}

    @cached_property
    def zeros(self) -> Positions:
        """Where a byte is zero."""
        return np.flatnonzero(np.frombuffer(self.content, np.uint8) == 0)

    def _gather(self, size: int, at: Positions) -> NDArray[np.void]:
        return self._views[size][np.minimum(at, len(self.content))]

    def integers(self, kind: Literal["u1", "<i4", ">i4", "<i8", ">i8"], at: Positions) -> Positions:
        """Integers of numpy's type `kind` that begin at these positions."""
        return self._gather(int(kind[-1]), at).view(kind).astype(np.int64, copy=False)

    def words(self, kind: Literal["<u8", ">u8"], at: Positions) -> Words:
        """The eight bytes at these positions as one number."""
        return self._gather(8, at).view(kind).astype(np.uint64, copy=False)

    def doubles(self, at: Positions) -> NDArray[np.float64]:
        """The little-endian doubles at these positions."""
        return self._gather(8, at).view("<f8").astype(np.float64, copy=False)

    def slices(self, starts: Positions, ends: Positions) -> Iterator[bytes]:
        """The bytes between these positions, one after the other."""
        return map(self.content.__getitem__, map(slice, starts.tolist(), ends.tolist()))

    def hexadecimal(self, at: Positions, size: int) -> bytes:
        """So many bytes at each position as digits, all in one; `at + size` must lie within the bytes."""
        octets = np.frombuffer(self.content, np.uint8)[at[:, None] + np.arange(size)]
        return bytes(octets.tobytes().hex(), "ascii")

    def hold(self, at: Positions, text: bytes) -> Mask:
        """Where the text stands at the position."""
        found = np.ones(len(at), np.bool_)
        for start in range(0, len(text), 8):
            part = text[start : start + 8]
            words = self.words("<u8", at + start)
            if len(part) < 8:
                words = words & _FIRST[len(part)]
            found &= words == np.uint64(int.from_bytes(part, "little"))
        return found

    def are(self, at: Positions, sizes: Positions, texts: Sequence[bytes]) -> Mask:
        """Where one of the texts is what stands there, with its very size."""
        found = np.zeros(len(at), np.bool_)
        for text in texts:
            found |= (sizes == len(text)) & self.hold(at, text)
        return found

    def same(self, at: Positions, sizes: Positions, other: Octets, there: Positions) -> Mask:
        """Where the next `sizes` bytes are those of `other`."""
        found = np.ones(len(at), np.bool_)
        for row in np.flatnonzero(sizes > LONG_BYTES).tolist():
            text = self.content[at[row] : at[row] + sizes[row]]
            found[row] = text == other.content[there[row] : there[row] + sizes[row]]
        short = sizes <= LONG_BYTES
        for start in range(0, int(sizes[short].max(initial=0)), 8):
            rows = np.flatnonzero(short & (sizes > start))
            first = first_bytes(sizes[rows] - start)
            words = self.words("<u8", at[rows] + start) & first
            wrong = words != other.words("<u8", there[rows] + start) & first
            found[rows[wrong]] = False
        return found

    def escaped(self, at: Positions, sizes: Positions) -> Mask:
        """Where one of the next `sizes` bytes is a quotation mark, a backslash or a control character, which JSON escapes."""
        found = sizes > LONG_BYTES
        for row in np.flatnonzero(found).tolist():
            found[row] = ESCAPED.search(self.content, at[row], at[row] + sizes[row]) is not None
        short = sizes <= LONG_BYTES
        for start in range(0, int(sizes[short].max(initial=0)), 8):
            rows = np.flatnonzero(short & (sizes > start))
            # Behind the end come bytes that are none of these.
            words = self.words("<u8", at[rows] + start) | ~first_bytes(sizes[rows] - start)
            some = _any_is(words, _QUOTE) | _any_is(words, _BACKSLASH) | _any_below(words, _SPACE)
            found[rows[some]] = True
        return found


def laid(texts: Sequence[bytes]) -> tuple[Octets, Positions, Positions]:
    """These texts one behind the other, where each begins, and their sizes."""
    sizes = np.fromiter(map(len, texts), np.int64, len(texts))
    return Octets(b"".join(texts)), np.cumsum(sizes) - sizes, sizes


def first_bytes(sizes: Positions) -> Words:
    """What of a little-endian word belongs to a text of this size: all of it from eight bytes on."""
    return _FIRST[np.minimum(sizes, 8)]


def _any_is(words: Words, sign: np.uint64) -> Mask:
    return _any_below(words ^ sign, _ONES)


def _any_below(words: Words, least: np.uint64) -> Mask:
    # A byte is less if subtracting borrows although its own highest bit is not set.
    found: Mask = (words - least) & ~words & _HIGHS != 0
    return found
