"""Finds everything that can be wrong from outside before a row moves, then makes the books and the tables."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymongo
from psycopg import sql
from pymongo.database import Database
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from mongo2pg import books
from mongo2pg.books import Connection
from mongo2pg.databases.connection_faults import first_line, is_unauthorized, source_fault
from mongo2pg.databases.window import index_faults
from mongo2pg.errors import PrepareError, TransientError
from mongo2pg.files.staging import written
from mongo2pg.model import Domain
from mongo2pg.queries import TARGET, comma, quoted, target
from mongo2pg.target import catalog, lineage, schema
from mongo2pg.target.guards import guards
from mongo2pg.target.scripts import script_faults

if TYPE_CHECKING:
    from upath.extensions import ProxyUPath

    from mongo2pg.files.staging import StagingPath

log = logging.getLogger(__name__)

# A server that is there answers in milliseconds; who mistyped a host should not wait for the driver's half minute.
SERVER_SECONDS = 10


def check(
    database: Database[Any] | None,
    conn: Connection,
    domain: Domain,
    staging_root: StagingPath,
    scan_limit: int | None = None,
    *,
    whole: bool = True,
) -> None:
    """Raises PrepareError with every fault that can be found without writing anything.

    A run that does not read the source has no `database`. Where windows are to be read, `scan_limit` says up to how many bytes a
    collection may be scanned for one. A run that is not about `whole` collections fills no table that is gone, and knows nothing of
    what stood in books that are.
    """
    if faults := script_faults(domain):
        raise PrepareError(faults)
    faults = source_faults(database, domain) if database is not None else []
    faults += staging_faults(staging_root) + target_faults(conn, domain)
    if not faults and not whole:
        faults = _lost_books(conn, domain) or _unfilled_tables(conn, domain.only(_moved_in_full(conn, domain)))
    if not faults and database is not None and scan_limit is not None:
        faults = index_faults(database, domain.only(_moved_in_full(conn, domain)), scan_limit)
    if faults:
        raise PrepareError(faults)


def prepare(
    database: Database[Any] | None,
    conn: Connection,
    domain: Domain,
    staging_root: StagingPath,
    scan_limit: int | None = None,
    *,
    whole: bool = True,
) -> None:
    """Raises PrepareError with every fault that `check` finds, nothing written; else books and tables exist when this returns."""
    check(database, conn, domain, staging_root, scan_limit, whole=whole)
    with conn.transaction():
        books.install(conn)
        if faults := schema.create_tables(conn, domain):
            raise PrepareError(faults)
        phases = books.phases(conn, domain.name, [collection.name for collection in domain.collections])
        untouched = [table.name for each in domain.collections if phases[each.name][0] == "empty" for table in each.tables]
        if faults := catalog.differences(conn, domain) + _left_by_others(conn, untouched):
            raise PrepareError(faults)
        lineage.write_comments(conn, domain)


def source_faults(database: Database[Any], domain: Domain) -> list[str]:
    """What keeps the collections from being read. A server that cannot be reached now is no such thing: TransientError."""
    try:
        with pymongo.timeout(SERVER_SECONDS):
            listed = database.list_collections(authorizedCollections=True, nameOnly=True)
            present = {each["name"]: each.get("type", "collection") for each in listed}
            missing = [c for c in domain.collections if c.name not in present]
            faults = [_unreadable(database, c.name, present[c.name]) for c in domain.collections if c.name in present]
    except PyMongoError as error:
        if isinstance(error, AutoReconnect):
            raise TransientError(source_fault(error)) from None  # a fail-over or a restart, of which schedules must not turn red
        return [source_fault(error)]
    wanted = [c.name for c in missing if not c.optional]
    if not present:
        return [
            f"the MongoDB database {database.name!r} does not exist, is empty, or shows nothing to this user: "
            "check the connection's schema and grant the role read"
        ]
    return [fault for fault in faults if fault] + [
        f"the collection {database.name}.{name} is missing, or this user may not see it: grant read, or declare it optional"
        for name in wanted
    ]


def _unreadable(database: Database[Any], name: str, kind: str) -> str | None:
    if kind != "collection":  # a view or a time series has no index on `_id`, by which chunks are cut and deletes are found
        return f"{database.name}.{name} is a {kind}, and only collections are moved: declare what holds its documents, or copy them"
    try:
        # Raw: whether the document can be decoded is no matter of access.
        list(database[name].find_raw_batches({}, {"_id": 1}).limit(-1))
    except OperationFailure as error:
        if is_unauthorized(error):
            return f"MongoDB does not let this user read {database.name}.{name}: grant it the role read"
        raise
    return None


def staging_faults(root: StagingPath) -> list[str]:
    """What keeps files from being written below the staging root."""
    return _folder_faults(root) if isinstance(root, Path) else _storage_faults(root)


def _folder_faults(root: Path) -> list[str]:
    try:
        _try_to_stage(root)
    except OSError as error:
        return [f"the staging folder {root} cannot be written ({error.strerror}): set MONGO2PG_STAGING to one that this user owns"]
    return []


def _storage_faults(root: ProxyUPath) -> list[str]:
    try:
        _try_to_stage(root)
    except FileNotFoundError:
        return [f"the bucket of {root} does not exist: create it, or set MONGO2PG_STAGING to another"]
    except PermissionError as error:
        return [
            f"the object store does not let this user write, list and delete below {root} ({error}): "
            "correct login and password of the connection, or the rights on the bucket"
        ]
    except Exception as error:  # the libraries of object stores share no class of errors
        return [
            f"the object store of {root} cannot be reached ({type(error).__name__}: {first_line(error)}): "
            "check endpoint_url and region_name of the connection, and the server"
        ]
    return []


def _try_to_stage(root: StagingPath) -> None:
    probe = root / f"probe-{uuid.uuid4().hex}"
    with written(probe) as file:
        file.write(b"mongo2pg")
    probe.unlink()
    probe.exists()  # whoever may not list a bucket is refused the names that are not there


def target_faults(conn: Connection, domain: Domain) -> list[str]:
    """What keeps the books and the tables from being made, read from the catalog alone."""
    answer = conn.execute(
        """
        SELECT quote_ident(current_user), quote_ident(current_database()), current_setting('server_version_num')::int,
               has_database_privilege(current_database(), 'CREATE'), has_schema_privilege(%s, 'CREATE'),
               to_regnamespace('migration') IS NOT NULL,
               to_regnamespace('migration') IS NULL OR has_schema_privilege('migration', 'CREATE'),
               has_database_privilege(current_database(), 'TEMPORARY'), current_setting('server_encoding'),
               current_setting('transaction_read_only')::boolean, pg_is_in_recovery()
        """,
        (TARGET,),
    ).fetchall()
    ((user, database, version, may_create_schema, may_create_table, has_books, may_book, may_use_temporary, *of_server),) = answer
    encoding, reads_only, is_standby = of_server
    faults = []
    if is_standby:
        faults.append(
            "this PostgreSQL is a standby, which nobody can write: connect to the primary (target_session_attrs=read-write)"
        )
    elif reads_only:
        faults.append(f"{user} may only read: take default_transaction_read_only off this role, this database or the server")
    if version < 140000:
        faults.append(f"PostgreSQL {version // 10000} is too old: the pipeline needs 14 or newer")
    if encoding != "UTF8":
        faults.append(
            f"the database {database} holds {encoding}, which lacks characters that MongoDB has: make one WITH ENCODING 'UTF8'"
        )
    if not has_books and not may_create_schema:
        faults.append(f"{user} may not create the schema migration: GRANT CREATE ON DATABASE {database} TO {user}")
    if not may_book:
        faults.append(f"{user} may not create in the schema migration: GRANT ALL ON SCHEMA migration TO {user}")
    if not may_create_table and not _all_tables_exist(conn, domain):
        faults.append(f"{user} may not create tables: GRANT CREATE ON SCHEMA {TARGET} TO {user}")
    if not may_use_temporary:
        faults.append(f"{user} may not make temporary tables: GRANT TEMPORARY ON DATABASE {database} TO {user}")
    # Whoever may write a table but does not own it would find out after the load, when keys and indexes are to be built.
    foreign = conn.execute(
        """
        SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT pg_has_role(c.relowner, 'USAGE')
          AND (n.nspname = %s AND c.relname = ANY(%s) OR n.nspname = 'migration' AND c.relkind = 'r')
        UNION ALL
        SELECT p.oid::regprocedure::text FROM pg_proc p
        WHERE p.pronamespace = to_regnamespace('migration') AND NOT pg_has_role(p.proowner, 'USAGE')
        ORDER BY 1
        """,
        (TARGET, [table.name for table in domain.tables]),
    )
    faults += [f"{user} may not change {name}: make {user} its owner" for (name,) in foreign]
    return faults + catalog.differences(conn, domain)


def _moved_in_full(conn: Connection, domain: Domain) -> list[str]:
    """The collections that windows are read of: those with a complete first load."""
    if not books.are_there(conn):
        return []
    phases = books.phases(conn, domain.name, [collection.name for collection in domain.collections])
    return [name for name, (phase, _, _) in phases.items() if phase == "complete"]


def _lost_books(conn: Connection, domain: Domain) -> list[str]:
    return [f"{name} of the books is gone: run {domain.name} with mode full, which makes it again" for name in books.lost(conn)]


def _unfilled_tables(conn: Connection, moved: Domain) -> list[str]:
    """The tables of loaded collections that are gone, or that a run made anew and did not fill: one that is filled has a key."""
    filled = schema.complete_tables(conn)
    return [
        f"the table {TARGET}.{table.name} of the loaded collection {collection.name} "
        f"{'has no primary key, as if nobody had filled it' if schema.exists(conn, table.name) else 'is gone'}: "
        f"run {moved.name} with mode full"
        for collection in moved.collections
        for table in collection.tables
        if table.name not in filled
    ]


def _all_tables_exist(conn: Connection, domain: Domain) -> bool:
    return all(schema.exists(conn, table.name) for table in domain.tables)


def _left_by_others(conn: Connection, tables: Sequence[str]) -> list[str]:
    """Rows and keys of tables that the books say nobody loaded: a first load would mix with those, and be refused by these."""
    holds_rows = comma(sql.SQL("EXISTS (SELECT FROM {})").format(target(name)) for name in tables)
    found = conn.execute(sql.SQL("SELECT {}").format(holds_rows)).fetchone() or ()
    written_as = quoted(conn, tables)
    return [
        f"{TARGET}.{name} holds rows that no run of this pipeline loaded: move them away or empty the table first"
        for name, holds in zip(tables, found, strict=True)
        if holds
    ] + [
        f"{TARGET}.{name} has keys that no run of this pipeline built: DROP TABLE {TARGET}.{written_as[name]} CASCADE, "
        "and a run makes it anew"
        for name, keys in guards(conn, tables).items()
        if keys
    ]
