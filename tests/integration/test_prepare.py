"""Whatever is wrong outside is found before anything is written, and the message says what to do without a password."""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import socket
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from deepiri.auth import AUTH
from demo.processes import free_port
from mongo2pg import books
from mongo2pg.databases import connections
from mongo2pg.errors import PermanentError, PrepareError, TransientError
from mongo2pg.model import Collection, Domain
from mongo2pg.planning.modes import INCREMENTAL, Request
from mongo2pg.planning.prepare import prepare
from mongo2pg.target import scripts
from tests.documents import COLLECTIONS, connection, fill, oid, point, skill_tree, user
from tests.mover import Mover, outcome

OPTIONAL = replace(AUTH, collections=tuple(replace(collection, optional=True) for collection in AUTH.collections))


class Outside:
    """Everything that a run meets outside: two servers, two connections and a folder. `fault` runs prepare as the task does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, source: Any, target: Any, staging: Path) -> None:
        self._monkeypatch, self.source, self.target, self.staging = monkeypatch, source, target, staging
        self.login = target
        self.passwords = {source.password, target.password}
        self.connect_mongo()
        self.connect_postgres()

    def connect_mongo(self, **changes: Any) -> None:
        self._set("AIRFLOW_CONN_DEEPIRI_MONGO", self.source.airflow_connection(), changes)

    def connect_postgres(self, **changes: Any) -> None:
        self._set("AIRFLOW_CONN_DEEPIRI_POSTGRES", self.target.airflow_connection(), changes)

    def _set(self, name: str, value: str, changes: dict[str, Any]) -> None:
        if "password" in changes:
            self.passwords.add(changes["password"])
        self._monkeypatch.setenv(name, json.dumps(json.loads(value) | changes))

    def unset(self, name: str) -> None:
        self._monkeypatch.delenv(name)

    def fault(self, domain: Domain = AUTH, *, shows_form: bool = False) -> str:
        """What prepare says; the target and the staging folder are as before. `shows_form`: of a URI, with nothing of ours."""
        before = self.written()
        with (
            pytest.raises((PrepareError, TransientError)) as refusal,
            connections.source() as database,
            connections.target() as conn,
        ):
            prepare(database, conn, domain, self.staging)
        assert self.written() == before
        said = str(refusal.value)
        assert refusal.value.__cause__ is None
        for password in self.passwords:
            for form in {password, quote(password), quote_plus(password)}:
                assert form not in said
        assert "://" not in said or shows_form
        return said

    def passes(self, domain: Domain = AUTH) -> None:
        with connections.source() as database, connections.target() as conn:
            prepare(database, conn, domain, self.staging)

    def written(self) -> tuple[list[Any], list[str]]:
        """Everything that stands in the target, row counts apart, and the files below the staging folder."""
        with self.login.connect() as conn:
            names = conn.execute(
                """
                SELECT n.nspname::text, c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull
                FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid
                LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
                WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1, 2, 3
                """
            ).fetchall()
        staged = sorted(str(path) for path in self.staging.rglob("*")) if self.staging.is_dir() else []
        return names, staged


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, source, target, mongo_database, tmp_path: Path) -> Outside:
    """Nothing wrong yet."""
    fill(mongo_database, users=[user(1)])
    for name in ("MONGO_URI", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return Outside(monkeypatch, source, target, tmp_path / "staging")


def test_when_nothing_is_wrong_books_and_empty_tables_are_made(outside: Outside) -> None:
    outside.passes()
    made = {(schema, table) for schema, table, *_ in outside.written()[0] if table}
    assert made >= {("public", table.name) for table in AUTH.tables} | {("migration", "passes"), ("migration", "rejects")}
    with outside.target.connect() as conn:
        for table in AUTH.tables:
            assert conn.execute(f"SELECT count(*) FROM public.{table.name}".encode()).fetchone() == (0,)
    outside.passes()


# ------------------------------------------------------------------------------------------------------ connections


def test_a_mongodb_that_is_not_there_may_be_there_when_the_task_is_tried_again(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mongo2pg.planning.prepare.SERVER_SECONDS", 1)
    outside.connect_mongo(port=free_port())
    said = outside.fault()
    assert said.startswith("MongoDB cannot be reached"), "a PrepareError, which ends the run, begins otherwise"
    assert "Connection refused" in said
    assert "check host and port of the connection, and the server" in said


def test_a_postgresql_that_is_not_there(outside: Outside) -> None:
    outside.connect_postgres(port=free_port())
    said = outside.fault()
    assert "PostgreSQL cannot be reached" in said
    assert "Connection refused" in said
    assert "check host, port, user, password and database of the connection" in said


@pytest.mark.parametrize("password", ["wrong-password", "p@ss/w:rd%+ ü"])
def test_a_wrong_password_for_mongodb(outside: Outside, password: str) -> None:
    outside.connect_mongo(password=password)
    said = outside.fault()
    assert "MongoDB refuses the user or the password: correct the connection" in said
    assert "authSource" in said


@pytest.mark.parametrize("password", ["wrong-password", "p@ss/w:rd%+ ü"])
def test_a_wrong_password_for_postgresql(outside: Outside, password: str) -> None:
    outside.connect_postgres(password=password)
    said = outside.fault()
    assert "password authentication failed" in said
    assert "check host, port, user, password and database" in said


def test_a_mongodb_database_that_does_not_exist(outside: Outside, mongo) -> None:
    name = f"nowhere_{secrets.token_hex(4)}"
    login = mongo.create_user(name, "read", name)
    outside.passwords.add(login.password)
    outside.connect_mongo(login=login.user, password=login.password, schema=name)
    said = outside.fault()
    assert f"the MongoDB database '{name}' does not exist, is empty, or shows nothing to this user" in said
    assert "check the connection's schema and grant the role read" in said
    mongo.drop_user(name)


def test_a_postgresql_database_that_does_not_exist(outside: Outside) -> None:
    outside.connect_postgres(schema="nowhere")
    said = outside.fault()
    assert 'database "nowhere" does not exist' in said
    assert "check host, port, user, password and database" in said


def test_a_mongodb_database_that_the_connection_does_not_name(outside: Outside) -> None:
    outside.connect_mongo(schema="")
    assert "the connection deepiri_mongo names no database: set its schema" in outside.fault()


def test_a_postgresql_database_that_the_connection_does_not_name(outside: Outside) -> None:
    outside.connect_postgres(schema="")
    assert "the connection deepiri_postgres names no database: set its schema" in outside.fault()


@pytest.mark.parametrize("variable", ["AIRFLOW_CONN_DEEPIRI_MONGO", "AIRFLOW_CONN_DEEPIRI_POSTGRES"])
def test_a_variable_that_is_not_set(outside: Outside, variable: str) -> None:
    outside.unset(variable)
    assert f"define {variable}" in outside.fault(shows_form=True)


# ------------------------------------------------------------------------------------------------------- the source


@pytest.mark.parametrize("missing", [("users",), ("skilltrees", "progresspoints")])
def test_a_missing_collection_is_named(outside: Outside, mongo_database, missing: tuple[str, ...]) -> None:
    for name in missing:
        mongo_database.drop_collection(name)
    said = outside.fault()
    for name in COLLECTIONS:
        line = f"the collection {mongo_database.name}.{name} is missing, or this user may not see it: grant read, or declare it "
        assert (line in said) == (name in missing)


def test_a_view_in_the_place_of_a_collection_is_named(outside: Outside, mongo_database) -> None:
    mongo_database.users.rename("people")
    mongo_database.create_collection("users", viewOn="people", pipeline=[])
    assert f"{mongo_database.name}.users is a view, and only collections are moved" in outside.fault()


def test_an_optional_collection_may_be_missing(outside: Outside, mongo_database) -> None:
    mongo_database.drop_collection("skilltrees")
    outside.passes(OPTIONAL)


def test_a_run_without_an_optional_collection_passes(mongo_database, target, tmp_path: Path) -> None:
    fill(mongo_database, users=[user(1)])
    mongo_database.drop_collection("skilltrees")
    with target.connect() as conn:
        moved = Mover(mongo_database, conn, tmp_path, OPTIONAL).passed("run")
    assert (moved["users"]["inserted"], moved["skilltrees"]["read"]) == (1, 0)


def test_a_user_who_may_not_read_the_database(outside: Outside, mongo) -> None:
    login = mongo.create_user("stranger", "read", "another_database")
    outside.passwords.add(login.password)
    outside.connect_mongo(login=login.user, password=login.password)
    said = outside.fault()
    assert "grant the role read" in said or "grant read" in said
    mongo.drop_user("stranger")


# ------------------------------------------------------------------------------------------------------- the target


@pytest.fixture
def clerk(postgres, target, outside: Outside) -> Iterator[str]:
    """A role that may connect to the target and nothing else, as SQL writes its name; the connection is its own."""
    login = f"clerk@{secrets.token_hex(4)}"
    password = postgres.server.create_role(login)
    outside.connect_postgres(login=login, password=password)
    name = f'"{login}"'
    yield name
    with postgres.server.login(target.dbname, "postgres", postgres.server.superuser.password).connect(autocommit=True) as conn:
        conn.execute(f"DROP OWNED BY {name} CASCADE".encode())
        conn.execute(f"DROP ROLE {name}".encode())


def execute(login: Any, *statements: str) -> None:
    with login.connect(autocommit=True) as conn:
        for statement in statements:
            conn.execute(statement.encode())


def test_a_role_that_may_create_nothing(outside: Outside, target, clerk: str) -> None:
    said = outside.fault()
    assert f"GRANT CREATE ON DATABASE {target.dbname} TO {clerk}" in said
    assert f"GRANT CREATE ON SCHEMA public TO {clerk}" in said


def test_a_role_that_may_create_no_table(outside: Outside, target, clerk: str) -> None:
    execute(target, f"GRANT CREATE ON DATABASE {target.dbname} TO {clerk}")
    said = outside.fault()
    assert f"{clerk} may not create tables: GRANT CREATE ON SCHEMA public TO {clerk}" in said
    assert "ON DATABASE" not in said


def test_a_role_that_may_not_use_the_books(outside: Outside, target, clerk: str) -> None:
    execute(target, "CREATE SCHEMA migration", f"GRANT CREATE ON SCHEMA public TO {clerk}")
    assert f"{clerk} may not create in the schema migration: GRANT ALL ON SCHEMA migration TO {clerk}" in outside.fault()


def test_the_grants_that_the_messages_ask_for_are_enough(outside: Outside, target, clerk: str) -> None:
    execute(target, f"GRANT CREATE ON DATABASE {target.dbname} TO {clerk}", f"GRANT CREATE ON SCHEMA public TO {clerk}")
    outside.passes()


def test_a_table_that_the_role_may_not_write(outside: Outside, target, clerk: str) -> None:
    execute(target, f"GRANT CREATE ON DATABASE {target.dbname} TO {clerk}", f"GRANT CREATE ON SCHEMA public TO {clerk}")
    execute(target, "CREATE TABLE public.users (id uuid NOT NULL)", f"GRANT SELECT ON public.users TO {clerk}")
    assert f"{clerk} may not change public.users: make {clerk} its owner" in outside.fault()


def test_a_table_that_the_role_may_write_but_does_not_own(outside: Outside, target, clerk: str) -> None:
    """Keys and indexes are built by the owner of a table alone: that must not come to light after the load."""
    execute(target, f"GRANT CREATE ON DATABASE {target.dbname} TO {clerk}", f"GRANT CREATE ON SCHEMA public TO {clerk}")
    pre_data = Path(__file__).resolve().parents[2] / "include" / "sql" / "auth" / "pre_data.sql"
    execute(target, pre_data.read_text(), f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {clerk}")
    said = outside.fault()
    for table in AUTH.tables:
        assert f"public.{table.name}: make {clerk} its owner" in said


def test_books_that_belong_to_another_role(outside: Outside, target, clerk: str) -> None:
    with target.connect() as conn:
        books.open_session(conn)
        with conn.transaction():
            books.install(conn)
    execute(target, f"GRANT CREATE ON DATABASE {target.dbname} TO {clerk}", f"GRANT CREATE ON SCHEMA public TO {clerk}")
    execute(target, f"GRANT ALL ON SCHEMA migration TO {clerk}")
    said = outside.fault()
    assert f"{clerk} may not change migration.passes: make {clerk} its owner" in said
    assert f"{clerk} may not change migration.uuid_from_objectid(text): make {clerk} its owner" in said


def test_a_role_that_may_make_no_temporary_table(outside: Outside, target, clerk: str) -> None:
    execute(target, f"REVOKE TEMPORARY ON DATABASE {target.dbname} FROM PUBLIC")
    assert f"GRANT TEMPORARY ON DATABASE {target.dbname} TO {clerk}" in outside.fault()


def test_a_role_that_may_only_read(outside: Outside, target, clerk: str) -> None:
    execute(target, f"GRANT CREATE ON DATABASE {target.dbname} TO {clerk}", f"GRANT CREATE ON SCHEMA public TO {clerk}")
    execute(target, f"ALTER DATABASE {target.dbname} SET default_transaction_read_only = on")
    said = outside.fault()
    execute(
        target, "SET default_transaction_read_only = off", f"ALTER DATABASE {target.dbname} RESET default_transaction_read_only"
    )
    assert f"{clerk} may only read: take default_transaction_read_only off this role" in said


def test_a_database_that_lacks_characters(outside: Outside, target, postgres) -> None:
    narrow = f"{target.dbname}_latin1"
    with postgres.server.superuser.connect(autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {narrow} OWNER mover TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'".encode())
    try:
        outside.connect_postgres(schema=narrow)
        assert f"the database {narrow} holds LATIN1, which lacks characters" in outside.fault()
    finally:
        postgres.server.drop_database(narrow)


# --------------------------------------------------------------------------------------- a schema changed by hand

SUPPRESS = "FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
STATUS = "social_connections_status_check"
OPPOSITE = "the declaration says the opposite"
BY_HAND = [
    ("a column is missing", "ALTER TABLE users DROP bio", "column public.users.bio is missing: add it as text"),
    (
        "a column is shorter",
        "ALTER TABLE users ALTER bio TYPE varchar(9)",
        "users.bio is character varying(9), the declaration says text",
    ),
    (
        "a column is narrower",
        "ALTER TABLE skills ALTER xp TYPE int",
        "column public.skills.xp is integer, the declaration says bigint",
    ),
    (
        "a date has no zone",
        "ALTER TABLE users ALTER updated_at TYPE timestamp",
        "users.updated_at is timestamp without time zone, the decl",
    ),
    ("a column is required", "ALTER TABLE users ALTER name SET NOT NULL", f"column public.users.name is NOT NULL, {OPPOSITE}"),
    ("a column is optional", "ALTER TABLE users ALTER email DROP NOT NULL", f"column public.users.email is nullable, {OPPOSITE}"),
    ("a column is new", "ALTER TABLE users ADD age int", "column public.users.age is not declared: drop it or declare it"),
    ("a column is renamed", "ALTER TABLE users RENAME bio TO life", "column public.users.life is not declared: drop it or declare"),
    (
        "a column is generated",
        "ALTER TABLE users DROP bio, ADD bio text GENERATED ALWAYS AS (email) STORED",
        "generated column bio of",
    ),
    (
        "a column is an identity",
        "ALTER TABLE user_roles ALTER ordinal ADD GENERATED ALWAYS AS IDENTITY",
        "the generated column ordinal of public.user_roles",
    ),
    (
        "a CHECK is new",
        "ALTER TABLE users ADD CONSTRAINT short CHECK (length(password) < 3)",
        "the constraint short of public.users",
    ),
    (
        "a UNIQUE is new",
        "ALTER TABLE users ADD CONSTRAINT one_name UNIQUE (name)",
        "the constraint one_name of public.users is not in",
    ),
    (
        "a unique index is new",
        "CREATE UNIQUE INDEX one_bio ON users (bio)",
        "the unique index one_bio of public.users is not in include",
    ),
    (
        "a foreign key is new",
        "ALTER TABLE users ADD CONSTRAINT fk FOREIGN KEY (id) REFERENCES other (id)",
        "the constraint fk of public",
    ),
    (
        "an enum's CHECK is gone",
        f"ALTER TABLE social_connections DROP CONSTRAINT {STATUS}",
        f"the constraint {STATUS} of public.social",
    ),
    (
        "an enum's CHECK is another",
        f"ALTER TABLE social_connections DROP CONSTRAINT {STATUS}, ADD CONSTRAINT {STATUS} CHECK (status IN ('pending', 'x'))",
        f"the constraint {STATUS} of public.social_connections is missing or lets other values pass than the declaration",
    ),
    (
        "an enum's CHECK is the opposite",
        f"ALTER TABLE social_connections DROP CONSTRAINT {STATUS}, ADD CONSTRAINT {STATUS} "
        "CHECK (status NOT IN ('pending', 'accepted', 'blocked'))",
        f"the constraint {STATUS} of public.social_connections is missing or lets other values pass than the declaration",
    ),
    (
        "an enum's CHECK is not valid",
        f"ALTER TABLE social_connections DROP CONSTRAINT {STATUS}; ALTER TABLE social_connections ADD CONSTRAINT {STATUS} "
        "CHECK (status IN ('pending', 'accepted', 'blocked')) NOT VALID",
        f"the constraint {STATUS} of public.social_connections is missing or lets other values pass than the declaration",
    ),
    (
        "a trigger is new",
        f"CREATE TRIGGER drop_some BEFORE UPDATE ON users {SUPPRESS}",
        "the trigger drop_some of public.users is not",
    ),
    (
        "a rule is new",
        "CREATE RULE never AS ON INSERT TO users DO INSTEAD NOTHING",
        "the rule never of public.users is not in include",
    ),
    (
        "rows are hidden",
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "row-level security of public.users",
    ),
    (
        "an array's key is checked row by row",
        "ALTER TABLE user_roles ADD CONSTRAINT user_roles_user_id_role_key UNIQUE (user_id, role)",
        "the constraint user_roles_user_id_role_key of public.user_roles is another one than in include/sql/auth/post_data.sql",
    ),
    (
        "a foreign key refuses what it should take along",
        "ALTER TABLE users ADD CONSTRAINT users_pkey PRIMARY KEY (id); ALTER TABLE skill_trees ADD CONSTRAINT "
        "skill_trees_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id)",
        "the constraint skill_trees_user_id_fkey of public.skill_trees is another one than in include/sql/auth/post_data.sql",
    ),
    ("a view stands for a table", "DROP TABLE skills; CREATE VIEW skills AS SELECT 1 AS id", "public.skills is a view"),
    (
        "a materialized view stands for a table",
        "DROP TABLE skills; CREATE MATERIALIZED VIEW skills AS SELECT 1 AS id",
        "public.skills is a materialized view",
    ),
    (
        "a table is partitioned",
        "ALTER TABLE skills RENAME TO old; CREATE TABLE skills (LIKE old INCLUDING ALL) PARTITION BY HASH (id); "
        "CREATE TABLE part PARTITION OF skills FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
        "public.skills is a partitioned table",
    ),
    ("a table is unlogged", "ALTER TABLE skills SET UNLOGGED", "a crash empties it: ALTER TABLE public.skills SET LOGGED"),
    ("books are unlogged", "ALTER TABLE migration.passes SET UNLOGGED", "ALTER TABLE migration.passes SET LOGGED"),
    ("a sequence stands for a table", "DROP TABLE skills; CREATE SEQUENCE skills", "public.skills is no table"),
]


@pytest.mark.parametrize(("change", "said"), [case[1:] for case in BY_HAND], ids=[case[0] for case in BY_HAND])
def test_a_schema_changed_by_hand_is_found_before_the_first_load(outside: Outside, target, change: str, said: str) -> None:
    outside.passes()
    execute(target, "CREATE TABLE other (id uuid PRIMARY KEY)", *change.split("; "))
    assert said in outside.fault()


def test_what_only_makes_reading_faster_or_is_switched_off_may_stay(outside: Outside, target) -> None:
    outside.passes()
    execute(target, "CREATE INDEX by_name ON users (name)", f"CREATE TRIGGER off BEFORE UPDATE ON users {SUPPRESS}")
    execute(target, "ALTER TABLE users DISABLE TRIGGER off", "COMMENT ON COLUMN users.bio IS 'ours'")
    outside.passes()


def test_a_column_that_becomes_required_is_made_so_as_prepare_says_and_a_full_run_rejects_what_lacks_it(
    outside: Outside, mongo_database, target, tmp_path: Path
) -> None:
    fill(mongo_database, users=[user(1), user(2, name=...)], skilltrees=[skill_tree(11, oid(1)), skill_tree(12, oid(2))])
    users = AUTH.collection("users")
    users = replace(users, columns=tuple(replace(c, required=True) if c.path == "name" else c for c in users.columns))
    stricter = replace(AUTH, collections=(users, *AUTH.collections[1:]))
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path / "runs")
        mover.passed("first")
        said = outside.fault(stricter)
        for step in ("DELETE FROM public.users WHERE name IS NULL", "ALTER TABLE public.users ALTER name SET NOT NULL"):
            assert step in said
            execute(target, step)
        mover.domain = stricter
        mover.passed("second")
        assert mover.rejects() == {("users", str(oid(2)), "name", "required"), ("skilltrees", str(oid(12)), "userId", "orphan")}
        assert mover.run("reconcile").reconcile()["passed"]
        mongo_database.users.update_one({"_id": oid(2)}, {"$set": {"name": "Two"}})
        mover.passed("third")
        assert mover.rejects() == set()
        assert mover.column("SELECT count(*) FROM skill_trees") == [2]


def test_a_value_that_an_enum_loses_goes_as_prepare_says_and_a_full_run_keeps_it_in_extra(
    outside: Outside, mongo_database, target, tmp_path: Path
) -> None:
    links = [connection(21, oid(1), oid(2), status="blocked"), connection(22, oid(2), oid(1))]
    fill(mongo_database, users=[user(1), user(2)], socialconnections=links)
    narrower = replace(AUTH, collections=tuple(map(without_blocked, AUTH.collections)))
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path / "runs")
        mover.passed("first")
        said = outside.fault(narrower)
        steps = "rows with others are made NULL there first, and keep theirs in extra once auth has run with mode full"
        assert (
            f"lets other values pass than the declaration: make it as it stands in include/sql/auth/pre_data.sql; {steps}" in said
        )
        execute(
            target,
            "UPDATE social_connections SET status = NULL WHERE status = 'blocked'",
            f"ALTER TABLE social_connections DROP CONSTRAINT {STATUS}",
            f"ALTER TABLE social_connections ADD CONSTRAINT {STATUS} CHECK (status IN ('pending', 'accepted'))",
        )
        mover.domain = narrower
        mover.passed("second")
        assert mover.rows("SELECT status, extra FROM social_connections ORDER BY id") == [
            (None, {"status": "blocked"}),
            ("accepted", None),
        ]


def without_blocked(collection: Collection) -> Collection:
    columns = (replace(c, enum=c.enum[:2]) if c.enum[2:] == ("blocked",) else c for c in collection.columns)
    return replace(collection, columns=tuple(columns))


def test_every_change_is_said_at_once(outside: Outside, target, mongo_database) -> None:
    outside.passes()
    execute(target, "ALTER TABLE users DROP COLUMN bio", "ALTER TABLE skills ADD COLUMN more text")
    mongo_database.drop_collection("progresspoints")
    said = outside.fault()
    assert said.splitlines()[0] == "nothing was written, because:"
    assert [line[:20] for line in said.splitlines()[1:]] == [
        "- the collection " + mongo_database.name[:3],
        *["- column public.user", "- column public.skil"],
    ]


def test_keys_that_somebody_dropped_are_built_again_by_the_next_run(mongo_database, target, tmp_path: Path) -> None:
    fill(mongo_database, users=[user(1), user(2)])
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path)
        mover.passed("first")
        query = "SELECT conname::text FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1"
        before = mover.column(query)
        execute(target, "ALTER TABLE users DROP CONSTRAINT users_email_key", "ALTER TABLE users DROP CONSTRAINT users_pkey CASCADE")
        mover.passed("second")
        assert mover.column(query) == before


USERS_KEY = "ALTER TABLE users DROP CONSTRAINT users_email_key"
TREES_KEY = "ALTER TABLE skill_trees DROP CONSTRAINT skill_trees_user_id_fkey"
TO_USERS = "ALTER TABLE skill_trees ADD CONSTRAINT skill_trees_user_id_fkey FOREIGN KEY (user_id) REFERENCES"
TAKEN = [
    (
        "a key stands for other columns",
        [USERS_KEY, "ALTER TABLE users ADD CONSTRAINT users_email_key UNIQUE (email, name)"],
        "the constraint users_email_key of public.users is another one than in include/sql/auth/post_data.sql: "
        "ALTER TABLE public.users DROP CONSTRAINT users_email_key, and a run builds it again",
        ["ALTER TABLE public.users DROP CONSTRAINT users_email_key"],
    ),
    (
        "a key's name is another table's",
        [USERS_KEY, "CREATE TABLE others (email text CONSTRAINT users_email_key UNIQUE)"],
        "users_email_key of public.users cannot be built, its name is that of an index of public.others: "
        "ALTER INDEX public.users_email_key RENAME TO …, or drop that",
        ["ALTER INDEX public.users_email_key RENAME TO others_email_key"],
    ),
    (
        "an index has a key's name",
        [USERS_KEY, "CREATE UNIQUE INDEX users_email_key ON users (email)"],
        "users_email_key of public.users cannot be built, its name is that of an index of public.users: ALTER INDEX",
        ["DROP INDEX public.users_email_key"],
    ),
    (
        "a table has a key's name",
        [USERS_KEY, "CREATE TABLE users_email_key ()"],
        "users_email_key of public.users cannot be built, its name is that of a table, view or sequence: ALTER TABLE public.users",
        ["ALTER TABLE public.users_email_key RENAME TO other"],
    ),
    (
        "a foreign key is not valid",
        [TREES_KEY, f"{TO_USERS} users (id) ON DELETE CASCADE NOT VALID"],
        "the constraint skill_trees_user_id_fkey of public.skill_trees is not valid, no older row was looked at: "
        "ALTER TABLE public.skill_trees VALIDATE CONSTRAINT skill_trees_user_id_fkey, or ALTER TABLE public.skill_trees DROP",
        ["ALTER TABLE public.skill_trees VALIDATE CONSTRAINT skill_trees_user_id_fkey"],
    ),
    (
        "a foreign key goes elsewhere",
        [
            TREES_KEY,
            "CREATE TABLE people (id) AS SELECT id FROM users",
            "ALTER TABLE people ADD UNIQUE (id)",
            f"{TO_USERS} people (id)",
        ],
        "the constraint skill_trees_user_id_fkey of public.skill_trees is another one than in include/sql/auth/post_data.sql: ",
        ["ALTER TABLE public.skill_trees DROP CONSTRAINT skill_trees_user_id_fkey"],
    ),
    (
        "an index stands for another column",
        ["DROP INDEX progress_points_user_id_idx", "CREATE INDEX progress_points_user_id_idx ON progress_points (metric)"],
        "the index progress_points_user_id_idx of public.progress_points is another one than in include/sql/auth/post_data.sql: ",
        ["DROP INDEX public.progress_points_user_id_idx"],
    ),
    (
        "an index is another table's",
        ["DROP INDEX progress_points_user_id_idx", "CREATE INDEX progress_points_user_id_idx ON users (bio)"],
        "progress_points_user_id_idx of public.progress_points cannot be built, its name is that of an index of public.users: ",
        ["ALTER INDEX public.progress_points_user_id_idx RENAME TO users_bio_idx"],
    ),
]


@pytest.mark.parametrize(("change", "said", "mended"), [case[1:] for case in TAKEN], ids=[case[0] for case in TAKEN])
def test_a_name_that_stands_for_something_else_is_said_with_the_way_out(
    outside: Outside, mongo_database, target, tmp_path: Path, change: list[str], said: str, mended: list[str]
) -> None:
    fill(mongo_database, users=[user(1), user(2)], skilltrees=[skill_tree(11, user(1)["_id"])])
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path / "runs")
        mover.passed("first")
        query = """
            SELECT conname::text || pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = ANY(%s::regclass[])
            UNION SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i WHERE i.indrelid = 'progress_points'::regclass ORDER BY 1
        """
        ours = [table.name for table in AUTH.tables]
        before = mover.column(query, ours)
        execute(target, *change)
        assert said in outside.fault()
        execute(target, *mended)
        outside.passes()
        mover.passed("second")
        assert mover.column(query, ours) == before


def test_a_renamed_table_whose_keys_kept_their_names_is_made_anew_once_these_are_renamed(
    outside: Outside, mongo_database, target, tmp_path: Path
) -> None:
    fill(mongo_database, users=[user(1), user(2)])
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path / "runs")
        mover.passed("first")
        execute(target, "ALTER TABLE user_roles RENAME TO old")
        said = outside.fault()
        for key in ("pkey", "user_id_ordinal_key", "user_id_role_key"):
            assert f"an index of public.old: ALTER INDEX public.user_roles_{key} RENAME TO …" in said
            execute(target, f"ALTER INDEX public.user_roles_{key} RENAME TO old_{key}")
        mover.passed("second")
        assert mover.column("SELECT count(*) FROM user_roles") == [4]


def test_an_enum_may_hold_apostrophes_and_backslashes(outside: Outside, target) -> None:
    collection = AUTH.collection("socialconnections")
    columns = [replace(c, enum=("it's", "a\\b")) if c.path == "status" else c for c in collection.columns]
    domain = replace(AUTH, collections=(AUTH.collection("users"), replace(collection, columns=tuple(columns))))
    outside.passes()
    assert f"the constraint {STATUS} of public.social_connections is missing or lets other values pass" in outside.fault(domain)
    check = f"ADD CONSTRAINT {STATUS} CHECK (status IN ('it''s', 'a\\b'))"
    execute(target, f"ALTER TABLE social_connections DROP CONSTRAINT {STATUS}, {check}")
    outside.passes(domain)


def test_rows_that_no_run_loaded_are_not_mixed_with(outside: Outside, target) -> None:
    outside.passes()
    execute(target, "INSERT INTO users (id, email) VALUES (gen_random_uuid(), 'a@x')", "DELETE FROM migration.collections")
    said = outside.fault()
    assert "public.users holds rows that no run of this pipeline loaded: move them away or empty the table first" in said


BOOKS = [f"TABLE migration.{name}" for name in ("collections", "runs", "rejects")]
BOOKS += ["INDEX migration.rejects_open_key", "FUNCTION migration.document_id"]


@pytest.mark.parametrize("dropped", BOOKS)
def test_what_somebody_dropped_of_the_books_is_made_again_by_a_full_run_and_no_other_run_does_without_it(
    mongo_database, target, tmp_path: Path, caplog: pytest.LogCaptureFixture, dropped: str
) -> None:
    fill(mongo_database, users=[user(1), user(2) | {"email": None}])
    name = dropped.split()[1]
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path)
        mover.passed("first")
        conn.execute(f"DROP {dropped}".encode())
        with pytest.raises(PrepareError, match=f"{name} of the books is gone: run auth with mode full, which makes it again"):
            mover.run("window").follow(Request(INCREMENTAL))
        if name == "migration.collections":  # nobody knows any more who loaded the rows
            with pytest.raises(PrepareError, match="holds rows that no run of this pipeline loaded"):
                mover.run("full").move()
            return
        mover.passed("full")
        assert f"made again, tables empty: {name}" in caplog.text
        caplog.clear()
        mover.run("next").follow(Request(INCREMENTAL))
        assert "made again" not in caplog.text


def test_a_first_load_goes_into_bare_tables_not_into_those_that_another_collection_left_with_their_keys(
    outside: Outside, mongo_database, target, tmp_path: Path
) -> None:
    points = replace(AUTH.collection("progresspoints"), name="points")
    renamed = replace(AUTH, collections=(*(each for each in AUTH.collections if each.name != "progresspoints"), points))
    fill(mongo_database, users=[user(1)], progresspoints=[point(11, oid(1))])
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path / "runs")
        mover.passed("first")
        mongo_database.progresspoints.rename("points")
        mongo_database.points.insert_one(point(12, oid(2)))  # nobody's: a key would refuse its row, and the whole load
        said = outside.fault(renamed)
        assert "public.progress_points holds rows that no run of this pipeline loaded" in said
        keys = "public.progress_points has keys that no run of this pipeline built: DROP TABLE public.progress_points CASCADE, and"
        assert keys in said
        execute(target, "DELETE FROM progress_points")
        assert keys in outside.fault(renamed)
        execute(target, "DROP TABLE public.progress_points CASCADE")
        mover.domain = renamed
        assert outcome(mover.passed("second")["points"]) == (2, 1, 0, 0, {"orphan": 1})


# ---------------------------------------------------------------------------------------------------------- staging


def test_a_staging_folder_that_cannot_be_written(outside: Outside, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    outside.staging = tmp_path / "file" / "staging"
    said = outside.fault()
    assert f"the staging folder {outside.staging} cannot be written (Not a directory)" in said
    assert "set MONGO2PG_STAGING to one that this user owns" in said


def test_the_staging_folder_is_private_and_empty(outside: Outside) -> None:
    outside.passes()
    assert outside.staging.stat().st_mode & 0o777 == 0o700
    assert list(outside.staging.iterdir()) == []


# ----------------------------------------------------------------------------------------------- a domain's own files


@pytest.fixture
def files(outside: Outside, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the domain's two files, copies that a test may spoil."""
    folder: Path = shutil.copytree(scripts.INCLUDE, tmp_path / "sql") / "auth"
    monkeypatch.setattr(scripts, "INCLUDE", folder.parent)
    return folder


