"""Panel inputs: the silver tables, contracts and calendar that catalogue, covariates and panel share.

Belongs here: what all three read. Does not belong here: what they make of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

from ml_platform.contracts import ContractError, Contracts, Covariate, SourceContract
from ml_platform.forecasting.calendar import last_whole_day
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.lake import Lake, TableSpec, ledger
from ml_platform.preparation import silver_spec
from ml_platform.spark import session

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


@dataclass(frozen=True)
class PanelInputs:
    """One fleet's silver tables on one engine; `suite_rows` bounds what a suite looks at, `progress` hears about long work."""

    lake: Lake
    contracts: Contracts
    config: ForecastConfig
    engine: str
    shards: int = 16
    suite_rows: int = 20_000
    progress: Callable[[str], None] = lambda text: None

    @property
    def target(self) -> SourceContract:
        return self.contracts.target

    @property
    def key(self) -> list[str]:
        return list(self.config.series)

    @property
    def attributes(self) -> list[str]:
        return [name for name in self.config.static if name not in self.key]

    @cached_property
    def history_spec(self) -> TableSpec:
        return silver_spec(self.target, self.contracts)

    @cached_property
    def covariates(self) -> tuple[tuple[SourceContract, tuple[Covariate, ...]], ...]:
        """Sources of known-future covariates with those that forecast.yaml names; ContractError for one that nobody declares."""
        declared = {one.name for source in self.contracts.covariates for one in source.panel.covariates}
        lost = [name for name in self.config.known_future if name not in declared]
        if lost:
            raise ContractError(
                f"known_future {lost} in forecast.yaml: no source declares such a covariate; declared are {sorted(declared)}"
            )
        wanted = set(self.config.known_future)
        found = [(s, tuple(one for one in s.panel.covariates if one.name in wanted)) for s in self.contracts.covariates]
        return tuple((source, own) for source, own in found if own)

    @cached_property
    def offset(self) -> pd.tseries.offsets.BaseOffset:
        return pd.tseries.frequencies.to_offset(self.config.frequency)

    @cached_property
    def step_seconds(self) -> int:
        """Seconds of a step below one day, else 0."""
        return int(self.offset.nanos // 1_000_000_000) if self.config.subdaily else 0

    def complete_days(self) -> list[date]:
        """Complete days in the ledger of the target's source, oldest first."""
        return ledger.complete_days(self.lake, self.target.name, self.target.drops_per_day)

    def newest_day(self) -> date:
        """The newest complete day; ContractError where there is none."""
        days = self.complete_days()
        if not days:
            raise ContractError(
                f"no day of source '{self.target.name}' is complete: land its files and run the job `ingest` first"
            )
        return days[-1]

    def table(self, name: str) -> "DataFrame":
        return session(self.engine).read.format("delta").load(self.lake.uri(name))

    def silver(self, source: SourceContract) -> "DataFrame":
        return self.table(f"silver/{source.silver}")

    def history(self, as_of: date) -> "DataFrame":
        """Rows of the target's source up to the as-of day, in steps that are over by then."""
        last = last_whole_day(as_of, self.config.frequency)
        return self.silver(self.target).where(f"`date` <= date'{last}'")

    def moment(self, source: SourceContract) -> "Column":
        """The step that a row of a source with `time` belongs to: its date, or its time rounded down."""
        import pyspark.sql.functions as F

        if self.step_seconds and source.time:
            steps = F.floor(F.unix_timestamp(source.time.column) / self.step_seconds)
            return (steps * self.step_seconds).cast("bigint").cast("timestamp")
        return F.col("date")

    def calendar(self, as_of: date) -> pd.DataFrame:
        """Every step from the first row of all series to `horizon` steps after the as-of day: position, date, month, past."""
        if self.step_seconds and self.target.time and self.target.time.business_timezone != "UTC":
            raise ContractError(
                f"source '{self.target.name}': frequency {self.config.frequency} has steps in UTC, so its days must be UTC days: "
                "leave `business_timezone` out"
            )
        lowest = to_arrow(self.history(as_of).selectExpr("min(`date`) as day"))["day"][0].as_py()
        if lowest is None:
            raise ContractError(
                f"table silver/{self.target.silver} has no row up to {as_of}: choose a later day, or ingest earlier ones"
            )
        end = pd.Timestamp(last_whole_day(as_of, self.config.frequency)) + (
            pd.Timedelta(days=1, seconds=-1) if self.step_seconds else pd.Timedelta(0)
        )
        start = pd.Timestamp(lowest) if self.step_seconds else self.offset.rollback(pd.Timestamp(lowest))
        past = pd.date_range(start, end, freq=self.offset)
        future = pd.date_range(past[-1], periods=self.config.horizon + 1, freq=self.offset)[1:]
        steps = pd.DatetimeIndex(past.append(future))
        return pd.DataFrame(
            {
                "position": range(len(steps)),
                "date": steps,
                "month": steps.strftime("%Y-%m"),
                "past": [True] * len(past) + [False] * len(future),
            }
        )


def to_arrow(frame: "DataFrame") -> pa.Table:
    """Rows as Arrow with plain strings (engines differ in views and large strings)."""
    table: pa.Table = frame.toArrow()
    odd = (pa.large_string(), pa.string_view())
    return table.cast(pa.schema([(f.name, pa.string() if f.type in odd else f.type) for f in table.schema]))
