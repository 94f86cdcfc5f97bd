"""Lags: one small regression per series on its own past, calendar and known-future covariates, drawn to its segment's.

Belongs here: features of a block of steps, their Gram matrices. Does not belong here: regressions without lags (ridge), when to fit (pools, backtest).
"""

from collections.abc import Iterator

import numpy as np

from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import Floats, Plan, window
from ml_platform.forecasting.features import calendar_features, calendar_width, covariate_features
from ml_platform.forecasting.grams import Block, Grams, solve
from ml_platform.forecasting.levels import LEVELS, History, LevelTable, seasonal_naive

NAME = "ridge_lags"


class LagData:
    """Everything that features need: history, covariates, calendar.

    Rows that teach lie in blocks of a horizon that ended with the history when the fleet was trained: one more step adds one row.
    """

    def __init__(self, history: History, plan: Plan, log: bool) -> None:
        self.history, self.plan, self.log = history, plan, log

    def width(self) -> int:
        """Number of features."""
        return feature_width(self.plan, self.history.shard)

    def block_of(self, step: int) -> int:
        """First step of the block that teaches from a step."""
        begin, length = self.plan.begin, self.plan.horizon
        return begin + (step - begin) // length * length

    def block_after(self, step: int) -> int:
        """First step of the next block."""
        return self.block_of(step) + self.plan.horizon

    def block(self, back: int, levels: Floats) -> Block:
        """The block of `horizon` steps after the origin `back` horizons before the end; levels (S, L) of that origin."""
        return self.rows(self.plan.origin(back), levels, 0, self.plan.horizon)

    def rows(self, origin: int, levels: Floats, start: int, end: int) -> Block:
        """Steps [start, end) after an origin, with a response where they are not in the future; levels (S, L) of that origin."""
        scale = np.nan_to_num(levels[:, LEVELS.index("mean_182")])
        usable = scale > 0 if not self.history.gap or self.log else np.abs(scale) > 0
        safe = np.where(usable, np.abs(scale), 1.0)
        parts = [
            self._lags(origin, levels, safe, (start, end)),
            self._calendar(origin + start, end - start),
            covariate_features(self.history.shard, origin + start, origin + end),
        ]
        steps = slice(origin + start, origin + end)
        past = origin + end <= self.plan.steps
        z = self._response(self.history.y[:, steps], safe) if past else np.zeros((len(safe), 0))
        settled = usable & (self.history.counts[:, origin] >= self.plan.settled)
        weight = settled[:, None] * (1.0 if self.log else safe[:, None])
        rows = np.asarray(self.history.seen[:, steps] * weight) if past else z
        return Block(np.concatenate(parts, axis=2) * usable[:, None, None], safe, z, rows)

    def _response(self, y: Floats, scale: Floats) -> Floats:
        ratio = y / scale[:, None]
        return np.log(np.maximum(ratio, 0.02)) if self.log else ratio

    def _lags(self, origin: int, levels: Floats, scale: Floats, steps: tuple[int, int]) -> Floats:
        """Constant, short levels and the same season position, all relative to the long level: (S, n, 6)."""
        season, history, (start, end) = self.plan.season, self.history, steps
        total, count = history.between(max(0, origin - window(1, season)), origin)
        mean = np.divide(total, count, out=levels[:, 0].copy(), where=count > 0)
        last = before = np.broadcast_to(mean[:, None], (len(mean), end - start))
        if self.plan.seasonal:
            last = seasonal_naive(history, origin, end, season, mean, start)
            before = seasonal_naive(history, max(0, origin - season), end, season, mean, start)
        columns = [levels[:, LEVELS.index("ses_05")], levels[:, LEVELS.index("ses_20")], mean]
        ratio = np.nan_to_num(self._response(np.stack(columns, axis=1), scale) - (0.0 if self.log else 1.0))
        base = self._response(mean[:, None], scale)
        out = np.ones((len(scale), end - start, 6))
        out[:, :, 1:4] = ratio[:, None]
        out[:, :, 4] = np.nan_to_num(self._response(last, scale) - base)
        out[:, :, 5] = np.nan_to_num(self._response(before, scale) - base)
        return out

    def _calendar(self, step: int, size: int) -> Floats:
        features = calendar_features(self.history.shard, self.plan, step, step + size)
        return np.broadcast_to(features, (len(self.history.y), *features.shape))


def feature_width(plan: Plan, shard: Shard) -> int:
    """Number of features."""
    return 6 + calendar_width(plan) + 2 * shard.width


def running_grams(data: LagData, levels: LevelTable, decay: float) -> Iterator[tuple[int, Grams]]:
    """Walk the rows from old to new; yields every refit (`back`) with the grams of the rows before its origin.

    levels: at the origins of training_origins. The same Grams go on from refit to refit.
    """
    grams, at = Grams.empty(len(data.history.y), data.width(), decay), data.plan.begin
    for back in data.plan.refit:
        origin = data.plan.origin(back)
        while at < origin:
            first, end = data.block_of(at), min(data.block_after(at), origin)
            grams.add(data.rows(first, levels.at(first), at - first, end - first), at)
            at = end
        yield back, grams


def training_origins(plan: Plan) -> tuple[int, ...]:
    """First steps of all blocks with rows."""
    return (plan.begin, *range(plan.begin + plan.horizon, plan.steps, plan.horizon))


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


def respond(x: Floats, coefficients: Floats, scale: Floats, log: bool) -> Floats:
    """Forecasts (S, H) of a block's features in the units of the series."""
    z = (x @ coefficients[:, :, None])[:, :, 0]
    return scale[:, None] * (np.exp(np.minimum(z, 6.0)) if log else z)
