"""Both databases, opened for a task: by Airflow's connections, or by the platform's own MONGO_URI and DATABASE_URL.
And the object store that files are staged in.

Airflow's connection wins where both are set. No message holds a password or a URI, and passwords are masked in the log, in
plain and as URLs write them, before anything connects.
"""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus

from mongo2pg.errors import PermanentError, PrepareError, TransientError

if TYPE_CHECKING:
    import psycopg
    from airflow.sdk import ObjectStoragePath
    from pymongo.database import Database

    from mongo2pg.books import Connection

SOURCE, TARGET = "deepiri_mongo", "deepiri_postgres"
SOURCE_URI, TARGET_URL = "MONGO_URI", "DATABASE_URL"

FORMS = {
    SOURCE_URI: "mongodb://USER:PASSWORD@HOST:PORT/DATABASE?authSource=admin",
    TARGET_URL: "postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
}
SCHEMES = {SOURCE_URI: ("mongodb", "mongodb+srv"), TARGET_URL: ("postgresql", "postgres")}

STORAGE_FORM = "s3://CONNECTION@BUCKET/PREFIX"
_STORAGE = re.compile(r"s3://(?:(?P<conn_id>[\w.-]+)@)?(?P<place>[a-z0-9][a-z0-9.-]+(?:/[^@?#\s]*)?)")

# Stricter than the drivers, which take a character out of a password for the end of the host and show the rest in a message:
# whatever separates the parts of a URL stands in it once, or percent-encoded.
_URL = re.compile(
    r"(?P<scheme>[^:/?#@\s]+)://(?:(?P<user>[^:/?#@\s]*)(?::(?P<password>[^/?#@\s]*))?@)?"
    r"(?P<hosts>[^/?#@\s]*)(?:/(?P<database>[^/?#@\s]*))?(?:\?(?P<options>[^#@\s]*))?"
)
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_SECRET_OPTION = re.compile("password|authmechanismproperties", re.IGNORECASE)


class _Address(NamedTuple):
    """A URL of the environment that all drivers take apart in the same way."""

    url: str
    secrets: frozenset[str]


# How many seconds a secondary may lag that is read, where the connection says nothing of it: more than drivers must take (90), and
# well below the ten minutes by which windows go back.
MOST_STALE = 120

LENT = (
    "a pooler before PostgreSQL lends the session to others after each transaction (PgBouncer: pool_mode = transaction), and what "
    "this pipeline sets in it would reach the services: connect to the server itself, or by a pool with pool_mode = session"
)


@contextmanager
def source() -> Iterator[Database[Any]]:
    """The database to read.

    Raises PrepareError, and for what MongoDB refuses meanwhile PermanentError or TransientError.
    """
    from pymongo.errors import PyMongoError
    from pymongo.read_concern import ReadConcern
    from pymongo.read_preferences import make_read_preference

    from mongo2pg.databases.connection_faults import refusal, source_fault
    from mongo2pg.databases.snapshot import LOCAL

    # At the level DEBUG the driver writes whole documents to the log.
    logging.getLogger("pymongo").setLevel(logging.INFO)
    connection = _defined(SOURCE)
    connect, secrets = _by_mongo_hook(connection) if connection else _by_mongo_uri()
    try:
        database = connect()
    except PyMongoError as error:
        raise PrepareError([_without(secrets, source_fault(error))]) from None
    if not database.read_concern.level:
        # Before MongoDB 5.0 the secondaries of a sharded cluster, if nobody says otherwise, also give documents that have moved to
        # another shard (manual, "Read Concern available").
        database = database.with_options(read_concern=ReadConcern(LOCAL))
    read = database.read_preference
    if read.mode and read.max_staleness == -1:  # not the primary, but others however late
        # What one that lags lacks, or has in an older version, the next window must read again.
        database = database.with_options(read_preference=make_read_preference(read.mode, read.tag_sets, MOST_STALE))
    with database.client:
        try:
            yield database
        except PyMongoError as error:
            raise refusal(error).with_traceback(error.__traceback__) from None


