"""Ridge: one small regression per series on lags, calendar and known-future covariates, drawn to its segment's.

Belongs here: features of a block of steps, their Gram matrices, batched solves. Does not belong here: when to fit (pools, backtest).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ml_platform.forecasting.calendar import Floats, Ints, Plan, window
from ml_platform.forecasting.levels import LEVELS, History, seasonal_naive

LONG_DUMMIES = 31  # longer seasons are described by harmonics
HARMONICS = 2
JITTER = 1e-6


@dataclass(frozen=True)
class Block:
    """Features x (S, H, F), scale (S,) of the series at the origin, response z (S, H) and its row weights (S, H)."""

    x: Floats
    scale: Floats
    z: Floats
    rows: Floats


class RidgeData:
    """Everything a block's features need: history, levels at every block origin (S, B, L), covariates, calendar."""

    def __init__(self, history: History, plan: Plan, log: bool) -> None:
        self.history, self.plan, self.log = history, plan, log
        self.known = history.shard.known

    def width(self) -> int:
        """Number of features."""
        return 6 + calendar_width(self.plan) + 2 * int(self.known.shape[1])

    def block(self, back: int, levels: Floats) -> Block:
        """The block of `horizon` steps after the origin `back` horizons before the end; levels (S, L) of that origin."""
        plan, origin = self.plan, self.plan.origin(back)
        scale = np.nan_to_num(levels[:, LEVELS.index("mean_182")])
        usable = scale > 0 if not self.history.gap or self.log else np.abs(scale) > 0
        safe = np.where(usable, np.abs(scale), 1.0)
        x = np.concatenate([self._lags(origin, levels, safe), self._calendar(origin), self._covariates(origin)], axis=2)
        z: Floats = np.zeros((len(safe), 0))
        rows: Floats = z
        if back > 0:
            steps = slice(origin, origin + plan.horizon)
            z = self._response(self.history.y[:, steps], safe)
            rows = np.asarray((self.history.seen[:, steps] & usable[:, None]) * (1.0 if self.log else safe[:, None]))
        return Block(x * usable[:, None, None], safe, z, rows)

    def _response(self, y: Floats, scale: Floats) -> Floats:
        ratio = y / scale[:, None]
        return np.log(np.maximum(ratio, 0.02)) if self.log else ratio

    def _lags(self, origin: int, levels: Floats, scale: Floats) -> Floats:
        """Constant, short levels and the same season position, all relative to the long level: (S, H, 6)."""
        plan, history = self.plan, self.history
        start = max(0, origin - window(1, plan.season))
        total, count = history.between(start, origin)
        mean = np.divide(total, count, out=levels[:, 0].copy(), where=count > 0)
        last = seasonal_naive(history, origin, plan.horizon, plan.season, mean)
        before = seasonal_naive(history, max(0, origin - plan.season), plan.horizon, plan.season, mean)
        columns = [levels[:, LEVELS.index("ses_05")], levels[:, LEVELS.index("ses_20")], mean]
        ratio = np.nan_to_num(self._response(np.stack(columns, axis=1), scale) - (0.0 if self.log else 1.0))
        shape = (len(scale), plan.horizon, 3)
        base = self._response(mean[:, None], scale)
        seasonal = np.stack([self._response(last, scale) - base, self._response(before, scale) - base], axis=2)
        return np.concatenate(
            [np.ones((*shape[:2], 1)), np.broadcast_to(ratio[:, None, :], shape), np.nan_to_num(seasonal)], axis=2
        )

    def _calendar(self, origin: int) -> Floats:
        plan = self.plan
        position = (self.history.shard.position + origin + np.arange(plan.horizon)) % plan.season
        features = calendar_features(position, plan)
        return np.broadcast_to(features, (len(self.history.y), *features.shape))

    def _covariates(self, origin: int) -> Floats:
        """Values (0 where unknown) and whether they are known: (S, H, 2 K)."""
        values = self.known[:, :, origin : origin + self.plan.horizon].transpose(0, 2, 1)
        there = ~np.isnan(values)
        return np.concatenate([np.where(there, values, 0.0), there.astype(float)], axis=2)