def test_a_file_that_is_missing_is_named(outside: Outside, files: Path) -> None:
    (files / "post_data.sql").unlink()
    assert "- include/sql/auth/post_data.sql is missing: write it (docs/new_domain.md)" in outside.fault()


def test_a_statement_that_nobody_would_build_is_named(outside: Outside, files: Path) -> None:
    with (files / "post_data.sql").open("a") as post_data:
        post_data.write("\nALTER TABLE public.users ADD CHECK (email <> '');\n")
    said = outside.fault()
    assert "- include/sql/auth/post_data.sql may hold ALTER TABLE … ADD CONSTRAINT … PRIMARY KEY" in said
    assert said.endswith("not: ALTER TABLE public.users ADD CHECK (email <> '')")


def test_a_key_of_an_array_that_postgresql_would_check_row_by_row_is_named(outside: Outside, files: Path) -> None:
    script = files / "post_data.sql"
    script.write_text(script.read_text().replace("(user_id, ordinal) DEFERRABLE", "(user_id, ordinal) NOT DEFERRABLE", 1))
    said = "- the key user_roles_user_id_ordinal_key of user_roles in include/sql/auth/post_data.sql must be DEFERRABLE: a window"
    assert said in outside.fault()


def test_a_check_that_pre_data_has_and_a_table_of_before_lacks_is_named(outside: Outside, files: Path, target) -> None:
    outside.passes()
    script, check = files / "pre_data.sql", "CONSTRAINT friends_differ CHECK (user_id <> connected_user_id)"
    script.write_text(script.read_text().replace(f"    CONSTRAINT {STATUS}", f"    {check},\n    CONSTRAINT {STATUS}"))
    assert outside.fault().endswith(
        "- the constraint friends_differ of public.social_connections is missing: make it as it stands in "
        "include/sql/auth/pre_data.sql"
    )
    execute(target, f"ALTER TABLE social_connections ADD {check}")
    outside.passes()


