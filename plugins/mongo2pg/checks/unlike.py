"""Two readings of the same documents held against each other: what they have in common costs no more than to compare its bytes."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeAlias

from mongo2pg.batches.arrow import pa
from mongo2pg.documents.decode import split

# A document of the one reading, of the other, or of both.
Pair: TypeAlias = tuple[bytes | None, bytes | None]

_NOTHING = pa.py_buffer(b"")


def unlike(one: Iterable[pa.Buffer], other: Iterable[pa.Buffer]) -> Iterator[Pair]:
    """The documents in which the readings differ; either comes in pieces of whole documents, one behind the other.

    A document that stands elsewhere in the other reading may be told of both, at different times.
    """
    lefts, rights = (filter(len, pieces) for pieces in (one, other))
    left = right = _NOTHING
    while (left := left or next(lefts, _NOTHING)) and (right := right or next(rights, _NOTHING)):
        size = min(left.size, right.size)
        if left.slice(0, size).equals(right.slice(0, size)):
            left, right = left.slice(size), right.slice(size)
        else:
            passed = yield from _one_by_one(list(split(left.to_pybytes())), list(split(right.to_pybytes())))
            left, right = left.slice(passed[0]), right.slice(passed[1])
    yield from ((document, None) for piece in chain([left], lefts) for document in split(piece.to_pybytes()))
    yield from ((None, document) for piece in chain([right], rights) for document in split(piece.to_pybytes()))


def _one_by_one(lefts: Sequence[bytes], rights: Sequence[bytes]) -> Generator[Pair, None, tuple[int, int]]:
    """Until one side is used up; how many bytes of each were passed is returned."""
    left_places, right_places = ({document: at for at, document in enumerate(documents)} for documents in (lefts, rights))
    at = to = 0
    while at < len(lefts) and to < len(rights):
        left, right = lefts[at], rights[to]
        if left == right:
            at, to = at + 1, to + 1
            continue
        # How far ahead either side has what the other one has here: the other one lacks what lies between.
        in_left, in_right = left_places.get(right, -1) - at, right_places.get(left, -1) - to
        if in_left > 0 and not 0 < in_right < in_left:
            yield from ((document, None) for document in lefts[at : at + in_left])
            at += in_left
        elif in_right > 0:
            yield from ((None, document) for document in rights[to : to + in_right])
            to += in_right
        else:
            yield left, right
            at, to = at + 1, to + 1
    return sum(map(len, lefts[:at])), sum(map(len, rights[:to]))
