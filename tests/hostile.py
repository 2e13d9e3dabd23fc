"""A small domain with a column of every type, for documents that do their worst."""

from __future__ import annotations

import itertools
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bson
import psycopg

from benchmarks.replay_server import ReplayServer
from mongo2pg.documents.decode import OPTIONS
from mongo2pg.model import Child, Collection, Column, Domain
from mongo2pg.planning.plan import CHUNK_BYTES
from mongo2pg.run import Run
from tests.mover import Mover
from tests.unit.raw_bson import document

THINGS = Collection(
    "things",
    "things",
    "updatedAt",
    columns=(
        Column("name", "text"),
        Column("at", "timestamptz"),
        Column("count", "integer"),
        Column("total", "bigint"),
        Column("ratio", "double precision"),
        Column("price", "numeric"),
        Column("active", "boolean"),
        Column("owner", "uuid", references="owners", judged=False),
        Column("blob", "bytea"),
        Column("tags", "text[]"),
        Column("payload", "jsonb"),
        Column("meta.level", "integer"),
    ),
    children=(
        Child("thing_parts", "parts", "documents", (Column("label", "text"), Column("size", "integer"))),
        Child("thing_scores", "scores", "scalars", (Column("", "double precision", "score"),)),
        Child("thing_labels", "labels", "map", (Column("value", "jsonb"), Column("rank", "integer")), key="label"),
    ),
    ignored=("__v",),
)
CODES = Collection(
    "codes",
    "codes",
    "updatedAt",
    columns=(Column("code", "text", required=True), Column("at", "timestamptz", required=True)),
    children=(Child("code_words", "words", "scalars", (Column("", "text", "word"),), unique_value=True),),
    unique=(("code",),),
)
HOSTILE = Domain("hostile", (THINGS, CODES))

PRE_DATA = """
CREATE TABLE IF NOT EXISTS public.things (
    id uuid NOT NULL, name text, at timestamptz, count integer, total bigint, ratio double precision, price numeric,
    active boolean, owner uuid, blob bytea, tags text[], payload jsonb, meta_level integer, extra jsonb
);
CREATE TABLE IF NOT EXISTS public.thing_parts (
    id uuid NOT NULL, thing_id uuid NOT NULL, ordinal integer NOT NULL, source_id uuid, label text, size integer, extra jsonb
);
CREATE TABLE IF NOT EXISTS public.thing_scores (
    id uuid NOT NULL, thing_id uuid NOT NULL, ordinal integer NOT NULL, score double precision, extra jsonb
);
CREATE TABLE IF NOT EXISTS public.thing_labels (
    id uuid NOT NULL, thing_id uuid NOT NULL, label text NOT NULL, value jsonb, rank integer, extra jsonb
);
CREATE TABLE IF NOT EXISTS public.codes (id uuid NOT NULL, code text NOT NULL, at timestamptz NOT NULL, extra jsonb);
CREATE TABLE IF NOT EXISTS public.code_words (
    id uuid NOT NULL, code_id uuid NOT NULL, ordinal integer NOT NULL, word text, extra jsonb
);
"""
POST_DATA = """
ALTER TABLE public.things ADD CONSTRAINT things_pkey PRIMARY KEY (id);
ALTER TABLE public.thing_parts ADD CONSTRAINT thing_parts_pkey PRIMARY KEY (id);
ALTER TABLE public.thing_scores ADD CONSTRAINT thing_scores_pkey PRIMARY KEY (id);
ALTER TABLE public.thing_labels ADD CONSTRAINT thing_labels_pkey PRIMARY KEY (id);
ALTER TABLE public.codes ADD CONSTRAINT codes_pkey PRIMARY KEY (id);
ALTER TABLE public.code_words ADD CONSTRAINT code_words_pkey PRIMARY KEY (id);
ALTER TABLE public.codes ADD CONSTRAINT codes_code_key UNIQUE (code);
ALTER TABLE public.thing_parts ADD CONSTRAINT thing_parts_thing_id_ordinal_key UNIQUE (thing_id, ordinal) DEFERRABLE;
ALTER TABLE public.thing_scores ADD CONSTRAINT thing_scores_thing_id_ordinal_key UNIQUE (thing_id, ordinal) DEFERRABLE;
ALTER TABLE public.thing_labels ADD CONSTRAINT thing_labels_thing_id_label_key UNIQUE (thing_id, label) DEFERRABLE;
ALTER TABLE public.code_words ADD CONSTRAINT code_words_code_id_ordinal_key UNIQUE (code_id, ordinal) DEFERRABLE;
ALTER TABLE public.code_words ADD CONSTRAINT code_words_code_id_word_key UNIQUE (code_id, word) DEFERRABLE;
ALTER TABLE public.thing_parts ADD CONSTRAINT thing_parts_thing_id_fkey FOREIGN KEY (thing_id) REFERENCES public.things (id);
ALTER TABLE public.thing_scores ADD CONSTRAINT thing_scores_thing_id_fkey FOREIGN KEY (thing_id) REFERENCES public.things (id);
ALTER TABLE public.thing_labels ADD CONSTRAINT thing_labels_thing_id_fkey FOREIGN KEY (thing_id) REFERENCES public.things (id);
ALTER TABLE public.code_words ADD CONSTRAINT code_words_code_id_fkey FOREIGN KEY (code_id) REFERENCES public.codes (id);
"""


