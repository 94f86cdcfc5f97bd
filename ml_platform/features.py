"""Features: silver history becomes the panel that models are trained on, one row per series and step.

Belongs here: the calendar grid, target and weight, and recomputing exactly the months that changed. Does not belong here: lags
and profiles (forecasting makes them per shard).
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform import expectations, panel_fates
from ml_platform.checks import READER_VERSION, CheckResult, reader_version, require
from ml_platform.contracts import SourceContract
from ml_platform.covariates import scope_values, with_covariates
from ml_platform.lake import GoneError, Lake, TableSpec
from ml_platform.lake.history import INPUTS_KEY
from ml_platform.lake.names import SERIES_CATALOGUE, SERIES_PANEL
from ml_platform.lake.schemas import INSTANT
from ml_platform.lake.staging import Staging
from ml_platform.panel_inputs import PanelInputs, to_arrow
from ml_platform.preparation import MONTHS_KEY
from ml_platform.spark import session
from ml_platform.touched import ALL, touched_since

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

CHECKS = (
    "complete_calendar",
    "target_balance",
    "row_fates",
    "no_future_target",
    "unique_key",
    READER_VERSION,
    expectations.NAME,
)


@dataclass(frozen=True)
class PanelReport:
    """Months made anew, rows staged in them, the table's version, and the checks (empty where nothing had changed)."""

    as_of: date
    months: tuple[str, ...]
    rows: int
    version: int
    checks: tuple[CheckResult, ...] = ()


def panel_spec(inputs: PanelInputs) -> TableSpec:
    """Target and weight keep exact types, covariates are floats; `date` is an instant where a step is shorter than a day."""
    config, types = inputs.config, {f.name: f.type for f in inputs.history_spec.schema}
    columns = {"series_id": pa.string(), "date": INSTANT if inputs.step_seconds else pa.date32()}
    columns |= {"target": _sum_type(types[config.target])}
    columns |= {"weight": _sum_type(types[config.weight])} if config.weight else {}
    columns |= {one.name: pa.float64() for _, own in inputs.covariates for one in own}
    columns |= {"known_from": pa.date32(), "month": pa.string()}
    text = "One row per series and step on a complete calendar: target, weight, known-future covariates; no target after the as-of day."
    return TableSpec(SERIES_PANEL, pa.schema(list(columns.items())), ("month",), text)


def write_panel(inputs: PanelInputs, as_of: date) -> PanelReport:
    """Make the months of the panel that new silver rows or new days touch; checks.Blocked where a check fails."""
    lake, spec = inputs.lake, panel_spec(inputs)
    table = lake.ensure(spec)
    now, before = _versions(inputs, as_of), lake.last_metadata(SERIES_PANEL, INPUTS_KEY)
    if now == before:
        return PanelReport(as_of, (), 0, table.version())
    grid = _Grid(inputs, as_of, inputs.calendar(as_of), _first_touched(inputs, before, now))
    inputs.progress(f"series_panel: {len(grid.months)} months as of {as_of}")
    staging = Staging.open(lake, spec)
    grid.panel(spec).write.partitionBy("month").mode("overwrite").parquet(staging.path)
    fates = panel_fates.panel_fates(inputs, as_of, grid.first_month)
    checks = require(
        f"table {SERIES_PANEL}", [*_checks(grid, staging), panel_fates.balance(inputs, fates, grid.first_month)]
    )
    panel_fates.record(inputs, fates, grid.first_month)
    stale = {
        month for month in lake.read(SERIES_PANEL, ["month"])["month"].unique().to_pylist() if month >= grid.first_month
    }
    metadata = {INPUTS_KEY: json.dumps(now), MONTHS_KEY: json.dumps(grid.months)}
    version = staging.commit(sorted({*grid.months, *stale}), metadata)
    return PanelReport(as_of, tuple(grid.months), staging.dataset().count_rows(), version, checks)


