"""Features that every regression shares: calendar and known-future covariates.

Belongs here: what is known of a step without any value of the target. Does not belong here: lags (lags), what is learned from features.
"""

import numpy as np

from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import LONG, Floats, Ints, Plan

HARMONICS = 2


def calendar_width(plan: Plan) -> int:
    """Number of calendar features."""
    if plan.season <= LONG:
        return plan.season - 1
    return 2 * HARMONICS if plan.seasonal else 0


def calendar_features(step: Ints, plan: Plan) -> Floats:
    """Centred dummies of the season position, or harmonics of a long season, of steps (n,) counted from the epoch: (n, width)."""
    season, position = plan.season, step % plan.season
    if season <= LONG:
        return np.asarray((position[:, None] == np.arange(season - 1)).astype(float) - 1.0 / season)
    if not calendar_width(plan):
        return np.zeros((len(position), 0))
    angle = 2 * np.pi * position[:, None] * np.arange(1, HARMONICS + 1) / season
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def covariate_features(shard: Shard, start: int, end: int) -> Floats:
    """Values (0 where unknown) and whether they are known, of steps [start, end): (S, n, 2 K)."""
    values = shard.covariates(start, end).transpose(0, 2, 1)
    there = ~np.isnan(values)
    return np.concatenate([np.where(there, values, 0.0), there.astype(float)], axis=2)
