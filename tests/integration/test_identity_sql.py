"""The ids that SQL computes are those that Python computes, and docs/identity.md says nothing else."""

from __future__ import annotations

import doctest
import random
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import psycopg
import pytest
from bson import ObjectId

from deepiri.auth import AUTH
from mongo2pg import books
from mongo2pg.batches import id_columns
from mongo2pg.documents import identity
from mongo2pg.documents.document_ids import compact, document_id
from mongo2pg.documents.extended_json import extended_json
from mongo2pg.files.root_ids import hash_sum
from mongo2pg.target import schema
from tests.unit.test_document_ids import NAMES

if TYPE_CHECKING:
    from demo.postgres import PostgresLogin

DOCUMENT = (Path(__file__).parents[2] / "docs" / "identity.md").read_text()
RANDOM = random.Random(20260101)
EDGES = ["0" * 24, "f" * 24, "0" * 12 + "f" * 12, "f" * 12 + "0" * 12, *("0" * at + "f" + "0" * (23 - at) for at in range(24))]
OBJECT_IDS = EDGES + [RANDOM.randbytes(12).hex() for _ in range(20_000)]


@pytest.fixture(params=["target", "target_16"])
def connection(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    login: PostgresLogin = request.getfixturevalue(request.param)
    with login.connect() as connection:
        books.open_session(connection)
        with connection.transaction():
            books.install(connection)
            schema.create_tables(connection, AUTH)
        yield connection


# ---------------------------------------------------------------------------------------------------- SQL and Python


def test_sql_and_python_map_every_objectid_to_the_same_uuid_and_back(connection: psycopg.Connection[Any]) -> None:
    got = connection.execute(
        """
        SELECT oid, migration.uuid_from_objectid(oid), migration.uuid_from_objectid(upper(oid)),
               migration.objectid_from_uuid(migration.uuid_from_objectid(oid))
        FROM unnest(%s::text[]) WITH ORDINALITY AS given(oid, position) ORDER BY position
        """,
        (OBJECT_IDS,),
    ).fetchall()
    assert [row[0] for row in got] == OBJECT_IDS
    for oid, computed, of_upper_case, back in got:
        want = identity.uuid_from_objectid(ObjectId(oid))
        assert (computed, of_upper_case, back) == (want, want, oid)
        assert identity.objectid_from_uuid(computed) == ObjectId(oid)
        assert (computed.version, computed.variant) == (8, uuid.RFC_4122)


def test_uuids_sort_as_their_objectids_do(connection: psycopg.Connection[Any]) -> None:
    got = connection.execute(
        "SELECT oid FROM unnest(%s::text[]) AS given(oid) ORDER BY migration.uuid_from_objectid(oid)", (OBJECT_IDS,)
    ).fetchall()
    assert [row[0] for row in got] == sorted(OBJECT_IDS)


@pytest.mark.parametrize(
    "text",
    [None, "", "65a1b2c3d4e5f60718293a4", "65a1b2c3d4e5f60718293a4b0", "65a1b2c3d4e5f60718293a4g", " 65a1b2c3d4e5f60718293a4b",
     "65a1b2c3d4e5f60718293a4b\n", "65a1b2c3d4e5f60718293a4b\nx", "x\n65a1b2c3d4e5f60718293a4b", "٠" * 24, "０" * 24],
)  # fmt: skip
def test_what_is_no_objectid_has_no_uuid(connection: psycopg.Connection[Any], text: str | None) -> None:
    assert connection.execute("SELECT migration.uuid_from_objectid(%s)", (text,)).fetchone() == (None,)
    assert text is None or identity.HEX_OBJECT_ID.fullmatch(text) is None


def test_uuids_that_carry_no_objectid_give_null_in_sql_and_none_in_python(connection: psycopg.Connection[Any]) -> None:
    derived = uuid.UUID("65a1b2c3-d4e5-8f60-8718-293a4b000000")
    near = [derived.int ^ 1 << bit for bit in range(128)]
    random_ones = [uuid.UUID(bytes=RANDOM.randbytes(16), version=4) for _ in range(5_000)]
    others = [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid5(identity.NAMESPACE, "x")]
    given = [uuid.UUID(int=number) for number in near] + random_ones + others
    got = connection.execute(
        "SELECT id, migration.objectid_from_uuid(id) FROM unnest(%s::uuid[]) AS given(id)", (given,)
    ).fetchall()
    assert len(got) == len(given)
    for value, computed in got:
        want = identity.objectid_from_uuid(value)
        assert computed == (None if want is None else str(want)), value
        assert want is None or value == identity.uuid_from_objectid(want)
    assert all(computed is None for value, computed in got if value in {*random_ones, *others})
    # 4 bits of version, 4 of variant and its zeros, 24 of the zero tail: one bit off in these, and nothing is carried.
    assert sum(computed is None for value, computed in got if value.int in set(near)) == 32
    assert connection.execute("SELECT migration.objectid_from_uuid(NULL)").fetchone() == (None,)


def test_sql_names_the_document_of_a_row_as_python_names_its_id(connection: psycopg.Connection[Any]) -> None:
    for value, _ in NAMES:
        root_id = identity.id_from_value(value)
        kept = None if identity.is_reversible(value) else extended_json({"_id": identity.kept_id(value)}, keep_nul=True)
        (got,) = connection.execute("SELECT migration.document_id(%s, %s::jsonb)::text", (root_id, kept)).fetchone() or ("",)
        assert compact(got) == document_id(value), value


def test_the_functions_may_stand_in_an_index_and_in_a_parallel_plan(connection: psycopg.Connection[Any]) -> None:
    got = connection.execute(
        """
        SELECT proname, provolatile::text, proparallel::text FROM pg_proc
        WHERE pronamespace = 'migration'::regnamespace AND proname IN ('uuid_from_objectid', 'objectid_from_uuid')
        """
    ).fetchall()
    assert sorted(got) == [("objectid_from_uuid", "i", "s"), ("uuid_from_objectid", "i", "s")]
    connection.execute("CREATE INDEX ON public.users (migration.objectid_from_uuid(id))")


def test_sums_of_hashes_are_those_of_postgresql(connection: psycopg.Connection[Any]) -> None:
    packed = RANDOM.randbytes(16 * 1_000) + bytes(16) + b"\xff" * 16
    ids = [str(uuid.UUID(bytes=packed[at : at + 16])) for at in range(0, len(packed), 16)]
    row = connection.execute("SELECT sum(uuid_hash_extended(id, 0)) FROM unnest(%s::uuid[]) AS id", (ids,)).fetchone()
    assert row
    assert hash_sum(np.frombuffer(packed, np.uint8).reshape(-1, 16)) == int(row[0]) % 2**64


# ---------------------------------------------------------------------------------------------------- the document


def test_the_document_s_python_is_right() -> None:
    examples = "\n".join(re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL))
    runner = doctest.DocTestRunner()
    test = doctest.DocTestParser().get_doctest(examples, {}, "docs/identity.md", None, 0)
    assert len(test.examples) > 15
    said: list[str] = []
    runner.run(test, out=said.append)
    assert said == []


