"""Levels: what a series amounts to per step on average, as seen from many origins at once.

Belongs here: trailing means, seasonal naive, plain floors, all levels by origin. Does not belong here: profiles, drift, ridge, recursions (running).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ml_platform.forecasting.arrays import Bools, Shard
from ml_platform.forecasting.calendar import Floats, Ints, window
from ml_platform.forecasting.running import SMOOTHING, SPARSE, Running

MEANS = {"mean_28": 28, "mean_56": 56, "mean_182": 182}
LEVELS = (*MEANS, *SMOOTHING, *SPARSE)
BEFORE_FIRST = 10.0  # days: a series starts with a value by definition, so many empty ones before take that bias away
LEAST = 0.02  # smallest value in logs, as a share of the series' mean
SURE = 7.0  # values that a place of the season would have held by now, were it like the others: none of them by chance is e^-7


@dataclass(frozen=True)
class History:
    """What every level reads of a shard: its values `y` (S, T), 0 where not observed, and `seen` (S, T); gap: whether a step without a value is no zero.

    `before` (S, 2): sum and count of observed steps that are older than the shard.
    """

    shard: Shard
    gap: bool
    y: Floats
    seen: Bools
    before: Floats

    @classmethod
    def of(cls, shard: Shard, missing: str, before: Floats | None = None) -> "History":
        """Of a shard in double precision."""
        seen = ~np.isnan(shard.y)
        y = np.where(seen, shard.y, 0.0)
        return cls(shard, missing == "gap", y, seen, np.zeros((len(y), 2)) if before is None else before)

    def later(self, shard: Shard, drop: int) -> "History":
        """With the last step of `shard` added, which holds the same steps but the first `drop`."""
        newest = shard.y[:, -1:]
        seen = ~np.isnan(newest)
        y = np.concatenate([self.y[:, drop:], np.where(seen, newest, 0.0)], axis=1)
        return History(shard, self.gap, y, np.concatenate([self.seen[:, drop:], seen], axis=1), self.until(drop))

    def take(self, rows: Bools) -> "History":
        """Of some of the series."""
        return History(self.shard.take(rows), self.gap, self.y[rows], self.seen[rows], self.before[rows])

    def between(self, start: int, end: int) -> tuple[Floats, Floats]:
        """Sum and count of observed steps in [start, end), each (S,)."""
        return self.y[:, start:end].sum(axis=1), self.seen[:, start:end].sum(axis=1, dtype=np.float64)

    def until(self, end: int) -> Floats:
        """Sum and count of all observed steps before `end`, (S, 2)."""
        return self.before + np.stack(self.between(0, end), axis=1)

    @cached_property
    def lead(self) -> float:
        """Empty steps before the first value of a series that count, where a step without a row is empty: BEFORE_FIRST, fewer where steps are weeks or more."""
        days = float(np.median(np.diff(self.shard.times)) / np.timedelta64(1, "D"))
        return BEFORE_FIRST if days < 7 else float(round(BEFORE_FIRST / days))

    @cached_property
    def sums(self) -> Floats:
        """Sum of all observed steps before each one and the end, (S, T + 1)."""
        return _running(self.y, self.before[:, 0])

    @cached_property
    def counts(self) -> Floats:
        """How many they are, (S, T + 1)."""
        return _running(self.seen, self.before[:, 1])


def responses(history: History, log: bool, first: int = 0) -> Floats:
    """Values from a step on as regressions and walks see them, (S, T - first), NaN where not observed; logs where `log`.

    A value counts for no less than a share of the mean up to it: later ones change nothing that was seen.
    """
    y = np.where(history.seen[:, first:], history.y[:, first:], np.nan)
    if not log:
        return y
    steps, sums = history.counts[:, first + 1 :], history.sums[:, first + 1 :]
    mean = np.divide(sums, steps, out=np.ones_like(steps), where=steps > 0)
    return np.asarray(np.log(np.maximum(y, LEAST * np.maximum(mean, 1e-12))))


def _running(values: Floats | Bools, before: Floats) -> Floats:
    out = np.empty((values.shape[0], values.shape[1] + 1))
    out[:, 0], out[:, 1:] = before, values
    return np.cumsum(out, axis=1, out=out)


def trailing_mean(history: History, origin: int, width: int) -> Floats:
    """Mean of the last `width` steps before the origin, (S,); 0 or the mean of all steps where none is observed."""
    start = max(0, origin - width)
    total, count = history.between(start, origin)
    if not history.gap:
        return np.asarray(total / np.clip(count + np.minimum(history.lead, history.shard.room), 1.0, width))
    everything, steps = history.sums[:, origin], history.counts[:, origin]
    overall = np.divide(everything, steps, out=np.full(len(steps), np.nan), where=steps > 0)
    return np.asarray(np.divide(total, count, out=overall, where=count > 0))


def levels_at(history: History, running: Running, origin: int, season: int) -> Floats:
    """Every level at one origin, (S, L) in the order of LEVELS; `running` has taken in all steps before it."""
    smooth = running.smoothed(history.gap, history.shard.room, history.lead)
    means = [trailing_mean(history, origin, window(width, season)) for width in MEANS.values()]
    return np.stack([*means, *smooth[:-1], *running.demand(smooth[-1])], axis=1)


def level_array(history: History, origins: Sequence[int], season: int, running: Running | None = None) -> Floats:
    """Every level at every origin, (S, O, L) in the order of LEVELS; NaN where a gap series has not begun.

    `running`: before the first step; it takes in all steps before the last origin.
    """
    running, out = running or Running.begun(len(history.y)), np.empty((len(history.y), len(origins), len(LEVELS)))
    y, seen = np.ascontiguousarray(history.y.T), np.ascontiguousarray(history.seen.T)
    places: dict[int, list[int]] = {}
    for column, origin in enumerate(origins):
        places.setdefault(origin, []).append(column)
    for at in range(max(origins, default=-1) + 1):
        if at > 0:
            running.step(y[at - 1], seen[at - 1])
        if at in places:
            out[:, places[at]] = levels_at(history, running, at, season)[:, None]
    return out


@dataclass(frozen=True)
class LevelTable:
    """Levels of S series (S, O, L) at some origins."""

    origins: tuple[int, ...]
    values: Floats

    @classmethod
    def of(cls, history: History, origins: Sequence[int], season: int, running: Running | None = None) -> "LevelTable":
        """Levels at these origins, in one walk over the history; see level_array."""
        unique = tuple(sorted(set(origins)))
        return cls(unique, level_array(history, unique, season, running))

    def at(self, origin: int) -> Floats:
        """Levels (S, L) at an origin."""
        return self.values[:, self.origins.index(origin)]

    def take(self, rows: Bools | slice) -> "LevelTable":
        """Of some of the series."""
        return replace(self, values=self.values[rows])


def seasonal_naive(
    history: History, origin: int, horizon: int, season: int, otherwise: Floats, first: int = 0
) -> Floats:
    """The last observed value at the same season position, for the steps from `first` to the horizon, (S, H - first).

    `otherwise` (S,) where there is none.
    """
    turns = np.arange(horizon - first)
    steps = (first + turns[:season]) % season
    out = np.repeat(otherwise[:, None], len(steps), axis=1)
    missing = np.ones_like(out, dtype=bool)
    for cycle in range(1, (4 if history.gap else 1) + 1):
        at = origin - cycle * season + steps
        inside = at >= 0
        take = missing & inside & history.seen[:, np.maximum(at, 0)]
        out = np.where(take, history.y[:, np.maximum(at, 0)], out)
        missing &= ~take
    return out if len(turns) == len(steps) else out[:, turns % season]


def plain_floor(history: History, name: str, origin: int, horizon: int, season: int) -> Floats:
    """A naive floor of the gate, (S, H): `zero`, `seasonal_naive` or a plain trailing mean; never begun counts as 0."""
    nothing = np.zeros(len(history.y))
    if name == "zero":
        return np.repeat(nothing[:, None], horizon, axis=1)
    if name == "seasonal_naive":
        return seasonal_naive(history, origin, horizon, season, nothing)
    start = max(0, origin - window(MEANS[name], season))
    total, count = history.between(start, origin)
    steps = count if history.gap else np.clip(history.counts[:, origin] + history.shard.room, 1.0, origin - start)
    level = np.divide(total, steps, out=nothing, where=steps > 0)
    return np.repeat(level[:, None], horizon, axis=1)


def shut(seasons: tuple[Floats, Floats], active: Floats, steps: Ints, season: int) -> Bools:
    """Whether steps (H,) lie where a series of counts never holds anything, such as on Sundays, (S, H).

    seasons: as SeasonSums.at. active (S,): steps that held something.
    """
    sums, counts = seasons
    expected = active[:, None] / np.maximum(counts.sum(axis=1, keepdims=True), 1.0) * counts
    return np.asarray(((sums == 0) & (expected >= SURE))[:, steps % season])


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
