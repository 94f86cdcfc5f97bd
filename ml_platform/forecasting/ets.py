"""Exponential smoothing with trend and season (ETS), for all series and a grid of constants at once.

Belongs here: the recursion, its states at past origins, the choice of a form by information criterion. Does not belong here: blends.

Additive components; on logs they multiply. Errors are absolute (A) or, of values above 0, relative to the forecast (M), whichever is likelier;
the states of a form move the same way with both (Hyndman, Koehler, Ord, Snyder 2008, tables 2.2 and 2.3 without multiplicative seasons).
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from ml_platform.forecasting.arrays import Bools, first_observed
from ml_platform.forecasting.calendar import Floats, Ints

ALPHAS = (0.03, 0.08, 0.16, 0.3, 0.6, 0.9)
TRENDS = (
    (0.0, 0.0),
    (0.4, 0.9),
    (0.0, 1.0),
)  # share of alpha that moves the trend, and its damping; 0 is none, 1 a line
STRAIGHT = (0.0, 2.0)  # of logs: what is a line without them, whose growth falls from b to b / (1 + b) with every step
NO_SEASON = -1.0
CYCLES = 2.0  # cycles that a season counts for nothing yet; one where it begins as the first two say
SEASONS = (
    (0.0, 0.0),
    (0.03, 0.0),
    (0.12, 0.0),
    (0.0, 1.0),
    (0.15, 1.0),
)  # gamma, and whether the first two cycles say how it begins
YOUNG = 2.0  # a line's slope moves by this share of alpha over the steps seen, as a mean does
DEFAULT: tuple[float, ...] = (0.16, 0.0, 0.0, 0.03, 0.0)  # constants of a series that was not fitted, see Form
STRONG, CLEAR = 0.5, 4  # share of variance, and cycles that show it, from which on a form has a season
CELLS = 16_384  # states that stay in the cache of a core


@dataclass(frozen=True)
class Form:
    """Constants of forms (K,): alpha, beta, phi, gamma; phi 0 is no trend, gamma NO_SEASON no season.

    begun 1: level, trend and season begin, after two cycles, as those two say (a line and what positions differ from it); until then the form has
    no season. begun 0: the season is learned from nothing, so a weak one stays small. The criterion tells which.
    """

    alpha: Floats
    beta: Floats
    phi: Floats
    gamma: Floats
    begun: Floats

    @classmethod
    def grid(cls, season: int, logs: bool) -> "Form":
        """Every form that is tried."""
        trends = (*TRENDS, STRAIGHT) if logs else TRENDS
        seasons = ((NO_SEASON, 0.0), *SEASONS) if season > 1 else ((NO_SEASON, 0.0),)
        rows = [(a, a * share, phi, *turn) for a, (share, phi), turn in product(ALPHAS, trends, seasons)]
        return cls(*np.asarray(rows).T.copy())

    @classmethod
    def from_rows(cls, rows: Floats) -> "Form":
        """One form per series (S, 5)."""
        return cls(*np.asarray(rows, dtype=float).T.copy())

    def rows(self) -> Floats:
        return np.stack([self.alpha, self.beta, self.phi, self.gamma, self.begun], axis=1)

    def freedom(self) -> Floats:
        """Numbers that a form fits: of a line its slope. Initial seasons are hardly any of them: they are learned on the way, or no error of their cycles counts."""
        trend = np.where(self.phi >= 1.0, 1.0, 3.0 * (self.phi > 0))
        return np.asarray(2.0 + trend + 1.0 * (self.gamma >= 0) + 1.0 * (self.begun > 0))


def fit(y: Floats, origins: Sequence[int], horizon: int, season: int, *, logs: bool = False) -> tuple[Floats, Floats]:
    """Forecasts (S, O, H) of the form with the least criterion on what lies before each origin, and the last forms as rows (S, 5).

    y (S, T) is NaN where not observed. Errors of logs are shares already: they are absolute there.
    """
    grid, size = Form.grid(season, logs), len(y)
    block = max(1, CELLS // len(grid.alpha))
    forecasts, forms = np.empty((size, len(origins), horizon)), np.empty((size, 5))
    for start in range(0, size, block):
        rows = slice(start, start + block)
        columns = Form(*(np.repeat(one[:, None], len(y[rows]), axis=1) for one in vars(grid).values()))
        strong = season_strength(y[rows], origins, season) > STRONG
        positive = np.zeros_like(strong) if logs else above_nothing(y[rows], origins)
        for place, states in enumerate(_run(y[rows], columns, origins, season, relative=bool(positive.any()))):
            best = states.best(grid.freedom(), strong[:, place] & (grid.gamma < 0)[:, None], positive[:, place])
            forecasts[rows, place] = states.ahead(best, columns, origins[place], horizon, season)
            forms[rows] = grid.rows()[best]
    return forecasts, forms


def above_nothing(y: Floats, origins: Sequence[int]) -> Bools:
    """Whether all values of a series before each origin lie above 0, (S, O)."""
    least = np.minimum.accumulate(np.where(np.isnan(y), np.inf, y), axis=1)
    return np.asarray(least[:, np.maximum(np.asarray(origins, dtype=np.int64), 1) - 1] > 0)


def season_strength(y: Floats, origins: Sequence[int], season: int) -> Floats:
    """Share of the variance within cycles, counted from a series' first value, that the place in the cycle explains before each origin, (S, O); 0 before CLEAR cycles.

    One step ahead a smooth cycle looks like a level that moves: the criterion alone may take no season for it.
    """
    first, cycles = first_observed(y), y.shape[1] // season
    ends = np.maximum(np.asarray(origins, dtype=np.int64) - first[:, None], 0) // season
    if season == 1 or cycles < CLEAR:
        return np.zeros(ends.shape)
    at = first[:, None] + np.arange(cycles * season)
    inside = at < y.shape[1]
    own = np.where(inside, np.take_along_axis(y, np.where(inside, at, 0), axis=1), np.nan).reshape(-1, cycles, season)
    seen = ~np.isnan(own)
    apart = np.where(seen, own - (np.where(seen, own, 0.0).sum(2) / np.maximum(seen.sum(2), 1))[:, :, None], 0.0)
    sums, counts = np.cumsum(apart, axis=1), np.maximum(np.cumsum(seen, axis=1), 1)
    total = np.cumsum((apart**2).sum(axis=2), axis=1)
    share = (sums**2 / counts).sum(axis=2) / np.maximum(total, 1e-12)
    return np.where(ends >= CLEAR, np.take_along_axis(share, np.maximum(ends, 1) - 1, axis=1), 0.0)


def width(season: int) -> int:
    """Numbers in the state of one series: observed steps, sum of the first cycle, level, trend, season."""
    return 4 + season


def advance(states: Floats, first: int, y: Floats, forms: Floats, season: int) -> Floats:
    """States (S, N) that have also taken in y (S, n), whose first step has the number `first`, with known forms (S, 5)."""
    out = np.empty_like(states)
    for start in range(0, len(y), CELLS):
        rows = slice(start, start + CELLS)
        (end,) = _run(y[rows], _columns(forms[rows]), [y.shape[1]], season, begin=States.from_rows(states[rows], first))
        out[rows] = end.rows()
    return out


def ahead(states: Floats, origin: int, forms: Floats, horizon: int, season: int) -> Floats:
    """Forecasts (S, H) after an origin from the states there, with known forms (S, 5)."""
    nothing = np.zeros(len(states), dtype=np.int64)
    return States.from_rows(states, origin).ahead(nothing, _columns(forms), origin, horizon, season)


def _columns(forms: Floats) -> Form:
    """One form per series, as the only one of a grid: (1, S)."""
    return Form(*(one[None] for one in vars(Form.from_rows(forms)).values()))


@dataclass(frozen=True)
class States:
    """States of K forms of S series after `at` steps: level, trend (K, S), season (m, K, S), squared errors (K, S), observed steps and the sum of the first cycle (S,).

    Squares of errors relative to the forecast, and twice the sum of the forecasts' logs, are 0 where nobody asked for them.
    """

    level: Floats
    trend: Floats
    season: Floats
    squares: Floats
    shares: Floats
    scale: Floats
    steps: Floats
    early: Floats
    at: int

    @classmethod
    def at_first(cls, shape: tuple[int, ...], season: int) -> "States":
        """Before the first step, for shape (K, S)."""
        level, trend, squares, shares, scale = np.zeros((5, *shape))
        steps, early = np.zeros((2, shape[-1]))
        return cls(level, trend, np.zeros((season, *shape)), squares, shares, scale, steps, early, 0)

    @classmethod
    def from_rows(cls, rows: Floats, at: int) -> "States":
        """Of one form per series, (S, N); errors count from here on."""
        steps, early, level, trend = rows[:, :4].T.copy()
        squares, shares, scale = np.zeros((3, 1, len(rows)))
        own = np.array(rows[:, 4:].T[:, None], order="C")
        return cls(level[None], trend[None], own, squares, shares, scale, steps, early, at)

    def rows(self) -> Floats:
        """Of one form per series, (S, N)."""
        return np.concatenate([self.steps[None], self.early[None], self.level, self.trend, self.season[:, 0]]).T

    def best(self, freedom: Floats, unfit: Bools, positive: Bools) -> Ints:
        """The form with the least corrected Akaike criterion, the first of equals, (S,); never one that is unfit (K, S).

        Errors of positive series (S,) are absolute or relative, whichever is likelier.
        """
        count = np.maximum(self.steps - len(self.season), 1.0)
        left = np.maximum(count - freedom[:, None] - 1.0, 0.5)
        spread = np.log(np.maximum(self.squares, 1e-12) / count)
        relative = np.log(np.maximum(self.shares, 1e-12) / count) + self.scale / count
        spread = np.where(positive, np.minimum(spread, relative), spread)
        criterion = count * spread + 2.0 * freedom[:, None] * count / left
        return np.asarray(np.argmin(np.where(unfit, np.inf, criterion), axis=0), dtype=np.int64)

    def ahead(self, best: Ints, form: Form, origin: int, horizon: int, season: int) -> Floats:
        """Forecasts (S, H) of one form per series."""
        here = np.arange(len(best))
        phi, trend, steps = form.phi[best, here][:, None], self.trend[best, here][:, None], np.arange(1, horizon + 1)
        falls = 1.0 + np.maximum(phi - 1.0, 0.0) * np.maximum(trend, 0.0) * steps
        reach = np.cumsum(np.minimum(phi, 1.0) ** steps / falls, axis=1)
        turn = (origin + np.arange(horizon)) % season
        return np.asarray(
            self.level[best, here][:, None] + reach * trend + self.season[turn[None], best[:, None], here[:, None]]
        )


def _run(
    y: Floats, form: Form, origins: Sequence[int], season: int, *, relative: bool = False, begin: States | None = None
) -> list[States]:
    """One walk over time; y (S, T), forms (K, S); a copy of the states at every origin, which are counted from the first step of y.

    States begin at nothing and take in the first values by their mean: no value before an origin needs one after it.
    """
    seen = ~np.isnan(y)
    now = States.at_first(np.broadcast_shapes(form.alpha.shape, (1, len(y))), season) if begin is None else begin
    level, trend, squares, turn = now.level, now.trend, now.squares, now.season
    gamma, seasonal = np.where(form.gamma >= 0, form.gamma, 0.0), (form.gamma >= 0).astype(float)
    line, cycles = np.where(form.phi >= 1.0, YOUNG * form.alpha, 0.0), np.where(form.begun > 0, 1.0, CYCLES)
    phi, bends = np.minimum(form.phi, 1.0), np.maximum(form.phi - 1.0, 0.0) if (form.phi > 1.0).any() else None
    values, known = np.ascontiguousarray(np.where(seen, y, 0.0).T), np.ascontiguousarray(seen.T.astype(float))
    steps = np.concatenate([now.steps[None], now.steps + np.cumsum(known, axis=0)])
    said, error, found = np.empty_like(level), np.empty_like(level), list[States]()
    for at in range(max(origins, default=-1) + 1):
        for _ in range(list(origins).count(at)):
            found.append(deepcopy(replace(now, steps=steps[at], at=now.at + at)))
        if at == len(values):
            break
        own, step = turn[(now.at + at) % season], np.maximum(steps[at + 1], 1.0)
        gathers = (form.begun > 0) & (step <= 2 * season) & seen[:, at]
        np.multiply(trend, phi, out=trend)
        if bends is not None:
            trend /= 1.0 + bends * np.maximum(trend, 0.0)
        np.add(level, trend, out=said)
        level += trend
        said += own if not gathers.any() else np.where(gathers, 0.0, own)
        np.subtract(values[at], said, out=error)
        error *= known[at]
        judges = known[at] * (step > season)
        squares += judges * error**2
        if relative:
            size = np.maximum(np.abs(said), 1e-6)
            now.shares[...] += judges * (error / size) ** 2
            now.scale[...] += judges * 2.0 * np.log(size)
        young = 1.0 / step
        level += np.maximum(form.alpha, young) * error
        trend += np.maximum(form.beta, line / (step + YOUNG)) * error * (step > season)
        if gathers.any():
            _gather(now, form, values[at], gathers, steps[at + 1], now.at + at)
            error[gathers] = 0.0
        own += np.maximum(gamma, seasonal / (step / season + cycles)) * error * (step > 1)  # the first is all level
    return found


def _gather(now: States, form: Form, values: Floats, gathers: Bools, step: Floats, at: int) -> None:
    """In place: the first two cycles as they are, in the place of the season; after them level, trend and season as they say.

    values (S,) of the step with the number `at`, the `step`-th (S,) of its series; gathers (K, S): whose forms do so.
    """
    season, sums = len(now.season), now.early
    sums += values * (step <= season) * gathers.any(axis=0)
    np.copyto(now.season, values, where=gathers & (step == 1))
    own = now.season[at % season]
    own += (values - own) * np.where(step <= season, 1.0, 0.5) * gathers
    ends = gathers & (step == 2 * season)
    if not ends.any():
        return
    mean, early = now.season.mean(axis=0), sums / season
    slope = 2.0 * (mean - early) / season
    place = (np.arange(season) - at - 1) % season - (season - 1) / 2
    line = mean + slope * place[:, None, None]
    np.copyto(now.season, now.season - line, where=ends)
    trending = form.phi > 0
    np.copyto(now.level, np.where(trending, mean + slope * (season - 0.5), 2.0 * mean - early), where=ends)
    np.copyto(now.trend, np.where(trending, slope, 0.0), where=ends)
    _excuse(now, form, np.flatnonzero(ends.any(axis=0)))


def _excuse(now: States, form: Form, series: Ints) -> None:
    """In place: forms that began at none of their own are judged, of the first two cycles, as the best of the others: they knew no season then."""
    others = np.flatnonzero((form.begun == 0).all(axis=1))
    if not len(others):
        return
    count = np.maximum(now.steps[series] - len(now.season), 1.0)
    squares, shares, scale = (one[np.ix_(others, series)] for one in (now.squares, now.shares, now.scale))
    likely = count * np.log(np.maximum(shares, 1e-12)) + scale
    least, here = likely.argmin(axis=0), np.arange(len(series))
    for one, best in (
        (now.squares, squares.min(axis=0)),
        (now.shares, shares[least, here]),
        (now.scale, scale[least, here]),
    ):
        one[:, series] = np.where(form.begun[:, series] > 0, best, one[:, series])
