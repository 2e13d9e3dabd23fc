"""What drivers say of a connection that fails, as a sentence that says what to do. Drivers name hosts, never passwords."""

from __future__ import annotations

import psycopg
from pymongo.errors import OperationFailure, PyMongoError

from mongo2pg.errors import PermanentError, TransientError

# Error codes of mongod: src/mongo/base/error_codes.yml. Atlas has one of its own for whatever its proxies say.
_UNAUTHORIZED, _AUTHENTICATION_FAILED, _ATLAS = 13, 18, 8000


def source_fault(error: PyMongoError) -> str:
    """A driver's error of the source."""
    if _is_unknown(error):
        return (
            "MongoDB refuses the user or the password: correct the connection (a user of another database needs extra.authSource)"
        )
    if is_unauthorized(error):
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
    if _is_unknown(error) or is_unauthorized(error):
        return PermanentError(source_fault(error))
    return TransientError(f"MongoDB: {said(error)} ({type(error).__name__})")


def is_unauthorized(error: PyMongoError) -> bool:
    """Whether the user was let in and may not do what was asked."""
    return _has_code(error, _UNAUTHORIZED) or (_has_code(error, _ATLAS) and "not allowed to do action" in str(error))


def _is_unknown(error: PyMongoError) -> bool:
    return _has_code(error, _AUTHENTICATION_FAILED) or (_has_code(error, _ATLAS) and str(error).startswith("bad auth"))


def _has_code(error: PyMongoError, code: int) -> bool:
    return isinstance(error, OperationFailure) and error.code == code


def said(error: PyMongoError) -> str:
    """The driver's words without what it knows of all servers, and without the reply that it read them from."""
    return first_line(error).split(", Timeout:")[0].split(", full error:")[0]


def target_fault(error: psycopg.Error) -> str:
    """A driver's error of the target."""
    return f"PostgreSQL cannot be reached ({first_line(error)}): check host, port, user, password and database of the connection"


def first_line(error: Exception) -> str:
    """As much of an error as a message has room for; the name of its class where it says nothing."""
    return str(error).strip().partition("\n")[0].rstrip()[:300] or type(error).__name__
