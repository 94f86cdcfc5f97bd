"""Features that every regression shares: calendar, holidays and known-future covariates.

Belongs here: what is known of a step without any value of the target. Does not belong here: lags (lags), what is learned from features.
"""

from datetime import date
from functools import lru_cache

import holidays
import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.tseries.frequencies import to_offset

from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import LONG, Floats, Ints, Plan, Times

DAY = np.timedelta64(1, "D")
YEARS_BESIDE = 1  # of those that are asked for: an eve may lie in the year before


def calendar_width(plan: Plan) -> int:
    """Number of calendar features."""
    dummies = plan.season - 1 if plan.season <= LONG else 0
    return dummies + 2 * sum(len(waves) for _, waves in plan.waves) + (3 if plan.holidays else 0)


def calendar_features(shard: Shard, plan: Plan, start: int, end: int) -> Floats:
    """Of steps [start, end): centred dummies of a short season's positions, waves of the others, holidays: (n, width)."""
    step = shard.position + np.arange(start, end)
    parts: list[Floats] = [np.zeros((len(step), 0))]
    if plan.season <= LONG:
        parts.append((step[:, None] % plan.season == np.arange(plan.season - 1)) - 1.0 / plan.season)
    parts += [_waves(step, season, waves) for season, waves in plan.waves]
    if plan.holidays:
        parts.append(_holidays(shard.times[start:end], plan.holidays, plan.frequency))
    return np.concatenate(parts, axis=1)


def _waves(step: Ints, season: int, waves: Ints) -> Floats:
    angle = 2 * np.pi * (step % season)[:, None] * waves / season
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def _holidays(times: Times, country: str, frequency: str) -> Floats:
    """Number of holidays in each step, on the day after it and on the day before it: (n, 3)."""
    first = times.astype("datetime64[D]")
    following = (pd.DatetimeIndex(times) + to_offset(frequency)).to_numpy().astype("datetime64[D]")
    last = np.maximum(first, following - DAY)
    years = range(int(str(first.min())[:4]) - YEARS_BESIDE, int(str(last.max())[:4]) + YEARS_BESIDE + 1)
    found = np.concatenate([_of_year(country, year) for year in years])
    within = np.searchsorted(found, last, "right") - np.searchsorted(found, first)
    return np.stack([within, np.isin(last + DAY, found), np.isin(first - DAY, found)], axis=1).astype(float)


@lru_cache(maxsize=512)
def _of_year(country: str, year: int) -> npt.NDArray[np.datetime64]:
    """Public holidays of a country, or a part of it such as US-CA, in order."""
    place, _, part = country.partition("-")
    days: list[date] = sorted(holidays.country_holidays(place, subdiv=part or None, years=year))
    return np.asarray(days, dtype="datetime64[D]")


def covariate_features(shard: Shard, start: int, end: int) -> Floats:
    """Values (0 where unknown) and whether they are known, of steps [start, end): (S, n, 2 K)."""
    values = shard.covariates(start, end).transpose(0, 2, 1)
    there = ~np.isnan(values)
    return np.concatenate([np.where(there, values, 0.0), there.astype(float)], axis=2)
