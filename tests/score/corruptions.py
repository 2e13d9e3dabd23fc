"""Kinds of damage to the target, each at a random place, with the differences that a verifier owes for it.

A kind that changes one value is a line of `VALUES`; the others are functions. A difference is named as the books name it:
(table, id, column, kind).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

Found = tuple[str, str | None, str | None, str]

# (what, table, column, which rows, the new value): what a driver, a dump, a careless UPDATE or a broken mover does to values.
VALUES: list[tuple[str, str, str, str, str]] = [
    ("the case of one character", "things", "name", "name ~ '^p'", "'P' || substr(name, 2)"),
    ("a trailing space", "things", "name", "name <> ''", "name || ' '"),
    ("a leading space", "things", "name", "name <> ''", "' ' || name"),
    ("NULL becomes an empty text", "things", "name", "name IS NULL", "''"),
    ("an empty text becomes NULL", "things", "name", "name = ''", "NULL"),
    ("a text becomes NULL", "things", "name", "name <> ''", "NULL"),
    ("an emoji becomes a question mark", "things", "name", "name ~ '^smile'", "'smile ? here'"),
    ("an accent is decomposed", "things", "name", "name ~ '^caf'", "normalize(name, NFD)"),
    ("a text is cut", "things", "name", "length(name) = 100", "left(name, 63)"),
    ("CRLF becomes LF", "things", "name", "name ~ E'\\r'", "replace(name, E'\\r', '')"),
    ("a tab becomes a space", "things", "name", "name ~ E'\\t'", "replace(name, E'\\t', ' ')"),
    ("1.10 becomes 1.1", "things", "price", "price::text = '1.10'", "1.1"),
    ("0.00 becomes 0", "things", "price", "price::text = '0.00'", "0"),
    ("the last digit of a numeric", "things", "price", "price > 10::numeric ^ 19", "price + 0.01"),
    ("a numeric changes its sign", "things", "price", "price < 0", "-price"),
    ("a numeric becomes NaN", "things", "price", "price > 1", "'NaN'"),
    ("one millisecond more", "things", "at", "true", "at + interval '1 ms'"),
    ("one microsecond more", "things", "at", "true", "at + interval '1 us'"),
    ("a time zone is added", "things", "at", "true", "at + interval '2 h'"),
    ("milliseconds are cut", "things", "at", "at <> date_trunc('second', at)", "date_trunc('second', at)"),
    ("an integer one more", "things", "count", "true", "count + 1"),
    ("an integer changes its sign", "things", "count", "true", "-count"),
    ("a bigint through a double", "things", "total", "total::float8::bigint <> total", "total::float8::bigint"),
    ("the last bit of a double", "things", "ratio", "ratio = 0.1", "0.10000000000000002"),
    ("0.0 becomes -0.0", "things", "ratio", "ratio::text = '0'", "'-0'"),
    ("a double through a float", "things", "ratio", "ratio = 123456.789", "ratio::float4"),
    ("NaN becomes NULL", "things", "ratio", "ratio = 'NaN'", "NULL"),
    ("a double becomes infinite", "things", "ratio", "ratio = 1e300", "'Infinity'"),
    ("a boolean is turned", "things", "active", "active IS NOT NULL", "NOT active"),
    ("NULL becomes false", "things", "active", "active IS NULL", "false"),
    ("a reference to another row", "things", "owner", "true", "(SELECT owner FROM things o WHERE o.owner <> t.owner LIMIT 1)"),
    ("the byte order of a uuid", "things", "owner", "true", "encode(reverse_uuid(owner), 'hex')::uuid"),
    ("one bit of a binary", "things", "blob", "true", "set_bit(blob, 5, 1 - get_bit(blob, 5))"),
    ("a binary loses its last byte", "things", "blob", "true", "substr(blob, 1, length(blob) - 1)"),
    ("two tags change places", "things", "tags", "true", "ARRAY[tags[2], tags[1], tags[3]]"),
    ("a tag is lost", "things", "tags", "true", "tags[1:2]"),
    ("an array becomes NULL", "things", "tags", "true", "NULL"),
    ("an array becomes empty", "things", "tags", "true", "'{}'"),
    (
        "the 15th digit of a number in jsonb",
        "things",
        "payload",
        "(payload ->> 'exact') ~ '^0\\.[1-9]\\d{14,}$'",
        "jsonb_set(payload, '{exact}', to_jsonb((payload ->> 'exact')::numeric + 1e-15))",
    ),
    ("1 becomes 1.0 in jsonb", "things", "payload", "true", "jsonb_set(payload, '{list,0}', '1.0')"),
    ("a text becomes a number in jsonb", "things", "payload", "true", "jsonb_set(payload, '{list,3}', '1')"),
    ("null is lost from jsonb", "things", "payload", "true", "payload #- '{nested,absent}'"),
    ("a regex loses its options", "things", "payload", "true", """payload #- '{nested,pattern,$regularExpression,options}'"""),
    ("a timestamp loses its increment", "things", "payload", "true", "jsonb_set(payload, '{nested,stamp,$timestamp,i}', '1')"),
    ("jsonb becomes NULL", "things", "payload", "true", "NULL"),
    ("undeclared fields are lost", "things", "extra", "extra ? 'nick'", "nullif(extra - 'nick', '{}')"),
    ("a misfit is lost", "things", "extra", "extra ? 'meta'", "nullif(extra - 'meta', '{}')"),
    ("a misfit becomes a value", "things", "meta_level", "meta_level IS NULL", "0"),
    ("the text of an element", "thing_parts", "label", "true", "upper(label)"),
    ("the _id of an element", "thing_parts", "source_id", "true", "NULL"),
    ("a score is rounded", "thing_scores", "score", "ordinal = 0", "round(score::numeric, 6)::float8"),
    ("the case of a map's key", "thing_labels", "label", "true", "lower(label)"),
    ("a number inside a map's value", "thing_labels", "value", "true", "jsonb_set(value, '{a}', '2')"),
    ("a unique text", "codes", "code", "true", "code || 'x'"),
    ("a word", "code_words", "word", "true", "word || '.'"),
]


