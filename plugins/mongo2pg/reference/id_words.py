"""The ids of `ids`, worked out for the values of many documents at once: two big-endian numbers each."""

from __future__ import annotations

from typing import Any

import numpy as np

from mongo2pg.reference.ids import packed
from mongo2pg.reference.octets import Mask, Octets, Positions, Words
from mongo2pg.reference.walk import BINARY, INTEGERS, OBJECT_ID, OLD_UUID, STRING, Leaf

# Two big-endian numbers for each id.
Ids = Words


def ids_of(octets: Octets, leaf: Leaf) -> tuple[Ids, Mask] | None:
    """The ids of documents with these `_id`s, and where that is certain; None where they are of a type that `_id`s rarely are."""
    certain = np.ones(len(leaf.at), np.bool_)
    if leaf.kind == OBJECT_ID:
        return np.stack(uuid_words(octets, leaf.at), axis=1), certain
    if leaf.kind in (BINARY, OLD_UUID):
        found = np.stack([octets.words(">u8", leaf.at + start) for start in (5, 13)], axis=1)
        if leaf.kind == OLD_UUID:
            return found, certain
        is_uuid = (octets.integers("<i4", leaf.at) == _UUID_BYTES) & (octets.integers("u1", leaf.at + 4) == _UUID_SUBTYPE)
        return found, is_uuid & ~_carries_object_id(found)
    values: list[Any]
    if leaf.kind == STRING:
        ends = leaf.at + 3 + octets.integers("<i4", leaf.at)
        values = [text.decode(errors="replace") for text in octets.slices(leaf.at + 4, ends)]  # no row keeps what is no UTF-8
    elif leaf.kind in INTEGERS:
        values = octets.integers(INTEGERS[leaf.kind], leaf.at).tolist()
    else:
        return None
    # References name the same few documents again and again.
    distinct = {value: at for at, value in enumerate(dict.fromkeys(values))}
    found = np.frombuffer(packed(distinct), ">u8").astype(np.uint64).reshape(-1, 2)
    return found[[distinct[value] for value in values]], certain


# A UUID as binary data (BSON specification, "Binary subtypes").
_UUID_BYTES, _UUID_SUBTYPE = 16, 4


def _carries_object_id(ids: Ids) -> Mask:
    """Where a UUID looks like one that `uuid_words` makes."""
    high, low = ids.T
    found: Mask = (high & np.uint64(0xF000) == 0x8000) & (low & np.uint64(0xF0 << 56 | 0xFFFFFF) == np.uint64(8 << 60))
    return found


def uuid_words(octets: Octets, at: Positions) -> tuple[Words, Words]:
    """The UUIDs that carry the ObjectIds at these positions (docs/identity.md), as two big-endian numbers each.

    Their digits in groups of 12, 3 and 9, each of the first two followed by the digit 8; six zeros at the end.
    """
    high, low = octets.words(">u8", at), octets.words(">u8", at + 4) & np.uint64(0xFFFFFFFF)
    first, second, third = high >> np.uint64(16), high >> np.uint64(4) & np.uint64(0xFFF), high & np.uint64(0xF)
    one = first << np.uint64(16) | np.uint64(0x8000) | second
    return one, np.uint64(8 << 60) | third << np.uint64(56) | low << np.uint64(24)
