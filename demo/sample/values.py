"""Believable values: names, texts, times and numbers as the services would have written them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

from bson.binary import Binary
from bson.code import Code
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from demo.sample.world import END

Document = dict[str, Any]
T = TypeVar("T")

# Display name and the part of an e-mail address that goes with it.
FIRST_NAMES: tuple[tuple[str, str], ...] = (
    ("Amélie", "amelie"), ("Yusuf", "yusuf"), ("Chiara", "chiara"), ("Dmitri", "dmitri"), ("Ewa", "ewa"),
    ("Femke", "femke"), ("Gonçalo", "goncalo"), ("Hana", "hana"), ("İpek", "ipek"), ("Jürgen", "juergen"),
    ("Kwame", "kwame"), ("Linnéa", "linnea"), ("María José", "mariajose"), ("Noor", "noor"), ("Oluwaseun", "oluwaseun"),
    ("Priya", "priya"), ("Quentin", "quentin"), ("Rosa", "rosa"), ("Søren", "soren"), ("Thảo", "thao"),
    ("美咲", "misaki"), ("Victor", "victor"), ("Wanjiru", "wanjiru"), ("Xiomara", "xiomara"), ("ליאת", "liat"),
    ("Zoltán", "zoltan"), ("سلمى", "salma"), ("Björk", "bjork"), ("Anna", "anna"),
)  # fmt: skip
LAST_NAMES: tuple[tuple[str, str], ...] = (
    ("Almeida", "almeida"), ("Brontë", "bronte"), ("Castellanos", "castellanos"), ("D'Angelo", "dangelo"),
    ("Eriksson", "eriksson"), ("Fernández", "fernandez"), ("Grünwald", "gruenwald"), ("Haddad", "haddad"),
    ("Ivanova", "ivanova"), ("Jankowski", "jankowski"), ("Kim", "kim"), ("Lefèvre", "lefevre"), ("Mbeki", "mbeki"),
    ("Nguyễn", "nguyen"), ("O'Neill", "oneill"), ("Papadopoulos", "papadopoulos"), ("Quispe", "quispe"),
    ("Rossi", "rossi"), ("Šimić", "simic"), ("Tanaka", "tanaka"), ("Usman", "usman"), ("van der Berg", "vandenberg"),
    ("Węgrzyn", "wegrzyn"), ("Yılmaz", "yilmaz"), ("Zhang", "zhang"), ("Okafor", "okafor"), ("Singh", "singh"),
    ("Müller-Lüdenscheidt", "mueller"), ("Smith", "smith"), ("García", "garcia"), ("Sato", "sato"),
)  # fmt: skip
MAIL_HOSTS = ("example.com", "example.org", "mail.example.net", "students.example.edu", "example.co.uk")
WORDS: tuple[str, ...] = (
    "review", "draft", "chapter", "sketch", "onboarding", "flow", "fix", "flaky", "login", "test", "plan", "sprint", "demo",
    "write", "release", "notes", "refactor", "queue", "worker", "answer", "mails", "prepare", "talk", "about", "streaks",
    "backlog", "measure", "focus", "time", "update", "roadmap", "pair", "on", "parser", "read", "paper", "and", "summarise",
    "partner", "ship", "dark", "mode", "translate", "landing", "page", "collect", "feedback", "with", "the", "team",
)  # fmt: skip
VERBS = ("Finish", "Review", "Sketch", "Refactor", "Publish", "Plan", "Fix", "Practise", "Summarise", "Ship")
# Each of these has broken an import somewhere: quoting, COPY's escapes, JSON's escapes, direction, width, invisibility.
TRICKY_TEXTS: tuple[str, ...] = (
    "ship it 🚀 with 👩‍👩‍👧‍👦 and 🇧🇷",
    "مرحبا بالعالم — שלום עולם",
    'she said "it\'s done" and left',
    "C:\\temp\\new\\table",
    "first line\nsecond line\r\nthird\tafter a tab",
    "a literal \\u0000 is no NUL",
    "\\N",
    "\\.",
    "NULL",
    "'; DROP TABLE users; --",
    '{"$oid": "not an id"}',
    "e\u0301 is not é; \u200bzero width, \u2028 line separator, \ufeffmark",
    "control \x01\x1f\x7f\x85 characters, \U0010ffff the last code point",
    "   spaces around   ",
    "%s %(name)s {0} {{x}} $1 :param",
    "",
)
USER_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.6668.70 Mobile Safari/537.36",
    "okhttp/4.12.0",
)
LOCALES = ("en-GB", "en-US", "de-DE", "fr-FR", "pt-BR", "ja-JP", "ar-EG", "he-IL", "tr-TR", "vi-VN")


def pick(rng: Random, options: Sequence[T]) -> T:
    """One of the options (four times as fast as `Random.choice`)."""
    return options[int(rng.random() * len(options))]


def chance(rng: Random, share: float) -> bool:
    """True in this share of the draws."""
    return rng.random() < share


def person(index: int) -> tuple[str, str]:
    """The name and the e-mail address of the person at this index; no two have the same address."""
    first, first_mail = FIRST_NAMES[index * 7 % len(FIRST_NAMES)]
    last, last_mail = LAST_NAMES[index * 11 % len(LAST_NAMES)]
    host = MAIL_HOSTS[index % len(MAIL_HOSTS)]
    return f"{first} {last}", f"{first_mail}.{last_mail}{index}@{host}"


def sentence(rng: Random, words: int = 9) -> str:
    """Some words with a capital and a full stop."""
    return " ".join(rng.choices(WORDS, k=words)).capitalize() + "."


def title(rng: Random) -> str:
    """What somebody calls a task."""
    return f"{pick(rng, VERBS)} {pick(rng, WORDS)} {pick(rng, WORDS)} {pick(rng, WORDS)}"


def number(rng: Random, value: int) -> int | float | Int64:
    """The value as Mongoose's `Number` reached BSON: mostly int32, else double or int64, always the same number."""
    draw = rng.random()
    return value if draw < 0.85 else float(value) if draw < 0.93 else Int64(value)


