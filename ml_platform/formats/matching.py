"""Matching: a file's columns against a contract's, under the source's drift mode.

Belongs here: which differences refuse a file, and the shape of a table that is accepted with some. Does not belong here: values
(rules), the bronze table (bronze).
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ml_platform.contracts import PROVENANCE, RESCUED, SourceContract
from ml_platform.formats.opened import UnreadableError


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


def shaped(table: pa.Table, match: Match, contract: SourceContract) -> pa.Table:
    """The contract's columns in its order, empty where they are missing; then new columns as texts, or all in one."""
    made = {
        name: pa.nulls(table.num_rows, pa.string()) if name in match.missing else table[name]
        for name in contract.columns
    }
    new = {name: as_texts(table[name]) for name in match.unknown}
    if contract.drift == "rescue":
        new = {RESCUED: rescued(new, table.num_rows)}
    return pa.table({**made, **new})


def as_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values as Arrow writes them; lists, maps and bytes as JSON."""
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        values = [
            None if one is None else json.dumps(one, default=_plain, ensure_ascii=False) for one in column.to_pylist()
        ]
        return pa.chunked_array([pa.array(values, pa.string())])


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def rescued(columns: dict[str, pa.ChunkedArray], rows: int) -> pa.Array:
    """Per row a JSON object of the texts in `columns`, without those that are missing; null where all are."""
    if not columns:
        return pa.nulls(rows, pa.string())
    kept = [
        {name: value for name, value in zip(columns, values, strict=True) if value is not None}
        for values in zip(*(column.to_pylist() for column in columns.values()), strict=True)
    ]
    return pa.array([json.dumps(one, ensure_ascii=False) if one else None for one in kept], pa.string())
