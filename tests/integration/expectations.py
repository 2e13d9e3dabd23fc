"""Documents in, rows out: what the tests of each domain's expectations share.

Nothing here computes what a row must be: ids and values are written out in the tests, as PostgreSQL's own text. An
ObjectId's UUID is spelled after docs/identity.md: oid 65f00000 0000 000 000 nnnnnn is 65f00000-0000-8000-8000-nnnnnn000000.
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psycopg
from bson.datetime_ms import DatetimeMS
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from psycopg import sql
from pymongo.database import Database

from deepiri.auth import AUTH
from mongo2pg.model import Domain
from mongo2pg.run import Run

Row = dict[str, str]

# The constant that docs/identity.md states; written again here on purpose.
NAMESPACE = uuid.UUID("7d0c1f5e-2b5c-5f0b-9d5e-6d6f6e676f32")


def oid(number: int) -> ObjectId:
    return ObjectId(f"65f000000000000000{number:06d}")


def hexid(number: int) -> str:
    return f"65f000000000000000{number:06d}"


def uid(number: int) -> str:
    return f"65f00000-0000-8000-8000-{number:06d}000000"


def oid_json(number: int) -> str:
    return f'{{"$oid": "65f000000000000000{number:06d}"}}'


def child_id(parent: str, path: str, kind: str, key: str | int) -> str:
    """The rule for child rows as the architecture states it."""
    return str(uuid.uuid5(NAMESPACE, json.dumps([parent, path, kind, key], separators=(",", ":"), ensure_ascii=False)))


def date(text: str) -> DatetimeMS:
    """A date from ISO text in UTC."""
    moment = datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)
    return DatetimeMS(round(moment.timestamp() * 1000))


class Moved:
    """One run of a domain that has been moved and verified, and the target as it is now."""

    def __init__(self, database: Database[Any], conn: psycopg.Connection[Any], domain: Domain, staging: Path) -> None:
        self.conn, self.domain = conn, domain
        run = Run(database, conn, domain, staging, f"expect {domain.name}")
        run.move()
        self.report = run.verify()

    def row(self, table: str, row_id: str) -> Row | None:
        """Every column of the row that is not NULL, as text; None where there is no such row."""
        found = self.rows(table, id=row_id)
        return found[0] if found else None

    def rows(self, table: str, **where: str) -> list[Row]:
        """The rows in the order of their arrays, of their maps' keys, or of their ids."""
        (described,) = [described for described in self.domain.tables if described.name == table]
        names = [column.name for column in described.columns]
        key = described.child.key if described.child else ""
        place = (
            sql.SQL('t.{} COLLATE "C"').format(sql.Identifier(key))
            if key
            else sql.SQL("t.ordinal" if "ordinal" in names else "t.id")
        )
        conditions = [sql.SQL("t.{}::text = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in where.items()]
        query = sql.SQL("SELECT {} FROM public.{} t WHERE {} ORDER BY {}").format(
            sql.SQL(", ").join(sql.SQL("t.{}::text").format(sql.Identifier(name)) for name in names),
            sql.Identifier(table),
            sql.SQL(" AND ").join([sql.SQL("true"), *conditions]),
            place,
        )
        return [
            {name: text for name, text in zip(names, values, strict=True) if text is not None}
            for values in self.conn.execute(query).fetchall()
        ]

    def elements(self, table: str, parent: str) -> list[Row]:
        """A parent's child rows without their own id and the parent's."""
        (described,) = [described for described in self.domain.tables if described.name == table]
        rows = self.rows(table, **{described.parent_key: parent})
        return [{name: text for name, text in row.items() if name not in ("id", described.parent_key)} for row in rows]

    def rejects(self, collection: str) -> list[tuple[str, str, str]]:
        """(`_id` as Extended JSON, path, reason) of all open rejects."""
        found = self.conn.execute(
            """
            SELECT document_id::text, path, reason FROM migration.rejects
            WHERE state = 'open' AND domain = %s AND collection = %s ORDER BY document_id::text COLLATE "C", path COLLATE "C"
            """,
            (self.domain.name, collection),
        )
        return found.fetchall()

    def counts(self, collection: str) -> dict[str, Any]:
        """What the report says of the collection: documents and misfits."""
        (found,) = [entry for entry in self.report["collections"] if entry["collection"] == collection]
        return {name: found[name] for name in ("read", "inserted", "rejected", "misfits", "conversions")}

    def arrays(self, collection: str) -> dict[str, tuple[int, int, int, int]]:
        """Path → elements, rows, rejected, of parents not loaded."""
        (found,) = [entry for entry in self.report["collections"] if entry["collection"] == collection]
        return {a["path"]: (a["elements"], a["rows"], a["rejected"], a["of_parents_not_loaded"]) for a in found["arrays"]}

    def failed_checks(self) -> list[dict[str, Any]]:
        """The failures of the report; empty where the run's own checks passed."""
        return list(self.report["failures"])


def fill(database: Database[Any], collections: Mapping[str, Iterable[Mapping[str, Any] | bytes]]) -> None:
    """Makes the collections, empty ones too; bytes go in as they are."""
    for name, documents in collections.items():
        database.create_collection(name)
        ready = [RawBSONDocument(content) if isinstance(content, bytes) else content for content in documents]
        if ready:
            database[name].insert_many(ready)


def move_users(database: Database[Any], conn: psycopg.Connection[Any], staging: Path, numbers: Iterable[int]) -> None:
    """Users that other domains refer to, through their own run."""
    users = [{"_id": oid(number), "email": f"user{number}@example.com"} for number in numbers]
    fill(database, {"users": users, "skilltrees": [], "socialconnections": [], "progresspoints": []})
    Run(database, conn, AUTH, staging, "users").move()
