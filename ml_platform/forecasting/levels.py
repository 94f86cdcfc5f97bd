"""Levels: what a series amounts to per step on average, as seen from many origins at once.

Belongs here: trailing means, exponential smoothing, sparse demand (Croston, SBA, TSB), seasonal naive, plain floors. Does not belong here: profiles, drift, ridge.
"""

from collections.abc import Sequence

import numpy as np

from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import Floats, Ints, window

MEANS = {"mean_28": 28, "mean_56": 56, "mean_182": 182}
SMOOTHING = {"ses_01": 0.01, "ses_05": 0.05, "ses_20": 0.2}
SPARSE = ("tsb", "croston", "sba")
LEVELS = (*MEANS, *SMOOTHING, *SPARSE)
OCCURRENCE, SIZE = 0.02, 0.05  # smoothing of TSB: how often, and how much at a time
DEMAND = 0.1  # Croston's smoothing of sizes and of the steps between them
BEFORE_FIRST = 10.0  # a series starts with a value by definition: so many empty steps before it take that bias away


class History:
    """Running sums of a shard that every level shares: `sums` and `counts` (S, T + 1) over time, `seen` (S, T)."""

    def __init__(self, shard: Shard, missing: str) -> None:
        self.shard, self.gap = shard, missing == "gap"
        self.seen = ~np.isnan(shard.y)
        self.y = np.where(self.seen, shard.y, 0.0)
        self.sums = _running(self.y)
        self.counts = _running(self.seen)

    def between(self, start: int, end: int) -> tuple[Floats, Floats]:
        """Sum and count of observed steps in [start, end), each (S,)."""
        return self.sums[:, end] - self.sums[:, start], self.counts[:, end] - self.counts[:, start]


def _running(values: Floats) -> Floats:
    out = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=out[:, 1:])
    return out


def trailing_mean(history: History, origin: int, width: int) -> Floats:
    """Mean of the last `width` steps before the origin, (S,); 0 or the mean of all steps where none is observed."""
    start = max(0, origin - width)
    total, count = history.between(start, origin)
    if not history.gap:
        return np.asarray(total / np.minimum(count + BEFORE_FIRST, max(origin - start, 1)))
    everything, steps = history.between(0, origin)
    overall = np.divide(everything, steps, out=np.full(len(steps), np.nan), where=steps > 0)
    return np.asarray(np.divide(total, count, out=overall, where=count > 0))


def _smoothed(history: History, origins: Sequence[int]) -> tuple[Floats, Floats, Floats]:
    """Exponential sums at each origin: values and weights (4, S, O) per smoothing constant, TSB's mean size (S, O)."""
    rates = np.array([*SMOOTHING.values(), OCCURRENCE])[:, None]
    size = len(history.y)
    value, weight = np.zeros((2, 4, size))
    amount, amount_weight = np.zeros((2, size))
    out, weights, sizes = (
        np.zeros((4, size, len(origins))),
        np.zeros((4, size, len(origins))),
        np.zeros((size, len(origins))),
    )
    y, seen = np.ascontiguousarray(history.y.T), np.ascontiguousarray(history.seen.T)
    for at in range(max(origins, default=0) + 1):
        for column in np.flatnonzero(np.asarray(origins) == at):
            out[..., column], weights[..., column] = value, weight
            sizes[:, column] = np.divide(amount, amount_weight, out=np.zeros(size), where=amount_weight > 0)
        if at == len(y):
            break
        occurs = y[at] != 0
        inputs = np.stack([y[at], y[at], y[at], occurs.astype(float)])
        value += (rates * seen[at]) * (inputs - value)
        weight += (rates * seen[at]) * (1.0 - weight)
        amount += SIZE * occurs * (y[at] - amount)
        amount_weight += SIZE * occurs * (1.0 - amount_weight)
    return out, weights, sizes


