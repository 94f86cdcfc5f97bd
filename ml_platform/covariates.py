"""Known-future covariates: what a source says of a series on a date, before that date.

Belongs here: shares and means per series key and step. Does not belong here: the calendar they are joined to (features).
"""

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import pandas as pd

from ml_platform.contracts import ContractError, Covariate, SourceContract
from ml_platform.panel_inputs import PanelInputs

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def with_covariates(inputs: PanelInputs, panel: "DataFrame", as_of: date, steps: pd.Series) -> "DataFrame":
    """`panel` (series_id, date) with every covariate and `known_from`.

    A share is 0 where its source covers the series, speaks of the date and has no row; it is null where the source says
    nothing. `known_from` is the day of the newest drop that speaks of the date: a replay can tell what was known.
    """
    import pyspark.sql.functions as F

    if not inputs.covariates:
        return panel.withColumn("known_from", F.lit(None).cast("date"))
    keys = inputs.table("silver/series_catalogue").select("series_id", *inputs.key)
    panel = panel.join(F.broadcast(keys), "series_id")
    known = [f"_known_{number}" for number, _ in enumerate(inputs.covariates)]
    for name, (source, own) in zip(known, inputs.covariates, strict=True):
        panel = _joined(inputs, panel, source, own, as_of, (steps.iloc[0].date(), steps.iloc[-1].date()), name)
    newest = F.greatest(*known) if len(known) > 1 else F.col(known[0])
    return panel.withColumn("known_from", newest)


def _joined(
    inputs: PanelInputs, panel: "DataFrame", source: SourceContract, own: Sequence[Covariate], as_of: date, span: tuple[date, date], known: str
) -> "DataFrame":
    import pyspark.sql.functions as F

    rows = _known_rows(inputs, source, as_of, span)
    keys = [name for name in inputs.key if name in rows.columns]
    values = _by_step(_values(inputs, rows, source, own, keys), source)
    spoken = _by_step(rows.groupBy(*_when(source)).agg(F.max("drop_day").alias(known)), source).groupBy("_step").agg(F.max(known).alias(known))
    panel = panel.withColumn("_step", F.to_date("date") if source.validity else F.col("date"))
    panel = panel.join(values, [*keys, "_step"], "left").join(F.broadcast(spoken), "_step", "left").drop("_step")
    silent = F.when(F.col(known).isNotNull() & _covered(inputs, source), F.lit(0.0))
    return panel.withColumns({one.name: F.coalesce(one.name, silent) for one in own if one.kind == "share"})


def _known_rows(inputs: PanelInputs, source: SourceContract, as_of: date, span: tuple[date, date]) -> "DataFrame":
    """Rows that were known on the as-of day and hold within the span; a row of an instant has its step as `_step`."""
    import pyspark.sql.functions as F

    rows = inputs.silver(source).where(f"drop_day <= date'{as_of}'")
    if source.validity:
        return rows.where(f"`{source.validity.end}` >= date'{span[0]}' and `{source.validity.start}` <= date'{span[1]}'")
    if inputs.step_seconds and source.time:
        seconds = F.floor(F.unix_timestamp(source.time.column) / inputs.step_seconds) * inputs.step_seconds
        return rows.withColumn("_step", seconds.cast("bigint").cast("timestamp"))
    return rows.withColumn("_step", F.col("date"))


def _when(source: SourceContract) -> list[str]:
    return [source.validity.start, source.validity.end] if source.validity else ["_step"]


def _by_step(frame: "DataFrame", source: SourceContract) -> "DataFrame":
    """One row per day of validity; rows of an instant have their step already."""
    import pyspark.sql.functions as F

    if source.validity is None:
        return frame
    start, end = source.validity.start, source.validity.end
    return frame.withColumn("_step", F.explode(F.sequence(start, end))).drop(start, end)


def _values(inputs: PanelInputs, rows: "DataFrame", source: SourceContract, own: Sequence[Covariate], keys: list[str]) -> "DataFrame":
    """One row per key and time with every covariate of the source; sums are exact, the one division comes last."""
    import pyspark.sql.functions as F

    sums = rows.groupBy(*keys, *_when(source)).agg(*(_sum(one).alias(one.name) for one in own), F.count(F.lit(1)).alias("_rows"))
    if any(one.kind == "share" for one in own):
        sums = sums.join(F.broadcast(_members(inputs, source, keys)), [name for name in _member_key(inputs, source)])
    below = {"share": "_members", "mean": "_rows"}
    ratios = {one.name: F.col(one.name).cast("double") / F.col(below[one.kind]).cast("double") for one in own}
    return sums.withColumns(ratios).select(*keys, *_when(source), *ratios)


def _sum(one: Covariate) -> "Column":
    import pyspark.sql.functions as F

    if one.kind == "mean":
        return F.sum(one.column)
    counts = ~F.col(one.column).isin(*one.unless) if one.unless else F.col(one.column).isNotNull()
    return F.sum(counts.cast("bigint"))


def _member_key(inputs: PanelInputs, source: SourceContract) -> list[str]:
    """Key columns of the series that a lookup of the source brings: a share is a share of that lookup's rows."""
    found = [name for lookup in source.lookups for name in lookup.take if name in inputs.key]
    if not found:
        raise ContractError(f"source '{source.name}': a share needs a lookup that takes a key column of the series ({inputs.key})")
    return found


def _members(inputs: PanelInputs, source: SourceContract, keys: list[str]) -> "DataFrame":
    import pyspark.sql.functions as F

    by = _member_key(inputs, source)
    lookup = next(one for one in source.lookups if set(one.take) & set(by))
    return inputs.silver(inputs.contracts[lookup.source]).groupBy(*by).agg(F.count(F.lit(1)).alias("_members"))


def _covered(inputs: PanelInputs, source: SourceContract) -> "Column":
    """Whether the source ever speaks of the series: its `scope` columns have a value that occurs there."""
    import pyspark.sql.functions as F

    covered = F.lit(True)
    for name in source.panel.scope:
        values = [row[0] for row in inputs.silver(source).select(name).distinct().collect()]
        covered = covered & F.col(name).isin(values)
    return covered
