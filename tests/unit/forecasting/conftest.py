"""Small histories for the kernel's tests.

Belongs here: makers of tables and arrays. Does not belong here: expectations.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from ml_platform.forecasting import ForecastConfig


@dataclass(frozen=True)
class Makers:
    """Makers of histories and configurations, so that tests need no imports from each other."""

    first: str = "2021-03-01"

    def config(self, **changes: object) -> ForecastConfig:
        """Daily counts with one segment column; `changes` replace or add keys."""
        values: dict[str, object] = {
            "series": ["site", "item"],
            "time": "day",
            "target": "units",
            "frequency": "D",
            "horizon": 7,
            "season_lengths": [7],
            "static": ["kind"],
            "segments": ["kind"],
            "interval_origins": 6,
        }
        return ForecastConfig.model_validate(values | changes)

    def counts(self, series: int = 12, days: int = 120, seed: int = 3) -> pd.DataFrame:
        """Poisson counts with a weekday profile per kind; a row per date and series (site, item, day, units, value)."""
        rng = np.random.default_rng(seed)
        frames = []
        for number in range(series):
            profile = 1.0 + 0.5 * np.sin(2 * np.pi * (np.arange(days) + number % 2 * 3) / 7)
            units = rng.poisson((0.3 + number % 5) * profile)
            frames.append(
                pd.DataFrame(
                    {
                        "site": number % 4,
                        "item": f"item {number:02d}",
                        "day": pd.date_range(self.first, periods=days, freq="D"),
                        "units": units,
                        "value": units * 1.5,
                    }
                )
            )
        return pd.concat(frames, ignore_index=True)

    def kinds(self, history: pd.DataFrame) -> pd.DataFrame:
        """Static attribute `kind` (even, odd) of every series."""
        keys = history[["site", "item"]].drop_duplicates().reset_index(drop=True)
        return keys.assign(kind=np.where(keys["item"].str[-1].astype(int) % 2 == 0, "even", "odd"))


@pytest.fixture
def make() -> Makers:
    """Makers of histories and configurations."""
    return Makers()
