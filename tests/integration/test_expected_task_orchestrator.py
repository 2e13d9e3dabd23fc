"""The task_orchestrator domain, document by document: tasks, their versions and what they wait for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from bson.int64 import Int64

from deepiri.challenge import CHALLENGE
from deepiri.task_orchestrator import TASK_ORCHESTRATOR
from mongo2pg.run import Run
from tests.integration.expectations import Moved, Row, date, fill, hexid, move_users, oid, oid_json, uid

USERS = range(1, 4)

TASKS = [
    {
        "_id": oid(101),
        "userId": oid(1),
        "title": "Write the report",
        "description": "All of it",
        "type": "google_docs",
        "status": "in_progress",
        "priority": "urgent",
        "dueDate": date("2025-01-31T17:00:00"),
        "estimatedDuration": 90,
        "tags": ["work", "", "a,b {c}"],
        "metadata": {"sourceId": "doc-1", "sourceUrl": "https://docs.example.com/1", "sourceData": {"rev": Int64(7), "at": [1.0]}},
        "challengeId": oid(501),
        "completionData": {"completedAt": date("2025-01-30T00:00:00"), "actualDuration": 80, "efficiency": 1.125, "notes": "ok"},
        "createdAt": date("2025-01-01T00:00:00"),
        "updatedAt": date("2025-01-30T00:00:00.25"),
        "__v": 4,
    },
    {"_id": oid(102), "userId": oid(1), "tags": [], "challengeId": None, "metadata": None, "completionData": {}},
    {"_id": oid(103), "userId": oid(2), "tags": ["ok", 5, "no"]},
    {"_id": oid(104), "userId": oid(2), "tags": ["ok", None]},
    {"_id": oid(105), "userId": oid(2), "tags": ["ok", "a\0b"]},
    {"_id": oid(106), "userId": oid(2), "tags": "work,home"},
    {"_id": oid(107), "userId": oid(2), "challengeId": oid(599), "title": "its challenge is gone"},
    {"_id": oid(108), "userId": hexid(3), "challengeId": hexid(501), "title": "hex strings"},
    {"_id": oid(109), "userId": oid(3), "challengeId": hexid(598), "metadata": {"sourceData": "raw", "synced": True}},
    {"_id": oid(110), "userId": oid(3), "type": "email", "status": "done", "priority": 1, "estimatedDuration": 7.5},
    {"_id": oid(111), "userId": oid(3), "completionData": {"actualDuration": Int64(2**53 + 1), "efficiency": "high"}},
    {"_id": oid(112), "userId": oid(99), "title": "its user is gone"},
    {"_id": oid(113), "title": "nobody's"},
]

VERSIONS = [
    {
        "_id": oid(201),
        "taskId": oid(101),
        "version": 1,
        "userId": oid(1),
        "changes": {"title": "Write", "tags": ["work"], "dueDate": date("2025-01-31T17:00:00"), "metadata": None},
        "changeType": "create",
        "changedBy": oid(2),
        "changeReason": "imported",
        "snapshot": {"_id": oid(101), "status": "pending"},
        "createdAt": date("2025-01-01T00:00:00"),
        "__v": 0,
    },
    {"_id": oid(202), "taskId": oid(101), "version": 2.0, "userId": oid(1), "changes": {}, "changeType": "update"},
    {"_id": oid(203), "taskId": oid(899), "version": 1, "userId": oid(1), "changeReason": "its task is gone"},
    {"_id": oid(204), "taskId": oid(102), "version": 1, "userId": oid(1), "changedBy": oid(98), "changeType": "rename"},
    {"_id": oid(205), "taskId": hexid(102), "version": 2, "userId": oid(1), "changedBy": hexid(97), "snapshot": None},
    {"_id": oid(206), "taskId": oid(101), "version": 2, "userId": oid(1), "changeReason": "second version 2"},
    {"_id": oid(207), "taskId": oid(101), "version": 1.5, "userId": oid(1)},
    {"_id": oid(208), "taskId": oid(101), "version": "3", "userId": oid(1)},
    {"_id": oid(209), "taskId": oid(101), "userId": oid(1)},
    {"_id": oid(210), "version": 1, "userId": oid(1)},
    {"_id": oid(211), "taskId": oid(101), "version": 9, "userId": oid(99)},
]

DEPENDENCIES = [
    {"_id": oid(301), "taskId": oid(101), "dependsOn": oid(102), "dependencyType": "blocks", "userId": oid(1), "__v": 0},
    {"_id": oid(302), "taskId": oid(102), "dependsOn": hexid(103), "dependencyType": "waits", "userId": oid(1)},
    {"_id": oid(303), "taskId": oid(101), "dependsOn": oid(102), "dependencyType": "related", "userId": oid(1)},
    {"_id": oid(304), "taskId": oid(101), "dependsOn": oid(899), "userId": oid(1)},
    {"_id": oid(305), "taskId": oid(112), "dependsOn": oid(101), "userId": oid(1)},
    {"_id": oid(306), "taskId": oid(101), "dependsOn": oid(101), "userId": oid(1)},
    {"_id": oid(307), "taskId": oid(101), "dependsOn": None, "userId": oid(1)},
]

WANT: list[tuple[str, str, str, Row]] = [
    (
        "a whole task",
        "tasks",
        uid(101),
        {
            "user_id": uid(1),
            "title": "Write the report",
            "description": "All of it",
            "type": "google_docs",
            "status": "in_progress",
            "priority": "urgent",
            "due_date": "2025-01-31 17:00:00+00",
            "estimated_duration": "90",
            "tags": '{work,"","a,b {c}"}',
            "metadata_source_id": "doc-1",
            "metadata_source_url": "https://docs.example.com/1",
            "metadata_source_data": '{"at": [1.0], "rev": 7}',
            "challenge_id": uid(501),
            "completion_data_completed_at": "2025-01-30 00:00:00+00",
            "completion_data_actual_duration": "80",
            "completion_data_efficiency": "1.125",
            "completion_data_notes": "ok",
            "created_at": "2025-01-01 00:00:00+00",
            "updated_at": "2025-01-30 00:00:00.25+00",
        },
    ),
    ("an empty array is no NULL", "tasks", uid(102), {"user_id": uid(1), "tags": "{}"}),
    (
        "one bad tag keeps the whole array out",
        "tasks",
        uid(103),
        {"user_id": uid(2), "extra": '{"tags": ["ok", 5, "no"]}'},
    ),
    ("a null tag is a bad one", "tasks", uid(104), {"user_id": uid(2), "extra": '{"tags": ["ok", null]}'}),
    (
        "a tag with U+0000 is a bad one",
        "tasks",
        uid(105),
        {"user_id": uid(2), "extra": '{"tags": ["ok", {"$utf8": "YQBi"}]}'},
    ),
    ("a text is no array", "tasks", uid(106), {"user_id": uid(2), "extra": '{"tags": "work,home"}'}),
    (
        "a challenge that is gone is NULL and stands in extra",
        "tasks",
        uid(107),
        {"user_id": uid(2), "title": "its challenge is gone", "extra": '{"challengeId": {"$oid": "65f000000000000000000599"}}'},
    ),
    (
        "hex strings refer, and stand in extra",
        "tasks",
        uid(108),
        {
            "user_id": uid(3),
            "challenge_id": uid(501),
            "title": "hex strings",
            "extra": '{"userId": "65f000000000000000000003", "challengeId": "65f000000000000000000501"}',
        },
    ),
    (
        "a challenge that is gone stays in extra as it was written",
        "tasks",
        uid(109),
        {
            "user_id": uid(3),
            "metadata_source_data": '"raw"',
            "extra": '{"metadata": {"synced": true}, "challengeId": "65f000000000000000000598"}',
        },
    ),
    (
        "values out of their enums and a half minute stand in extra",
        "tasks",
        uid(110),
        {"user_id": uid(3), "extra": '{"type": "email", "status": "done", "priority": 1, "estimatedDuration": 7.5}'},
    ),
    (
        "misfits of completionData stand nested in extra",
        "tasks",
        uid(111),
        {"user_id": uid(3), "extra": '{"completionData": {"efficiency": "high", "actualDuration": 9007199254740993}}'},
    ),
    (
        "a version with its changes and its snapshot",
        "task_versions",
        uid(201),
        {
            "task_id": uid(101),
            "version": "1",
            "user_id": uid(1),
            "changes": '{"tags": ["work"], "title": "Write", "dueDate": {"$date": "2025-01-31T17:00:00Z"}, "metadata": null}',
            "change_type": "create",
            "changed_by": uid(2),
            "change_reason": "imported",
            "snapshot": '{"_id": {"$oid": "65f000000000000000000101"}, "status": "pending"}',
            "created_at": "2025-01-01 00:00:00+00",
        },
    ),
    (
        "2.0 is version 2, and of two the smaller _id stays",
        "task_versions",
        uid(202),
        {"task_id": uid(101), "version": "2", "user_id": uid(1), "changes": "{}", "change_type": "update"},
    ),
    (
        "history outlives its task",
        "task_versions",
        uid(203),
        {"task_id": uid(899), "version": "1", "user_id": uid(1), "change_reason": "its task is gone"},
    ),
    (
        "who changed it is gone: NULL, and in extra",
        "task_versions",
        uid(204),
        {
            "task_id": uid(102),
            "version": "1",
            "user_id": uid(1),
            "extra": '{"changedBy": {"$oid": "65f000000000000000000098"}, "changeType": "rename"}',
        },
    ),
    (
        "who changed it is gone and was a hex string",
        "task_versions",
        uid(205),
        {
            "task_id": uid(102),
            "version": "2",
            "user_id": uid(1),
            "extra": '{"taskId": "65f000000000000000000102", "changedBy": "65f000000000000000000097"}',
        },
    ),
    (
        "a dependency",
        "task_dependencies",
        uid(301),
        {"task_id": uid(101), "depends_on_task_id": uid(102), "dependency_type": "blocks", "user_id": uid(1)},
    ),
    (
        "a dependency of a kind nobody knows",
        "task_dependencies",
        uid(302),
        {
            "task_id": uid(102),
            "depends_on_task_id": uid(103),
            "user_id": uid(1),
            "extra": '{"dependsOn": "65f000000000000000000103", "dependencyType": "waits"}',
        },
    ),
    (
        "a task may depend on itself",
        "task_dependencies",
        uid(306),
        {"task_id": uid(101), "depends_on_task_id": uid(101), "user_id": uid(1)},
    ),
]

WANT_REJECTS = {
    "tasks": [(oid_json(112), "userId", "orphan"), (oid_json(113), "userId", "required")],
    "taskversions": [
        (oid_json(206), "taskId,version", "duplicate_key"),
        (oid_json(207), "version", "not_integral"),
        (oid_json(208), "version", "type_mismatch"),
        (oid_json(209), "version", "required"),
        (oid_json(210), "taskId", "required"),
        (oid_json(211), "userId", "orphan"),
    ],
    "taskdependencies": [
        (oid_json(303), "taskId,dependsOn", "duplicate_key"),
        (oid_json(304), "dependsOn", "orphan"),
        (oid_json(305), "taskId", "orphan"),
        (oid_json(307), "dependsOn", "required"),
    ],
}

WANT_COUNTS = {
    "tasks": {
        "read": 13,
        "inserted": 11,
        "rejected": {"orphan": 1, "required": 1},
        "misfits": {
            "tags": 4,
            "challengeId": 2,
            "type": 1,
            "status": 1,
            "priority": 1,
            "estimatedDuration": 1,
            "completionData.actualDuration": 1,
            "completionData.efficiency": 1,
        },
        "conversions": {},
    },
    "taskversions": {
        "read": 11,
        "inserted": 5,
        "rejected": {"duplicate_key": 1, "not_integral": 1, "type_mismatch": 1, "required": 2, "orphan": 1},
        "misfits": {"changedBy": 2, "changeType": 1},
        "conversions": {},
    },
    "taskdependencies": {
        "read": 7,
        "inserted": 3,
        "rejected": {"duplicate_key": 1, "orphan": 2, "required": 1},
        "misfits": {"dependencyType": 1},
        "conversions": {},
    },
}


@pytest.fixture(scope="module")
def moved(mongo_admin, postgres, tmp_path_factory) -> Iterator[Moved]:
    """Users first, then the challenges that tasks refer to, then the tasks."""
    database = mongo_admin["expected_task_orchestrator"]
    staging = tmp_path_factory.mktemp("staging")
    with postgres.database() as login, login.connect() as conn:
        move_users(database, conn, staging, USERS)
        fill(database, {"challenges": [{"_id": oid(501), "userId": oid(1)}]})
        Run(database, conn, CHALLENGE, staging, "challenges").move()
        fill(database, {"tasks": TASKS, "taskversions": VERSIONS, "taskdependencies": DEPENDENCIES})
        yield Moved(database, conn, TASK_ORCHESTRATOR, staging)
    mongo_admin.drop_database(database.name)


@pytest.mark.parametrize(("table", "row_id", "want"), [case[1:] for case in WANT], ids=[case[0] for case in WANT])
def test_the_document_has_become_this_row(moved: Moved, table: str, row_id: str, want: Row) -> None:
    assert moved.row(table, row_id) == {"id": row_id, **want}


@pytest.mark.parametrize("table", ["tasks", "task_versions", "task_dependencies"])
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
