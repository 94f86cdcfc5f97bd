"""Redelivery: rows that were refused at bronze go through the same door again.

Belongs here: a refused row as its file gave it, with corrections, and its drop's ledger row once it is loaded. Does not belong here: who may
decide what (desk), the rules (rules) and the commit (ingestion).
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.bronze import Bronze
from ml_platform.contracts import SourceContract
from ml_platform.erasure.persons import Persons
from ml_platform.formats import Opened
from ml_platform.ingestion import Ingestion
from ml_platform.lake import TableSpec
from ml_platform.lake.clock import Clock
from ml_platform.lake.ledger import LedgerRow
from ml_platform.quarantine.words import rule_in_words
from ml_platform.rules import screen
from ml_platform.settlement import Settled, with_provenance

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Redelivered:
    """Rows of one drop after another screening: the drop settled with those that keep the contract (None: none does), and why the others do not."""

    settled: Settled | None
    broken: Mapping[int, str]


def redeliver(
    drop: LedgerRow,
    raws: Mapping[int, str],
    corrections: Mapping[str, str],
    door: Ingestion,
    bronze: Bronze,
    clock: Clock,
) -> Redelivered:
    """Screen refused rows (row number to raw text) with today's contract, with `corrections` in the place of their values: an empty one is a missing value.

    Columns that drift had added to their file come with them.
    """
    contract = door.contract
    corrected = {name: value or None for name, value in corrections.items()}
    rows = {number: {**_fields(raw), **corrected} for number, raw in raws.items()}
    broken = {number: words for number, row in rows.items() if (words := _lacks(row, contract))}
    accepted, persons = [contract_rows(contract)], Persons.erased(door.lake, contract)
    for opened in _opened({number: row for number, row in rows.items() if number not in broken}, contract):
        screened = screen(opened, contract, drop.drop_day)
        bronze.admit(screened.new, screened.accepted.num_rows)
        erased = persons.among(screened.accepted)
        broken |= dict.fromkeys(screened.accepted.filter(erased)["row_number"].to_pylist(), "its person was erased")
        accepted.append(screened.accepted.filter(pc.invert(erased)))
        broken |= {
            row["row_number"]: f"it breaks the contract: {rule_in_words(row['rule'], contract)}"
            for row in screened.refused.to_pylist()
        }
    good = pa.concat_tables(accepted, promote_options="default")
    return Redelivered(_settled(drop, good, bronze.spec, door.run_id, clock.next()) if good.num_rows else None, broken)


def contract_rows(contract: SourceContract) -> pa.Table:
    """No rows, as a screening gives them."""
    return pa.schema([*((n, c.arrow) for n, c in contract.columns.items()), ("row_number", pa.int64())]).empty_table()


def _settled(drop: LedgerRow, accepted: pa.Table, spec: TableSpec, run_id: str, moment: datetime) -> Settled:
    """The drop settled once more: the same rows in, some of them loaded now. They were known from now on, which `ingested_at` says."""
    count = accepted.num_rows
    row = replace(
        drop,
        rows_loaded=drop.rows_loaded + count,
        rows_quarantined=drop.rows_quarantined - count,
        attempt=drop.attempt + 1,
        run_id=run_id,
        settled_at=moment,
    )
    return Settled(row, with_provenance(accepted, row, spec))


def _fields(raw: str) -> Fields:
    """A refused row's values by column; none where it is a line that could not be cut into fields."""
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _lacks(row: Fields, contract: SourceContract) -> str:
    lost = [name for name in contract.columns if name not in row]
    return f"it has no {', '.join(lost)}: set each of them, or land a corrected file" if lost else ""


def _opened(rows: Mapping[int, Fields], contract: SourceContract) -> Iterator[Opened]:
    """Rows as an opened file has them: texts, and floats where a Parquet file had those; rows of one kind at a time."""
    added = [
        name for name in dict.fromkeys(name for row in rows.values() for name in row) if name not in contract.columns
    ]

    def floats(number: int) -> tuple[bool, ...]:
        return tuple(isinstance(rows[number][name], float) for name in contract.columns)

    for kinds, alike in groupby(sorted(rows, key=floats), floats):
        numbers = list(alike)
        types = {
            name: pa.float64() if is_float else pa.string()
            for name, is_float in zip(contract.columns, kinds, strict=True)
        }
        columns = {
            name: pa.array([_value(rows[number].get(name)) for number in numbers], types.get(name, pa.string()))
            for name in (*contract.columns, *added)
        }
        yield Opened(pa.table(columns), pa.array(numbers, pa.int64()))


def _value(value: Any) -> str | float | None:
    """A value as a file would give it: null where it was missing, and an empty text where the file says one."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if value is None or isinstance(value, float) else str(value)