def test_sql_may_be_written_in_small_letters(mongo_database, target, tmp_path: Path, files: Path) -> None:
    script = files / "post_data.sql"
    script.write_text(script.read_text().lower())
    fill(mongo_database, users=[user(1)])
    with target.connect() as conn:
        mover = Mover(mongo_database, conn, tmp_path / "runs")
        mover.passed("first")
        assert mover.column("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'user_roles'::regclass") == [1]


def test_a_script_that_fails_is_named_with_its_fault(outside: Outside, files: Path) -> None:
    (files / "pre_data.sql").write_text("CREATE TABLE public.users (id uuid, CHECK (specie <> ''));")
    assert outside.fault().endswith('- include/sql/auth/pre_data.sql fails: column "specie" does not exist')


def test_a_table_that_no_script_makes_is_named(outside: Outside, files: Path) -> None:
    script = files / "pre_data.sql"
    script.write_text(script.read_text().replace("public.skills ", "public.skill "))
    assert "- the table public.skills is declared, and include/sql/auth/pre_data.sql does not make it" in outside.fault()


def test_a_column_that_the_script_spells_otherwise_is_named_as_in_an_old_table(outside: Outside, files: Path) -> None:
    script = files / "pre_data.sql"
    script.write_text(script.read_text().replace("profile_picture", "picture"))
    assert "- column public.users.profile_picture is missing: add it as text" in outside.fault()


