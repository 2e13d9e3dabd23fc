"""The SQL of the target, run on a real server: what the catalog then says equals the contract and the declarations."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from deepiri.registry import DOMAINS

if TYPE_CHECKING:
    from demo.postgres import PostgresLogin

REPOSITORY = Path(__file__).parents[2]
CONTRACT: dict[str, Any] = json.loads((REPOSITORY / "tests" / "contract.json").read_text())["domains"]
TABLES: dict[str, dict[str, Any]] = {
    name: {**table, "fields": collection["fields"]}
    for domain in CONTRACT.values()
    for collection in domain["collections"].values()
    for name, table in collection["tables"].items()
}

# The catalog's spelling of the types that the contract spells shorter.
CATALOG_TYPES = {"timestamptz": "timestamp with time zone"}

COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, pg_get_expr(d.adbin, d.adrelid)
      FROM pg_class c
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
      LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
     WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
     ORDER BY c.relname, a.attnum
"""

# From PostgreSQL 18 on, NOT NULL is a constraint too (contype n): the columns tell about it.
CONSTRAINTS = """
    SELECT c.conrelid::regclass::text, c.contype::text, c.conname, c.condeferrable, c.condeferred, c.convalidated,
           ARRAY(SELECT a.attname::text
                   FROM unnest(c.conkey) WITH ORDINALITY AS key(attnum, position)
                   JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = key.attnum
                  ORDER BY key.position) AS columns,
           c.confrelid::regclass::text, c.confdeltype::text, c.confupdtype::text, pg_get_constraintdef(c.oid)
      FROM pg_constraint c
     WHERE c.connamespace = 'public'::regnamespace AND c.contype <> 'n'
     ORDER BY 1, c.conname
"""

INDEXES = """
    SELECT i.indrelid::regclass::text, c.relname, i.indisvalid, i.indpred IS NULL AND i.indexprs IS NULL AS plain, m.amname,
           ARRAY(SELECT a.attname::text
                   FROM unnest(i.indkey) WITH ORDINALITY AS key(attnum, position)
                   JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = key.attnum
                  ORDER BY key.position) AS columns
      FROM pg_index i
      JOIN pg_class c ON c.oid = i.indexrelid
      JOIN pg_am m ON m.oid = c.relam
     WHERE c.relnamespace = 'public'::regnamespace
     ORDER BY 1, c.relname
"""


# --------------------------------------------------------------------------------------------------- the files alone


@pytest.mark.parametrize("domain", CONTRACT)
def test_post_data_builds_keys_before_what_needs_them(domain: str) -> None:
    kinds = [kind_of(statement) for statement in statements(domain, "post_data")]
    order = ["PRIMARY KEY", "UNIQUE", "FOREIGN KEY", "INDEX"]
    assert kinds == sorted(kinds, key=order.index)


def test_names_of_constraints_and_indexes_are_those_that_the_contract_s_columns_give() -> None:
    got = [name_of(statement) for domain in CONTRACT for statement in statements(domain, "post_data")]
    want = []
    for table, facts in TABLES.items():
        want.append(f"{table}_pkey")
        want += [f"{table}_{'_'.join(key['columns'])}_key" for key in facts["unique"]]
        want += [f"{table}_{key['columns'][0]}_fkey" for key in facts["foreign_keys"]]
        led = {"id", *(key["columns"][0] for key in facts["unique"])}
        want += [f"{table}_{column}_idx" for column in facts["indexed"] if column not in led]
    assert sorted(got) == sorted(want)
    assert len(set(got)) == len(got)


def test_a_statement_of_post_data_names_its_table_in_public() -> None:
    for domain, tables in ((domain.name, {table.name for table in domain.tables}) for domain in DOMAINS):
        touched = {re.search(r"\bpublic\.(\w+)", statement)[1] for statement in statements(domain, "post_data")}  # type: ignore[index]
        assert touched == tables


@pytest.mark.parametrize("domain", CONTRACT)
def test_pre_data_creates_the_domain_s_tables_in_the_declared_order(domain: str) -> None:
    got = [re.match(r"CREATE TABLE IF NOT EXISTS public\.(\w+) \(", statement) for statement in statements(domain, "pre_data")]
    want = [table.name for declared in DOMAINS if declared.name == domain for table in declared.tables]
    assert [match and match[1] for match in got] == want


# --------------------------------------------------------------------------------------------------- the bare tables


def test_pre_data_makes_bare_tables_with_nothing_but_checks(target: PostgresLogin) -> None:
    with target.connect() as connection:
        run(connection, "pre_data")
        assert {kind for _, kind, *_ in connection.execute(CONSTRAINTS)} == {"c"}
        assert connection.execute(INDEXES).fetchall() == []


