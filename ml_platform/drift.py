"""Drift of inputs: whether what a fleet is trained on, and forecasts from, is like what it was before.

Belongs here: gold/input_profile, and how far an input lies outside its own history. Does not belong here: whether that stops a challenger (gate).
"""

from collections.abc import Mapping
from datetime import date

import numpy as np
import pyarrow as pa

from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.arrays import Shard
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
        ]
    ),
    partition_by=("as_of",),
    description="Target and covariates over all series, by windows of one horizon: 0 ends with the as-of day, 1 is to be forecast. known: share of cells.",
)


def profile_rows(shard: Shard, config: ForecastConfig, as_of: date) -> pa.Table:
    """Rows of gold/input_profile from a panel's arrays."""
    horizon, steps = config.horizon, shard.steps
    grids = {config.target: _by_step(shard.y, np.arange(steps) >= shard.first[:, None])}
    begin = len(shard.times) - shard.known.shape[2]
    for place, name in enumerate(config.known_future):
        values = shard.known[:, place]
        told = np.full((2, len(shard.times)), np.nan)
        told[:, begin:] = _by_step(values, np.ones(values.shape, dtype=bool))
        grids[name] = told
    rows = [row for name, told in grids.items() for row in _windows(name, told, steps, horizon)]
    columns = {
        "as_of": [as_of] * len(rows),
        **{key: [row[key] for row in rows] for key in ("input", "window", "mean", "known")},
    }
    return pa.table(
        [pa.array(columns[field.name], field.type, from_pandas=True) for field in INPUT_PROFILE.schema],
        INPUT_PROFILE.schema,
    )


def _by_step(values: Floats, there: np.ndarray) -> Floats:
    """Sum of the known values and share of known cells at each step, (2, T)."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0.0).sum(axis=0, dtype=np.float64)
    return np.stack([total / np.maximum(known.sum(axis=0), 1), known.sum(axis=0) / np.maximum(there.sum(axis=0), 1)])


def _windows(name: str, told: Floats, steps: int, horizon: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    ahead = 1 if told.shape[1] > steps else 0
    for window in range(ahead, -(steps // horizon), -1):
        end = steps + window * horizon
        part = told[:, end - horizon : end]
        if part.shape[1] == horizon and np.isfinite(part).any():
            rows.append(
                {
                    "input": name,
                    "window": window,
                    "mean": float(np.nanmean(part[0])),
                    "known": float(np.nanmean(part[1])),
                }
            )
    return rows


def drifts(profile: pa.Table, config: ForecastConfig) -> Mapping[str, float]:
    """How far each input's newest windows lie outside its windows of a year before, in spans of these; 0 inside, nothing for a short history."""
    out: dict[str, float] = {}
    frame = profile.to_pandas()
    back = max(FEWEST, round(DAYS / (config.horizon * days_per_step(config.frequency))))
    for name, rows in frame.groupby("input"):
        known = rows.set_index("window")["mean"].dropna()
        before = known[(known.index < 0) & (known.index >= -back)]
        newest = known[known.index >= 0]
        if len(before) >= FEWEST and len(newest):
            out[str(name)] = max(_outside(float(value), before.to_numpy(float)) for value in newest)
    return out


def _outside(value: float, before: Floats) -> float:
    low, high = float(before.min()), float(before.max())
    span = max(high - low, 0.05 * max(abs(low), abs(high)), 1e-9)  # an input that never moved may move a little
    return max(low - value, value - high, 0.0) / span
