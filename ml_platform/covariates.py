"""Known-future covariates: what a source says of a series on a date, before that date.

Belongs here: shares and means per series key and step. Does not belong here: the calendar they are joined to (features).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from ml_platform.contracts import ContractError, Covariate, SourceContract
from ml_platform.panel_inputs import PanelInputs

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def with_covariates(
    inputs: PanelInputs, panel: "DataFrame", ids: "DataFrame", steps: "DataFrame", as_of: date, span: tuple[date, date]
) -> "DataFrame":
    """`panel` (series, position) with every covariate and `known_from`.

    `ids`: number and key columns of each series; `steps`: position and date of each step to make, all within `span`. A share
    is 0 where its source covers the series, speaks of the date and has no row; it is null where the source says nothing.
    `known_from` is the day of the newest drop that speaks of the date: a replay can tell what was known.
    """
    import pyspark.sql.functions as F

    if not inputs.covariates:
        return panel.withColumn("known_from", F.lit(None).cast("date"))
    known = [f"_known_{number}" for number, _ in enumerate(inputs.covariates)]
    for name, (source, own) in zip(known, inputs.covariates, strict=True):
        rows = _known_rows(inputs, source, as_of, span)
        panel = _joined(panel, _Said(inputs, source, own, rows, ids, steps, as_of, span), name)
    newest = F.greatest(*known) if len(known) > 1 else F.col(known[0])
    return panel.withColumn("known_from", newest)


@dataclass(frozen=True)
class _Said:
    """What one source says: its rows that were known, and the series and steps that they can be about."""

    inputs: PanelInputs
    source: SourceContract
    own: Sequence[Covariate]
    rows: "DataFrame"
    ids: "DataFrame"
    steps: "DataFrame"
    as_of: date
    span: tuple[date, date]

    def values(self) -> "DataFrame":
        """One row per series and position with every covariate of the source."""
        import pyspark.sql.functions as F

        keys = [name for name in self.inputs.key if name in self.rows.columns]
        found = _values(self.inputs, self.rows, self.source, self.own, keys)
        return self._placed(found.join(F.broadcast(self.ids.select("series", *keys)), keys)).select(
            "series", "position", *(one.name for one in self.own)
        )

    def spoken(self, name: str) -> "DataFrame":
        """Positions that the source speaks of at all, with the day of the newest drop that does, as `name`."""
        import pyspark.sql.functions as F

        times = self.rows.groupBy(*_when(self.source)).agg(F.max("drop_day").alias(name))
        return self._placed(times).groupBy("position").agg(F.max(name).alias(name))

    def covered(self) -> "DataFrame":
        """Numbers of the series that the source covers: their `scope` columns have values that occur there."""
        import pyspark.sql.functions as F

        covered = self.ids
        for name in self.source.panel.scope:
            known = scope_values(self.inputs, self.source, name, self.as_of)
            covered = covered.join(F.broadcast(known), name, "left_semi")
        return covered.select("series").withColumn("_covered", F.lit(True))

    def _placed(self, frame: "DataFrame") -> "DataFrame":
        """Times become positions: every step within a validity, or the one step of an instant."""
        import pyspark.sql.functions as F

        moment = F.to_date("date") if self.source.validity else F.col("date")
        steps = self.steps.select("position", moment.alias("_step"))
        return _by_step(frame, self.source, self.span).join(F.broadcast(steps), "_step").drop("_step")


def scope_values(inputs: PanelInputs, source: SourceContract, name: str, as_of: date) -> "DataFrame":
    """Distinct values of a scope column in what was known on the as-of day."""
    return inputs.silver(source).where(f"drop_day <= date'{as_of}'").select(name).distinct()


def _joined(panel: "DataFrame", said: _Said, known: str) -> "DataFrame":
    import pyspark.sql.functions as F

    panel = panel.join(said.values(), ["series", "position"], "left")
    panel = panel.join(F.broadcast(said.spoken(known)), "position", "left").join(
        F.broadcast(said.covered()), "series", "left"
    )
    silent = F.when(F.col(known).isNotNull() & F.col("_covered"), F.lit(0.0))
    for one in said.own:
        if one.kind == "share":
            panel = panel.withColumn(one.name, F.coalesce(one.name, silent))
    return panel.drop("_covered")


def _known_rows(inputs: PanelInputs, source: SourceContract, as_of: date, span: tuple[date, date]) -> "DataFrame":
    """Rows that were known on the as-of day and hold within the span; a row of an instant has its step as `_step`."""
    rows = inputs.silver(source).where(f"drop_day <= date'{as_of}'")
    if source.validity:
        return rows.where(
            f"`{source.validity.end}` >= date'{span[0]}' and `{source.validity.start}` <= date'{span[1]}'"
        )
    return rows.withColumn("_step", inputs.moment(source))


def _when(source: SourceContract) -> list[str]:
    return [source.validity.start, source.validity.end] if source.validity else ["_step"]


def _by_step(frame: "DataFrame", source: SourceContract, span: tuple[date, date]) -> "DataFrame":
    """One row per day of validity within the span (an end may be 9999-12-31); rows of an instant have their step already."""
    import pyspark.sql.functions as F

    if source.validity is None:
        return frame
    start, end = source.validity.start, source.validity.end
    first, last = F.greatest(F.col(start), F.lit(span[0])), F.least(F.col(end), F.lit(span[1]))
    return frame.withColumn("_step", F.explode(F.sequence(first, last))).drop(start, end)


def _values(
    inputs: PanelInputs, rows: "DataFrame", source: SourceContract, own: Sequence[Covariate], keys: list[str]
) -> "DataFrame":
    """One row per key and time with every covariate of the source; sums are exact, the one division comes last."""
    import pyspark.sql.functions as F

    sums = rows.groupBy(*keys, *_when(source)).agg(
        *(_sum(one).alias(one.name) for one in own), F.count(F.lit(1)).alias("_rows")
    )
    if any(one.kind == "share" for one in own):
        sums = sums.join(F.broadcast(_members(inputs, source)), _member_key(inputs, source))
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
        raise ContractError(
            f"source '{source.name}': a share needs a lookup that takes a key column of the series ({inputs.key})"
        )
    return found


def _members(inputs: PanelInputs, source: SourceContract) -> "DataFrame":
    import pyspark.sql.functions as F

    by = _member_key(inputs, source)
    lookup = next(one for one in source.lookups if set(one.take) & set(by))
    return inputs.silver(inputs.contracts[lookup.source]).groupBy(*by).agg(F.count(F.lit(1)).alias("_members"))
