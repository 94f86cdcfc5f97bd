"""Hierarchy: forecasts of series and of their sums that add up, weighed by how far each was off.

Belongs here: reconciliation of series with sums of them. Does not belong here: which sums people want, and how each is forecast.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml_platform.forecasting.arrays import sum_by
from ml_platform.forecasting.calendar import Floats, Ints


@dataclass(frozen=True)
class Level:
    """Sums of series by one or more keys, forecast on their own.

    codes (S,): the sum that each series belongs to. forecasts (G, H); variance (G,) of their errors, in squared units, more than 0.
    """

    codes: Ints
    forecasts: Floats
    variance: Floats


def reconciled(forecasts: Floats, variance: Floats, levels: Sequence[Level]) -> Floats:
    """Forecasts (S, H) nearest to those of the series and to those of all sums at once, each by its variance (S,), (G,).

    The generalised least squares of Wickramasinghe, Athanasopoulos, Hyndman 2019 (MinT) with variances and no covariances. Sums of what
    comes out add up by themselves. The equations have one unknown per sum, so that their number, and not that of series, is what costs.
    """
    if not levels:
        return forecasts
    apart = np.concatenate([one.forecasts - sum_by(forecasts, one.codes, len(one.variance)) for one in levels])
    shared = np.diag(np.concatenate([one.variance for one in levels])) + _covariance(variance, levels)
    pull, start, moved = np.linalg.solve(shared, apart), 0, np.zeros_like(forecasts)
    for one in levels:
        moved += pull[start : start + len(one.variance)][one.codes]
        start += len(one.variance)
    return np.asarray(forecasts + variance[:, None] * moved)


def _covariance(variance: Floats, levels: Sequence[Level]) -> Floats:
    """How much two sums share: the variance of the series that are in both, (sums, sums)."""
    rows = []
    for one in levels:
        cells = []
        for other in levels:
            both = one.codes * len(other.variance) + other.codes
            shape = (len(one.variance), len(other.variance))
            cells.append(np.bincount(both, variance, shape[0] * shape[1]).reshape(shape))
        rows.append(np.concatenate(cells, axis=1))
    return np.concatenate(rows)
