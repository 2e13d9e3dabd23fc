"""Both ways to both databases, on real servers, and that no password is ever said."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import pytest
from airflow.sdk._shared.secrets_masker import redact
from psycopg import sql
from pymongo.errors import PyMongoError
from pymongo.read_preferences import SecondaryPreferred

from demo.processes import free_port
from mongo2pg.databases import connections, waiting
from mongo2pg.errors import PermanentError, PrepareError, TransientError
from tests.pooler import pooler

if TYPE_CHECKING:
    from pymongo import MongoClient

    from demo.mongo import Mongo, MongoLogin
    from demo.postgres import PostgresLogin

VARIABLES = ("AIRFLOW_CONN_DEEPIRI_MONGO", "AIRFLOW_CONN_DEEPIRI_POSTGRES", "MONGO_URI", "DATABASE_URL")

# What separates the parts of a URL, what a percent-encoding is made of, and what a form encodes in its own way.
AWKWARD = "pä ss/w?o#r@d:%41+&=;[x]"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def read_source() -> Any:
    with connections.source() as database:
        return database.name, [document["_id"] for document in database.things.find()]


def read_target() -> Any:
    with connections.target() as connection:
        return connection.execute("SELECT current_database(), current_user").fetchone()


# ---------------------------------------------------------------------------------------------------- both ways


def test_the_source_opens_by_airflow_s_connection(monkeypatch: pytest.MonkeyPatch, source: MongoLogin, mongo_database) -> None:
    mongo_database.things.insert_one({"_id": 1})
    monkeypatch.setenv("AIRFLOW_CONN_DEEPIRI_MONGO", source.airflow_connection())
    assert read_source() == (source.database, [1])


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://{credentials}@{host}/{database}?authSource=admin",
        "mongodb://{credentials}@{host},{nobody}/{database}?authSource=admin&serverSelectionTimeoutMS=10000",
        "mongodb://{credentials}@{nobody},{host}/{database}?authSource=admin&serverSelectionTimeoutMS=10000",
        " mongodb://{credentials}@{host}/{database}?authSource=admin\n",
    ],
    ids=["single host", "seed list", "seed list whose first is down", "white space around it"],
)
def test_the_source_opens_by_the_platform_s_uri(
    monkeypatch: pytest.MonkeyPatch, source: MongoLogin, mongo_database, uri: str
) -> None:
    mongo_database.things.insert_one({"_id": 1})
    monkeypatch.setenv("MONGO_URI", filled(uri, source))
    assert read_source() == (source.database, [1])


def test_the_target_opens_by_airflow_s_connection(monkeypatch: pytest.MonkeyPatch, target: PostgresLogin) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_DEEPIRI_POSTGRES", target.airflow_connection())
    assert read_target() == (target.dbname, target.user)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_the_target_opens_by_the_platform_s_url(monkeypatch: pytest.MonkeyPatch, target: PostgresLogin, scheme: str) -> None:
    monkeypatch.setenv("DATABASE_URL", target.dsn.replace("postgresql", scheme) + "?connect_timeout=10")
    assert read_target() == (target.dbname, target.user)


def test_a_session_on_the_target_has_the_settings_of_the_pipeline(monkeypatch: pytest.MonkeyPatch, target: PostgresLogin) -> None:
    monkeypatch.setenv("DATABASE_URL", target.dsn)
    with connections.target() as connection:
        assert connection.autocommit
        assert connection.execute("SHOW TimeZone").fetchone() == ("UTC",)
    assert connection.closed


@pytest.mark.parametrize("version", ["target", "target_16"])
def test_what_an_administrator_sets_for_the_role_changes_no_lock_and_ends_no_transaction_that_waits_for_mongodb(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, version: str
) -> None:
    login: PostgresLogin = request.getfixturevalue(version)
    theirs = {"TimeZone": "Asia/Tokyo", "default_transaction_isolation": "repeatable read", "quote_all_identifiers": "on"}
    limits = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"]
    with login.connect(autocommit=True) as conn:
        limits += ["transaction_timeout"] if conn.info.server_version >= 170_000 else []
        theirs |= dict.fromkeys(limits, "1s")
        for name, value in theirs.items():
            names = (sql.Identifier(login.dbname), sql.Identifier(name), sql.Literal(value))
            conn.execute(sql.SQL("ALTER ROLE CURRENT_USER IN DATABASE {} SET {} = {}").format(*names))
    monkeypatch.setenv("DATABASE_URL", login.dsn)
    with connections.target() as connection:
        found = {name: connection.execute("SELECT current_setting(%s)", (name,)).fetchone() for name in theirs}
    ours = {"TimeZone": "UTC", "default_transaction_isolation": "read committed", "quote_all_identifiers": "off"}
    ours |= dict.fromkeys(limits, "0")
    assert found == {name: (value,) for name, value in ours.items()}


@pytest.mark.parametrize(
    ("application", "remedy"),
    [
        ("psql", "have its owner end it, or SELECT pg_terminate_backend({pid})"),
        ("mongo2pg", "another task of this pipeline: wait until it is done"),
    ],
)
def test_a_task_that_waits_for_a_lock_says_who_holds_it_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, target: PostgresLogin, application: str, remedy: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", target.dsn)
    monkeypatch.setattr(waiting, "SECONDS_BETWEEN_LOOKS", 0.05)
    with target.connect(application_name=application) as holder, ThreadPoolExecutor(1) as thread:
        holder.execute("CREATE TABLE things (id int)")
        holder.commit()
        holder.execute("LOCK TABLE things")
        pid = holder.info.backend_pid
        with connections.target() as connection:
            waits = thread.submit(connection.execute, "SELECT FROM public.things")
            deadline = time.monotonic() + 20
            while not caplog.messages and time.monotonic() < deadline:
                time.sleep(0.02)
            holder.rollback()
            waits.result(20)
    (said,) = caplog.messages
    begins = f"this task waits for a lock in PostgreSQL behind session {pid} ({target.user}, {application}, idle in transaction, "
    assert said.startswith(begins)
    assert remedy.format(pid=pid) in said
    assert target.password not in said


def test_a_pooler_that_lends_sessions_by_transaction_is_refused_before_the_services_feel_it(
    monkeypatch: pytest.MonkeyPatch, target: PostgresLogin
) -> None:
    with pooler(target, by_transaction=True) as pooled:
        monkeypatch.setenv("DATABASE_URL", pooled.dsn)
        with pooled.connect(autocommit=True) as service:
            with pytest.raises(PrepareError, match="pool_mode = transaction"), connections.target():
                pytest.fail("the session is another one's, too")
            assert service.execute("SHOW search_path").fetchone() == ('"$user", public',)


def test_a_pooler_that_lends_sessions_as_long_as_they_are_open_is_none(
    monkeypatch: pytest.MonkeyPatch, target: PostgresLogin
) -> None:
    with pooler(target, by_transaction=False) as pooled:
        monkeypatch.setenv("DATABASE_URL", pooled.dsn)
        with pooled.connect(autocommit=True) as service, connections.target() as connection:
            assert connection.execute("SHOW search_path").fetchone() == ("pg_catalog, pg_temp",)
            assert service.execute("SHOW search_path").fetchone() == ('"$user", public',)


def test_airflow_s_connection_wins_over_the_platform_s_variables(
    monkeypatch: pytest.MonkeyPatch, source: MongoLogin, target: PostgresLogin
) -> None:
    monkeypatch.setenv("MONGO_URI", f"mongodb://127.0.0.1:{free_port()}/elsewhere")
    monkeypatch.setenv("DATABASE_URL", f"postgresql://127.0.0.1:{free_port()}/elsewhere")
    monkeypatch.setenv("AIRFLOW_CONN_DEEPIRI_MONGO", source.airflow_connection())
    monkeypatch.setenv("AIRFLOW_CONN_DEEPIRI_POSTGRES", target.airflow_connection())
    assert read_source()[0] == source.database
    assert read_target()[0] == target.dbname


def test_a_failure_in_the_block_comes_out_as_it_is(
    monkeypatch: pytest.MonkeyPatch, source: MongoLogin, target: PostgresLogin
) -> None:
    monkeypatch.setenv("MONGO_URI", source.uri)
    monkeypatch.setenv("DATABASE_URL", target.dsn)
    for opened in (connections.source, connections.target):
        with pytest.raises(ZeroDivisionError), opened():
            _ = 1 / 0


# ---------------------------------------------------------------------------------------------------- what is refused

REFUSED = [
    (connections.source, {}, "neither the connection deepiri_mongo nor MONGO_URI is set: define AIRFLOW_CONN_DEEPIRI_MONGO, or"),
    (connections.target, {}, "neither the connection deepiri_postgres nor DATABASE_URL is set: define AIRFLOW_CONN_DEEPIRI_POS"),
    (connections.source, {"MONGO_URI": "  "}, "nor MONGO_URI is set: define"),
    (connections.source, {"MONGO_URI": "mongodb://user:SECRET@host"}, "MONGO_URI names no database: write it as mongodb://USER"),
    (connections.source, {"MONGO_URI": "mongodb+srv://user:SECRET@host.example.net/?tls=true"}, "MONGO_URI names no database"),
    (connections.target, {"DATABASE_URL": "postgresql://user:SECRET@host:5432"}, "DATABASE_URL names no database: write it as"),
    (connections.source, {"MONGO_URI": "postgresql://user:SECRET@host/db"}, r"begins with neither mongodb:// nor mongodb\+srv://"),
    (connections.target, {"DATABASE_URL": "mongodb://user:SECRET@host/db"}, "with neither postgresql:// nor postgres://"),
    (connections.target, {"DATABASE_URL": "postgresql+psycopg2://user:SECRET@host/db"}, "with neither postgresql:// nor postgres"),
    (connections.source, {"MONGO_URI": "SECRET"}, "MONGO_URI cannot be read: write it as mongodb://USER:PASSWORD@HOST:PORT/DATAB"),
    (connections.source, {"MONGO_URI": "mongodb://user:SECRET@host:port/db"}, r"MONGO_URI cannot be read \(Port contains non-di"),
    (connections.source, {"MONGO_URI": "mongodb://user:SECRET@host/db?authSource="}, "MONGO_URI cannot be read .*empty string"),
    (connections.target, {"DATABASE_URL": "postgresql://user:SECRET@host/db?schema=public"}, 'parameter: "schema"'),
    (connections.target, {"DATABASE_URL": "postgresql://user:SECRET%00@host/db"}, r'%00 in percent-encoded value: "\*\*\*"'),
    (connections.source, {"MONGO_URI": "mongodb://user:SECRET%ff@host/db"}, "MONGO_URI cannot be read: write it as"),
    (connections.target, {"DATABASE_URL": "postgresql://user:SECRET%ff@host/db"}, "DATABASE_URL cannot be read: write it as"),
    (connections.source, {"AIRFLOW_CONN_DEEPIRI_MONGO": "mongodb://user:SECRET@host/db"}, "is of the type 'mongodb': make it mon"),
    (connections.target, {"AIRFLOW_CONN_DEEPIRI_POSTGRES": "mysql://user:SECRET@host/db"}, "is of the type 'mysql': make it post"),
    (connections.source, {"AIRFLOW_CONN_DEEPIRI_MONGO": "mongo://user:SECRET@host"}, "deepiri_mongo names no database: set its s"),
    (connections.target, {"AIRFLOW_CONN_DEEPIRI_POSTGRES": "postgres://user:SECRET@host"}, "names no database: set its schema"),
    (connections.source, {"AIRFLOW_CONN_DEEPIRI_MONGO": '{"password": "SECRET"', "MONGO_URI": "mongodb://h/db"}, "cannot be read:"),
]  # fmt: skip


@pytest.mark.parametrize(("opened", "environment", "want"), REFUSED)
def test_what_cannot_work_is_refused_in_a_sentence_before_anything_connects(
    monkeypatch: pytest.MonkeyPatch, opened: Any, environment: dict[str, str], want: str
) -> None:
    secret = f"hush{secrets.token_hex(8)}"
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value.replace("SECRET", secret))
    with pytest.raises(PrepareError, match=want) as raised, opened():
        pass
    assert secret not in everything_said(raised.value)


@pytest.mark.parametrize("character", "/?#@: %")
@pytest.mark.parametrize(
    ("opened", "variable", "url"),
    [
        (connections.source, "MONGO_URI", "mongodb://user:{}@127.0.0.1:{}/db?serverSelectionTimeoutMS=100"),
        (connections.target, "DATABASE_URL", "postgresql://user:{}@127.0.0.1:{}/db?connect_timeout=2"),
    ],
    ids=["MongoDB", "PostgreSQL"],
)
@pytest.mark.parametrize("start", ["hush", "12"], ids=["letters", "digits, like a port"])
def test_a_password_that_should_have_been_encoded_is_never_shown_in_parts(
    monkeypatch: pytest.MonkeyPatch, opened: Any, variable: str, url: str, character: str, start: str
) -> None:
    """Drivers take what follows such a character for a host or an option, and name it in their messages."""
    rest = secrets.token_hex(8)
    monkeypatch.setenv(variable, url.format(f"{start}{character}{rest}", free_port()))
    with pytest.raises((PrepareError, TransientError, PyMongoError)) as raised, opened() as database:
        database.command("ping")
    assert rest not in everything_said(raised.value)


def test_a_server_that_dns_does_not_know_is_said_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """`mongodb+srv://` asks DNS for the hosts; there is none in a test, so this is as far as it goes."""
    secret = f"hush{secrets.token_hex(8)}"
    monkeypatch.setenv("MONGO_URI", f"mongodb+srv://user:{secret}@cluster0.nowhere.invalid/db?connectTimeoutMS=500")
    with pytest.raises(PrepareError, match="MongoDB cannot be reached") as raised, connections.source():
        pass
    assert secret not in everything_said(raised.value)


@pytest.mark.parametrize(("option", "level"), [("", "local"), ("&readConcernLevel=majority", "majority")])
def test_no_secondary_of_a_cluster_gives_what_has_moved_to_another_shard_and_who_asks_for_more_gets_it(
    monkeypatch: pytest.MonkeyPatch, source: MongoLogin, mongo_database, option: str, level: str
) -> None:
    mongo_database.things.insert_one({"_id": 1})
    monkeypatch.setenv("MONGO_URI", f"{source.uri}{option}")
    with connections.source() as database:
        assert database.things.with_options(read_preference=SecondaryPreferred()).read_concern.level == level
        assert [document["_id"] for document in database.things.find()] == [1]


@pytest.mark.parametrize(
    ("options", "mode", "staleness"),
    [
        ("", "primary", -1),
        ("&readPreference=secondaryPreferred&readPreferenceTags=nodeType:ANALYTICS", "secondaryPreferred", 120),
        ("&readPreference=nearest&maxStalenessSeconds=90", "nearest", 90),
    ],
)
def test_no_secondary_is_read_that_lags_by_more_than_the_next_window_goes_back(
    monkeypatch: pytest.MonkeyPatch, source: MongoLogin, mongo_database, options: str, mode: str, staleness: int
) -> None:
    mongo_database.things.insert_one({"_id": 1})
    monkeypatch.setenv("MONGO_URI", f"{source.uri}{options}")
    with connections.source() as database:
        read = database.things.read_preference
        assert (read.mongos_mode, read.max_staleness) == (mode, staleness)
        assert (read.tag_sets != [{}]) == ("Tags" in options)
        assert [document["_id"] for document in database.things.find()] == [1]


def test_what_mongodb_refuses_to_a_task_is_a_sentence_and_not_the_driver_s_error(
    monkeypatch: pytest.MonkeyPatch, source: MongoLogin, mongo_database
) -> None:
    monkeypatch.setenv("MONGO_URI", source.uri)
    with pytest.raises(TransientError, match=r"^MongoDB: .*nonsense.* \(OperationFailure\)$"), connections.source() as database:
        database.command("nonsense")


# ---------------------------------------------------------------------------------------------------- passwords


@pytest.fixture
def awkward_source(mongo: Mongo, mongo_admin: MongoClient[Any], mongo_database) -> Iterator[MongoLogin]:
    """A user whose name and password hold what means something in a URL; no = in the name, which this server gets wrong."""
    user = f"mover:{AWKWARD.replace('=', '')}{mongo_database.name}"
    password = AWKWARD + secrets.token_hex(8)
    mongo_admin.admin.command("createUser", user, pwd=password, roles=[{"role": "read", "db": mongo_database.name}])
    mongo_database.things.insert_one({"_id": 1})
    yield mongo.login(mongo_database.name, user, password)
    mongo.drop_user(user)


@pytest.fixture
def awkward_target(postgres, target: PostgresLogin) -> Iterator[PostgresLogin]:
    name, password = f"{AWKWARD}{target.dbname}", AWKWARD + secrets.token_hex(8)
    with postgres.server.superuser.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password)))
        yield postgres.server.login(target.dbname, name, password)
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


WAYS = [
    ("source", "AIRFLOW_CONN_DEEPIRI_MONGO", "airflow_connection"),
    ("source", "MONGO_URI", "uri"),
    ("target", "AIRFLOW_CONN_DEEPIRI_POSTGRES", "airflow_connection"),
    ("target", "DATABASE_URL", "dsn"),
]


@pytest.mark.parametrize(("side", "variable", "form"), WAYS)
def test_a_password_may_hold_any_character_and_is_masked_in_every_form(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, side: str, variable: str, form: str
) -> None:
    login = request.getfixturevalue(f"awkward_{side}")
    monkeypatch.setenv(variable, written(login, form))
    got = read_source()[1] if side == "source" else read_target()[1]
    assert got == ([1] if side == "source" else login.user)
    for shown in (login.password, quote(login.password, safe=""), quote_plus(login.password)):
        assert redact(f"before {shown} after") == "before *** after"


@pytest.mark.parametrize(("side", "variable", "form"), WAYS)
def test_a_refused_password_is_in_no_message_and_no_log_line(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    side: str,
    variable: str,
    form: str,
) -> None:
    login = request.getfixturevalue(f"awkward_{side}")
    wrong = AWKWARD + secrets.token_hex(8)
    monkeypatch.setenv(variable, written(type(login)(**{**vars(login), "password": wrong}), form))
    opened: AbstractContextManager[Any] = getattr(connections, side)()
    with caplog.at_level(logging.DEBUG), pytest.raises((PermanentError, TransientError, PyMongoError)) as raised, opened as opening:
        list(opening.things.find())
    said = everything_said(raised.value) + caplog.text + "".join(capfd.readouterr())
    for shown in (wrong, quote(wrong, safe=""), quote_plus(wrong), wrong[-16:]):
        assert shown not in said


def test_passwords_among_the_options_are_masked_too(monkeypatch: pytest.MonkeyPatch, target: PostgresLogin) -> None:
    monkeypatch.setenv(
        "DATABASE_URL",
        f"postgresql:///{target.dbname}?host={target.host}&port={target.port}&user={target.user}&password={target.password}",
    )
    assert read_target() == (target.dbname, target.user)
    assert redact(target.password) == "***"


# ---------------------------------------------------------------------------------------------------- helpers


def filled(uri: str, login: MongoLogin) -> str:
    credentials = f"{quote_plus(login.user)}:{quote_plus(login.password)}"
    return uri.format(
        credentials=credentials,
        host=f"{login.host}:{login.port}",
        nobody=f"{login.host}:{free_port()}",
        database=login.database,
    )


def written(login: Any, form: str) -> str:
    """The login as a URL or as Airflow's JSON."""
    value = getattr(login, form)
    text: str = value() if callable(value) else value
    assert form != "airflow_connection" or json.loads(text)["password"] == login.password
    return text


def everything_said(error: BaseException | None) -> str:
    """The error's message, and those of all that it carries along and that a log would show."""
    said = ""
    while error:
        said += f"{error!r}\n{error}\n"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return said