def test_pre_data_twice_changes_nothing(target: PostgresLogin) -> None:
    with target.connect() as connection:
        run(connection, "pre_data")
        once = [connection.execute(query).fetchall() for query in (COLUMNS, CONSTRAINTS)]
        connection.execute("INSERT INTO public.users (email) VALUES ('ann@example.com')")
        run(connection, "pre_data")
        assert [connection.execute(query).fetchall() for query in (COLUMNS, CONSTRAINTS)] == once
        assert connection.execute("SELECT email FROM public.users").fetchall() == [("ann@example.com",)]


def test_bare_tables_take_duplicates_and_orphans(target: PostgresLogin) -> None:
    """Bulk load judges neither uniqueness nor references: such rows must get in, for settle to find them."""
    with target.connect() as connection:
        run(connection, "pre_data")
        for _ in range(2):
            connection.execute("INSERT INTO public.user_roles VALUES (gen_random_uuid(), gen_random_uuid(), 0, 'admin')")
        connection.execute("INSERT INTO public.users (id, email) SELECT id, 'ann@example.com' FROM public.user_roles")
        assert connection.execute("SELECT count(*) FROM public.users").fetchone() == (2,)


# ---------------------------------------------------------------------------------------- the catalog of the whole


@pytest.fixture
def built(target: PostgresLogin) -> Iterator[psycopg.Connection[Any]]:
    with target.connect() as connection:
        build(connection)
        yield connection


def test_the_catalog_equals_contract_and_declarations(built: psycopg.Connection[Any]) -> None:
    assert_columns(built)
    assert_checks(built)
    assert_keys(built)
    assert_indexes(built)


def test_the_catalog_is_the_same_on_postgresql_16(target_16: PostgresLogin) -> None:
    with target_16.connect() as connection:
        build(connection)
        assert_columns(connection)
        assert_checks(connection)
        assert_keys(connection)
        assert_indexes(connection)


def assert_columns(connection: psycopg.Connection[Any]) -> None:
    got: dict[str, list[Any]] = defaultdict(list)
    for table, *column in connection.execute(COLUMNS):
        got[table].append(tuple(column))
    want = {
        table: [
            (name, CATALOG_TYPES.get(column["type"], column["type"]), column["nullable"], column.get("default"))
            for name, column in facts["columns"].items()
        ]
        for table, facts in TABLES.items()
    }
    assert got == want
    declared = {
        table.name: [(column.name, CATALOG_TYPES.get(column.type, column.type), not column.required) for column in table.columns]
        for domain in DOMAINS
        for table in domain.tables
    }
    assert {table: [column[:3] for column in columns] for table, columns in got.items()} == declared


def assert_checks(connection: psycopg.Connection[Any]) -> None:
    got = {
        name: (table, columns, re.findall(r"'([^']*)'::text", definition), "<@" in definition)
        for table, kind, name, _, _, _, columns, _, _, _, definition in connection.execute(CONSTRAINTS)
        if kind == "c"
    }
    want = {
        f"{table}_{column}_check": (table, [column], enum_of(facts, column), facts["columns"][column]["type"] == "text[]")
        for table, facts in TABLES.items()
        for column in facts["checks"]
    }
    assert got == want
    declared = {
        f"{table.name}_{column.name}_check": list(column.enum)
        for domain in DOMAINS
        for table in domain.tables
        for column in table.columns
        if column.enum
    }
    assert {name: check[2] for name, check in got.items()} == declared


def assert_keys(connection: psycopg.Connection[Any]) -> None:
    constraints = connection.execute(CONSTRAINTS).fetchall()
    assert all(validated for _, _, _, _, _, validated, *_ in constraints)

    got = {
        name: (table, columns, deferrable, deferred)
        for table, kind, name, deferrable, deferred, _, columns, *_ in constraints
        if kind in "pu"
    }
    want = {f"{table}_pkey": (table, facts["primary_key"], False, False) for table, facts in TABLES.items()}
    for table, facts in TABLES.items():
        for key in facts["unique"]:
            # Never INITIALLY DEFERRED: a fault shows up at its statement, not at the commit.
            want[f"{table}_{'_'.join(key['columns'])}_key"] = (table, key["columns"], key["deferrable"], False)
    assert got == want

    foreign = {
        name: (table, columns, references, {"c": "cascade", "n": "set null"}.get(on_delete, on_delete), on_update, deferrable)
        for table, kind, name, deferrable, _, _, columns, references, on_delete, on_update, _ in constraints
        if kind == "f"
    }
    assert foreign == {
        f"{table}_{key['columns'][0]}_fkey": (table, key["columns"], key["references"], key["on_delete"], "a", False)
        for table, facts in TABLES.items()
        for key in facts["foreign_keys"]
    }
    # The convention that the declarations rely on: a required reference takes its rows along, an optional one is cleared.
    assert {name: (reference[2], reference[3]) for name, reference in foreign.items()} == {
        f"{table.name}_{column.name}_fkey": (column.references, "cascade" if column.required else "set null")
        for domain in DOMAINS
        for table in domain.tables
        for column in table.columns
        if column.references and column.judged
    }


