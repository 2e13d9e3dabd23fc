"""For whom a session of the target waits: a task that a colleague's open transaction holds up looks like one that hangs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from mongo2pg.audit import excerpt
from mongo2pg.books import Connection

log = logging.getLogger(__name__)

# Loads of one collection by two runs wait for one another for seconds; a first look after that is about people and their locks.
SECONDS_BETWEEN_LOOKS = 15.0
# As `queries.SESSION` has PostgreSQL call our sessions.
OURS = "mongo2pg"


@contextmanager
def waits_told(session: Connection) -> Iterator[None]:
    """Within the block the log names the sessions for whose locks this one waits, each time that they are others."""
    row = session.execute("SELECT pg_backend_pid()").fetchone()  # before a pooler, the driver knows another number
    over = threading.Event()
    threading.Thread(target=_watch, args=(session, row and row[0], over), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(session: Connection, pid: int, over: threading.Event) -> None:
    told: list[str] = []
    while not over.wait(SECONDS_BETWEEN_LOOKS):
        # Only while the server is asked something: the look needs a session of its own.
        if session.info.transaction_status != TransactionStatus.ACTIVE:
            continue
        with suppress(psycopg.Error):  # it may be why the session waits; what comes of that the task says
            holders = _holders(session, pid)
            if holders and holders != told and not over.is_set():
                log.warning("this task waits for a lock in PostgreSQL behind %s", "; behind ".join(holders))
            told = holders


def _holders(session: Connection, pid: int) -> list[str]:
    with psycopg.connect(session.info.dsn, password=session.info.password, autocommit=True) as conn:
        rows = conn.execute(
            """
            SELECT DISTINCT holder, usename, application_name, state, date_trunc('second', xact_start AT TIME ZONE 'UTC')::text
            FROM unnest(pg_blocking_pids(%s)) AS holder LEFT JOIN pg_stat_activity ON pid = holder ORDER BY 1
            """,
            (pid,),
        ).fetchall()
    return [_described(*row) for row in rows]


def _described(holder: int, user: str | None, application: str | None, state: str | None, since: str | None) -> str:
    """Who holds the lock, or asked for it before, and what to do; of other roles' sessions PostgreSQL shows the state to few."""
    if holder == 0:
        return "a prepared transaction: look at pg_prepared_xacts, and commit it or roll it back"
    facts: list[Any] = [user, application, state, since and f"since {since} UTC"]
    session = f"session {holder} ({', '.join(excerpt(fact) for fact in facts if fact)})"
    if application == OURS:
        return f"{session}, another task of this pipeline: wait until it is done"
    return f"{session}: have its owner end it, or SELECT pg_terminate_backend({holder})"
