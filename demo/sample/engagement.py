"""Momentum, streaks, boosts and rewards, and by way of `journeys` the three collections that refer to each other."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Any

from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

from demo.sample import journeys
from demo.sample import values as v
from demo.sample.dirt import (
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

MASTERIES = ("commits", "docs", "tasks", "reviews", "comments", "attendance", "featuresShipped", "designEdits")
ACHIEVEMENTS = (("first-light", "First light"), ("night-owl", "Night 🦉"), ("centurion", 'One "hundred"'), ("l'élan", "L'élan"))
STREAKS = ("daily", "weekly", "project", "pr", "healthy")
BOOSTS = ("focus", "velocity", "clarity", "debug", "cleanup")
BOOST_SOURCES = ("purchased", "streak_reward", "momentum_reward", "season_reward")
REWARDS = ("boost_credits", "momentum_bonus", "skip_day", "break_time", "custom")
REWARD_SOURCES = ("streak", "momentum", "season", "achievement", "manual")


def stamps(rng: Random, born: datetime) -> Document:
    """What Mongoose's `timestamps` and revision counter add at the end of a document."""
    return {"createdAt": born, "updatedAt": v.between(rng, born), "__v": int(rng.random() * 5)}


def momentum(world: World, rng: Random, index: int) -> Document:
    """What a user has gathered: levels reached, achievements, eight skills."""
    born, level = world.born("momenta", index), 1 + int(rng.random() ** 2 * 9)
    return {
        "_id": world.object_id("momenta", index),
        "userId": world.one_per_user("momenta", index),
        "totalMomentum": v.number(rng, level * 1_000 + int(rng.random() * 1_000)),
        "currentLevel": level,
        "momentumToNextLevel": v.below(rng, 1_000),
        "skillMastery": {name: int(rng.random() ** 3 * 400) for name in MASTERIES},
        "levelHistory": [reached(rng, born, number) for number in range(1, level + 1)],
        "achievements": [achievement(rng, born) for _ in range(int(rng.random() * 4))],
        "publicProfile": {
            "displayMomentum": v.chance(rng, 0.7),
            "showcaseAchievements": [v.pick(rng, ACHIEVEMENTS)[0] for _ in range(int(rng.random() * 3))],
            "resumeReferences": [f"https://cv.example.com/{index}"] if v.chance(rng, 0.2) else [],
        },
        **stamps(rng, born),
    }


def reached(rng: Random, born: datetime, level: int) -> Document:
    """An element of `levelHistory`."""
    moment = born + timedelta(days=7 * level, milliseconds=level * 137)
    return v.sub_document(rng, moment, {"level": level, "reachedAt": moment, "totalMomentum": v.number(rng, level * 1_000)})


def achievement(rng: Random, born: datetime) -> Document:
    """An element of `achievements`; half of them have a description."""
    (key, name), moment = v.pick(rng, ACHIEVEMENTS), v.later(rng, born)
    fields: Document = {"achievementId": key, "name": name, "unlockedAt": moment, "showcaseable": v.chance(rng, 0.5)}
    if v.chance(rng, 0.5):
        fields["description"] = v.sentence(rng, 6)
    return v.sub_document(rng, moment, fields)


def streak(world: World, rng: Random, index: int) -> Document:
    """The five streaks of a user; a project is named by a text."""
    born = world.born("streaks", index)
    doc: Document = {"_id": world.object_id("streaks", index), "userId": world.one_per_user("streaks", index)}
    for kind in STREAKS:
        current = int(rng.random() ** 2 * 60)
        doc[kind] = {"current": v.number(rng, current), "longest": current + int(rng.random() * 20), "canCashIn": current > 6}
    last = v.between(rng, born)
    year, week, _ = last.isocalendar()
    doc["daily"]["lastDate"] = last if v.chance(rng, 0.9) else None
    doc["weekly"]["lastWeek"] = f"{year}-W{week:02}" if v.chance(rng, 0.8) else None
    doc["project"]["projectId"] = v.pick(rng, ("proj-atlas", "5f3c0000000000000000beef", "42", None))
    doc["project"]["lastProjectDate"] = last if doc["project"]["projectId"] else None
    doc["pr"]["lastPRDate"] = last if v.chance(rng, 0.4) else None
    doc["healthy"]["lastHealthyDate"] = last if v.chance(rng, 0.6) else None
    doc["healthy"]["consecutiveDaysWithoutBurnout"] = v.below(rng, 90)
    doc["cashedInStreaks"] = [cashed(rng, born) for _ in range(int(rng.random() * 3))]
    return {**doc, **stamps(rng, born)}


