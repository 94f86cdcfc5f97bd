"""Pools: what series of a segment share. Pass one sums per shard, the driver adds, pass two reads.

Belongs here: additive segment sums and the profiles, drifts and priors derived from them. Does not belong here: forecasts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal

import numpy as np
import pyarrow as pa

from ml_platform.forecasting import boosted, lags, ridge
from ml_platform.forecasting.arrays import Shard, sum_by
from ml_platform.forecasting.calendar import Floats, Ints, Plan, drift_window
from ml_platform.forecasting.choice import Choice
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.grams import DECAY
from ml_platform.forecasting.lags import LagData, running_grams
from ml_platform.forecasting.levels import History, LevelTable
from ml_platform.forecasting.ridge import Moments

Kind = Literal["counts", "positive", "real"]
PROFILE_VARIANCE = 1 / 12  # how much season profiles differ between the series of a segment, squared
DRIFT_VARIANCE = 1 / 200  # how much a segment's level moves against its long mean, squared
SEGMENT_ROWS = 50.0


@dataclass(frozen=True)
class Setup:
    """What every pass over the series of a cohort agrees on; `kind` is how values behave: counts, positive (modelled in logs) or real.

    The families of `config` are those that run; `choice` says of every family why it does or does not. segments: of the whole fleet.
    cells: observed ones of the cohort.
    """

    config: ForecastConfig
    plan: Plan
    kind: Kind
    segments: int
    choice: tuple[Choice, ...] = ()
    cells: int = 0

    @property
    def log(self) -> bool:
        return self.kind == "positive"

    @property
    def with_ridge(self) -> bool:
        return ridge.NAME in self.config.family_names

    @property
    def with_moments(self) -> bool:
        return self.with_ridge or self.with_trees

    @property
    def with_lags(self) -> bool:
        return lags.NAME in self.config.family_names

    @property
    def with_trees(self) -> bool:
        return boosted.NAME in self.config.family_names


@dataclass(frozen=True)
class PoolSums:
    """Additive sums by segment (G): per step (T), evaluated origin (E), level (L), refit (R) and feature (F + 1)."""

    total: Floats  # (G, T)
    count: Floats  # (G, T)
    level: Floats  # (G, E, L) sums of level x observed steps of the drift window
    spread: Floats  # (G, E) sums of squared deviations from each series' mean
    gram: Floats  # (G, R, F + 1, F + 1) of ridge, relative
    weight: Floats  # (G, R)
    lag_gram: Floats  # (G, R, F + 1, F + 1) of the ridge on lags, which has other features
    lag_weight: Floats  # (G, R)

    def to_table(self) -> pa.Table:
        """One row per array: name, shape, values."""
        arrays = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return pa.table(
            {
                "name": pa.array([name for name, _ in arrays], pa.string()),
                "shape": pa.array([list(array.shape) for _, array in arrays], pa.list_(pa.int64())),
                "values": pa.array([array.ravel() for _, array in arrays], pa.list_(pa.float64())),
            }
        )

    @classmethod
    def from_table(cls, table: pa.Table) -> "PoolSums":
        """Read what to_table wrote."""
        shapes = table["shape"].to_pylist()
        values = table["values"].combine_chunks()
        arrays = [np.asarray(values[row].values).reshape(shape).copy() for row, shape in enumerate(shapes)]
        return cls(**dict(zip(table["name"].to_pylist(), arrays, strict=True)))


def combine_pools(parts: Sequence[PoolSums]) -> PoolSums:
    """Add the sums of shards in the order given."""
    return PoolSums(**{field.name: sum(getattr(part, field.name) for part in parts) for field in fields(PoolSums)})


def usable(shard: Shard, config: ForecastConfig) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Series that are judged and teach the ridge priors: those with enough active dates."""
    return np.asarray(shard.active >= config.min_active_days)


def pool_sums(shard: Shard, setup: Setup) -> PoolSums:
    """Pass one over a shard."""
    plan, groups = setup.plan, setup.segments
    history = History.of(shard, setup.config.missing)
    known = needed_levels(history, setup)
    origins = [plan.origin(back) for back in plan.evaluated]
    levels = np.nan_to_num(np.stack([known.at(origin) for origin in origins], axis=1))
    steps = np.stack([history.between(max(0, o - drift_window(plan.season)), o)[1] for o in origins], axis=1)
    squares = np.cumsum(history.y**2, axis=1)
    spread = np.stack([_spread(history, squares, origin) for origin in origins], axis=1)
    judged = usable(shard, setup.config)
    gram, weight = _moment_sums(shard.take(judged), setup)
    lag_gram, lag_weight = _lag_sums(shard.take(judged), known.take(judged), setup)
    return PoolSums(
        total=sum_by(history.y, shard.segment, groups),
        count=sum_by(history.seen.astype(float), shard.segment, groups),
        level=sum_by(levels * steps[:, :, None], shard.segment, groups),
        spread=sum_by(spread, shard.segment, groups),
        gram=gram,
        weight=weight,
        lag_gram=lag_gram,
        lag_weight=lag_weight,
    )