def test_the_document_s_sql_is_right(connection: psycopg.Connection[Any]) -> None:
    blocks = re.findall(r"^```sql\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    examples = [pair for block in blocks for pair in re.findall(r"(.+?);\n-- (.+?)\n", block, re.DOTALL)]
    assert len(examples) == sum(block.count(";\n") for block in blocks) > 5
    for statement, want in examples:
        row = connection.execute(f"SELECT answer::text FROM ({statement}) AS example(answer)".encode()).fetchone()
        assert row == (want,), statement


@pytest.mark.parametrize(
    ("path", "kind", "key"),
    [
        ("refreshTokens", "id", "65b0c1d2e3f40516273849aa"),
        ("refreshTokens", "ordinal", 7),
        ("skills", "key", 'a"b\\c\té'),
        ("roles", "value", "😀"),
    ],
)
def test_child_ids_are_what_the_document_says(path: str, kind: str, key: str | int) -> None:
    described = re.search(r"^>>> (def child_id.*?)\n>>> user", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert described
    scope: dict[str, Any] = {}
    exec("import json, uuid\nfrom mongo2pg.documents.identity import NAMESPACE\n" + described[1].replace("\n... ", "\n"), scope)  # noqa: S102
    parent = identity.uuid_from_objectid(ObjectId(RANDOM.randbytes(12)))
    got = id_columns.child_ids([str(parent).encode()], path, kind, [orjson.dumps(key)])
    assert uuid.UUID(bytes=got) == scope["child_id"](parent, path, kind, key)
