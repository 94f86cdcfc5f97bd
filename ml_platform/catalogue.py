"""The series catalogue: which series there are as of a day, since when, and in what state.

Belongs here: series keys, first and last days, static attributes, states. Does not belong here: their values over time (features).
"""

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.forecasting.calendar import newest_horizon
from ml_platform.lake import TableSpec
from ml_platform.lake.names import SERIES_CATALOGUE
from ml_platform.panel_inputs import PanelInputs, to_arrow
from ml_platform.preparation import Preparation
from ml_platform.series import with_identity

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DORMANT_AFTER = timedelta(days=182)
REMEMBERED = 40  # a replay of a month asks for each day four times, stage by stage
_MADE: dict[tuple[object, ...], pa.Table] = {}


def catalogue_spec(inputs: PanelInputs) -> TableSpec:
    """Key and static columns come from the configuration, the rest is the same for every fleet."""
    types = {f.name: f.type for f in inputs.history_spec.schema}
    columns = {"series_id": pa.string(), **{name: types[name] for name in inputs.key}, "shard": pa.int32()}
    columns |= {"first_date": pa.date32(), "last_date": pa.date32(), "active_days": pa.int64()}
    columns |= {name: pa.string() for name in (*inputs.attributes, "state", "reason")}
    columns |= {"days_before_fold": pa.int64()}  # last: lakes of before get it by a migration
    return TableSpec(
        SERIES_CATALOGUE,
        pa.schema(list(columns.items())),
        (),
        "One row per series: key, shard, days, state. The newest view.",
    )


def catalogue_as_of(inputs: PanelInputs, as_of: date) -> pa.Table:
    """Series known on `as_of`, sorted by series_id: active, new (too few active days) or dormant (no row for half a year).

    Training, judging, releasing and scoring of a day ask for the same one: it is made once per version of the history.
    """
    name = inputs.history_spec.name
    asked = (
        inputs.lake.uri(name),
        inputs.lake.content_version(name),
        inputs.config.model_dump_json(),
        inputs.shards,
        as_of,
    )
    if asked not in _MADE:
        while len(_MADE) >= REMEMBERED:
            _MADE.pop(next(iter(_MADE)))
        _MADE[asked] = _make(inputs, as_of)
    return _MADE[asked]


def _make(inputs: PanelInputs, as_of: date) -> pa.Table:
    import pyspark.sql.functions as F

    rows, key = inputs.history(as_of), inputs.key
    found = rows.groupBy(*key).agg(F.min("date").alias("first_date"), F.max("date").alias("last_date"))
    fold = F.lit(newest_horizon(as_of, inputs.config.horizon, inputs.config.frequency))
    active = rows.select(*key, "date").distinct().groupBy(*key)
    active = active.agg(
        F.count("date").alias("active_days"), F.count_if(F.col("date") < fold).alias("days_before_fold")
    )
    found = found.join(active, key)
    for name in inputs.attributes:
        found = found.join(_usual(rows, key, name), key, "left")
    table = _with_states(with_identity(to_arrow(found), key, inputs.shards), as_of, inputs.config.min_active_days)
    return _shaped(table, inputs)


def write_catalogue(inputs: PanelInputs, as_of: date) -> pa.Table:
    """Put the newest view in place, with the series that only excluded rows have; nothing is written where nothing changed."""
    spec = catalogue_spec(inputs)
    table = pa.concat_tables([catalogue_as_of(inputs, as_of), _excluded(inputs, as_of)]).sort_by("series_id")
    inputs.lake.ensure(spec)
    inputs.lake.migrate(spec)
    if not inputs.lake.read(SERIES_CATALOGUE).sort_by("series_id").equals(table):
        inputs.lake.replace(spec, table, "series_id IS NOT NULL")
    return table


def _usual(rows: "DataFrame", key: list[str], name: str) -> "DataFrame":
    """A static attribute: the most frequent value up to the as-of day, ties by alphabet."""
    import pyspark.sql.functions as F
    from pyspark.sql import Window

    counted = rows.where(f"`{name}` is not null").groupBy(*key, name).agg(F.count(F.lit(1)).alias("_times"))
    rank = F.row_number().over(Window.partitionBy(*key).orderBy(F.desc("_times"), F.asc(name)))
    return counted.withColumn("_rank", rank).where("_rank = 1").select(*key, F.col(name).cast("string").alias(name))


def _with_states(table: pa.Table, as_of: date, min_active_days: int) -> pa.Table:
    few = pc.less(table["active_days"], min_active_days)
    silent = pc.less(table["last_date"], pa.scalar(as_of - DORMANT_AFTER, pa.date32()))
    why_few = f"fewer than {min_active_days} active days: not judged"
    why_silent = f"no row for more than {DORMANT_AFTER.days} days"
    state = pc.if_else(few, "new", pc.if_else(silent, "dormant", "active"))
    reason = pc.if_else(few, why_few, pc.if_else(silent, why_silent, pa.scalar(None, pa.string())))
    return table.append_column("state", state).append_column("reason", reason)


def _excluded(inputs: PanelInputs, as_of: date) -> pa.Table:
    """Series whose rows were all left out by a rule, with the rule (the first by alphabet, where there are several)."""
    import pyspark.sql.functions as F

    if not inputs.target.exclude:
        return catalogue_spec(inputs).schema.empty_table()
    left_out = Preparation(inputs.lake, inputs.contracts, inputs.target, inputs.engine).excluded(inputs.key)
    by_key = left_out.dropna(subset=inputs.key).groupBy(*inputs.key).agg(F.min("rule").alias("reason"))
    alone = by_key.join(inputs.history(as_of).select(*inputs.key).distinct(), inputs.key, "left_anti")
    table = with_identity(to_arrow(alone), inputs.key, inputs.shards)
    table = table.append_column("state", pa.array(["excluded"] * table.num_rows, pa.string()))
    for name in ("active_days", "days_before_fold"):
        table = table.append_column(name, pa.array([0] * table.num_rows, pa.int64()))
    return _shaped(table, inputs)


def _shaped(table: pa.Table, inputs: PanelInputs) -> pa.Table:
    """The catalogue's columns, null where a series has none, sorted by series_id."""
    schema = catalogue_spec(inputs).schema
    for field in schema:
        if field.name not in table.column_names:
            table = table.append_column(field.name, pa.nulls(table.num_rows, field.type))
    return table.select(schema.names).cast(schema).sort_by("series_id")
