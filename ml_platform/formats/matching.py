"""Matching: a file's columns against a contract's, under the source's drift mode.

Belongs here: which differences refuse a file, and the shape of a table that is accepted with some. Does not belong here: values
(rules), the bronze table (bronze).
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ml_platform.contracts import PROVENANCE, RESCUED, SourceContract
from ml_platform.formats.limits import Limits
from ml_platform.formats.opened import UnreadableError

PART = 65_536  # rows that become texts at a time


@dataclass(frozen=True)
class Match:
    """Columns of a contract that a file lacks, and columns of the file that the contract does not know."""

    missing: tuple[str, ...]
    unknown: tuple[str, ...]


def matched(found: Sequence[str], contract: SourceContract, rows: int) -> Match:
    """Compare by name; UnreadableError where the drift mode does not allow the difference."""
    missing = [name for name in contract.columns if name not in found]
    unknown = [name for name in dict.fromkeys(found) if name not in contract.columns]
    frozen = contract.drift == "freeze"
    needed = [name for name in missing if frozen or not contract.columns[name].nullable]
    if needed:
        raise UnreadableError("missing_columns", f"columns {needed} are missing; the file has {list(found[:20])}", rows)
    if doubled := [name for name, times in Counter(found).items() if times > 1]:
        raise UnreadableError("unexpected_columns", f"columns {doubled} occur twice", rows)
    if frozen and unknown:
        text = f"columns {unknown[:20]} are not in the contract of '{contract.name}': declare them, or set `drift`"
        raise UnreadableError("unexpected_columns", text, rows)
    if contract.drift == "evolve" and (own := [name for name in unknown if name in (*PROVENANCE, RESCUED)]):
        text = f"columns {own} bear names that the platform adds to each row: rename them, or set `drift: rescue`"
        raise UnreadableError("unexpected_columns", text, rows)
    return Match(tuple(missing), tuple(unknown))


def shaped(table: pa.Table, match: Match, contract: SourceContract, limits: Limits) -> pa.Table:
    """The contract's columns in its order, empty where they are missing; then new columns as texts, or all in one.

    UnreadableError where those texts go beyond a limit: names that stand in every row make much of little.
    """
    made = {
        name: pa.nulls(table.num_rows, pa.string()) if name in match.missing else table[name]
        for name in contract.columns
    }
    tally = _Tally(limits, table.num_rows)
    new = {name: _as_texts(table[name], tally) for name in match.unknown}
    if contract.drift == "rescue":
        new = {RESCUED: _rescued(new, _Tally(limits, table.num_rows))}
    limits.require_cells(pa.table(new))
    return pa.table({**made, **new})


@dataclass
class _Tally:
    """Bytes of texts that are made, counted while they are."""

    limits: Limits
    rows: int
    total: int = 0

    def add(self, found: int) -> None:
        self.total += found
        self.limits.require_expanded(self.total, self.rows, "new columns become texts of")

    def gathered(self, texts: Iterator[str | None]) -> pa.ChunkedArray:
        """Texts of Python in Arrow's layout, some at a time."""
        chunk, chunks = list[str | None](), list[pa.Array]()
        for text in texts:
            chunk.append(text)
            self.add(_size(text))
            if len(chunk) == PART:
                chunks.append(pa.array(chunk, pa.string()))
                chunk = []
        return pa.chunked_array([*chunks, pa.array(chunk, pa.string())])


def _as_texts(column: pa.ChunkedArray, tally: _Tally) -> pa.ChunkedArray:
    """Values as Arrow writes them; lists, maps and bytes as JSON."""
    if column.type == pa.string():
        return column
    before, chunks = tally.total, list[pa.Array]()
    try:
        for part in _parts(column):
            texts = part.cast(pa.string())
            tally.add(texts.nbytes)
            chunks += texts.chunks
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        tally.total = before
        values = (one.as_py() for chunk in column.chunks for one in chunk)
        return tally.gathered(None if value is None else _json(value) for value in values)
    return pa.chunked_array(chunks, pa.string())


def _rescued(columns: Mapping[str, pa.ChunkedArray], tally: _Tally) -> pa.ChunkedArray:
    """Per row a JSON object of the texts in `columns`, without those that are missing; null where all are."""
    if not columns:
        return pa.chunked_array([pa.nulls(tally.rows, pa.string())])
    parts = zip(*(_parts(column) for column in columns.values()), strict=True)
    kept = (
        {name: value for name, value in zip(columns, values, strict=True) if value is not None}
        for part in parts
        for values in zip(*(one.to_pylist() for one in part), strict=True)
    )
    return tally.gathered(_json(one) if one else None for one in kept)


def _parts(column: pa.ChunkedArray) -> Iterator[pa.ChunkedArray]:
    return (column.slice(start, PART) for start in range(0, len(column), PART))


def _json(value: Any) -> str:
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _size(text: str | None) -> int:
    return 0 if text is None else len(text) if text.isascii() else len(text.encode())
