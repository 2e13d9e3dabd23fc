"""The auth domain, document by document: what was written by hand is what stands in PostgreSQL after a run."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from deepiri.auth import AUTH
from tests.integration.expectations import Moved, Row, child_id, date, fill, hexid, oid, oid_json, uid

UUID_4 = "0f8fad5b-d9cb-469f-a165-70867728950e"
UUID_3 = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
HARD_TEXT = "C:\\temp\\new \"double\" 'single'\n\t\r \\N \\. {} $$"

USERS = [
    {
        "_id": ObjectId("64b7f0a1c2d3e4f5a6b7c8d9"),
        "email": "ann@example.com",
        "password": "$2b$12$abcdefghijklmnopqrstuv",
        "name": "Ann",
        "roles": ["user", "admin"],
        "isActive": True,
        "profilePicture": "https://example.com/ann.png",
        "bio": "Climbs.",
        "preferences": {"theme": "dark", "volume": 7, "ratio": 7.0},
        "refreshTokens": [
            {
                "_id": oid(101),
                "token": "first",
                "createdAt": date("2024-05-01T10:00:00"),
                "expiresAt": date("2024-05-08T10:00:00.001"),
            },
            {"token": "second", "createdAt": date("2024-05-02T10:00:00"), "expiresAt": None},
        ],
        "createdAt": date("2024-02-29T12:34:56.789"),
        "updatedAt": date("2024-06-01T00:00:00"),
        "__v": 3,
    },
    {"_id": oid(2), "email": "u2@example.com"},
    {
        **dict.fromkeys(("password", "name", "roles", "isActive", "profilePicture", "bio", "preferences", "refreshTokens")),
        **{"_id": oid(3), "email": "u3@example.com", "createdAt": None, "updatedAt": None, "__v": None},
    },
    {"_id": oid(4), "email": "u4@example.com", "name": "", "roles": [], "refreshTokens": [], "preferences": {}, "isActive": False},
    {
        "_id": oid(5),
        "email": "u5@example.com",
        "password": 12,
        "name": 5,
        "roles": "admin",
        "isActive": "yes",
        "profilePicture": ["x"],
        "bio": {"a": 1},
        "preferences": "dark",
        "refreshTokens": {"token": "t"},
        "createdAt": "2024-01-01",
        "updatedAt": 5.0,
    },
    {
        "_id": oid(6),
        "email": "u6@example.com",
        "nickname": "Zoë",
        "legacy": {"a": [1, {"b": None}]},
        "refreshTokens": [{"token": "t", "device": "phone", "__v": 0}],
        "preferences": [],
    },
    {"_id": oid(7), "email": "u7@example.com", "roles": ["user", "admin", "user", None, 5, "a\0b", "", ["x"]]},
    {
        "_id": oid(8),
        "email": "u8@example.com",
        "refreshTokens": [
            None,
            "token",
            [],
            {},
            {"token": 5},
            {"_id": oid(801), "token": "a"},
            {"_id": oid(801), "token": "b"},
            {"_id": oid(802), "token": "c"},
            {"_id": hexid(803), "token": "d"},
            {"_id": 7, "token": "e"},
        ],
    },
    {
        "_id": oid(9),
        "email": "u9@example.com",
        "name": "🦜‍🔥 Zoë",
        "bio": "שלום مرحبا \u202eabc",
        "profilePicture": HARD_TEXT,
        "roles": ['a"b\\c,{}', "\\N"],
        "preferences": {'k"ey\\': "line\nnext\ttab", "😀": "\u202e"},
    },
    {"_id": oid(10), "email": "u10@example.com", "name": "a\0b", "preferences": {"deep": [{"x": "\0"}]}},
    {
        "_id": oid(11),
        "email": "u11@example.com",
        "preferences": {
            "a": 1.5,
            "b": math.nan,
            "c": -math.inf,
            "d": -0.0,
            "e": 1e300,
            "f": 1e15,
            "g": 123456789012345.0,
            "h": "x",
            "i": {"a": 1},
            "j": [1, Int64(2), 3.0, None],
            "k": b"\x00\xff",
            "l": Binary(bytes(range(16)), 4),
            "m": oid(1),
            "n": True,
            "o": date("2024-02-29T12:34:56.789"),
            "p": DatetimeMS(-1),
            "q": None,
            "r": Regex("a/b", "mi"),
            "s": Code("f()"),
            "t": Code("g()", {"x": 1}),
            "u": 5,
            "v": Int64(2**53 + 1),
            "w": Timestamp(1700000000, 7),
            "x": Decimal128("1.10"),
            "y": MinKey(),
            "z": MaxKey(),
        },
    },
    {
        "_id": oid(12),
        "email": "u12@example.com",
        "createdAt": DatetimeMS(-62_135_596_800_000),
        "updatedAt": DatetimeMS(253_402_300_799_999),
    },
    # `_id`s of other types.
    {"_id": hexid(30), "email": "hex@example.com"},
    {"_id": 42, "email": "int@example.com"},
    {"_id": 42.5, "email": "double@example.com"},
    {"_id": "legacy-7", "email": "string@example.com"},
    {"_id": Binary(bytes.fromhex(UUID_4.replace("-", "")), 4), "email": "uuid4@example.com"},
    {"_id": Binary(bytes.fromhex(UUID_3.replace("-", "")), 3), "email": "uuid3@example.com"},
    {"_id": None, "email": "null@example.com"},
    {"_id": {"a": 1}, "email": "object@example.com"},
    {"_id": True, "email": "bool@example.com"},
    {"_id": DatetimeMS(1_700_000_000_123), "email": "date@example.com"},
    {"_id": Decimal128("1.5"), "email": "decimal@example.com"},
    {"_id": b"\x00\xff", "email": "binary@example.com"},
    # Two `_id`s that reach one UUID: strings and binaries come before ObjectIds.
    {"_id": oid(40), "email": "u40@example.com", "roles": ["lost", "lost"]},
    {"_id": hexid(40), "email": "u40-string@example.com", "roles": ["kept"]},
    {"_id": oid(41), "email": "u41@example.com"},
    {"_id": Binary(bytes.fromhex("65f00000000080008000000041000000"), 4), "email": "u41-uuid@example.com"},
    # One e-mail twice.
    {"_id": oid(51), "email": "twice@example.com", "name": "second", "roles": ["user", "user"]},
    {"_id": oid(50), "email": "twice@example.com", "name": "first"},
    {"_id": oid(52), "email": "types@example.com", "name": "an ObjectId is larger"},
    {"_id": "zz", "email": "types@example.com", "name": "than a string"},
    # No e-mail to load.
    {"_id": oid(60), "name": "missing", "roles": ["a", "b"]},
    {"_id": oid(61), "email": None},
    {"_id": oid(62), "email": 5},
    {"_id": oid(63), "email": "a\0@example.com"},
]

ANN = "64b7f0a1-c2d3-8e4f-85a6-b7c8d9000000"
ANN_ID = ObjectId("64b7f0a1c2d3e4f5a6b7c8d9")

KNOWN_SKILLS = [
    "timeManagement",
    "taskOrganization",
    "focus",
    "planning",
    "coding",
    "debugging",
    "codeReview",
    "architecture",
    "writing",
    "design",
    "ideation",
    "storytelling",
    "research",
    "learning",
    "noteTaking",
    "knowledgeRetention",
    "collaboration",
    "communication",
    "leadership",
    "mentoring",
    "selfAwareness",
    "adaptability",
]

SKILL_TREES = [
    {
        "_id": oid(201),
        "userId": ANN_ID,
        "skills": {name: {"level": at, "xp": Int64(100 * at), "unlocked": at % 2 == 0} for at, name in enumerate(KNOWN_SKILLS)}
        | {"prompting": {"level": 9, "xp": 900, "unlocked": True}, "умение": {"level": 10, "xp": 1000, "unlocked": False}},
        "skillPoints": 5,
        "totalSkillLevel": Int64(250),
        "lastUpdated": date("2024-03-01T00:00:00.5"),
        "createdAt": date("2024-01-01T00:00:00"),
        "updatedAt": date("2024-03-01T00:00:00"),
        "__v": 0,
    },
    {"_id": oid(202), "userId": hexid(2), "skills": {}, "skillPoints": 5.0, "totalSkillLevel": 3.5},
    {"_id": oid(203), "userId": oid(2), "skills": {"coding": {"level": 1}}},
    {"_id": oid(204), "userId": oid(3), "skills": None, "skillPoints": Int64(2**31), "totalSkillLevel": -0.0},
    {"_id": oid(205), "userId": oid(4), "skillPoints": math.nan, "totalSkillLevel": math.inf},
    {"_id": oid(206), "userId": oid(5), "skills": [], "skillPoints": -(2**31), "totalSkillLevel": 2**31 - 1},
    {
        "_id": oid(207),
        "userId": oid(6),
        "skills": {
            "": {"level": 1},
            "a.b": {"level": 2},
            "coding": {},
            "debugging": {"level": 3.5, "xp": 2.0**63, "unlocked": True},
            "design": 7,
            "focus": {"level": 3.0, "xp": Int64(2**53 + 1), "unlocked": 1},
            "planning": None,
            "research": [],
            "writing": {"level": None, "xp": Int64(-(2**63)), "note": {"by": "coach"}},
        },
    },
    {"_id": oid(208), "userId": oid(999), "skills": {"coding": {"level": 1}, "focus": {"level": 2}, "design": None}},
    {"_id": oid(209), "skills": {"coding": {"level": 1}}},
    {"_id": oid(210), "userId": None},
    {"_id": oid(211), "userId": [oid(7)]},
    {"_id": oid(212), "userId": oid(51), "skills": {"coding": {"level": 1}}},
    {"_id": oid(213), "userId": 42.0},
    {"_id": oid(214), "userId": Binary(bytes.fromhex(UUID_4.replace("-", "")), 4)},
    {"_id": oid(215), "userId": "legacy-7"},
    {"_id": oid(216), "userId": oid(30), "skillPoints": "5", "skills": {"coding": {"xp": Int64(2**63 - 1), "level": True}}},
]

CONNECTIONS = [
    {
        "_id": oid(301),
        "userId": oid(2),
        "connectedUserId": ANN_ID,
        "connectionType": "friend",
        "status": "accepted",
        "metadata": {"mutualConnections": 3, "sharedChallenges": 4.0, "collaborationScore": 0.75},
        "createdAt": date("2024-04-01T00:00:00"),
        "updatedAt": date("2024-04-02T00:00:00"),
        "__v": 0,
    },
    {"_id": oid(302), "userId": ANN_ID, "connectedUserId": oid(2), "connectionType": "enemy", "status": 5},
    {"_id": oid(303), "userId": oid(2), "connectedUserId": oid(3), "metadata": None},
    {"_id": oid(304), "userId": oid(2), "connectedUserId": oid(4), "metadata": {}},
    {"_id": oid(305), "userId": oid(2), "connectedUserId": oid(5), "metadata": "none"},
    {
        "_id": oid(306),
        "userId": oid(2),
        "connectedUserId": oid(6),
        "metadata": {"mutualConnections": "3", "sharedChallenges": 2.5, "collaborationScore": math.nan, "mood": "ok"},
    },
    {"_id": oid(307), "userId": oid(2), "connectedUserId": oid(7), "metadata": {"collaborationScore": -0.0}},
    {"_id": oid(308), "userId": oid(2), "connectedUserId": oid(8), "metadata": {"collaborationScore": math.inf}},
    {"_id": oid(309), "userId": oid(2), "connectedUserId": oid(9), "metadata": {"collaborationScore": Int64(2**53 + 1)}},
    {"_id": oid(310), "userId": oid(2), "connectedUserId": oid(10), "metadata": {"collaborationScore": Int64(2**53)}},
    {"_id": oid(311), "userId": oid(2), "connectedUserId": ANN_ID, "connectionType": "rival"},
    {"_id": oid(312), "userId": hexid(2), "connectedUserId": hexid(12)},
    {"_id": oid(313), "userId": oid(2), "connectedUserId": oid(999)},
    {"_id": oid(314), "userId": oid(999), "connectedUserId": oid(998)},
    {"_id": oid(315), "userId": oid(2)},
    {"_id": oid(316), "userId": oid(2), "connectedUserId": oid(2), "metadata": {"collaborationScore": Decimal128("0.5")}},
]

POINTS = [
    {
        "_id": oid(401),
        "userId": ANN_ID,
        "timestamp": date("2023-12-31T23:59:59.999"),
        "metric": "focus",
        "value": 12.5,
        "metadata": {"source": "task"},
        "__v": 0,
    },
    {"_id": oid(402), "userId": ANN_ID, "timestamp": None, "metric": "", "value": 7, "metadata": []},
    {"_id": oid(403), "userId": ANN_ID, "value": math.nan, "metadata": 0},
    {"_id": oid(404), "userId": ANN_ID, "value": -math.inf, "unit": "h", "metadata": False},
    {"_id": oid(405), "userId": ANN_ID, "value": Int64(-(2**53) - 1)},
    {"_id": oid(406), "userId": oid(999), "value": 1.0},
    {"_id": oid(407), "userId": ANN_ID, "metadata": {"note": "a\0b", "n": 1}},
    {"_id": oid(408), "userId": ANN_ID, "value": True, "metric": oid(1)},
    {"_id": oid(409), "userId": ANN_ID, "value": 0.1 + 0.2, "timestamp": "today"},
    {"_id": oid(410), "userId": ANN_ID, "value": 5e-324, "metadata": {"then": date("2024-02-29T00:00:00")}},
]

# Every column that is not NULL, in PostgreSQL's text.
WANT_ROOTS: list[tuple[str, str, str, Row]] = [
    (
        "every declared field has its column and __v is dropped",
        "users",
        ANN,
        {
            "email": "ann@example.com",
            "password": "$2b$12$abcdefghijklmnopqrstuv",
            "name": "Ann",
            "is_active": "true",
            "profile_picture": "https://example.com/ann.png",
            "bio": "Climbs.",
            "preferences": '{"ratio": 7.0, "theme": "dark", "volume": 7}',
            "created_at": "2024-02-29 12:34:56.789+00",
            "updated_at": "2024-06-01 00:00:00+00",
        },
    ),
    ("missing fields are NULL and take no default", "users", uid(2), {"email": "u2@example.com"}),
    ("null fields are NULL", "users", uid(3), {"email": "u3@example.com"}),
    (
        "empty texts and documents stay what they are",
        "users",
        uid(4),
        {"email": "u4@example.com", "name": "", "preferences": "{}", "is_active": "false"},
    ),
    (
        "values of another type are NULL and stand in extra",
        "users",
        uid(5),
        {
            "email": "u5@example.com",
            "preferences": '"dark"',
            "extra": '{"bio": {"a": 1}, "name": 5, "roles": "admin", "isActive": "yes", "password": 12, "createdAt": "2024-01-01", '
            '"updatedAt": 5.0, "refreshTokens": {"token": "t"}, "profilePicture": ["x"]}',
        },
    ),
    (
        "undeclared fields stand in extra",
        "users",
        uid(6),
        {"email": "u6@example.com", "preferences": "[]", "extra": '{"legacy": {"a": [1, {"b": null}]}, "nickname": "Zoë"}'},
    ),
    (
        "emoji, right-to-left text, backslashes, quotes, newlines and tabs pass unchanged",
        "users",
        uid(9),
        {
            "email": "u9@example.com",
            "name": "🦜‍🔥 Zoë",
            "bio": "שלום مرحبا \u202eabc",
            "profile_picture": "C:\\temp\\new \"double\" 'single'\n\t\r \\N \\. {} $$",
            "preferences": '{"😀": "\u202e", "k\\"ey\\\\": "line\\nnext\\ttab"}',
        },
    ),
    (
        "a text or jsonb with U+0000 is NULL and stands in extra as base64",
        "users",
        uid(10),
        {
            "email": "u10@example.com",
            "extra": '{"name": {"$utf8": "YQBi"}, "preferences": {"deep": [{"x": {"$utf8": "AA=="}}]}}',
        },
    ),
    (
        "Mixed keeps every BSON type as relaxed Extended JSON",
        "users",
        uid(11),
        {
            "email": "u11@example.com",
            "preferences": '{"a": 1.5, "b": {"$numberDouble": "NaN"}, "c": {"$numberDouble": "-Infinity"}, '
            '"d": {"$numberDouble": "-0.0"}, "e": {"$numberDouble": "1e+300"}, "f": {"$numberDouble": "1000000000000000.0"}, '
            '"g": 123456789012345.0, "h": "x", "i": {"a": 1}, "j": [1, 2, 3.0, null], '
            '"k": {"$binary": {"base64": "AP8=", "subType": "00"}}, '
            '"l": {"$binary": {"base64": "AAECAwQFBgcICQoLDA0ODw==", "subType": "04"}}, '
            '"m": {"$oid": "65f000000000000000000001"}, "n": true, "o": {"$date": "2024-02-29T12:34:56.789Z"}, '
            '"p": {"$date": {"$numberLong": "-1"}}, "q": null, '
            '"r": {"$regularExpression": {"options": "im", "pattern": "a/b"}}, "s": {"$code": "f()"}, '
            '"t": {"$code": "g()", "$scope": {"x": 1}}, "u": 5, "v": 9007199254740993, '
            '"w": {"$timestamp": {"i": 7, "t": 1700000000}}, "x": {"$numberDecimal": "1.10"}, '
            '"y": {"$minKey": 1}, "z": {"$maxKey": 1}}',
        },
    ),
    (
        "dates of the years 1 and 9999 arrive to the millisecond",
        "users",
        uid(12),
        {"email": "u12@example.com", "created_at": "0001-01-01 00:00:00+00", "updated_at": "9999-12-31 23:59:59.999+00"},
    ),
    (
        "an _id of 24 hex digits is that ObjectId",
        "users",
        uid(30),
        {"email": "hex@example.com", "extra": '{"_id": "65f000000000000000000030"}'},
    ),
    (
        "an integer _id is a UUIDv5",
        "users",
        "affe2f0e-fd80-5a15-8f8b-4b866ce3ee4c",
        {"email": "int@example.com", "extra": '{"_id": 42}'},
    ),
    (
        "a double _id is a UUIDv5",
        "users",
        "e1cd1634-fcc9-57b3-8b94-b2f2b0db68e0",
        {"email": "double@example.com", "extra": '{"_id": 42.5}'},
    ),
    (
        "a string _id is a UUIDv5",
        "users",
        "573ee88a-76d1-5ba2-8a75-9d494ecccbfb",
        {"email": "string@example.com", "extra": '{"_id": "legacy-7"}'},
    ),
    ("a UUID of subtype 4 is itself", "users", "0f8fad5b-d9cb-469f-a165-70867728950e", {"email": "uuid4@example.com"}),
    (
        "a UUID of subtype 3 is itself in Python's order, its form kept",
        "users",
        "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        {
            "email": "uuid3@example.com",
            "extra": '{"_id": {"$binary": {"base64": "fJ5meXQlQN6US+B/wfkK5w==", "subType": "03"}}}',
        },
    ),
    (
        "a null _id is a UUIDv5",
        "users",
        "3335252d-1084-5166-8c2d-ecc9187440de",
        {"email": "null@example.com", "extra": '{"_id": null}'},
    ),
    (
        "a document as _id is a UUIDv5",
        "users",
        "bb822431-7a4c-5b90-b08a-f034d54c683c",
        {"email": "object@example.com", "extra": '{"_id": {"a": 1}}'},
    ),
    (
        "a boolean _id is a UUIDv5",
        "users",
        "e60aa4a4-dd22-5746-a3a4-a30f4574459e",
        {"email": "bool@example.com", "extra": '{"_id": true}'},
    ),
    (
        "a date as _id is a UUIDv5",
        "users",
        "6d744574-2b6c-5cc6-89b5-99cc35d7e9cb",
        {"email": "date@example.com", "extra": '{"_id": {"$date": "2023-11-14T22:13:20.123Z"}}'},
    ),
    (
        "a decimal _id is a UUIDv5 by its value",
        "users",
        "d620265d-882c-53bf-a41c-58c8b162dab2",
        {"email": "decimal@example.com", "extra": '{"_id": {"$numberDecimal": "1.5"}}'},
    ),
    (
        "a binary _id is a UUIDv5",
        "users",
        "bbfebe0d-b1bf-5e8c-a578-4019e12b1500",
        {"email": "binary@example.com", "extra": '{"_id": {"$binary": {"base64": "AP8=", "subType": "00"}}}'},
    ),
    (
        "of a string and an ObjectId with one UUID the string stays, for strings come first",
        "users",
        uid(40),
        {"email": "u40-string@example.com", "extra": '{"_id": "65f000000000000000000040"}'},
    ),
    (
        "of a UUID and an ObjectId with one UUID the binary stays, for binaries come first",
        "users",
        uid(41),
        {
            "email": "u41-uuid@example.com",
            "extra": '{"_id": {"$binary": {"base64": "ZfAAAAAAgACAAAAAQQAAAA==", "subType": "04"}}}',
        },
    ),
    ("of one e-mail the smaller ObjectId wins", "users", uid(50), {"email": "twice@example.com", "name": "first"}),
    (
        "of one e-mail a string wins over an ObjectId",
        "users",
        "b5c75512-766c-5e62-a3b9-11ac9b8896d5",
        {"email": "types@example.com", "name": "than a string", "extra": '{"_id": "zz"}'},
    ),
    (
        "a tree has its owner, its numbers and its dates",
        "skill_trees",
        uid(201),
        {
            "user_id": ANN,
            "skill_points": "5",
            "total_skill_level": "250",
            "last_updated": "2024-03-01 00:00:00.5+00",
            "created_at": "2024-01-01 00:00:00+00",
            "updated_at": "2024-03-01 00:00:00+00",
        },
    ),
    (
        "a hex string refers to the ObjectId, 5.0 is an integer, 3.5 is none",
        "skill_trees",
        uid(202),
        {"user_id": uid(2), "skill_points": "5", "extra": '{"userId": "65f000000000000000000002", "totalSkillLevel": 3.5}'},
    ),
    (
        "2147483648 and -0.0 are no integers of PostgreSQL",
        "skill_trees",
        uid(204),
        {"user_id": uid(3), "extra": '{"skillPoints": 2147483648, "totalSkillLevel": {"$numberDouble": "-0.0"}}'},
    ),
    (
        "NaN and Infinity are no integers",
        "skill_trees",
        uid(205),
        {
            "user_id": uid(4),
            "extra": '{"skillPoints": {"$numberDouble": "NaN"}, "totalSkillLevel": {"$numberDouble": "Infinity"}}',
        },
    ),
    (
        "both ends of integer fit, and an array is no map",
        "skill_trees",
        uid(206),
        {"user_id": uid(5), "skill_points": "-2147483648", "total_skill_level": "2147483647", "extra": '{"skills": []}'},
    ),
    (
        "a reference to an integer _id counts by value",
        "skill_trees",
        uid(213),
        {"user_id": "affe2f0e-fd80-5a15-8f8b-4b866ce3ee4c", "extra": '{"userId": 42.0}'},
    ),
    ("a reference by UUID is itself", "skill_trees", uid(214), {"user_id": "0f8fad5b-d9cb-469f-a165-70867728950e"}),
    (
        "a reference to a string _id keeps the string",
        "skill_trees",
        uid(215),
        {"user_id": "573ee88a-76d1-5ba2-8a75-9d494ecccbfb", "extra": '{"userId": "legacy-7"}'},
    ),
    (
        "an ObjectId refers to a user whose _id is its hex string",
        "skill_trees",
        uid(216),
        {"user_id": uid(30), "extra": '{"skillPoints": "5"}'},
    ),
    (
        "a flattened sub-document has a column for each field",
        "social_connections",
        uid(301),
        {
            "user_id": uid(2),
            "connected_user_id": ANN,
            "connection_type": "friend",
            "status": "accepted",
            "metadata_mutual_connections": "3",
            "metadata_shared_challenges": "4",
            "metadata_collaboration_score": "0.75",
            "created_at": "2024-04-01 00:00:00+00",
            "updated_at": "2024-04-02 00:00:00+00",
        },
    ),
    (
        "a value out of its enum stands in extra",
        "social_connections",
        uid(302),
        {"user_id": ANN, "connected_user_id": uid(2), "extra": '{"status": 5, "connectionType": "enemy"}'},
    ),
    ("a null sub-document is NULL", "social_connections", uid(303), {"user_id": uid(2), "connected_user_id": uid(3)}),
    ("an empty sub-document is NULL", "social_connections", uid(304), {"user_id": uid(2), "connected_user_id": uid(4)}),
    (
        "a text where a sub-document belongs stands in extra",
        "social_connections",
        uid(305),
        {"user_id": uid(2), "connected_user_id": uid(5), "extra": '{"metadata": "none"}'},
    ),
    (
        "misfits and unknown fields of a sub-document stand nested in extra",
        "social_connections",
        uid(306),
        {
            "user_id": uid(2),
            "connected_user_id": uid(6),
            "metadata_collaboration_score": "NaN",
            "extra": '{"metadata": {"mood": "ok", "sharedChallenges": 2.5, "mutualConnections": "3"}}',
        },
    ),
    (
        "-0.0 keeps its sign",
        "social_connections",
        uid(307),
        {"user_id": uid(2), "connected_user_id": uid(7), "metadata_collaboration_score": "-0"},
    ),
    (
        "Infinity is a double",
        "social_connections",
        uid(308),
        {"user_id": uid(2), "connected_user_id": uid(8), "metadata_collaboration_score": "Infinity"},
    ),
    (
        "2^53 + 1 is no double",
        "social_connections",
        uid(309),
        {"user_id": uid(2), "connected_user_id": uid(9), "extra": '{"metadata": {"collaborationScore": 9007199254740993}}'},
    ),
    (
        "2^53 is a double",
        "social_connections",
        uid(310),
        {"user_id": uid(2), "connected_user_id": uid(10), "metadata_collaboration_score": "9.007199254740992e+15"},
    ),
    (
        "both references may be hex strings",
        "social_connections",
        uid(312),
        {
            "user_id": uid(2),
            "connected_user_id": uid(12),
            "extra": '{"userId": "65f000000000000000000002", "connectedUserId": "65f000000000000000000012"}',
        },
    ),
    (
        "a decimal is no double",
        "social_connections",
        uid(316),
        {
            "user_id": uid(2),
            "connected_user_id": uid(2),
            "extra": '{"metadata": {"collaborationScore": {"$numberDecimal": "0.5"}}}',
        },
    ),
    (
        "a point is a row",
        "progress_points",
        uid(401),
        {
            "user_id": ANN,
            "timestamp": "2023-12-31 23:59:59.999+00",
            "metric": "focus",
            "value": "12.5",
            "metadata": '{"source": "task"}',
        },
    ),
    ("an int32 is a double", "progress_points", uid(402), {"user_id": ANN, "metric": "", "value": "7", "metadata": "[]"}),
    ("NaN is a double", "progress_points", uid(403), {"user_id": ANN, "value": "NaN", "metadata": "0"}),
    (
        "-Infinity is a double",
        "progress_points",
        uid(404),
        {"user_id": ANN, "value": "-Infinity", "metadata": "false", "extra": '{"unit": "h"}'},
    ),
    ("-2^53 - 1 is no double", "progress_points", uid(405), {"user_id": ANN, "extra": '{"value": -9007199254740993}'}),
    (
        "one U+0000 keeps a whole jsonb out of its column",
        "progress_points",
        uid(407),
        {"user_id": ANN, "extra": '{"metadata": {"n": 1, "note": {"$utf8": "YQBi"}}}'},
    ),
    (
        "a boolean is no number and an ObjectId no text",
        "progress_points",
        uid(408),
        {"user_id": ANN, "extra": '{"value": true, "metric": {"$oid": "65f000000000000000000001"}}'},
    ),
    (
        "a double keeps its last bit",
        "progress_points",
        uid(409),
        {"user_id": ANN, "value": "0.30000000000000004", "extra": '{"timestamp": "today"}'},
    ),
    (
        "the smallest double is one",
        "progress_points",
        uid(410),
        {"user_id": ANN, "value": "5e-324", "metadata": '{"then": {"$date": "2024-02-29T00:00:00Z"}}'},
    ),
]

WANT_ELEMENTS: list[tuple[str, str, str, list[Row]]] = [
    ("roles keep their order", "user_roles", ANN, [{"ordinal": "0", "role": "user"}, {"ordinal": "1", "role": "admin"}]),
    (
        "sessions with and without their own _id",
        "user_sessions",
        ANN,
        [
            {
                "ordinal": "0",
                "source_id": uid(101),
                "token": "first",
                "created_at": "2024-05-01 10:00:00+00",
                "expires_at": "2024-05-08 10:00:00.001+00",
            },
            {"ordinal": "1", "token": "second", "created_at": "2024-05-02 10:00:00+00"},
        ],
    ),
    ("no roles for missing", "user_roles", uid(2), []),
    ("no roles for null", "user_roles", uid(3), []),
    ("no roles for []", "user_roles", uid(4), []),
    ("no roles for a text", "user_roles", uid(5), []),
    ("no sessions for a document", "user_sessions", uid(5), []),
    (
        "an unknown field of an element stands in its own extra, and __v is ignored at the root only",
        "user_sessions",
        uid(6),
        [{"ordinal": "0", "token": "t", "extra": '{"__v": 0, "device": "phone"}'}],
    ),
    (
        "of a repeated role the first stays, and positions are those of the array",
        "user_roles",
        uid(7),
        [{"ordinal": "0", "role": "user"}, {"ordinal": "1", "role": "admin"}, {"ordinal": "6", "role": ""}],
    ),
    (
        "elements that are documents are rows, whatever is in them",
        "user_sessions",
        uid(8),
        [
            {"ordinal": "3"},
            {"ordinal": "4", "extra": '{"token": 5}'},
            {"ordinal": "5", "source_id": uid(801), "token": "a"},
            {"ordinal": "6", "source_id": uid(801), "token": "b"},
            {"ordinal": "7", "source_id": uid(802), "token": "c"},
            {"ordinal": "8", "source_id": uid(803), "token": "d", "extra": '{"_id": "65f000000000000000000803"}'},
            {"ordinal": "9", "token": "e", "extra": '{"_id": 7}'},
        ],
    ),
    (
        "a scalar keeps its braces, quotes and backslashes",
        "user_roles",
        uid(9),
        [{"ordinal": "0", "role": 'a"b\\c,{}'}, {"ordinal": "1", "role": "\\N"}],
    ),
    ("the children are those of the document that stays", "user_roles", uid(40), [{"ordinal": "0", "role": "kept"}]),
    (
        "22 known skills and 2 others are a row each",
        "skills",
        uid(201),
        [
            {"skill_name": "adaptability", "level": "21", "xp": "2100", "unlocked": "false"},
            {"skill_name": "architecture", "level": "7", "xp": "700", "unlocked": "false"},
            {"skill_name": "codeReview", "level": "6", "xp": "600", "unlocked": "true"},
            {"skill_name": "coding", "level": "4", "xp": "400", "unlocked": "true"},
            {"skill_name": "collaboration", "level": "16", "xp": "1600", "unlocked": "true"},
            {"skill_name": "communication", "level": "17", "xp": "1700", "unlocked": "false"},
            {"skill_name": "debugging", "level": "5", "xp": "500", "unlocked": "false"},
            {"skill_name": "design", "level": "9", "xp": "900", "unlocked": "false"},
            {"skill_name": "focus", "level": "2", "xp": "200", "unlocked": "true"},
            {"skill_name": "ideation", "level": "10", "xp": "1000", "unlocked": "true"},
            {"skill_name": "knowledgeRetention", "level": "15", "xp": "1500", "unlocked": "false"},
            {"skill_name": "leadership", "level": "18", "xp": "1800", "unlocked": "true"},
            {"skill_name": "learning", "level": "13", "xp": "1300", "unlocked": "false"},
            {"skill_name": "mentoring", "level": "19", "xp": "1900", "unlocked": "false"},
            {"skill_name": "noteTaking", "level": "14", "xp": "1400", "unlocked": "true"},
            {"skill_name": "planning", "level": "3", "xp": "300", "unlocked": "false"},
            {"skill_name": "prompting", "level": "9", "xp": "900", "unlocked": "true"},
            {"skill_name": "research", "level": "12", "xp": "1200", "unlocked": "true"},
            {"skill_name": "selfAwareness", "level": "20", "xp": "2000", "unlocked": "true"},
            {"skill_name": "storytelling", "level": "11", "xp": "1100", "unlocked": "false"},
            {"skill_name": "taskOrganization", "level": "1", "xp": "100", "unlocked": "false"},
            {"skill_name": "timeManagement", "level": "0", "xp": "0", "unlocked": "true"},
            {"skill_name": "writing", "level": "8", "xp": "800", "unlocked": "true"},
            {"skill_name": "умение", "level": "10", "xp": "1000", "unlocked": "false"},
        ],
    ),
    ("no skills for {}", "skills", uid(202), []),
    ("no skills for null", "skills", uid(204), []),
    ("no skills for missing", "skills", uid(205), []),
    ("no skills for an array", "skills", uid(206), []),
    (
        "a map's values are rows if they are documents, whatever their keys",
        "skills",
        uid(207),
        [
            {"skill_name": "", "level": "1"},
            {"skill_name": "a.b", "level": "2"},
            {"skill_name": "coding"},
            {
                "skill_name": "debugging",
                "unlocked": "true",
                "extra": '{"xp": {"$numberDouble": "9.223372036854776e+18"}, "level": 3.5}',
            },
            {"skill_name": "focus", "level": "3", "xp": "9007199254740993", "extra": '{"unlocked": 1}'},
            {"skill_name": "writing", "xp": "-9223372036854775808", "extra": '{"note": {"by": "coach"}}'},
        ],
    ),
    (
        "the largest bigint fits",
        "skills",
        uid(216),
        [{"skill_name": "coding", "xp": "9223372036854775807", "extra": '{"level": true}'}],
    ),
]

WANT_CHILD_IDS: list[tuple[str, str, str, list[str]]] = [
    (
        "a session's own _id names its row",
        "user_sessions",
        ANN,
        [child_id(ANN, "refreshTokens", "id", hexid(101)), child_id(ANN, "refreshTokens", "ordinal", 1)],
    ),
    (
        "a role's value names its row",
        "user_roles",
        uid(9),
        [child_id(uid(9), "roles", "value", 'a"b\\c,{}'), child_id(uid(9), "roles", "value", "\\N")],
    ),
    (
        "sub-documents that repeat an _id go by position, as do those whose _id is no ObjectId",
        "user_sessions",
        uid(8),
        [
            child_id(uid(8), "refreshTokens", "ordinal", 3),
            child_id(uid(8), "refreshTokens", "ordinal", 4),
            child_id(uid(8), "refreshTokens", "ordinal", 5),
            child_id(uid(8), "refreshTokens", "ordinal", 6),
            child_id(uid(8), "refreshTokens", "id", hexid(802)),
            child_id(uid(8), "refreshTokens", "ordinal", 8),
            child_id(uid(8), "refreshTokens", "ordinal", 9),
        ],
    ),
    (
        "a map's key names its row",
        "skills",
        uid(216),
        [child_id(uid(216), "skills", "key", "coding")],
    ),
]

WANT_REJECTS: dict[str, list[tuple[str, str, str]]] = {
    "users": [
        (oid_json(7), "roles.2", "duplicate_key"),
        (oid_json(7), "roles.3", "required"),
        (oid_json(7), "roles.4", "type_mismatch"),
        (oid_json(7), "roles.5", "nul_character"),
        (oid_json(7), "roles.7", "type_mismatch"),
        (oid_json(8), "refreshTokens.0", "type_mismatch"),
        (oid_json(8), "refreshTokens.1", "type_mismatch"),
        (oid_json(8), "refreshTokens.2", "type_mismatch"),
        (oid_json(40), "_id", "duplicate_key"),
        (oid_json(40), "roles.1", "duplicate_key"),
        (oid_json(41), "_id", "duplicate_key"),
        (oid_json(51), "email", "duplicate_key"),
        (oid_json(51), "roles.1", "duplicate_key"),
        (oid_json(52), "email", "duplicate_key"),
        (oid_json(60), "email", "required"),
        (oid_json(61), "email", "required"),
        (oid_json(62), "email", "type_mismatch"),
        (oid_json(63), "email", "nul_character"),
    ],
    "skilltrees": [
        (oid_json(203), "userId", "duplicate_key"),
        (oid_json(207), "skills.design", "type_mismatch"),
        (oid_json(207), "skills.planning", "type_mismatch"),
        (oid_json(207), "skills.research", "type_mismatch"),
        (oid_json(208), "skills.design", "type_mismatch"),
        (oid_json(208), "userId", "orphan"),
        (oid_json(209), "userId", "required"),
        (oid_json(210), "userId", "required"),
        (oid_json(211), "userId", "type_mismatch"),
        (oid_json(212), "userId", "orphan"),
    ],
    "socialconnections": [
        (oid_json(311), "userId,connectedUserId", "duplicate_key"),
        (oid_json(313), "connectedUserId", "orphan"),
        (oid_json(314), "userId", "orphan"),
        (oid_json(315), "connectedUserId", "required"),
    ],
    "progresspoints": [(oid_json(406), "userId", "orphan")],
}

WANT_COUNTS = {
    "users": {
        "read": 36,
        "inserted": 28,
        "rejected": {"required": 2, "type_mismatch": 1, "nul_character": 1, "duplicate_key": 4},
        "misfits": {
            "name": 2,
            "bio": 1,
            "roles": 1,
            "isActive": 1,
            "password": 1,
            "createdAt": 1,
            "updatedAt": 1,
            "preferences": 1,
            "refreshTokens": 1,
            "profilePicture": 1,
            "refreshTokens.token": 1,
            "refreshTokens._id": 1,
        },
        "conversions": {},
    },
    "skilltrees": {
        "read": 16,
        "inserted": 10,
        "rejected": {"duplicate_key": 1, "orphan": 2, "required": 2, "type_mismatch": 1},
        "misfits": {"skillPoints": 3, "totalSkillLevel": 3, "skills": 1, "skills.level": 2, "skills.xp": 1, "skills.unlocked": 1},
        "conversions": {},
    },
    "socialconnections": {
        "read": 16,
        "inserted": 12,
        "rejected": {"duplicate_key": 1, "orphan": 2, "required": 1},
        "misfits": {
            "connectionType": 1,
            "status": 1,
            "metadata": 1,
            "metadata.mutualConnections": 1,
            "metadata.sharedChallenges": 1,
            "metadata.collaborationScore": 2,
        },
        "conversions": {},
    },
    "progresspoints": {
        "read": 10,
        "inserted": 9,
        "rejected": {"orphan": 1},
        "misfits": {"value": 2, "metadata": 1, "metric": 1, "timestamp": 1},
        "conversions": {},
    },
}

# Elements, rows, rejected, of parents not loaded.
WANT_ARRAYS = {
    "users": {"roles": (19, 8, 7, 4), "refreshTokens": (13, 10, 3, 0)},
    "skilltrees": {"skills": (40, 31, 4, 5)},
    "socialconnections": {},
    "progresspoints": {},
}


@pytest.fixture(scope="module")
def auth(mongo_admin, postgres, tmp_path_factory) -> Iterator[Moved]:
    database = mongo_admin["expected_auth"]
    fill(database, {"users": USERS, "skilltrees": SKILL_TREES, "socialconnections": CONNECTIONS, "progresspoints": POINTS})
    with postgres.database() as login, login.connect() as conn:
        yield Moved(database, conn, AUTH, tmp_path_factory.mktemp("staging"))
    mongo_admin.drop_database(database.name)


@pytest.mark.parametrize(("table", "row_id", "want"), [case[1:] for case in WANT_ROOTS], ids=[case[0] for case in WANT_ROOTS])
def test_the_document_has_become_this_row(auth: Moved, table: str, row_id: str, want: Row) -> None:
    assert auth.row(table, row_id) == {"id": row_id, **want}


@pytest.mark.parametrize(("table", "parent", "want"), [case[1:] for case in WANT_ELEMENTS], ids=[case[0] for case in WANT_ELEMENTS])
def test_the_elements_have_become_these_rows(auth: Moved, table: str, parent: str, want: list[Row]) -> None:
    assert auth.elements(table, parent) == want


@pytest.mark.parametrize(
    ("table", "parent", "want"), [case[1:] for case in WANT_CHILD_IDS], ids=[case[0] for case in WANT_CHILD_IDS]
)
def test_the_child_rows_have_these_ids(auth: Moved, table: str, parent: str, want: list[str]) -> None:
    (owner,) = {"user_roles": ["user_id"], "user_sessions": ["user_id"], "skills": ["skill_tree_id"]}[table]
    assert [row["id"] for row in auth.rows(table, **{owner: parent})] == want


@pytest.mark.parametrize("table", ["users", "skill_trees", "social_connections", "progress_points"])
def test_no_other_document_has_become_a_row(auth: Moved, table: str) -> None:
    got = {row["id"] for row in auth.rows(table)}
    expected = {row_id for _, name, row_id, _ in WANT_ROOTS if name == table}
    # Rows of which only the children are of interest.
    children_only = {"users": {uid(7), uid(8)}, "skill_trees": {uid(207)}}
    assert got == expected | children_only.get(table, set())


@pytest.mark.parametrize("collection", WANT_REJECTS)
def test_these_documents_and_elements_are_rejected_for_these_reasons(auth: Moved, collection: str) -> None:
    assert auth.rejects(collection) == WANT_REJECTS[collection]


@pytest.mark.parametrize("collection", WANT_COUNTS)
def test_the_report_counts_documents_and_misfits(auth: Moved, collection: str) -> None:
    assert auth.counts(collection) == WANT_COUNTS[collection]


@pytest.mark.parametrize("collection", WANT_ARRAYS)
def test_the_report_counts_what_became_of_the_elements(auth: Moved, collection: str) -> None:
    assert auth.arrays(collection) == WANT_ARRAYS[collection]


def test_the_checks_of_the_run_agree(auth: Moved) -> None:
    assert auth.failed_checks() == []
