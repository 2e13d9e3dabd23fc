"""What the file of a plan says of the documents that it names by their `_id`s."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bson import Binary, DatetimeMS, Int64, ObjectId

from mongo2pg.documents.document_ids import document_id
from mongo2pg.files.planned import by_ids, is_plannable
from mongo2pg.files.staging import CollectionStaging, write_json
from mongo2pg.reconciling.repair import _planned

IDS: list[Any] = [
    ObjectId("65a1b2c3d4e5f60718293a4b"),
    "ann",
    Int64(5),
    0.5,
    Binary(bytes(range(16)), 4),
    DatetimeMS(1 << 60),
    {"year": 2024, "month": 1},
    {"$ref": "users", "$id": 1},
]


@pytest.mark.parametrize("value", IDS, ids=repr)
def test_a_repair_knows_the_documents_of_its_plan_by_their_names(tmp_path: Path, value: Any) -> None:
    staging = CollectionStaging(tmp_path, "users", "plan")
    write_json(staging.plan, {"bounds": [by_ids([value])]})
    assert is_plannable(value)
    assert _planned(staging) == {document_id(value): value}
