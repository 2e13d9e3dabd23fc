"""Challenges and who takes part: the challenge service's one collection."""

from __future__ import annotations

from datetime import datetime
from random import Random

from bson.decimal128 import Decimal128
from bson.int64 import Int64

from demo.sample import values as v
from demo.sample.dirt import (
    Dirt,
    Generator,
    Spot,
    element,
    extra,
    ghost_reference,
    hex_reference,
    kept,
    misfit,
    no_owner,
    null,
    planted,
    tricky,
)
from demo.sample.values import Document
from demo.sample.world import END, World

TYPES = ("quiz", "puzzle", "coding_challenge", "timed_completion", "streak", "multiplayer", "custom")
DIFFICULTIES = ("easy", "medium", "hard", "adaptive")
STATUSES = ("pending", "active", "completed", "failed", "expired")
TAKING_PART = ("invited", "joined", "completed", "withdrawn")


def challenge(world: World, rng: Random, index: int) -> Document:
    """A challenge with up to five participants; half of them belong to a task."""
    born, kind, status = world.born("challenges", index), v.pick(rng, TYPES), v.pick(rng, STATUSES)
    doc: Document = {
        "_id": world.object_id("challenges", index),
        "userId": world.some(rng, "users"),
        "type": kind,
        "title": v.title(rng),
        "difficulty": v.pick(rng, DIFFICULTIES),
        "difficultyScore": v.decimal(rng, 10) if v.chance(rng, 0.7) else v.below(rng, 10),
        "status": status,
        "pointsReward": v.below(rng, 500),
        "bonusMultiplier": v.pick(rng, (1, 1.5, 2.0)),
        "participants": [participant(world, rng, born) for _ in range(int(rng.random() * 6))],
        "aiGenerated": v.chance(rng, 0.4),
    }
    if v.chance(rng, 0.5):
        doc["taskId"] = world.some(rng, "tasks")
    if v.chance(rng, 0.7):
        doc["description"], doc["configuration"] = v.sentence(rng, 12), configuration(rng, kind)
    if status == "completed":
        doc["completionData"] = {
            "completedAt": v.between(rng, born),
            "completionTime": v.below(rng, 3_600),
            "score": v.decimal(rng, 100),
            "accuracy": v.decimal(rng),
            "attemptsUsed": v.below(rng, 4),
            "hintsUsed": 0,
        }
    if doc["aiGenerated"]:
        doc["aiMetadata"] = {"model": "quiz-maker-3", "prompt": v.sentence(rng, 8), "generationTime": v.below(rng, 9_000)}
    if v.chance(rng, 0.5):
        doc["expiresAt"] = v.later(rng, born, 60)
    doc["createdAt"], doc["updatedAt"], doc["__v"] = born, v.between(rng, born), 1
    return doc


def configuration(rng: Random, kind: str) -> Document:
    """The rules of the game, different for each type."""
    rules: Document = {"timeLimit": v.number(rng, 900), "attempts": 3, "hints": [v.sentence(rng, 4)]}
    if kind == "quiz":
        question = {"question": "What is 2 + 2?", "options": ["3", "4", "22", "¼"], "correctAnswer": 1, "points": v.number(rng, 10)}
        return rules | {"questions": [question] * 2}
    if kind == "coding_challenge":
        return rules | {
            "codeTemplate": "def add(a, b):\n\treturn …",
            "testCases": ["assert add(1, 1) == 2", "assert add('a', \"b\")"],
        }
    return rules | {"puzzleData": {"grid": [[1, 0, None], [0, 1, 0.5]], "seed": Int64(2**40)}} if kind == "puzzle" else rules


def participant(world: World, rng: Random, born: datetime) -> Document:
    """An element of `participants`."""
    status = v.pick(rng, TAKING_PART)
    fields: Document = {"userId": world.some(rng, "users"), "status": status, "attempts": v.below(rng, 5)}
    if status != "invited":
        fields["joinedAt"] = v.later(rng, born, 3)
    if status == "completed":
        fields |= {"completedAt": v.later(rng, born), "score": v.decimal(rng, 100), "answers": [1, {"free": "text"}, None]}
    return v.sub_document(rng, born, fields)


def someone(spot: Spot, **fields: object) -> Document:
    """A participant with these fields."""
    return {**participant(spot.world, spot.rng, END), **fields}


def twice(spot: Spot) -> list[Document]:
    """One user who takes part twice, and somebody between."""
    user = spot.world.some(spot.rng, "users")
    return [someone(spot, userId=user, status="withdrawn"), someone(spot), someone(spot, userId=user, status="joined")]


DIRT: dict[str, tuple[Dirt, ...]] = {
    "challenges": planted(
        "challenges",
        *no_owner(),
        hex_reference("userId"),
        ghost_reference("taskId", "tasks"),
        kept("taskId", lambda s: str(s.world.object_id("tasks", 0)), "a reference as a 24-hex string"),
        kept("participants", twice, "one user twice"),
        kept("participants", [], "an empty array"),
        null("participants", None, "null where an array belongs", every=100),
        null("participants", what="no array", every=100),
        misfit("participants", lambda s: {"0": someone(s)}, "a document where an array belongs", every=100),
        element("participants", lambda s: [someone(s), None, "ann@example.com"], "null and a text as elements"),
        misfit("participants", lambda s: [someone(s, userId=s.world.ghost("users", s.index))], "nobody, in an element", "orphan"),
        kept(
            "participants", lambda s: [someone(s, userId=str(s.world.object_id("users", 0)))], "a 24-hex reference, in an element"
        ),
        null("participants", lambda s: [someone(s, userId=None)], "no user, in an element"),
        misfit("participants", lambda s: [someone(s, status="banned")], "outside the enum, in an element", "enum"),
        misfit("participants", lambda s: [someone(s, score="9/10")], "a text in a double column, in an element"),
        extra("participants", lambda s: [someone(s, team="red")], "an undeclared field in an element"),
        misfit("type", "duel", "a value outside the enum", "enum"),
        misfit("difficulty", 3, "a number in an enum"),
        misfit("difficultyScore", Decimal128("7.5"), "a Decimal128 in a double column"),
        kept("bonusMultiplier", float("nan"), "NaN in a double column"),
        tricky("title"),
        null("configuration", None, "null in a jsonb column"),
        kept("configuration", lambda s: v.every_type(), "a value of every BSON type"),
        misfit("configuration", {"hints": ["\x00"]}, "U+0000 inside a jsonb column", "nul_character", every=100),
        misfit("completionData.attemptsUsed", 2.5, "2.5 in an integer column", "not_integral"),
        misfit("completionData", "won", "a text where a sub-document belongs", every=100),
        extra("completionData.rank", 3, "an undeclared field in a sub-document"),
        misfit("aiMetadata.model", 3, "a number in a text column"),
        misfit("aiGenerated", "true", "a text in a boolean column"),
        misfit("expiresAt", "never", "a text in a date column"),
        extra("visibility", "friends"),
    ),
}
GENERATORS: dict[str, Generator] = {"challenges": challenge}
