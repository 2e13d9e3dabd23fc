"""Users, their skill trees, who knows whom, and points of progress: the auth service's four collections."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

from bson.binary import Binary
from bson.code import Code
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

from demo.sample import values as v
from demo.sample.dirt import (
    MISSING,
    Dirt,
    Generator,
    Spot,
    document,
    element,
    extra,
    hex_reference,
    kept,
    misfit,
    no_owner,
    null,
    planted,
    tricky,
    twin_id,
)
from demo.sample.values import Document
from demo.sample.world import END, World

ROLES = ("user", "mentor", "moderator", "admin", "beta-tester")
CONNECTION_TYPES = ("friend", "follower", "following", "teammate", "rival")
METRICS = ("focus_minutes", "tasks_completed", "commits", "reviews", "pages_read", "sleep_hours", "balance")
SKILLS = (
    "timeManagement", "taskOrganization", "focus", "planning", "coding", "debugging", "codeReview", "architecture",
    "writing", "design", "ideation", "storytelling", "research", "learning", "noteTaking", "knowledgeRetention",
    "collaboration", "communication", "leadership", "mentoring", "selfAwareness", "adaptability",
)  # fmt: skip
# Keys that a map may have and a column name may not: dots, dollars, quotes, nothing, over 63 bytes, other scripts.
ODD_KEYS = ("c++.templates", "$pricing", 'say "no"', "", "a-very-long-skill-name-" + "x" * 60, "שיתוף פעולה", "it's\ta\\key")


def user(world: World, rng: Random, index: int) -> Document:
    """An account with up to three sessions."""
    born = world.born("users", index)
    name, email = v.person(index)
    doc: Document = {"_id": world.object_id("users", index), "email": email, "password": v.password_hash(rng), "name": name}
    if v.chance(rng, 0.93):
        doc["roles"] = ["user", *rng.sample(ROLES[1:], k=int(rng.random() ** 3 * 3))]
    if v.chance(rng, 0.9):
        doc["isActive"] = rng.random() < 0.95
    if v.chance(rng, 0.4):
        doc["profilePicture"] = f"https://cdn.example.com/avatars/{index}/{v.secret(rng, 12)}.webp"
    if v.chance(rng, 0.5):
        doc["bio"] = v.sentence(rng)
    if v.chance(rng, 0.7):
        doc["preferences"] = preferences(rng)
    doc["refreshTokens"] = [session(rng, v.between(rng, born)) for _ in range(int(rng.random() * 4))]
    doc["createdAt"] = born
    if v.chance(rng, 0.85):
        doc["updatedAt"] = v.between(rng, born)
    doc["__v"] = int(rng.random() * 4)
    return doc


def preferences(rng: Random) -> Document:
    """What the settings page stores: Mixed, nested."""
    return {
        "theme": v.pick(rng, ("dark", "light", "system")),
        "notifications": {"email": v.chance(rng, 0.5), "push": v.chance(rng, 0.8), "quietHours": [v.number(rng, 22), 7]},
        "locale": v.pick(rng, v.LOCALES),
        "dailyGoal": v.decimal(rng, 8),
    }


def session(rng: Random, moment: datetime) -> Document:
    """An element of `refreshTokens`."""
    fields = {"token": v.secret(rng, 64), "createdAt": moment, "expiresAt": moment + timedelta(days=30)}
    return v.sub_document(rng, moment, fields)


def skilltree(world: World, rng: Random, index: int) -> Document:
    """The one tree of its user, with the 22 known skills."""
    born = world.born("skilltrees", index)
    skills = {name: skill(rng) for name in SKILLS}
    changed = v.between(rng, born)
    return {
        "_id": world.object_id("skilltrees", index),
        "userId": world.one_per_user("skilltrees", index),
        "skills": skills,
        "skillPoints": v.below(rng, 120),
        "totalSkillLevel": v.number(rng, int(sum(one["level"] for one in skills.values()))),
        "lastUpdated": changed,
        "createdAt": born,
        "updatedAt": changed,
        "__v": 0,
    }


def skill(rng: Random) -> Document:
    """The value of one key of the skill map."""
    level = int(rng.random() ** 2 * 50)
    return {"level": level, "xp": v.number(rng, level * level * 100), "unlocked": level > 0}


def with_two_unknown_skills(spot: Spot) -> Document:
    """The 22 known skills and two that were added since."""
    return {**{name: skill(spot.rng) for name in SKILLS}, "promptCraft": skill(spot.rng), "publicSpeaking": skill(spot.rng)}


def with_odd_keys(spot: Spot) -> Document:
    """Three known skills and the keys that need care."""
    return {**{name: skill(spot.rng) for name in SKILLS[:3]}, **{name: skill(spot.rng) for name in ODD_KEYS}}


def pair(world: World, index: int) -> tuple[Any, Any]:
    """Who is connected to whom: a pair of its own for every loadable index."""
    rank, people = world.rank("socialconnections", index), world.loadable("users")
    one = rank % people
    other = (one + 1 + (one * 31 + rank // people) % (people - 1)) % people
    return world.reference("users", world.nth("users", one)), world.reference("users", world.nth("users", other))


def socialconnection(world: World, rng: Random, index: int) -> Document:
    """One user's side of a connection."""
    born = world.born("socialconnections", index)
    one, other = pair(world, index)
    doc: Document = {
        "_id": world.object_id("socialconnections", index),
        "userId": one,
        "connectedUserId": other,
        "connectionType": v.pick(rng, CONNECTION_TYPES),
        "status": v.pick(rng, ("accepted", "accepted", "accepted", "pending", "blocked")),
        "metadata": {},
        "createdAt": born,
        "updatedAt": v.later(rng, born),
        "__v": 0,
    }
    if v.chance(rng, 0.8):
        doc["metadata"]["mutualConnections"] = v.below(rng, 40)
    if v.chance(rng, 0.6):
        doc["metadata"]["sharedChallenges"] = v.below(rng, 12)
    if v.chance(rng, 0.7):
        doc["metadata"]["collaborationScore"] = v.decimal(rng)
    return doc


