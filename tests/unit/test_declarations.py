"""The seven declarations against the contract: nothing of it is forgotten, nothing is declared that it does not name."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import deepiri
from deepiri.registry import DOMAINS
from mongo2pg.model import Child, Collection, Column, Domain, Table
from mongo2pg.queries import INCLUDE

CONTRACT: dict[str, Any] = json.loads((Path(__file__).parents[1] / "contract.json").read_text())["domains"]
DECLARATION_FILES = sorted(Path(deepiri.__path__[0]).glob("*.py"))

COLLECTIONS: list[tuple[Collection, dict[str, Any]]] = [
    (collection, CONTRACT[domain.name]["collections"][collection.name]) for domain in DOMAINS for collection in domain.collections
]
TABLES: list[tuple[Table, dict[str, Any], dict[str, Any]]] = [
    (table, contract["tables"][table.name], contract["fields"])
    for collection, contract in COLLECTIONS
    for table in collection.tables
]
each_collection = pytest.mark.parametrize(("collection", "contract"), COLLECTIONS, ids=[made.name for made, _ in COLLECTIONS])
each_table = pytest.mark.parametrize(("table", "contract", "fields"), TABLES, ids=[table.name for table, _, _ in TABLES])

# Fields that the contract names and that have no column: none. Whoever adds one says so here.
EXTRA_ON_PURPOSE: set[str] = set()

# The contract leaves this id without a constraint: history outlives its task.
REFERENCE_ON_PURPOSE_UNJUDGED = {"task_versions.task_id"}


# -------------------------------------------------------------------------------------------------- what there is


def test_each_domain_has_its_ddl_and_nobody_else_has() -> None:
    assert {folder.name for folder in INCLUDE.iterdir() if folder.is_dir()} == {domain.name for domain in DOMAINS} | {"migration"}


def test_the_domains_are_those_of_the_contract() -> None:
    assert [domain.name for domain in DOMAINS] == list(CONTRACT)


def test_every_declaration_file_is_in_the_registry() -> None:
    files = {path.stem for path in DECLARATION_FILES} - {"__init__", "registry"}
    assert files == {domain.name for domain in DOMAINS}


@pytest.mark.parametrize("domain", DOMAINS, ids=[domain.name for domain in DOMAINS])
def test_the_collections_of_a_domain_are_those_of_the_contract(domain: Domain) -> None:
    assert [collection.name for collection in domain.collections] == list(CONTRACT[domain.name]["collections"])


@each_collection
def test_the_tables_of_a_collection_are_those_of_the_contract(collection: Collection, contract: dict[str, Any]) -> None:
    assert [table.name for table in collection.tables] == list(contract["tables"])


def test_no_table_belongs_to_two_domains() -> None:
    names = [table.name for domain in DOMAINS for table in domain.tables]
    assert len(names) == len(set(names)) == 36


@each_collection
def test_change_key_and_append_only_are_the_contract_s(collection: Collection, contract: dict[str, Any]) -> None:
    assert (collection.change_key, collection.append_only) == (contract["change_key"], contract["append_only"])
    assert collection.change_key in contract["fields"]


@each_collection
def test_what_a_ttl_index_trims_and_nothing_else_outlives_its_documents(collection: Collection, contract: dict[str, Any]) -> None:
    ttl = contract.get("ttl")
    assert (collection.deletes, collection.expires) == (("ignore", (ttl["field"], ttl["seconds"])) if ttl else ("delete", None))


@pytest.mark.parametrize("path", DECLARATION_FILES, ids=lambda path: path.stem)
def test_a_declaration_file_holds_no_logic(path: Path) -> None:
    allowed = (ast.ImportFrom, ast.Assign, ast.AnnAssign)
    docstring, *body = ast.parse(path.read_text()).body
    assert isinstance(docstring, ast.Expr)
    got = [type(statement).__name__ for statement in body if not isinstance(statement, allowed)]
    assert got == []
    imports = [statement.module for statement in body if isinstance(statement, ast.ImportFrom)]
    assert all(module == "mongo2pg.model" or path.stem == "registry" for module in imports)


# ------------------------------------------------------------------------------------------------------- columns


@each_table
def test_columns_have_the_contract_s_names_types_and_order(table: Table, contract: dict[str, Any], fields: dict[str, Any]) -> None:
    want = [(name, column["type"]) for name, column in contract["columns"].items()]
    assert [(column.name, column.type) for column in table.columns] == want


@each_table
def test_columns_are_filled_from_the_contract_s_fields(table: Table, contract: dict[str, Any], fields: dict[str, Any]) -> None:
    want = {name: column.get("from") for name, column in contract["columns"].items()}
    assert {column.name: source_of(table, column) for column in table.columns} == want


@each_table
def test_columns_are_required_where_the_contract_says_so(table: Table, contract: dict[str, Any], fields: dict[str, Any]) -> None:
    want = [name for name, column in contract["columns"].items() if not column["nullable"]]
    assert [column.name for column in table.columns if column.required] == want


@each_table
def test_enums_list_the_contract_s_values(table: Table, contract: dict[str, Any], fields: dict[str, Any]) -> None:
    want = {name: enum_of(contract, name, fields) for name in contract["checks"]}
    assert {column.name: list(column.enum) for column in table.columns if column.enum} == want


@each_table
def test_references_point_at_the_contract_s_tables(table: Table, contract: dict[str, Any], fields: dict[str, Any]) -> None:
    want = {key["columns"][0]: key["references"] for key in contract["foreign_keys"]}
    assert {column.name: column.references for column in table.columns if column.references and column.judged} == want


def test_every_reference_of_a_column_s_field_is_declared_or_unjudged_on_purpose() -> None:
    got = {
        f"{table.name}.{column.name}"
        for table, _, fields in TABLES
        for column in table.columns
        if fields.get(source_of(table, column) or "", {}).get("references") and not (column.references and column.judged)
    }
    assert got == REFERENCE_ON_PURPOSE_UNJUDGED


def test_every_reference_points_at_a_root_table() -> None:
    roots = {collection.table for domain in DOMAINS for collection in domain.collections}
    got = {column.references for domain in DOMAINS for table in domain.tables for column in table.columns if column.references}
    assert got <= roots


@each_table
def test_every_table_has_its_keys(table: Table, contract: dict[str, Any], fields: dict[str, Any]) -> None:
    first = table.columns[0]
    assert (first.name, first.type, first.required) == ("id", "uuid", True)
    assert contract["primary_key"] == ["id"]
    assert [list(key) for key in table.unique] == [key["columns"] for key in contract["unique"]]
    assert table.parent_key == (table.columns[1].name if table.child else "")


def test_every_user_owned_row_has_a_required_owner_except_anonymous_events() -> None:
    got = {
        collection.table
        for domain in DOMAINS
        for collection in domain.collections
        for column in collection.columns
        if column.name == "user_id" and not column.required
    }
    assert got == {"analytics_events"}


# -------------------------------------------------------------------------------------------------------- fields


@each_collection
def test_every_field_of_the_contract_has_a_destination(collection: Collection, contract: dict[str, Any]) -> None:
    got = {f"{collection.name}.{field}" for field in contract["fields"] if destination(collection, field, contract) == "extra"}
    assert got == {name for name in EXTRA_ON_PURPOSE if name.startswith(f"{collection.name}.")}


@each_collection
def test_only_the_fields_that_the_contract_drops_are_ignored(collection: Collection, contract: dict[str, Any]) -> None:
    assert list(collection.ignored) == [field for field, facts in contract["fields"].items() if facts.get("ignored")] == ["__v"]


def test_every_array_and_map_is_a_child_table_a_typed_array_or_jsonb_on_purpose() -> None:
    got = {
        f"{collection.name}.{field}": destination(collection, field, contract)
        for collection, contract in COLLECTIONS
        for field, facts in contract["fields"].items()
        if {"array", "map"} & set(facts["bson"])
    }
    assert got == {
        "users.roles": "table user_roles",
        "users.refreshTokens": "table user_sessions",
        "skilltrees.skills": "table skills",
        "tasks.tags": "text[] tags",
        "taskversions.changes.tags": "jsonb changes",
        "momenta.levelHistory": "table level_history",
        "momenta.achievements": "table achievements",
        "momenta.publicProfile.showcaseAchievements": "text[] public_profile_showcase_achievements",
        "momenta.publicProfile.resumeReferences": "text[] public_profile_resume_references",
        "streaks.cashedInStreaks": "table cashed_in_streaks",
        "boosts.activeBoosts": "table active_boosts",
        "boosts.boostHistory": "table boost_history",
        "objectives.subtasks": "table objective_subtasks",
        "objectives.aiSuggestions": "table objective_ai_suggestions",
        "odysseys.objectives": "table odyssey_objectives",
        "odysseys.milestones": "table odyssey_milestones",
        "odysseys.progressMap.stages": "table odyssey_stages",
        "seasons.odysseys": "table season_odysseys",
        "seasons.highlights.topContributors": "table season_top_contributors",
        "notifications.channels": "text[] channels",
        "webhooks.events": "text[] events",
        "webhooks.headers": "jsonb headers",
        "webhooks.logs": "table webhook_logs",
        "challenges.configuration.hints": "jsonb configuration",
        "challenges.configuration.questions": "jsonb configuration",
        "challenges.configuration.questions[].options": "jsonb configuration",
        "challenges.configuration.testCases": "jsonb configuration",
        "challenges.participants": "table challenge_participants",
    }


def test_the_sensitive_columns_are_the_contract_s_and_the_extra_of_their_tables() -> None:
    got = {
        f"{table.name}.{column.name}"
        for domain in DOMAINS
        for table in domain.tables
        for column in table.columns
        if column.sensitive
    }
    assert got == {
        "users.password",
        "users.extra",
        "user_sessions.token",
        "user_sessions.extra",
        "push_subscriptions.keys_p256dh",
        "push_subscriptions.keys_auth",
        "push_subscriptions.extra",
        "webhooks.secret",
        "webhooks.headers",
        "webhooks.extra",
    }


@each_table
def test_a_sensitive_field_fills_a_sensitive_column(table: Table, contract: dict[str, Any], fields: dict[str, Any]) -> None:
    want = [name for name, column in contract["columns"].items() if fields.get(column.get("from"), {}).get("sensitive")]
    assert [column.name for column in table.columns if column.sensitive and column.name != "extra"] == want


# ------------------------------------------------------------------------------- the contract as data, held to itself


@each_table
def test_the_contract_s_defaults_are_the_id_and_created_at_of_root_tables(
    table: Table, contract: dict[str, Any], fields: dict[str, Any]
) -> None:
    got = {name: column["default"] for name, column in contract["columns"].items() if "default" in column}
    want = {"id": "gen_random_uuid()", "created_at": "now()"}
    assert got == {name: default for name, default in want.items() if table.child is None and name in contract["columns"]}


def test_not_null_are_the_columns_of_the_convention_and_the_references_called_required() -> None:
    got, convention = set(), set()
    for table, contract, _ in TABLES:
        got |= {f"{table.name}.{name}" for name, column in contract["columns"].items() if not column["nullable"]}
        names = {"id", *(name for key in contract["unique"] for name in key["columns"])}
        names |= {table.parent_key, "ordinal", table.child.key} if table.child else {"user_id"}
        convention |= {f"{table.name}.{name}" for name in names if name in contract["columns"]}
    assert got - convention == {"odyssey_objectives.objective_id", "season_odysseys.odyssey_id"}
    assert convention - got == {"analytics_events.user_id"}


@each_table
def test_only_the_unique_keys_of_child_tables_are_deferrable(
    table: Table, contract: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert {key["deferrable"] for key in contract["unique"]} <= {table.child is not None}


@each_collection
def test_the_contract_names_only_fields_that_it_lists(collection: Collection, contract: dict[str, Any]) -> None:
    fields = contract["fields"]
    for table in contract["tables"].values():
        assert {column["from"] for column in table["columns"].values() if "from" in column} <= set(fields)
        assert table.get("rows_from", "_id") in fields
        named = [*table["primary_key"], *table["checks"], *table["indexed"]]
        named += [name for key in (*table["unique"], *table["foreign_keys"]) for name in key["columns"]]
        assert set(named) <= set(table["columns"])


@each_table
def test_the_contract_checks_every_column_whose_field_has_an_enum(
    table: Table, contract: dict[str, Any], fields: dict[str, Any]
) -> None:
    assert contract["checks"] == [name for name in contract["columns"] if enum_of(contract, name, fields)]


def test_numbers_dates_and_ids_of_the_contract_become_the_types_of_its_conventions() -> None:
    got = {
        (" or ".join(fields[source_of(table, column) or ""]["bson"]), column.type)
        for table, _, fields in TABLES
        for column in table.columns
        if source_of(table, column)
    }
    assert got == {
        ("oid", "uuid"),
        ("oid or null", "uuid"),
        ("string", "text"),
        ("string or null", "text"),
        ("bool", "boolean"),
        ("int", "integer"),
        ("int", "bigint"),
        ("number", "double precision"),
        ("number", "bigint"),
        ("double", "double precision"),
        ("date", "timestamptz"),
        ("date or null", "timestamptz"),
        ("Mixed", "jsonb"),
        ("object", "jsonb"),
        ("map", "jsonb"),
        ("array", "text[]"),
    }


def test_the_contract_s_bigints_are_experience_and_momentum() -> None:
    got = {
        f"{table.name}.{column.name}"
        for domain in DOMAINS
        for table in domain.tables
        for column in table.columns
        if column.type == "bigint"
    }
    assert got == {
        "skills.xp",
        "momentum.total_momentum",
        "momentum.momentum_to_next_level",
        "level_history.total_momentum",
        "seasons.highlights_total_momentum_earned",
        "season_top_contributors.momentum",
    }


# ------------------------------------------------------------------------------------------------------- helpers


def rows_of(child: Child) -> str:
    """`participants[]`, or `skills.*` for a map: the contract's spelling of the elements that become rows."""
    return child.path + (".*" if child.kind == "map" else "[]")


