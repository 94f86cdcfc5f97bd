"""Ridge: one small regression per series on calendar and known-future covariates, slopes drawn to its segment's, around a level that moves.

Belongs here: its rows, what they add up to, slopes, levels, forecasts. Does not belong here: regressions on lags (lags), when to fit (pools, backtest).
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Self

import numpy as np

from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import Floats, Ints, Plan, drift_window
from ml_platform.forecasting.features import calendar_features, calendar_width, covariate_features
from ml_platform.forecasting.grams import faded, solve, solve_series
from ml_platform.forecasting.levels import History, responses

NAME = "ridge"
STEPS = 128  # whose rows are made at once
RECENT = 0.75  # share of the recent mean in the level, the rest is the mean of all steps
CONSTANT = 1e-9  # of a column's mean square: with less variance it is the same all the time


def width(plan: Plan, shard: Shard) -> int:
    """Number of slopes."""
    return calendar_width(plan) + 2 * int(shard.known.shape[1])


def features(shard: Shard, plan: Plan, start: int, end: int) -> Floats:
    """Calendar, covariates and whether they are known, of steps [start, end): (S, n, F)."""
    calendar = calendar_features(shard, plan, start, end)
    known = covariate_features(shard, start, end)
    return np.concatenate([np.broadcast_to(calendar, (len(shard), *calendar.shape)), known], axis=2)


@dataclass
class Moments:
    """Products of 1, features and response, summed over the observed steps of S series up to `last` (S,), -1 where there is none.

    gram (S, F + 2, F + 2), or its first row alone (S, 1, F + 2), fades by `decay` with every step between a row and the last one; recent (S, F + 2),
    the products with 1, by `rate`. Rows are added in place.
    """

    gram: Floats
    recent: Floats
    last: Ints
    decay: float
    rate: float

    @classmethod
    def empty(cls, shard: Shard, plan: Plan, decay: float, teaches: bool) -> Self:
        """Without rows; one that does not teach holds the first row of grams alone."""
        size, columns = len(shard), width(plan, shard) + 2
        gram = np.zeros((size, columns if teaches else 1, columns))
        rate = 2.0 / (drift_window(plan.season) + 1.0)
        return cls(gram, np.zeros((size, columns)), np.full(size, -1, dtype=np.int64), decay, rate)

    @classmethod
    def none(cls, size: int) -> Self:
        """Of series that no ridge forecasts."""
        return cls(np.zeros((size, 0, 0)), np.zeros((size, 0)), np.full(size, -1, dtype=np.int64), 0.0, 0.0)

    def add(self, x: Floats, z: Floats, first: int) -> None:
        """Take in features (S, n, F) and responses (S, n), NaN where not observed, of steps of which the first has the number `first`."""
        seen = ~np.isnan(z)
        columns = np.concatenate([np.ones((*z.shape, 1)), x, np.where(seen, z, 0.0)[:, :, None]], axis=2)
        keep, weight, last = faded(seen, first, self.last, self.decay)
        left = columns[:, :, : self.gram.shape[1]] * weight[:, :, None]
        self.gram *= keep[:, None, None]
        self.gram += left.transpose(0, 2, 1) @ columns
        keep, weight, last = faded(seen, first, self.last, self.rate)
        self.recent *= keep[:, None]
        self.recent += (weight[:, None, :] @ columns)[:, 0]
        self.last = last

    def kept(self, origin: int) -> Floats:
        """How much of the products is left at the last step before an origin, (S,), for sums over series."""
        return np.asarray((1.0 - self.decay) ** np.maximum(origin - 1 - self.last, 0))

    def take(self, rows: np.ndarray) -> "Moments":
        """Of some of the series."""
        return Moments(self.gram[rows], self.recent[rows], self.last[rows], self.decay, self.rate)

    def means(self) -> tuple[Floats, Floats]:
        """Means of features and response over all steps and recent ones, (S, F + 1) each; 0 of a series without any."""
        slow, recent = (one[:, 1:] / np.maximum(one[:, :1], 1e-300) for one in (self.gram[:, 0], self.recent))
        return slow, recent

    def centred(self) -> Floats:
        """Products of deviations of features and response from their means, (S, F + 1, F + 1); a constant column has none."""
        total = self.gram[:, :1, 1:]
        out = self.gram[:, 1:, 1:] - total.transpose(0, 2, 1) @ total / np.maximum(self.gram[:, :1, :1], 1e-300)
        place = np.arange(out.shape[1])
        moves = out[:, place, place] > CONSTANT * self.gram[:, place + 1, place + 1]
        return np.asarray(out * moves[:, :, None] * moves[:, None, :])

    def scale(self, kind: str) -> Floats:
        """What slopes are relative to (S,): the root of the mean square of real values, the mean of counts, 1 in logs; 0 where all values are."""
        if kind == "positive":
            return np.ones(len(self.gram))
        cells = np.maximum(self.gram[:, 0, 0], 1e-300)
        teaches = self.gram.shape[1] > 1
        mean = np.abs(self.gram[:, 0, -1]) / cells
        return np.sqrt(np.maximum(self.gram[:, -1, -1], 0.0) / cells) if kind == "real" and teaches else mean

    def relative(self, kind: str) -> tuple[Floats, Floats]:
        """Centred products of responses relative to their scale, and how much all rows weigh (S,): counts vary with their mean."""
        scale, gram = self.scale(kind), self.centred()
        safe = np.where(scale > 0, scale, 1.0)
        gram[:, :, -1] /= safe[:, None]
        gram[:, -1, :] /= safe[:, None]
        weight = np.ones_like(scale) if kind == "positive" else scale
        return gram * weight[:, None, None], weight * self.gram[:, 0, 0]

    def slopes(self, prior: Floats, prior_gram: Floats, strength: Floats, kind: str) -> Floats:
        """Slopes (S, F) in the units of the series, drawn by `strength` (S,) units of weight to prior ones (S, F), which are relative."""
        return solve_series(self.relative(kind)[0], prior, prior_gram, strength) * self.scale(kind)[:, None]

    def level(self, slopes: Floats, otherwise: Floats) -> Floats:
        """Where a series stands without its features, (S,), given slopes (S, F) in its own units; `otherwise` (S,) where it has no row."""
        slow, recent = (_rest(sums, slopes) for sums in (self.gram[:, 0], self.recent))
        return np.where(self.last < 0, otherwise, slow + RECENT * (recent - slow))


def _rest(sums: Floats, slopes: Floats) -> Floats:
    """Mean of the response without what slopes explain, (S,), from sums (S, F + 2)."""
    rest = sums[:, -1] - (sums[:, 1:-1] * slopes).sum(axis=1)
    return np.asarray(rest / np.maximum(sums[:, 0], 1e-300))


def walk(history: History, plan: Plan, log: bool, moments: Moments, origins: Sequence[int]) -> Iterator[Moments]:
    """Walk the rows of a whole history from old to new; yields, at each of the ascending origins, the moments of the rows before it."""
    z, at = responses(history, log), 0
    for origin in origins:
        while at < origin:
            end = min(at + STEPS, origin)
            moments.add(features(history.shard, plan, at, end), z[:, at:end], at)
            at = end
        yield moments


def later(moments: Moments, history: History, plan: Plan, log: bool, number: int) -> Moments:
    """The moments after the last step of a history, which has this number among all steps."""
    steps, following = history.shard.steps, deepcopy(moments)
    following.add(features(history.shard, plan, steps - 1, steps), responses(history, log, steps - 1), number)
    return following


def solve_prior(gram: Floats, weight: Floats, strength: float) -> tuple[Floats, Floats]:
    """Slopes of segments (G, F), and what says so per unit of weight (G, F, F), from relative products (G, F + 1, F + 1).

    `strength` units of weight say that nothing matters.
    """
    place = np.arange(gram.shape[1] - 1)
    joined = gram.copy()
    joined[:, place, place] += strength * gram[:, place, place] / np.maximum(weight, 1e-300)[:, None]
    return solve(joined), joined[:, :-1, :-1] / (weight + strength)[:, None, None]


def forecast(x: Floats, slopes: Floats, level: Floats) -> Floats:
    """Responses (S, H) to features (S, H, F)."""
    return np.asarray(level[:, None] + (x @ slopes[:, :, None])[:, :, 0])
