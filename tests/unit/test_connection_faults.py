"""What drivers say of a failure, in one line; one that says nothing is called by its kind."""

from __future__ import annotations

import psycopg
import pytest
from pymongo.errors import AutoReconnect, CursorNotFound, OperationFailure, PyMongoError

from mongo2pg.databases.connection_faults import first_line, refusal, source_fault, target_fault
from mongo2pg.errors import PermanentError, TransientError


@pytest.mark.parametrize(
    ("said", "want"), [("", "OSError"), ("\n", "OSError"), ("\ngone \nfor good", "gone"), ("x" * 400, "x" * 300)]
)
def test_the_first_line_of_an_error_is_all_that_is_shown_of_it(said: str, want: str) -> None:
    assert first_line(OSError(said)) == want


def test_a_driver_that_says_nothing_leaves_a_sentence() -> None:
    assert source_fault(AutoReconnect("")).startswith("MongoDB cannot be reached (AutoReconnect: AutoReconnect): ")
    assert target_fault(psycopg.OperationalError("")).startswith("PostgreSQL cannot be reached (OperationalError): ")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (CursorNotFound("cursor 7 not found", 43, {"ok": 0.0}), TransientError, "MongoDB: cursor 7 not found (CursorNotFound)"),
        (AutoReconnect("connection closed"), TransientError, "MongoDB: connection closed (AutoReconnect)"),
        (
            OperationFailure("not authorized on deiri to execute command { find: 'users', filter: { _id: 'secret' } }", 13),
            PermanentError,
            "MongoDB lets this user in but not read (not authorized on deiri): correct the database of the connection (its "
            "schema), or grant the role read on the database",
        ),
        (OperationFailure("Authentication failed.", 18), PermanentError, "MongoDB refuses the user or the password"),
        (OperationFailure("bad auth : Authentication failed.", 8000), PermanentError, "MongoDB refuses the user or the password"),
        (
            OperationFailure("user is not allowed to do action [find] on [deepiri.users]", 8000),
            PermanentError,
            "MongoDB lets this user in but not read (user is not allowed to do action [find] on [deepiri.users]): correct",
        ),
        (OperationFailure("cannot connect to a new cluster", 8000), TransientError, "MongoDB: cannot connect to a new cluster ("),
    ],
)
def test_what_mongodb_refuses_is_tried_again_unless_it_is_a_matter_of_rights(
    error: PyMongoError, kind: type[Exception], said: str
) -> None:
    found = refusal(error)
    assert isinstance(found, kind)
    assert said in str(found)