@dataclass
class Ground:
    """The loaded target, inside a transaction that is rolled back; no document is damaged twice."""

    conn: psycopg.Connection[Any]
    seed: int
    taken: list[str] = field(default_factory=list)

    def one(self, query: str, *values: Any) -> Any:
        row = self.conn.execute(query.encode(), values).fetchone()
        if row is None:
            raise LookupError(f"no place for it: {query}")
        return row[0] if len(row) == 1 else row

    def run(self, query: str, *values: Any) -> None:
        self.conn.execute(query.encode(), values)

    def place(self, table: str, where: str = "true") -> str:
        """A row of the table that fits, of a document that nothing has happened to yet."""
        owner = OWNERS[table]
        row_id, document = self.one(
            f"SELECT id::text, {owner}::text FROM {table} t WHERE {where} AND {owner} <> ALL(%s::uuid[])"
            " ORDER BY md5(id::text || %s) LIMIT 1",
            self.taken,
            str(self.seed),
        )
        self.taken.append(document)
        return str(row_id)


OWNERS = {
    "things": "id",
    "thing_parts": "thing_id",
    "thing_scores": "thing_id",
    "thing_labels": "thing_id",
    "codes": "id",
    "code_words": "code_id",
}
CHILDREN = {"things": ("thing_parts", "thing_scores", "thing_labels"), "codes": ("code_words",)}

SET_UP = """
    CREATE FUNCTION pg_temp.reverse_uuid(id uuid) RETURNS bytea LANGUAGE sql AS $$
        SELECT substr(b, 4, 1) || substr(b, 3, 1) || substr(b, 2, 1) || substr(b, 1, 1) || substr(b, 5)
        FROM (SELECT uuid_send(id) AS b) AS sent
    $$
"""


def change_value(ground: Ground, table: str, column: str, where: str, value: str) -> set[Found]:
    """One value of one row."""
    row = ground.place(table, where)
    value = value.replace("reverse_uuid(", "pg_temp.reverse_uuid(")
    before, after = ground.one(f"SELECT {column}::text, ({value})::text FROM {table} t WHERE id = %s", row)
    if before == after:
        raise LookupError(f"{table}.{column} stays {before}: no damage")
    ground.run(f"UPDATE {table} t SET {column} = {value} WHERE id = %s", row)
    return {(table, row, column, "different")}


def swapped_ordinals(ground: Ground) -> set[Found]:
    row = ground.place("thing_parts", "ordinal = 0")
    other = ground.one(
        "SELECT id::text FROM thing_parts WHERE ordinal = 1 AND thing_id = (SELECT thing_id FROM thing_parts WHERE id = %s)", row
    )
    ground.run("UPDATE thing_parts SET ordinal = 1 - ordinal WHERE id IN (%s, %s)", row, other)
    return {("thing_parts", one, "ordinal", "different") for one in (row, other)}


def swapped_values_of_two_rows(ground: Ground) -> set[Found]:
    row, other = ground.place("things"), ground.place("things")
    ground.run(
        "UPDATE things t SET count = o.count FROM things o WHERE t.id IN (%s, %s) AND o.id IN (%s, %s) AND o.id <> t.id",
        row,
        other,
        row,
        other,
    )
    return {("things", one, "count", "different") for one in (row, other)}