def calendar_width(plan: Plan) -> int:
    """Number of calendar features."""
    if plan.season <= LONG_DUMMIES:
        return plan.season - 1
    return 2 * HARMONICS if plan.harmonics else 0


def calendar_features(position: Ints, plan: Plan) -> Floats:
    """Centred dummies of the season position, or harmonics of a long season: (H, width)."""
    season = plan.season
    if season <= LONG_DUMMIES:
        return np.asarray((position[:, None] == np.arange(season - 1)).astype(float) - 1.0 / season)
    if not calendar_width(plan):
        return np.zeros((len(position), 0))
    angle = 2 * np.pi * position[:, None] * np.arange(1, HARMONICS + 1) / season
    return np.concatenate([np.sin(angle), np.cos(angle)], axis=1)


def running_grams(data: RidgeData, levels: Floats, decay: float) -> Iterator[tuple[int, Block, Floats, Floats]]:
    """Walk the blocks from old to new; yields (back, block, gram of all older rows (S, F + 1, F + 1), row weights (S,)).

    levels (S, blocks, L) belong to the plan's blocks. The last column of a gram belongs to the response.
    """
    size, width = len(data.history.y), data.width()
    gram, weight = np.zeros((size, width + 1, width + 1)), np.zeros(size)
    keep = (1.0 - decay) ** data.plan.horizon
    for back in range(data.plan.train, -1, -1):
        block = data.block(back, levels[:, data.plan.blocks.index(back)])
        yield back, block, gram, weight
        if back > 0:
            both = np.concatenate([block.x, block.z[:, :, None]], axis=2)
            weighted = both * block.rows[:, :, None]
            gram *= keep
            gram += weighted.transpose(0, 2, 1) @ both
            weight *= keep
            weight += block.rows.sum(axis=1)


def solve_prior(gram: Floats, weight: Floats, strength: float, level: float) -> tuple[Floats, Floats]:
    """Segment coefficients (G, F), drawn to the long level alone, and each segment's gram per unit of weight (G, F, F).

    `level` is the response of a series that stays at its long level; `strength` units of weight say that nothing else matters.
    """
    place, start = np.arange(gram.shape[1] - 1), np.zeros(gram.shape[1] - 1)
    start[0] = level
    spread = np.maximum(gram[:, place, place], 1e-12) / np.maximum(weight, 1e-12)[:, None]
    joined = gram.copy()
    joined[:, place, place] += strength * spread
    joined[:, :-1, -1] += strength * spread * start
    return solve(joined), joined[:, :-1, :-1] / (weight + strength)[:, None, None]


def solve(gram: Floats) -> Floats:
    """Ridge coefficients (N, F) of bordered grams (N, F + 1, F + 1); a tiny ridge keeps constant columns harmless."""
    inner = gram[:, :-1, :-1].copy()
    place = np.arange(inner.shape[1])
    diagonal = inner[:, place, place]
    inner[:, place, place] = (
        diagonal * (1 + JITTER) + JITTER * np.maximum(diagonal.max(axis=1, initial=0.0), 1e-9)[:, None]
    )
    return np.asarray(np.linalg.solve(inner, gram[:, :-1, -1:])[:, :, 0])


def solve_series(gram: Floats, prior: Floats, prior_gram: Floats, strength: Floats) -> Floats:
    """Coefficients per series (S, F): own rows plus `strength` (S,) units of rows that say what the segment says."""
    extra = strength[:, None, None] * prior_gram
    joined = gram.copy()
    joined[:, :-1, :-1] += extra
    joined[:, :-1, -1] += (extra @ prior[:, :, None])[:, :, 0]
    return solve(joined)


def respond(x: Floats, coefficients: Floats, scale: Floats, log: bool) -> Floats:
    """Forecasts (S, H) of a block's features in the units of the series."""
    z = (x @ coefficients[:, :, None])[:, :, 0]
    return scale[:, None] * (np.exp(np.minimum(z, 6.0)) if log else z)