def cashed(rng: Random, born: datetime) -> Document:
    """An element of `cashedInStreaks`."""
    moment, value = v.later(rng, born), 7 + int(rng.random() * 60)
    fields = {"streakType": v.pick(rng, STREAKS), "cashedAt": moment, "streakValue": value, "boostCreditsEarned": value // 7}
    return v.sub_document(rng, moment, fields)


def boost(world: World, rng: Random, index: int) -> Document:
    """The boosts of a user: running, used up, and what the settings allow."""
    born = world.born("boosts", index)
    return {
        "_id": world.object_id("boosts", index),
        "userId": world.one_per_user("boosts", index),
        "activeBoosts": [active(rng, born) for _ in range(int(rng.random() ** 2 * 3))],
        "boostCredits": v.below(rng, 30),
        "boostHistory": [used(rng, born) for _ in range(int(rng.random() * 5))],
        "settings": {
            "maxConcurrentBoosts": 2,
            "maxAutopilotTimePerDay": v.number(rng, 120),
            "autopilotTimeUsedToday": v.below(rng, 120),
            "lastAutopilotReset": v.between(rng, born),
        },
        **stamps(rng, born),
    }


def active(rng: Random, born: datetime) -> Document:
    """An element of `activeBoosts`; one of three carries metadata."""
    moment, minutes = v.between(rng, born), 15 * (1 + int(rng.random() * 8))
    fields: Document = {"boostType": v.pick(rng, BOOSTS), "activatedAt": moment}
    fields |= {"expiresAt": moment + timedelta(minutes=minutes), "duration": v.number(rng, minutes)}
    if v.chance(rng, 0.3):
        fields["metadata"] = {"trigger": v.pick(rng, ("calendar", "manual")), "strength": v.decimal(rng)}
    return v.sub_document(rng, moment, fields)


def used(rng: Random, born: datetime) -> Document:
    """An element of `boostHistory`."""
    moment, minutes = v.between(rng, born), 22.5 * (1 + int(rng.random() * 4))
    fields: Document = {"boostType": v.pick(rng, BOOSTS), "activatedAt": moment, "expiredAt": moment + timedelta(minutes=minutes)}
    fields |= {"duration": minutes, "creditsUsed": v.below(rng, 4), "source": v.pick(rng, BOOST_SOURCES)}
    return v.sub_document(rng, moment, fields)


def reward(world: World, rng: Random, index: int) -> Document:
    """Something earned: waiting, claimed or expired."""
    born, status, source = world.born("rewards", index), v.pick(rng, ("pending", "claimed", "expired")), v.pick(rng, REWARD_SOURCES)
    doc: Document = {
        "_id": world.object_id("rewards", index),
        "userId": world.some(rng, "users"),
        "rewardType": v.pick(rng, REWARDS),
        "amount": v.below(rng, 50) if v.chance(rng, 0.8) else v.decimal(rng, 5),
        "source": source,
        "description": v.sentence(rng, 5),
        "status": status,
    }
    if source != "manual":
        doc["sourceId"] = f"{source}-{index}"
    if status == "claimed":
        doc["claimedAt"] = v.later(rng, born)
    if v.chance(rng, 0.5):
        doc["expiresAt"] = born + timedelta(days=90)
    if v.chance(rng, 0.3):
        doc["metadata"] = {"campaign": "autumn", "weights": [v.decimal(rng), v.number(rng, 1)]}
    return {**doc, **stamps(rng, born)}


def second(collection: str) -> Dirt:
    """A second document of the user before it, in a collection that has one a user."""

    def owner_before(spot: Spot) -> Any:
        return spot.world.one_per_user(collection, spot.index - 1)

    return document("userId", owner_before, "a second document of one user", "duplicate_key")


DIRT: dict[str, tuple[Dirt, ...]] = {
    "momenta": planted(
        "momenta",
        *no_owner(),
        second("momenta"),
        hex_reference("userId"),
        kept("totalMomentum", Int64(9_007_199_254_740_993), "a bigint that no double holds"),
        misfit("totalMomentum", 1e19, "beyond int64 in a bigint column", "out_of_range", every=100),
        misfit("currentLevel", "seven", "a text in an integer column"),
        misfit("momentumToNextLevel", 0.5, "0.5 in a bigint column", "not_integral"),
        misfit("skillMastery.commits", Decimal128("12"), "a Decimal128 in an integer column", every=100),
        misfit("skillMastery.reviews", 4_294_967_296.0, "beyond int32 in an integer column", "out_of_range"),
        misfit("skillMastery", [1, 2], "an array where a sub-document belongs", every=100),
        null("skillMastery", what="no sub-document", every=100),
        extra("skillMastery.refactorings", 3, "an undeclared field in a sub-document"),
        element("levelHistory", lambda s: [reached(s.rng, END, 1), None, 2], "null and a number as elements"),
        null("levelHistory", None, "null where an array belongs", every=100),
        misfit("levelHistory", "none", "a text where an array belongs", every=100),
        misfit("levelHistory", lambda s: [{**reached(s.rng, END, 1), "level": "1"}], "a text in an integer column, in an element"),
        misfit("achievements", lambda s: [{**achievement(s.rng, END), "name": 7}], "a number in a text column, in an element"),
        extra("achievements", lambda s: [{**achievement(s.rng, END), "rarity": "epic"}], "an undeclared field in an element"),
        null("achievements", what="no array"),
        null("publicProfile", None, "null where a sub-document belongs", every=100),
        misfit("publicProfile.displayMomentum", "true", "a text in a boolean column"),
        misfit("publicProfile.showcaseAchievements", ["a", None], "null in a text[] column", "required", every=100),
        misfit("publicProfile.resumeReferences", {"url": "x"}, "a document where an array belongs", every=100),
        kept("publicProfile.resumeReferences", ["", "{}", 'a "b"', "\\"], "array elements that need quoting"),
    ),
    "streaks": planted(
        "streaks",
        *no_owner(),
        second("streaks"),
        hex_reference("userId"),
        kept("project.projectId", "5f3c0000000000000000beef", "24 hex digits in a text column: a text, no id"),
        misfit("project.projectId", ObjectId("5f3c0000000000000000beef"), "an ObjectId in a text column"),
        misfit("project", "none", "a text where a sub-document belongs", every=100),
        misfit("daily.current", "3", "a number written as text"),
        misfit("daily.lastDate", "2025-11-02", "a date written as text"),
        misfit("daily.canCashIn", 1, "a number in a boolean column"),
        null("daily", what="no sub-document"),
        null("weekly", None, "null where a sub-document belongs"),
        misfit("weekly.lastWeek", 202507, "a number in a text column"),
        misfit("weekly.longest", 2.5, "2.5 in an integer column", "not_integral"),
        misfit("healthy.consecutiveDaysWithoutBurnout", Int64(2**40), "beyond int32 in an integer column", "out_of_range"),
        extra("healthy.sleepHours", 7.5, "an undeclared field in a sub-document"),
        extra("monthly", {"current": 1, "longest": 2}, "a sixth streak"),
        element("cashedInStreaks", lambda s: [None, cashed(s.rng, END), "x"], "null and a text as elements"),
        misfit(
            "cashedInStreaks",
            lambda s: [{**cashed(s.rng, END), "streakType": "monthly"}],
            "outside the enum, in an element",
            "enum",
        ),
        null("cashedInStreaks", None, "null where an array belongs", every=100),
        misfit("cashedInStreaks", 0, "a number where an array belongs", every=100),
    ),
    "boosts": planted(
        "boosts",
        *no_owner(4),
        second("boosts"),
        hex_reference("userId"),
        misfit("boostCredits", 1.5, "1.5 in an integer column", "not_integral"),
        null("boostCredits", None, "null"),
        misfit("settings.maxConcurrentBoosts", "2", "a number written as text"),
        misfit("settings.lastAutopilotReset", 1_750_000_000, "seconds in a date column"),
        misfit("settings", True, "a boolean where a sub-document belongs", every=100),
        null("settings", what="no sub-document", every=100),
        extra("settings.sound", "chime", "an undeclared field in a sub-document"),
        element("activeBoosts", lambda s: [active(s.rng, END), None], "null as an element"),
        misfit("activeBoosts", lambda s: [{**active(s.rng, END), "boostType": "turbo"}], "outside the enum, in an element", "enum"),
        kept("activeBoosts", lambda s: [{**active(s.rng, END), "metadata": v.deep(40)}], "a deep document in an element"),
        misfit(
            "activeBoosts",
            lambda s: [{**active(s.rng, END), "metadata": {"n": "\x00"}}],
            "U+0000 inside jsonb",
            "nul_character",
            100,
        ),
        null("activeBoosts", what="no array"),
        element("boostHistory", lambda s: [3, used(s.rng, END), []], "a number and an array as elements"),
        misfit("boostHistory", lambda s: [{**used(s.rng, END), "duration": "long"}], "a text in a double column, in an element"),
        misfit(
            "boostHistory",
            lambda s: [{**used(s.rng, END), "source": None, "creditsUsed": 0.1}],
            "0.1 in an element",
            "not_integral",
        ),
        extra("boostHistory", lambda s: [{**used(s.rng, END), "refunded": False}], "an undeclared field in an element"),
        misfit("boostHistory", "[]", "a text where an array belongs", every=100),
        extra("autopilot", {"enabled": True}),
    ),
    "rewards": planted(
        "rewards",
        *no_owner(4),
        twin_id("rewards"),
        hex_reference("userId"),
        misfit("rewardType", "cash", "a value outside the enum", "enum"),
        null("source", None, "null in an enum"),
        misfit("status", ["pending"], "an array in an enum", every=100),
        misfit("amount", "10", "a number written as text"),
        misfit("amount", Decimal128("2.50"), "a Decimal128 in a double column", every=100),
        kept("amount", float("inf"), "Infinity in a double column", every=100),
        misfit("sourceId", ObjectId("5f3c0000000000000000beef"), "an ObjectId in a text column"),
        tricky("description"),
        misfit("claimedAt", "yesterday", "a text in a date column"),
        misfit("expiresAt", False, "a boolean in a date column", every=100),
        kept("metadata", lambda s: v.every_type(), "a value of every BSON type", every=100),
        kept("metadata", 0, "a number in a jsonb column", every=100),
        null("updatedAt"),
        extra("currency", "credits"),
    ),
    **journeys.DIRT,
}
GENERATORS: dict[str, Generator] = {
    "momenta": momentum,
    "streaks": streak,
    "boosts": boost,
    "rewards": reward,
    **journeys.GENERATORS,
}
