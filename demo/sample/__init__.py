"""Sample data of all seven services: deterministic, believable, with dirt at stated shares.

`documents` streams one collection; `DIRT` says what is wrong with how many of them, and what the pipeline must make of
it. Equal arguments give equal documents, whatever was generated before; nothing reads the clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from demo.sample import auth, challenge, engagement, external_bridge, notification, platform_analytics, task_orchestrator
from demo.sample.dirt import Dirt, Generator, Schedule, Spot
from demo.sample.world import World

__all__ = ["DIRT", "DOMAINS", "Dirt", "clean_documents", "count", "documents"]

DOMAINS: dict[str, tuple[str, ...]] = {
    "auth": ("users", "skilltrees", "socialconnections", "progresspoints"),
    "task_orchestrator": ("tasks", "taskversions", "taskdependencies"),
    "engagement": ("momenta", "streaks", "boosts", "objectives", "odysseys", "seasons", "rewards"),
    "notification": ("notifications", "pushsubscriptions"),
    "external_bridge": ("webhooks",),
    "challenge": ("challenges",),
    "platform_analytics": ("analyticsevents",),
}
_MODULES = (auth, task_orchestrator, engagement, notification, external_bridge, challenge, platform_analytics)
DIRT: dict[str, tuple[Dirt, ...]] = {name: kinds for module in _MODULES for name, kinds in module.DIRT.items()}
_GENERATORS: dict[str, Generator] = {name: make for module in _MODULES for name, make in module.GENERATORS.items()}


def count(collection: str, scale: float = 1.0) -> int:
    """How many documents `documents` yields."""
    return World(scale).counts[collection]


def documents(collection: str, scale: float = 1.0, seed: int = 7) -> Iterator[dict[str, Any]]:
    """The documents of the collection, in order of their birth, with the dirt that `DIRT` states."""
    world, rng = World(scale, seed), Random(f"{seed}/{collection}/dirt")
    schedule = Schedule(DIRT[collection])
    for index, document in enumerate(clean_documents(collection, scale, seed)):
        dirt = schedule.at(index)
        if dirt:
            dirt.spoil(Spot(world, rng, index, document))
        yield document


def clean_documents(collection: str, scale: float = 1.0, seed: int = 7) -> Iterator[dict[str, Any]]:
    """The same documents before anything was planted; those that will be rejected are not yet what they become."""
    world, rng, make = World(scale, seed), Random(f"{seed}/{collection}"), _GENERATORS[collection]
    for index in range(world.counts[collection]):
        yield make(world, rng, index)
