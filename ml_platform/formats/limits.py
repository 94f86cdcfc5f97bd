"""Limits: how large a file may be, and how large it may become.

Belongs here: the bounds and the words of their errors, which name the setting to raise. Does not belong here: their defaults in an
installation (settings), counting within a format (its module).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.formats.opened import UnreadableError

MEGABYTE = 1 << 20
WIDEST_OFFSETS = 5  # bytes per cell beside its text: an offset and a share of a bitmap


@dataclass(frozen=True)
class Limits:
    """Bounds of one file: bytes as it lies there, rows, columns, bytes of one cell, and bytes once it is unpacked in memory."""

    file_bytes: int = 2 << 30
    rows: int = 50_000_000
    columns: int = 2_000
    cell_bytes: int = MEGABYTE
    expanded_bytes: int = 4 << 30

    def require_bytes(self, found: int) -> None:
        if found > self.file_bytes:
            raise _exceeded("too_many_bytes", f"the file has {found:,} bytes", self.file_bytes, "MAX_FILE_BYTES")

    def require_rows(self, found: int) -> None:
        if found > self.rows:
            raise _exceeded("too_many_rows", f"the file has {found:,} rows or more", self.rows, "MAX_ROWS", found)

    def require_columns(self, found: int, what: str = "the file has", rows: int = 0) -> None:
        if found > self.columns:
            raise _exceeded("too_many_columns", f"{what} {found:,} columns or more", self.columns, "MAX_COLUMNS", rows)

    def require_expanded(self, found: int, rows: int = 0) -> None:
        if found > self.expanded_bytes:
            what = f"the file unpacks to {found:,} bytes or more"
            raise _exceeded("expands_too_much", what, self.expanded_bytes, "MAX_EXPANDED_BYTES", rows)

    def require_cells(self, table: pa.Table) -> None:
        """Every text of a table within the bound of a cell."""
        for name in table.column_names:
            longest = longest_text(table[name])
            if longest > self.cell_bytes:
                raise self.cell_too_large(f"a cell of column '{name}' has {longest:,} bytes", table.num_rows)

    def cell_too_large(self, what: str, rows: int = 0) -> UnreadableError:
        return _exceeded("cell_too_large", what, self.cell_bytes, "MAX_CELL_BYTES", rows)


def _exceeded(rule: str, what: str, limit: int, setting: str, rows: int = 0) -> UnreadableError:
    return UnreadableError(
        rule, f"{what}, the limit is {limit:,}: raise ML_PLATFORM_{setting}, or land it in parts", rows
    )


def longest_text(column: pa.ChunkedArray) -> int:
    """Bytes of the longest text; 0 for columns of another type."""
    if pa.types.is_dictionary(column.type):
        return max((longest_text(pa.chunked_array([one.dictionary])) for one in column.chunks), default=0)
    if not is_text(column.type):
        return 0
    return pc.max(pc.binary_length(column)).as_py() or 0


def is_text(kind: pa.DataType) -> bool:
    """Whether values are texts, in any of Arrow's layouts."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def width_of(kind: pa.DataType) -> int:
    """Bytes of one value in memory, without the bytes of a text itself (an offset stands for them)."""
    try:
        return max(kind.bit_width // 8, 1)
    except ValueError:
        return WIDEST_OFFSETS


def widths(kinds: Iterable[pa.DataType]) -> int:
    """Bytes of one row in memory, without the bytes of its texts."""
    return sum(width_of(kind) for kind in kinds)
