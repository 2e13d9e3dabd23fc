"""Where each table and column came from: as comments in the catalog, and as the page that explains a DAG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mongo2pg.model import DELETED_AT, Collection, Column, Domain, Table

if TYPE_CHECKING:
    from mongo2pg.books import Connection


def origin(collection: Collection, table: Table, column: Column) -> str:
    """The field behind a column, in words; `[]` stands for each element of an array, `{}` for each value of a map."""
    child = table.child
    holder = f"{collection.name}.{child.path}{'{}' if child.kind == 'map' else '[]'}" if child else collection.name
    if column.name == "extra":
        return f"{holder}: fields that the mapping does not name, and values that did not fit, as Extended JSON"
    if column is DELETED_AT:
        return f"{holder}: when the document was missed, NULL while it is there"
    if child is None:
        return f"{holder}.{column.path}"
    if column.name == table.parent_key:
        return f"{collection.name}._id"
    if column.name == "ordinal":
        return f"{holder}: position, from 0"
    if column.name == "id":
        return f"{holder}: derived from the parent's id and the element"
    if column.name == child.key:
        return f"{holder}: key"
    return f"{holder}.{column.path}" if column.path else holder


def markdown(domain: Domain) -> str:
    """The domain's mapping as Markdown: a table per collection, field → column and type."""
    lines = [f"### {domain.name}", "", domain.description, ""] if domain.description else [f"### {domain.name}", ""]
    lines += [
        "Each run reads the collections from MongoDB, stages their documents, writes them as rows, settles references and unique",
        "keys, and compares every row with what its document must have become. A run is green only if every check passed.",
        "",
    ]
    for collection in domain.collections:
        lines += [f"#### {collection.name}", "", "| field | column | type |", "|---|---|---|"]
        for table in collection.tables:
            for column in table.stored:
                notes = [note for note, is_so in (("required", column.required), ("sensitive", column.sensitive)) if is_so]
                notes += [f"→ {column.references}"] if column.references else []
                kind = ", ".join([column.type, *notes])
                lines.append(f"| `{origin(collection, table, column)}` | `{table.name}.{column.name}` | {kind} |")
        ignored = ", ".join(f"`{path}`" for path in collection.ignored)
        lines += ["", f"Ignored on purpose: {ignored}." if ignored else "Nothing is ignored.", ""]
    return "\n".join(lines)


def overview(domains: Sequence[Domain]) -> str:
    """The platform's page: which collections of which domain become which tables."""
    lines = ["### platform", "", "Runs the DAG of every domain, the first alone and then all others side by side, judges the"]
    lines += ["references between domains, and answers for the whole.", "", "| domain | collection | tables |", "|---|---|---|"]
    for domain in domains:
        for collection in domain.collections:
            tables = ", ".join(f"`{table.name}`" for table in collection.tables)
            lines.append(f"| {domain.name} | `{collection.name}` | {tables} |")
    return "\n".join(lines)


def write_comments(conn: Connection, domain: Domain) -> None:
    """Puts the origin of each table and column into the catalog, where psql's `\\d+` and pgAdmin show it."""
    from psycopg import sql

    from mongo2pg.queries import TARGET, target

    present = {
        (table, column): comment
        for table, column, comment in conn.execute(
            """
            SELECT c.relname, coalesce(a.attname, ''), d.description FROM pg_description d
            JOIN pg_class c ON d.classoid = 'pg_class'::regclass AND c.oid = d.objoid
            JOIN pg_namespace n ON n.oid = c.relnamespace
            LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
            WHERE n.nspname = %s
            """,
            (TARGET,),
        )
    }
    wanted = []
    for collection in domain.collections:
        for table in collection.tables:
            whence = f"{collection.name}.{table.child.path}" if table.child else collection.name
            comment = f"From the MongoDB collection {whence}" if table.child is None else f"From {whence} of each document"
            if present.get((table.name, "")) != comment:
                wanted.append(sql.SQL("COMMENT ON TABLE {} IS {}").format(target(table.name), comment))
            for column in table.stored:
                comment = origin(collection, table, column)
                if present.get((table.name, column.name)) != comment:
                    name = sql.Identifier(TARGET, table.name, column.name)
                    wanted.append(sql.SQL("COMMENT ON COLUMN {} IS {}").format(name, comment))
    if wanted:
        conn.execute(sql.SQL("; ").join(wanted))
