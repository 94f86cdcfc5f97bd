"""The Theta method for all series at once: simple smoothing with a drift of half the slope, on deseasonalised values.

Belongs here: its recursion at past origins (Assimakopoulos, Nikolopoulos 2000, in the form of Hyndman, Billah 2003). Does not belong
here: blends. The season of a value is what the series' own earlier cycles say, so that one walk over time serves every origin.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from ml_platform.forecasting.calendar import Floats, Ints

ALPHAS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
CYCLES = (
    3.0,
    0.25,
)  # earlier cycles that say there is no season: where it is weak, few of a series' own are not believed yet
FIRST = 0.3  # weight of values of the first cycle, whose mean is not known yet
DEFAULT: tuple[float, ...] = (0.2, CYCLES[0])  # constants of a series that was not fitted


def fit(
    y: Floats,
    origins: Sequence[int],
    horizon: int,
    season: int,
    *,
    logs: bool = False,  # noqa: ARG001  nothing is otherwise in logs
) -> tuple[Floats, Floats]:
    """Forecasts (S, O, H) with the constants of the least squared error one step ahead before each origin, and the last ones (S, 2).

    y (S, T) is NaN where not observed.
    """
    rows = np.asarray(list(product(ALPHAS, CYCLES if season > 1 else CYCLES[:1])))
    grid = np.repeat(rows.T[:, :, None], len(y), axis=2)
    forecasts, constants = np.empty((len(y), len(origins), horizon)), np.empty((len(y), 2))
    for place, states in enumerate(_run(y, grid, origins, season)):
        best = np.argmin(states.squares, axis=0)
        forecasts[:, place] = states.ahead(best, grid, horizon)
        constants[:] = rows[best]
    return forecasts, constants


def width(season: int) -> int:
    """Numbers in the state of one series: level, mean, four moments, observed steps, sums and counts of the season."""
    return 7 + 2 * season


def advance(states: Floats, first: int, y: Floats, constants: Floats, season: int) -> Floats:
    """States (S, N) that have also taken in y (S, n), whose first step has the number `first`, with known constants (S, 2)."""
    (end,) = _run(y, constants.T[:, None], [y.shape[1]], season, begin=States.from_rows(states, first, season))
    return end.rows()


def ahead(states: Floats, origin: int, constants: Floats, horizon: int, season: int) -> Floats:
    """Forecasts (S, H) after an origin from the states there, with known constants (S, 2)."""
    now, nothing = States.from_rows(states, origin, season), np.zeros(len(states), dtype=np.int64)
    return now.ahead(nothing, constants.T[:, None], horizon)


@dataclass(frozen=True)
class States:
    """After `at` steps: level and squared errors (K, S), mean (S,), moments (4, K, S), observed steps (S,), sums and counts of the season (S, m).

    Moments are sums of t, t squared, y, t y, with t in observed steps.
    """

    level: Floats
    squares: Floats
    mean: Floats
    moments: Floats
    steps: Floats
    sums: Floats
    counts: Floats
    at: int

    @classmethod
    def begun(cls, shape: tuple[int, ...], season: int) -> "States":
        """Before the first step, for shape (K, S)."""
        (level, squares), (mean, steps) = np.zeros((2, *shape)), np.zeros((2, shape[-1]))
        sums, counts = np.zeros((2, shape[-1], season))
        return cls(level, squares, mean, np.zeros((4, *shape)), steps, sums, counts, 0)

    @classmethod
    def from_rows(cls, rows: Floats, at: int, season: int) -> "States":
        """Of one constant per series, (S, N); errors count from here on."""
        (level, mean), moments, steps = rows[:, :2].T.copy(), rows[:, 2:6].T.copy(), rows[:, 6].copy()
        sums, counts = rows[:, 7 : 7 + season].copy(), rows[:, 7 + season :].copy()
        return cls(level[None], np.zeros((1, len(rows))), mean, moments[:, None], steps, sums, counts, at)

    def rows(self) -> Floats:
        """Of one constant per series, (S, N)."""
        parts = [self.level, self.mean[None], self.moments[:, 0], self.steps[None], self.sums.T, self.counts.T]
        return np.concatenate(parts).T

    def ahead(self, best: Ints, constants: Floats, horizon: int) -> Floats:
        """Forecasts (S, H) with the `best` (S,) of the constants (2, K, S)."""
        here, season = np.arange(len(best)), self.sums.shape[1]
        alpha, cycles = constants[:, best, here]
        begun = (1.0 - (1.0 - alpha) ** self.steps) / alpha
        line = 0.5 * _slope(self.moments[:, best, here], self.steps)[:, None] * (np.arange(horizon) + begun[:, None])
        turn = self.sums / (self.counts + cycles[:, None])
        return np.asarray(self.level[best, here][:, None] + line + turn[:, (self.at + np.arange(horizon)) % season])


def _run(
    y: Floats, constants: Floats, origins: Sequence[int], season: int, *, begin: States | None = None
) -> list[States]:
    """One walk over time with constants (2, K, S); a copy of the states at every origin, which are counted from the first step of y."""
    (alphas, cycles), seen = constants, ~np.isnan(y)
    values, known = np.where(seen, y, 0.0), seen.astype(float)
    now = States.begun(alphas.shape, season) if begin is None else begin
    level, squares, mean, moments, sums, counts = now.level, now.squares, now.mean, now.moments, now.sums, now.counts
    steps = np.concatenate([now.steps[:, None], now.steps[:, None] + np.cumsum(known, axis=1)], axis=1)
    found = list[States]()
    for at in range(max(origins, default=-1) + 1):
        for _ in range(list(origins).count(at)):
            found.append(deepcopy(replace(now, steps=steps[:, at], at=now.at + at)))
        if at == y.shape[1]:
            break
        here, step, seen_now = (now.at + at) % season, steps[:, at + 1], known[:, at]
        own = sums[:, here] / (counts[:, here] + cycles) if season > 1 else np.zeros_like(level)
        plain = values[:, at] - own
        error = (plain - level) * seen_now
        starts = (step == 1) & (seen_now > 0)
        level += np.where(starts, 1.0, alphas) * error
        squares += np.where(starts, 0.0, error**2)
        mean += seen_now * (values[:, at] - mean) / np.maximum(np.minimum(step, 4.0 * season), 1.0)
        if season > 1:
            weight = seen_now * np.where(step > season, 1.0, FIRST)
            sums[:, here] += weight * (values[:, at] - mean)
            counts[:, here] += weight
        moments += seen_now * np.stack(np.broadcast_arrays(step, step**2, plain, step * plain))
    return found


def _slope(moments: Floats, count: Floats) -> Floats:
    """Least squares slope per observed step, 0 where fewer than two are."""
    t, tt, y, ty = moments
    below = count * tt - t**2
    return np.where(below > 0, (count * ty - t * y) / np.where(below > 0, below, 1.0), 0.0)