def a_child_row_lost(ground: Ground) -> set[Found]:
    row = ground.place("thing_scores")
    ground.run("DELETE FROM thing_scores WHERE id = %s", row)
    return {("thing_scores", row, None, "missing")}


def a_child_row_twice(ground: Ground) -> set[Found]:
    row = ground.place("thing_scores")
    new = ground.one(
        "INSERT INTO thing_scores SELECT gen_random_uuid(), thing_id, 99, score, extra FROM thing_scores WHERE id = %s"
        " RETURNING id::text",
        row,
    )
    return {("thing_scores", new, None, "extra")}


def one_child_row_twice_and_another_missing(ground: Ground) -> set[Found]:
    row = ground.place("thing_parts", "ordinal = 0")
    lost = ground.one(
        "SELECT id::text FROM thing_parts WHERE ordinal = 2 AND thing_id = (SELECT thing_id FROM thing_parts WHERE id = %s)", row
    )
    ground.run("DELETE FROM thing_parts WHERE id = %s", lost)
    new = ground.one(
        "INSERT INTO thing_parts SELECT gen_random_uuid(), thing_id, 2, source_id, label, size, extra FROM thing_parts"
        " WHERE id = %s RETURNING id::text",
        row,
    )
    return {("thing_parts", lost, None, "missing"), ("thing_parts", new, None, "extra")}


def a_foreign_key_to_a_sibling(ground: Ground) -> set[Found]:
    row, other = ground.place("thing_parts"), ground.place("things")
    ground.run("UPDATE thing_parts SET thing_id = %s, ordinal = 99 WHERE id = %s", other, row)
    return {("thing_parts", row, column, "different") for column in ("thing_id", "ordinal")}


def a_document_lost(ground: Ground) -> set[Found]:
    row = ground.place("things")
    return remove(ground, "things", [row])


def remove(ground: Ground, table: str, rows: list[str]) -> set[Found]:
    """Root rows and their child rows."""
    lost: set[Found] = {(table, row, None, "missing") for row in rows}
    for child in CHILDREN[table]:
        for (gone,) in ground.conn.execute(
            f"DELETE FROM {child} WHERE {OWNERS[child]} = ANY(%s::uuid[]) RETURNING id::text".encode(), (rows,)
        ):
            lost.add((child, gone, None, "missing"))
    ground.run(f"DELETE FROM {table} WHERE id = ANY(%s::uuid[])", rows)
    return lost


def a_row_that_no_document_explains(ground: Ground) -> set[Found]:
    new = ground.one("INSERT INTO things (id, name) VALUES (gen_random_uuid(), 'stranger') RETURNING id::text")
    return {("things", new, None, "extra")}


def one_document_twice_and_another_missing(ground: Ground) -> set[Found]:
    kept, lost = ground.place("codes"), ground.place("codes")
    gone = remove(ground, "codes", [lost])
    new = ground.one(
        "INSERT INTO codes SELECT gen_random_uuid(), code || '-2', at, extra FROM codes WHERE id = %s RETURNING id::text", kept
    )
    return {*gone, ("codes", new, None, "extra")}


def a_map_s_values_change_places(ground: Ground) -> set[Found]:
    row = ground.place("thing_labels", "label = 'Key0'")
    other = ground.one(
        "SELECT id::text FROM thing_labels WHERE label = 'Key1' AND thing_id = (SELECT thing_id FROM thing_labels WHERE id = %s)",
        row,
    )
    ground.run(
        "UPDATE thing_labels t SET rank = o.rank FROM thing_labels o WHERE t.id IN (%s, %s) AND o.id IN (%s, %s) AND o.id <> t.id",
        row, other, row, other,
    )  # fmt: skip
    return {("thing_labels", one, "rank", "different") for one in (row, other)}


def an_orphan_behind_a_dropped_foreign_key(ground: Ground) -> set[Found]:
    row = ground.place("thing_scores")
    ground.run("ALTER TABLE thing_scores DROP CONSTRAINT thing_scores_thing_id_fkey")
    ground.run("UPDATE thing_scores SET thing_id = gen_random_uuid() WHERE id = %s", row)
    return {("thing_scores", row, "thing_id", "different"), ("thing_scores", row, "thing_id", "orphan")}


