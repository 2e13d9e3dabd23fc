"""A read-only server of MongoDB's wire protocol that serves BSON files from memory, bytes exactly as they are.

    python -m benchmarks.replay_server FOLDER [--port 0]     serves FOLDER/<database>/<collection>.bson, prints the URI
    python -m benchmarks.replay_server --measure             how many MB/s a client gets

Documents are not looked into unless a query asks for it, so that it also serves what no real server would accept. It
listens on 127.0.0.1 only, knows no users, and refuses what it does not understand.
"""

from __future__ import annotations

import argparse
import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import bson

from benchmarks import pipeline
from benchmarks.cursors import Cursors
from benchmarks.documents import Collection, Documents, read_folder
from benchmarks.listener import Faults, Listener
from benchmarks.query import CommandError, Found, matches, plain, select
from benchmarks.raw_values import Value, elements, is_true, items
from benchmarks.raw_values import document as make_document
from benchmarks.wire import Buffer, Request, reply

VERSION = "7.0.0"
MAX_WIRE_VERSION = 21  # of that version

# Error codes of mongod: src/mongo/base/error_codes.yml.
BAD_VALUE, FAILED_TO_PARSE, UNAUTHORIZED, COMMAND_NOT_FOUND, INVALID_OPTIONS = 2, 9, 13, 59, 72
SNAPSHOT_TOO_OLD = 239

# Arguments that change nothing of what a read-only server answers.
_WITHOUT_EFFECT = frozenset(
    b"$db lsid $readPreference $clusterTime readConcern comment maxTimeMS hint noCursorTimeout allowPartialResults allowDiskUse"
    b" apiVersion apiStrict apiDeprecationErrors txnNumber authorizedCollections".split()
)
_WRITES = frozenset(
    (
        "insert",
        "update",
        "delete",
        "findAndModify",
        "bulkWrite",
        "create",
        "createIndexes",
        "drop",
        "dropDatabase",
        "renameCollection",
    )
)


