"""The challenge domain, document by document: challenges, and who takes part in them."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from bson.int64 import Int64

from deepiri.challenge import CHALLENGE
from deepiri.task_orchestrator import TASK_ORCHESTRATOR
from mongo2pg.run import Run
from tests.integration.expectations import Moved, Row, child_id, date, fill, hexid, move_users, oid, oid_json, uid

USERS = range(1, 4)

CHALLENGES = [
    {
        "_id": oid(101),
        "userId": oid(1),
        "taskId": oid(501),
        "type": "quiz",
        "title": "Capitals",
        "description": "Ten of them",
        "difficulty": "adaptive",
        "difficultyScore": 3,
        "status": "active",
        "configuration": {
            "timeLimit": 600,
            "hints": [],
            "questions": [{"question": "France?", "options": ["Paris", "Lyon"], "correctAnswer": 0, "points": Int64(5)}],
            "puzzleData": {"grid": [[1, 2], [3.0, None]]},
        },
        "pointsReward": 100.5,
        "bonusMultiplier": 1.5,
        "completionData": {
            "completedAt": date("2025-02-01T00:00:00"),
            "completionTime": 540.25,
            "score": 9,
            "accuracy": 0.9,
            "attemptsUsed": 2,
            "hintsUsed": 0,
        },
        "participants": [
            {
                "_id": oid(901),
                "userId": oid(2),
                "status": "completed",
                "joinedAt": date("2025-01-31T12:00:00"),
                "completedAt": date("2025-02-01T00:00:00"),
                "score": 9,
                "attempts": 1,
                "answers": [0, "b", None],
            },
            {"userId": oid(3), "status": "invited", "attempts": 0},
            {"userId": oid(2), "status": "withdrawn", "attempts": 1},
        ],
        "aiGenerated": True,
        "aiMetadata": {"model": "m-1", "prompt": "Ask for\ncapitals", "generationTime": 1.25},
        "expiresAt": date("2025-03-01T00:00:00"),
        "createdAt": date("2025-01-31T00:00:00"),
        "updatedAt": date("2025-02-01T00:00:00"),
        "__v": 1,
    },
    {"_id": oid(102), "userId": oid(1), "participants": []},
    {"_id": oid(103), "userId": oid(1), "participants": None, "configuration": None, "completionData": None, "aiMetadata": None},
    {"_id": oid(104), "userId": oid(1), "participants": {"0": {"userId": oid(2)}}, "configuration": "default"},
    {"_id": oid(105), "userId": oid(1), "taskId": oid(599), "title": "its task is gone"},
    {
        "_id": oid(106),
        "userId": oid(2),
        "participants": [
            {"userId": oid(98), "status": "joined"},
            {"userId": hexid(97), "status": "joined"},
            {"userId": None, "status": "lost"},
            {"userId": "nobody", "attempts": 1.5},
            None,
            oid(2),
            {"userId": hexid(3), "attempts": 2.0, "team": "red"},
            {},
        ],
    },
    {
        "_id": oid(107),
        "userId": oid(2),
        "type": "race",
        "difficulty": "",
        "difficultyScore": math.nan,
        "bonusMultiplier": "2x",
        "completionData": {"attemptsUsed": 1.5, "cheated": False},
        "aiMetadata": ["m-1"],
    },
    {
        "_id": oid(108),
        "userId": oid(2),
        "participants": [{"_id": oid(902), "userId": oid(2)}, {"_id": oid(902), "userId": oid(3)}],
    },
    {"_id": oid(109), "userId": oid(99), "participants": [{"userId": oid(1)}, None]},
    {"_id": oid(110), "participants": [{"userId": oid(1)}]},
]

WANT: list[tuple[str, str, Row]] = [
    (
        "a whole challenge, its configuration as jsonb",
        uid(101),
        {
            "user_id": uid(1),
            "task_id": uid(501),
            "type": "quiz",
            "title": "Capitals",
            "description": "Ten of them",
            "difficulty": "adaptive",
            "difficulty_score": "3",
            "status": "active",
            "configuration": '{"hints": [], "questions": [{"points": 5, "options": ["Paris", "Lyon"], "question": "France?", '
            '"correctAnswer": 0}], "timeLimit": 600, "puzzleData": {"grid": [[1, 2], [3.0, null]]}}',
            "points_reward": "100.5",
            "bonus_multiplier": "1.5",
            "completion_data_completed_at": "2025-02-01 00:00:00+00",
            "completion_data_completion_time": "540.25",
            "completion_data_score": "9",
            "completion_data_accuracy": "0.9",
            "completion_data_attempts_used": "2",
            "completion_data_hints_used": "0",
            "ai_generated": "true",
            "ai_metadata_model": "m-1",
            "ai_metadata_prompt": "Ask for\ncapitals",
            "ai_metadata_generation_time": "1.25",
            "expires_at": "2025-03-01 00:00:00+00",
            "created_at": "2025-01-31 00:00:00+00",
            "updated_at": "2025-02-01 00:00:00+00",
        },
    ),
    ("nobody takes part", uid(102), {"user_id": uid(1)}),
    ("null sub-documents are NULL", uid(103), {"user_id": uid(1)}),
    (
        "a document is no array, and a text is jsonb",
        uid(104),
        {
            "user_id": uid(1),
            "configuration": '"default"',
            "extra": '{"participants": {"0": {"userId": {"$oid": "65f000000000000000000002"}}}}',
        },
    ),
    (
        "a task that is gone is NULL and stands in extra",
        uid(105),
        {"user_id": uid(1), "title": "its task is gone", "extra": '{"taskId": {"$oid": "65f000000000000000000599"}}'},
    ),
    ("a challenge with participants only", uid(106), {"user_id": uid(2)}),
    (
        "misfits stand in extra, nested as they were",
        uid(107),
        {
            "user_id": uid(2),
            "difficulty_score": "NaN",
            "extra": '{"type": "race", "aiMetadata": ["m-1"], "difficulty": "", "completionData": {"cheated": false, '
            '"attemptsUsed": 1.5}, "bonusMultiplier": "2x"}',
        },
    ),
    ("a challenge whose participants repeat an _id", uid(108), {"user_id": uid(2)}),
]

WANT_PARTICIPANTS: list[tuple[str, str, list[Row]]] = [
    (
        "a user takes part twice",
        uid(101),
        [
            {
                "ordinal": "0",
                "source_id": uid(901),
                "user_id": uid(2),
                "status": "completed",
                "joined_at": "2025-01-31 12:00:00+00",
                "completed_at": "2025-02-01 00:00:00+00",
                "score": "9",
                "attempts": "1",
                "answers": '[0, "b", null]',
            },
            {"ordinal": "1", "user_id": uid(3), "status": "invited", "attempts": "0"},
            {"ordinal": "2", "user_id": uid(2), "status": "withdrawn", "attempts": "1"},
        ],
    ),
    ("no participants for []", uid(102), []),
    ("no participants for null", uid(103), []),
    ("no participants for a document", uid(104), []),
    (
        "participants who are gone are NULL and stand in their row's extra",
        uid(106),
        [
            {"ordinal": "0", "status": "joined", "extra": '{"userId": {"$oid": "65f000000000000000000098"}}'},
            {"ordinal": "1", "status": "joined", "extra": '{"userId": "65f000000000000000000097"}'},
            {"ordinal": "2", "extra": '{"status": "lost"}'},
            {"ordinal": "3", "extra": '{"userId": "nobody", "attempts": 1.5}'},
            {
                "ordinal": "6",
                "user_id": uid(3),
                "attempts": "2",
                "extra": '{"team": "red", "userId": "65f000000000000000000003"}',
            },
            {"ordinal": "7"},
        ],
    ),
    (
        "repeated _ids of participants",
        uid(108),
        [
            {"ordinal": "0", "source_id": uid(902), "user_id": uid(2)},
            {"ordinal": "1", "source_id": uid(902), "user_id": uid(3)},
        ],
    ),
]


@pytest.fixture(scope="module")
def moved(mongo_admin, postgres, tmp_path_factory) -> Iterator[Moved]:
    """Users first, then the task that a challenge refers to, then the challenges."""
    database = mongo_admin["expected_challenge"]
    staging = tmp_path_factory.mktemp("staging")
    with postgres.database() as login, login.connect() as conn:
        move_users(database, conn, staging, USERS)
        fill(database, {"tasks": [{"_id": oid(501), "userId": oid(1)}], "taskversions": [], "taskdependencies": []})
        Run(database, conn, TASK_ORCHESTRATOR, staging, "tasks").move()
        fill(database, {"challenges": CHALLENGES})
        yield Moved(database, conn, CHALLENGE, staging)
    mongo_admin.drop_database(database.name)


@pytest.mark.parametrize(("row_id", "want"), [case[1:] for case in WANT], ids=[case[0] for case in WANT])
def test_the_document_has_become_this_row(moved: Moved, row_id: str, want: Row) -> None:
    assert moved.row("challenges", row_id) == {"id": row_id, **want}


def test_no_other_document_has_become_a_row(moved: Moved) -> None:
    assert {row["id"] for row in moved.rows("challenges")} == {row_id for _, row_id, _ in WANT}


@pytest.mark.parametrize(("parent", "want"), [case[1:] for case in WANT_PARTICIPANTS], ids=[case[0] for case in WANT_PARTICIPANTS])
def test_the_participants_have_become_these_rows(moved: Moved, parent: str, want: list[Row]) -> None:
    assert moved.elements("challenge_participants", parent) == want


def test_participants_are_named_by_their_own_id_or_their_place(moved: Moved) -> None:
    assert [row["id"] for row in moved.rows("challenge_participants", challenge_id=uid(101))] == [
        child_id(uid(101), "participants", "id", hexid(901)),
        child_id(uid(101), "participants", "ordinal", 1),
        child_id(uid(101), "participants", "ordinal", 2),
    ]


def test_these_documents_and_elements_are_rejected_for_these_reasons(moved: Moved) -> None:
    assert moved.rejects("challenges") == [
        (oid_json(106), "participants.4", "type_mismatch"),
        (oid_json(106), "participants.5", "type_mismatch"),
        (oid_json(109), "participants.1", "type_mismatch"),
        (oid_json(109), "userId", "orphan"),
        (oid_json(110), "userId", "required"),
    ]


def test_the_report_counts_documents_and_misfits(moved: Moved) -> None:
    assert moved.counts("challenges") == {
        "read": 10,
        "inserted": 8,
        "rejected": {"orphan": 1, "required": 1},
        "misfits": {
            "participants": 1,
            "taskId": 1,
            "participants.userId": 3,
            "participants.status": 1,
            "participants.attempts": 1,
            "type": 1,
            "difficulty": 1,
            "bonusMultiplier": 1,
            "completionData.attemptsUsed": 1,
            "aiMetadata": 1,
        },
        "conversions": {},
    }


def test_the_report_counts_what_became_of_the_participants(moved: Moved) -> None:
    assert moved.arrays("challenges") == {"participants": (16, 11, 3, 2)}


def test_the_checks_of_the_run_agree(moved: Moved) -> None:
    assert moved.failed_checks() == []
