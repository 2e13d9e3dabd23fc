"""The platform_analytics domain, document by document: events of users, of nobody and of users who are gone."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from bson.datetime_ms import DatetimeMS
from bson.int64 import Int64

from deepiri.platform_analytics import PLATFORM_ANALYTICS
from tests.integration.expectations import Moved, Row, date, fill, hexid, move_users, oid, uid

USERS = range(1, 4)

EVENTS = [
    {
        "_id": oid(101),
        "userId": oid(1),
        "sessionId": "s-1",
        "eventType": "page_view",
        "properties": {"path": "/", "ms": 12.0, "first": True},
        "context": {"ip": "203.0.113.7", "userAgent": "Mozilla/5.0", "locale": "de-DE", "screen": {"w": 1920}},
        "timestamp": date("2025-01-01T00:00:00.001"),
        "createdAt": date("2025-01-01T00:00:01"),
        "__v": 0,
    },
    {"_id": oid(102), "userId": None, "eventType": "page_view"},
    {"_id": oid(103), "eventType": "page_view", "context": None, "properties": None},
    {"_id": oid(104), "userId": oid(99), "eventType": "its user is gone"},
    {"_id": oid(105), "userId": hexid(98), "eventType": "gone, by hex string"},
    {"_id": oid(106), "userId": hexid(2), "eventType": "by hex string"},
    {"_id": oid(107), "userId": "anonymous", "eventType": "a name for nobody"},
    {"_id": oid(108), "userId": 0, "eventType": "a number for nobody"},
    {"_id": oid(109), "userId": [oid(1)], "eventType": ["click"], "sessionId": Int64(5)},
    {"_id": oid(110), "userId": oid(3), "properties": {"score": math.nan, "t": "a\0b"}, "context": "none"},
    {"_id": oid(111), "properties": math.inf, "context": [], "timestamp": "2025-01-01", "createdAt": None},
    {"_id": oid(112), "timestamp": DatetimeMS(-1), "createdAt": DatetimeMS(0), "appVersion": "1.2.3"},
    {"_id": "evt_1", "userId": oid(1), "eventType": "import"},
    {"_id": 7, "userId": False, "eventType": "import"},
]

WANT: list[tuple[str, str, Row]] = [
    (
        "a whole event, its properties and context as jsonb",
        uid(101),
        {
            "user_id": uid(1),
            "session_id": "s-1",
            "event_type": "page_view",
            "properties": '{"ms": 12.0, "path": "/", "first": true}',
            "context": '{"ip": "203.0.113.7", "locale": "de-DE", "screen": {"w": 1920}, "userAgent": "Mozilla/5.0"}',
            "timestamp": "2025-01-01 00:00:00.001+00",
            "created_at": "2025-01-01 00:00:01+00",
        },
    ),
    ("an event of nobody", uid(102), {"event_type": "page_view"}),
    ("an event without a user", uid(103), {"event_type": "page_view"}),
    (
        "an event of a user who is gone",
        uid(104),
        {"event_type": "its user is gone", "extra": '{"userId": {"$oid": "65f000000000000000000099"}}'},
    ),
    (
        "an event of a user who is gone, named by a hex string",
        uid(105),
        {"event_type": "gone, by hex string", "extra": '{"userId": "65f000000000000000000098"}'},
    ),
    (
        "a user named by a hex string",
        uid(106),
        {"user_id": uid(2), "event_type": "by hex string", "extra": '{"userId": "65f000000000000000000002"}'},
    ),
    ("a text that names nobody", uid(107), {"event_type": "a name for nobody", "extra": '{"userId": "anonymous"}'}),
    ("a number that names nobody", uid(108), {"event_type": "a number for nobody", "extra": '{"userId": 0}'}),
    (
        "an array names no user",
        uid(109),
        {"extra": '{"userId": [{"$oid": "65f000000000000000000001"}], "eventType": ["click"], "sessionId": 5}'},
    ),
    (
        "one U+0000 keeps the properties out, NaN alone would not",
        uid(110),
        {
            "user_id": uid(3),
            "context": '"none"',
            "extra": '{"properties": {"t": {"$utf8": "YQBi"}, "score": {"$numberDouble": "NaN"}}}',
        },
    ),
    (
        "Mixed may be Infinity",
        uid(111),
        {"properties": '{"$numberDouble": "Infinity"}', "context": "[]", "extra": '{"timestamp": "2025-01-01"}'},
    ),
    (
        "a millisecond before 1970, and 1970",
        uid(112),
        {
            "timestamp": "1969-12-31 23:59:59.999+00",
            "created_at": "1970-01-01 00:00:00+00",
            "extra": '{"appVersion": "1.2.3"}',
        },
    ),
    (
        "an event whose _id is a text",
        "93b828a2-5606-5583-b3d5-3b69093a5359",
        {"user_id": uid(1), "event_type": "import", "extra": '{"_id": "evt_1"}'},
    ),
    (
        "an event whose _id is a number, of a user named false",
        "b03f230c-3cbf-50e1-be89-26ba06bc519b",
        {"event_type": "import", "extra": '{"_id": 7, "userId": false}'},
    ),
]


@pytest.fixture(scope="module")
def moved(mongo_admin, postgres, tmp_path_factory) -> Iterator[Moved]:
    database = mongo_admin["expected_platform_analytics"]
    staging = tmp_path_factory.mktemp("staging")
    fill(database, {"analyticsevents": EVENTS})
    with postgres.database() as login, login.connect() as conn:
        move_users(database, conn, staging, USERS)
        yield Moved(database, conn, PLATFORM_ANALYTICS, staging)
    mongo_admin.drop_database(database.name)


@pytest.mark.parametrize(("row_id", "want"), [case[1:] for case in WANT], ids=[case[0] for case in WANT])
def test_the_event_has_become_this_row(moved: Moved, row_id: str, want: Row) -> None:
    assert moved.row("analytics_events", row_id) == {"id": row_id, **want}


def test_no_other_event_has_become_a_row(moved: Moved) -> None:
    assert {row["id"] for row in moved.rows("analytics_events")} == {row_id for _, row_id, _ in WANT}


def test_no_event_is_rejected_for_its_user(moved: Moved) -> None:
    assert moved.rejects("analyticsevents") == []


def test_the_report_counts_documents_and_misfits(moved: Moved) -> None:
    assert moved.counts("analyticsevents") == {
        "read": 14,
        "inserted": 14,
        "rejected": {},
        "misfits": {"userId": 6, "eventType": 1, "sessionId": 1, "properties": 1, "timestamp": 1},
        "conversions": {},
    }


def test_the_checks_of_the_run_agree(moved: Moved) -> None:
    assert moved.failed_checks() == []
