"""Between which databases a run moves: named in its log and its report, so that nobody has to guess; no passwords."""

from __future__ import annotations

from typing import Any

from pymongo.database import Database
from pymongo.errors import OperationFailure

from mongo2pg.books import Connection


def ends(database: Database[Any] | None, conn: Connection) -> dict[str, Any]:
    """`source` and `target`, each with its servers, database, user and version; a replay reads no source."""
    server = conn.info
    target = {
        "servers": [f"{server.host}:{server.port}"],
        "database": server.dbname,
        "user": server.user,
        "version": f"PostgreSQL {server.parameter_status('server_version')}",
    }
    return {"source": None if database is None else _source(database), "target": target}


def _source(database: Database[Any]) -> dict[str, Any]:
    version = _answer(database, "buildInfo").get("version")
    users = _answer(database, "connectionStatus").get("authInfo", {}).get("authenticatedUsers", [])
    return {
        "servers": sorted(f"{host}:{port}" for host, port in database.client.nodes),
        "database": database.name,
        "user": ", ".join(f"{user['user']} of {user['db']}" for user in users) or None,
        "version": f"MongoDB {version}" if version else None,
    }


def _answer(database: Database[Any], command: str) -> dict[str, Any]:
    """The server's answer, or nothing: not every proxy and service that speaks MongoDB's protocol tells these."""
    try:
        return dict(database.command(command))
    except OperationFailure:
        return {}