def assert_indexes(connection: psycopg.Connection[Any]) -> None:
    indexes = connection.execute(INDEXES).fetchall()
    assert [(name, valid, plain, method) for _, name, valid, plain, method, _ in indexes] == [
        (name, True, True, "btree") for _, name, *_ in indexes
    ]
    leading: dict[str, list[str]] = defaultdict(list)
    for table, *_, columns in indexes:
        leading[table].append(columns[0])
    for table, facts in TABLES.items():
        assert set(facts["indexed"]) <= set(leading[table]), table
        assert {key["columns"][0] for key in facts["foreign_keys"]} <= set(leading[table]), table
    names = [name for _, name, *_ in indexes] + [row[2] for row in connection.execute(CONSTRAINTS) if row[1] not in "pu"]
    assert len(set(names)) == len(names)
    assert [name for name in names if len(name.encode()) > 63] == []
    stated = {name_of(statement) for domain in CONTRACT for statement in statements(domain, "post_data")}
    assert {name for name in names if not name.endswith("_check")} == stated


# ------------------------------------------------------------------------------------------- what the schema then does


def test_a_service_inserts_without_naming_id_or_created_at(built: psycopg.Connection[Any]) -> None:
    row = built.execute(
        "INSERT INTO public.users (email) VALUES ('ann@example.com') RETURNING id IS NOT NULL, created_at = now(), updated_at"
    ).fetchone()
    assert row == (True, True, None)


def test_one_statement_may_reorder_an_array(built: psycopg.Connection[Any]) -> None:
    insert_user(built, "a", roles=["admin", "editor", "author"])
    built.execute("UPDATE public.user_roles SET ordinal = 2 - ordinal")
    got = built.execute("SELECT role FROM public.user_roles ORDER BY ordinal").fetchall()
    assert got == [("author",), ("editor",), ("admin",)]
    built.commit()
    with pytest.raises(psycopg.errors.UniqueViolation, match="user_roles_user_id_ordinal_key"):
        built.execute("UPDATE public.user_roles SET ordinal = 0")


@pytest.mark.parametrize(
    ("channels", "taken"),
    [
        (None, True),
        ([], True),
        (["push"], True),
        (["in_app", "sms", "email", "push", "push"], True),
        (["fax"], False),
        (["push", "fax"], False),
        (["push", None], False),
        (["Push"], False),
    ],
)
def test_an_array_s_enum_holds_for_every_element(built: psycopg.Connection[Any], channels: list[str] | None, taken: bool) -> None:
    user = insert_user(built, "a")
    insert = "INSERT INTO public.notifications (user_id, channels) VALUES (%s, %s)"
    if taken:
        assert built.execute(insert, (user, channels)).rowcount == 1
    else:
        with pytest.raises(psycopg.errors.CheckViolation, match="notifications_channels_check"):
            built.execute(insert, (user, channels))


@pytest.mark.parametrize(
    ("status", "taken"), [(None, True), ("in_progress", True), ("done", False), ("Pending", False), ("", False)]
)
def test_an_enum_takes_its_values_and_null(built: psycopg.Connection[Any], status: str | None, taken: bool) -> None:
    user = insert_user(built, "a")
    insert = "INSERT INTO public.tasks (user_id, status) VALUES (%s, %s)"
    if taken:
        assert built.execute(insert, (user, status)).rowcount == 1
    else:
        with pytest.raises(psycopg.errors.CheckViolation, match="tasks_status_check"):
            built.execute(insert, (user, status))


def test_with_a_user_go_the_user_s_rows_and_references_to_the_user_become_null(built: psycopg.Connection[Any]) -> None:
    ann, bob = insert_user(built, "ann", roles=["admin"]), insert_user(built, "bob")
    built.execute("INSERT INTO public.tasks (user_id, title) VALUES (%s, 'of ann'), (%s, 'of bob')", (ann, bob))
    built.execute(
        "INSERT INTO public.task_versions (task_id, version, user_id, changed_by) SELECT id, 1, user_id, %s FROM public.tasks",
        (ann,),
    )
    built.execute("INSERT INTO public.social_connections (user_id, connected_user_id) VALUES (%s, %s)", (bob, ann))
    built.execute("INSERT INTO public.analytics_events (user_id, event_type) VALUES (%s, 'login')", (ann,))
    built.execute("DELETE FROM public.users WHERE id = %s", (ann,))
    assert built.execute("SELECT title FROM public.tasks").fetchall() == [("of bob",)]
    assert built.execute("SELECT user_id, changed_by FROM public.task_versions").fetchall() == [(bob, None)]
    assert built.execute("SELECT user_id, event_type FROM public.analytics_events").fetchall() == [(None, "login")]
    for table in ("user_roles", "social_connections"):
        assert built.execute(f"SELECT count(*) FROM public.{table}").fetchone() == (0,)


