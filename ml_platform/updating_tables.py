"""The table that updating writes: what the newest fleet remembers of each series.

Belongs here: gold/fleet_statistics, to and from statistics. Does not belong here: when it is written (updating), what the numbers mean (forecasting).
"""

from datetime import date

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.forecasting import Fleet
from ml_platform.forecasting.statistics_table import CLOCK, FIRST, LISTS, WALK_LISTS, from_table, to_table
from ml_platform.lake import Lake, TableSpec, names
from ml_platform.panel_news import Stored
from ml_platform.training import KERNEL

NUMBERS = (*LISTS, *WALK_LISTS)
FLEET_STATISTICS = TableSpec(
    names.FLEET_STATISTICS,
    pa.schema(
        [
            ("as_of", pa.date32()),
            ("series_id", pa.string()),
            ("segment", pa.string()),
            ("cohort", pa.int64()),
            ("digest", pa.int64()),
            ("clock", pa.string()),
            ("kernel", pa.string()),
            *((name, pa.list_(pa.float64())) for name in NUMBERS),
            ("fingerprint", pa.string()),
            ("panel", pa.int64()),
        ]
    ),
    description="What the newest fleet remembers of each series, so that the next day needs no history: sums, states, the last steps, and a "
    "digest of the rows that are in.",
)


def statistics_rows(stored: Stored, fingerprint: str) -> pa.Table:
    """Rows of gold/fleet_statistics, of the fleet with this fingerprint; a list that the fleet's families do not need is missing."""
    made, size = to_table(stored.statistics), len(stored.statistics)
    fixed = {
        "as_of": pa.scalar(stored.as_of, pa.date32()),
        "clock": pa.scalar(made.schema.metadata[CLOCK].decode()),
        "kernel": pa.scalar(KERNEL),
        "fingerprint": pa.scalar(fingerprint),
        "panel": pa.scalar(stored.panel, pa.int64()),
    }
    columns = [
        pa.repeat(fixed[field.name], size)
        if field.name in fixed
        else made[field.name].cast(field.type)
        if field.name in made.column_names
        else pa.nulls(size, field.type)
        for field in FLEET_STATISTICS.schema
    ]
    return pa.table(columns, FLEET_STATISTICS.schema).sort_by("series_id")


def read_statistics(lake: Lake, as_of: date, fleet: Fleet, fingerprint: str) -> Stored | None:
    """What the fleet of a day with this fingerprint remembers of the series that it still has; None where there is nothing."""
    if not lake.exists(FLEET_STATISTICS.name):
        return None
    lake.migrate(FLEET_STATISTICS)
    own = (pc.field("as_of") == pa.scalar(as_of)) & (
        pc.field("kernel") == KERNEL
    )  # other code may remember other things
    rows = lake.read(FLEET_STATISTICS.name, where=own & (pc.field("fingerprint") == fingerprint))
    rows = rows.filter(pc.is_in(rows["series_id"], fleet.rows["series_id"].combine_chunks())).sort_by("series_id")
    if not rows.num_rows:
        return None
    columns = {name: rows[name] for name in FIRST}
    columns |= {name: _fixed(rows[name]) for name in NUMBERS if rows[name].null_count < rows.num_rows}
    table = pa.table(columns).replace_schema_metadata({CLOCK: rows["clock"][0].as_py()})
    return Stored(from_table(table, fleet), as_of, rows["panel"][0].as_py())


def _fixed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Lists that all have the same length, or are missing, as such."""
    sizes = pc.list_value_length(column).drop_null()
    return column.cast(pa.list_(pa.float64(), sizes[0].as_py()))
