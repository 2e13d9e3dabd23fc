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
    first_line = str(error).split(", Timeout:")[0].splitlines()[0][:300]
    return (
        f"MongoDB cannot be reached ({type(error).__name__}: {first_line}): check host and port of the connection, and the server"
    )


def target_fault(error: psycopg.Error) -> str:
    """A driver's error of the target."""
    first_line = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
    return f"PostgreSQL cannot be reached ({first_line}): check host, port, user, password and database of the connection"
