"""Accounts: row fates and quarantined rows as tables.

Belongs here: counting what was staged and describing what was refused. Does not belong here: deciding a fate (fates).
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.contracts import SourceContract
from ml_platform.lake import Lake
from ml_platform.lake.decisions import OPEN, Decision, quarantine_id, restated
from ml_platform.lake.ledger import REPLACED, LedgerRow
from ml_platform.lake.schemas import QUARANTINE, ROW_FATES
from ml_platform.lake.staging import Staging

UNDATED = "undated"


def counted_fates(staging: Staging, contract: SourceContract) -> pa.Table:
    """Rows by drop, month, fate and rule (ROW_FATES), counted from what was staged."""
    parts = list(staging.dataset().to_batches(columns=["drop_id", "month", "fate", "rule"]))
    counted = (
        pa.Table.from_batches(parts, schema=parts[0].schema)
        if parts
        else staging.dataset().to_table(columns=["drop_id", "month", "fate"])
    )
    if not counted.num_rows:
        return ROW_FATES.schema.empty_table()
    grouped = counted.group_by(["drop_id", "month", "fate", "rule"]).aggregate([([], "count_all")])
    rows = [
        _fate(contract.name, row["drop_id"], row["month"], row["fate"], row["rule"], row["count_all"])
        for row in grouped.to_pylist()
    ]
    return pa.Table.from_pylist(rows, schema=ROW_FATES.schema)


def _fate(source: str, drop_id: str, period: str, fate: str, rule: str | None, rows: int) -> dict[str, object]:
    return {
        "source": source,
        "drop_id": drop_id,
        "stage": "silver",
        "period": period,
        "fate": fate,
        "rule": rule or "",
        "rows": rows,
    }


def fates_of(lake: Lake, source: str) -> pa.Table:
    """Row fates of a source at silver, as they stand."""
    where = (pc.field("source") == source) & (pc.field("stage") == "silver")
    return lake.read(ROW_FATES.name, where=where) if lake.exists(ROW_FATES.name) else ROW_FATES.schema.empty_table()


def totals(fates: pa.Table) -> dict[str, int]:
    """Rows by fate, and by fate(rule) where a rule was named."""
    totals: dict[str, int] = {}
    for row in fates.to_pylist():
        name = f"{row['fate']}({row['rule']})" if row["rule"] else str(row["fate"])
        totals[name] = totals.get(name, 0) + row["rows"]
    return dict(sorted(totals.items()))


def replaced_fates(rows_of: Iterable[LedgerRow]) -> pa.Table:
    """Rows of drops that another drop replaced: they were loaded once and are superseded as a whole."""
    gone = [row for row in rows_of if row.state == REPLACED and row.rows_loaded]
    rows = [_fate(row.source, row.drop_id, UNDATED, "superseded", "replaced_drop", row.rows_loaded) for row in gone]
    return pa.Table.from_pylist(rows, schema=ROW_FATES.schema)


def erased_fates(rows_of: Iterable[LedgerRow]) -> pa.Table:
    """Rows of erased persons, at the door or later: the fates of a drop add up to what is loaded and erased."""
    rows = [
        _fate(row.source, row.drop_id, UNDATED, "erased", "", row.rows_erased) for row in rows_of if row.rows_erased
    ]
    return pa.Table.from_pylist(rows, schema=ROW_FATES.schema)


def silver_refusals(
    refused: pa.Table, contract: SourceContract, rows_of: Iterable[LedgerRow], decided: Mapping[str, Decision]
) -> pa.Table:
    """Quarantine rows of staged rows that a lookup refused: the value is what was looked up; what was decided on them stays decided."""
    paths = {row.drop_id: row.path for row in rows_of}
    matches = {one.missing: one.match for one in contract.lookups}
    now = datetime.now(UTC)
    rows = [
        {
            "source": contract.name,
            "drop_id": row["drop_id"],
            "path": paths[row["drop_id"]],
            "stage": "silver",
            "row_number": row["row_number"],
            "rule": row["rule"],
            "value": ", ".join(str(row[name]) for name in matches.get(row["rule"], ())),
            "raw": json.dumps({name: row[name] for name in contract.columns}, default=str, ensure_ascii=False),
            "state": OPEN,
            "period": row["month"],
            "quarantined_at": now,
            "quarantine_id": quarantine_id(row["drop_id"], "silver", row["row_number"], row["rule"]),
        }
        for row in refused.to_pylist()
    ]
    return pa.Table.from_pylist(restated(rows, decided), schema=QUARANTINE.schema)
