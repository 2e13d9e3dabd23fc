"""Objectives, odysseys and seasons: engagement's cycle. What one says of another, the other says of it.

A season lists its odysseys, an odyssey its objectives, and each names its season and its odyssey in turn. All of it
follows from ranks: of four seasons in turn one has no odyssey and the others two, four and six; of five odysseys one
has no objective and the others one to four. What is left over belongs to nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from random import Random
from typing import Any

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

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

OBJECTIVE_STATUSES = ("draft", "active", "completed", "cancelled")
ODYSSEY_STATUSES = ("planning", "active", "completed", "paused", "cancelled")
SCALES = ("hours", "day", "week", "month", "custom")
SUGGESTIONS = ("task_breakdown", "optimization", "resource", "timeline")
STAGES = ("Setting out", "The long middle", "Last mile")
# Of each block: where the members of each place start, and where the last one ends.
SEASON_STARTS = (0, 0, 2, 6, 12)
ODYSSEY_STARTS = (0, 0, 1, 3, 6, 10)


def members(starts: tuple[int, ...], rank: int, limit: int) -> range:
    """The ranks of the members that the document with this rank has, as far as there are any."""
    block, place = divmod(rank, len(starts) - 1)
    first = block * starts[-1]
    return range(min(first + starts[place], limit), min(first + starts[place + 1], limit))


def holder(starts: tuple[int, ...], member: int, limit: int) -> int | None:
    """The rank of the document that has this member; None where there is none."""
    block, offset = divmod(member, starts[-1])
    place = next(place for place in range(len(starts) - 1) if starts[place] <= offset < starts[place + 1])
    rank = block * (len(starts) - 1) + place
    return rank if rank < limit else None


def season_of(world: World, odyssey_rank: int) -> int | None:
    """The rank of an odyssey's season."""
    return holder(SEASON_STARTS, odyssey_rank, world.loadable("seasons"))


def odyssey_of(world: World, objective_rank: int) -> int | None:
    """The rank of an objective's odyssey."""
    return holder(ODYSSEY_STARTS, objective_rank, world.loadable("odysseys"))


def season_owner(world: World, rank: int) -> Any:
    """Whose season it is."""
    return world.owner(1_000_000_000 + rank)


def odyssey_owner(world: World, rank: int) -> Any:
    """Whose odyssey it is: whoever owns the season."""
    season = season_of(world, rank)
    return world.owner(2_000_000_000 + rank) if season is None else season_owner(world, season)


def objective_owner(world: World, rank: int) -> Any:
    """Whose objective it is: whoever owns the odyssey."""
    odyssey = odyssey_of(world, rank)
    return world.owner(3_000_000_000 + rank) if odyssey is None else odyssey_owner(world, odyssey)


def links(world: World, collection: str, ranks: range) -> list[Any]:
    """References to the documents with these ranks."""
    return [world.reference(collection, world.nth(collection, rank)) for rank in ranks]


def objective(world: World, rng: Random, index: int) -> Document:
    """A goal with subtasks and suggestions; two of three belong to an odyssey."""
    born, rank = world.born("objectives", index), world.rank("objectives", index)
    odyssey_rank, status = odyssey_of(world, rank), v.pick(rng, OBJECTIVE_STATUSES)
    doc: Document = {
        "_id": world.object_id("objectives", index),
        "userId": objective_owner(world, rank),
        "title": v.title(rng),
        "status": status,
        "momentumReward": v.below(rng, 200),
        "subtasks": [subtask(rng, born, number) for number in range(int(rng.random() * 4))],
        "aiSuggestions": [suggestion(rng, born) for _ in range(int(rng.random() * 3))],
        "completionData": {"momentumEarned": v.below(rng, 200), "autoDetected": v.chance(rng, 0.3)},
    }
    if v.chance(rng, 0.5):
        doc["description"] = v.sentence(rng, 12)
    if v.chance(rng, 0.5):
        doc["deadline"] = v.later(rng, born, 60)
    if status == "completed":
        doc["completionData"] |= {"completedAt": v.between(rng, born), "actualDuration": v.decimal(rng, 300)}
    if odyssey_rank is not None:
        doc["odysseyId"] = links(world, "odysseys", range(odyssey_rank, odyssey_rank + 1))[0]
        season = season_of(world, odyssey_rank)
        if season is not None:
            doc["seasonId"] = links(world, "seasons", range(season, season + 1))[0]
    if v.chance(rng, 0.3):
        doc["metadata"] = {"estimate": {"low": v.number(rng, 1), "high": v.decimal(rng, 20)}, "labels": ["q3", "🧭"]}
    doc["createdAt"], doc["updatedAt"], doc["__v"] = born, v.between(rng, born), 0
    return doc