@dataclass(frozen=True)
class _Grid:
    """The calendar from `first_month` on ('' for all of it), and the rows of history that fall on it."""

    inputs: PanelInputs
    as_of: date
    calendar: pd.DataFrame
    first_month: str

    @property
    def months(self) -> list[str]:
        return sorted(month for month in self.calendar["month"].unique() if month >= self.first_month)

    @property
    def low(self) -> int:
        """The first position to make."""
        return int(self.calendar.loc[self.calendar["month"] >= self.first_month, "position"].min())

    def panel(self, spec: TableSpec) -> "DataFrame":
        """The rows of the months to make. Joins run on numbers of series and steps: names come back at the end."""
        import pyspark.sql.functions as F

        ids, steps, sums = self._ids(), self._steps().where(f"position >= {self.low}"), self.sums()
        starts = sums.groupBy("series").agg(F.min("position").alias("start"))
        span = F.sequence(F.greatest("start", F.lit(self.low)), F.lit(len(self.calendar) - 1))
        grid = starts.select("series", F.explode(span).alias("position"))
        panel = grid.join(sums.where(f"position >= {self.low}"), ["series", "position"], "left")
        made = self.calendar.loc[self.calendar["position"] >= self.low, "date"]
        days = (made.iloc[0].date(), made.iloc[-1].date())
        panel = with_covariates(self.inputs, panel, ids, steps, self.as_of, days).join(F.broadcast(steps), "position")
        if self.inputs.config.missing == "zero":
            zeros = {
                name: F.when(F.col("past"), F.coalesce(name, F.lit(0).cast(kind)))
                for name, kind in self._measures().items()
            }
            panel = panel.withColumns(zeros)
        return panel.join(F.broadcast(ids.select("series", "series_id")), "series").select(*spec.schema.names)

    def sums(self) -> "DataFrame":
        """Target and weight by series (its number) and position, exact: integers and decimals only."""
        import pyspark.sql.functions as F

        inputs, measures = self.inputs, self._measures()
        rows = inputs.history(self.as_of).withColumn("date", inputs.moment(inputs.target))
        if not inputs.step_seconds and inputs.config.frequency != "D":
            rows = rows.join(F.broadcast(self._days()), "date").withColumn("date", F.col("_step")).drop("_step")
        named = {"target": inputs.config.target, "weight": inputs.config.weight}
        sums = rows.groupBy(*inputs.key, "date").agg(*(F.sum(str(named[name])).alias(name) for name in measures))
        sums = sums.withColumns({name: F.col(name).cast(kind) for name, kind in measures.items()})
        placed = sums.join(F.broadcast(self._steps().select("date", "position")), "date")
        return placed.join(F.broadcast(self._ids()), inputs.key).select("series", "position", *measures)

    def _ids(self) -> "DataFrame":
        """Number (in series_id order), series_id and key of every series that is not excluded."""
        import pyspark.sql.functions as F
        from pyspark.sql import Window

        known = self.inputs.table(SERIES_CATALOGUE).where("state <> 'excluded'").select("series_id", *self.inputs.key)
        return known.withColumn("series", F.row_number().over(Window.orderBy("series_id")))

    def _measures(self) -> dict[str, str]:
        """Summed columns of the panel with their Spark types."""
        spec = panel_spec(self.inputs).schema
        return {f.name: _spark_type(f.type) for f in spec if f.name in ("target", "weight")}

    def _steps(self) -> "DataFrame":
        import pyspark.sql.functions as F

        kind = "timestamp" if self.inputs.step_seconds else "date"
        plain = self.calendar.assign(date=self.calendar["date"].dt.strftime("%Y-%m-%d %H:%M:%S"))
        frame = session(self.inputs.engine).createDataFrame(plain)
        return frame.withColumns({"date": F.col("date").cast(kind), "position": F.col("position").cast("int")})

    def _days(self) -> "DataFrame":
        """For calendars coarser than a day: the step (`_step`) that each date belongs to, the newest one that is not later."""
        import pyspark.sql.functions as F

        days = pd.date_range(self.calendar["date"].iloc[0], self.as_of)
        text = pd.DataFrame(
            {
                "date": days.strftime("%Y-%m-%d"),
                "_step": [self.inputs.offset.rollback(day).strftime("%Y-%m-%d") for day in days],
            }
        )
        frame = session(self.inputs.engine).createDataFrame(text)
        return frame.withColumns({name: F.col(name).cast("date") for name in ("date", "_step")})


