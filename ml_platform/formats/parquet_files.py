"""Parquet: columns in the file's own types, unpacked only as far as the limits go.

Belongs here: reading as much as there is room for. Does not belong here: how much a footer promises (parquet_room), conversion
of types (rules).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ml_platform.contracts import SourceContract
from ml_platform.formats.limits import Limits
from ml_platform.formats.matching import matched, shaped
from ml_platform.formats.opened import Opened, UnreadableError
from ml_platform.formats.parquet_room import Room
from ml_platform.formats.sizes import is_bytes, text_bytes
from ml_platform.transient import is_transient

BATCH = 65_536  # rows


def open_parquet(path: Path, contract: SourceContract, limits: Limits) -> Opened:
    """Read a Parquet file; row numbers count from 1."""
    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            limits.require_columns(max(len(schema.names), file.metadata.num_columns))
            limits.require_rows(rows)
            match = matched(schema.names, contract, rows)
            _require_plain_types(schema, contract, rows)
            table = _read(path, file, limits)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowMemoryError, OSError) as why:
        if isinstance(why, FileNotFoundError) or is_transient(why):
            raise
        raise UnreadableError("unreadable_parquet", f"not a whole Parquet file: {why}") from None
    if table.num_rows != rows:
        raise UnreadableError("unreadable_parquet", f"it says {rows:,} rows and holds {table.num_rows:,}")
    limits.require_cells(table)
    return Opened(shaped(table, match, contract, limits), pa.array(np.arange(1, rows + 1)))


def _read(path: Path, file: pq.ParquetFile, limits: Limits) -> pa.Table:
    """All at once where its footer says that it has room, whatever its texts are; else part by part, and counted before texts are written out."""
    room, rows = Room.of(file), file.metadata.num_rows
    limits.require_expanded(max(room.fixed, room.pages), rows)
    if room.at_most <= limits.expanded_bytes:
        return file.read()
    parts, texts, held = list[pa.Table](), 0, 0
    for part in _parts(path, room, limits):
        texts += text_bytes(part)
        limits.require_expanded(room.fixed + texts, rows)
        parts.append(_written_out(part))
        held += parts[-1].nbytes
        limits.require_expanded(held, rows)
    return pa.concat_tables(parts)


def _parts(path: Path, room: Room, limits: Limits) -> Iterator[pa.Table]:
    """A row group at a time with its texts as dictionaries; where Arrow cannot, as few rows as have room whatever their texts are."""
    with pq.ParquetFile(path, read_dictionary=room.packed) as packed:
        if room.stays_packed(packed):
            yield from (packed.read_row_group(number) for number in range(packed.num_row_groups))
            return
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            row = room.longest_row(number)
            limits.require_expanded(row, file.metadata.num_rows, "one row may unpack to")
            for batch in file.iter_batches(min(limits.expanded_bytes // max(row, 1), BATCH), row_groups=[number]):
                yield pa.Table.from_batches([batch])


def _written_out(table: pa.Table) -> pa.Table:
    """Columns of dictionaries with a value in each row."""
    for place, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            table = table.set_column(place, column.name, table[place].cast(column.type.value_type))
    return table


def _require_plain_types(found: pa.Schema, contract: SourceContract, rows: int) -> None:
    """Lists, maps and bytes have no text that a rule could read; every other type has."""
    odd = {f.name: str(f.type) for f in found if f.name in contract.columns and _is_odd(f.type)}
    if odd:
        raise UnreadableError("wrong_types", f"columns {odd} hold neither texts nor numbers nor times", rows)


def _is_odd(kind: pa.DataType) -> bool:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_nested(plain) or is_bytes(plain) or pa.types.is_fixed_size_binary(plain)
