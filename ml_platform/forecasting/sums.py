"""Sums: forecasts of sums of series by some of their keys, which agree with those of the series.

Belongs here: which series a sum holds, its own history, forecast and intervals. Does not belong here: the equations of agreement (hierarchy).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ml_platform.forecasting.arrays import Shard, first_observed, numbered, sum_by
from ml_platform.forecasting.backtest import difference_scale
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.hierarchy import Level, reconciled
from ml_platform.forecasting.intervals import Residuals, measure
from ml_platform.forecasting.pipeline import Part, Trained, train
from ml_platform.forecasting.pools import Setup
from ml_platform.forecasting.predict import predict
from ml_platform.forecasting.screening import factorize
from ml_platform.forecasting.sparse import grains


@dataclass(frozen=True)
class Sums:
    """Sums by some key columns or attributes, none for the total: their values (G rows) and the sum that each series belongs to (S,)."""

    columns: tuple[str, ...]
    keys: pd.DataFrame
    codes: Ints

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def of(cls, columns: tuple[str, ...], attributes: pd.DataFrame) -> "Sums":
        """By columns of the attributes of S series."""
        if not columns:
            return cls((), pd.DataFrame(index=range(1)), np.zeros(len(attributes), dtype=np.int64))
        return cls(columns, *factorize(attributes, columns))


@dataclass(frozen=True)
class Trainee:
    """A trained fleet of S series, as the sums need it: arrays, what training left, and the forecasts (S, H)."""

    shard: Shard
    trained: Trained
    parts: Sequence[Part]
    setup: Setup
    mean: Floats

    def judged(self) -> Ints:
        """The series that were judged, in the order of all parts (N,)."""
        offsets = np.cumsum([0, *(len(part.segment) for part in self.parts)])
        return np.concatenate([part.backtest.rows + at for part, at in zip(self.parts, offsets, strict=False)])

    def past(self) -> tuple[Floats, Floats]:
        """Forecasts and actual values of the judged series at past origins, (N, J, H); NaN where not observed or not begun."""
        places = [self.setup.plan.evaluated.index(back) for back in self.setup.plan.interval]
        factor = self.trained.spreads.mean[self.shard.segment[self.judged()]][:, None, None]
        mean = np.concatenate([one[:, places] for one in self.trained.means]) * factor
        actual = np.concatenate([part.backtest.actual[:, places] for part in self.parts])
        begun = np.concatenate([part.backtest.begun[:, places] for part in self.parts])
        return mean, np.where(begun[:, :, None], actual, np.nan)

    def variance(self) -> Floats:
        """Mean squared error of each series (S,); those that were not judged are as good as the others on average."""
        mean, actual = self.past()
        seen = ~np.isnan(actual)
        squares = np.where(seen, (mean - np.nan_to_num(actual)) ** 2, 0.0).sum(axis=(1, 2))
        own = squares / np.maximum(seen.sum(axis=(1, 2)), 1)
        usual = max(float(own.mean()) if len(own) else 0.0, 1e-9)
        out = np.full(len(self.shard), usual)
        out[self.judged()] = np.maximum(own, 1e-6 * usual)
        return out


def agreeing(fleet: Trainee, levels: Sequence[Sums], config: ForecastConfig) -> Floats:
    """Forecasts of the series (S, H) with which their sums agree best with forecasts of the sums themselves."""
    asked = [_own_forecast(fleet, sums, config) for sums in levels]
    found = reconciled(fleet.mean, fleet.variance(), asked)
    return found if fleet.setup.kind == "real" else np.maximum(found, 0.0)


def _own_forecast(fleet: Trainee, sums: Sums, config: ForecastConfig) -> Level:
    """A level of sums, forecast from their own histories with the default families."""
    plain = {"known_future": (), "static": (), "segments": (), "families": "default", "min_active_days": 1, "sums": ()}
    own = config.model_copy(update=plain)
    shard = summed(fleet.shard, sums)
    trained, parts, setup = train(shard, own)
    made = predict(trained.fleet, shard)["mean"].to_numpy().reshape(len(sums), -1)
    whole = Trainee(shard, trained, parts, setup, made)
    return Level(sums.codes, made, whole.variance())


def summed(shard: Shard, sums: Sums) -> Shard:
    """The history of sums. A step counts where every series that has begun and not ended was observed."""
    steps, size = np.arange(shard.steps), len(sums)
    seen = ~np.isnan(shard.y)
    last = np.where(seen.any(axis=1), shard.steps - 1 - seen[:, ::-1].argmax(axis=1), -1)
    missing = ~seen & (steps >= shard.first[:, None]) & (steps <= last[:, None])
    there = (sum_by(seen.astype(float), sums.codes, size) > 0) & (sum_by(missing.astype(float), sums.codes, size) == 0)
    y = np.where(there, sum_by(np.nan_to_num(shard.y), sums.codes, size), np.nan)
    return replace(
        shard,
        series_id=numbered(size),
        y=y,
        known=np.zeros((size, 0, shard.known.shape[2])),
        first=first_observed(y),
        active=(~np.isnan(y)).sum(axis=1).astype(np.int64),
        weight=np.ones((size, shard.weight.shape[1])),
        segment=np.zeros(size, dtype=np.int64),
        segments=("all",),
    )


def bounds(fleet: Trainee, sums: Sums, mean: Floats) -> Floats:
    """Interval bounds of sums, and their point last, (G, H, Q), from how far sums of past forecasts were off; mean (G, H)."""
    setup = replace(fleet.setup, segments=1, kind="real" if fleet.setup.kind == "real" else "counts")
    said, actual = fleet.past()
    seen, codes = ~np.isnan(actual), sums.codes[fleet.judged()]
    there = sum_by(seen.astype(float), codes, len(sums)) > 0
    past = sum_by(np.where(seen, said, 0.0), codes, len(sums))
    truth = np.where(there, sum_by(np.nan_to_num(actual), codes, len(sums)), np.nan)
    history = sum_by(np.nan_to_num(fleet.shard.y), sums.codes, len(sums))
    scale = difference_scale(history, [fleet.shard.steps])[:, 0]
    grain = grains(history) if fleet.setup.kind == "counts" else np.zeros(len(sums))
    told = Residuals(past, truth, scale, grain, np.zeros(len(sums), dtype=np.int64))
    return measure(told, setup).law(told, history.max(axis=1)).bounds(mean, setup)
