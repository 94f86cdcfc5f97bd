"""Ridge of one series at a time, as one writes it with pandas and numpy: the kernel's features, penalty and level, none of its code.

Belongs here: the features of one series, its coefficients at a given prior, its forecast. Does not belong here: the kernel, which
does the same for all series at once (ml_platform/forecasting/ridge.py), and running this for many series (contenders).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.rows import COVARIATES, MEANS

Floats = npt.NDArray[np.float64]

SEASON = 7  # days of a week
WINDOWS = (16 * 28, 28)  # days that the slow and the recent mean look back
RECENT = 0.75  # share of the recent mean in the level
LEAST = 0.25  # of a day's sales that features leave
CONSTANT, JITTER = 1e-9, 1e-6


@dataclass(frozen=True)
class Prior:
    """What the segment of a series says: coefficients (F,), Gram matrix of one row of it (F, F), rows that it counts for."""

    coefficients: Floats
    gram: Floats
    rows: float


@dataclass(frozen=True)
class Design:
    """Features x (N, F) and sales y (N,) of past days, features of the days ahead (H, F)."""

    x: Floats
    y: Floats
    ahead: Floats


def design(series: pd.DataFrame, horizon: int) -> Design:
    """Centred weekday dummies, covariates, whether they are known and their means over the segment, of a series in order of day.

    y is missing in the last `horizon` rows.
    """
    weekday = series["ds"].to_numpy().astype("datetime64[D]").astype(np.int64) % SEASON
    values = series[list(COVARIATES)].to_numpy(dtype=float)
    there = ~np.isnan(values)
    dummies = (weekday[:, None] == np.arange(SEASON - 1)) - 1.0 / SEASON
    x = np.concatenate(
        [dummies, np.where(there, values, 0.0), there, series[list(MEANS)].to_numpy(dtype=float)], axis=1
    )
    return Design(x[:-horizon], series["y"].to_numpy()[:-horizon], x[-horizon:])


def deviations(rows: Design) -> tuple[Floats, Floats, float]:
    """Features less their means (N, F), 0 where they never change; sales as a share above their mean (N,); the mean, which is the weight of a row."""
    x, mean = rows.x - rows.x.mean(axis=0), float(rows.y.mean())
    x[:, (x**2).mean(axis=0) <= CONSTANT * (rows.x**2).mean(axis=0)] = 0.0
    return x, (rows.y - mean) / (mean or 1.0), mean


def coefficients(rows: Design, prior: Prior) -> Floats:
    """Least squares with `prior.rows` more rows that say what the segment says, (F,); those of means are the segment's."""
    x, z, weight = deviations(rows)
    own, shared = slice(0, -len(MEANS)), prior.coefficients[-len(MEANS) :]
    left, free, pull = z - x[:, -len(MEANS) :] @ shared, x[:, own], prior.gram[own, own]
    gram = weight * free.T @ free + prior.rows * pull
    target = weight * free.T @ left + prior.rows * pull @ prior.coefficients[own]
    return np.append(np.linalg.solve(gram + np.diag(jitter(gram)), target), shared)


def jitter(gram: Floats) -> Floats:
    """The tiny penalty (F,) that keeps columns that are always equal apart, in each column's own unit."""
    diagonal = np.diagonal(gram)
    return np.asarray(np.where(diagonal > 0, JITTER * diagonal, 1.0))


def forecast(rows: Design, beta: Floats) -> Floats:
    """Means (H,) of the days ahead, the level times what features say: never negative, at most three times the largest value."""
    usual, levels = rows.x.mean(axis=0) @ beta, []
    for window in WINDOWS:
        weight = (1.0 - 2.0 / (window + 1.0)) ** np.arange(len(rows.y))[::-1]
        factor = 1.0 + np.average(rows.x, axis=0, weights=weight) @ beta - usual
        levels.append(np.average(rows.y, weights=weight) / max(factor, LEAST))
    slow, recent = levels
    said = (slow + RECENT * (recent - slow)) * (1.0 + rows.ahead @ beta - usual)
    return np.asarray(np.clip(said, 0.0, 3.0 * rows.y.max()))
