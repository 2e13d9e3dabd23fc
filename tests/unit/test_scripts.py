"""What the two SQL files of a domain name, as PostgreSQL understands it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mongo2pg.model import Domain
from mongo2pg.target import scripts
from mongo2pg.target.scripts import Made, known_names, post_data

PRE_DATA = """
CREATE TABLE IF NOT EXISTS public."user" (
    id uuid NOT NULL, kind text,
    CONSTRAINT User_Kind_Check CHECK (kind IN ('a')), constraint "order" CHECK (kind <> '')
);
"""
POST_DATA = """
ALTER TABLE public."user" ADD CONSTRAINT User_PKey PRIMARY KEY (ID);
create index if not exists User_Kind_Idx on public."user" (Kind);
"""


def test_names_that_are_not_quoted_are_lower_case_whoever_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "INCLUDE", tmp_path)
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "pre_data.sql").write_text(PRE_DATA)
    (folder / "post_data.sql").write_text(POST_DATA)
    domain = Domain("small", ())
    made = [each for each, _ in post_data(domain)]
    assert made == [
        Made("user", "user_pkey", "p", frozenset({"id"})),
        Made("user", "user_kind_idx", "i", frozenset({"kind"})),
    ]
    assert known_names(domain) == ["user_kind_check", "order", "user_pkey", "user_kind_idx"]
