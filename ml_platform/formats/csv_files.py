"""CSV: cells as texts, lines of another length set apart with their number.

Belongs here: header, quotes, delimiters and what Arrow does not notice by itself. Does not belong here: encodings and gzip (landed),
types (rules).
"""

import csv as lines
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from ml_platform.contracts import SourceContract
from ml_platform.file_format import Format
from ml_platform.formats.landed import Landed, Texts
from ml_platform.formats.limits import MEGABYTE, Limits
from ml_platform.formats.matching import matched, shaped
from ml_platform.formats.opened import Malformed, Opened, UnreadableError, shown

LAST = "\x1e\x04ml_platform: the last row\x04\x1e"
BLOCK = 16 * MEGABYTE
DELIMITERS = ",;\t|"


def open_csv(path: Path, contract: SourceContract, limits: Limits) -> Opened:
    """Read a CSV file; row numbers count records, from the header on."""
    form = contract.format
    try:
        names = _names(path, contract, limits)
        table, malformed = _read(path, form, limits, names)
    except (pa.ArrowInvalid, LookupError) as why:
        raise _refusal(form, limits, why) from None
    limits.require_rows(table.num_rows + len(malformed))
    match = matched(names, contract, table.num_rows)
    limits.require_cells(table)
    numbers = _numbers(table.num_rows, malformed, form.header)
    return Opened(shaped(table, match, contract, limits), numbers, tuple(malformed))


def _refusal(form: Format, limits: Limits, why: Exception) -> UnreadableError:
    if "straddl" in str(why):
        return limits.cell_too_large(f"a line is longer than {_block(limits):,} bytes (a quote that is never closed?)")
    return UnreadableError("unreadable_csv", f"not a CSV file in {form.encoding}: {why}")


def _names(path: Path, contract: SourceContract, limits: Limits) -> list[str]:
    """Names in the header, or by position where there is none: beyond the contract's columns, column_4 and so on."""
    form = contract.format
    with Landed(path, form, limits) as landed:
        start = Texts(landed, form.encoding).read(4 * MEGABYTE).decode(errors="ignore").lstrip("\ufeff").lstrip("\r\n")
    reader = lines.reader(
        io.StringIO(start, newline=""),
        delimiter=form.delimiter,
        quotechar=form.quote or None,
        quoting=lines.QUOTE_MINIMAL if form.quote else lines.QUOTE_NONE,
    )
    try:
        found = next(reader, [])
    except lines.Error as why:
        raise pa.ArrowInvalid(f"its first line cannot be read ({why})") from None
    if not found or (form.header and "\n" not in start and "\r" not in start):
        raise pa.ArrowInvalid("it ends within its header")
    limits.require_columns(len(found))
    own = list(contract.columns)
    if form.header and (mark := other_delimiter(found, own)):
        raise pa.ArrowInvalid(f"its header is parted by {mark!r}: set `delimiter` to it, which is {form.delimiter!r}")
    return found if form.header else [*own, *(f"column_{n + 1}" for n in range(len(own), len(found)))][: len(found)]


def other_delimiter(header: list[str], own: list[str]) -> str | None:
    """The mark that a header of one name holds, where parting it there gives names that are expected."""
    if len(header) != 1 or header[0] in own:
        return None
    return next((mark for mark in DELIMITERS if set(header[0].split(mark)).intersection(own)), None)


def _read(path: Path, form: Format, limits: Limits, names: list[str]) -> tuple[pa.Table, list[Malformed]]:
    """All cells as texts. Arrow knows the number of a row only when it reads in one thread: a second time, where lines are bad."""
    table, malformed = _parsed(path, form, limits, names, threads=True)
    if malformed:
        table, malformed = _parsed(path, form, limits, names, threads=False)
    return table, malformed


def _parsed(
    path: Path, form: Format, limits: Limits, names: list[str], *, threads: bool
) -> tuple[pa.Table, list[Malformed]]:
    malformed: list[Malformed] = []

    def skip(row: csv.InvalidRow) -> str:
        text = (
            f"{row.actual_columns} fields, the {'header' if form.header else 'first line'} has {row.expected_columns}"
        )
        malformed.append(Malformed(int(row.number or 0), shown(row.text.encode()), text))
        return "skip"

    with Landed(path, form, limits) as landed:
        ending = ("\n" + LAST + form.delimiter * (len(names) - 1) + "\n").encode()
        table = csv.read_csv(
            pa.PythonFile(Texts(landed, form.encoding, ending), "r"),
            csv.ReadOptions(
                use_threads=threads, block_size=_block(limits), column_names=None if form.header else names
            ),
            csv.ParseOptions(
                delimiter=form.delimiter,
                quote_char=form.quote or False,
                invalid_row_handler=skip,
                newlines_in_values=bool(form.quote) and _may_quote(path, form),
            ),
            _as_texts(names),
        )
    return _whole(table, names, len(malformed) + form.header), malformed


def _may_quote(path: Path, form: Format) -> bool:
    """Whether a quote may stand below the first line. Where none does, every line break ends a row, and Arrow parts blocks at any core."""
    if form.is_gzip(path.name):
        return True
    with path.open("rb") as file:
        file.readline(BLOCK)
        mark = form.quote.encode()
        return any(mark in block for block in iter(lambda: file.read(MEGABYTE), b""))


def _whole(table: pa.Table, names: list[str], beside: int) -> pa.Table:
    """The table without the row that was added at its end: a quote that is never closed has swallowed that. `beside`: rows that are not in the table."""
    if table.column_names != names:
        raise pa.ArrowInvalid(f"its header cannot be read: {table.column_names[:20]}")
    if not table.num_rows or table.column(0)[-1].as_py() != LAST:
        raise pa.ArrowInvalid(f"a quote is opened and never closed, in row {table.num_rows + beside:,} or above")
    return table.slice(0, table.num_rows - 1)


def _block(limits: Limits) -> int:
    return max(BLOCK, 2 * limits.cell_bytes)


def _as_texts(names: list[str]) -> csv.ConvertOptions:
    """Everything is text at first: Arrow would guess types from the first block."""
    return csv.ConvertOptions(
        check_utf8=False,  # Texts has
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )


def _numbers(rows: int, malformed: list[Malformed], header: bool) -> pa.Array:
    first, bad = 2 if header else 1, [one.row_number for one in malformed]
    numbers = np.arange(first, first + rows + len(bad), dtype=np.int64)
    return pa.array(np.delete(numbers, np.array(bad, dtype=np.int64) - first))
