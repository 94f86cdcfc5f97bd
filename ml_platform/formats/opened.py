"""What opening a file gives: its rows as a table, lines left out, or the reason for nothing at all.

Belongs here: the shapes that all formats share. Does not belong here: reading (a module per format).
"""

from dataclasses import dataclass

import pyarrow as pa

SHOWN = 10_000  # bytes of a broken line that quarantine keeps


class UnreadableError(ValueError):
    """A file cannot become rows; `rule` is the reason in one word, the message says where and why, `rows` how many it holds if that is known."""

    def __init__(self, rule: str, message: str, rows: int = 0) -> None:
        super().__init__(message)
        self.rule = rule
        self.rows = rows


@dataclass(frozen=True)
class Malformed:
    """A record that is none of the file's shape: its number, its text as far as it is kept (`shown`), and what is wrong with it."""

    row_number: int
    raw: str
    value: str
    rule: str = "malformed_row"


def shown(line: bytes) -> str:
    """The beginning of a broken line; bytes that are no text as their codes."""
    return line[:SHOWN].decode(errors="backslashreplace")


@dataclass(frozen=True)
class Opened:
    """Columns of the contract (texts for CSV and JSON lines, the file's types for Parquet), then those that drift adds (texts).

    Row numbers are records of a CSV file (the header is 1; blank lines do not count), lines of JSON lines (from 1), and rows
    of Parquet (from 1).
    """

    table: pa.Table
    row_numbers: pa.Array
    malformed: tuple[Malformed, ...] = ()
