"""The grounds on which runs are disturbed, and how often: `MONGO2PG_FAULTS=all` (as `make faults` sets it), else some of each."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.documents import fill

if TYPE_CHECKING:
    from tests.faults.grounds import Ground

EVERYTHING = os.environ.get("MONGO2PG_FAULTS") == "all"
GROUNDS = ("first_load", "merge")
# What a reconcile finds and repairs: rows that somebody changed, took out and brought in.
DAMAGE = """
    UPDATE public.users SET name = 'somebody else' WHERE email LIKE 'user1%';
    UPDATE public.skills SET xp = -1 WHERE skill_name = 'coding';
    DELETE FROM public.progress_points WHERE id IN (SELECT id FROM public.progress_points ORDER BY id LIMIT 5);
    INSERT INTO public.users (id, email) VALUES ('ffffffff-ffff-8fff-8fff-fff000000000', 'nobody@example.com');
"""


@pytest.fixture
def chance() -> random.Random:
    """Chance that can be had again: the seed is printed, and pytest shows it with a failure."""
    seed = time.time_ns()
    print("seed", seed)
    return random.Random(seed)


@pytest.fixture(scope="session")
def forkserver() -> None:
    from tests.faults.tasks import start_forkserver

    start_forkserver()


@pytest.fixture(scope="session")
def source_of(mongo: Any, mongo_admin: Any) -> Iterator[Callable[..., str]]:
    """Makes a database with these documents, for the whole session; returns the URI of a user who may read it."""
    made = []

    def make(name: str, documents: dict[str, list[dict[str, Any]]]) -> str:
        made.append(name)
        fill(mongo_admin[name], **documents)
        return str(mongo.create_user(name, "read", name).uri)

    yield make
    for name in made:
        mongo.drop_user(name)
        mongo_admin.drop_database(name)


@pytest.fixture(scope="session")
def first_load(forkserver: None, source_of: Any, postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """A run into an empty database."""
    from tests.faults.grounds import Ground, documents

    return Ground(source_of("faults", documents()), postgres, tmp_path_factory.mktemp("first_load"))


@pytest.fixture(scope="session")
def merge(first_load: Ground, source_of: Any, postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """A run over what an earlier one loaded, after the source has changed."""
    from tests.faults.grounds import Ground, changed_documents

    folder: Path = tmp_path_factory.mktemp("merge")
    _load(first_load, postgres, "faults_template", folder)
    source = source_of("faults_changed", changed_documents())
    return Ground(source, postgres, folder, template="faults_template", staged=folder / "earlier")


@pytest.fixture(scope="session")
def damaged(first_load: Ground, postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> Ground:
    """A reconcile that repairs what somebody did to rows that an earlier run loaded."""
    from mongo2pg.run import RECONCILE
    from tests.faults.grounds import Ground

    folder: Path = tmp_path_factory.mktemp("damaged")
    target = _load(first_load, postgres, "faults_damaged", folder)
    with psycopg.connect(target) as conn:
        conn.execute(DAMAGE)
    return Ground(first_load.source, postgres, folder, template="faults_damaged", staged=folder / "earlier", tasks=RECONCILE)


def _load(first_load: Ground, postgres: Any, name: str, folder: Path) -> str:
    """Makes a database with what a run `earlier` loads, staged in the folder; returns how the mover connects to it."""
    from dataclasses import replace

    from tests.faults.tasks import perform_from

    first_load.copy_target(name)
    target: str = postgres.server.login(name, "mover", postgres.password).conninfo
    with first_load.job() as job:
        perform_from(replace(job, target=target, staging=folder / "earlier", run_id="earlier"), "prepare")
    return target


@pytest.fixture(params=GROUNDS)
def ground(request: pytest.FixtureRequest) -> Ground:
    """Both grounds, one after the other."""
    chosen: Ground = request.getfixturevalue(request.param)
    return chosen
