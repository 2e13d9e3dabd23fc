"""The engagement domain, document by document: deep paths, arrays of references, and a circle of objectives, odysseys, seasons."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from deepiri.engagement import ENGAGEMENT
from tests.integration.expectations import Moved, Row, child_id, date, fill, hexid, move_users, oid, oid_json, uid

USERS = range(1, 7)

MOMENTA = [
    {
        "_id": oid(101),
        "userId": oid(1),
        "totalMomentum": Int64(2**53 + 1),
        "currentLevel": 7,
        "momentumToNextLevel": 250.0,
        "skillMastery": {
            "commits": 1,
            "docs": 2,
            "tasks": 3,
            "reviews": 4,
            "comments": 5,
            "attendance": 6,
            "featuresShipped": 7,
            "designEdits": 8,
        },
        "levelHistory": [
            {"_id": oid(901), "level": 6, "reachedAt": date("2025-01-01T00:00:00"), "totalMomentum": Int64(5_000_000_000)},
            {"level": 7, "reachedAt": date("2025-02-01T00:00:00.001"), "totalMomentum": 6000},
        ],
        "achievements": [
            {
                "achievementId": "first",
                "name": "First",
                "description": "…",
                "unlockedAt": date("2025-01-01T00:00:00"),
                "showcaseable": True,
            }
        ],
        "publicProfile": {"displayMomentum": False, "showcaseAchievements": ["first", 'x"y'], "resumeReferences": []},
        "createdAt": date("2024-01-01T00:00:00"),
        "updatedAt": date("2025-02-01T00:00:00"),
        "__v": 9,
    },
    {
        "_id": oid(102),
        "userId": oid(2),
        "skillMastery": {"commits": 1.5, "reading": 3},
        "levelHistory": [None, {"level": "7"}],
        "publicProfile": {"showcaseAchievements": ["a", 5], "resumeReferences": None},
    },
    {"_id": oid(103), "userId": oid(2), "totalMomentum": 1, "achievements": [{}, {}]},
]

STREAKS = [
    {
        "_id": oid(201),
        "userId": oid(1),
        "daily": {"current": 3, "longest": 10, "lastDate": date("2025-02-14T00:00:00"), "canCashIn": False},
        "weekly": {"current": 1, "longest": 4, "lastWeek": "2025-W07", "canCashIn": True},
        "project": {"current": 0, "longest": 2, "projectId": "apollo", "lastProjectDate": None, "canCashIn": False},
        "pr": {"current": 5, "longest": 5, "lastPRDate": date("2025-02-13T00:00:00"), "canCashIn": True},
        "healthy": {
            "current": 2,
            "longest": 2,
            "lastHealthyDate": date("2025-02-12T00:00:00"),
            "canCashIn": False,
            "consecutiveDaysWithoutBurnout": 40,
        },
        "cashedInStreaks": [
            {"streakType": "pr", "cashedAt": date("2025-01-01T00:00:00"), "streakValue": 5, "boostCreditsEarned": 2},
            {"streakType": "yearly", "streakValue": 5.5},
        ],
        "createdAt": date("2024-01-01T00:00:00"),
        "updatedAt": date("2025-02-14T00:00:00"),
    },
    {
        "_id": oid(202),
        "userId": oid(2),
        "daily": None,
        "weekly": {"lastWeek": None, "current": "1"},
        "project": {"projectId": oid(777)},
        "pr": 5,
        "cashedInStreaks": None,
    },
]

BOOSTS = [
    {
        "_id": oid(301),
        "userId": oid(1),
        "activeBoosts": [
            {
                "boostType": "focus",
                "activatedAt": date("2025-02-01T08:00:00"),
                "expiresAt": date("2025-02-01T09:00:00"),
                "duration": 60,
                "metadata": {"by": "streak", "n": Int64(1)},
            },
            {"boostType": "nap", "duration": 12.5, "metadata": None},
        ],
        "boostCredits": 3,
        "boostHistory": [
            {
                "boostType": "debug",
                "activatedAt": date("2025-01-01T08:00:00"),
                "expiredAt": date("2025-01-01T09:00:00"),
                "duration": 60.0,
                "creditsUsed": 1,
                "source": "season_reward",
            }
        ],
        "settings": {
            "maxConcurrentBoosts": 2,
            "maxAutopilotTimePerDay": 120,
            "autopilotTimeUsedToday": 0,
            "lastAutopilotReset": date("2025-02-01T00:00:00"),
        },
    },
]

# The circle: objective 401 → odyssey 501 → season 601 → odyssey 501 → objective 401.
OBJECTIVES = [
    {
        "_id": oid(401),
        "userId": oid(1),
        "title": "Ship",
        "description": "it",
        "status": "active",
        "momentumReward": 50,
        "deadline": date("2025-06-01T00:00:00"),
        "subtasks": [
            {"id": "s-1", "title": "build", "completed": True, "momentumReward": 2.5},
            {"_id": oid(911), "id": "s-2", "title": "test", "completed": False, "momentumReward": 1},
        ],
        "aiSuggestions": [{"suggestion": "Rest", "type": "resource", "confidence": 0.5}],
        "completionData": {"momentumEarned": 0, "autoDetected": False},
        "odysseyId": oid(501),
        "seasonId": oid(601),
        "metadata": {"k": [1, 2.0]},
        "createdAt": date("2025-01-01T00:00:00"),
        "updatedAt": date("2025-01-02T00:00:00"),
    },
    {"_id": oid(402), "userId": oid(2), "odysseyId": hexid(501), "seasonId": oid(699), "subtasks": [{"id": 5}, "s", None]},
    {"_id": oid(403), "userId": oid(98), "title": "its user is gone", "subtasks": [{"id": "x"}], "aiSuggestions": []},
    {
        "_id": oid(404),
        "userId": oid(2),
        "odysseyId": oid(503),
        "aiSuggestions": [{"type": "guess", "confidence": Decimal128("0.5")}],
    },
]

ODYSSEYS = [
    {
        "_id": oid(501),
        "userId": oid(1),
        "organizationId": oid(888),
        "title": "Year",
        "description": "long",
        "scale": "custom",
        "minimumHoursBeforeSelection": 1.5,
        "status": "paused",
        "objectives": [oid(402), oid(401), oid(402)],
        "milestones": [
            {
                "_id": oid(921),
                "id": "m-1",
                "title": "Half",
                "description": None,
                "completed": True,
                "completedAt": date("2025-03-01T00:00:00"),
                "momentumReward": 10,
            }
        ],
        "progress": {
            "objectivesCompleted": 1,
            "totalObjectives": 2,
            "milestonesCompleted": 1,
            "totalMilestones": 1,
            "progressPercentage": 66.5,
        },
        "aiGeneratedBrief": {"animation": "wave", "summary": "Go!", "generatedAt": date("2025-01-01T00:00:00")},
        "progressMap": {
            "currentStage": "two",
            "stages": [
                {"stageId": "one", "name": "One", "completed": True, "completedAt": date("2025-02-01T00:00:00")},
                {"_id": oid(931), "stageId": "two", "name": "Two", "completed": False},
            ],
        },
        "startDate": date("2025-01-01T00:00:00"),
        "endDate": None,
        "seasonId": oid(601),
        "metadata": "free text",
        "createdAt": date("2025-01-01T00:00:00"),
        "updatedAt": date("2025-01-02T00:00:00"),
    },
    {
        "_id": oid(502),
        "userId": oid(2),
        "organizationId": "acme",
        "objectives": [oid(401), oid(499), "x", None, hexid(402), oid(403)],
        "progressMap": {"stages": []},
        "seasonId": "winter",
    },
    {"_id": oid(503), "userId": oid(99), "objectives": [oid(401)], "progressMap": {"stages": [{"stageId": "lost"}]}},
    {"_id": oid(504), "userId": oid(2), "progressMap": {"stages": {"0": {}}, "zoom": 2}, "objectives": oid(401)},
    {"_id": oid(505), "userId": oid(2), "progressMap": [{"stages": []}]},
    {"_id": oid(506), "userId": oid(2), "progressMap": {"currentStage": None, "stages": None}},
]

SEASONS = [
    {
        "_id": oid(601),
        "userId": oid(1),
        "organizationId": hexid(888),
        "name": "Spring",
        "description": "2025",
        "startDate": date("2025-03-01T00:00:00"),
        "endDate": date("2025-05-31T23:59:59.999"),
        "sprintCycle": "2w",
        "status": "upcoming",
        "odysseys": [oid(501), oid(502)],
        "seasonBoosts": {"enabled": True, "boostType": "focus", "multiplier": 1.25, "description": "x"},
        "highlights": {
            "totalMomentumEarned": Int64(3_000_000_000),
            "objectivesCompleted": 4,
            "odysseysCompleted": 1,
            "topContributors": [
                {"_id": oid(941), "userId": oid(2), "momentum": Int64(3_000_000_001), "name": "Bob"},
                {"userId": oid(97), "momentum": 5, "name": "gone"},
                {"userId": oid(1), "momentum": 1.5},
            ],
            "highlightsReel": "https://example.com/reel",
            "generatedAt": date("2025-06-01T00:00:00"),
        },
        "metadata": {},
        "createdAt": date("2025-01-01T00:00:00"),
        "updatedAt": date("2025-01-02T00:00:00"),
    },
    {"_id": oid(602), "userId": oid(2), "odysseys": [oid(503), oid(501)], "highlights": {"topContributors": "none", "mvp": "Bob"}},
]

REWARDS = [
    {
        "_id": oid(701),
        "userId": oid(1),
        "rewardType": "skip_day",
        "amount": 1,
        "source": "manual",
        "sourceId": "abc",
        "description": "A day off",
        "status": "claimed",
        "claimedAt": date("2025-01-01T00:00:00"),
        "expiresAt": date("2026-01-01T00:00:00"),
        "metadata": {"by": oid(2)},
        "createdAt": date("2025-01-01T00:00:00"),
        "updatedAt": date("2025-01-02T00:00:00"),
    },
    {"_id": oid(702), "userId": oid(1), "amount": -math.inf, "sourceId": oid(501), "status": "lost"},
]

WANT: list[tuple[str, str, str, Row]] = [
    (
        "momentum beyond 2^53, mastery and profile flattened",
        "momentum",
        uid(101),
        {
            "user_id": uid(1),
            "total_momentum": "9007199254740993",
            "current_level": "7",
            "momentum_to_next_level": "250",
            "skill_mastery_commits": "1",
            "skill_mastery_docs": "2",
            "skill_mastery_tasks": "3",
            "skill_mastery_reviews": "4",
            "skill_mastery_comments": "5",
            "skill_mastery_attendance": "6",
            "skill_mastery_features_shipped": "7",
            "skill_mastery_design_edits": "8",
            "public_profile_display_momentum": "false",
            "public_profile_showcase_achievements": '{first,"x\\"y"}',
            "public_profile_resume_references": "{}",
            "created_at": "2024-01-01 00:00:00+00",
            "updated_at": "2025-02-01 00:00:00+00",
        },
    ),
    (
        "of two momenta of one user the smaller _id stays, its misfits nested in extra",
        "momentum",
        uid(102),
        {
            "user_id": uid(2),
            "extra": '{"skillMastery": {"commits": 1.5, "reading": 3}, "publicProfile": {"showcaseAchievements": ["a", 5]}}',
        },
    ),
    (
        "five streaks side by side, the project's id a text",
        "streaks",
        uid(201),
        {
            "user_id": uid(1),
            "daily_current": "3",
            "daily_longest": "10",
            "daily_last_date": "2025-02-14 00:00:00+00",
            "daily_can_cash_in": "false",
            "weekly_current": "1",
            "weekly_longest": "4",
            "weekly_last_week": "2025-W07",
            "weekly_can_cash_in": "true",
            "project_current": "0",
            "project_longest": "2",
            "project_project_id": "apollo",
            "project_can_cash_in": "false",
            "pr_current": "5",
            "pr_longest": "5",
            "pr_last_pr_date": "2025-02-13 00:00:00+00",
            "pr_can_cash_in": "true",
            "healthy_current": "2",
            "healthy_longest": "2",
            "healthy_last_healthy_date": "2025-02-12 00:00:00+00",
            "healthy_can_cash_in": "false",
            "healthy_consecutive_days_without_burnout": "40",
            "created_at": "2024-01-01 00:00:00+00",
            "updated_at": "2025-02-14 00:00:00+00",
        },
    ),
    (
        "null, a text for a number, an ObjectId for a text and a number for a document",
        "streaks",
        uid(202),
        {
            "user_id": uid(2),
            "extra": '{"pr": 5, "weekly": {"current": "1"}, "project": {"projectId": {"$oid": "65f000000000000000000777"}}}',
        },
    ),
    (
        "boosts and their settings",
        "boosts",
        uid(301),
        {
            "user_id": uid(1),
            "boost_credits": "3",
            "settings_max_concurrent_boosts": "2",
            "settings_max_autopilot_time_per_day": "120",
            "settings_autopilot_time_used_today": "0",
            "settings_last_autopilot_reset": "2025-02-01 00:00:00+00",
        },
    ),
    (
        "an objective in the circle",
        "objectives",
        uid(401),
        {
            "user_id": uid(1),
            "title": "Ship",
            "description": "it",
            "status": "active",
            "momentum_reward": "50",
            "deadline": "2025-06-01 00:00:00+00",
            "completion_data_momentum_earned": "0",
            "completion_data_auto_detected": "false",
            "odyssey_id": uid(501),
            "season_id": uid(601),
            "metadata": '{"k": [1, 2.0]}',
            "created_at": "2025-01-01 00:00:00+00",
            "updated_at": "2025-01-02 00:00:00+00",
        },
    ),
    (
        "an objective whose season is gone and whose odyssey is a hex string",
        "objectives",
        uid(402),
        {
            "user_id": uid(2),
            "odyssey_id": uid(501),
            "extra": '{"seasonId": {"$oid": "65f000000000000000000699"}, "odysseyId": "65f000000000000000000501"}',
        },
    ),
    (
        "an objective whose odyssey was rejected",
        "objectives",
        uid(404),
        {"user_id": uid(2), "extra": '{"odysseyId": {"$oid": "65f000000000000000000503"}}'},
    ),
    (
        "an odyssey in the circle, of an organization that is not migrated",
        "odysseys",
        uid(501),
        {
            "user_id": uid(1),
            "organization_id": uid(888),
            "title": "Year",
            "description": "long",
            "scale": "custom",
            "minimum_hours_before_selection": "1.5",
            "status": "paused",
            "progress_objectives_completed": "1",
            "progress_total_objectives": "2",
            "progress_milestones_completed": "1",
            "progress_total_milestones": "1",
            "progress_progress_percentage": "66.5",
            "ai_generated_brief_animation": "wave",
            "ai_generated_brief_summary": "Go!",
            "ai_generated_brief_generated_at": "2025-01-01 00:00:00+00",
            "progress_map_current_stage": "two",
            "start_date": "2025-01-01 00:00:00+00",
            "season_id": uid(601),
            "metadata": '"free text"',
            "created_at": "2025-01-01 00:00:00+00",
            "updated_at": "2025-01-02 00:00:00+00",
        },
    ),
    (
        "a text may name a season, as any _id, but no organization: that is a plain uuid",
        "odysseys",
        uid(502),
        {"user_id": uid(2), "extra": '{"seasonId": "winter", "organizationId": "acme"}'},
    ),
    (
        "stages that are no array, and objectives that are none, stand in extra",
        "odysseys",
        uid(504),
        {
            "user_id": uid(2),
            "extra": '{"objectives": {"$oid": "65f000000000000000000401"}, "progressMap": {"zoom": 2, "stages": {"0": {}}}}',
        },
    ),
    (
        "a progress map that is an array has no stages",
        "odysseys",
        uid(505),
        {"user_id": uid(2), "extra": '{"progressMap": [{"stages": []}]}'},
    ),
    ("stages may be null", "odysseys", uid(506), {"user_id": uid(2)}),
    (
        "a season in the circle",
        "seasons",
        uid(601),
        {
            "user_id": uid(1),
            "organization_id": uid(888),
            "name": "Spring",
            "description": "2025",
            "start_date": "2025-03-01 00:00:00+00",
            "end_date": "2025-05-31 23:59:59.999+00",
            "sprint_cycle": "2w",
            "status": "upcoming",
            "season_boosts_enabled": "true",
            "season_boosts_boost_type": "focus",
            "season_boosts_multiplier": "1.25",
            "season_boosts_description": "x",
            "highlights_total_momentum_earned": "3000000000",
            "highlights_objectives_completed": "4",
            "highlights_odysseys_completed": "1",
            "highlights_highlights_reel": "https://example.com/reel",
            "highlights_generated_at": "2025-06-01 00:00:00+00",
            "metadata": "{}",
            "created_at": "2025-01-01 00:00:00+00",
            "updated_at": "2025-01-02 00:00:00+00",
            "extra": '{"organizationId": "65f000000000000000000888"}',
        },
    ),
    (
        "contributors that are a text stand nested in extra",
        "seasons",
        uid(602),
        {"user_id": uid(2), "extra": '{"highlights": {"mvp": "Bob", "topContributors": "none"}}'},
    ),
    (
        "a reward",
        "rewards",
        uid(701),
        {
            "user_id": uid(1),
            "reward_type": "skip_day",
            "amount": "1",
            "source": "manual",
            "source_id": "abc",
            "description": "A day off",
            "status": "claimed",
            "claimed_at": "2025-01-01 00:00:00+00",
            "expires_at": "2026-01-01 00:00:00+00",
            "metadata": '{"by": {"$oid": "65f000000000000000000002"}}',
            "created_at": "2025-01-01 00:00:00+00",
            "updated_at": "2025-01-02 00:00:00+00",
        },
    ),
    (
        "a reward that came from an odyssey: its source's id is a text",
        "rewards",
        uid(702),
        {
            "user_id": uid(1),
            "amount": "-Infinity",
            "extra": '{"status": "lost", "sourceId": {"$oid": "65f000000000000000000501"}}',
        },
    ),
]

WANT_ELEMENTS: list[tuple[str, str, str, list[Row]]] = [
    (
        "levels beyond 2^31",
        "level_history",
        uid(101),
        [
            {
                "ordinal": "0",
                "source_id": uid(901),
                "level": "6",
                "reached_at": "2025-01-01 00:00:00+00",
                "total_momentum": "5000000000",
            },
            {"ordinal": "1", "level": "7", "reached_at": "2025-02-01 00:00:00.001+00", "total_momentum": "6000"},
        ],
    ),
    ("a level that is a text", "level_history", uid(102), [{"ordinal": "1", "extra": '{"level": "7"}'}]),
    (
        "an achievement",
        "achievements",
        uid(101),
        [
            {
                "ordinal": "0",
                "achievement_id": "first",
                "name": "First",
                "description": "…",
                "unlocked_at": "2025-01-01 00:00:00+00",
                "showcaseable": "true",
            }
        ],
    ),
    (
        "streaks that were cashed in",
        "cashed_in_streaks",
        uid(201),
        [
            {
                "ordinal": "0",
                "streak_type": "pr",
                "cashed_at": "2025-01-01 00:00:00+00",
                "streak_value": "5",
                "boost_credits_earned": "2",
            },
            {"ordinal": "1", "extra": '{"streakType": "yearly", "streakValue": 5.5}'},
        ],
    ),
    (
        "active boosts with Mixed metadata",
        "active_boosts",
        uid(301),
        [
            {
                "ordinal": "0",
                "boost_type": "focus",
                "activated_at": "2025-02-01 08:00:00+00",
                "expires_at": "2025-02-01 09:00:00+00",
                "duration": "60",
                "metadata": '{"n": 1, "by": "streak"}',
            },
            {"ordinal": "1", "duration": "12.5", "extra": '{"boostType": "nap"}'},
        ],
    ),
    (
        "boosts of the past",
        "boost_history",
        uid(301),
        [
            {
                "ordinal": "0",
                "boost_type": "debug",
                "activated_at": "2025-01-01 08:00:00+00",
                "expired_at": "2025-01-01 09:00:00+00",
                "duration": "60",
                "credits_used": "1",
                "source": "season_reward",
            }
        ],
    ),
    (
        "a subtask's own id is a text beside its _id",
        "objective_subtasks",
        uid(401),
        [
            {"ordinal": "0", "subtask_id": "s-1", "title": "build", "completed": "true", "momentum_reward": "2.5"},
            {
                "ordinal": "1",
                "source_id": uid(911),
                "subtask_id": "s-2",
                "title": "test",
                "completed": "false",
                "momentum_reward": "1",
            },
        ],
    ),
    ("subtasks that are none are rejected", "objective_subtasks", uid(402), [{"ordinal": "0", "extra": '{"id": 5}'}]),
    (
        "suggestions",
        "objective_ai_suggestions",
        uid(401),
        [{"ordinal": "0", "suggestion": "Rest", "type": "resource", "confidence": "0.5"}],
    ),
    (
        "a suggestion of no known type",
        "objective_ai_suggestions",
        uid(404),
        [{"ordinal": "0", "extra": '{"type": "guess", "confidence": {"$numberDecimal": "0.5"}}'}],
    ),
    (
        "references keep their order and may repeat",
        "odyssey_objectives",
        uid(501),
        [
            {"ordinal": "0", "objective_id": uid(402)},
            {"ordinal": "1", "objective_id": uid(401)},
            {"ordinal": "2", "objective_id": uid(402)},
        ],
    ),
    (
        "references to what is gone, to nothing and to what was rejected have no row",
        "odyssey_objectives",
        uid(502),
        [
            {"ordinal": "0", "objective_id": uid(401)},
            {"ordinal": "4", "objective_id": uid(402), "extra": '{"value": "65f000000000000000000402"}'},
        ],
    ),
    (
        "a milestone",
        "odyssey_milestones",
        uid(501),
        [
            {
                "ordinal": "0",
                "source_id": uid(921),
                "milestone_id": "m-1",
                "title": "Half",
                "completed": "true",
                "completed_at": "2025-03-01 00:00:00+00",
                "momentum_reward": "10",
            }
        ],
    ),
    (
        "stages lie one level down",
        "odyssey_stages",
        uid(501),
        [
            {"ordinal": "0", "stage_id": "one", "name": "One", "completed": "true", "completed_at": "2025-02-01 00:00:00+00"},
            {"ordinal": "1", "source_id": uid(931), "stage_id": "two", "name": "Two", "completed": "false"},
        ],
    ),
    ("no stages for []", "odyssey_stages", uid(502), []),
    ("no stages for a document", "odyssey_stages", uid(504), []),
    ("no stages where the map is an array", "odyssey_stages", uid(505), []),
    ("no stages for null", "odyssey_stages", uid(506), []),
    (
        "a season's odysseys",
        "season_odysseys",
        uid(601),
        [{"ordinal": "0", "odyssey_id": uid(501)}, {"ordinal": "1", "odyssey_id": uid(502)}],
    ),
    ("an odyssey that was rejected has no row", "season_odysseys", uid(602), [{"ordinal": "1", "odyssey_id": uid(501)}]),
    (
        "contributors, one of them gone",
        "season_top_contributors",
        uid(601),
        [
            {"ordinal": "0", "source_id": uid(941), "user_id": uid(2), "momentum": "3000000001", "name": "Bob"},
            {"ordinal": "1", "momentum": "5", "name": "gone", "extra": '{"userId": {"$oid": "65f000000000000000000097"}}'},
            {"ordinal": "2", "user_id": uid(1), "extra": '{"momentum": 1.5}'},
        ],
    ),
    ("no contributors for a text", "season_top_contributors", uid(602), []),
]

WANT_REJECTS = {
    "momenta": [(oid_json(102), "levelHistory.0", "type_mismatch"), (oid_json(103), "userId", "duplicate_key")],
    "streaks": [],
    "boosts": [],
    "objectives": [
        (oid_json(402), "subtasks.1", "type_mismatch"),
        (oid_json(402), "subtasks.2", "type_mismatch"),
        (oid_json(403), "userId", "orphan"),
    ],
    "odysseys": [
        (oid_json(502), "objectives.1", "orphan"),
        (oid_json(502), "objectives.2", "orphan"),
        (oid_json(502), "objectives.3", "required"),
        (oid_json(502), "objectives.5", "orphan"),
        (oid_json(503), "userId", "orphan"),
    ],
    "seasons": [(oid_json(602), "odysseys.0", "orphan")],
    "rewards": [],
}

WANT_COUNTS: dict[str, tuple[int, int, dict[str, int], dict[str, int]]] = {
    "momenta": (
        3,
        2,
        {"duplicate_key": 1},
        {"skillMastery.commits": 1, "publicProfile.showcaseAchievements": 1, "levelHistory.level": 1},
    ),
    "streaks": (
        2,
        2,
        {},
        {"weekly.current": 1, "project.projectId": 1, "pr": 1, "cashedInStreaks.streakType": 1, "cashedInStreaks.streakValue": 1},
    ),
    "boosts": (1, 1, {}, {"activeBoosts.boostType": 1}),
    "objectives": (
        4,
        3,
        {"orphan": 1},
        {"seasonId": 1, "odysseyId": 1, "subtasks.id": 1, "aiSuggestions.type": 1, "aiSuggestions.confidence": 1},
    ),
    "odysseys": (
        6,
        5,
        {"orphan": 1},
        {"organizationId": 1, "seasonId": 1, "progressMap.stages": 1, "objectives": 1, "progressMap": 1},
    ),
    "seasons": (
        2,
        2,
        {},
        {"highlights.topContributors.userId": 1, "highlights.topContributors.momentum": 1, "highlights.topContributors": 1},
    ),
    "rewards": (2, 2, {}, {"status": 1, "sourceId": 1}),
}

# Elements, rows, rejected, of parents not loaded.
WANT_ARRAYS = {
    "momenta": {"levelHistory": (4, 3, 1, 0), "achievements": (3, 1, 0, 2)},
    "streaks": {"cashedInStreaks": (2, 2, 0, 0)},
    "boosts": {"activeBoosts": (2, 2, 0, 0), "boostHistory": (1, 1, 0, 0)},
    "objectives": {"subtasks": (6, 3, 2, 1), "aiSuggestions": (2, 2, 0, 0)},
    "odysseys": {"objectives": (10, 5, 4, 1), "milestones": (1, 1, 0, 0), "progressMap.stages": (3, 2, 0, 1)},
    "seasons": {"odysseys": (4, 3, 1, 0), "highlights.topContributors": (3, 3, 0, 0)},
    "rewards": {},
}


@pytest.fixture(scope="module")
def moved(mongo_admin, postgres, tmp_path_factory) -> Iterator[Moved]:
    database = mongo_admin["expected_engagement"]
    staging = tmp_path_factory.mktemp("staging")
    fill(
        database,
        {
            "momenta": MOMENTA,
            "streaks": STREAKS,
            "boosts": BOOSTS,
            "objectives": OBJECTIVES,
            "odysseys": ODYSSEYS,
            "seasons": SEASONS,
            "rewards": REWARDS,
        },
    )
    with postgres.database() as login, login.connect() as conn:
        move_users(database, conn, staging, USERS)
        yield Moved(database, conn, ENGAGEMENT, staging)
    mongo_admin.drop_database(database.name)


@pytest.mark.parametrize(("table", "row_id", "want"), [case[1:] for case in WANT], ids=[case[0] for case in WANT])
def test_the_document_has_become_this_row(moved: Moved, table: str, row_id: str, want: Row) -> None:
    assert moved.row(table, row_id) == {"id": row_id, **want}


@pytest.mark.parametrize("table", ["momentum", "streaks", "boosts", "objectives", "odysseys", "seasons", "rewards"])
def test_no_other_document_has_become_a_row(moved: Moved, table: str) -> None:
    assert {row["id"] for row in moved.rows(table)} == {row_id for _, name, row_id, _ in WANT if name == table}


@pytest.mark.parametrize(("table", "parent", "want"), [case[1:] for case in WANT_ELEMENTS], ids=[case[0] for case in WANT_ELEMENTS])
def test_the_elements_have_become_these_rows(moved: Moved, table: str, parent: str, want: list[Row]) -> None:
    assert moved.elements(table, parent) == want


def test_child_rows_of_deep_paths_have_ids_of_the_whole_path(moved: Moved) -> None:
    assert [row["id"] for row in moved.rows("odyssey_stages", odyssey_id=uid(501))] == [
        child_id(uid(501), "progressMap.stages", "ordinal", 0),
        child_id(uid(501), "progressMap.stages", "id", hexid(931)),
    ]
    assert [row["id"] for row in moved.rows("odyssey_objectives", odyssey_id=uid(501))] == [
        child_id(uid(501), "objectives", "ordinal", 0),
        child_id(uid(501), "objectives", "ordinal", 1),
        child_id(uid(501), "objectives", "ordinal", 2),
    ]


@pytest.mark.parametrize("collection", WANT_REJECTS)
def test_these_documents_and_elements_are_rejected_for_these_reasons(moved: Moved, collection: str) -> None:
    assert moved.rejects(collection) == WANT_REJECTS[collection]


@pytest.mark.parametrize("collection", WANT_COUNTS)
def test_the_report_counts_documents_and_misfits(moved: Moved, collection: str) -> None:
    read, inserted, rejected, misfits = WANT_COUNTS[collection]
    want = {"read": read, "inserted": inserted, "rejected": rejected, "misfits": misfits, "conversions": {}}
    assert moved.counts(collection) == want


@pytest.mark.parametrize("collection", WANT_ARRAYS)
def test_the_report_counts_what_became_of_the_elements(moved: Moved, collection: str) -> None:
    assert moved.arrays(collection) == WANT_ARRAYS[collection]


def test_the_checks_of_the_run_agree(moved: Moved) -> None:
    assert moved.failed_checks() == []
