"""Metrics: what each figure of an error means, by group of series.

Belongs here: the formulas of docs/forecasting.md, once. Does not belong here: whose forecasts are judged, and where (folds, evaluation).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ml_platform.forecasting.arrays import Bools
from ml_platform.forecasting.calendar import Floats, Ints


@dataclass(frozen=True)
class Cells:
    """R cells of N series in G groups, and what their errors are measured in.

    actual (R,): NaN where not observed, which counts for nothing. series (R,), group (N,): codes. weight (N,): of each series in the
    weighted error. scale (N,): mean squared difference of neighbours, season_scale (N,): mean absolute difference to the season
    before, both of the values before the origin; NaN or 0 where a series has none.
    """

    actual: Floats
    series: Ints
    group: Ints
    groups: int
    weight: Floats
    scale: Floats
    season_scale: Floats

    @property
    def seen(self) -> Bools:
        """The cells that count (R,)."""
        return np.isfinite(self.actual)

    @property
    def cell_group(self) -> Ints:
        """Group of each cell (R,)."""
        return self.group[self.series]

    def over_cells(self, values: Floats) -> Floats:
        """Mean of values (R,) over the cells of each group that count (G,); NaN where none does."""
        return ratio(
            sums(self.cell_group, np.where(self.seen, values, 0.0), self.groups),
            sums(self.cell_group, self.seen, self.groups),
        )

    def over_series(self, values: Floats, counts: Bools) -> Floats:
        """Mean over the series of each group (G,) of the mean of a series' values (R,), where `counts` (R,)."""
        counts = counts & self.seen
        size = len(self.group)
        mean = ratio(sums(self.series, np.where(counts, values, 0.0), size), sums(self.series, counts, size))
        there = np.isfinite(mean)
        return ratio(sums(self.group, np.where(there, mean, 0.0), self.groups), sums(self.group, there, self.groups))

    def error(self, forecast: Floats) -> Floats:
        """Forecast (R,) less actual; 0 where a cell does not count."""
        return np.where(self.seen, forecast - self.actual, 0.0)


def sums(codes: Ints, values: npt.NDArray[np.generic], groups: int) -> Floats:
    """Sums of values by code, added in the order of the rows."""
    return np.bincount(codes, values, groups).astype(np.float64)


def ratio(above: Floats, below: Floats) -> Floats:
    """Quotients (G,), NaN where there is nothing below."""
    out: Floats = np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)
    return out


def weighted_rmsse(cells: Cells, forecast: Floats) -> tuple[Floats, Floats, Ints]:
    """sqrt(sum w mse / scale / sum w), the root taken once, the sum of weights w and the number of series without a usable scale, (G,)."""
    size = len(cells.group)
    count, squares = sums(cells.series, cells.seen, size), sums(cells.series, cells.error(forecast) ** 2, size)
    scaled = np.isfinite(cells.scale) & (cells.scale > 0) & (count > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = np.where(scaled, squares / count / cells.scale, 0.0)
    weight = np.where(scaled, cells.weight, 0.0)
    total = sums(cells.group, weight, cells.groups)
    mean = ratio(sums(cells.group, weight * relative, cells.groups), total)
    return np.sqrt(mean), total, sums(cells.group, ~scaled, cells.groups).astype(np.int64)


def mase(cells: Cells, forecast: Floats) -> Floats:
    """Mean over series of mean absolute error / season_scale (Hyndman, Koehler 2006), (G,)."""
    own = cells.season_scale[cells.series]
    good = np.isfinite(own) & (own > 0)
    return cells.over_series(np.abs(cells.error(forecast)) / np.where(good, own, 1.0), good)


def wape(cells: Cells, forecast: Floats) -> Floats:
    """Sum of absolute errors over the sum of absolute actuals, (G,)."""
    return ratio(sums(cells.cell_group, np.abs(cells.error(forecast)), cells.groups), _size(cells))


def bias(cells: Cells, forecast: Floats) -> Floats:
    """Sum of errors over the sum of absolute actuals, (G,): above 0 says too much."""
    return ratio(sums(cells.cell_group, cells.error(forecast), cells.groups), _size(cells))


def _size(cells: Cells) -> Floats:
    return sums(cells.cell_group, np.where(cells.seen, np.abs(cells.actual), 0.0), cells.groups)


def smape(cells: Cells, forecast: Floats) -> Floats:
    """Mean over series of the mean of |error| / (|actual| + |forecast|), 0 where both are 0, (G,): from 0 to 1 (Makridakis 1993, halved)."""
    both = np.abs(forecast) + np.abs(np.where(cells.seen, cells.actual, 0.0))
    share = np.abs(cells.error(forecast)) / np.where(both > 0, both, 1.0)
    return cells.over_series(share, cells.seen)


def mape(cells: Cells, forecast: Floats) -> Floats:
    """Mean over series of the mean of |error / actual|, cells with an actual of 0 left out, (G,)."""
    there = cells.seen & (cells.actual != 0)
    return cells.over_series(np.abs(cells.error(forecast)) / np.where(there, np.abs(cells.actual), 1.0), there)


def pinball(cells: Cells, bound: Floats, probability: float) -> Floats:
    """Mean of max(p (a - b), (p - 1) (a - b)) of a quantile's bounds (R,), in units of the target, (G,) (Koenker, Bassett 1978)."""
    above = -cells.error(bound)
    return cells.over_cells(np.maximum(probability * above, (probability - 1.0) * above))


def coverage(cells: Cells, low: Floats, high: Floats) -> Floats:
    """Share of actuals between two bounds (R,), ends included, (G,); cells without bounds do not count."""
    judged = cells.seen & np.isfinite(low) & np.isfinite(high)
    hit = judged & (cells.actual >= low) & (cells.actual <= high)
    return ratio(sums(cells.cell_group, hit, cells.groups), sums(cells.cell_group, judged, cells.groups))
