"""A town of shops whose fleets are judged: daily counts of items in three kinds, with weekdays, slow drifts and shocks that a whole kind shares.

Belongs here: its panel, its catalogue, training and judging a day. Does not belong here: what is planted in it (tests).
"""

import datetime as dt
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from orchard import InProcess

from ml_platform.candidates import Candidate
from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.incumbent import Incumbent
from ml_platform.gate import GateConfig
from ml_platform.incumbents import find_incumbent
from ml_platform.judging import judge_candidate
from ml_platform.lake import Lake, TableSpec
from ml_platform.promotion import Promotion, release_candidate
from ml_platform.registry import Registry
from ml_platform.training import TrainingReport, train_fleet

FIRST, HORIZON, KINDS = dt.date(2023, 1, 2), 14, ("bread", "fruit", "wine")


@dataclass(frozen=True)
class Town:
    """Items and days of one seed, in a home; `families` that its fleets may use."""

    home: Path
    seed: int = 1
    items: int = 90
    days: int = 210
    families: tuple[str, ...] = ()

    @cached_property
    def config(self) -> ForecastConfig:
        return ForecastConfig(
            series=("item",),
            time="date",
            target="units",
            frequency="D",
            horizon=HORIZON,
            static=("kind",),
            segments=("kind",),
            weight="value",
            families=self.families or "default",
            interval_origins=8,
        )

    @cached_property
    def panel(self) -> pd.DataFrame:
        """Rows (series_id, date, units, value), one per item and day."""
        rng, day = np.random.default_rng(self.seed), np.arange(self.days)
        level = np.exp(rng.normal(2.2, 0.8, self.items))
        week = 1.0 + 0.35 * np.sin(2 * np.pi * (day[None, :] + np.arange(3)[:, None] * 2) / 7)
        drift = np.exp(np.cumsum(rng.normal(0, 0.008, (3, self.days)), axis=1))
        shock = np.exp(np.repeat(rng.normal(0, 0.04, (3, self.days // 7 + 1)), 7, axis=1)[:, : self.days])
        kind = np.arange(self.items) % 3
        mean = level[:, None] * (week * drift * shock)[kind]
        units = rng.poisson(mean * rng.gamma(20.0, 1 / 20.0, mean.shape)).astype(float)
        dates = pd.date_range(FIRST, periods=self.days)
        return pd.DataFrame(
            {
                "series_id": np.repeat([f"{one:03d}" for one in range(self.items)], self.days),
                "date": np.tile(dates, self.items),
                "units": units.ravel(),
                "value": 2.0 * units.ravel(),
            }
        )

    @property
    def last(self) -> dt.date:
        return FIRST + dt.timedelta(days=self.days - 1)

    @property
    def lake(self) -> Lake:
        return Lake(str(self.home / "lake"))

    @property
    def registry(self) -> Registry:
        return Registry(self.home / "releases", f"sqlite:///{self.home}/mlflow.db", self.home / "mlflow")

    def settle(self) -> None:
        """Write the panel."""
        rows = self.panel
        months = rows["date"].dt.strftime("%Y-%m")
        table = pa.table(
            {
                "series_id": rows["series_id"].to_list(),
                "date": pa.array(rows["date"].dt.date, pa.date32()),
                "target": pa.array(rows["units"]),
                "weight": pa.array(rows["value"]),
                "known_from": pa.array([FIRST] * len(rows)),
                "month": months.to_list(),
            }
        )
        self.lake.replace(TableSpec("gold/series_panel", table.schema, ("month",)), table, "month >= '2000'")

    def catalogue(self, as_of: dt.date) -> pa.Table:
        ids = [f"{one:03d}" for one in range(self.items)]
        known = (as_of - FIRST).days + 1
        return pa.table(
            {
                "series_id": ids,
                "item": ids,
                "kind": [KINDS[one % 3] for one in range(self.items)],
                "shard": pa.array(np.arange(self.items) % 2, pa.int32()),
                "first_date": pa.array([FIRST] * self.items),
                "last_date": pa.array([as_of] * self.items),
                "active_days": pa.array([known] * self.items, pa.int64()),
                "days_before_fold": pa.array([known - HORIZON] * self.items, pa.int64()),
                "state": ["active"] * self.items,
                "reason": pa.nulls(self.items, pa.string()),
            }
        )

    def beside(self, as_of: dt.date) -> Incumbent | None:
        return find_incumbent(self.lake, self.registry, self.config, as_of)

    def train(self, as_of: dt.date, incumbent: Incumbent | None = None, keep: bool = False) -> TrainingReport:
        return train_fleet(self.lake, self.catalogue(as_of), self.config, as_of, InProcess(), incumbent, keep)

    def release(self, as_of: dt.date, gate: GateConfig | None = None, catalogue: pa.Table | None = None) -> Promotion:
        """Judge a day that was trained."""
        known = self.catalogue(as_of) if catalogue is None else catalogue
        candidate = Candidate(self.lake, self.registry, known, self.config, as_of)
        judge_candidate(candidate)
        return release_candidate(candidate, gate or GateConfig())