def subtask(rng: Random, born: datetime, number: int) -> Document:
    """An element of `subtasks`."""
    fields = {"id": f"st-{number}", "title": v.title(rng), "completed": v.chance(rng, 0.5), "momentumReward": v.below(rng, 20)}
    return v.sub_document(rng, born, fields)


def suggestion(rng: Random, born: datetime) -> Document:
    """An element of `aiSuggestions`."""
    fields = {"suggestion": v.sentence(rng), "type": v.pick(rng, SUGGESTIONS), "confidence": v.decimal(rng)}
    return v.sub_document(rng, born, fields)


def odyssey(world: World, rng: Random, index: int) -> Document:
    """A longer way with milestones and stages; nine of ten belong to a season."""
    born, rank = world.born("odysseys", index), world.rank("odysseys", index)
    objectives = links(world, "objectives", members(ODYSSEY_STARTS, rank, world.loadable("objectives")))
    milestones = [milestone(rng, born, number) for number in range(int(rng.random() * 4))]
    season, done = season_of(world, rank), sum(one["completed"] for one in milestones)
    doc: Document = {
        "_id": world.object_id("odysseys", index),
        "userId": odyssey_owner(world, rank),
        "title": v.title(rng),
        "description": v.sentence(rng, 15),
        "scale": v.pick(rng, SCALES),
        "status": v.pick(rng, ODYSSEY_STATUSES),
        "objectives": objectives,
        "milestones": milestones,
        "progress": {
            "objectivesCompleted": v.below(rng, len(objectives) + 1),
            "totalObjectives": len(objectives),
            "milestonesCompleted": done,
            "totalMilestones": len(milestones),
            "progressPercentage": round(100 * done / len(milestones), 2) if milestones else 0,
        },
        "aiGeneratedBrief": {"summary": v.sentence(rng, 20), "generatedAt": born},
        "progressMap": {"currentStage": "s1", "stages": [stage(rng, born, number) for number in range(len(STAGES))]},
        "startDate": born,
    }
    if v.chance(rng, 0.4):
        doc["organizationId"] = ObjectId(f"5f0000000000000000{int(rng.random() * 9):06x}")
    if v.chance(rng, 0.5):
        doc["minimumHoursBeforeSelection"] = v.number(rng, 4)
    if v.chance(rng, 0.6):
        doc["endDate"] = v.later(rng, born, 90)
    if season is not None:
        doc["seasonId"] = links(world, "seasons", range(season, season + 1))[0]
    doc["createdAt"], doc["updatedAt"], doc["__v"] = born, v.between(rng, born), 2
    return doc


def milestone(rng: Random, born: datetime, number: int) -> Document:
    """An element of `milestones`."""
    done = v.chance(rng, 0.5)
    fields: Document = {"id": f"m{number}", "title": v.title(rng), "completed": done, "momentumReward": v.below(rng, 100)}
    return v.sub_document(
        rng, born, fields | ({"completedAt": v.later(rng, born)} if done else {"description": v.sentence(rng, 6)})
    )


def stage(rng: Random, born: datetime, number: int) -> Document:
    """An element of `progressMap.stages`."""
    done = v.chance(rng, 0.4)
    fields: Document = {"stageId": f"s{number}", "name": STAGES[number], "completed": done}
    return v.sub_document(rng, born, fields | ({"completedAt": v.later(rng, born)} if done else {}))


