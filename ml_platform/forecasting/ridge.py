"""Ridge: one small regression per series on calendar and known-future covariates, slopes drawn to its segment's, around a level that moves.

What a covariate is in the whole segment has a slope, too, the segment's: a price that all stores lower works otherwise than one that a single store does.

Belongs here: its rows, what they add up to, slopes, levels, forecasts. Does not belong here: regressions on lags (lags), when to fit (pools, backtest).
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import Floats, Ints, Plan, drift_window
from ml_platform.forecasting.features import calendar_features, calendar_width
from ml_platform.forecasting.grams import DECAY, Fading, solve, solve_series
from ml_platform.forecasting.levels import History, responses

NAME = "ridge"
STEPS = 128  # whose rows are made at once, to stay in a cache
SLOW = 16  # times as long as the recent mean looks back, the slow one does
RECENT = 0.75  # share of the recent mean in the level, the rest is the slow mean
CONSTANT = 1e-9  # of a column's mean square: with less variance it is the same all the time
LEAST = 0.25  # of a count that features leave, whatever slopes say of a mean


def width(plan: Plan, shard: Shard) -> int:
    """Number of slopes."""
    return calendar_width(plan) + 3 * shard.width


def features(shard: Shard, plan: Plan, start: int, end: int) -> Floats:
    """Calendar, covariates (0 where unknown), whether they are known, and their means, of steps [start, end): (S, F, n)."""
    out = np.empty((len(shard), width(plan, shard), end - start))
    _describe(shard, plan, start, out)
    return out


def rows(shard: Shard, plan: Plan, start: int, z: Floats) -> Floats:
    """1, features and response of steps from `start` on with responses z (S, n), (S, F + 2, n); all of them 0 where z is NaN."""
    seen, out = ~np.isnan(z), np.empty((len(shard), width(plan, shard) + 2, z.shape[1]))
    out[:, 0], out[:, -1] = 1.0, np.where(seen, z, 0.0)
    _describe(shard, plan, start, out[:, 1:-1])
    if not seen.all():
        out *= seen[:, None]
    return out


def _describe(shard: Shard, plan: Plan, start: int, out: Floats) -> None:
    end, first = start + out.shape[2], calendar_width(plan)
    calendar, own, known, means = np.split(out, [first, first + shard.width, first + 2 * shard.width], axis=1)
    values, told = np.split(shard.held(start, end), 2, axis=1)
    missing = np.isnan(values)
    calendar[:] = calendar_features(shard, plan, start, end).T
    own[:], known[:] = np.where(missing, 0.0, values), ~missing
    means[:] = np.where(np.isnan(told), 0.0, told)


@dataclass
class Moments:
    """Products of rows, see `rows`, summed over the observed steps of S series up to `last` (S,), -1 where there is none.

    gram (S, F + 2, F + 2), or its first row alone (S, 1, F + 2), fades by `decay` with every step between a row and the last one; moving
    (S, 2, F + 2), the products with 1 twice, by `rates`, a slow and a recent one. Of the last `shared` features slopes are the segment's. Rows are added
    in place.
    """

    gram: Floats
    moving: Floats
    last: Ints
    decay: float
    rates: tuple[float, float]
    shared: int

    @classmethod
    def empty(cls, shard: Shard, plan: Plan, kind: str, teaches: bool) -> Self:
        """Without rows; of one that does not teach the first row of grams may be enough."""
        size, columns, window = len(shard), width(plan, shard) + 2, drift_window(plan.season)
        whole = teaches or kind == "real"
        gram, moving = np.zeros((size, columns if whole else 1, columns)), np.zeros((size, 2, columns))
        recent = (2.0 / (SLOW * window + 1.0), 2.0 / (window + 1.0))
        return cls(gram, moving, np.full(size, -1, dtype=np.int64), DECAY[kind], recent, shard.width)

    @classmethod
    def none(cls, size: int) -> Self:
        """Of series that no ridge forecasts."""
        return cls(
            np.zeros((size, 0, 0)), np.zeros((size, 2, 0)), np.full(size, -1, dtype=np.int64), 0.0, (0.0, 0.0), 0
        )

    def add(self, rows: Floats, first: int) -> None:
        """Take in rows (S, F + 2, n) of steps of which the first has the number `first`."""
        fading = Fading.of(rows[:, 0] > 0, first, self.last, np.asarray([self.decay, *self.rates]))
        left = rows[:, : self.gram.shape[1]]
        if self.decay:
            left = left * fading.weights[0]
        self.gram *= fading.kept[:, :1, None]
        self.gram += left @ rows.transpose(0, 2, 1) * fading.grown[:, :1, None]
        self.moving *= fading.kept[:, 1:, None]
        self.moving += (rows @ fading.weights[1:].T).transpose(0, 2, 1) * fading.grown[:, 1:, None]
        self.last = fading.newest

    def kept(self, origin: int) -> Floats:
        """How much of the products is left at the last step before an origin, (S,), for sums over series."""
        return np.asarray((1.0 - self.decay) ** np.maximum(origin - 1 - self.last, 0))

    def take(self, rows: np.ndarray) -> "Moments":
        """Of some of the series."""
        return replace(self, gram=self.gram[rows], moving=self.moving[rows], last=self.last[rows])

    def means(self) -> tuple[Floats, Floats, Floats]:
        """Means of features and response over all steps, slow and recent ones, (S, F + 1) each; 0 of a series without any."""
        sums = np.stack([self.gram[:, 0], self.moving[:, 0], self.moving[:, 1]])
        usual, slow, recent = sums[:, :, 1:] / np.maximum(sums[:, :, :1], 1e-300)
        return usual, slow, recent

    def centred(self) -> Floats:
        """Products of deviations of features and response from their means, (S, F + 1, F + 1); a constant column has none."""
        total = self.gram[:, :1, 1:]
        out = self.gram[:, 1:, 1:] - total.transpose(0, 2, 1) @ total / np.maximum(self.gram[:, :1, :1], 1e-300)
        place = np.arange(out.shape[1])
        moves = out[:, place, place] > CONSTANT * self.gram[:, place + 1, place + 1]
        return np.asarray(out * moves[:, :, None] * moves[:, None, :])

    def scale(self, kind: str) -> Floats:
        """What slopes are relative to (S,): the root of the mean square of real values, the mean of counts, 1 in logs; 0 where all values are.

        Real values take whole grams.
        """
        if kind == "positive":
            return np.ones(len(self.gram))
        cells = np.maximum(self.gram[:, 0, 0], 1e-300)
        if kind == "real":
            return np.asarray(np.sqrt(np.maximum(self.gram[:, -1, -1], 0.0) / cells))
        return np.asarray(np.abs(self.gram[:, 0, -1]) / cells)

    def relative(self, kind: str) -> tuple[Floats, Floats]:
        """Centred products of responses relative to their scale, and how much all rows weigh (S,): counts vary with their mean."""
        scale, gram = self.scale(kind), self.centred()
        safe = np.where(scale > 0, scale, 1.0)
        gram[:, :, -1] /= safe[:, None]
        gram[:, -1, :] /= safe[:, None]
        weight = np.ones_like(scale) if kind == "positive" else scale
        return gram * weight[:, None, None], weight * self.gram[:, 0, 0]

    def slopes(self, prior: Floats, prior_gram: Floats, strength: Floats, kind: str) -> Floats:
        """Slopes (S, F) relative to the scale of a series, drawn by `strength` (S,) units of weight to prior ones (S, F)."""
        gram, own = self.relative(kind)[0], prior.shape[1] - self.shared
        place = np.append(np.arange(own), -1)
        left = gram[:, place[:, None], place]
        left[:, :-1, -1] -= (gram[:, :own, own:-1] @ prior[:, own:, None])[:, :, 0]
        found = solve_series(left, prior[:, :own], prior_gram[:, :own, :own], strength)
        return np.concatenate([found, prior[:, own:]], axis=1)

    def forecast(self, x: Floats, slopes: Floats, otherwise: Floats, kind: str) -> Floats:
        """Responses (S, H) to features (S, F, H), given relative slopes (S, F); `otherwise` (S,) where a series has no row.

        The level of a series is what slopes leave of its means: of counts they say factors, else differences.
        """
        usual, *means = self.means()
        if kind == "counts":
            centre = _effect(usual[:, :-1, None], slopes)
            factors = (1.0 + _effect(one[:, :-1, None], slopes) - centre for one in means)
            slow, recent = (one[:, -1] / np.maximum(by[:, 0], LEAST) for one, by in zip(means, factors, strict=True))
            level = slow + RECENT * (recent - slow)
            said = level[:, None] * (1.0 + _effect(x, slopes) - centre)
        else:
            own = slopes * self.scale(kind)[:, None]
            slow, recent = (one[:, -1] - _effect(one[:, :-1, None], own)[:, 0] for one in means)
            level = slow + RECENT * (recent - slow)
            said = level[:, None] + _effect(x, own)
        return np.where(self.last[:, None] < 0, otherwise[:, None], said)


def _effect(x: Floats, slopes: Floats) -> Floats:
    """What slopes (S, F) say of features (S, F, n): (S, n)."""
    return np.asarray((slopes[:, None] @ x)[:, 0])


def walk(history: History, plan: Plan, log: bool, moments: Moments, origins: Sequence[int]) -> Iterator[Moments]:
    """Walk the rows of a whole history from old to new; yields, at each of the ascending origins, the moments of the rows before it."""
    z, at = responses(history, log), 0
    for origin in origins:
        while at < origin:
            end = min(at + STEPS, origin)
            moments.add(rows(history.shard, plan, at, z[:, at:end]), at)
            at = end
        yield moments


def later(moments: Moments, history: History, plan: Plan, log: bool, number: int) -> Moments:
    """The moments after the last step of a history, which has this number among all steps."""
    last, following = history.shard.steps - 1, deepcopy(moments)
    following.add(rows(history.shard, plan, last, responses(history, log, last)), number)
    return following


def solve_prior(gram: Floats, weight: Floats, strength: float) -> tuple[Floats, Floats]:
    """Slopes of segments (G, F), and what says so per unit of weight (G, F, F), from relative products (G, F + 1, F + 1).

    `strength` units of weight say that nothing matters.
    """
    place = np.arange(gram.shape[1] - 1)
    joined = gram.copy()
    joined[:, place, place] += strength * gram[:, place, place] / np.maximum(weight, 1e-300)[:, None]
    return solve(joined), joined[:, :-1, :-1] / (weight + strength)[:, None, None]
