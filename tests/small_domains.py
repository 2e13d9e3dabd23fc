"""The SQL of any domain, as docs/new_domain.md says that it is written: for tests that make declarations of their own."""

from __future__ import annotations

from pathlib import Path

from mongo2pg.model import Column, Domain, Table


def write_sql(include: Path, domain: Domain) -> Path:
    """Both files of the domain where the pipeline looks for them, below a folder of the test's own."""
    folder = include / domain.name
    folder.mkdir(parents=True)
    (folder / "pre_data.sql").write_text("\n".join(map(_bare, domain.tables)))
    keys = [key for table in domain.tables for key in _keys(table)]
    (folder / "post_data.sql").write_text("\n".join(keys + [key for table in domain.tables for key in _foreign_keys(table)]))
    return include


def _bare(table: Table) -> str:
    columns = [f'"{column.name}" {column.type}{" NOT NULL" if column.required else ""}' for column in table.stored]
    lines = columns + [_check(table, column) for column in table.columns if column.enum]
    return f'CREATE TABLE IF NOT EXISTS public."{table.name}" (\n    ' + ",\n    ".join(lines) + "\n);"


def _check(table: Table, column: Column) -> str:
    values = ", ".join("'" + value.replace("'", "''") + "'" for value in column.enum)
    holds = f"<@ ARRAY[{values}]::text[]" if column.type == "text[]" else f"IN ({values})"
    return f'CONSTRAINT {table.name}_{column.name}_check CHECK ("{column.name}" {holds})'


def _keys(table: Table) -> list[str]:
    alter = f'ALTER TABLE public."{table.name}" ADD CONSTRAINT {table.name}_'
    unique = [f"{alter}{'_'.join(key)}_key UNIQUE ({_listed(key)}){' DEFERRABLE' if table.child else ''};" for key in table.unique]
    return [f"{alter}pkey PRIMARY KEY (id);", *unique]


def _foreign_keys(table: Table) -> list[str]:
    return [
        f'ALTER TABLE public."{table.name}" ADD CONSTRAINT {table.name}_{column.name}_fkey '
        f'FOREIGN KEY ("{column.name}") REFERENCES public."{column.references}" (id);'
        for column in table.columns
        if column.references and column.judged
    ]


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f'"{name}"' for name in names)
