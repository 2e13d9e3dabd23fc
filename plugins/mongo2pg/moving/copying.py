"""Frames into tables by COPY in PostgreSQL's binary format, encoded from Arrow."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from decimal import Decimal
from typing import Any

import pgpq
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pgpq import encoders
from pgpq.schema import Jsonb
from psycopg import sql
from psycopg.types.numeric import DecimalBinaryDumper

from mongo2pg.ahead import ahead
from mongo2pg.batches.arrow import pa
from mongo2pg.batches.typed_columns import ARROW_TYPES
from mongo2pg.books import Connection
from mongo2pg.files.parquet import RAW_ROW
from mongo2pg.model import Column, Table
from mongo2pg.queries import names


def copy_frames(conn: Connection, into: sql.Identifier, table: Table, batches: Iterable[pa.RecordBatch]) -> None:
    """Copies the rows into a table that has these columns; those that no table has (`_row`) stay behind."""
    wire = pa.schema([(column.name, _WIRE_TYPES.get(column.type, ARROW_TYPES[column.type])) for column in table.columns])
    encoder = pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(
        wire, {column.name: _encoder(column, wire.field(column.name)) for column in table.columns}
    )
    copy_sql = sql.SQL("COPY {} ({}) FROM STDIN WITH (FORMAT BINARY)").format(into, names(table.columns))
    with conn.cursor() as cursor, cursor.copy(copy_sql) as copy:
        copy.write(encoder.write_header())
        for encoded in ahead(_encoded(encoder, table, wire, batches)):
            copy.write(encoded)
        copy.write(encoder.finish())


def all_rows(file: pq.ParquetFile) -> Iterable[pa.RecordBatch]:
    """A frame, a row group at a time."""
    for group in range(file.num_row_groups):
        yield from file.read_row_group(group).to_batches()


def rows_without(file: pq.ParquetFile, documents: Sequence[int]) -> Iterable[pa.RecordBatch]:
    """A frame but for the rows of these documents, which are rows of the raw file."""
    if not documents:
        return all_rows(file)
    unwanted = pa.array(documents, pa.int64())
    return (batch.filter(pc.invert(pc.is_in(batch.column(RAW_ROW), unwanted))) for batch in all_rows(file))


def rows_of(file: pq.ParquetFile, documents: Sequence[int]) -> Iterable[pa.RecordBatch]:
    """The rows of these documents alone."""
    wanted = pa.array(documents, pa.int64())
    return (batch.filter(pc.is_in(batch.column(RAW_ROW), wanted)) for batch in all_rows(file))


def _encoded(encoder: Any, table: Table, wire: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Generator[bytes]:
    for batch in batches:
        if batch.num_rows:
            arrays = [_wire_array(batch.column(column.name), column) for column in table.columns]
            yield encoder.write_batch(pa.RecordBatch.from_arrays(arrays, schema=wire))


# pgpq has no encoder from text to numeric: the values go as the bytes that PostgreSQL's numeric_recv reads.
_WIRE_TYPES = {"numeric": pa.binary()}


def _encoder(column: Column, field: pa.Field) -> Any:
    if column.type == "jsonb":
        return encoders.StringEncoderBuilder.new_with_output(field, Jsonb())
    return pgpq.ArrowToPostgresBinaryEncoder.infer_encoder(field)


def _wire_array(array: pa.Array, column: Column) -> pa.Array:
    if column.type != "numeric":
        return array
    dumper = DecimalBinaryDumper(Decimal)
    return pa.array([None if text is None else dumper.dump(Decimal(text)) for text in array.to_pylist()], pa.binary())
