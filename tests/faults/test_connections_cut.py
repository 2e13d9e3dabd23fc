"""A connection ends after any byte, in either direction, to either database; the task fails as one that may be tried again."""

from __future__ import annotations

import random
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from pymongo.uri_parser import parse_uri

from deepiri.auth import AUTH
from mongo2pg.errors import TransientError
from mongo2pg.planning import prepare
from mongo2pg.run import STAGES
from tests.faults.conftest import EVERYTHING
from tests.faults.grounds import Ground, outcome
from tests.faults.proxy import TO_CLIENT, TO_SERVER, Proxy
from tests.faults.tasks import Job, perform

# In each direction, for each end, on each ground.
CUTS = 12 if EVERYTHING else 1
# What a task may fail with so that Airflow tries it again; `connections.target` makes TransientErrors of psycopg's.
MAY_BE_TRIED_AGAIN = (PyMongoError, psycopg.OperationalError, psycopg.InterfaceError, TransientError)


def source_server(job: Job) -> tuple[str, int]:
    host, port = parse_uri(job.source)["nodelist"][0]
    return host, port


def through(proxy: Proxy, job: Job, end: str) -> Job:
    """The job with one of its ends behind the proxy."""
    if end == "target":
        return replace(job, target=make_conninfo(job.target, port=proxy.port))
    _, port = source_server(job)
    # Otherwise the driver would take the server's own address from its answer, and go past the proxy.
    return replace(job, source=job.source.replace(f":{port}/", f":{proxy.port}/") + "&directConnection=true")


def perform_with_retries(job: Job) -> list[str]:
    """All tasks, each a second time if it fails; returns those that failed."""
    failed = []
    for task in STAGES:
        try:
            perform(job, task)
        except MAY_BE_TRIED_AGAIN:
            failed.append(task)
            perform(job, task)
    return failed


@pytest.fixture(params=["source", "target"])
def end(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


def test_a_connection_cut_after_any_byte_leaves_no_trace(ground: Ground, end: str, chance: random.Random) -> None:
    with ground.job() as job, proxy_for(job, end) as proxy:
        assert perform_with_retries(through(proxy, job, end)) == []
        bytes_of_a_run = dict(proxy.passed)
        assert outcome(job) == ground.clean.outcome
    failed: list[str] = []
    for direction in (TO_SERVER, TO_CLIENT) * CUTS:
        with ground.job() as job, proxy_for(job, end) as proxy:
            count = chance.randrange(bytes_of_a_run[direction])
            proxy.cut_after(direction, count, reset=chance.random() < 0.5)
            failed += perform_with_retries(through(proxy, job, end))
            where = f"cut after byte {count:,} of {bytes_of_a_run[direction]:,} {direction}"
            assert proxy.cuts == 1, where
            assert outcome(job) == ground.clean.outcome, where
    # The driver tries most reads of the source once more by itself.
    assert failed or end == "source"


def proxy_for(job: Job, end: str) -> Proxy:
    if end == "source":
        return Proxy(*source_server(job))
    parameters = conninfo_to_dict(job.target)
    return Proxy(str(parameters["host"]), int(parameters["port"] or 0))


class CutEachFind(CommandListener):
    """Has the proxy cut each `find` on its way to the server."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "find":
            self.proxy.cut_after(TO_SERVER, 20, reset=False)

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


def test_a_source_that_is_lost_while_prepare_looks_at_it_is_no_fault_of_the_settings(first_load: Ground) -> None:
    with (
        first_load.job() as job,
        proxy_for(job, "source") as proxy,
        MongoClient(through(proxy, job, "source").source, event_listeners=[CutEachFind(proxy)], retryReads=False) as client,
        pytest.raises(TransientError, match="MongoDB cannot be reached"),
    ):
        prepare.source_faults(client.get_default_database(), AUTH)
