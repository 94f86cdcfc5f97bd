"""Parquet: columns in the file's own types, unpacked only as far as the limits go.

Belongs here: what a file will need in memory, before and while it is read. Does not belong here: conversion of types (rules).
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml_platform.contracts import SourceContract
from ml_platform.formats.limits import Limits, is_text, widths
from ml_platform.formats.matching import Match, matched, shaped
from ml_platform.formats.opened import Opened, UnreadableError
from ml_platform.transient import is_transient


def open_parquet(path: Path, contract: SourceContract, limits: Limits) -> Opened:
    """Read a Parquet file; row numbers count from 1."""
    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            limits.require_columns(len(schema.names))
            limits.require_rows(rows)
            match = matched(schema.names, contract, rows)
            _require_plain_types(schema, contract, rows)
            _require_room(file, limits)
        table = _read(path, limits, match, contract)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowMemoryError, OSError) as why:
        if isinstance(why, FileNotFoundError) or is_transient(why):
            raise
        raise UnreadableError("unreadable_parquet", f"not a whole Parquet file: {why}") from None
    if table.num_rows != rows:
        raise UnreadableError("unreadable_parquet", f"it says {rows:,} rows and holds {table.num_rows:,}")
    limits.require_cells(table)
    return Opened(shaped(table, match, contract), pa.array(np.arange(1, rows + 1)))


def _require_room(file: pq.ParquetFile, limits: Limits) -> None:
    """Rows times the widths of the schema, and the pages themselves: known before a page is read."""
    meta = file.metadata
    pages = sum(meta.row_group(n).total_byte_size for n in range(meta.num_row_groups))
    limits.require_expanded(max(meta.num_rows * widths(file.schema_arrow.types), pages), meta.num_rows)


def _read(path: Path, limits: Limits, match: Match, contract: SourceContract) -> pa.Table:
    """Row group by row group. Texts that the file keeps once in a dictionary are counted before they are written out per row."""
    with pq.ParquetFile(path) as plain:
        names = [*(name for name in contract.columns if name not in match.missing), *match.unknown]
        packed = _dictionaries(plain)
        meta, schema = plain.metadata, plain.schema_arrow
        known = meta.num_rows * widths(schema.types)
        if not packed or known + _at_most(meta, packed) <= limits.expanded_bytes:
            return plain.read(columns=names, use_threads=True)
    with pq.ParquetFile(path, read_dictionary=packed) as file:
        groups, total = list[pa.Table](), known
        for number in range(meta.num_row_groups):
            group = file.read_row_group(number, columns=names, use_threads=True)
            total += sum(_texts(group[name]) for name in names if is_text(schema.field(name).type))
            limits.require_expanded(total, meta.num_rows)
            groups.append(_unpacked(group))
    return pa.concat_tables(groups)


def _dictionaries(file: pq.ParquetFile) -> list[str]:
    """Columns of text of which the file keeps at least a part in dictionaries."""
    meta, schema = file.metadata, file.schema_arrow
    found = set[str]()
    for number in range(meta.num_row_groups):
        group = meta.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            if column.has_dictionary_page and column.physical_type == "BYTE_ARRAY":
                found.add(column.path_in_schema)
    return [name for name in schema.names if name in found and is_text(schema.field(name).type)]


def _at_most(meta: pq.FileMetaData, packed: list[str]) -> int:
    """Bytes of text if every value were as long as its whole column chunk."""
    groups = [meta.row_group(number) for number in range(meta.num_row_groups)]
    return sum(
        group.num_rows * group.column(place).total_uncompressed_size
        for group in groups
        for place in range(group.num_columns)
        if group.column(place).path_in_schema in packed
    )


def _texts(column: pa.ChunkedArray) -> int:
    """Bytes of all texts, whether they lie in a dictionary or not."""
    if not pa.types.is_dictionary(column.type):
        return pc.sum(pc.binary_length(column)).as_py() or 0
    lengths = (pc.binary_length(one.dictionary).take(one.indices) for one in column.chunks)
    return sum(pc.sum(one.cast(pa.int64())).as_py() or 0 for one in lengths)


def _unpacked(table: pa.Table) -> pa.Table:
    for place, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            table = table.set_column(place, column.name, table[place].cast(column.type.value_type))
    return table


def _require_plain_types(found: pa.Schema, contract: SourceContract, rows: int) -> None:
    """Lists, maps and bytes have no text that a rule could read; every other type has."""
    odd = {
        f.name: str(f.type)
        for f in found
        if f.name in contract.columns and (pa.types.is_nested(f.type) or _is_bytes(f.type))
    }
    if odd:
        raise UnreadableError("wrong_types", f"columns {odd} hold neither texts nor numbers nor times", rows)


def _is_bytes(kind: pa.DataType) -> bool:
    return any(
        test(kind)
        for test in (
            pa.types.is_binary,
            pa.types.is_large_binary,
            pa.types.is_fixed_size_binary,
            pa.types.is_binary_view,
        )
    )