def test_a_version_outlives_its_task(built: psycopg.Connection[Any]) -> None:
    ann = insert_user(built, "ann")
    built.execute("INSERT INTO public.tasks (user_id) VALUES (%s)", (ann,))
    built.execute("INSERT INTO public.task_versions (task_id, version, user_id) SELECT id, 1, user_id FROM public.tasks")
    built.execute("DELETE FROM public.tasks")
    assert built.execute("SELECT count(*) FROM public.task_versions WHERE task_id IS NOT NULL").fetchone() == (1,)


def test_objectives_odysseys_and_seasons_may_point_at_each_other(built: psycopg.Connection[Any]) -> None:
    ann = insert_user(built, "ann")
    season, odyssey, objective = (
        one(built, f"INSERT INTO public.{table} (user_id) VALUES (%s) RETURNING id", ann)
        for table in ("seasons", "odysseys", "objectives")
    )
    built.execute("UPDATE public.odysseys SET season_id = %s", (season,))
    built.execute("UPDATE public.objectives SET season_id = %s, odyssey_id = %s", (season, odyssey))
    built.execute("INSERT INTO public.season_odysseys VALUES (gen_random_uuid(), %s, 0, %s)", (season, odyssey))
    built.execute("INSERT INTO public.odyssey_objectives VALUES (gen_random_uuid(), %s, 0, %s)", (odyssey, objective))
    built.execute("DELETE FROM public.odysseys")
    assert built.execute("SELECT season_id, odyssey_id FROM public.objectives").fetchall() == [(season, None)]
    for table in ("season_odysseys", "odyssey_objectives"):
        assert built.execute(f"SELECT count(*) FROM public.{table}").fetchone() == (0,)


# ------------------------------------------------------------------------------------------------------------ helpers


def statements(domain: str, file: str) -> list[str]:
    """The file's statements without its comment lines."""
    text = (REPOSITORY / "include" / "sql" / domain / f"{file}.sql").read_text()
    code = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return [statement.strip() for statement in code.split(";") if statement.strip()]


def run(connection: psycopg.Connection[Any], file: str) -> None:
    """The file of every domain, as it stands."""
    for domain in CONTRACT:
        connection.execute((REPOSITORY / "include" / "sql" / domain / f"{file}.sql").read_bytes())


def build(connection: psycopg.Connection[Any]) -> None:
    """All pre-data, then all post-data, foreign keys last: tasks and challenges point at each other across two domains."""
    run(connection, "pre_data")
    post_data = [statement for domain in CONTRACT for statement in statements(domain, "post_data")]
    for statement in sorted(post_data, key=lambda statement: kind_of(statement) == "FOREIGN KEY"):
        connection.execute(statement.encode())
    connection.commit()


def kind_of(statement: str) -> str:
    kind = re.search(r"ADD CONSTRAINT \w+ (PRIMARY KEY|UNIQUE|FOREIGN KEY)|^CREATE (INDEX)", statement)
    assert kind, statement
    return kind[1] or kind[2]


def name_of(statement: str) -> str:
    name = re.search(r"ADD CONSTRAINT (\w+)|^CREATE INDEX (\w+)", statement)
    assert name, statement
    return name[1] or name[2]


def enum_of(facts: dict[str, Any], column: str) -> list[str]:
    source = facts["columns"][column]["from"]
    enum: list[str] = facts["fields"][source].get("enum") or facts["fields"][f"{source}[]"]["enum"]
    return enum


def one(connection: psycopg.Connection[Any], query: str, *values: Any) -> Any:
    row = connection.execute(query.encode(), values).fetchone()
    assert row
    return row[0]


def insert_user(connection: psycopg.Connection[Any], name: str, roles: list[str] | None = None) -> Any:
    user = one(connection, "INSERT INTO public.users (email) VALUES (%s) RETURNING id", f"{name}@example.com")
    for ordinal, role in enumerate(roles or []):
        connection.execute("INSERT INTO public.user_roles VALUES (gen_random_uuid(), %s, %s, %s)", (user, ordinal, role))
    return user
