"""Features of one series for regressions on its own past, as one writes them with pandas and numpy: lags, levels, weekday, covariates.

Belongs here: rows of past days and of the days ahead. Does not belong here: regressions on them (contenders).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.rows import COVARIATES

Floats = npt.NDArray[np.float64]

SEASON, LONG, EMPTY = (
    7,
    182,
    10.0,
)  # days of a week; of the mean that values are relative to; empty days before the first
SMOOTHING = (0.05, 0.2)


@dataclass(frozen=True)
class Design:
    """Features x (N, F) of past days, their response z (N,) and weight (N,), features of the days ahead (H, F), their scale."""

    x: Floats
    z: Floats
    weight: Floats
    ahead: Floats
    scale: float


def design(series: pd.DataFrame, steps: int, horizon: int) -> Design:
    """Features of a series in order of day; y is missing in the last `horizon` rows, steps is the length of the longest history.

    Features are what was known at an origin, the rows are the days from it to the next one.
    """
    y = series["y"].to_numpy()[:-horizon]
    first = steps - len(y)
    origins = _origins(steps, horizon)
    origins = origins[origins > first]
    levels = _levels(pd.Series(y), origins, first)
    scale, size = np.where(levels["long"] > 0, levels["long"], 1.0), horizon
    lags, known = _lags(y, origins, first, levels, scale, size), _known(series, origins - first, size)
    x = np.concatenate([lags, known], axis=2) * (levels["long"] > 0)[:, None, None]
    own = np.arange(size) < np.diff(origins)[:, None]
    past = ((origins[:-1] - first)[:, None] + np.arange(size))[own]
    held = np.repeat(scale[:-1], np.diff(origins))
    weight = np.repeat(scale[:-1] * (levels["long"][:-1] > 0), np.diff(origins))
    return Design(x[:-1][own], y[past] / held, weight, x[-1, :horizon], float(scale[-1]))


def _days(series: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Days since 1970."""
    return series["ds"].to_numpy().astype("datetime64[D]").astype(np.int64)


def _origins(steps: int, horizon: int) -> npt.NDArray[np.int64]:
    """Days at which rows begin, whole horizons before the end of the history, and that end."""
    return np.arange(steps, max(1, min(SEASON, steps // 4)) - 1, -horizon)[::-1]


def _levels(y: pd.Series, origins: npt.NDArray[np.int64], first: int) -> dict[str, Floats]:
    """Long mean, last value and smoothed values as they stood at each origin, (B,) each."""
    seen = origins - first
    total = y.rolling(LONG, min_periods=1).sum().to_numpy()[seen - 1]
    days = np.minimum(np.minimum(seen, LONG) + EMPTY, np.minimum(origins, LONG))
    found = {"long": total / days, "last": y.to_numpy()[seen - 1]}
    begun = pd.concat([pd.Series([0.0]), y], ignore_index=True)
    for rate in SMOOTHING:
        smooth = begun.ewm(alpha=rate, adjust=False).mean().to_numpy()[seen]
        whole = 1.0 - (1.0 - rate) ** origins
        found[str(rate)] = smooth / np.minimum(1.0 - (1.0 - rate) ** seen + EMPTY * rate, whole)
    return found


def _lags(
    y: Floats, origins: npt.NDArray[np.int64], first: int, levels: dict[str, Floats], scale: Floats, horizon: int
) -> Floats:
    """One, levels and the same weekday of the last two weeks, relative to the long level: (B, H, 6)."""
    last, turn = levels["last"][:, None], np.arange(horizon) % SEASON
    out = np.ones((len(origins), horizon, 6))
    for column, level in enumerate([*(levels[str(rate)] for rate in SMOOTHING), levels["last"]], start=1):
        out[:, :, column] = (level / scale - 1.0)[:, None]
    for column, start in ((4, origins), (5, np.maximum(0, origins - SEASON))):
        at = start[:, None] - SEASON + turn - first
        value = np.where((at >= 0) & (start[:, None] - SEASON + turn >= 0), y[np.maximum(at, 0)], last)
        out[:, :, column] = (value - last) / scale[:, None]
    return out


def _known(series: pd.DataFrame, starts: npt.NDArray[np.int64], horizon: int) -> Floats:
    """Centred weekday dummies, covariates and whether they are known, of the days after each origin: (B, H, 12)."""
    days = np.minimum(starts[:, None] + np.arange(horizon), len(series) - 1)
    weekday = (_days(series) % SEASON)[days]
    dummies = (weekday[:, :, None] == np.arange(SEASON - 1)) - 1.0 / SEASON
    values = series[list(COVARIATES)].to_numpy(dtype=float)[days]
    there = ~np.isnan(values)
    return np.concatenate([dummies, np.where(there, values, 0.0), there.astype(float)], axis=2)
