"""The program that is measured as `limit`: finished rows from memory into bare tables by binary COPY, then keys and indexes.

Nobody who ends with the same tables can be faster. The clock runs from the first byte to the commit; reading the rows into
memory, which somebody must have finished first, does not count.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pgpq
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from pgpq import encoders
from pgpq.schema import Jsonb
from psycopg import sql

from benchmarks.data import DATA_SETS
from mongo2pg.model import Table
from mongo2pg.target.schema import build_post_data, create_tables

if TYPE_CHECKING:
    from mongo2pg.files.staging import StagingPath


def finished_rows(staging: StagingPath, table: Table) -> pa.Table | None:
    """The table's rows as a run staged them, without the columns that no table has."""
    files = sorted(staging.glob(f"**/frames/{table.name}/*.parquet"))
    frames = pa.concat_tables([pq.read_table(file) for file in files])
    return frames.select([column.name for column in table.columns]) if frames.num_rows else None


def copy(conn: psycopg.Connection, table: Table, rows: pa.Table, into: sql.Identifier) -> None:
    """One binary COPY."""
    infer = pgpq.ArrowToPostgresBinaryEncoder.infer_encoder
    wire = {
        column.name: encoders.StringEncoderBuilder.new_with_output(field, Jsonb()) if column.type == "jsonb" else infer(field)
        for column, field in zip(table.columns, rows.schema, strict=True)
    }
    encoder = pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(rows.schema, wire)
    names = sql.SQL(", ").join(map(sql.Identifier, wire))
    query = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT BINARY)").format(into, names)
    with conn.cursor() as cursor, cursor.copy(query) as stream:
        stream.write(encoder.write_header())
        for batch in rows.to_batches():
            stream.write(encoder.write_batch(batch))
        stream.write(encoder.finish())


def main() -> None:
    """Writes the seconds to a file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limit", description=__doc__)
    parser.add_argument("data_set", choices=DATA_SETS)
    parser.add_argument("--staging", type=Path, required=True, help="of a run of the same data")
    parser.add_argument("--result", type=Path, required=True, help="the file to write")
    given = parser.parse_args()
    domain = DATA_SETS[given.data_set].domain
    memory = {table: rows for table in domain.tables if (rows := finished_rows(given.staging, table)) is not None}
    with psycopg.connect(os.environ["TARGET"]) as conn:
        create_tables(conn, domain)
        conn.commit()
        started = time.perf_counter()
        for table, rows in memory.items():
            copy(conn, table, rows, sql.Identifier("public", table.name))
        build_post_data(conn, [domain], {table.name for table in domain.tables})
        conn.commit()
        given.result.write_text(json.dumps({"seconds": round(time.perf_counter() - started, 3)}))


if __name__ == "__main__":
    main()