def _spread(history: History, squares: Floats, origin: int) -> Floats:
    total, count = history.sums[:, origin], history.counts[:, origin]
    return np.maximum(squares[:, origin - 1] - total**2 / np.maximum(count, 1.0), 0.0)


def _moment_sums(shard: Shard, setup: Setup) -> tuple[Floats, Floats]:
    plan, groups = setup.plan, setup.segments
    width = ridge.width(plan, shard) + 1 if setup.with_ridge else 0
    gram, weight = np.zeros((groups, len(plan.refit), width, width)), np.zeros((groups, len(plan.refit)))
    if setup.with_ridge and len(shard):
        begun = Moments.empty(shard, plan, setup.kind, teaches=True)
        history, origins = History.of(shard, setup.config.missing), [plan.origin(back) for back in plan.refit]
        for at, moments in enumerate(ridge.walk(history, plan, setup.log, begun, origins)):
            own, rows = moments.relative(setup.kind)
            kept = moments.kept(origins[at])
            gram[:, at] = sum_by(own * kept[:, None, None], shard.segment, groups)
            weight[:, at] = sum_by(rows * kept, shard.segment, groups)
    return gram, weight


def _lag_sums(shard: Shard, levels: LevelTable, setup: Setup) -> tuple[Floats, Floats]:
    plan, groups = setup.plan, setup.segments
    data = LagData(History.of(shard, setup.config.missing), plan, setup.log)
    width = data.width() + 1 if setup.with_lags else 0
    gram, weight = np.zeros((groups, len(plan.refit), width, width)), np.zeros((groups, len(plan.refit)))
    if setup.with_lags and len(shard):
        for at, (back, grams) in enumerate(running_grams(data, levels, DECAY[setup.kind])):
            own, rows = grams.until(plan.origin(back))
            gram[:, at], weight[:, at] = sum_by(own, shard.segment, groups), sum_by(rows, shard.segment, groups)
    return gram, weight


def lessons(shard: Shard, setup: Setup) -> boosted.Lessons:
    """What a shard teaches the model of all series, in pass one."""
    teachers = boosted.sample(shard.take(usable(shard, setup.config)), setup.cells)
    history = History.of(teachers, setup.config.missing)
    return boosted.lessons(history, setup.plan, setup.kind)


def block_levels(history: History, plan: Plan) -> LevelTable:
    """Levels at the origins of all blocks of a plan: those that teach, and the evaluated ones."""
    return LevelTable.of(history, [plan.origin(back) for back in plan.blocks], plan.season)


def needed_levels(history: History, setup: Setup) -> LevelTable:
    """Levels at the origins of all blocks where rows on levels are made of them, else at the evaluated ones."""
    plan = setup.plan
    if setup.with_lags or setup.config.adapters:
        return block_levels(history, plan)
    return LevelTable.of(history, [plan.origin(back) for back in plan.evaluated], plan.season)


@dataclass(frozen=True)
class Shared:
    """What each of S series gets from its segment at one origin."""

    profile: Floats  # (S, season) by (step index mod season), mean 1
    drift: Floats  # (S, L) factor on each level
    dispersion: Floats  # (S,) variance over mean of a series
    mean: Floats  # (S,) mean of an observed cell


@dataclass(frozen=True)
class Pools:
    """What segments (G) share at evaluated origins (E) and refits (R)."""

    profile: Floats  # (G, E, season)
    drift: Floats  # (G, E, L)
    dispersion: Floats  # (G, E)
    mean: Floats  # (G, E)
    slopes: Floats  # (G, R, F)
    slope_gram: Floats  # (G, R, F, F)
    prior: Floats  # (G, R, F) of the ridge on lags
    prior_gram: Floats  # (G, R, F, F)
    models: Mapping[int, str] = field(default_factory=dict)  # of all series, by refit

    def at(self, e: int, segment: Ints) -> Shared:
        """The pools of evaluated origin `e`, spread over series with these segment codes (S,)."""
        parts = (self.profile, self.drift, self.dispersion, self.mean)
        return Shared(*(part[segment, e] for part in parts))


