"""All chunks of a run at one moment of a replica set, and what is said once the server has forgotten that moment."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from pymongo.read_concern import ReadConcern

from benchmarks import replay_server
from benchmarks.replay_server import ReplayServer
from mongo2pg.databases.snapshot import SNAPSHOT
from mongo2pg.errors import PermanentError
from mongo2pg.files.staging import read_json
from mongo2pg.run import Run
from tests.documents import COLLECTIONS, oid, point, user
from tests.mover import EACH, Mover, counts

DOCUMENTS = {"users": [user(number) for number in range(1, 5)], "progresspoints": [point(11, oid(1))]}


def server_of(replica_set: str = "") -> ReplayServer:
    there = {name: [bson.encode(document) for document in DOCUMENTS.get(name, [])] for name in COLLECTIONS}
    return ReplayServer({"source": there}, replica_set=replica_set)


@pytest.fixture
def replica_set() -> Iterator[ReplayServer]:
    with server_of("rs0") as server:
        yield server


@pytest.fixture
def mover(replica_set: ReplayServer, target: Any, tmp_path: Path) -> Iterator[Mover]:
    with MongoClient[Any](replica_set.uri) as client, target.connect() as conn:
        yield Mover(client["source"], conn, tmp_path)


def planned(mover: Mover) -> Run:
    run = mover.run("snapshot")
    run.prepare()
    run.plan(EACH, read_concern=SNAPSHOT)
    return run


def test_all_chunks_of_all_collections_are_read_at_the_moment_of_the_plan_pp_32(mover: Mover, replica_set: ReplayServer) -> None:
    run = planned(mover)
    run.carry()
    assert counts(run)["users"]["inserted"] == 4
    chunks = list(run.chunks())
    assert len(chunks) == 4 + 3
    (moment,) = set(replica_set.snapshots)
    assert len(replica_set.snapshots) == len(chunks)
    text = read_json(run.staging.collection(run.key.plan_id, "users").plan)["planned_at"]
    # A second may have begun between two questions.
    assert datetime.fromtimestamp(moment.time, UTC) - datetime.fromisoformat(text) < timedelta(seconds=1)
    for name, chunk in chunks:
        manifest = read_json(run.staging.collection(run.key.plan_id, name).manifest(chunk))
        assert [manifest[key] for key in ("read_concern", "read_time", "read_until")] == ["snapshot", text, text]
    # What was written after the moment is the next window's.
    (watermark,) = set(mover.column("SELECT watermark FROM migration.collections"))
    assert watermark == datetime.fromisoformat(text) <= datetime.fromtimestamp(moment.time, UTC)


def test_a_replica_set_whose_time_is_ahead_of_all_clocks_moves_no_watermark_beyond_these(
    mover: Mover, replica_set: ReplayServer
) -> None:
    replica_set.faults.cluster_time_ahead = 3600
    run = planned(mover)
    run.carry()
    counts(run)
    now = datetime.now(UTC)
    (watermark,) = set(mover.column("SELECT watermark FROM migration.collections"))
    assert watermark <= now
    # A later reading without a snapshot must be known as the later one.
    for name, chunk in run.chunks():
        manifest = read_json(run.staging.collection(run.key.plan_id, name).manifest(chunk))
        assert datetime.fromisoformat(manifest["read_until"]) <= now


def test_a_snapshot_that_the_server_has_forgotten_fails_with_the_remedy_and_a_new_plan_completes_pp_32(
    mover: Mover, replica_set: ReplayServer
) -> None:
    run = planned(mover)
    replica_set.faults.snapshots_are_gone = True
    with pytest.raises(
        PermanentError, match=r"has forgotten the snapshot of .*minSnapshotHistoryWindowInSeconds.*clear the task `plan`"
    ):
        run.extract()
    assert not run.staging.collection(run.key.plan_id, "users").raw_manifest(0).exists()
    replica_set.faults.snapshots_are_gone = False
    run = planned(mover)
    run.carry()
    assert counts(run)["users"]["inserted"] == 4


def test_a_chunk_that_another_run_has_overtaken_is_read_as_it_is_now(mover: Mover, replica_set: ReplayServer) -> None:
    mover.passed("first")
    run = planned(mover)
    run.extract()
    run.normalise()
    mover.passed("overtakes")
    before = len(replica_set.snapshots)
    run.carry("load")
    counts(run)
    assert len(replica_set.snapshots) == before
    manifest = read_json(run.staging.collection(run.key.plan_id, "users").manifest(0))
    assert manifest["read_concern"] == "local"


def test_a_reading_without_a_snapshot_has_the_read_concern_of_the_connection(mover: Mover) -> None:
    mover.database = mover.database.with_options(read_concern=ReadConcern("majority"))
    run = mover.move("first")
    assert read_json(run.staging.collection(run.key.plan_id, "users").manifest(0))["read_concern"] == "majority"


def test_a_single_server_has_no_snapshots_and_the_plan_says_so(target: Any, tmp_path: Path) -> None:
    with (
        server_of() as server,
        MongoClient[Any](server.uri) as client,
        target.connect() as conn,
        pytest.raises(PermanentError, match=r"needs a replica set .* take local"),
    ):
        planned(Mover(client["source"], conn, tmp_path))


def test_a_replica_set_before_5_0_has_none_for_many_readers_and_the_plan_says_so(
    mover: Mover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_server, "MAX_WIRE_VERSION", 9)
    with pytest.raises(PermanentError, match=r"of MongoDB 5\.0 or newer, and this server is an older one: take local"):
        planned(mover)
