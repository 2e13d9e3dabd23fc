"""Who does the first load of a collection: one run at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable

from psycopg import sql

from mongo2pg import books
from mongo2pg.books import Connection, RunKey
from mongo2pg.errors import OwnedError
from mongo2pg.model import Domain
from mongo2pg.queries import target

log = logging.getLogger(__name__)


def refuse_owned(conn: Connection, run: RunKey, domain: Domain, alive: Callable[[str], bool]) -> None:
    """Raises OwnedError as long as another run, `alive` by its id, has the first load of one of these collections."""
    phases = books.phases(conn, run.domain, [collection.name for collection in domain.collections])
    owners = {name: owner for name, (phase, owner, _) in phases.items() if phase == "bulk" and owner and owner != run.run_id}
    for owner in sorted(set(owners.values())):
        if alive(owner):
            raise OwnedError(owner, [name for name, other in owners.items() if other == owner])


def claim(conn: Connection, run: RunKey, domain: Domain, alive: Callable[[str], bool]) -> None:
    """Makes this run and plan the owner of each collection's first load, where that is still to be done: of all or of none.

    Raises OwnedError as `refuse_owned` does. What a dead owner left in the tables goes: nobody can say how far it came. So do
    documents that earlier plans of this run hold, for this plan reads them again.
    """
    with conn.transaction():
        names = [collection.name for collection in domain.collections]
        books.lock_collections(conn, [(run.domain, name) for name in names])
        refuse_owned(conn, run, domain, alive)
        phases = books.phases(conn, run.domain, names)
        for collection in domain.collections:
            phase, owner, plan = phases[collection.name]
            books.forget_held(conn, run, collection.name, everybody=phase != "complete")
            if phase == "complete":
                continue
            if owner and owner != run.run_id:
                log.info("%s: run %s did not finish its first load; its rows go", collection.name, owner)
            if plan:
                tables = sql.SQL(", ").join(target(table.name) for table in collection.tables)
                conn.execute(sql.SQL("TRUNCATE {}").format(tables))
                books.forget_stale(conn, run, collection.name)
                rows = sql.SQL("SELECT root_id FROM migration.cleared WHERE (domain, collection) = ({}, {})")
                books.forget_cleared(conn, run, collection.name, rows.format(run.domain, collection.name))
            books.set_phase(conn, run, collection.name, "bulk")
