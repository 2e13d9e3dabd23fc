"""Webhooks with their logs, from none to tens of thousands: the external bridge's one collection."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from bson.int64 import Int64
from bson.objectid import ObjectId

from demo.sample import values as v
from demo.sample.dirt import Dirt, Generator, Spot, element, extra, hex_reference, kept, misfit, no_owner, null, planted, tricky
from demo.sample.values import Document
from demo.sample.world import END, World

PROVIDERS = ("github", "notion", "trello", "slack", "gitlab")
EVENTS = ("push", "pull_request.opened", "pull_request.closed", "issues.opened", "page.updated", "card.moved", "message")
# One in 200 has this many logs at scale 1 and above (two of 400), fewer below: six megabytes of a document's sixteen.
MANY_LOGS = 20_000
MANY_LOGS_EVERY, MANY_LOGS_PHASE = 200, 15


def webhook(world: World, rng: Random, index: int) -> Document:
    """An address that is called on events; most have up to 20 logs, every fifth has none."""
    born, provider = world.born("webhooks", index), v.pick(rng, PROVIDERS)
    logs = 0 if index % 5 == 1 else int(rng.random() * 21)
    if index % MANY_LOGS_EVERY == MANY_LOGS_PHASE:
        logs = int(MANY_LOGS * min(1.0, world.scale))
    doc: Document = {
        "_id": world.object_id("webhooks", index),
        "userId": world.some(rng, "users"),
        "provider": provider,
        "url": f"https://hooks.example.net/{provider}/{index}?verify=1&to=%C3%BC",
        "events": rng.sample(EVENTS, k=1 + int(rng.random() * 3)),
        "secret": f"whsec_{v.secret(rng, 32)}",
        "active": v.chance(rng, 0.9),
        "logs": [log(rng, born, number, payload(rng, number) if logs < 100 else {"n": number}) for number in range(logs)],
    }
    if v.chance(rng, 0.6):
        doc["headers"] = {
            "X-Hub-Signature-256": f"sha256={rng.randbytes(32).hex()}",
            "Authorization": f"Bearer {v.secret(rng, 24)}",
        }
    if logs:
        doc["lastTriggeredAt"] = doc["logs"][-1]["createdAt"]
    doc["createdAt"], doc["updatedAt"], doc["__v"] = born, v.between(rng, born), logs
    return doc


def log(rng: Random, born: datetime, number: int, body: Document) -> Document:
    """An element of `logs`: one delivery; the first writers gave it no `_id`."""
    moment, draw = born + timedelta(minutes=number, milliseconds=number % 997), rng.random()
    fields: Document = {"event": v.pick(rng, EVENTS), "status": "success" if draw < 0.8 else "failed" if draw < 0.95 else "pending"}
    if draw < 0.95:
        fields |= {"statusCode": 200 if draw < 0.8 else 503, "durationMs": v.decimal(rng, 900)}
    fields |= {"attempt": 1 + number % 3, "payload": body, "createdAt": moment}
    if 0.8 <= draw < 0.95:
        fields["error"] = 'upstream said: "503 Service Unavailable"\r\n'
    elif draw < 0.3:
        fields["response"] = {"ok": True, "took": v.number(rng, 12)}
    return v.sub_document(rng, moment, fields)


def payload(rng: Random, number: int) -> Document:
    """What GitHub sends, much shortened."""
    sha = rng.randbytes(20).hex()
    return {
        "action": v.pick(rng, ("opened", "closed", "synchronize")),
        "number": number,
        "ref": "refs/heads/main",
        "repository": {"id": Int64(8_000_000_000 + number), "full_name": "octo-org/parser", "private": False, "license": None},
        "sender": {"login": "octo-ana", "id": 583_231, "site_admin": False},
        "commits": [{"id": sha, "message": v.sentence(rng), "added": [], "modified": ["src/lexer.rs", "docs/naïve café.md"]}],
    }


def bad_log(spot: Spot, **fields: object) -> list[Document]:
    """Two logs; the first has these fields."""
    first, second = (log(spot.rng, END, number, payload(spot.rng, number)) for number in range(2))
    return [{**first, **fields}, second]


def same_id_twice(spot: Spot) -> list[Document]:
    """Three logs, of which two have one `_id`: all holders of that one are known by their places instead."""
    one = ObjectId("5f3c0000000000000000d00d")
    logs = [log(spot.rng, END, number, {"n": number}) for number in range(3)]
    return [{**logs[0], "_id": one}, logs[1], {**logs[2], "_id": one}]


DIRT: dict[str, tuple[Dirt, ...]] = {
    "webhooks": planted(
        "webhooks",
        *no_owner(2),
        hex_reference("userId"),
        kept("logs", [], "an empty array"),
        null("logs", None, "null where an array belongs"),
        null("logs", what="no array"),
        misfit("logs", "rotated", "a text where an array belongs", every=100),
        element("logs", lambda s: [None, *bad_log(s), "timeout", [1]], "null, a text and an array as elements"),
        misfit("logs", lambda s: bad_log(s, statusCode="200"), "a number written as text, in an element"),
        misfit("logs", lambda s: bad_log(s, status="retrying"), "outside the enum, in an element", "enum"),
        misfit("logs", lambda s: bad_log(s, error="\x00\x00"), "U+0000 in a text, in an element", "nul_character"),
        misfit("logs", lambda s: bad_log(s, attempt=1.5), "1.5 in an integer column, in an element", "not_integral"),
        misfit("logs", lambda s: bad_log(s, createdAt="2025-11-02"), "a date written as text, in an element"),
        kept("logs", lambda s: bad_log(s, payload=v.every_type()), "a value of every BSON type, in an element"),
        kept("logs", lambda s: bad_log(s, payload={"patch": "+ line\n" * 70_000}), "half a megabyte in an element", every=200),
        kept("logs", lambda s: bad_log(s, response="OK", payload=None), "a text and null in jsonb columns"),
        kept("logs", same_id_twice, "one sub-document _id twice"),
        misfit("logs", lambda s: bad_log(s, _id="first"), "a text as a sub-document's _id"),
        extra("logs", lambda s: bad_log(s, traceId="4bf92f35"), "an undeclared field in an element"),
        kept("events", [], "an empty array"),
        misfit("events", ["push", None], "null in a text[] column", "required"),
        misfit("secret", Int64(1), "a number in a sensitive text column"),
        kept("headers", {"x.dotted": "1", "$x": "2", "": "3", "k" * 70: "4"}, "odd keys in a sensitive jsonb column"),
        kept("headers", [], "an array in a sensitive jsonb column"),
        misfit("active", 1, "a number in a boolean column"),
        tricky("url"),
        null("provider"),
        extra("retryPolicy", {"max": 5, "backoff": "exponential"}),
    ),
}
GENERATORS: dict[str, Generator] = {"webhooks": webhook}
