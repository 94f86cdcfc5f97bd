"""JSON lines: one object per line, values as the texts that stand there.

Belongs here: lines that are no objects, keys that occur twice, nested values. Does not belong here: types (rules), gzip (landed).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ml_platform.contracts import SourceContract
from ml_platform.formats.landed import Landed
from ml_platform.formats.limits import Limits
from ml_platform.formats.matching import matched, shaped
from ml_platform.formats.opened import Malformed, Opened, UnreadableError, shown
from ml_platform.formats.sizes import WIDEST_OFFSETS

CHUNK = 20_000  # lines that are objects of Python at one time
Row = dict[str, str | None]


@dataclass
class _Lines:
    """What has been read so far."""

    tables: list[pa.Table] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    malformed: list[Malformed] = field(default_factory=list)
    names: dict[str, None] = field(default_factory=dict)

    def add(self, rows: list[Row], limits: Limits) -> None:
        """Rows as a table; a line that lacks a name of others has an empty cell all the same, and all cells together are counted."""
        limits.require_expanded(WIDEST_OFFSETS * len(self.names) * len(self.numbers))
        columns = {name: pa.array([row.get(name) for row in rows], pa.string()) for name in self.names}
        self.tables.append(pa.table(columns) if columns else pa.table({"": pa.nulls(len(rows))}).select([]))


def open_jsonl(path: Path, contract: SourceContract, limits: Limits) -> Opened:
    """Read JSON lines; row numbers are lines. A key that a line lacks is a missing value, one that all lack a missing column."""
    found = _read(path, contract, limits)
    if not found.names:
        why = found.malformed[0].value if found.malformed else "it has none but blank lines"
        raise UnreadableError("unreadable_jsonl", f"no line is a JSON object with a key: {why}")
    table = pa.concat_tables(found.tables, promote_options="default")
    match = matched(list(found.names), contract, table.num_rows + len(found.malformed))
    limits.require_cells(table)
    numbers = pa.array(np.array(found.numbers, dtype=np.int64))
    return Opened(shaped(table, match, contract, limits), numbers, tuple(found.malformed))


def _read(path: Path, contract: SourceContract, limits: Limits) -> _Lines:
    found, rows = _Lines(), list[Row]()
    with Landed(path, contract.format, limits) as landed:
        for number, line in _numbered(landed, limits):
            try:
                rows.append(_row(line, contract))
                found.numbers.append(number)
                found.names.update(dict.fromkeys(rows[-1]))
            except _BadLineError as why:
                found.malformed.append(Malformed(number, shown(line), str(why), why.rule))
            limits.require_rows(len(found.numbers) + len(found.malformed))
            limits.require_columns(len(found.names))
            if len(rows) == CHUNK:
                found.add(rows, limits)
                rows = []
    found.add(rows, limits)
    return found


def _numbered(landed: Landed, limits: Limits) -> Iterator[tuple[int, bytes]]:
    """Lines that are not blank, with their number."""
    longest, number = 16 * limits.cell_bytes, 0
    while line := landed.readline(longest):
        number += 1
        if len(line) == longest:
            raise limits.cell_too_large(f"line {number:,} is longer than {longest:,} bytes")
        if text := (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip():
            yield number, text


class _BadLineError(ValueError):
    def __init__(self, message: str, rule: str = "malformed_row") -> None:
        super().__init__(message)
        self.rule = rule


def _row(line: bytes, contract: SourceContract) -> Row:
    try:
        found = _DECODER.decode(line.decode())
    except RecursionError:
        raise _BadLineError("nested too deeply") from None
    except UnicodeDecodeError as why:
        raise _BadLineError(f"invalid UTF8 at byte {why.start} of the line") from None
    except json.JSONDecodeError as why:
        raise _BadLineError(f"no JSON: {why.msg} at character {why.pos + 1}") from None
    if not isinstance(found, dict):
        raise _BadLineError("no JSON object")
    return {name: _text(name, value, contract) for name, value in found.items()}


def _text(name: str, value: Any, contract: SourceContract) -> str | None:
    if value is None:
        return None
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if name in contract.columns:
        raise _BadLineError(f"column '{name}' holds a list or an object", f"nested_value:{name}")
    return _storable(json.dumps(value, ensure_ascii=False))


def _storable(text: str) -> str:
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _BadLineError("half of a surrogate pair, which is no text") from None
    return text


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _BadLineError("a key occurs twice")
    return found


def _no_number(name: str) -> None:
    raise _BadLineError(f"{name} is no JSON")


# numbers stay the texts that they are: 1.10 is not 1.1, and no digit is lost
_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_float=str, parse_int=str, parse_constant=_no_number)