# ----------------------------------------------------------------------------------------- what fails later all the same


def test_what_postgresql_refuses_during_a_run_is_said_without_the_row(
    outside: Outside, target, mongo_database, caplog: pytest.LogCaptureFixture
) -> None:
    """PostgreSQL's own message has the whole row in its details, password and all."""
    caplog.set_level(logging.DEBUG)
    fill(mongo_database, users=[user(1, password="planted-secret")])
    caplog.clear()  # the driver logged what the test inserted

    def run_into_it() -> None:
        with connections.source() as database, connections.target() as conn:
            run = Mover(database, conn, outside.staging).staged("run")
            execute(target, "ALTER TABLE public.users ADD CONSTRAINT short CHECK (length(password) < 3)")
            run.load()

    with pytest.raises(PermanentError) as failure:
        run_into_it()
    said = 'PostgreSQL: new row for relation "users" violates check constraint "short" (table users, constraint short)'
    assert str(failure.value) == said
    written = "".join(traceback.format_exception(failure.value))
    assert "load_chunk" in written
    assert "planted-secret" not in written
    assert not any("planted-secret" in line for line in caplog.messages)


def test_a_connection_that_is_lost_during_a_run_may_be_tried_again(outside: Outside, postgres, target) -> None:
    superuser = postgres.server.login(target.dbname, "postgres", postgres.server.superuser.password)

    def lose_it() -> None:
        with connections.target() as conn, superuser.connect(autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (conn.info.backend_pid,))
            conn.execute("SELECT 1")

    with pytest.raises(TransientError, match="PostgreSQL: "):
        lose_it()


def test_a_connection_that_is_cut_is_one_line(outside: Outside) -> None:
    def cut_it() -> None:
        with connections.target() as conn:
            with socket.socket(fileno=os.dup(conn.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)
            conn.execute("SELECT 1")

    with pytest.raises(TransientError) as cut:
        cut_it()
    assert str(cut.value) == "PostgreSQL: consuming input failed: server closed the connection unexpectedly"


def test_a_primary_that_became_a_standby_during_a_run_may_be_tried_again(outside: Outside) -> None:
    """So it refuses every write from then on, although the connection is still good; who connects anew finds the new primary."""
    refused = "cannot execute CREATE TABLE in a read-only transaction"
    with pytest.raises(TransientError, match=refused), connections.target() as conn:
        conn.execute("SET transaction_read_only = on; CREATE TABLE public.things (id int)")


def test_it_waits_for_no_load_that_is_under_way(outside: Outside) -> None:
    outside.passes()
    with outside.login.connect() as load, connections.source() as database, connections.target() as conn:
        load.execute("LOCK TABLE migration.passes, migration.rejects, migration.held, migration.differences IN ROW EXCLUSIVE MODE")
        conn.execute("SET lock_timeout = '1s'")
        prepare(database, conn, AUTH, outside.staging)
