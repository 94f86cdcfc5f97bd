"""Drift of inputs: whether what a fleet is trained on, and forecasts from, is like what it was before.

Belongs here: gold/input_profile, and how far an input lies outside its own history. Does not belong here: whether that stops a challenger (gate).
"""

import math
from collections.abc import Iterator, Mapping
from datetime import date

import numpy as np
import pyarrow as pa

from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.arrays import Bools, Shard
from ml_platform.forecasting.calendar import Floats
from ml_platform.forecasting.config import days_per_step
from ml_platform.lake import TableSpec, names

FEWEST, DAYS = 6, 366  # windows that make a history; days that it goes back
INPUT_PROFILE = TableSpec(
    names.INPUT_PROFILE,
    pa.schema(
        [
            ("as_of", pa.date32()),
            ("input", pa.string()),
            ("window", pa.int32()),
            ("mean", pa.float64()),
            ("known", pa.float64()),
            ("spread", pa.float64()),
        ]
    ),
    partition_by=("as_of",),
    description="Target and covariates over all series, by windows of one horizon: 0 ends with the as-of day, 1 is to be forecast. known: share of cells; "
    "spread: standard deviation over cells.",
)


def profile_rows(shard: Shard, config: ForecastConfig, as_of: date) -> pa.Table:
    """Rows of gold/input_profile from a panel's arrays."""
    steps, ahead = shard.steps, len(shard.times)
    inputs = {config.target: (_by_step(shard.y, np.arange(steps) >= shard.first[:, None]), 0)}
    begin = ahead - shard.known.shape[2]
    for place, name in enumerate(config.known_future):
        told = np.full((3, ahead), np.nan)
        told[:, begin:] = _by_step(shard.known[:, place], np.ones(1, dtype=bool))
        inputs[name] = (told, 1)
    rows = [row for name, (told, last) in inputs.items() for row in _windows(name, told, steps, config.horizon, last)]
    return pa.Table.from_pylist([{"as_of": as_of, **row} for row in rows], INPUT_PROFILE.schema)


def _by_step(values: Floats, there: Bools) -> Floats:
    """Of each step the mean of the known values, the share of the cells that are known, and the mean square, (3, T); NaN where none is."""
    known = ~np.isnan(values)
    count, cells = known.sum(axis=0), np.broadcast_to(there, values.shape).sum(axis=0)
    first, second = (np.where(known, values**power, 0.0).sum(axis=0, dtype=np.float64) for power in (1, 2))
    told = np.stack([first / np.maximum(count, 1), count / np.maximum(cells, 1), second / np.maximum(count, 1)])
    return np.where(count > 0, told, np.nan)


def _windows(name: str, told: Floats, steps: int, horizon: int, last: int) -> Iterator[dict[str, object]]:
    """The windows of an input up to the one with the number `last`, the newest first; those that know nothing are left out."""
    for window in range(last, -(steps // horizon), -1):
        end = steps + window * horizon
        part = told[:, end - horizon : end]
        part = part[:, np.isfinite(part[0])]
        if part.shape[1]:
            mean, known, square = part.mean(axis=1).tolist()
            spread = max(square - mean**2, 0.0) ** 0.5
            yield {"input": name, "window": window, "mean": mean, "known": known, "spread": spread}


def drifts(profile: pa.Table, config: ForecastConfig) -> Mapping[str, float]:
    """How far each input's newest windows lie outside its windows of a year before, in spans of these; 0 inside, nothing for a short history.

    The mean over all known cells, and of the window that ends with the as-of day the share of the cells that are known. Infinite for an input that had a
    history and is nowhere known any more.
    """
    out: dict[str, float] = {}
    frame = profile.to_pandas()
    back = max(FEWEST, round(DAYS / (config.horizon * days_per_step(config.frequency))))
    for name, rows in frame.groupby("input"):
        windows = rows.set_index("window").dropna(subset="mean")
        before = windows[(windows.index < 0) & (windows.index >= -back)]
        newest = windows[windows.index >= 0]
        if len(before) >= FEWEST:
            told = [_outside(float(value), before["mean"].to_numpy(float)) for value in newest["mean"]]
            # of the future less may be known than of the past: plans come late
            lost = [
                _below(float(value), before["known"].to_numpy(float)) for value in newest["known"][newest.index == 0]
            ]
            out[str(name)] = max([*told, *lost], default=math.inf)
    return out


def _outside(value: float, before: Floats) -> float:
    low, high = float(before.min()), float(before.max())
    return max(low - value, value - high, 0.0) / _span(low, high)


def _below(value: float, before: Floats) -> float:
    low, high = float(before.min()), float(before.max())
    return max(low - value, 0.0) / _span(low, high)


def _span(low: float, high: float) -> float:
    return max(high - low, 0.05 * max(abs(low), abs(high)), 1e-9)  # an input that never moved may move a little
