"""Notifications and the browsers that take them."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from bson.binary import Binary
from bson.decimal128 import Decimal128
from bson.int64 import Int64

from demo.sample import values as v
from demo.sample.dirt import (
    MISSING,
    Dirt,
    Generator,
    document,
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
from demo.sample.world import World

TYPES = ("level_up", "streak_at_risk", "challenge_invite", "task_due", "friend_request", "weekly_digest")
CHANNELS = ("push", "email", "sms", "in_app")
PRIORITIES = ("low", "medium", "high", "urgent")
STATUSES = ("pending", "sent", "delivered", "read", "failed")
PUSH_HOSTS = (
    "https://fcm.googleapis.com/fcm/send",
    "https://updates.push.services.mozilla.com/wpush/v2",
    "https://web.push.apple.com",
)


def notification(world: World, rng: Random, index: int) -> Document:
    """A message on its way: each later status has one more date."""
    born, status, kind = world.born("notifications", index), v.pick(rng, STATUSES), v.pick(rng, TYPES)
    doc: Document = {
        "_id": world.object_id("notifications", index),
        "userId": world.some(rng, "users"),
        "type": kind,
        "title": kind.replace("_", " ").capitalize() + v.pick(rng, ("", " 🎉", " ⏰")),
        "message": v.sentence(rng),
        "priority": v.pick(rng, PRIORITIES),
        "channels": rng.sample(CHANNELS, k=int(rng.random() * 4)),
        "status": status,
        "scheduledFor": born,
    }
    if v.chance(rng, 0.7):
        doc["data"] = {"points": v.below(rng, 100)}
        if kind == "friend_request":
            doc["data"] |= {"friendId": world.some(rng, "users"), "metadata": {"mutual": v.below(rng, 9), "via": ["search", None]}}
        elif kind == "level_up":
            doc["data"]["badge"] = "🥇 gold"
    for name, late in (("sentAt", 1), ("deliveredAt", 2), ("readAt", 3)):
        if status != "failed" and STATUSES.index(status) >= late:
            doc[name] = born + timedelta(seconds=31 * late, milliseconds=index % 1_000)
    if v.chance(rng, 0.4):
        doc["expiresAt"] = born + timedelta(days=7)
    doc["retryCount"] = v.number(rng, 3 if status == "failed" else 0)
    if status == "failed":
        doc["errorMessage"] = v.pick(rng, ("410 Gone", "timeout after 5000 ms", 'mailbox "full"\nsee log'))
    if v.chance(rng, 0.5):
        doc["metadata"] = {"source": "scheduler", "campaign": f"week-{index % 52}", "version": "2"}
    doc["createdAt"], doc["updatedAt"], doc["__v"] = born, v.later(rng, born), 0
    return doc


def endpoint(world: World, index: int) -> str:
    """Where a browser is reached: an address of its own for every index."""
    device = world.object_id("pushsubscriptions", index)
    return f"{PUSH_HOSTS[index % len(PUSH_HOSTS)]}/{device}:APA91b{index * 48_271 % 2_147_483_647:x}"


def pushsubscription(world: World, rng: Random, index: int) -> Document:
    """A browser of a user, with the keys that messages to it are encrypted with."""
    born = world.born("pushsubscriptions", index)
    doc: Document = {
        "_id": world.object_id("pushsubscriptions", index),
        "userId": world.some(rng, "users"),
        "endpoint": endpoint(world, index),
        "keys": {"p256dh": v.secret(rng, 87), "auth": v.secret(rng, 22)},
    }
    if v.chance(rng, 0.5):
        doc["expirationTime"] = born + timedelta(days=180) if v.chance(rng, 0.3) else None
    if v.chance(rng, 0.8):
        doc["userAgent"] = v.pick(rng, v.USER_AGENTS)
    doc["createdAt"], doc["updatedAt"], doc["__v"] = born, v.between(rng, born), 0
    return doc


DIRT: dict[str, tuple[Dirt, ...]] = {
    "notifications": planted(
        "notifications",
        *no_owner(),
        twin_id("notifications"),
        hex_reference("userId"),
        kept("channels", [], "an empty array"),
        null("channels", None, "null where an array belongs"),
        null("channels", what="no array"),
        misfit("channels", "push", "a text where an array belongs", every=100),
        misfit("channels", ["push", "fax"], "a value outside the enum, in an array", "enum"),
        misfit("channels", ["push", None], "null in a text[] column", "required", every=100),
        misfit("channels", ["push", 2], "a number in a text[] column", every=100),
        tricky("title"),
        tricky("message"),
        misfit("message", "nul \x00 inside", "U+0000 in a text", "nul_character", every=100),
        misfit("type", 3, "a number in a text column", every=100),
        misfit("priority", "critical", "a value outside the enum", "enum"),
        misfit("status", "READ", "a value outside the enum by its capitals", "enum", every=100),
        misfit("scheduledFor", "2025-11-02T10:00:00Z", "a date written as text"),
        misfit("sentAt", Int64(1_750_000_000_000), "milliseconds in a date column", every=100),
        misfit("retryCount", Decimal128("1"), "a Decimal128 in an integer column", every=100),
        misfit("retryCount", True, "a boolean in an integer column", every=100),
        misfit("errorMessage", {"code": 410}, "a document in a text column"),
        kept(
            "data",
            lambda s: {"friendId": str(s.world.ghost("users", 1)), "points": 2.5, "links": []},
            "references in a jsonb column",
        ),
        kept("data", lambda s: v.deep(50), "a document 50 levels deep", every=200),
        kept("data", "deeplink://tasks", "a text in a jsonb column", every=100),
        misfit("data", {"a\\u0000": ["\x00"]}, "U+0000 inside a jsonb column", "nul_character", every=100),
        misfit("metadata.version", 2, "a number in a text column"),
        null("metadata", None, "null where a sub-document belongs"),
        extra("metadata.experiment", "B", "an undeclared field in a sub-document"),
        extra("readBy", [{"device": "web"}, None]),
        null("updatedAt", every=100),
    ),
    "pushsubscriptions": planted(
        "pushsubscriptions",
        *no_owner(2),
        document("endpoint", MISSING, "missing", "required"),
        document("endpoint", lambda s: endpoint(s.world, s.index - 1), "an endpoint that is there", "duplicate_key"),
        document("endpoint", 410, "a number in a text column", "type_mismatch"),
        hex_reference("userId"),
        misfit("expirationTime", 1_750_000_000_000.0, "milliseconds in a date column"),
        misfit("keys.auth", Binary(b"\x00\x01\x02"), "binary in a sensitive text column"),
        misfit("keys", "p256dh:auth", "a text where a sensitive sub-document belongs", every=100),
        null("keys", what="no sub-document", every=100),
        null("keys.p256dh", None, "null"),
        extra("keys.encoding", "aes128gcm", "an undeclared field in a sensitive sub-document"),
        misfit("userAgent", ["Firefox"], "an array in a text column"),
        tricky("userAgent"),
        extra("platform", "web"),
    ),
}
GENERATORS: dict[str, Generator] = {"notifications": notification, "pushsubscriptions": pushsubscription}
