"""What drivers say of a connection that fails, as a sentence that says what to do. Drivers name hosts, never passwords."""

from __future__ import annotations

import psycopg
from pymongo.errors import OperationFailure, PyMongoError

from mongo2pg.errors import PermanentError, TransientError

# Error codes of mongod: src/mongo/base/error_codes.yml.
UNAUTHORIZED, AUTHENTICATION_FAILED = 13, 18


def source_fault(error: PyMongoError) -> str:
    """A driver's error of the source."""
    if isinstance(error, OperationFailure) and error.code == AUTHENTICATION_FAILED:
        return (
            "MongoDB refuses the user or the password: correct the connection (a user of another database needs extra.authSource)"
        )
    if isinstance(error, OperationFailure) and error.code == UNAUTHORIZED:
        # What follows is the command, in which ids of documents may stand.
        where = said(error).split(" to execute")[0]
        return (
            f"MongoDB lets this user in but not read ({where}): "
            "correct the database of the connection (its schema), or grant the role read on the database"
        )
    return (
        f"MongoDB cannot be reached ({type(error).__name__}: {said(error)}): check host and port of the connection, and the server"
    )


def refusal(error: PyMongoError) -> PermanentError | TransientError:
    """A driver's error of a source that was reached: a retry may cure most of them (a fail-over, a cursor that was killed)."""
    if isinstance(error, OperationFailure) and error.code in (UNAUTHORIZED, AUTHENTICATION_FAILED):
        return PermanentError(source_fault(error))
    return TransientError(f"MongoDB: {said(error)} ({type(error).__name__})")


def said(error: PyMongoError) -> str:
    """The driver's words without what it knows of all servers, and without the reply that it read them from."""
    return first_line(error).split(", Timeout:")[0].split(", full error:")[0]


def target_fault(error: psycopg.Error) -> str:
    """A driver's error of the target."""
    return f"PostgreSQL cannot be reached ({first_line(error)}): check host, port, user, password and database of the connection"


def first_line(error: Exception) -> str:
    """As much of an error as a message has room for; the name of its class where it says nothing."""
    return str(error).strip().partition("\n")[0].rstrip()[:300] or type(error).__name__
