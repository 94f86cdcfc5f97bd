"""Limits: how large a file may be, and how large it may become.

Belongs here: the bounds and the words of their errors, which name the setting to raise. Does not belong here: their defaults in an
installation (settings), counting within a format (its module).
"""

from dataclasses import dataclass

import pyarrow as pa

from ml_platform.formats.opened import UnreadableError
from ml_platform.formats.sizes import longest

MEGABYTE = 1 << 20


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

    def require_expanded(self, found: int, rows: int = 0, what: str = "the file unpacks to") -> None:
        if found > self.expanded_bytes:
            what = f"{what} {found:,} bytes or more"
            raise _exceeded("expands_too_much", what, self.expanded_bytes, "MAX_EXPANDED_BYTES", rows)

    def require_cells(self, table: pa.Table) -> None:
        """Every text of a table, and every list or struct, within the bound of a cell."""
        for name in table.column_names:
            found = longest(table[name])
            if found > self.cell_bytes:
                raise self.cell_too_large(f"a cell of column '{name}' has {found:,} bytes", table.num_rows)

    def cell_too_large(self, what: str, rows: int = 0) -> UnreadableError:
        return _exceeded("cell_too_large", what, self.cell_bytes, "MAX_CELL_BYTES", rows)


def _exceeded(rule: str, what: str, limit: int, setting: str, rows: int = 0) -> UnreadableError:
    return UnreadableError(
        rule, f"{what}, the limit is {limit:,}: raise ML_PLATFORM_{setting}, or land it in parts", rows
    )
