"""File formats: a landed file as an Arrow table, or the reason why it is none.

Belongs here: opening CSV and Parquet and comparing their columns with a contract. Does not belong here: types and rules of
values (rules), and what happens to a refused file (ingestion).
"""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from ml_platform.contracts import SourceContract


class UnreadableError(ValueError):
    """A file cannot become rows; `rule` is the reason in one word, the message says where and why, `rows` how many it holds if that is known."""

    def __init__(self, rule: str, message: str, rows: int = 0) -> None:
        super().__init__(message)
        self.rule = rule
        self.rows = rows


@dataclass(frozen=True)
class Malformed:
    """A line that does not have the header's number of fields."""

    row_number: int
    raw: str
    value: str


@dataclass(frozen=True)
class Opened:
    """Columns in the contract's order (texts for CSV, the file's types for Parquet), the number of each row, and lines left out.

    Row numbers are lines of a CSV file (the header is 1), and count from 1 in Parquet.
    """

    table: pa.Table
    row_numbers: pa.Array
    malformed: tuple[Malformed, ...] = ()


def open_drop(path: Path, contract: SourceContract) -> Opened:
    """Read a landed file; UnreadableError where it is empty, broken or has other columns than the contract."""
    if path.stat().st_size == 0:
        raise UnreadableError("empty_file", "the file has no bytes")
    return _open_csv(path, contract) if contract.format.type == "csv" else _open_parquet(path, contract)


def _open_csv(path: Path, contract: SourceContract) -> Opened:
    malformed: list[Malformed] = []

    def skip(row: csv.InvalidRow) -> str:
        malformed.append(
            Malformed(int(row.number), row.text, f"{row.actual_columns} fields, the header has {row.expected_columns}")
        )
        return "skip"

    form = contract.format
    try:
        # one thread, because only then Arrow knows the number of a row
        table = csv.read_csv(
            path,
            csv.ReadOptions(use_threads=False, encoding=form.encoding, block_size=16 << 20),
            csv.ParseOptions(delimiter=form.delimiter, invalid_row_handler=skip, newlines_in_values=True),
            _as_texts(path, contract),
        )
        names = table.column_names
    except (pa.ArrowInvalid, UnicodeDecodeError, LookupError) as why:
        raise UnreadableError("unreadable_csv", f"not a CSV file in {form.encoding}: {why}") from None
    _require_columns(names, contract, table.num_rows)
    bad = {one.row_number for one in malformed}
    lines = (
        [n for n in range(2, table.num_rows + len(bad) + 2) if n not in bad] if bad else range(2, table.num_rows + 2)
    )
    return Opened(table.select(list(contract.columns)), pa.array(lines, pa.int64()), tuple(malformed))


def _as_texts(path: Path, contract: SourceContract) -> csv.ConvertOptions:
    """Everything is text at first: Arrow would guess types from the first block."""
    with path.open(encoding=contract.format.encoding, errors="replace", newline="") as lines:
        header = lines.readline(1 << 16).lstrip("\ufeff").rstrip("\r\n")
    names = {name.strip('"') for name in header.split(contract.format.delimiter)} | set(contract.columns)
    return csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )


def _open_parquet(path: Path, contract: SourceContract) -> Opened:
    try:
        with pq.ParquetFile(path) as file:
            names, rows = file.schema_arrow.names, file.metadata.num_rows
            _require_columns(names, contract, rows)
            _require_plain_types(file.schema_arrow, contract, rows)
            table = file.read(columns=list(contract.columns), use_threads=True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as why:
        raise UnreadableError("unreadable_parquet", f"not a whole Parquet file: {why}") from None
    return Opened(table.select(list(contract.columns)), pa.array(range(1, rows + 1), pa.int64()))


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


def _require_columns(found: list[str], contract: SourceContract, rows: int) -> None:
    missing = [name for name in contract.columns if name not in found]
    unknown = [name for name in found if name not in contract.columns]
    if missing:
        raise UnreadableError("missing_columns", f"columns {missing} are missing; the file has {found[:20]}", rows)
    if unknown or len(set(found)) < len(found):
        raise UnreadableError(
            "unexpected_columns",
            f"columns {unknown or found} are not in the contract of '{contract.name}', or occur twice",
            rows,
        )
