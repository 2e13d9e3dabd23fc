"""What drivers say of a connection that fails, as a sentence that says what to do. Drivers name hosts, never passwords."""

from __future__ import annotations

import psycopg
from pymongo.errors import OperationFailure, PyMongoError

# Error codes of mongod: src/mongo/base/error_codes.yml.
UNAUTHORIZED, AUTHENTICATION_FAILED = 13, 18


def source_fault(error: PyMongoError) -> str:
    """A driver's error of the source."""
    if isinstance(error, OperationFailure) and error.code == AUTHENTICATION_FAILED:
        return (
            "MongoDB refuses the user or the password: correct the connection (a user of another database needs extra.authSource)"
        )
    if isinstance(error, OperationFailure) and error.code == UNAUTHORIZED:
        return "MongoDB lets this user in but not read: grant the role read on the database"
    said = first_line(error).split(", Timeout:")[0]
    return f"MongoDB cannot be reached ({type(error).__name__}: {said}): check host and port of the connection, and the server"


def target_fault(error: psycopg.Error) -> str:
    """A driver's error of the target."""
    return f"PostgreSQL cannot be reached ({first_line(error)}): check host, port, user, password and database of the connection"


def first_line(error: Exception) -> str:
    """As much of an error as a message has room for; the name of its class where it says nothing."""
    return str(error).strip().partition("\n")[0].rstrip()[:300] or type(error).__name__