def progresspoint(world: World, rng: Random, index: int) -> Document:
    """One measurement of one user."""
    doc: Document = {
        "_id": world.object_id("progresspoints", index),
        "userId": world.some(rng, "users"),
        "timestamp": world.born("progresspoints", index),
        "metric": v.pick(rng, METRICS),
        "value": v.below(rng, 500) if v.chance(rng, 0.7) else v.decimal(rng, 100),
    }
    if v.chance(rng, 0.5):
        doc["metadata"] = {"source": v.pick(rng, ("web", "mobile", "import")), "window": [v.below(rng, 24), v.below(rng, 24)]}
    doc["__v"] = 0
    return doc


def bad_session(**fields: Any) -> Callable[[Spot], list[Document]]:
    """An array whose first session has these fields; a sound one follows it."""
    return lambda spot: [{**session(spot.rng, END), **fields}, session(spot.rng, END)]


def pair_before(spot: Spot) -> tuple[Any, Any]:
    """The pair of the connection before this one."""
    return pair(spot.world, spot.index - 1)


DIRT: dict[str, tuple[Dirt, ...]] = {
    "users": planted(
        "users",
        document("email", MISSING, "missing", "required"),
        document("email", lambda spot: v.person(spot.index - 1)[1], "another user's address", "duplicate_key"),
        document("email", None, "null", "required"),
        document("email", 42, "a number in a text column", "type_mismatch"),
        document("email", lambda spot: f"nul\x00{spot.index}@example.com", "U+0000 in a required text", "nul_character"),
        tricky("bio"),
        misfit("bio", "before\x00after", "U+0000 in a text", "nul_character", every=100),
        misfit("name", 1984, "a number in a text column"),
        misfit("password", Binary(b"$2b$10$" + b"x" * 53), "binary in a sensitive text column", every=100),
        misfit("profilePicture", ObjectId("5f000000000000000000a11a"), "an ObjectId in a text column"),
        misfit("isActive", "yes", "a text in a boolean column"),
        misfit("createdAt", "2025-02-30T10:00:00Z", "a date written as text", every=100),
        misfit("updatedAt", Timestamp(1_750_000_000, 1), "a BSON timestamp in a date column", every=100),
        misfit("preferences", {"motto": "nul \x00 inside"}, "U+0000 inside a jsonb column", "nul_character", every=100),
        misfit("roles", "admin", "a text where an array belongs", every=100),
        misfit("refreshTokens", {"token": "alone"}, "a document where an array belongs", every=100),
        misfit("refreshTokens", bad_session(expiresAt="2026-11-30"), "a date written as text, in an element", every=100),
        null("name"),
        null("updatedAt", None, "null"),
        null("roles", None, "null where an array belongs"),
        null("refreshTokens", MISSING, "no array"),
        kept("roles", [], "an empty array"),
        kept("preferences", lambda spot: v.deep(60), "a document 60 levels deep", every=200),
        kept("preferences", {"n": float("nan"), "up": float("inf"), "$set": {"a.b": -0.0}, "": 1}, "NaN, Infinity, odd keys"),
        element("roles", ["user", "mentor", "user"], "a repeated value", "duplicate_key"),
        element("roles", ["user", None], "null in an array of scalars", "required", every=100),
        element("roles", ["user", 7], "a number among texts", every=100),
        element("refreshTokens", lambda spot: [session(spot.rng, END), None, "token", 3], "null, text, number as elements"),
        extra("lastSeenIp", lambda spot: v.ip_address(spot.rng)),
        extra("legacy", {"importedFrom": "v1", "pattern": Regex("^a", "i"), "at": Timestamp(1, 1)}, every=100),
        extra("refreshTokens", bad_session(device="Pixel 8"), "an undeclared field in an element"),
    ),
    "skilltrees": planted(
        "skilltrees",
        *no_owner(),
        document("userId", lambda spot: spot.world.one_per_user("skilltrees", spot.index - 1), "a second tree", "duplicate_key"),
        hex_reference("userId"),
        kept("skills", with_two_unknown_skills, "22 known skills and two unknown"),
        kept("skills", with_odd_keys, "map keys with dots, dollars, quotes, over 63 bytes, empty", every=100),
        kept("skills", {}, "an empty map", every=100),
        null("skills", None, "null where a map belongs", every=100),
        null("skills", MISSING, "no map", every=100),
        misfit("skills", "none yet", "a text where a map belongs", every=100),
        misfit("skills", [], "an array where a map belongs", every=200),
        element("skills.focus", None, "null in place of a skill", every=100),
        element("skills.coding", 12, "a number in place of a skill", every=100),
        misfit("skills.planning.level", 3.5, "3.5 in an integer column", "not_integral"),
        misfit("skills.writing.level", Int64(3_000_000_000), "beyond int32 in an integer column", "out_of_range"),
        misfit("skills.design.xp", 1e19, "beyond int64 in a bigint column", "out_of_range", every=100),
        kept("skills.research.xp", Int64(9_007_199_254_740_993), "a bigint that no double holds"),
        misfit("skills.learning.unlocked", 1, "a number in a boolean column"),
        misfit("skillPoints", "12", "a number written as text"),
        misfit("totalSkillLevel", float("nan"), "NaN in an integer column", "out_of_range", every=100),
        misfit("lastUpdated", Int64(1_750_000_000_000), "milliseconds in a date column"),
        null("totalSkillLevel"),
        extra("skills.focus.badge", "gold", "an undeclared field in a map's document"),
        extra("season", ObjectId("5f0000000000000000005ea5")),
    ),
    "socialconnections": planted(
        "socialconnections",
        *no_owner(),
        document("connectedUserId", MISSING, "missing", "required"),
        document("connectedUserId", lambda spot: spot.world.ghost("users", spot.index), "a user who was deleted", "orphan"),
        document("userId, connectedUserId", pair_before, "a pair that is there already", "duplicate_key"),
        hex_reference("userId"),
        hex_reference("connectedUserId"),
        misfit("connectionType", "nemesis", "a value outside the enum", "enum"),
        misfit("status", "Accepted", "a value outside the enum by its capital", "enum", every=100),
        misfit("status", 2, "a number in an enum", every=100),
        misfit("metadata.mutualConnections", 2.5, "2.5 in an integer column", "not_integral"),
        misfit("metadata.sharedChallenges", "three", "a text in an integer column"),
        misfit("metadata.collaborationScore", Decimal128("0.75"), "a Decimal128 in a double column"),
        misfit("metadata", "none", "a text where a sub-document belongs", every=100),
        kept("metadata.collaborationScore", float("nan"), "NaN in a double column", every=100),
        null("metadata", None, "null where a sub-document belongs"),
        null("connectionType"),
        null("status", None, "null in an enum"),
        extra("metadata.sharedSeasons", 3, "an undeclared field in a sub-document"),
        extra("note", "met at the hackathon \U0001f91d"),
    ),
    "progresspoints": planted(
        "progresspoints",
        *no_owner(),
        twin_id("progresspoints"),
        hex_reference("userId"),
        tricky("metric"),
        misfit("value", "12.5", "a number written as text"),
        misfit("value", Decimal128("12.50"), "a Decimal128 in a double column", every=100),
        misfit("value", Int64(9_007_199_254_740_993), "an int64 that no double holds", "inexact", every=100),
        misfit("metric", Code("tasks.length"), "code in a text column", every=200),
        misfit("metadata", {"label": "\x00"}, "U+0000 inside a jsonb column", "nul_character", every=200),
        kept("value", float("-inf"), "-Infinity in a double column", every=200),
        kept("value", -0.0, "-0.0 in a double column", every=200),
        kept("metadata", lambda spot: v.every_type(), "a value of every BSON type", every=100),
        kept("metadata", [1, "two", None], "an array in a jsonb column", every=100),
        kept("metadata", "just text", "a text in a jsonb column", every=100),
        null("value", None, "null"),
        null("timestamp", every=200),
        extra("unit", "minutes"),
    ),
}
GENERATORS: dict[str, Generator] = {
    "users": user,
    "skilltrees": skilltree,
    "socialconnections": socialconnection,
    "progresspoints": progresspoint,
}