@contextmanager
def target() -> Iterator[Connection]:
    """A session on the database to write, with the settings that every stage relies on; the log says whom it waits for.

    Raises PrepareError, also for a pooler that would mix sessions; and for what PostgreSQL refuses, while it lasts too,
    PermanentError or TransientError.
    """
    import psycopg

    from mongo2pg import books
    from mongo2pg.databases.connection_faults import target_fault
    from mongo2pg.databases.waiting import waits_told

    connection = _defined(TARGET)
    connect, secrets = _by_postgres_hook(connection) if connection else _by_database_url()
    try:
        session = connect()
    except psycopg.Error as error:
        raise TransientError(_without(secrets, target_fault(error))) from None
    with session:
        try:
            if _lends_sessions(session, connect):
                raise PrepareError([LENT])
            books.open_session(session)
            with waits_told(session):
                yield session
        except psycopg.Error as error:
            raise _without_rows(error).with_traceback(error.__traceback__) from None


def object_storage(uri: str) -> ObjectStoragePath:
    """The place that s3://CONNECTION@BUCKET/PREFIX names, by Airflow's connection of that id.

    Without CONNECTION@ keys come from the machine (its role, or AWS_… variables). Raises PrepareError.
    """
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.io import has_fs

    found = _STORAGE.fullmatch(uri)
    # What is no URI of the form is not shown: somebody may have written keys into it.
    if not found:
        raise PrepareError([f"MONGO2PG_STAGING cannot be read: write it as a folder's path, or as {STORAGE_FORM}"])
    conn_id = found["conn_id"]
    if conn_id:
        connection = _defined(conn_id)
        if not connection:
            raise PrepareError(
                [f"MONGO2PG_STAGING names the connection {conn_id}, which is not defined: define AIRFLOW_CONN_{conn_id.upper()}"]
            )
        _mask(connection.password)
    place = ObjectStoragePath(f"s3://{found['place']}", conn_id=conn_id)
    try:
        files = place.fs if has_fs("s3") else None
    except ImportError:  # the provider is there, its library is not
        files = None
    if files is None:
        raise PrepareError(
            ["MONGO2PG_STAGING is in S3, which this Airflow cannot open: install apache-airflow-providers-amazon[s3fs]"]
        )
    # Other workers write there, too: a listing that was kept would hide what they wrote since.
    files.dircache.use_listings_cache = False
    return place


# --- Airflow's connections -------------------------------------------------------------------------------------------


def _defined(conn_id: str) -> Any | None:
    """Airflow's connection of that id; None where nobody defined one."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        variable = f"AIRFLOW_CONN_{conn_id.upper()}"
        # Airflow looks elsewhere when it cannot read the variable; who set it does not expect another database to be moved.
        if os.environ.get(variable):
            raise PrepareError([f"{variable} cannot be read: write it as one JSON object"]) from None
        return None


def _by_mongo_hook(connection: Any) -> tuple[Callable[[], Database[Any]], frozenset[str]]:
    from airflow.providers.mongo.hooks.mongo import MongoHook

    if connection.conn_type != MongoHook.conn_type:
        raise PrepareError(
            [f"the connection {SOURCE} is of the type {connection.conn_type!r}: make it mongo, or put a URI into {SOURCE_URI}"]
        )
    if not connection.schema:
        raise PrepareError([f"the connection {SOURCE} names no database: set its schema"])
    secrets = _mask(connection.password)
    return lambda: MongoHook(mongo_conn_id=SOURCE).get_conn()[connection.schema], secrets


def _by_postgres_hook(connection: Any) -> tuple[Callable[[], Any], frozenset[str]]:
    from airflow.providers.postgres.hooks.postgres import PostgresHook

    if connection.conn_type != PostgresHook.conn_type:
        raise PrepareError([f"the connection {TARGET} is of the type {connection.conn_type!r}: make it postgres"])
    # PostgreSQL would take the user's name for it.
    if not (connection.schema or connection.extra_dejson.get("dbname")):
        raise PrepareError([f"the connection {TARGET} names no database: set its schema"])
    return PostgresHook(postgres_conn_id=TARGET).get_conn, _mask(connection.password)


# --- the platform's own variables ------------------------------------------------------------------------------------


def _by_mongo_uri() -> tuple[Callable[[], Database[Any]], frozenset[str]]:
    from pymongo import MongoClient
    from pymongo.errors import InvalidURI

    address = _address(SOURCE_URI, SOURCE)

    def connect() -> Database[Any]:
        try:
            return MongoClient[Any](address.url).get_default_database()
        except (InvalidURI, ValueError, TypeError) as error:
            raise _unreadable(SOURCE_URI, _without(address.secrets, str(error))) from None

    return connect, address.secrets


def _by_database_url() -> tuple[Callable[[], Connection], frozenset[str]]:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    address = _address(TARGET_URL, TARGET)
    try:
        conninfo_to_dict(address.url)
    except psycopg.ProgrammingError as error:
        raise _unreadable(TARGET_URL, _without(address.secrets, str(error).strip())) from None
    return lambda: psycopg.connect(address.url), address.secrets


def _address(variable: str, conn_id: str) -> _Address:
    """The variable's URL, if it can be taken apart in one way only and names a database. Raises PrepareError."""
    url = os.environ.get(variable, "").strip()
    if not url:
        raise PrepareError(
            [
                f"neither the connection {conn_id} nor {variable} is set: define AIRFLOW_CONN_{conn_id.upper()},"
                f" or {variable} as {FORMS[variable]}"
            ]
        )
    parts = _URL.fullmatch(url)
    if not parts or _STRAY_PERCENT.search(url) or not _is_text(url):
        raise _unreadable(variable)
    if parts["scheme"] not in SCHEMES[variable]:
        raise PrepareError([f"{variable} begins with neither {' nor '.join(f'{scheme}://' for scheme in SCHEMES[variable])}"])
    if not parts["database"]:
        raise PrepareError([f"{variable} names no database: write it as {FORMS[variable]}"])
    options = parse_qsl((parts["options"] or "").replace(";", "&"), keep_blank_values=True)
    hidden = [value for name, value in options if _SECRET_OPTION.search(name)]
    return _Address(url, _mask(parts["password"], *hidden))


