"""Losses: what each judged row adds to the error of the configured objective.

Belongs here: objectives as quotients of sums over rows. Does not belong here: whose forecasts (contenders), how sure a difference is (noise).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ml_platform.evaluation.cells import Cells, Codes, Floats
from ml_platform.evaluation.contenders import Contender
from ml_platform.forecasting import ForecastConfig, metrics


@dataclass(frozen=True)
class Losses:
    """What each row adds to an error's sum (`loss`) and to what that sum is divided by (`mass`); `root`: the error is the root of the quotient."""

    loss: Floats
    mass: Floats
    root: bool

    def sums(self, codes: Codes, groups: int) -> tuple[Floats, Floats]:
        """Loss and mass by group."""
        return metrics.sums(codes, self.loss, groups), metrics.sums(codes, self.mass, groups)

    def error(self, codes: Codes, groups: int) -> Floats:
        """The error by group; NaN where nothing counts."""
        return quotient(*self.sums(codes, groups), self.root)


def quotient(loss: Floats, mass: Floats, root: bool) -> Floats:
    """The error that sums of losses come to; NaN where nothing counts."""
    out = np.divide(loss, mass, out=np.full(np.shape(loss), np.nan), where=np.asarray(mass) > 0)
    return np.asarray(np.sqrt(out) if root else out)


def losses(cells: Cells, contender: Contender, config: ForecastConfig) -> Losses:
    """Losses of a contender by the objective: rmsse on the mean, weighted and scaled; wape and mape on the point; pinball on bounds and point."""
    made = np.isfinite(contender.forecast)
    counts = np.isfinite(cells.actual) & (made | (not contender.partial))
    actual = np.where(counts, cells.actual, 0.0)
    mean, point = (np.where(made & counts, one, 0.0) for one in (contender.forecast, contender.point))
    if config.objective == "rmsse":
        return _scaled(cells, counts, (mean - actual) ** 2)
    if config.objective == "wape":
        return Losses(np.abs(point - actual), np.abs(actual), root=False)
    if config.objective == "mape":
        there = counts & (actual != 0)
        share = _per_series(cells, there)
        return Losses(share * np.abs((point - actual) / np.where(there, actual, 1.0)), share, root=False)
    told = [np.maximum(p * (actual - q), (p - 1.0) * (actual - q)) for p, q in _quantiles(contender, point)]
    return Losses(np.where(counts, np.mean(told, axis=0), 0.0), counts.astype(float), root=False)


def _per_series(cells: Cells, counts: np.ndarray) -> Floats:
    """1 over the number of rows that count of a row's series; 0 where it does not count."""
    number = metrics.sums(cells.row_series, counts, len(cells.ids))
    return np.where(counts, 1.0 / np.maximum(number, 1.0)[cells.row_series], 0.0)


def _scaled(cells: Cells, counts: np.ndarray, squares: Floats) -> Losses:
    scaled = np.isfinite(cells.scale) & (cells.scale > 0)
    mass = _per_series(cells, counts) * np.where(scaled, cells.weight, 0.0)[cells.row_series]
    scale = np.where(scaled, cells.scale, 1.0)[cells.row_series]
    return Losses(mass * np.where(counts, squares, 0.0) / scale, mass, root=True)


def _quantiles(contender: Contender, point: Floats) -> Iterator[tuple[float, Floats]]:
    """Probabilities and what the contender says for them; a contender without bounds says its point for each."""
    yield 0.5, point
    for level, bounds in contender.bounds.items():
        for side, bound in zip((-1, 1), bounds, strict=True):
            yield 0.5 + side * level / 200.0, np.where(np.isfinite(bound), bound, point)
