"""What drivers say of a failure, in one line; one that says nothing is called by its kind."""

from __future__ import annotations

import psycopg
import pytest
from pymongo.errors import AutoReconnect

from mongo2pg.connection_faults import first_line, source_fault, target_fault


@pytest.mark.parametrize(
    ("said", "want"), [("", "OSError"), ("\n", "OSError"), ("\ngone \nfor good", "gone"), ("x" * 400, "x" * 300)]
)
def test_the_first_line_of_an_error_is_all_that_is_shown_of_it(said: str, want: str) -> None:
    assert first_line(OSError(said)) == want


def test_a_driver_that_says_nothing_leaves_a_sentence() -> None:
    assert source_fault(AutoReconnect("")).startswith("MongoDB cannot be reached (AutoReconnect: AutoReconnect): ")
    assert target_fault(psycopg.OperationalError("")).startswith("PostgreSQL cannot be reached (OperationalError): ")
