"""The notification domain, document by document: channels as an array of an enum, data as it came, subscriptions by endpoint."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bson.int64 import Int64

from deepiri.notification import NOTIFICATION
from tests.integration.expectations import Moved, Row, date, fill, hexid, move_users, oid, oid_json, uid

USERS = range(1, 4)

NOTIFICATIONS = [
    {
        "_id": oid(101),
        "userId": oid(1),
        "type": "level_up",
        "title": "Level 7 🎉",
        "message": "You\nmade it",
        "data": {"points": 5.0, "badge": "gold", "friendId": oid(99), "metadata": {"n": None}},
        "priority": "high",
        "channels": ["push", "in_app", "push"],
        "status": "read",
        "scheduledFor": date("2025-01-01T08:00:00"),
        "sentAt": date("2025-01-01T08:00:01"),
        "deliveredAt": date("2025-01-01T08:00:02.5"),
        "readAt": date("2025-01-01T09:00:00"),
        "expiresAt": date("2025-02-01T00:00:00"),
        "retryCount": 0,
        "errorMessage": "",
        "metadata": {"source": "engine", "campaign": "spring", "version": "2"},
        "createdAt": date("2025-01-01T00:00:00"),
        "updatedAt": date("2025-01-01T09:00:00"),
        "__v": 0,
    },
    {"_id": oid(102), "userId": oid(1), "channels": []},
    {"_id": oid(103), "userId": oid(1), "channels": None, "data": None, "metadata": None},
    {"_id": oid(104), "userId": oid(1), "channels": ["push", "fax"]},
    {"_id": oid(105), "userId": oid(1), "channels": ["push", None]},
    {"_id": oid(106), "userId": oid(1), "channels": "push"},
    {"_id": oid(107), "userId": hexid(2), "data": [1, Int64(2)], "retryCount": 3.0},
    {"_id": oid(108), "userId": oid(2), "data": {"text": "a\0b"}, "status": "bounced"},
    {"_id": oid(109), "userId": oid(2), "metadata": {"version": 2, "ab": "B"}, "scheduledFor": Int64(1_700_000_000_000)},
    {"_id": oid(110), "userId": oid(2), "metadata": ["engine"], "priority": None, "retryCount": Int64(2**40)},
    {"_id": oid(111), "userId": oid(99), "title": "its user is gone"},
    {"_id": oid(112), "userId": "", "title": "an empty text names nobody"},
    {"_id": oid(113), "title": "no user"},
]

SUBSCRIPTIONS = [
    {
        "_id": oid(201),
        "userId": oid(1),
        "endpoint": "https://push.example.com/1",
        "expirationTime": date("2026-01-01T00:00:00"),
        "keys": {"p256dh": "BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA", "auth": "tBHItJI5svbpez7KI4CCXg"},
        "userAgent": "Mozilla/5.0",
        "createdAt": date("2025-01-01T00:00:00"),
        "updatedAt": date("2025-01-02T00:00:00"),
        "__v": 0,
    },
    {"_id": oid(202), "userId": oid(2), "endpoint": "https://push.example.com/2", "expirationTime": None, "keys": None},
    {"_id": oid(203), "userId": oid(2), "endpoint": "", "keys": {"auth": 5, "version": "1"}, "expirationTime": 0},
    {"_id": oid(204), "userId": oid(2), "endpoint": "https://push.example.com/1"},
    {"_id": oid(205), "userId": oid(2)},
    {"_id": oid(206), "userId": oid(2), "endpoint": ["https://push.example.com/6"]},
    {"_id": oid(207), "userId": oid(2), "endpoint": "https://push.example.com/7", "keys": "p256dh"},
]

WANT: list[tuple[str, str, str, Row]] = [
    (
        "a whole notification; a channel may repeat, and data refers to nobody",
        "notifications",
        uid(101),
        {
            "user_id": uid(1),
            "type": "level_up",
            "title": "Level 7 🎉",
            "message": "You\nmade it",
            "data": '{"badge": "gold", "points": 5.0, "friendId": {"$oid": "65f000000000000000000099"}, "metadata": {"n": null}}',
            "priority": "high",
            "channels": "{push,in_app,push}",
            "status": "read",
            "scheduled_for": "2025-01-01 08:00:00+00",
            "sent_at": "2025-01-01 08:00:01+00",
            "delivered_at": "2025-01-01 08:00:02.5+00",
            "read_at": "2025-01-01 09:00:00+00",
            "expires_at": "2025-02-01 00:00:00+00",
            "retry_count": "0",
            "error_message": "",
            "metadata_source": "engine",
            "metadata_campaign": "spring",
            "metadata_version": "2",
            "created_at": "2025-01-01 00:00:00+00",
            "updated_at": "2025-01-01 09:00:00+00",
        },
    ),
    ("no channels are an empty array", "notifications", uid(102), {"user_id": uid(1), "channels": "{}"}),
    ("null channels are NULL", "notifications", uid(103), {"user_id": uid(1)}),
    (
        "one unknown channel keeps the whole array out",
        "notifications",
        uid(104),
        {"user_id": uid(1), "extra": '{"channels": ["push", "fax"]}'},
    ),
    ("a null channel too", "notifications", uid(105), {"user_id": uid(1), "extra": '{"channels": ["push", null]}'}),
    ("a text is no array of channels", "notifications", uid(106), {"user_id": uid(1), "extra": '{"channels": "push"}'}),
    (
        "data may be an array, and a user a hex string",
        "notifications",
        uid(107),
        {"user_id": uid(2), "data": "[1, 2]", "retry_count": "3", "extra": '{"userId": "65f000000000000000000002"}'},
    ),
    (
        "data with U+0000 stands in extra",
        "notifications",
        uid(108),
        {"user_id": uid(2), "extra": '{"data": {"text": {"$utf8": "YQBi"}}, "status": "bounced"}'},
    ),
    (
        "a number is no text and no date",
        "notifications",
        uid(109),
        {"user_id": uid(2), "extra": '{"metadata": {"ab": "B", "version": 2}, "scheduledFor": 1700000000000}'},
    ),
    (
        "metadata that is an array stands in extra",
        "notifications",
        uid(110),
        {"user_id": uid(2), "extra": '{"metadata": ["engine"], "retryCount": 1099511627776}'},
    ),
    (
        "a subscription with its keys",
        "push_subscriptions",
        uid(201),
        {
            "user_id": uid(1),
            "endpoint": "https://push.example.com/1",
            "expiration_time": "2026-01-01 00:00:00+00",
            "keys_p256dh": "BNcRdreALRFXTkOOUHK1EtK2wtaz5Ry4YfYCA",
            "keys_auth": "tBHItJI5svbpez7KI4CCXg",
            "user_agent": "Mozilla/5.0",
            "created_at": "2025-01-01 00:00:00+00",
            "updated_at": "2025-01-02 00:00:00+00",
        },
    ),
    (
        "a subscription without keys that never expires",
        "push_subscriptions",
        uid(202),
        {"user_id": uid(2), "endpoint": "https://push.example.com/2"},
    ),
    (
        "an empty endpoint is one",
        "push_subscriptions",
        uid(203),
        {"user_id": uid(2), "endpoint": "", "extra": '{"keys": {"auth": 5, "version": "1"}, "expirationTime": 0}'},
    ),
    (
        "keys that are a text",
        "push_subscriptions",
        uid(207),
        {"user_id": uid(2), "endpoint": "https://push.example.com/7", "extra": '{"keys": "p256dh"}'},
    ),
]

WANT_REJECTS = {
    "notifications": [
        (oid_json(111), "userId", "orphan"),
        (oid_json(112), "userId", "orphan"),
        (oid_json(113), "userId", "required"),
    ],
    "pushsubscriptions": [
        (oid_json(204), "endpoint", "duplicate_key"),
        (oid_json(205), "endpoint", "required"),
        (oid_json(206), "endpoint", "type_mismatch"),
    ],
}

WANT_COUNTS = {
    "notifications": {
        "read": 13,
        "inserted": 10,
        "rejected": {"orphan": 2, "required": 1},
        "misfits": {
            "channels": 3,
            "data": 1,
            "status": 1,
            "metadata.version": 1,
            "scheduledFor": 1,
            "metadata": 1,
            "retryCount": 1,
        },
        "conversions": {},
    },
    "pushsubscriptions": {
        "read": 7,
        "inserted": 4,
        "rejected": {"duplicate_key": 1, "required": 1, "type_mismatch": 1},
        "misfits": {"keys.auth": 1, "expirationTime": 1, "keys": 1},
        "conversions": {},
    },
}


@pytest.fixture(scope="module")
def moved(mongo_admin, postgres, tmp_path_factory) -> Iterator[Moved]:
    database = mongo_admin["expected_notification"]
    staging = tmp_path_factory.mktemp("staging")
    fill(database, {"notifications": NOTIFICATIONS, "pushsubscriptions": SUBSCRIPTIONS})
    with postgres.database() as login, login.connect() as conn:
        move_users(database, conn, staging, USERS)
        yield Moved(database, conn, NOTIFICATION, staging)
    mongo_admin.drop_database(database.name)


@pytest.mark.parametrize(("table", "row_id", "want"), [case[1:] for case in WANT], ids=[case[0] for case in WANT])
def test_the_document_has_become_this_row(moved: Moved, table: str, row_id: str, want: Row) -> None:
    assert moved.row(table, row_id) == {"id": row_id, **want}


@pytest.mark.parametrize("table", ["notifications", "push_subscriptions"])
def test_no_other_document_has_become_a_row(moved: Moved, table: str) -> None:
    assert {row["id"] for row in moved.rows(table)} == {row_id for _, name, row_id, _ in WANT if name == table}


@pytest.mark.parametrize("collection", WANT_REJECTS)
def test_these_documents_are_rejected_for_these_reasons(moved: Moved, collection: str) -> None:
    assert moved.rejects(collection) == WANT_REJECTS[collection]


@pytest.mark.parametrize("collection", WANT_COUNTS)
def test_the_report_counts_documents_and_misfits(moved: Moved, collection: str) -> None:
    assert moved.counts(collection) == WANT_COUNTS[collection]


def test_the_checks_of_the_run_agree(moved: Moved) -> None:
    assert moved.failed_checks() == []
