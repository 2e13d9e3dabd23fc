"""Declarations: what their defaults make of them; a wrong one fails when it is constructed and says where and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from mongo2pg.errors import DeclarationError, PermanentError
from mongo2pg.model import Child, Collection, Column, Domain, snake_case

NAME_OF_63_BYTES = "a" * 63
NAME_OF_64_BYTES = "a" * 64

TITLE = Column("title", "text")
EMAIL = Column("email", "text", required=True)
ROLE = Column("", "text", "role", required=True)
EGGS = Collection("eggs", "eggs", "t", (Column("hen", "uuid", required=True, references="hens"),))
HENS = Collection("hens", "hens", "t", (Column("egg", "uuid", required=True, references="eggs"),))


def collection(*columns: Column, children: tuple[Child, ...] = (), **rest: Any) -> Collection:
    return Collection("posts", "posts", "updatedAt", columns, children, **rest)


def documents(*columns: Column, table: str = "post_logs", path: str = "logs", **rest: Any) -> Child:
    return Child(table, path, "documents", columns, **rest)


# --------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("path", "want"),
    [
        ("title", "title"),
        ("createdAt", "created_at"),
        ("daily.canCashIn", "daily_can_cash_in"),
        ("pr.lastPRDate", "pr_last_pr_date"),
        ("lastPRDate", "last_pr_date"),
        ("keys.p256dh", "keys_p256dh"),
        ("aiGeneratedBrief.generatedAt", "ai_generated_brief_generated_at"),
        ("userID", "user_id"),
        ("HTTPServer", "http_server"),
        ("sha256Sum", "sha256_sum"),
        ("already_snake", "already_snake"),
        ("_id", "_id"),
        ("__v", "__v"),
        ("", ""),
    ],
)
def test_a_path_in_snake_case_is_the_column_s_name(path: str, want: str) -> None:
    assert snake_case(path) == want


def test_a_column_takes_its_name_from_its_path_unless_it_has_one() -> None:
    assert Column("metadata.sourceUrl", "text").name == "metadata_source_url"
    assert Column("dependsOn", "uuid", "depends_on_task_id").name == "depends_on_task_id"


def test_a_name_may_have_63_bytes() -> None:
    assert Column("title", "text", NAME_OF_63_BYTES).name == NAME_OF_63_BYTES


# ------------------------------------------------------------------------------------------------ what tables become


def test_a_root_table_has_id_its_columns_and_extra() -> None:
    (table,) = collection(EMAIL, Column("createdAt", "timestamptz"), unique=(("email",),)).tables
    assert [(column.name, column.type, column.required) for column in table.columns] == [
        ("id", "uuid", True),
        ("email", "text", True),
        ("created_at", "timestamptz", False),
        ("extra", "jsonb", False),
    ]
    assert (table.unique, table.parent_key, table.child) == ((("email",),), "", None)


def test_an_array_of_documents_becomes_rows_with_parent_ordinal_and_source_id() -> None:
    root, child = collection(TITLE, children=(documents(Column("event", "text")),)).tables
    assert (root.name, child.name) == ("posts", "post_logs")
    assert [(column.name, column.type, column.required) for column in child.columns] == [
        ("id", "uuid", True),
        ("post_id", "uuid", True),
        ("ordinal", "integer", True),
        ("source_id", "uuid", False),
        ("event", "text", False),
        ("extra", "jsonb", False),
    ]
    assert (child.parent_key, child.columns[1].references) == ("post_id", "posts")
    assert child.unique == (("post_id", "ordinal"),)


def test_an_array_of_scalars_becomes_rows_with_parent_ordinal_and_value() -> None:
    _, child = collection(TITLE, children=(Child("post_roles", "roles", "scalars", (ROLE,)),)).tables
    assert [column.name for column in child.columns] == ["id", "post_id", "ordinal", "role", "extra"]
    assert child.unique == (("post_id", "ordinal"),)


def test_the_texts_of_a_unique_key_share_what_an_index_holds() -> None:
    slug, place = Column("slug", "text", required=True), Column("place", "integer", required=True)
    made = collection(EMAIL, slug, place, TITLE, unique=(("email",), ("slug", "email"), ("slug", "place")))
    assert {column.name: column.longest for column in made.columns} == {"email": 1300, "slug": 1300, "place": None, "title": None}
    assert collection(EMAIL, unique=(("email",),)).columns[0].longest == 2600
    _, tags = collection(TITLE, children=(Child("post_roles", "roles", "scalars", (ROLE,), unique_value=True),)).tables
    assert {column.name: column.longest for column in tags.columns if column.longest} == {"role": 2600}


def test_a_value_that_occurs_once_per_parent_adds_a_unique_key() -> None:
    _, child = collection(TITLE, children=(Child("post_roles", "roles", "scalars", (ROLE,), unique_value=True),)).tables
    assert child.unique == (("post_id", "ordinal"), ("post_id", "role"))


def test_a_map_becomes_rows_with_parent_and_key_and_without_ordinal() -> None:
    _, child = collection(TITLE, children=(Child("skills", "skills", "map", (Column("xp", "bigint"),), key="skill_name"),)).tables
    assert [(column.name, column.required) for column in child.columns] == [
        ("id", True),
        ("post_id", True),
        ("skill_name", True),
        ("xp", False),
        ("extra", False),
    ]
    assert child.unique == (("post_id", "skill_name"),)


def test_a_parent_key_is_the_singular_of_the_parent_s_table_unless_it_is_named() -> None:
    momentum = Collection("momenta", "momentum", "updatedAt", (TITLE,), (documents(TITLE),))
    trees = Collection("skilltrees", "skill_trees", "updatedAt", (TITLE,), (documents(TITLE),))
    people = Collection("people", "people", "updatedAt", (TITLE,), (documents(TITLE, parent_key="person_id"),))
    assert [made.tables[1].parent_key for made in (momentum, trees, people)] == ["momentum_id", "skill_tree_id", "person_id"]


def test_the_references_of_a_table_leave_out_its_parent_key() -> None:
    author = Column("userId", "uuid", references="users")
    root, child = collection(author, children=(documents(Column("readBy", "uuid", references="users")),)).tables
    assert [column.name for column in root.references] == ["user_id"]
    assert [column.name for column in child.references] == ["read_by"]


def test_extra_is_sensitive_where_a_column_of_its_table_is() -> None:
    root, child = collection(TITLE, children=(documents(Column("token", "text", sensitive=True)),)).tables
    assert (root.columns[-1].sensitive, child.columns[-1].sensitive) == (False, True)


def test_the_fingerprint_changes_with_the_declaration_and_with_nothing_else() -> None:
    assert collection(TITLE).fingerprint == collection(Column("title", "text")).fingerprint
    assert collection(TITLE).fingerprint != collection(Column("title", "text", sensitive=True)).fingerprint


def test_a_domain_finds_its_collections_by_name() -> None:
    posts = collection(TITLE)
    domain = Domain("blog", (posts,))
    assert domain.collection("posts") is posts
    with pytest.raises(KeyError, match="drafts"):
        domain.collection("drafts")


# ------------------------------------------------------------------------------------------------ wrong declarations

WRONG: dict[str, tuple[Callable[[], object], str]] = {
    # --- a column
    "an unknown type": (
        lambda: Column("age", cast(Any, "int4")),
        "column 'age': unknown type 'int4'. Use one of bigint, boolean, bytea, double precision, integer, jsonb, numeric, text, "
        "text[], timestamptz, uuid.",
    ),
    "an empty step in a column's path": (
        lambda: Column("daily..current", "integer", "current"),
        "column 'current': the path 'daily..current' has an empty step. Write the keys joined by single dots.",
    ),
    "an enum on a number": (
        lambda: Column("level", "integer", enum=("1", "2")),
        "column 'level': an enum on a column of type integer. Only text and text[] take an enum.",
    ),
    "a reference that is no uuid": (
        lambda: Column("userId", "text", references="users"),
        "column 'user_id': a reference of type text. Ids are uuid: declare the type as uuid.",
    ),
    "a column name over 63 bytes": (
        lambda: Column("title", "text", NAME_OF_64_BYTES),
        f"column '{NAME_OF_64_BYTES}': the name '{NAME_OF_64_BYTES}' is over 63 bytes. Give it a shorter name.",
    ),
    "a column name that needs quotes": (
        lambda: Column("content-type", "text"),
        "column 'content-type': 'content-type' is no plain SQL name. Use lower-case letters, digits and underscores.",
    ),
    "a column name that begins with a digit": (
        lambda: Column("2fa", "text"),
        "column '2fa': '2fa' is no plain SQL name. Use lower-case letters, digits and underscores.",
    ),
    "a column with neither path nor name": (
        lambda: Column("", "text"),
        "column '': '' is no plain SQL name. Use lower-case letters, digits and underscores.",
    ),
    # --- a child table
    "a child table's name over 63 bytes": (
        lambda: documents(TITLE, table=NAME_OF_64_BYTES),
        f"child table {NAME_OF_64_BYTES}: the name '{NAME_OF_64_BYTES}' is over 63 bytes. Give it a shorter name.",
    ),
    "an unknown kind of child": (
        lambda: Child("post_logs", "logs", cast(Any, "array"), (TITLE,)),
        "child table post_logs: unknown kind 'array'. Use one of documents, scalars, map.",
    ),
    "a child without a path": (
        lambda: documents(TITLE, path=""),
        "child table post_logs: no usable path (''). Name the array or map that the rows come from.",
    ),
    "an empty step in a child's path": (
        lambda: documents(TITLE, path="progress."),
        "child table post_logs: no usable path ('progress.'). Name the array or map that the rows come from.",
    ),
    "a child's path that no query can name": (
        lambda: documents(TITLE, path="meta.$logs"),
        "child table post_logs: a key that begins with $ in the path 'meta.$logs'. "
        "No query can count what is there: map it as jsonb.",
    ),
    "a child's column without a path": (
        lambda: documents(Column("", "text", "label")),
        "child table post_logs: a column without a path. Name its field: only the value of an array of scalars has none.",
    ),
    "a map without a key": (
        lambda: Child("skills", "skills", "map", (Column("xp", "bigint"),)),
        'child table skills: a map without a key column. Name the column of the map\'s key: key="…".',
    ),
    "a key on an array": (
        lambda: documents(TITLE, key="name"),
        "child table post_logs: a key column on a child of kind documents. Only maps have keys: leave it out.",
    ),
    "scalars without a value column": (
        lambda: Child("post_roles", "roles", "scalars", ()),
        'child table post_roles: an array of scalars without its one value column. Give one Column(path="", …).',
    ),
    "scalars with a column that has a path": (
        lambda: Child("post_roles", "roles", "scalars", (Column("role", "text"),)),
        'child table post_roles: an array of scalars without its one value column. Give one Column(path="", …).',
    ),
    "scalars with two columns": (
        lambda: Child("post_roles", "roles", "scalars", (ROLE, Column("", "text", "other"))),
        'child table post_roles: an array of scalars without its one value column. Give one Column(path="", …).',
    ),
    "unique values of documents": (
        lambda: documents(TITLE, unique_value=True),
        "child table post_logs: unique_value on a child of kind documents. It is for arrays of scalars.",
    ),
    "a child's path used twice": (
        lambda: documents(TITLE, Column("title", "text", "headline")),
        "child table post_logs: the path 'title' is used twice. A field goes to one place: drop one of the two.",
    ),
    "a child's path below a mapped one": (
        lambda: documents(Column("payload", "jsonb"), Column("payload.size", "integer")),
        "child table post_logs: the path 'payload.size' lies below 'payload', which is mapped whole. "
        "Map either the whole or its parts.",
    ),
    # --- a collection
    "a table name that needs quotes": (
        lambda: Collection("Posts", "Posts", "updatedAt", (TITLE,)),
        "collection Posts: 'Posts' is no plain SQL name. Use lower-case letters, digits and underscores.",
    ),
    "a table name over 63 bytes": (
        lambda: Collection("posts", NAME_OF_64_BYTES, "updatedAt", (TITLE,)),
        f"collection posts: the name '{NAME_OF_64_BYTES}' is over 63 bytes. Give it a shorter name.",
    ),
    "a path used twice": (
        lambda: collection(TITLE, Column("title", "text", "headline")),
        "collection posts: the path 'title' is used twice. A field goes to one place: drop one of the two.",
    ),
    "a path mapped and ignored": (
        lambda: collection(TITLE, ignored=("title",)),
        "collection posts: the path 'title' is used twice. A field goes to one place: drop one of the two.",
    ),
    "a path mapped and made a child": (
        lambda: collection(Column("logs", "jsonb"), children=(documents(TITLE),)),
        "collection posts: the path 'logs' is used twice. A field goes to one place: drop one of the two.",
    ),
    "the _id mapped again": (
        lambda: collection(Column("_id", "text", "mongo_id")),
        "collection posts: the path '_id' is used twice. A field goes to one place: drop one of the two.",
    ),
    "a path below a mapped one": (
        lambda: collection(Column("metadata", "jsonb"), Column("metadata.source", "text")),
        "collection posts: the path 'metadata.source' lies below 'metadata', which is mapped whole. "
        "Map either the whole or its parts.",
    ),
    "a path two steps below a mapped one, with others between": (
        lambda: collection(Column("a.b.c", "text"), Column("a-b", "text", "dash"), Column("a", "jsonb"), Column("aa", "text")),
        "collection posts: the path 'a.b.c' lies below 'a', which is mapped whole. Map either the whole or its parts.",
    ),
    "a path below a child's": (
        lambda: collection(Column("logs.size", "integer"), children=(documents(TITLE),)),
        "collection posts: the path 'logs.size' lies below 'logs', which is mapped whole. Map either the whole or its parts.",
    ),
    "a path below an ignored one": (
        lambda: collection(Column("cache.size", "integer"), ignored=("cache",)),
        "collection posts: the path 'cache.size' lies below 'cache', which is mapped whole. Map either the whole or its parts.",
    ),
    "a column of a collection without a path": (
        lambda: collection(Column("", "text", "label")),
        "collection posts: a column without a path. Name its field: only the value of an array of scalars has none.",
    ),
    "a change key that no query can name": (
        lambda: Collection("posts", "posts", "$at", (TITLE,)),
        "collection posts: '$at' is no field of the root document. Name one as the change key, or _id.",
    ),
    "ignored fields that are one text": (
        lambda: collection(TITLE, ignored=cast(Any, "abc")),
        'collection posts: ignored=\'abc\', unique=(). Write ("one", "two") and (("one",), ("two", "three")), commas included.',
    ),
    "a unique key that is one text": (
        lambda: collection(EMAIL, unique=cast(Any, ("email",))),
        "collection posts: ignored=(), unique=('email',). "
        'Write ("one", "two") and (("one",), ("two", "three")), commas included.',
    ),
    "a unique key that names a column twice": (
        lambda: collection(EMAIL, unique=(("email", "email"),)),
        "collection posts: the unique key ('email', 'email'). Name one column or several, each once.",
    ),
    "a unique key of no column": (
        lambda: collection(EMAIL, unique=((),)),
        "collection posts: the unique key (). Name one column or several, each once.",
    ),
    "a unique key on an unknown column": (
        lambda: collection(TITLE, unique=(("email",),)),
        "collection posts: unique key on the unknown column 'email'. Name a declared column.",
    ),
    "a unique key on an optional column": (
        lambda: collection(EMAIL, TITLE, unique=(("email", "title"),)),
        "collection posts: unique key on the optional column 'title'. Declare it required.",
    ),
    "an unknown policy for deletes": (
        lambda: collection(TITLE, deletes="keep"),  # type: ignore[arg-type]
        "collection posts: unknown policy deletes='keep'. Use delete, mark or ignore.",
    ),
    "deletes that are ignored without an expiry": (
        lambda: collection(TITLE, deletes="ignore"),
        "collection posts: deletes='ignore' without expires, or the other way round. "
        "Give both where a TTL index trims, or neither.",
    ),
    "an expiry of what is no date": (
        lambda: collection(TITLE, deletes="ignore", expires=("title", 60)),
        "collection posts: no date at 'title'. Name the field that the TTL index counts from.",
    ),
    "a unique key on values that no index holds": (
        lambda: collection(Column("tags", "text[]", required=True), unique=(("tags",),)),
        "collection posts: unique key on the column 'tags' of type text[]. No index holds all its values: leave it out.",
    ),
    "marks beside a unique key": (
        lambda: collection(EMAIL, unique=(("email",),), deletes="mark"),
        "collection posts: deletes='mark' with a unique key. A marked row would keep its key from a living document: use delete.",
    ),
    "two columns of one name": (
        lambda: collection(Column("createdAt", "timestamptz"), Column("created.at", "timestamptz")),
        "table posts: two columns are called 'created_at'. Give one a name of its own.",
    ),
    "a column called id": (
        lambda: collection(Column("id", "text")),
        "table posts: two columns are called 'id'. Give one a name of its own.",
    ),
    "a column called deleted_at where rows are marked": (
        lambda: collection(Column("deletedAt", "timestamptz"), deletes="mark"),
        "table posts: two columns are called 'deleted_at'. Give one a name of its own.",
    ),
    "a column called extra": (
        lambda: collection(Column("extra", "jsonb")),
        "table posts: two columns are called 'extra'. Give one a name of its own.",
    ),
    "a child's column called ordinal": (
        lambda: collection(TITLE, children=(documents(Column("ordinal", "integer")),)),
        "table post_logs: two columns are called 'ordinal'. Give one a name of its own.",
    ),
    "a child's column called like its parent key": (
        lambda: collection(TITLE, children=(documents(Column("postId", "uuid")),)),
        "table post_logs: two columns are called 'post_id'. Give one a name of its own.",
    ),
    "a map's column called like its key": (
        lambda: collection(TITLE, children=(Child("skills", "skills", "map", (Column("name", "text"),), key="name"),)),
        "table skills: two columns are called 'name'. Give one a name of its own.",
    ),
    "an enum that is one text": (
        lambda: Column("status", "text", enum=cast(Any, "open")),
        'column \'status\': enum=\'open\', aliases=(). Write ("one", "two") and (("old", "new"),), commas included.',
    ),
    "aliases that are one pair": (
        lambda: Column("status", "text", enum=("open",), aliases=cast(Any, ("new", "open"))),
        "column 'status': enum=('open',), aliases=('new', 'open'). "
        'Write ("one", "two") and (("old", "new"),), commas included.',
    ),
    "a default with a fraction for whole numbers": (
        lambda: Column("size", "integer", default=1.5),
        "column 'size': the default 1.5 on a column of type integer. Give a value that the column holds.",
    ),
    "a default that is too large": (
        lambda: Column("size", "integer", default=2**31),
        "column 'size': the default 2147483648 on a column of type integer. Give a value that the column holds.",
    ),
    "a default that no double holds exactly": (
        lambda: Column("ratio", "double precision", default=2**53 + 1),
        "column 'ratio': the default 9007199254740993 on a column of type double precision. Give a value that the column holds.",
    ),
    "a default that the enum lacks": (
        lambda: Column("status", "text", enum=("open",), default="new"),
        "column 'status': the default 'new' on a column of type text. Give a value that the column holds.",
    ),
    "a default that no text of PostgreSQL holds": (
        lambda: Column("status", "text", default="a\0b"),
        "column 'status': the default 'a\\x00b' on a column of type text. Give a value that the column holds.",
    ),
    "an enum that no text of PostgreSQL holds": (
        lambda: Column("status", "text", enum=("a\0b",)),
        "column 'status': U+0000 in a value of the enum. PostgreSQL stores no such text: map it by an alias.",
    ),
    # --- a domain
    "a domain whose name is no plain one": (
        lambda: Domain("my-blog", (collection(TITLE),)),
        "domain my-blog: 'my-blog' is no plain SQL name. Use lower-case letters, digits and underscores.",
    ),
    "a reference to a table that nobody declares": (
        lambda: Domain("blog", (collection(Column("authorId", "uuid", references="author")),)).check_references(
            [Domain("people", (Collection("authors", "authors", "updatedAt", (TITLE,)),))]
        ),
        "column author_id of posts: a reference to 'author', which is no collection's table. "
        "Name one of this domain or of one beside it, or declare judged=False.",
    ),
    "a reference to a child table, whose ids no document has": (
        lambda: Domain(
            "blog", (collection(Column("logId", "uuid", references="post_logs"), children=(documents(TITLE),)),)
        ).check_references([]),
        "column log_id of posts: a reference to 'post_logs', which is no collection's table. "
        "Name one of this domain or of one beside it, or declare judged=False.",
    ),
    "required references in a circle, so that no document can be the first": (
        lambda: Domain("farm", (EGGS, HENS)),
        "domain farm: required references go in a circle: eggs → hens → eggs. Declare one of them as optional.",
    ),
    "required references in a circle through another domain": (
        lambda: Domain("eggs", (EGGS,)).check_references([Domain("farm", (HENS,)), Domain("eggs", (EGGS,))]),
        "domain eggs: required references go in a circle: eggs → hens → eggs. Declare one of them as optional.",
    ),
    "a table that another domain has, too": (
        lambda: Domain("blog", (collection(TITLE, children=(documents(TITLE, table="eggs"),)),)).check_references(
            [Domain("eggs", (EGGS,))]
        ),
        "domain blog: the table eggs is declared in the domain eggs, too. Rename or remove one.",
    ),
    "a collection declared twice": (
        lambda: Domain("blog", (collection(TITLE), Collection("posts", "articles", "updatedAt", (TITLE,)))),
        "domain blog: the collection posts is declared twice. Rename or remove one.",
    ),
    "a table declared twice": (
        lambda: Domain("blog", (collection(TITLE), Collection("articles", "posts", "updatedAt", (TITLE,)))),
        "domain blog: the table posts is declared twice. Rename or remove one.",
    ),
    "a child table called like another collection's table": (
        lambda: Domain(
            "blog", (collection(TITLE, children=(documents(TITLE),)), Collection("logs", "post_logs", "updatedAt", (TITLE,)))
        ),
        "domain blog: the table post_logs is declared twice. Rename or remove one.",
    ),
}


@pytest.mark.parametrize(("declare", "want"), WRONG.values(), ids=WRONG)
def test_a_wrong_declaration_fails_when_constructed_and_says_where_and_what_to_do(declare: Callable[[], object], want: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        declare()
    assert str(raised.value) == want


def test_a_wrong_declaration_is_not_worth_a_retry_and_keeps_its_facts() -> None:
    with pytest.raises(PermanentError) as raised:
        Column("age", cast(Any, "int4"))
    error = raised.value
    assert isinstance(error, DeclarationError)
    assert (error.place, error.fault) == ("column 'age'", "unknown type 'int4'")
    assert error.remedy.startswith("Use one of bigint,")


def test_a_neighbour_that_only_begins_alike_is_not_below() -> None:
    made = collection(Column("meta", "jsonb"), Column("metadata", "jsonb"), Column("meta-data", "jsonb", "other"))
    assert [column.name for column in made.columns] == ["meta", "metadata", "other"]


def test_references_within_a_domain_to_one_beside_it_and_to_what_is_gone_for_good_are_known() -> None:
    people = Domain("people", (Collection("authors", "authors", "updatedAt", (TITLE,)),))
    posts = collection(
        Column("authorId", "uuid", references="authors"),
        Column("answers", "uuid", references="posts"),
        Column("formerId", "uuid", references="former", judged=False),
        children=(documents(TITLE),),
    )
    # A circle of neighbours is theirs to mend.
    Domain("blog", (posts,)).check_references([people, Domain("eggs", (EGGS,)), Domain("farm", (HENS,))])


@pytest.mark.parametrize(
    ("kind", "default"),
    [("integer", -(2**31)), ("bigint", 2**63 - 1), ("double precision", 1), ("numeric", 0.5), ("boolean", True)],
)
def test_defaults_that_columns_hold_are_accepted(kind: Any, default: Any) -> None:
    assert Column("value", kind, default=default).default == default