def taught(pools: Pools, parts: Sequence[boosted.Lessons], setup: Setup) -> Pools:
    """The pools with the models of all series."""
    return replace(pools, models=boosted.teach(boosted.joined(parts), setup.plan, DECAY[setup.kind]))


def derive_pools(sums: PoolSums, setup: Setup) -> Pools:
    """Profiles, drifts and priors from the sums of the whole fleet."""
    plan = setup.plan
    origins = [plan.origin(back) for back in plan.evaluated]
    total, count = np.cumsum(sums.total, axis=1), np.cumsum(sums.count, axis=1)
    at = np.asarray(origins) - 1
    whole, cells = np.maximum(total[:, at], 1e-12), np.maximum(count[:, at], 1.0)
    dispersion = np.where(total[:, at] > 0, np.maximum(sums.spread, 1e-9) / whole, 1.0)
    if setup.kind == "real":
        profile, drift = np.ones((setup.segments, len(origins), plan.season)), np.ones_like(sums.level)
    else:
        profile = np.stack(
            [_profile(sums, origin, plan.season, dispersion[:, e]) for e, origin in enumerate(origins)], axis=1
        )
        drift = _drift(sums, total, origins, plan.season, dispersion)
    priors = (*_slopes(sums), *_lag_priors(sums, setup))
    return Pools(profile, drift, dispersion, total[:, at] / cells, *priors)


def _profile(sums: PoolSums, origin: int, season: int, dispersion: Floats) -> Floats:
    """Season profile of each segment, shrunk to a flat one: (G, season)."""
    place = np.arange(origin) % season
    total = np.stack([sums.total[:, :origin][:, place == k].sum(axis=1) for k in range(season)], axis=1)
    count = np.stack([sums.count[:, :origin][:, place == k].sum(axis=1) for k in range(season)], axis=1)
    return shrunk_profile(total, count, np.ones((1, season)), dispersion / PROFILE_VARIANCE)


def shrunk_profile(total: Floats, count: Floats, parent: Floats, strength: Floats) -> Floats:
    """(total + strength x parent) / (expected + strength), scaled to mean 1; rows are groups or series."""
    mean = total.sum(axis=1, keepdims=True) / np.maximum(count.sum(axis=1, keepdims=True), 1.0)
    weight = np.maximum(strength[:, None], 1e-12)
    ratio = (total + weight * parent) / (mean * count + weight)
    return np.asarray(ratio / np.maximum(ratio.mean(axis=1, keepdims=True), 1e-12))


def _drift(sums: PoolSums, total: Floats, origins: Sequence[int], season: int, dispersion: Floats) -> Floats:
    """How a segment's recent total compares with what its levels say, shrunk to 1: (G, E, L)."""
    padded = np.concatenate([np.zeros((len(total), 1)), total], axis=1)
    ends = np.asarray(origins)
    recent = padded[:, ends] - padded[:, np.maximum(0, ends - drift_window(season))]
    strength = np.maximum(dispersion / DRIFT_VARIANCE, 1e-9)[:, :, None]
    return np.asarray(np.clip((recent[:, :, None] + strength) / (sums.level + strength), 0.5, 2.0))


def _slopes(sums: PoolSums) -> tuple[Floats, Floats]:
    groups, refits, width = sums.gram.shape[:3]
    if not width:
        return np.zeros((groups, refits, 0)), np.zeros((groups, refits, 0, 0))
    return _by_refit([ridge.solve_prior(sums.gram[:, r], sums.weight[:, r], SEGMENT_ROWS) for r in range(refits)])


def _lag_priors(sums: PoolSums, setup: Setup) -> tuple[Floats, Floats]:
    groups, refits, width = sums.lag_gram.shape[:3]
    if not width:
        return np.zeros((groups, refits, 0)), np.zeros((groups, refits, 0, 0))
    level = 0.0 if setup.log else 1.0  # of the long level, which the response is relative to
    told = [(sums.lag_gram[:, r], sums.lag_weight[:, r]) for r in range(refits)]
    return _by_refit([lags.solve_prior(gram, weight, SEGMENT_ROWS, level) for gram, weight in told])


def _by_refit(solved: Sequence[tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    return np.stack([prior for prior, _ in solved], axis=1), np.stack([gram for _, gram in solved], axis=1)
