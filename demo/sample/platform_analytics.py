"""Events of everybody, also of those who never signed in: platform analytics' one collection, the largest of all."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from bson.decimal128 import Decimal128
from bson.int64 import Int64

from demo.sample import values as v
from demo.sample.dirt import Dirt, Generator, extra, ghost_reference, kept, misfit, null, planted, tricky, twin_id
from demo.sample.values import Document
from demo.sample.world import World

TYPES = ("page_view", "task_completed", "search", "login", "boost_activated", "error", "purchase")
PAGES = ("/", "/tasks", "/odysseys?tab=map", "/профиль", "/settings#privacy")


def analyticsevent(world: World, rng: Random, index: int) -> Document:
    """One event; a third of them without a user: half of these say so with null."""
    born, kind, draw = world.born("analyticsevents", index), v.pick(rng, TYPES), rng.random()
    doc: Document = {"_id": world.object_id("analyticsevents", index)}
    if draw < 0.84:
        doc["userId"] = world.some(rng, "users") if draw < 0.68 else None
    if v.chance(rng, 0.9):
        doc["sessionId"] = v.secret(rng, 16)
    doc["eventType"] = kind
    if v.chance(rng, 0.85):
        doc["properties"] = {"path": v.pick(rng, PAGES), "ms": v.below(rng, 2_000)}
        if kind == "search":
            doc["properties"] |= {"query": v.title(rng), "hits": v.below(rng, 50), "filters": {"tags": ["p1", "übung"]}}
        elif kind == "purchase":
            doc["properties"] |= {"price": Decimal128(f"{int(rng.random() * 90)}.90"), "sku": "boost-5"}
    if v.chance(rng, 0.8):
        doc["context"] = {"ip": v.ip_address(rng), "userAgent": v.pick(rng, v.USER_AGENTS), "locale": v.pick(rng, v.LOCALES)}
        if v.chance(rng, 0.2):
            doc["context"]["screen"] = {"w": 1920, "h": v.number(rng, 1080), "dpr": v.pick(rng, (1, 1.5, 2))}
    doc["timestamp"], doc["createdAt"], doc["__v"] = born, born + timedelta(milliseconds=int(rng.random() * 5_000)), 0
    return doc


DIRT: dict[str, tuple[Dirt, ...]] = {
    "analyticsevents": planted(
        "analyticsevents",
        twin_id("analyticsevents"),
        null("userId", what="missing: nobody had signed in"),
        null("userId", None, "null: nobody had signed in"),
        kept("userId", lambda s: str(s.world.object_id("users", 0)), "a reference as a 24-hex string"),
        ghost_reference("userId", "users"),
        misfit("userId", "anonymous", "a text that nobody has as _id", "orphan", every=100),
        misfit("sessionId", 12345, "a number in a text column"),
        tricky("eventType"),
        null("eventType", None, "null"),
        kept("properties", lambda s: v.every_type(), "a value of every BSON type"),
        kept("properties", lambda s: v.deep(80), "a document 80 levels deep", every=200),
        kept(
            "properties", lambda s: {"rows": [[i, i / 7, f"cell {i}", None] for i in range(8_000)]}, "half a megabyte", every=5_000
        ),
        kept("properties", {"a.b": 1, "$c": 2, "": 3, "k" * 90: 4, '"': 5, "\\u0000": 6, "ключ": 7}, "odd keys in a jsonb column"),
        kept("properties", [], "an array in a jsonb column", every=100),
        kept("properties", "", "an empty text in a jsonb column", every=100),
        kept("properties", Int64(9_007_199_254_740_993), "a number in a jsonb column that no double holds", every=100),
        kept("properties", float("nan"), "NaN in a jsonb column", every=100),
        misfit("properties", {"stack": "at \x00"}, "U+0000 inside a jsonb column", "nul_character", every=100),
        null("properties", None, "null in a jsonb column", every=100),
        kept("context", {}, "an empty document", every=100),
        kept("context", {"ip": 3_232_235_777, "geo": {"lat": 48.2, "lon": -0.0}}, "other fields and types in context"),
        misfit("timestamp", "2025-11-02T10:00:00Z", "a date written as text", every=100),
        null("timestamp", every=200),
        misfit("createdAt", 1_750_000_000_000.0, "milliseconds in a date column", every=100),
        extra("schemaVersion", 3),
    ),
}
GENERATORS: dict[str, Generator] = {"analyticsevents": analyticsevent}