def below(rng: Random, limit: int) -> int | float | Int64:
    """A whole number from 0 to below the limit, in any of the three forms."""
    return number(rng, int(rng.random() * limit))


def decimal(rng: Random, limit: float = 1.0) -> float:
    """A double from 0 to below the limit, with four decimals."""
    return round(rng.random() * limit, 4)


def later(rng: Random, start: datetime, days: float = 30.0) -> datetime:
    """A moment after the start, to the millisecond."""
    return start + timedelta(milliseconds=int(rng.random() * days * 86_400_000) + 1)


def between(rng: Random, start: datetime, end: datetime = END) -> datetime:
    """A moment from the start to the end, to the millisecond."""
    return start + timedelta(milliseconds=int(rng.random() * ((end - start) // timedelta(milliseconds=1))))


def sub_id(rng: Random, moment: datetime) -> ObjectId:
    """The `_id` that Mongoose gives to a sub-document made at the moment."""
    return ObjectId(struct.pack(">I", int(moment.timestamp())) + rng.randbytes(8))


def sub_document(rng: Random, moment: datetime, fields: Document) -> Document:
    """An element of an array: three of four with an `_id` of their own, as Mongoose writes them; the others without."""
    return {**fields, "_id": sub_id(rng, moment)} if rng.random() < 0.75 else fields


def secret(rng: Random, size: int) -> str:
    """Random text of URL-safe characters, as tokens and keys are written."""
    return base64.urlsafe_b64encode(rng.randbytes(size * 3 // 4 + 1))[:size].decode()


def password_hash(rng: Random) -> str:
    """Looks like bcrypt's output: no password has this hash."""
    return "$2b$10$" + base64.b64encode(rng.randbytes(40))[:53].decode().replace("+", ".")


def ip_address(rng: Random) -> str:
    """An address of the blocks that RFC 5737 keeps for documentation."""
    return f"{pick(rng, ('192.0.2', '198.51.100', '203.0.113'))}.{int(rng.random() * 254) + 1}"


def deep(levels: int) -> Document:
    """A document as deep as the levels; BSON allows about 100."""
    inner: Document = {"level": levels, "end": True}
    for level in range(levels - 1, 0, -1):
        inner = {"level": level, "next": inner}
    return inner


def every_type() -> Document:
    """A value of each BSON type that MongoDB still writes, at its limits: what a Mixed field may hold."""
    return {
        "objectId": ObjectId("5f00000000000000000000aa"),
        "date": END,
        "firstDay": datetime(1, 1, 1, tzinfo=UTC),
        "before1970": datetime(1969, 7, 20, 20, 17, 40, 123_000, tzinfo=UTC),
        "lastDay": datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC),
        "decimal": Decimal128("1.10"),
        "hugeDecimal": Decimal128("9.99E+6144"),
        "noDecimal": Decimal128("NaN"),
        "long": Int64(9_223_372_036_854_775_807),
        "smallLong": Int64(5),
        "doubles": [0.1, 1e300, 5e-324, 3.0, -0.0, float("nan"), float("-inf")],
        "uuid": Binary(bytes(range(16)), 4),
        "bytes": Binary(b"\x00\xff\xfe", 0),
        "regex": Regex("^a.*\\d$", "im"),
        "code": Code("function () { return x }", {"x": 1}),
        "timestamp": Timestamp(1_750_000_000, 7),
        "ends": [MinKey(), MaxKey()],
        "nothing": None,
        "nested": [[1, [2, [3, []]]], {}, True],
    }
