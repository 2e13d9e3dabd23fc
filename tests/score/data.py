"""Documents in which every kind of corruption finds a place: a value of every type, arrays, maps, misfits, drift and rejects."""

from __future__ import annotations

import random
from typing import Any

from bson import Binary, DatetimeMS, Decimal128, Int64, Regex, Timestamp

from tests.documents import oid

# Texts whose least change must be seen: accents in composed form, an emoji, line ends, a long one, an empty one.
TEXTS = ("plain words", "café au lait", "smile \N{GRINNING FACE} here", "two\r\nlines", "x" * 100, "", "tab\there")
PRICES = ("1.10", "0.00", "99999999999999999999.99", "12.3400", "-7.50")
RATIOS = (0.0, 0.1, 1e300, -2.5, float("nan"), 123456.789)


def thing(number: int, chance: random.Random) -> dict[str, Any]:
    """One of the things: three parts, two scores, two labels; every tenth with a field that nobody declared."""
    content: dict[str, Any] = {
        "_id": oid(number),
        "name": chance.choice([*TEXTS, None]),
        "at": DatetimeMS(1_700_000_000_000 + chance.randrange(10**10) * 7 + 1),
        "count": chance.randrange(1, 2**31 - 2),
        "total": Int64(2**60 + chance.randrange(2**50)),
        "ratio": chance.choice([*RATIOS, chance.random()]),
        "price": Decimal128(chance.choice(PRICES)),
        "active": chance.choice([True, False, None]),
        "owner": oid(10**6 + chance.randrange(1000)),
        "blob": Binary(chance.randbytes(12), 0),
        "tags": chance.sample(["red", "green", "blue", "with, comma", 'with "quote"'], 3),
        "payload": {
            "exact": chance.random(),
            "list": [1, 2.5, None, "1"],
            "nested": {"pattern": Regex("a.c", "im"), "stamp": Timestamp(1_700_000_000 + number, number + 1), "absent": None},
        },
        "meta": {"level": number if number % 20 else "high"},
        "parts": [{"_id": oid(2 * 10**6 + number * 10 + at), "label": f"part {at}", "size": number + at} for at in range(3)],
        "scores": [chance.random(), float(number)],
        "labels": {f"Key{at}": {"value": {"a": 1, "bb": [at, "2"]}, "rank": at} for at in range(2)},
        "__v": 0,
    }
    if number % 10 == 0:
        content["nick"] = {"since": DatetimeMS(1), "name": f"n{number}"}
    return content


def code(number: int, chance: random.Random) -> dict[str, Any]:
    """One of the codes: unique, with two words; every hundredth breaks a rule and must be rejected."""
    content: dict[str, Any] = {"_id": oid(5 * 10**6 + number), "code": f"c{number}", "at": DatetimeMS(1_700_000_000_000 + number)}
    content["words"] = [f"w{number}", f"v{chance.randrange(10**6)}"]
    if number % 100 == 0:
        del content["code"]
    return content