def croston_rate(history: History, origins: Sequence[int]) -> Floats:
    """Size of a demand over the steps between two, (S, O), both smoothed at demands alone (Croston 1972); 0 before the first one."""
    size, gap, since = np.zeros((3, len(history.y)))
    y, seen = np.ascontiguousarray(history.y.T), np.ascontiguousarray(history.seen.T)
    out = np.zeros((len(history.y), len(origins)))
    for at in range(max(origins, default=0) + 1):
        for column in np.flatnonzero(np.asarray(origins) == at):
            out[:, column] = np.divide(size, gap, out=np.zeros_like(size), where=gap > 0)
        if at == len(y):
            break
        since += seen[at]
        occurs = y[at] != 0
        rate = np.where(gap > 0, DEMAND, 1.0) * occurs
        size += rate * (y[at] - size)
        gap += rate * (since - gap)
        since[occurs] = 0.0
    return out


def level_array(history: History, origins: Sequence[int], season: int) -> Floats:
    """Every level at every origin, (S, O, L) in the order of LEVELS; NaN where a gap series has not begun."""
    value, weight, sizes = _smoothed(history, origins)
    rates = np.array([*SMOOTHING.values(), OCCURRENCE])[:, None, None]
    if not history.gap:
        full = 1.0 - (1.0 - rates) ** np.asarray(origins, dtype=float)
        weight = np.minimum(weight + BEFORE_FIRST * rates, np.maximum(full, 1e-12))
    with np.errstate(invalid="ignore", divide="ignore"):
        smooth = np.where(weight > 0, value / weight, np.nan)
    means = [
        np.stack([trailing_mean(history, origin, window(width, season)) for origin in origins], axis=1)
        for width in MEANS.values()
    ]
    croston = croston_rate(history, origins)
    sparse = [
        smooth[3] * sizes,
        croston,
        (1.0 - DEMAND / 2.0) * croston,
    ]  # SBA: without Croston's bias (Syntetos, Boylan 2005)
    return np.stack([*means, smooth[0], smooth[1], smooth[2], *sparse], axis=2)


def seasonal_naive(history: History, origin: int, horizon: int, season: int, otherwise: Floats) -> Floats:
    """The last observed value at the same season position, (S, H); `otherwise` (S,) where there is none."""
    out = np.repeat(otherwise[:, None], horizon, axis=1)
    missing = np.ones_like(out, dtype=bool)
    steps = np.arange(horizon) % season
    for cycle in range(1, (4 if history.gap else 1) + 1):
        at = origin - cycle * season + steps
        inside = at >= 0
        take = missing & inside & history.seen[:, np.maximum(at, 0)]
        out = np.where(take, history.y[:, np.maximum(at, 0)], out)
        missing &= ~take
    return out


def plain_floor(history: History, name: str, origin: int, horizon: int, season: int) -> Floats:
    """A naive floor of the gate, (S, H): `zero`, `seasonal_naive` or a plain trailing mean; never begun counts as 0."""
    nothing = np.zeros(len(history.y))
    if name == "zero":
        return np.repeat(nothing[:, None], horizon, axis=1)
    if name == "seasonal_naive":
        return seasonal_naive(history, origin, horizon, season, nothing)
    start = max(0, origin - window(MEANS[name], season))
    total, count = history.between(start, origin)
    steps = count if history.gap else np.full(len(total), max(origin - start, 1), dtype=float)
    level = np.divide(total, steps, out=nothing, where=steps > 0)
    return np.repeat(level[:, None], horizon, axis=1)


class SeasonSums:
    """Sums and counts per season position up to any origin, from one pass over time."""

    def __init__(self, history: History, season: int) -> None:
        self.season = season
        self.sums, self.counts = self._by_cycle(history.y), self._by_cycle(history.seen.astype(float))

    def _by_cycle(self, values: Floats) -> Floats:
        rows, steps = values.shape
        cycles = -(-max(steps, 1) // self.season)
        padded = np.zeros((rows, cycles * self.season))
        padded[:, :steps] = values
        out = np.zeros((rows, cycles + 1, self.season))
        np.cumsum(padded.reshape(rows, cycles, self.season), axis=1, out=out[:, 1:])
        return out

    def at(self, origin: int) -> tuple[Floats, Floats]:
        """Sums and counts of steps before the origin by (step index mod season), each (S, season)."""
        place: Ints = np.arange(self.season)
        cycle = origin // self.season + (place < origin % self.season)
        return self.sums[:, cycle, place], self.counts[:, cycle, place]