def _versions(inputs: PanelInputs, as_of: date) -> dict[str, Any]:
    """What the panel is made from: where this has not changed, neither has the panel."""
    sources = [inputs.target, *(source for source, _ in inputs.covariates)]
    return {
        "as_of": as_of.isoformat(),
        "config": [inputs.config.model_dump_json(), *(source.fingerprint for source in sources)],
        "tables": {source.silver: inputs.lake.content_version(f"silver/{source.silver}") for source in sources},
        "scopes": {source.name: _scopes(inputs, source, as_of) for source, _ in inputs.covariates},
    }


def _scopes(inputs: PanelInputs, source: SourceContract, as_of: date) -> str:
    """A hash of what a source covers: where it covers more, the silence of all earlier months changes its meaning."""
    found = {
        name: sorted(str(row[0]) for row in scope_values(inputs, source, name, as_of).collect())
        for name in source.panel.scope
    }
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


def _first_touched(inputs: PanelInputs, before: dict[str, Any], now: dict[str, Any]) -> str:
    """The oldest month to make anew; every later one follows, because a series' calendar starts with its first date.

    A step of several days lies in the month of its first day, which can be the one before.
    """
    same = [before.get(name) == now[name] for name in ("config", "scopes")]
    if not all(same) or before["as_of"] > now["as_of"]:
        return ""
    months = [before["as_of"][:7]]
    try:
        months += _touched_months(inputs, before["tables"][inputs.target.silver])
        for source, _ in inputs.covariates:
            months += _made_months(inputs.lake, source, before["tables"][source.silver])
    except GoneError:  # nothing says any more what changed
        return ""
    oldest = min(months + _newly_known(inputs, before["as_of"], now["as_of"]))
    return f"{inputs.offset.rollback(pd.Timestamp(oldest)):%Y-%m}" if oldest else ""


def _touched_months(inputs: PanelInputs, version: int) -> list[str]:
    """Months of the dates whose kept rows of the target differ from what they were at a version of silver; '' for all of them."""
    inputs.lake.commits_after(f"silver/{inputs.target.silver}", version)  # GoneError where the log begins later
    touched = touched_since(inputs.lake, inputs.target, version)
    if ALL in touched["change"].to_pylist():
        return [""]
    first = pc.min(touched["date"]).as_py()
    return [f"{first:%Y-%m}"] if first else []


def _made_months(lake: Lake, source: SourceContract, version: int) -> list[str]:
    """Months made anew since a version of silver: since when a covariate is known can change where its values do not."""
    newer = lake.commits_after(f"silver/{source.silver}", version)
    return [month for commit in newer for month in json.loads(commit.metadata.get(MONTHS_KEY, "[]"))]


def _newly_known(inputs: PanelInputs, before: str, now: str) -> list[str]:
    """First months of covariates that lay in silver before and are known only since the newer as-of day."""
    months = []
    for source, _ in inputs.covariates:
        rows = inputs.silver(source).where(f"drop_day > date'{before}' and drop_day <= date'{now}'")
        months += [row[0] for row in rows.selectExpr("min(month) as month").collect()]
    return [month for month in months if month]