class ReplayServer:
    """Serves databases → collections → documents until `close`; a context manager.

    With `replica_set` it presents itself as the primary, and only member, of a replica set of that name.
    """

    def __init__(
        self, databases: Mapping[str, Mapping[str, Collection | Sequence[bytes]]], *, port: int = 0, replica_set: str = ""
    ) -> None:
        self.databases = {name: {each: _collection(given) for each, given in held.items()} for name, held in databases.items()}
        self.replica_set = replica_set
        self.faults = Faults()
        # The moments at which something was found, in the order of the requests. Nothing changes here, so that all are the same.
        self.snapshots: list[bson.Timestamp] = []
        self._cursors = Cursors(self.faults)
        self._chance = random.Random(0)
        self._listener = Listener(self._answer, self.faults, port)
        self.port = self._listener.port

    def __enter__(self) -> ReplayServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def uri(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/" + (f"?replicaSet={self.replica_set}" if self.replica_set else "")

    def put(self, database: str, collection: str, documents: Sequence[bytes]) -> None:
        """Makes these the documents of a collection."""
        self.databases.setdefault(database, {})[collection] = Collection(documents)

    def close(self) -> None:
        """Ends the listener and all connections."""
        self._listener.close()

    def _answer(self, request: Request) -> list[Buffer]:
        command = COMMANDS.get(request.name)
        try:
            if command:
                return command(self, request)
            if request.name in _WRITES:
                raise CommandError(UNAUTHORIZED, "Unauthorized", "this server is read-only")
            raise CommandError(COMMAND_NOT_FOUND, "CommandNotFound", f"no such command: '{request.name}'")
        except CommandError as fault:
            return _document(request, ok=0.0, errmsg=str(fault), code=fault.code, codeName=fault.name)
        except Exception as fault:  # a request that this code cannot follow must not look like an answer
            return _document(
                request, ok=0.0, errmsg=f"{type(fault).__name__}: {fault}", code=FAILED_TO_PARSE, codeName="FailedToParse"
            )

    # --- reading -----------------------------------------------------------------------------------------------------

    def get_more(self, request: Request) -> list[Buffer]:
        arguments = _known(request, b"getMore", b"collection", b"batchSize")
        return self._cursors.next(request, int(plain(arguments[b"getMore"])), int(plain(arguments.get(b"batchSize"), 0)))

    def kill_cursors(self, request: Request) -> list[Buffer]:
        numbers = [int(plain(item)) for item in items(request.arguments[b"cursors"])]
        killed = [number for number in numbers if self._cursors.kill(number)]
        gone = [number for number in numbers if number not in killed]
        return _document(request, cursorsKilled=killed, cursorsNotFound=gone, cursorsAlive=[], cursorsUnknown=[])

    def _at(self, request: Request) -> tuple[str, str, Collection]:
        database, name = _text(request.arguments[b"$db"]), _text(next(iter(request.arguments.values())))
        if name in self.faults.hidden:
            raise CommandError(UNAUTHORIZED, "Unauthorized", f"not authorized on {database} to execute command")
        return database, name, self.databases.get(database, {}).get(name) or Collection([])

    def find(self, request: Request) -> list[Buffer]:
        arguments = _known(
            request, b"find", b"filter", b"sort", b"projection", b"skip", b"limit", b"batchSize", b"singleBatch", b"min", b"max"
        )
        database, name, collection = self._at(request)
        if (moment := plain(arguments.get(b"readConcern"), {}).get("atClusterTime")) is not None:
            if self.faults.snapshots_are_gone:
                raise CommandError(SNAPSHOT_TOO_OLD, "SnapshotTooOld", f"the snapshot {moment} is too old")
            self.snapshots.append(moment)
        bounds = {end: _bound(arguments.get(end)) for end in (b"min", b"max")}
        found = select(
            collection,
            _content(arguments.get(b"filter")),
            sort=_content(arguments.get(b"sort")),
            low=bounds[b"min"],
            high=bounds[b"max"],
            by_id=_hinted(arguments.get(b"hint")),
        ).cut(int(plain(arguments.get(b"skip"), 0)), int(plain(arguments.get(b"limit"), 0)))
        projection = arguments.get(b"projection")
        if projection is not None and items(projection):
            found = _projected(collection, found, projection)
        batch_size = plain(arguments.get(b"batchSize"))
        single = is_true(arguments.get(b"singleBatch"))
        return self._cursors.first(
            request, found, f"{database}.{name}", None if batch_size is None else int(batch_size), single=single
        )

    def count(self, request: Request) -> list[Buffer]:
        arguments = _known(request, b"count", b"query", b"limit", b"skip", b"fields")
        found = select(self._at(request)[2], _content(arguments.get(b"query")))
        return _document(
            request, n=len(found.cut(int(plain(arguments.get(b"skip"), 0)), int(plain(arguments.get(b"limit"), 0))).positions)
        )

    def aggregate(self, request: Request) -> list[Buffer]:
        arguments = _known(request, b"aggregate", b"pipeline", b"cursor")
        database, name, collection = self._at(request)
        stages = arguments[b"pipeline"]
        # Nothing changes here: what a pipeline without chance made once, it makes again.
        cached = collection.cache.get(stages.content)
        if cached is None:
            found = pipeline.run(collection, items(stages), f"{database}.{name}".encode(), self._chance)
            if b"$group" in stages.content and b"$sample" not in stages.content:
                collection.cache[stages.content] = [found.documents[at] for at in found.positions]
        else:
            found = Found(Documents(cached), range(len(cached)))
        batch_size = plain(arguments.get(b"cursor"), {}).get("batchSize")
        return self._cursors.first(request, found, f"{database}.{name}", batch_size)

    def coll_stats(self, request: Request) -> list[Buffer]:
        database, name, collection = self._at(request)
        return _document(request, ns=f"{database}.{name}", **pipeline.statistics(collection.natural))

    # --- what is there -----------------------------------------------------------------------------------------------

    def list_databases(self, request: Request) -> list[Buffer]:
        listed = []
        for name, held in sorted(self.databases.items()):
            size = sum(collection.natural.size for collection in held.values())
            entry = {"name": name, "sizeOnDisk": size, "empty": not size}
            if matches(_content(request.arguments.get(b"filter")), bson.encode(entry)):
                listed.append({"name": name} if is_true(request.arguments.get(b"nameOnly")) else entry)
        return _document(request, databases=listed)

    def list_collections(self, request: Request) -> list[Buffer]:
        arguments = _known(request, b"listCollections", b"filter", b"nameOnly", b"cursor")
        database = _text(request.arguments[b"$db"])
        listed = []
        for name in sorted(self.databases.get(database, {}).keys() - self.faults.hidden):
            entry: dict[str, Any] = {"name": name, "type": "collection"}
            if not is_true(arguments.get(b"nameOnly")):
                entry |= {"options": {}, "info": {"readOnly": True}, "idIndex": {"v": 2, "key": {"_id": 1}, "name": "_id_"}}
            if matches(_content(arguments.get(b"filter")), bson.encode(entry)):
                listed.append(bson.encode(entry))
        return self._listing(request, listed, f"{database}.$cmd.listCollections")

    def list_indexes(self, request: Request) -> list[Buffer]:
        database, name, _ = self._at(request)
        listed = [{"v": 2, "key": {field: 1}, "name": f"{field}_1"} for field in self.faults.building]
        listed = [{"v": 2, "key": {"_id": 1}, "name": "_id_"}, *listed]
        return self._listing(request, list(map(bson.encode, listed)), f"{database}.{name}")

    def explain(self, request: Request) -> list[Buffer]:
        """Of a query by the index on `_id`, which is all there is."""
        if not _hinted(dict(elements(request.arguments[b"explain"].content)).get(b"hint")):
            raise CommandError(BAD_VALUE, "BadValue", "this server explains queries by the index on _id only")
        return _document(request, queryPlanner={"winningPlan": {"stage": "IXSCAN", "isMultiKey": False}})

    def _listing(self, request: Request, listed: list[bytes], namespace: str) -> list[Buffer]:
        batch_size = plain(request.arguments.get(b"cursor"), {}).get("batchSize")
        return self._cursors.first(request, Found(Documents(listed), range(len(listed))), namespace, batch_size)

    # --- the server itself -------------------------------------------------------------------------------------------

    def hello(self, request: Request) -> list[Buffer]:
        primary: dict[str, Any] = {"helloOk": True, "isWritablePrimary": True, "ismaster": True, "readOnly": True}
        if self.replica_set:
            me = f"127.0.0.1:{self.port}"
            primary |= {"setName": self.replica_set, "setVersion": 1, "hosts": [me], "primary": me, "me": me, "secondary": False}
            primary["operationTime"] = bson.Timestamp(int(time.time()) + self.faults.cluster_time_ahead, 1)
        return _document(
            request,
            **primary,
            maxBsonObjectSize=16 << 20,
            maxMessageSizeBytes=48_000_000,
            maxWriteBatchSize=100_000,
            localTime=bson.DatetimeMS(time.time_ns() // 1_000_000),
            logicalSessionTimeoutMinutes=30,
            connectionId=threading.get_ident() % 2**31,
            minWireVersion=0,
            maxWireVersion=MAX_WIRE_VERSION,
        )

    def build_info(self, request: Request) -> list[Buffer]:
        numbers = [*map(int, VERSION.split(".")), 0]
        return _document(request, version=VERSION, versionArray=numbers, bits=64, maxBsonObjectSize=16 << 20, modules=[])

    def get_parameter(self, request: Request) -> list[Buffer]:
        if b"featureCompatibilityVersion" not in request.arguments:
            raise CommandError(INVALID_OPTIONS, "InvalidOptions", "no option found to get")
        return _document(request, featureCompatibilityVersion={"version": VERSION.rpartition(".")[0]})

    def connection_status(self, request: Request) -> list[Buffer]:
        return _document(
            request, authInfo={"authenticatedUsers": [], "authenticatedUserRoles": [], "authenticatedUserPrivileges": []}
        )

    def nothing(self, request: Request) -> list[Buffer]:
        return _document(request)


COMMANDS: dict[str, Callable[[ReplayServer, Request], list[Buffer]]] = {
    **dict.fromkeys(("hello", "isMaster", "ismaster"), ReplayServer.hello),
    **dict.fromkeys(("ping", "endSessions", "killSessions", "refreshSessions"), ReplayServer.nothing),
    **dict.fromkeys(("buildInfo", "buildinfo"), ReplayServer.build_info),
    **dict.fromkeys(("collStats", "collstats"), ReplayServer.coll_stats),
    "getParameter": ReplayServer.get_parameter,
    "connectionStatus": ReplayServer.connection_status,
    "listDatabases": ReplayServer.list_databases,
    "listCollections": ReplayServer.list_collections,
    "listIndexes": ReplayServer.list_indexes,
    "explain": ReplayServer.explain,
    "find": ReplayServer.find,
    "getMore": ReplayServer.get_more,
    "killCursors": ReplayServer.kill_cursors,
    "count": ReplayServer.count,
    "aggregate": ReplayServer.aggregate,
}


def _document(request: Request, ok: float = 1.0, **content: Any) -> list[Buffer]:
    return reply(request, bson.encode({**content, "ok": ok}))


def _collection(given: Collection | Sequence[bytes]) -> Collection:
    return given if isinstance(given, Collection) else Collection(given)


def _known(request: Request, *names: bytes) -> dict[bytes, Value]:
    """The arguments; `CommandError` if one might change the answer and is not among those that the command knows."""
    for name, value in request.arguments.items():
        if name not in names and name not in _WITHOUT_EFFECT and is_true(value):
            raise CommandError(FAILED_TO_PARSE, "FailedToParse", f"this server does not know {request.name}'s {name.decode()}")
    return request.arguments


def _content(value: Value | None) -> bytes:
    return value.content if value else make_document([])


def _text(value: Value) -> str:
    return str(plain(value))


def _bound(value: Value | None) -> Value | None:
    pairs = list(elements(value.content)) if value else []
    if pairs and [key for key, _ in pairs] != [b"_id"]:
        raise CommandError(BAD_VALUE, "BadValue", "this server has an index on _id only")
    return pairs[0][1] if pairs else None


def _hinted(hint: Value | None) -> bool:
    """Whether the index on `_id` is asked for."""
    if hint is None or plain(hint) == {"$natural": 1}:
        return False
    if plain(hint) not in ("_id_", {"_id": 1}):
        raise CommandError(BAD_VALUE, "BadValue", "hint provided does not correspond to an existing index")
    return True


def _projected(collection: Collection, found: Found, projection: Value) -> Found:
    if [key for key, value in elements(projection.content) if is_true(value)] == [b"_id"] and found.documents is collection.natural:
        return Found(collection.ids, found.positions)
    made = pipeline.project(found, projection.content)
    return Found(Documents(made), range(len(made)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay_server", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="holds <database>/<collection>.bson")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--replica-set", default="", metavar="NAME", help="present itself as this replica set's primary")
    parser.add_argument("--measure", action="store_true", help="serve made-up documents to a client and print MB/s")
    arguments = parser.parse_args()
    if arguments.measure:
        from benchmarks.measure_replay import measure

        measure()
        return
    if not arguments.folder:
        parser.error("name a folder, or --measure")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop = threading.Event()
    with ReplayServer(read_folder(arguments.folder), port=arguments.port, replica_set=arguments.replica_set) as server:
        print(server.uri, flush=True)
        stop.wait()


if __name__ == "__main__":
    main()