def source_of(table: Table, column: Column) -> str | None:
    """The contract's spelling of the field that fills a column; None for what the pipeline makes itself."""
    if table.child is None:
        return column.path or None
    made_here = {"id", table.parent_key, "ordinal", table.child.key, "extra"}
    if column.name in made_here:
        return None
    return rows_of(table.child) + (f".{column.path}" if column.path else "")


def enum_of(contract: dict[str, Any], column: str, fields: dict[str, Any]) -> list[str] | None:
    """The values that the contract lists for a column's field, or for the elements of its array."""
    source = contract["columns"][column].get("from", "")
    enum: list[str] | None = fields.get(source, {}).get("enum") or fields.get(f"{source}[]", {}).get("enum")
    return enum


def destination(collection: Collection, field: str, contract: dict[str, Any]) -> str:
    """Where the declaration sends a field of the contract; "extra" where it names no place."""
    if field in collection.ignored:
        return "ignored"
    for child in collection.children:
        if field == child.path:
            return f"table {child.table}"
    filled = {source: column for table in collection.tables for column in table.columns if (source := source_of(table, column))}
    if field in filled:
        return f"{filled[field].type} {filled[field].name}"
    for source, column in filled.items():
        inside = field.startswith((f"{source}.", f"{source}["))
        if inside and column.type in ("jsonb", "text[]"):
            return f"{column.type} {column.name}"
    if field in {rows_of(child) for child in collection.children}:
        return "rows"
    parts = [path for path in (*filled, *(child.path for child in collection.children)) if path.startswith(f"{field}.")]
    return "parts" if contract["fields"][field]["bson"] == ["object"] and parts else "extra"
