"""Sums: forecasts of sums of series by some of their keys, which agree with those of the series.

Belongs here: which series a sum holds, its own history, forecast and intervals. Does not belong here: the equations of agreement (hierarchy).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ml_platform.forecasting.arrays import Bools, Shard, first_observed, numbered, sum_by
from ml_platform.forecasting.backtest import difference_scale
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.hierarchy import Level, reconciled
from ml_platform.forecasting.intervals import Residuals, measure
from ml_platform.forecasting.pipeline import Trained, residuals, train
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
    """A trained fleet of S series, as the sums need it: arrays, what training left of each cohort, and the forecasts (S, H)."""

    shard: Shard
    cohorts: Sequence[Trained]
    mean: Floats

    def judged(self) -> Ints:
        """The series that were judged, in the order of all parts (N,)."""
        return np.concatenate([self._judged(one) for one in self.cohorts])

    def _judged(self, trained: Trained) -> Ints:
        offsets = np.cumsum([0, *(len(part.segment) for part in trained.parts)])
        own = [part.backtest.rows + at for part, at in zip(trained.parts, offsets, strict=False)]
        return trained.cohort.of(self.shard)[np.concatenate(own)]

    @property
    def real(self) -> Bools:
        """Which series may be negative, (S,)."""
        codes = [one.cohort.codes for one in self.cohorts if one.cohort.setup.kind == "real"]
        return np.isin(self.shard.segment, np.concatenate(codes) if codes else [])

    def past(self) -> tuple[Floats, Floats]:
        """Forecasts and actual values of the judged series at past origins, (N, J, H); NaN where not observed or not begun."""
        told = [
            residuals(one.parts, one.means, one.cohort.setup.plan.interval, one.cohort.setup) for one in self.cohorts
        ]
        said = [
            one.mean * own.spreads.mean[one.segment][:, None, None] for one, own in zip(told, self.cohorts, strict=True)
        ]
        return np.concatenate(said), np.concatenate([one.actual for one in told])

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
    return np.where(fleet.real[:, None], found, np.maximum(found, 0.0))


def _own_forecast(fleet: Trainee, sums: Sums, config: ForecastConfig) -> Level:
    """A level of sums, forecast from their own histories with the default families."""
    plain = {"known_future": (), "static": (), "segments": (), "families": "default", "min_active_days": 1, "sums": ()}
    own = config.model_copy(update=plain)
    shard = summed(fleet.shard, sums)
    whole, cohorts = train(shard, own)
    made = predict(whole, shard)["mean"].to_numpy().reshape(len(sums), -1)
    return Level(sums.codes, made, Trainee(shard, cohorts, made).variance())


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
    kinds = {one.cohort.setup.kind for one in fleet.cohorts}
    setup = replace(fleet.cohorts[0].cohort.setup, segments=1, kind="real" if "real" in kinds else "counts")
    said, actual = fleet.past()
    seen, codes = ~np.isnan(actual), sums.codes[fleet.judged()]
    there = sum_by(seen.astype(float), codes, len(sums)) > 0
    past = sum_by(np.where(seen, said, 0.0), codes, len(sums))
    truth = np.where(there, sum_by(np.nan_to_num(actual), codes, len(sums)), np.nan)
    history = sum_by(np.nan_to_num(fleet.shard.y), sums.codes, len(sums))
    scale = difference_scale(history, [fleet.shard.steps])[:, 0]
    grain = grains(history) if kinds == {"counts"} else np.zeros(len(sums))
    told = Residuals(past, truth, scale, grain, np.zeros(len(sums), dtype=np.int64))
    return measure(told, setup).law(told, history.max(axis=1)).bounds(mean, setup)
