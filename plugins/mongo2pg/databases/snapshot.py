"""One moment of a replica set at which all chunks of a plan are read, whatever is written meanwhile.

MongoDB's read concern `snapshot` is that of single sessions; chunks are read by many processes, each of which therefore names
the moment itself (`atClusterTime`). The server keeps it for `minSnapshotHistoryWindowInSeconds`, 300 seconds by default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from bson import Timestamp
from pymongo.database import Database
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from mongo2pg.databases.connection_faults import said
from mongo2pg.databases.source import server_time
from mongo2pg.errors import PermanentError

LOCAL, SNAPSHOT = "local", "snapshot"
# SnapshotTooOld, SnapshotUnavailable, and what a router says of shards that it does not remember, StaleChunkHistory: mongod's
# src/mongo/base/error_codes.yml.
_GONE = (239, 246, 250)
# MongoDB 5.0, as servers tell drivers.
_WIRE_VERSION = 13


class _AtClusterTime(ReadConcern):
    def __init__(self, moment: Timestamp) -> None:
        super().__init__(SNAPSHOT)
        self.moment = moment

    @property
    def document(self) -> dict[str, Any]:
        return {"level": SNAPSHOT, "atClusterTime": self.moment}


def take(database: Database[Any]) -> dict[str, Any]:
    """What a plan says of a snapshot of now; PermanentError where the server is no member of a replica set, or too old.

    `planned_at` is not after the snapshot: a watermark that is set to it passes over nothing.
    """
    # The time of a replica set follows the member whose clock was ever most ahead, and waits there for the others' clocks. Clients
    # and readings without a snapshot go by clocks.
    before = server_time(database)
    hello = database.client.admin.command("hello")
    moment = hello.get("operationTime")
    in_a_set = "setName" in hello or hello.get("msg") == "isdbgrid"  # a member, or the router of a sharded cluster
    if moment is None or not in_a_set or hello["maxWireVersion"] < _WIRE_VERSION:
        which = "an older" if in_a_set else "a single"
        raise PermanentError(
            f"read_concern snapshot needs a replica set of MongoDB 5.0 or newer, and this server is {which} one: take local"
        )
    return {"read_concern": SNAPSHOT, "snapshot": [moment.time, moment.inc], "planned_at": min(before, _text(moment.time))}


def usual(database: Database[Any]) -> str:
    """The read concern of readings that belong to no snapshot."""
    return database.read_concern.level or LOCAL


@contextmanager
def as_planned(database: Database[Any], plan: Mapping[str, Any]) -> Iterator[tuple[Database[Any], str | None]]:
    """The source as the plan's chunks see it, and the time of its snapshot by clocks; None where each chunk sees its own present.

    A snapshot that the server has forgotten is a PermanentError: no retry brings it back.
    """
    if "snapshot" not in plan:
        yield database, None
        return
    seconds, increment = plan["snapshot"]
    try:
        yield database.with_options(read_concern=_AtClusterTime(Timestamp(seconds, increment))), plan["planned_at"]
    except OperationFailure as error:
        if error.code not in _GONE:
            raise
        raise PermanentError(
            f"MongoDB has forgotten the snapshot of {_text(seconds)}, which all of this run was to be read at ({said(error)}): "
            "raise its parameter minSnapshotHistoryWindowInSeconds (300 by default) above the time that the reading takes, or run "
            "with read_concern local; clear the task `plan` for a new snapshot"
        ) from error


def _text(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.000Z"
