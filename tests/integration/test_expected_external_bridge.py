"""The external_bridge domain, document by document: webhooks, and logs that are long, repeated, half empty or none."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from deepiri.external_bridge import EXTERNAL_BRIDGE
from tests.integration.expectations import Moved, Row, child_id, date, fill, hexid, move_users, oid, oid_json, uid

USERS = range(1, 4)
MANY = 3_000

WEBHOOKS = [
    {
        "_id": oid(101),
        "userId": oid(1),
        "provider": "github",
        "url": "https://example.com/hook?a=1&b=%20",
        "events": ["push", "pull_request"],
        "secret": "s3cr3t",
        "active": True,
        "headers": {"X-Token": "abc", "Accept": "*/*", "": "empty", "a.b": "dot"},
        "logs": [
            {
                "_id": oid(901),
                "event": "push",
                "status": "success",
                "statusCode": 200,
                "attempt": 1,
                "payload": {"ref": "main", "size": Int64(3), "commits": [{"id": "c1"}, None]},
                "response": "ok",
                "error": None,
                "durationMs": 12.75,
                "createdAt": date("2025-01-01T00:00:00.123"),
            },
            {
                "event": "push",
                "status": "failed",
                "statusCode": 500.0,
                "attempt": 2,
                "payload": [],
                "error": "timeout\n\tat 5 s",
                "durationMs": 5000,
                "createdAt": date("2025-01-01T00:00:05"),
            },
        ],
        "lastTriggeredAt": date("2025-01-01T00:00:05"),
        "createdAt": date("2024-01-01T00:00:00"),
        "updatedAt": date("2025-01-01T00:00:05"),
        "__v": 2,
    },
    {"_id": oid(102), "userId": oid(1), "events": [], "logs": [], "headers": {}},
    {"_id": oid(103), "userId": oid(1), "events": None, "logs": None, "headers": None},
    {"_id": oid(104), "userId": oid(2), "events": ["push", 5], "headers": ["X-Token: abc"], "secret": 7, "active": 1},
    {"_id": oid(105), "userId": oid(2), "headers": {"X-Nul": "a\0b"}, "logs": {"0": {"event": "push"}}},
    {
        "_id": oid(106),
        "userId": oid(2),
        "logs": [
            None,
            {"event": "a", "status": "retrying", "statusCode": "200"},
            "GET /",
            {"event": "b", "payload": {"text": "\0"}, "response": -0.0, "latency": 3},
            {"event": "c", "payload": Decimal128("1E+3"), "durationMs": Decimal128("1"), "attempt": Int64(2**31)},
            [],
            {"_id": oid(902), "event": "d"},
            {"_id": oid(902), "event": "e"},
            {"_id": "log-7", "event": "f"},
            {},
        ],
    },
    {"_id": oid(107), "userId": oid(3), "logs": [{"_id": oid(10_000 + at), "event": "tick", "attempt": at} for at in range(MANY)]},
    {"_id": oid(108), "userId": oid(99), "logs": [{"event": "lost"}, 5]},
    {"_id": oid(109), "userId": None, "logs": [{"event": "lost"}]},
    {"_id": oid(110), "userId": hexid(3), "url": ""},
]

WANT: list[tuple[str, str, Row]] = [
    (
        "a whole webhook, its headers as jsonb",
        uid(101),
        {
            "user_id": uid(1),
            "provider": "github",
            "url": "https://example.com/hook?a=1&b=%20",
            "events": "{push,pull_request}",
            "secret": "s3cr3t",
            "active": "true",
            "headers": '{"": "empty", "a.b": "dot", "Accept": "*/*", "X-Token": "abc"}',
            "last_triggered_at": "2025-01-01 00:00:05+00",
            "created_at": "2024-01-01 00:00:00+00",
            "updated_at": "2025-01-01 00:00:05+00",
        },
    ),
    ("empty is not NULL", uid(102), {"user_id": uid(1), "events": "{}", "headers": "{}"}),
    ("null is NULL", uid(103), {"user_id": uid(1)}),
    (
        "a bad event keeps the array out; headers may be anything",
        uid(104),
        {
            "user_id": uid(2),
            "headers": '["X-Token: abc"]',
            "extra": '{"active": 1, "events": ["push", 5], "secret": 7}',
        },
    ),
    (
        "a header with U+0000, and logs that are a document",
        uid(105),
        {
            "user_id": uid(2),
            "extra": '{"logs": {"0": {"event": "push"}}, "headers": {"X-Nul": {"$utf8": "YQBi"}}}',
        },
    ),
    ("a webhook with logs of all kinds", uid(106), {"user_id": uid(2)}),
    ("a webhook with many logs", uid(107), {"user_id": uid(3)}),
    ("an empty text and a hex string", uid(110), {"user_id": uid(3), "url": "", "extra": '{"userId": "65f000000000000000000003"}'}),
]

WANT_LOGS: list[tuple[str, str, list[Row]]] = [
    (
        "logs with and without their own _id",
        uid(101),
        [
            {
                "ordinal": "0",
                "source_id": uid(901),
                "event": "push",
                "status": "success",
                "status_code": "200",
                "attempt": "1",
                "payload": '{"ref": "main", "size": 3, "commits": [{"id": "c1"}, null]}',
                "response": '"ok"',
                "duration_ms": "12.75",
                "created_at": "2025-01-01 00:00:00.123+00",
            },
            {
                "ordinal": "1",
                "event": "push",
                "status": "failed",
                "status_code": "500",
                "attempt": "2",
                "payload": "[]",
                "error": "timeout\n\tat 5 s",
                "duration_ms": "5000",
                "created_at": "2025-01-01 00:00:05+00",
            },
        ],
    ),
    ("no logs for []", uid(102), []),
    ("no logs for null", uid(103), []),
    ("no logs for a document", uid(105), []),
    (
        "logs keep what does not fit, and their places",
        uid(106),
        [
            {"ordinal": "1", "event": "a", "extra": '{"status": "retrying", "statusCode": "200"}'},
            {
                "ordinal": "3",
                "event": "b",
                "response": '{"$numberDouble": "-0.0"}',
                "extra": '{"latency": 3, "payload": {"text": {"$utf8": "AA=="}}}',
            },
            {
                "ordinal": "4",
                "event": "c",
                "payload": '{"$numberDecimal": "1E+3"}',
                "extra": '{"attempt": 2147483648, "durationMs": {"$numberDecimal": "1"}}',
            },
            {"ordinal": "6", "source_id": uid(902), "event": "d"},
            {"ordinal": "7", "source_id": uid(902), "event": "e"},
            {"ordinal": "8", "event": "f", "extra": '{"_id": "log-7"}'},
            {"ordinal": "9"},
        ],
    ),
]


@pytest.fixture(scope="module")
def moved(mongo_admin, postgres, tmp_path_factory) -> Iterator[Moved]:
    database = mongo_admin["expected_external_bridge"]
    staging = tmp_path_factory.mktemp("staging")
    fill(database, {"webhooks": WEBHOOKS})
    with postgres.database() as login, login.connect() as conn:
        move_users(database, conn, staging, USERS)
        yield Moved(database, conn, EXTERNAL_BRIDGE, staging)
    mongo_admin.drop_database(database.name)


@pytest.mark.parametrize(("row_id", "want"), [case[1:] for case in WANT], ids=[case[0] for case in WANT])
def test_the_document_has_become_this_row(moved: Moved, row_id: str, want: Row) -> None:
    assert moved.row("webhooks", row_id) == {"id": row_id, **want}


def test_no_other_document_has_become_a_row(moved: Moved) -> None:
    assert {row["id"] for row in moved.rows("webhooks")} == {row_id for _, row_id, _ in WANT}


@pytest.mark.parametrize(("parent", "want"), [case[1:] for case in WANT_LOGS], ids=[case[0] for case in WANT_LOGS])
def test_the_logs_have_become_these_rows(moved: Moved, parent: str, want: list[Row]) -> None:
    assert moved.elements("webhook_logs", parent) == want


def test_each_of_many_logs_is_a_row_in_its_place(moved: Moved) -> None:
    want = [{"ordinal": str(at), "source_id": uid(10_000 + at), "event": "tick", "attempt": str(at)} for at in range(MANY)]
    assert moved.elements("webhook_logs", uid(107)) == want


def test_logs_are_named_by_their_own_id_or_their_place(moved: Moved) -> None:
    assert [row["id"] for row in moved.rows("webhook_logs", webhook_id=uid(101))] == [
        child_id(uid(101), "logs", "id", hexid(901)),
        child_id(uid(101), "logs", "ordinal", 1),
    ]


def test_these_documents_and_elements_are_rejected_for_these_reasons(moved: Moved) -> None:
    assert moved.rejects("webhooks") == [
        (oid_json(106), "logs.0", "type_mismatch"),
        (oid_json(106), "logs.2", "type_mismatch"),
        (oid_json(106), "logs.5", "type_mismatch"),
        (oid_json(108), "logs.1", "type_mismatch"),
        (oid_json(108), "userId", "orphan"),
        (oid_json(109), "userId", "required"),
    ]


def test_the_report_counts_documents_and_misfits(moved: Moved) -> None:
    assert moved.counts("webhooks") == {
        "read": 10,
        "inserted": 8,
        "rejected": {"orphan": 1, "required": 1},
        "misfits": {
            "events": 1,
            "secret": 1,
            "active": 1,
            "headers": 1,
            "logs": 1,
            "logs.status": 1,
            "logs.statusCode": 1,
            "logs.payload": 1,
            "logs.durationMs": 1,
            "logs.attempt": 1,
            "logs._id": 1,
        },
        "conversions": {},
    }


def test_the_report_counts_what_became_of_the_logs(moved: Moved) -> None:
    assert moved.arrays("webhooks") == {"logs": (3_015, 3_009, 4, 2)}


def test_the_checks_of_the_run_agree(moved: Moved) -> None:
    assert moved.failed_checks() == []