def season(world: World, rng: Random, index: int) -> Document:
    """A quarter with its odysseys and the people who gave most."""
    born, rank = world.born("seasons", index), world.rank("seasons", index)
    doc: Document = {
        "_id": world.object_id("seasons", index),
        "userId": season_owner(world, rank),
        "name": f"Season {index + 1} ☀️",
        "startDate": born,
        "endDate": born + timedelta(days=91),
        "sprintCycle": v.pick(rng, ("1w", "2w", "3w")),
        "status": v.pick(rng, ("upcoming", "active", "completed")),
        "odysseys": links(world, "odysseys", members(SEASON_STARTS, rank, world.loadable("odysseys"))),
        "seasonBoosts": {"enabled": v.chance(rng, 0.5), "boostType": "focus", "multiplier": v.pick(rng, (1, 1.25, 1.5, 2))},
        "highlights": {
            "totalMomentumEarned": v.below(rng, 2_000_000),
            "objectivesCompleted": v.below(rng, 40),
            "odysseysCompleted": v.below(rng, 7),
            "topContributors": [contributor(world, rng, born) for _ in range(int(rng.random() * 5))],
        },
    }
    if v.chance(rng, 0.5):
        doc["description"], doc["organizationId"] = v.sentence(rng, 12), ObjectId("5f0000000000000000000007")
        doc["highlights"] |= {"highlightsReel": f"https://cdn.example.com/reels/{index}.mp4", "generatedAt": doc["endDate"]}
    doc["createdAt"], doc["updatedAt"], doc["__v"] = born, v.between(rng, born), 0
    return doc


def contributor(world: World, rng: Random, born: datetime) -> Document:
    """An element of `highlights.topContributors`; half of them with a name."""
    fields: Document = {"userId": world.some(rng, "users"), "momentum": v.below(rng, 90_000)}
    if v.chance(rng, 0.5):
        fields["name"] = v.person(int(rng.random() * 500))[0]
    return v.sub_document(rng, born, fields)


def lost_members(field: str, collection: str) -> Callable[[Spot], list[Any]]:
    """The list that is there, and at its end a document that was deleted and one that must be rejected."""
    return lambda spot: [
        *spot.document[field],
        spot.world.ghost(collection, spot.index),
        spot.world.rejected(collection, 0),
    ]


def as_text(field: str) -> Callable[[Spot], list[Any]]:
    """The references that are there, as 24-hex strings (an odd `_id` stays)."""
    return lambda spot: [str(one) if isinstance(one, ObjectId) else one for one in spot.document[field]]


def deleted_contributor(spot: Spot) -> list[Document]:
    """Two contributors, of whom the second was deleted."""
    gone = {**contributor(spot.world, spot.rng, END), "userId": spot.world.ghost("users", spot.index)}
    return [contributor(spot.world, spot.rng, END), gone]


