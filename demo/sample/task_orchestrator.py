"""Tasks, their history, and which waits for which: the task orchestrator's three collections."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Any

from bson.decimal128 import Decimal128
from bson.int64 import Int64

from demo.sample import values as v
from demo.sample.dirt import (
    MISSING,
    Dirt,
    Generator,
    Spot,
    document,
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
from demo.sample.world import World

TYPES = ("manual", "notion", "trello", "github", "google_docs", "pdf", "code", "study", "creative")
STATUSES = ("pending", "in_progress", "completed", "cancelled")
PRIORITIES = ("low", "medium", "high", "urgent")
TAGS = ("deep-work", "home", "thesis", "sprint-14", "übung", "read/later", "p1", "with space", 'quoted "tag"', "{braces}")
DEPENDENCY_TYPES = ("blocks", "precedes", "related", "subtask")
# Six tasks in turn have one, two, two, three, three and four versions: which task and which version a place is.
VERSIONS = tuple((task, version) for task, versions in enumerate((1, 2, 2, 3, 3, 4)) for version in range(1, versions + 1))
# Within a group of four tasks of one user: which waits for which.
DEPENDENCIES = ((1, 0), (2, 1), (3, 2), (3, 0))


def owner(world: World, rank: int) -> Any:
    """Whose task it is: four in a row belong to one user."""
    return world.owner(rank // 4)


def task(world: World, rng: Random, index: int) -> Document:
    """A task; one of two came from another tool and says from where."""
    born, kind, status = world.born("tasks", index), v.pick(rng, TYPES), v.pick(rng, STATUSES)
    doc: Document = {
        "_id": world.object_id("tasks", index),
        "userId": owner(world, world.rank("tasks", index)),
        "title": v.title(rng),
        "type": kind,
        "status": status,
        "priority": v.pick(rng, PRIORITIES),
    }
    if v.chance(rng, 0.6):
        doc["description"] = v.sentence(rng, 14)
    if v.chance(rng, 0.5):
        doc["dueDate"] = v.later(rng, born, 40)
    if v.chance(rng, 0.6):
        doc["estimatedDuration"] = v.number(rng, 15 * (1 + int(rng.random() * 16)))
    if v.chance(rng, 0.7):
        doc["tags"] = rng.sample(TAGS, k=int(rng.random() * 4))
    if kind not in ("manual", "study"):
        doc["metadata"] = source(rng, kind)
    if v.chance(rng, 0.12):
        doc["challengeId"] = world.some(rng, "challenges")
    if status == "completed":
        doc["completionData"] = {
            "completedAt": v.between(rng, born),
            "actualDuration": v.below(rng, 300),
            "efficiency": v.decimal(rng, 1.5),
        }
        if v.chance(rng, 0.3):
            doc["completionData"]["notes"] = v.sentence(rng)
    doc["createdAt"], doc["updatedAt"], doc["__v"] = born, v.between(rng, born), int(rng.random() * 6)
    return doc


def source(rng: Random, kind: str) -> Document:
    """Where an imported task came from, with what the other tool said of it."""
    number = 1 + int(rng.random() * 4_000)
    fields: Document = {"sourceId": f"{kind}-{number}", "sourceUrl": f"https://{kind.replace('_', '')}.example.com/items/{number}"}
    if kind in ("github", "code"):
        fields["sourceData"] = {
            "number": number,
            "state": v.pick(rng, ("open", "closed")),
            "labels": [{"name": "bug", "color": "d73a4a"}, {"name": "good first issue", "color": "7057ff"}],
            "repository": {"full_name": "octo-org/parser", "id": Int64(8_000_000_000 + number)},
            "milestone": None,
        }
    return fields


def versioned(index: int) -> tuple[int, int]:
    """The rank of the task, and the number of its version, that a place in the history stands for."""
    task_rank, version = VERSIONS[index % len(VERSIONS)]
    return index // len(VERSIONS) * 6 + task_rank, version


def version_key(world: World, index: int) -> tuple[Any, int]:
    """Task and version: a pair of its own for every loadable index."""
    rank, version = versioned(world.rank("taskversions", index))
    return world.reference("tasks", world.nth("tasks", rank)), version


def taskversion(world: World, rng: Random, index: int) -> Document:
    """One step in the history of a task."""
    rank, version = versioned(world.rank("taskversions", index))
    whose, born = owner(world, rank), world.born("taskversions", index)
    status, priority = v.pick(rng, STATUSES), v.pick(rng, PRIORITIES)
    changes: Document = {"title": v.title(rng)} if version == 1 else {"status": status, "tags": rng.sample(TAGS, k=2)}
    if v.chance(rng, 0.3):
        changes["dueDate"] = born + timedelta(days=14)
    doc: Document = {
        "_id": world.object_id("taskversions", index),
        "taskId": version_key(world, index)[0],
        "version": v.number(rng, version),
        "userId": whose,
        "changes": changes,
        "changeType": "create" if version == 1 else v.pick(rng, ("update", "update", "update", "delete", "restore")),
        "changedBy": whose if v.chance(rng, 0.9) else world.some(rng, "users"),
    }
    if v.chance(rng, 0.3):
        doc["changeReason"] = v.sentence(rng, 5)
    doc["snapshot"] = {"title": v.title(rng), "status": status, "priority": priority, "userId": whose, "at": born, "__v": version}
    doc["createdAt"], doc["__v"] = born, 0
    return doc


def dependency_key(world: World, index: int) -> tuple[Any, Any]:
    """The task that waits and the one it waits for: a pair of its own for every loadable index."""
    group, place = divmod(world.rank("taskdependencies", index), len(DEPENDENCIES))
    waits, first = (world.nth("tasks", 4 * group + offset) for offset in DEPENDENCIES[place])
    return world.reference("tasks", waits), world.reference("tasks", first)


def taskdependency(world: World, rng: Random, index: int) -> Document:
    """One task that waits for another of the same user."""
    waits, first = dependency_key(world, index)
    return {
        "_id": world.object_id("taskdependencies", index),
        "taskId": waits,
        "dependsOn": first,
        "dependencyType": v.pick(rng, DEPENDENCY_TYPES),
        "userId": world.owner(world.rank("taskdependencies", index) // len(DEPENDENCIES)),
        "createdAt": world.born("taskdependencies", index),
        "__v": 0,
    }


def ghost_task(spot: Spot) -> Any:
    """The id of a task that was deleted."""
    return spot.world.ghost("tasks", spot.index)


DIRT: dict[str, tuple[Dirt, ...]] = {
    "tasks": planted(
        "tasks",
        *no_owner(),
        document("userId", "deleted-user", "a text that nobody has as _id", "orphan"),
        hex_reference("userId"),
        ghost_reference("challengeId", "challenges"),
        kept("challengeId", lambda s: str(s.world.object_id("challenges", 0)), "a reference as a 24-hex string", every=100),
        misfit("challengeId", [], "an array where a reference belongs", every=200),
        tricky("title"),
        tricky("description"),
        null("title", None, "null"),
        misfit("title", "nul \x00 inside", "U+0000 in a text", "nul_character", every=100),
        misfit("type", "jira", "a value outside the enum", "enum"),
        misfit("status", "done", "a value outside the enum", "enum"),
        misfit("priority", 1, "a number in an enum", every=100),
        misfit("dueDate", "next Friday", "a text in a date column"),
        misfit("estimatedDuration", 3.5, "3.5 in an integer column", "not_integral"),
        misfit("estimatedDuration", Int64(2_147_483_648), "beyond int32 in an integer column", "out_of_range", every=100),
        misfit("estimatedDuration", "45 min", "a text in an integer column", every=100),
        kept("estimatedDuration", -2_147_483_648, "the smallest integer", every=200),
        kept("tags", [], "an empty array"),
        kept("tags", ["", "NULL", "a,b", '"', "\\", "{}", "🚀", "line\nbreak"], "array elements that need quoting"),
        misfit("tags", "urgent", "a text where an array belongs", every=100),
        misfit("tags", ["home", None], "null in a text[] column", "required", every=100),
        misfit("tags", ["home", 5], "a number in a text[] column", every=100),
        misfit("tags", [["home"]], "an array inside a text[] column", every=100),
        misfit("tags", ["ok", "no\x00"], "U+0000 in a text[] column", "nul_character", every=200),
        null("tags", None, "null where an array belongs"),
        null("metadata", None, "null where a sub-document belongs"),
        misfit("metadata", "github", "a text where a sub-document belongs", every=100),
        kept("metadata.sourceData", lambda s: v.every_type(), "a value of every BSON type", every=100),
        kept("metadata.sourceData", "plain", "a text in a jsonb column", every=100),
        misfit("metadata.sourceId", 4711, "a number in a text column"),
        misfit("completionData", [], "an array where a sub-document belongs", every=100),
        misfit("completionData.actualDuration", Decimal128("30"), "a Decimal128 in a double column", every=100),
        kept("completionData.efficiency", float("nan"), "NaN in a double column", every=100),
        extra("metadata.syncedBy", "zapier", "an undeclared field in a sub-document"),
        extra("color", "#ffcc00"),
        null("updatedAt", every=100),
    ),
    "taskversions": planted(
        "taskversions",
        *no_owner(),
        document("taskId", MISSING, "missing", "required"),
        document("version", MISSING, "missing", "required"),
        document("version", "2", "a number written as text", "type_mismatch"),
        document("version", 1.5, "1.5 in an integer column", "not_integral"),
        document("taskId, version", lambda s: version_key(s.world, s.index - 1), "a version that is there", "duplicate_key"),
        hex_reference("userId"),
        hex_reference("taskId"),
        hex_reference("changedBy"),
        ghost_reference("changedBy", "users"),
        kept("taskId", ghost_task, "a task that was deleted: history outlives it"),
        null("changedBy"),
        null("changes", None, "null in a jsonb column"),
        kept("changes", {}, "an empty document"),
        kept("changes", "renamed", "a text in a jsonb column", every=100),
        misfit("changes", {"title": "\x00"}, "U+0000 inside a jsonb column", "nul_character", every=100),
        misfit("changeType", "archive", "a value outside the enum", "enum"),
        misfit("changeReason", 5, "a number in a text column"),
        tricky("changeReason"),
        kept("snapshot", lambda s: v.every_type(), "a value of every BSON type"),
        kept(
            "snapshot", lambda s: {"text": v.TRICKY_TEXTS, "$oid": "5f", "a.b": {"$date": 1}}, "keys that look like Extended JSON"
        ),
        kept("snapshot", lambda s: {"lines": [v.sentence(s.rng) for _ in range(4_000)]}, "a quarter of a megabyte", every=1_000),
        null("snapshot"),
        misfit("createdAt", 1_750_000_000_000.0, "milliseconds in a date column", every=100),
        extra("client", {"name": "cli", "version": "2.1.0"}),
    ),
    "taskdependencies": planted(
        "taskdependencies",
        *no_owner(2),
        document("taskId", ghost_task, "a task that was deleted", "orphan"),
        document("dependsOn", ghost_task, "a task that was deleted", "orphan"),
        document("dependsOn", MISSING, "missing", "required"),
        document("taskId, dependsOn", lambda s: dependency_key(s.world, s.index - 1), "a pair that is there", "duplicate_key"),
        hex_reference("userId"),
        hex_reference("taskId"),
        hex_reference("dependsOn"),
        misfit("dependencyType", "requires", "a value outside the enum", "enum"),
        null("dependencyType"),
        misfit("createdAt", "2025-11-02", "a date written as text"),
        null("createdAt", None, "null", every=100),
        extra("weight", 0.5),
    ),
}
GENERATORS: dict[str, Generator] = {"tasks": task, "taskversions": taskversion, "taskdependencies": taskdependency}