def a_child_key_twice_behind_a_dropped_constraint(ground: Ground) -> set[Found]:
    row = ground.place("thing_labels", "label = 'Key0'")
    other = ground.one(
        "SELECT id::text FROM thing_labels WHERE label = 'Key1' AND thing_id = (SELECT thing_id FROM thing_labels WHERE id = %s)",
        row,
    )
    ground.run("ALTER TABLE thing_labels DROP CONSTRAINT thing_labels_thing_id_label_key")
    ground.run("UPDATE thing_labels SET label = 'Key1' WHERE id = %s", row)
    twice: set[Found] = {("thing_labels", one, "thing_id, label", "duplicate") for one in (row, other)}
    return {("thing_labels", row, "label", "different"), *twice}


def a_primary_key_twice_behind_a_dropped_constraint(ground: Ground) -> set[Found]:
    row = ground.place("code_words")
    ground.run("ALTER TABLE code_words DROP CONSTRAINT code_words_pkey")
    ground.run("INSERT INTO code_words SELECT id, code_id, 99, word || '2', extra FROM code_words WHERE id = %s", row)
    differing: set[Found] = {("code_words", row, column, "different") for column in ("ordinal", "word")}
    return {("code_words", row, "id", "duplicate"), *differing}


STRUCTURES: list[Callable[[Ground], set[Found]]] = [
    swapped_ordinals,
    swapped_values_of_two_rows,
    a_child_row_lost,
    a_child_row_twice,
    one_child_row_twice_and_another_missing,
    a_foreign_key_to_a_sibling,
    a_document_lost,
    a_row_that_no_document_explains,
    one_document_twice_and_another_missing,
    a_map_s_values_change_places,
    an_orphan_behind_a_dropped_foreign_key,
    a_child_key_twice_behind_a_dropped_constraint,
    a_primary_key_twice_behind_a_dropped_constraint,
]

# Constraints that promise nothing any more, each alone and with every row as it should be: (what, how, check, table).
GUARDS: list[tuple[str, str, str, str]] = [
    ("a foreign key is gone", "ALTER TABLE thing_parts DROP CONSTRAINT thing_parts_thing_id_fkey", "references", "thing_parts"),
    (
        "a foreign key is not validated",
        "ALTER TABLE code_words DROP CONSTRAINT code_words_code_id_fkey;"
        " ALTER TABLE code_words ADD FOREIGN KEY (code_id) REFERENCES codes (id) NOT VALID",
        "references",
        "code_words",
    ),
    ("a unique key is gone", "ALTER TABLE codes DROP CONSTRAINT codes_code_key", "uniqueness", "codes"),
    (
        "a child key is gone",
        "ALTER TABLE thing_parts DROP CONSTRAINT thing_parts_thing_id_ordinal_key",
        "uniqueness",
        "thing_parts",
    ),
    ("a primary key is gone", "ALTER TABLE thing_labels DROP CONSTRAINT thing_labels_pkey", "uniqueness", "thing_labels"),
]

# What a round trip cannot tell, by the equivalences of docs/round_trip.md.
EQUIVALENT = ("1 becomes 1.0 in jsonb",)


# --- what must not be reported ---------------------------------------------------------------------------------------


def the_order_of_keys_in_jsonb(ground: Ground) -> set[Found]:
    row = ground.place("things")
    reordered = """
        SELECT ('{' || string_agg(to_jsonb(key)::text || ':  ' || value::text, ', ' ORDER BY key DESC) || '}')::jsonb
        FROM jsonb_each(payload)
    """
    ground.run(f"UPDATE things SET payload = ({reordered}) WHERE id = %s", row)
    return set()


def a_row_written_anew(ground: Ground) -> set[Found]:
    ground.run("UPDATE things SET count = count WHERE id = %s", ground.place("things"))
    return set()


def numeric_with_another_spelling(ground: Ground) -> set[Found]:
    ground.run("UPDATE things SET price = '+0001.10e0'::numeric WHERE id = %s", ground.place("things", "price::text = '1.10'"))
    return set()


def a_time_in_another_zone(ground: Ground) -> set[Found]:
    ground.run(
        "UPDATE things SET at = (at AT TIME ZONE 'Asia/Kathmandu') AT TIME ZONE 'Asia/Kathmandu' WHERE id = %s",
        ground.place("things"),
    )
    return set()


HARMLESS: list[Callable[[Ground], set[Found]]] = [
    the_order_of_keys_in_jsonb,
    a_row_written_anew,
    numeric_with_another_spelling,
    a_time_in_another_zone,
]


def a_whole_chunk_missing(ground: Ground, low: str, high: str) -> set[Found]:
    """All documents between two ids, with everything that hangs on them."""
    rows = [row[0] for row in ground.conn.execute(b"SELECT id::text FROM things WHERE id >= %s AND id < %s", (low, high))]
    return remove(ground, "things", rows)