def write_sql(include: Path) -> Path:
    """The domain's DDL where the pipeline looks for it, below a folder of the test's own."""
    folder = include / HOSTILE.name
    folder.mkdir(parents=True)
    (folder / "pre_data.sql").write_text(PRE_DATA)
    (folder / "post_data.sql").write_text(POST_DATA)
    return include


def framed(body: bytes) -> bytes:
    """A document of these elements, right or wrong: its length and its end are right."""
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def with_length(raw: bytes) -> bytes:
    """The bytes with the length that they have now in front."""
    return struct.pack("<i", len(raw)) + raw[4:]


def is_sound(raw: bytes) -> bool:
    """Whether pymongo reads the document and gives the same bytes back: the judgement of somebody else."""
    try:
        content = bson.decode(raw, OPTIONS)
    except (bson.errors.BSONError, ValueError, OverflowError, RecursionError):
        return False
    return bson.encode(content, codec_options=OPTIONS) == raw and "_id" in content


@dataclass
class Moved:
    """What a run made of the collections, asked in the target."""

    mover: Mover
    run: Run
    collections: dict[str, dict[str, Any]]
    report: dict[str, Any]

    @property
    def things(self) -> dict[str, Any]:
        return self.collections["things"]

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.mover.rows(query, *values)

    def column(self, query: str, *values: Any) -> list[Any]:
        return self.mover.column(query, *values)

    def by_name(self, column: str) -> dict[str, Any]:
        """A column of things, by their names."""
        return dict(self.mover.rows(f"SELECT name, {column} FROM things"))

    def rejects(self) -> list[tuple[str, str, str]]:
        """(path, BSON type, reason) of every open reject."""
        return self.mover.rows("SELECT path, bson_type, reason FROM migration.rejects WHERE state = 'open' ORDER BY 1, 2, 3")

    def rejected_bytes(self) -> list[bytes]:
        """The stored bytes of rejected documents, those of rejected elements apart."""
        return self.mover.column(
            """
            SELECT bson FROM migration.reject_documents
            WHERE sha256 IN (SELECT document FROM migration.rejects WHERE state = 'open' AND NOT element)
            """
        )


@dataclass
class Hostile:
    """The replay server as the source, an empty PostgreSQL as the target."""

    server: ReplayServer
    mover: Mover
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def move(
        self,
        things: list[bytes | dict[str, Any]],
        codes: list[bytes | dict[str, Any]] | None = None,
        *,
        chunk_bytes: int = CHUNK_BYTES,
        beyond_limits: bool = False,
    ) -> Moved:
        """Moves and verifies; all checks pass, and each document became a row or a reject that keeps its very bytes.

        `beyond_limits`: there are more rejects than pass as dirt, which is the one thing that the report may say.
        """
        given = {"things": [as_bytes(each) for each in things], "codes": [as_bytes(each) for each in codes or []]}
        for name, raws in given.items():
            self.server.put("hostile", name, raws)
        run = self.mover.move(f"run {next(self.numbers)}", chunk_bytes)
        report = run.verify()
        assert {failure["check"] for failure in report["failures"]} == ({"limits"} if beyond_limits else set()), report["failures"]
        collections = {each["collection"]: each for each in report["collections"]}
        for name, raws in given.items():
            counts = collections[name]
            read, rejected = counts["read"], sum(counts["rejected"].values())
            assert (counts["source_before"], read) == (len(raws), len(raws))
            assert read == counts["inserted"] + counts["updated"] + counts["unchanged"] + rejected
            assert self.mover.column(f"SELECT count(*) FROM {name}") == [read - rejected]
        moved = Moved(self.mover, run, collections, report)
        stored = moved.rejected_bytes()
        assert set(stored) <= {raw for raws in given.values() for raw in raws}, "the very bytes"
        return moved


def as_bytes(given: bytes | dict[str, Any]) -> bytes:
    return given if isinstance(given, bytes) else document(given)


def connect_mover(server: ReplayServer, client: Any, conn: psycopg.Connection[Any], staging: Path) -> Hostile:
    return Hostile(server, Mover(client["hostile"], conn, staging, HOSTILE))


def shown(value: Any) -> str:
    """JSON that tells 1 from 1.0 apart."""
    return json.dumps(value, sort_keys=True)