def _is_text(url: str) -> bool:
    try:
        unquote(url, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _unreadable(variable: str, reason: str = "") -> PrepareError:
    why = f" ({reason})" if reason else ""
    form = f"write it as {FORMS[variable]}, with / ? # @ : % and spaces in user and password percent-encoded"
    return PrepareError([f"{variable} cannot be read{why}: {form}"])


def _lends_sessions(session: Connection, connect: Callable[[], Connection]) -> bool:
    """Whether what is set in this session is seen in another one, or not in this one any more."""
    row = session.execute("SELECT pg_backend_pid()").fetchone()
    session.commit()
    if row == (session.info.backend_pid,):
        return False  # the process that the server named when it let us in: nobody stands between
    # A setting of no meaning to anybody, for others may get to see it.
    mark = uuid.uuid4().hex
    session.execute("SELECT set_config('mongo2pg.mark', %s, false)", (mark,))
    session.commit()
    found: list[Any] = []
    with connect() as other:
        for each in (other, session):
            found += each.execute("SELECT current_setting('mongo2pg.mark', true)").fetchone() or ()
            each.commit()  # one who waits for the other one's turn would wait for ever
    return found != [None, mark]


def _without_rows(error: psycopg.Error) -> PermanentError | TransientError:
    """PostgreSQL's error without its details: in them stand whole rows, sensitive columns and all."""
    import psycopg

    from mongo2pg.databases.connection_faults import first_line

    facts = error.diag
    places = [facts.table_name, facts.column_name, facts.constraint_name]
    where = ", ".join(f"{kind} {name}" for kind, name in zip(("table", "column", "constraint"), places, strict=True) if name)
    said = f"PostgreSQL: {facts.message_primary or first_line(error)}" + (f" ({where})" if where else "")
    # What a retry may cure (a lost connection, a deadlock, a full disk) is an OperationalError to psycopg; but for a primary that
    # became a standby: the next connection finds its successor.
    again = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | psycopg.errors.ReadOnlySqlTransaction)
    return TransientError(said) if again else PermanentError(said)


# --- secrets ---------------------------------------------------------------------------------------------------------


def _mask(*secrets: str | None) -> frozenset[str]:
    """Has Airflow mask the secrets in every log line from here on; returns all forms in which they could appear."""
    from airflow.sdk.log import mask_secret

    plain = {form for secret in secrets if secret for form in (secret, unquote(secret), unquote_plus(secret))}
    forms = plain | {form for secret in plain for form in (quote(secret, safe=""), quote_plus(secret))}
    for form in forms:
        mask_secret(form)
    return frozenset(forms)


def _without(secrets: frozenset[str], text: str) -> str:
    """The text with the secrets taken out, the longest first: one may be the beginning of another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
