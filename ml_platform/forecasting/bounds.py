"""Bounds: from quantiles in units of a series to values around its mean, and the point of the objective.

Belongs here: units, how far bounds may lie, their order. Does not belong here: where quantiles come from (intervals, sparse).
"""

from dataclasses import dataclass

import numpy as np

from ml_platform.forecasting.calendar import Floats
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.pools import Setup
from ml_platform.forecasting.sparse import Counts

UNITS_AWAY = 4.0  # a bound may lie so many units from the mean even where the series never held such a value


def quantile_levels(config: ForecastConfig) -> tuple[float, ...]:
    """Probabilities of the interval bounds from the lowest to the highest, then the median."""
    low = [(100 - level) / 200 for level in reversed(config.intervals)]
    return (*low, *(1 - value for value in reversed(low)), 0.5)


def unit(mean: Floats, scale: Floats, kind: str, least: Floats | None = None) -> Floats:
    """What a residual is measured in: root of the mean for counts, the mean, or the typical difference (N, ...).

    No mean, and no difference, counts for less than `least` (N,), see least_amount.
    """
    shape = (len(mean), *(1,) * (mean.ndim - 1))
    low = np.zeros(shape) if least is None else least.reshape(shape)
    if kind == "real":
        spread = np.sqrt(np.maximum(np.nan_to_num(scale), 1e-12)).reshape(shape)
        return np.broadcast_to(np.maximum(spread, low), mean.shape)
    held = np.maximum(mean, low)
    return np.maximum(np.sqrt(held) if kind == "counts" else held, 1e-6)


def least_amount(values: Floats, kind: str) -> Floats:
    """The least unit's mean, or difference, (N,): what one value (change) of mean size in all steps (N, T) comes to.

    So many steps cannot tell less from 0. Without it, an actual that meets a mean of almost 0 is millions of units away,
    and makes millions of any later mean that is ordinary.
    """
    sizes = np.diff(values, axis=1) ** 2 if kind == "real" else values
    known = ~np.isnan(sizes)
    often, steps = (sizes > 0).sum(axis=1), known.sum(axis=1)
    least = sizes.sum(axis=1, where=known) / np.maximum(often, 1) / np.maximum(steps, 1)
    return np.asarray(np.sqrt(least) if kind == "real" else least)


@dataclass(frozen=True)
class Law:
    """How S series spread around their means.

    quantiles (S, Q): in units of a series, Q in the order of quantile_levels. scale (S,), least (S,): see unit. steps (S, H): factor on a step.
    largest (S,): value that a series held. point (S,): point over mean, for mape. counts: of the sparse ones, whose grain is not 0.
    """

    quantiles: Floats
    scale: Floats
    least: Floats
    steps: Floats
    largest: Floats
    point: Floats
    counts: Counts

    def bounds(self, mean: Floats, setup: Setup) -> Floats:
        """Bounds in the order of the columns, nested around the median, and the point of the objective last, for means (S, H): (S, H, Q)."""
        units = unit(mean, self.scale, setup.kind, self.least) * self.steps
        values: Floats = mean[:, :, None] + units[:, :, None] * self.quantiles[:, None, :]
        values = hold_bounds(values, mean, units, self.largest)
        sparse = np.flatnonzero(self.counts.grain > 0)
        values[sparse] = self.counts.take(sparse).quantiles(np.maximum(mean, self.least[:, None])[sparse])
        return self._finished(mean, values if setup.kind == "real" else np.maximum(values, 0.0), setup)

    def _finished(self, mean: Floats, values: Floats, setup: Setup) -> Floats:
        half, median = len(setup.config.intervals), values[:, :, -1:]
        low = np.minimum.accumulate(np.minimum(values[:, :, :half][:, :, ::-1], median), axis=2)[:, :, ::-1]
        high = np.maximum.accumulate(np.maximum(values[:, :, half:-1], median), axis=2)
        best = {"rmsse": mean, "mape": mean * self.point[:, None]}.get(setup.config.objective, median[:, :, 0])
        return np.concatenate([low, high, best[:, :, None]], axis=2)


def hold_bounds(values: Floats, mean: Floats, spread: Floats, largest: Floats) -> Floats:
    """Bounds (S, H, Q) no farther from the mean than what the series ever held (S,), or a few units of it (S, H)."""
    far = np.maximum(largest[:, None], UNITS_AWAY * spread)[:, :, None]
    return np.clip(values, mean[:, :, None] - far, mean[:, :, None] + far)
