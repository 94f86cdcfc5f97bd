"""The Theta method for all series at once: simple smoothing with a drift of half the slope, on deseasonalised values.

Belongs here: its recursion at past origins (Assimakopoulos, Nikolopoulos 2000, in the form of Hyndman, Billah 2003). Does not belong
here: blends. The season of a value is what the series' own earlier cycles say, so that one walk over time serves every origin.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml_platform.forecasting.calendar import Floats, Ints

ALPHAS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
DEFAULT: tuple[float, ...] = (0.2,)  # constant of a series that was not fitted
CYCLES = 3.0  # earlier cycles that say there is no season: few of a series' own are not believed yet


def fit(y: Floats, origins: Sequence[int], horizon: int, season: int) -> tuple[Floats, Floats]:
    """Forecasts (S, O, H) with the constant of the least squared error one step ahead before each origin, and the last ones (S, 1).

    y (S, T) is NaN where not observed.
    """
    grid = np.repeat(np.asarray(ALPHAS)[:, None], len(y), axis=1)
    forecasts, alphas = np.empty((len(y), len(origins), horizon)), np.empty((len(y), 1))
    for place, states in enumerate(_run(y, grid, origins, season)):
        best = np.argmin(states.squares, axis=0)
        forecasts[:, place] = states.ahead(best, grid, horizon)
        alphas[:, 0] = np.asarray(ALPHAS)[best]
    return forecasts, alphas


def predict(y: Floats, alphas: Floats, horizon: int, season: int) -> Floats:
    """Forecasts (S, H) after the end of y with known constants (S, 1)."""
    (states,) = _run(y, alphas.T, [y.shape[1]], season)
    return states.ahead(np.zeros(len(y), dtype=np.int64), alphas.T, horizon)


@dataclass(frozen=True)
class States:
    """At one origin: level and squared errors (K, S), slope and observed steps (S,), the season of the steps after it (S, m)."""

    level: Floats
    squares: Floats
    slope: Floats
    steps: Floats
    turn: Floats

    def ahead(self, best: Ints, alphas: Floats, horizon: int) -> Floats:
        """Forecasts (S, H) with one constant per series."""
        here = np.arange(len(best))
        alpha = alphas[best, here]
        begun = (1.0 - (1.0 - alpha) ** self.steps) / alpha
        line = 0.5 * self.slope[:, None] * (np.arange(horizon) + begun[:, None])
        return np.asarray(
            self.level[best, here][:, None] + line + self.turn[:, np.arange(horizon) % self.turn.shape[1]]
        )


def _run(y: Floats, alphas: Floats, origins: Sequence[int], season: int) -> list[States]:
    seen = ~np.isnan(y)
    values, known = np.where(seen, y, 0.0), seen.astype(float)
    steps = np.cumsum(known, axis=1)  # 1 at the first observed step
    sums, counts, mean = np.zeros((len(y), season)), np.zeros((len(y), season)), np.zeros(len(y))
    level, squares = np.zeros_like(alphas), np.zeros_like(alphas)
    moments, found = np.zeros((4, len(y))), list[States]()  # sums of t, t squared, y, t y
    for at in range(max(origins, default=-1) + 1):
        for _ in range(list(origins).count(at)):
            turn = np.roll(sums / (counts + CYCLES), -(at % season), axis=1)
            past = steps[:, at - 1] if at else np.zeros(len(y))
            found.append(States(level.copy(), squares.copy(), _slope(moments, past), past, turn))
        if at == y.shape[1]:
            break
        here, step, now = at % season, steps[:, at], known[:, at]
        own = sums[:, here] / (counts[:, here] + CYCLES) if season > 1 else 0.0
        plain = values[:, at] - own
        error = (plain - level) * now
        starts = (step == 1) & (now > 0)
        level += np.where(starts, 1.0, alphas) * error
        squares += np.where(starts, 0.0, error**2)
        mean += now * (values[:, at] - mean) / np.maximum(np.minimum(step, 4.0 * season), 1.0)
        if season > 1:
            sums[:, here] += now * (values[:, at] - mean)
            counts[:, here] += now
        moments += now * np.stack([step, step**2, plain, step * plain])
    return found


def _slope(moments: Floats, count: Floats) -> Floats:
    """Least squares slope per observed step, 0 where fewer than two are."""
    t, tt, y, ty = moments
    below = count * tt - t**2
    return np.where(below > 0, (count * ty - t * y) / np.where(below > 0, below, 1.0), 0.0)
