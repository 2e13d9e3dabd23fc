"""Documents of the auth domain for tests: small, complete, and each told apart at a glance."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo.database import Database

COLLECTIONS = ("users", "skilltrees", "socialconnections", "progresspoints")
NOON = datetime(2025, 3, 14, 12, 0, 0, 123000, tzinfo=UTC)


def oid(number: int) -> ObjectId:
    """The ObjectId with this number at its end; larger numbers are larger ObjectIds."""
    return ObjectId(f"65a1b2c3d4e5f60{number:09x}")


def uuid_of(value: ObjectId | int) -> str:
    """The UUID of an ObjectId, by the rule of the architecture: 12 digits, 8, 3 digits, 8, 9 digits, zeros."""
    digits = str(value if isinstance(value, ObjectId) else oid(value))
    return str(uuid.UUID(f"{digits[:12]}8{digits[12:15]}8{digits[15:]}000000"))


def user(number: int, **fields: Any) -> dict[str, Any]:
    """User `number`, with two roles and one session; fields that are given replace these, `...` leaves one out."""
    document = {
        "_id": oid(number),
        "email": f"user{number}@example.com",
        "password": f"$2b$12$password-of-{number}",
        "name": f"User {number}",
        "isActive": True,
        "bio": f"Bio of {number}",
        "preferences": {"theme": "dark", "volume": 7},
        "roles": ["reader", "writer"],
        "refreshTokens": [
            {"_id": oid(number << 12), "token": f"token-of-{number}", "createdAt": NOON, "expiresAt": NOON + timedelta(days=7)}
        ],
        "createdAt": NOON,
        "updatedAt": NOON + timedelta(hours=number),
        "__v": 0,
        **fields,
    }
    return {name: value for name, value in document.items() if value is not ...}


def skill_tree(number: int, user_id: Any, **fields: Any) -> dict[str, Any]:
    return {
        "_id": oid(number),
        "userId": user_id,
        "skills": {"coding": {"level": 3, "xp": 1200, "unlocked": True}, "writing": {"level": 1, "xp": 40, "unlocked": False}},
        "skillPoints": 5,
        "totalSkillLevel": 4,
        "createdAt": NOON,
        "updatedAt": NOON,
        **fields,
    }


def connection(number: int, one: Any, other: Any, **fields: Any) -> dict[str, Any]:
    return {
        "_id": oid(number),
        "userId": one,
        "connectedUserId": other,
        "connectionType": "friend",
        "status": "accepted",
        "metadata": {"mutualConnections": 2, "sharedChallenges": 0, "collaborationScore": 0.5},
        "createdAt": NOON,
        **fields,
    }


def point(number: int, user_id: Any, **fields: Any) -> dict[str, Any]:
    return {
        "_id": oid(number),
        "userId": user_id,
        "timestamp": NOON + timedelta(minutes=number),
        "metric": "focus",
        "value": number / 8,
        "metadata": {"from": "test", "deep": {"number": number}},
        **fields,
    }


def fill(database: Database[Any], **documents: list[dict[str, Any]]) -> None:
    """The four collections with these documents and no others; a collection that is not named is there and empty."""
    for name in COLLECTIONS:
        database.drop_collection(name)
        database.create_collection(name)
        if documents.get(name):
            database[name].insert_many(documents[name])