def _checks(grid: _Grid, staging: Staging) -> list[CheckResult]:
    inputs, staged = grid.inputs, staging.dataset()
    rows = staged.to_table(columns=["date", "target"])
    end = pd.Timestamp(grid.calendar.loc[grid.calendar["past"], "date"].iloc[-1])
    late = pc.greater(
        rows["date"].cast(pa.timestamp("us", rows["date"].type.tz if inputs.step_seconds else None)), _like(end, inputs)
    )
    late_targets = pc.sum(pc.and_(late, pc.is_valid(rows["target"]))).as_py() or 0
    wanted, total = _wanted(grid)
    found = pc.sum(rows["target"]).as_py() or 0
    doubled = staging.doubled_keys(["series_id", "date", "month"])
    return [
        CheckResult(
            "complete_calendar",
            rows.num_rows == wanted,
            f"{rows.num_rows} rows, the calendars ask for {wanted}",
            {"rows": rows.num_rows},
        ),
        CheckResult(
            "target_balance",
            found == total,
            f"the panel's target adds up to {found}, its history to {total}",
            {"target": float(found)},
        ),
        CheckResult(
            "no_future_target",
            late_targets == 0,
            f"{late_targets} rows after {grid.as_of} have a target",
            {"late_targets": late_targets},
        ),
        CheckResult(
            "unique_key", doubled == 0, f"{doubled} pairs of series and date occur twice", {"doubled_keys": doubled}
        ),
        reader_version(inputs.lake.reader_version(SERIES_PANEL), staged.schema),
        expectations.validate(staging.sample(inputs.suite_rows), _expected(inputs), inputs.suite_rows, rows.num_rows),
    ]


def _wanted(grid: _Grid) -> tuple[int, Any]:
    """Rows that the series' calendars ask for, and the sum of the target, both straight from history."""
    import pyspark.sql.functions as F

    sums = grid.sums()
    starts = sums.groupBy("series").agg(F.min("position").alias("start"))
    length = F.lit(len(grid.calendar)) - F.greatest("start", F.lit(grid.low))
    rows = to_arrow(starts.agg(F.sum(length.cast("bigint")).alias("rows")))["rows"][0].as_py()
    low = grid.calendar.loc[grid.calendar["position"] == grid.low, "date"].iloc[0]
    moments = (
        grid.inputs.history(grid.as_of)
        .withColumn("_at", grid.inputs.moment(grid.inputs.target))
        .where(f"`_at` >= '{low}'")
    )
    total = to_arrow(moments.agg(F.sum(grid.inputs.config.target).alias("total")))["total"][0].as_py()
    return rows or 0, total or 0


def _like(moment: pd.Timestamp, inputs: PanelInputs) -> pa.Scalar:
    return pa.scalar(moment.to_pydatetime(), pa.timestamp("us", "UTC" if inputs.step_seconds else None))


def _expected(inputs: PanelInputs) -> expectations.Expected:
    lowest = inputs.target.columns[inputs.config.target].min
    return expectations.Expected(
        columns=("fate", *panel_spec(inputs).schema.names),
        not_null=("series_id", "date"),
        unique=("series_id", "date"),
        minimum={"target": lowest} if lowest is not None else {},
    )


def _sum_type(kind: pa.DataType) -> pa.DataType:
    """Room for sums of a column: integers stay 64 bit, decimals get all 38 digits."""
    return pa.decimal128(38, kind.scale) if pa.types.is_decimal(kind) else pa.int64()


def _spark_type(kind: pa.DataType) -> str:
    return f"decimal({kind.precision},{kind.scale})" if pa.types.is_decimal(kind) else "bigint"


def target_per_day(lake: Lake, as_of: date) -> pa.Table:
    """The fleet's target per day over the year before `as_of`: date, target."""
    rows = lake.read(
        SERIES_PANEL, ["date", "target"], pc.field("month") >= (as_of - timedelta(days=366)).strftime("%Y-%m")
    )
    rows = rows.filter(pc.is_valid(rows["target"])).set_column(
        0, "date", rows.filter(pc.is_valid(rows["target"]))["date"].cast(pa.date32(), safe=False)
    )
    return rows.group_by("date").aggregate([("target", "sum")]).rename_columns(["date", "target"]).sort_by("date")
