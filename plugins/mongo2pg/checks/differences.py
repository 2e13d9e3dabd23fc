"""Differences between source and target: how they are written down, and what is shown of them."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Sequence
from typing import NamedTuple
from unicodedata import normalize

from psycopg import sql

from mongo2pg.audit import one_line
from mongo2pg.books import Connection, RunKey

# Differences shown in a log, a check or a report; all of them are in migration.differences.
SHOWN = 20
# Characters shown of a value, and read of it to show them: a text may have sixteen million, and a log has twenty of them.
EXCERPT, READ = 200, 100_000


class Difference(NamedTuple):
    """One row of migration.differences."""

    table: str
    id: str | None
    column: str | None
    kind: str
    source: str | None
    target: str | None


def describe(difference: Difference) -> str:
    """A difference as a sentence of bounded length, on one line; values of sensitive columns are digests already."""
    return one_line(_sentence(difference))


def _sentence(difference: Difference) -> str:
    where = f"{difference.table} {difference.id}"
    source, target = excerpts(difference.source, difference.target)
    if difference.kind == "different":
        return f"{where}: column {difference.column} should be {source}, is {target}"
    if difference.kind == "missing":
        return f"{where}: the row is missing in PostgreSQL"
    if difference.kind == "extra":
        return f"{where}: PostgreSQL has a row that no document explains"
    if difference.kind == "rebuilt":
        return f"{where}: {difference.column} was {source}, comes back as {target}"
    if difference.kind == "orphan":
        return f"{where}: {difference.column} refers to {difference.target}, which is not there"
    if difference.kind == "duplicate":
        return f"{where}: another row has the same {difference.column}"
    return f"{difference.table}: {difference.source}"


def excerpts(source: str | None, target: str | None) -> tuple[str | None, str | None]:
    """Both values in quotes, None where there is none; long ones from shortly before where they part.

    Two that look alike, as é and e with an accent do, are written in ASCII.
    """
    one, other = source or "", target or ""
    start = 0
    if max(len(one), len(other)) > EXCERPT:
        shorter = min(len(one), len(other))
        start = max(next((at for at in range(shorter) if one[at] != other[at]), shorter) - EXCERPT // 4, 0)
    write = ascii if normalize("NFKC", one) == normalize("NFKC", other) else repr
    return _excerpt(source, start, write), _excerpt(target, start, write)


def _excerpt(text: str | None, start: int, write: Callable[[str], str]) -> str | None:
    if text is None:
        return None
    shown = write(text[start : start + EXCERPT])
    before = f"… {start:,} characters, then " if start else ""
    return f"{before}{shown}{' …' if len(text) > start + EXCERPT else ''}"


def write_differences(conn: Connection, run: RunKey, check: str, chunk: int, differences: Sequence[Difference]) -> None:
    """All of them, however many, by COPY."""
    columns = "domain, run_id, check_name, table_name, chunk, id, column_name, kind, source, target"
    with conn.cursor() as cursor, cursor.copy(f"COPY migration.differences ({columns}) FROM STDIN") as copy:
        for d in differences:
            copy.write_row((run.domain, run.run_id, check, d.table, chunk, d.id, d.column, d.kind, d.source, d.target))


def booked_differences(conn: Connection, run: RunKey, check: str, table: str, chunk: int = -1) -> tuple[int, list[Difference]]:
    """How many differences a check of the run found in a table, and the first ones, as many as are shown anywhere."""
    rows = conn.execute(
        """
        SELECT count(*) OVER (), table_name, id::text, column_name, kind, left(source, %s), left(target, %s)
        FROM migration.differences
        WHERE (domain, run_id, check_name, table_name, chunk) = (%s, %s, %s, %s, %s) ORDER BY id, column_name LIMIT %s
        """,
        (READ, READ, run.domain, run.run_id, check, table, chunk, SHOWN),
    ).fetchall()
    return (rows[0][0] if rows else 0), [Difference(*row[1:]) for row in rows]


# HMAC-SHA256 (RFC 2104) with a key of this process: equal values look alike within a task, and no value can be guessed.
_KEY = secrets.token_bytes(64)
_INNER = bytes(byte ^ 0x36 for byte in _KEY)
_OUTER = bytes(byte ^ 0x5C for byte in _KEY)


def digest_of(text: str | None) -> str | None:
    """The same digest of a value that PostgreSQL does not have."""
    return None if text is None else f"hmac:{hmac.new(_KEY, text.encode(), 'sha256').hexdigest()[:16]}"


def digest(text: sql.Composable) -> sql.Composable:
    """The SQL expression of the keyed digest in whose form a sensitive value is shown; NULL stays NULL."""
    return sql.SQL("'hmac:' || left(encode(sha256({outer} || sha256({inner} || convert_to({text}, 'UTF8'))), 'hex'), 16)").format(
        outer=sql.Literal(_OUTER), inner=sql.Literal(_INNER), text=text
    )