DIRT: dict[str, tuple[Dirt, ...]] = {
    "objectives": planted(
        "objectives",
        *no_owner(),
        hex_reference("userId"),
        kept("odysseyId", lambda s: str(s.world.object_id("odysseys", 0)), "a reference as a 24-hex string"),
        ghost_reference("odysseyId", "odysseys"),
        ghost_reference("seasonId", "seasons"),
        misfit("seasonId", [], "an array where a reference belongs", every=100),
        tricky("title"),
        null("title", every=100),
        misfit("description", {"text": "x"}, "a document in a text column"),
        misfit("status", "archived", "a value outside the enum", "enum"),
        misfit("momentumReward", "50", "a number written as text"),
        misfit("momentumReward", Decimal128("50"), "a Decimal128 in a double column", every=100),
        misfit("deadline", "2025-12-24", "a date written as text"),
        element("subtasks", lambda s: [None, subtask(s.rng, END, 1), "call Ann"], "null and a text as elements"),
        misfit("subtasks", lambda s: [{**subtask(s.rng, END, 1), "id": 1}], "a number in a text column, in an element"),
        misfit("subtasks", "call Ann", "a text where an array belongs", every=100),
        null("subtasks", None, "null where an array belongs", every=100),
        extra("subtasks", lambda s: [{**subtask(s.rng, END, 1), "assignee": "Ann"}], "an undeclared field in an element"),
        misfit("aiSuggestions", lambda s: [{**suggestion(s.rng, END), "type": "joke"}], "outside the enum, in an element", "enum"),
        kept("aiSuggestions", lambda s: [{**suggestion(s.rng, END), "confidence": float("nan")}], "NaN in an element", every=100),
        null("aiSuggestions", what="no array"),
        misfit("completionData.autoDetected", "no", "a text in a boolean column"),
        null("completionData", None, "null where a sub-document belongs", every=100),
        kept("metadata", lambda s: v.every_type(), "a value of every BSON type", every=100),
        extra("effort", "L"),
    ),
    "odysseys": planted(
        "odysseys",
        *no_owner(2),
        element("objectives", lost_members("objectives", "objectives"), "a deleted and a rejected objective", "orphan"),
        kept("progressMap.stages", [], "an empty array"),
        null("progressMap.stages", what="no array"),
        null("progressMap.stages", None, "null where an array belongs"),
        misfit("progressMap.stages", "s1", "a text where an array belongs", every=100),
        null("progressMap", what="no sub-document", every=100),
        null("progressMap", None, "null where a sub-document belongs", every=100),
        misfit("progressMap", [], "an array where a sub-document belongs", every=100),
        element("progressMap.stages", lambda s: [None, stage(s.rng, END, 0), 1], "null and a number as elements"),
        extra("progressMap.stages", lambda s: [{**stage(s.rng, END, 0), "icon": "🏔"}], "an undeclared field in an element"),
        hex_reference("userId"),
        kept("objectives", as_text("objectives"), "references as 24-hex strings"),
        element("objectives", lambda s: [*s.document["objectives"], None], "null in an array of references", "required"),
        misfit("objectives", "all", "a text where an array belongs", every=100),
        null("objectives", None, "null where an array belongs", every=100),
        ghost_reference("seasonId", "seasons"),
        misfit("organizationId", "acme", "a text that is no id in a plain uuid column"),
        misfit("scale", "year", "a value outside the enum", "enum"),
        misfit("progress.progressPercentage", "50 %", "a text in a double column"),
        misfit("progress.totalObjectives", Int64(2**33), "beyond int32 in an integer column", "out_of_range"),
        misfit("minimumHoursBeforeSelection", [], "an array in a double column", every=100),
        misfit(
            "milestones", lambda s: [{**milestone(s.rng, END, 1), "completed": "yes"}], "a text in a boolean column, in an element"
        ),
        null("milestones", what="no array"),
        tricky("description"),
        misfit("endDate", "soon", "a text in a date column"),
        extra("aiGeneratedBrief.model", "brief-2", "an undeclared field in a sub-document"),
        null("aiGeneratedBrief", None, "null where a sub-document belongs"),
    ),
    "seasons": planted(
        "seasons",
        no_owner(2)[1],
        element("odysseys", lost_members("odysseys", "odysseys"), "a deleted and a rejected odyssey", "orphan"),
        hex_reference("userId"),
        kept("odysseys", as_text("odysseys"), "references as 24-hex strings"),
        null("odysseys", what="no array"),
        element("highlights.topContributors", lambda s: [None, contributor(s.world, s.rng, END)], "null as an element"),
        misfit("highlights.topContributors", deleted_contributor, "a reference to nothing, in an element", "orphan"),
        null("highlights.topContributors", None, "null where an array belongs"),
        extra("highlights.topContributors", lambda s: [{**contributor(s.world, s.rng, END), "avatar": "a.png"}], "in an element"),
        misfit("highlights.totalMomentumEarned", 0.5, "0.5 in a bigint column", "not_integral"),
        null("highlights", what="no sub-document"),
        kept("highlights.totalMomentumEarned", Int64(9_007_199_254_740_993), "a bigint that no double holds"),
        misfit("seasonBoosts.multiplier", "double", "a text in a double column"),
        kept("seasonBoosts.multiplier", float("nan"), "NaN in a double column"),
        misfit("status", "over", "a value outside the enum", "enum"),
        misfit("sprintCycle", 2, "a number in a text column"),
        tricky("name"),
        null("startDate", None, "null"),
        extra("theme", {"color": "#222"}),
    ),
}
GENERATORS: dict[str, Generator] = {"objectives": objective, "odysseys": odyssey, "seasons": season}
