"""Schemas of the tables whose shape does not depend on configuration.

Belongs here: ops and gold tables, one TableSpec each. Does not belong here: bronze, silver and panel (made from contracts).
"""

import pyarrow as pa

from ml_platform.lake.store import TableSpec

INSTANT = pa.timestamp("us", tz="UTC")


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


LEDGER = TableSpec(
    "ops/ledger",
    _schema(
        drop_id=pa.string(),
        source=pa.string(),
        path=pa.string(),
        etag=pa.string(),
        length=pa.int64(),
        content_sha256=pa.string(),
        drop_day=pa.date32(),
        state=pa.string(),
        reason=pa.string(),
        rows_in=pa.int64(),
        rows_loaded=pa.int64(),
        rows_quarantined=pa.int64(),
        rows_duplicate=pa.int64(),
        rows_erased=pa.int64(),
        table_version=pa.int64(),
        run_id=pa.string(),
        first_seen_at=INSTANT,
        settled_at=INSTANT,
    ),
    description="One row per drop with its final state at bronze: a projection of the bronze commits.",
)

QUARANTINE = TableSpec(
    "ops/quarantine",
    _schema(
        source=pa.string(),
        drop_id=pa.string(),
        path=pa.string(),
        stage=pa.string(),
        row_number=pa.int64(),
        rule=pa.string(),
        value=pa.string(),
        raw=pa.string(),
        state=pa.string(),
        period=pa.string(),
        quarantined_at=INSTANT,
    ),
    description="Rows and files that were refused, with place, rule and value; row_number is null for a whole file.",
)

ROW_FATES = TableSpec(
    "ops/row_fates",
    _schema(
        source=pa.string(),
        drop_id=pa.string(),
        stage=pa.string(),
        period=pa.string(),
        fate=pa.string(),
        rule=pa.string(),
        rows=pa.int64(),
    ),
    description="What became of a drop's rows after bronze, counted per drop, stage and month of the event.",
)
