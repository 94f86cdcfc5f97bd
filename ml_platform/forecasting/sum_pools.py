"""Pools of sums: what training learns of the sums of a fleet and leaves with it, level by level.

Belongs here: how far sums of past forecasts were off, models of sums for those that are reconciled, both as pools. Does not belong here:
forecasts of sums (sum_forecasts), the equations of agreement (hierarchy).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.backtest import difference_scale
from ml_platform.forecasting.bounds import quantile_levels
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.fleet import KINDS, POOL_SCHEMA, ROWS_SCHEMA, Fleet, pool_table, significant, step_items
from ml_platform.forecasting.intervals import Residuals, level_class, mean_level, measure
from ml_platform.forecasting.pipeline import Trained, residuals, train
from ml_platform.forecasting.pools import Kind, Setup
from ml_platform.forecasting.sparse import grains
from ml_platform.forecasting.sums import Sums, summed

PREFIX, ROWS = "sums", "rows"
SERIES_VARIANCE, VARIANCE = f"{PREFIX}/series", ("variance",)
LEAST_VARIANCE = 1e-6  # of the usual one: a series that was never off is not certain


@dataclass(frozen=True)
class SumHistory:
    """Sums of a level with their past: total (G, T), where what is unknown of a series counts as nothing, and as series where they are forecast themselves."""

    sums: Sums
    total: Floats
    shard: Shard | None

    @classmethod
    def of(cls, sums: Sums, shard: Shard, config: ForecastConfig) -> "SumHistory":
        """From the history of the series."""
        return cls(sums, sums.add(shard.y), summed(shard, sums) if config.reconcile == "mint" else None)


@dataclass(frozen=True)
class PastForecasts:
    """What the judged series of a fleet, by id (N,), said and held at past origins (N, J, H); NaN where not observed or not begun."""

    series_id: np.ndarray
    mean: Floats
    actual: Floats

    @classmethod
    def of(cls, trained: Sequence[Trained]) -> "PastForecasts":
        """Of all cohorts, in the order of ids, so that sums do not depend on how series were dealt out."""
        told = [residuals(one.parts, one.means, one.cohort.setup.plan.interval, one.cohort.setup) for one in trained]
        said = [one.mean * own.spreads.mean[one.segment][:, None, None] for one, own in zip(told, trained, strict=True)]
        most = max(one.shape[1] for one in said)
        mean, actual = [_padded(one, most) for one in said], [_padded(one.actual, most) for one in told]
        ids = np.concatenate([part.series_id[part.backtest.rows] for one in trained for part in one.parts])
        order = np.argsort(ids.astype(np.str_), kind="stable")
        return cls(ids[order], np.concatenate(mean)[order], np.concatenate(actual)[order])

    def variance(self, series_id: np.ndarray) -> Floats:
        """Mean squared error of each of some series (S,); those that were not judged are as good as the others on average."""
        seen = ~np.isnan(self.actual)
        squares = np.where(seen, (self.mean - np.nan_to_num(self.actual)) ** 2, 0.0).sum(axis=(1, 2))
        own = squares / np.maximum(seen.sum(axis=(1, 2)), 1)
        usual = max(float(own.mean()) if len(own) else 0.0, 1e-9)
        place = pd.Index(self.series_id).get_indexer(pd.Index(series_id))
        return np.where(place >= 0, np.maximum(np.append(own, usual)[place], LEAST_VARIANCE * usual), usual)

    def places(self, series_id: np.ndarray) -> Ints:
        """Places of the judged series among others (N,)."""
        return pd.Index(series_id).get_indexer(pd.Index(self.series_id)).astype(np.int64)


def sum_pools(
    histories: Sequence[SumHistory],
    trained: Sequence[Trained],
    series_id: np.ndarray,
    config: ForecastConfig,
    judging: bool = False,
) -> dict[str, pa.Table]:
    """Pools of the sums of a fleet of these series (S,), by name; `judging`: the newest fold teaches models of sums nothing, either."""
    pools: dict[str, pa.Table] = {}
    if not histories:
        return pools
    past = PastForecasts.of(trained)
    longest = max((one.cohort.setup for one in trained), key=lambda one: len(one.plan.interval))
    setup = replace(longest, segments=1, kind=_kind(trained))
    for one in histories:
        pools |= _spreads(one, past, past.places(series_id), setup)
        if one.shard is not None:
            pools |= _models(one.sums, one.shard, own_config(config), judging)
    if config.reconcile == "mint":
        pools[SERIES_VARIANCE] = _table(past.variance(series_id)[:, None], tuple(series_id), VARIANCE)
    return pools


def pool_name(level: str, part: str) -> str:
    """Name of a pool of the sums of a level."""
    return f"{PREFIX}/{level}/{part}"


def own_items(config: ForecastConfig) -> dict[str, tuple[str, ...]]:
    """What the pool `spread` holds of each sum: quantiles as of series, probabilities of the bounds of sparse sums, point, spread."""
    places = range(len(quantile_levels(config)))
    lists = {name: tuple(f"{name}:{place}" for place in places) for name in ("quantile", "level")}
    return lists | {name: (name,) for name in ("point", "spread")}


def own_config(config: ForecastConfig) -> ForecastConfig:
    """How sums are forecast from their own histories: with the default families and what the calendar says."""
    plain = {"known_future": (), "static": (), "segments": (), "families": "default", "min_active_days": 1}
    return config.model_copy(update={**plain, "sums": (), "reconcile": "bottom_up"})


def own_fleet(fleet: Fleet, level: str) -> Fleet:
    """The models of the sums of a level, which are in the pools of their fleet."""
    start = pool_name(level, "own/")
    pools = {name.removeprefix(start): table for name, table in fleet.pools.items() if name.startswith(start)}
    rows = pools.pop(ROWS).sort_by("value")["item"].to_pylist()
    return Fleet(pa.Table.from_pylist([json.loads(row) for row in rows], ROWS_SCHEMA), pools, own_config(fleet.config))


def _padded(values: Floats, origins: int) -> Floats:
    """Values (N, E, H) at so many origins, NaN at those older than E."""
    return np.pad(values, ((0, 0), (origins - values.shape[1], 0), (0, 0)), constant_values=np.nan)


def _kind(trained: Sequence[Trained]) -> Kind:
    return "real" if any(one.cohort.setup.kind == "real" for one in trained) else "counts"


def _spreads(history: SumHistory, past: PastForecasts, places: Ints, setup: Setup) -> dict[str, pa.Table]:
    """How sums of past forecasts were off, by sum, and the factor of each step."""
    judged, total = history.sums.take(places), history.total
    seen = ~np.isnan(past.actual)
    there = judged.add(seen.astype(float)) > 0
    said, truth = judged.add(np.where(seen, past.mean, 0.0)), np.where(there, judged.add(past.actual), np.nan)
    scale = difference_scale(total, [total.shape[1]])[:, 0]
    grain = grains(total) if setup.kind == "counts" else np.zeros(len(total))
    told = Residuals(said, truth, scale, grain, np.zeros(len(total), dtype=np.int64))
    found, items = measure(told, setup), own_items(setup.config)
    classes = level_class(mean_level(said, truth), found.edges[told.segment])
    clumped = np.where(grain > 0, found.spread, found.group_spread[0][classes])  # others may be sparse one day
    own = np.concatenate([found.series, found.levels[0][classes], found.point[:, None], clumped[:, None]], axis=1)
    steps = np.concatenate([[KINDS.index(setup.kind)], found.steps[0]])
    names, level = ("kind", *step_items(setup.plan.horizon)), history.sums.name
    return {
        pool_name(level, "spread"): _table(
            own, history.sums.labels, tuple(one for part in items.values() for one in part)
        ),
        pool_name(level, "steps"): _table(steps[None], ("all",), names),
    }


def _models(sums: Sums, shard: Shard, config: ForecastConfig, judging: bool) -> dict[str, pa.Table]:
    """Models of sums from their own histories, and how far they were off."""
    fleet, trained = train(shard, config, judging)
    pools: Mapping[str, pa.Table] = {**fleet.pools, ROWS: _row_table(fleet)}
    variance = PastForecasts.of(trained).variance(shard.series_id)
    out = {pool_name(sums.name, f"own/{name}"): table for name, table in pools.items()}
    return out | {pool_name(sums.name, "variance"): _table(variance[:, None], sums.labels, VARIANCE)}


def _row_table(fleet: Fleet) -> pa.Table:
    rows = fleet.rows.to_pylist()
    texts = [json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows]
    columns = [[row["series_id"] for row in rows], texts, [float(place) for place in range(len(rows))]]
    return pa.table([pa.array(one, field.type) for one, field in zip(columns, POOL_SCHEMA, strict=True)], POOL_SCHEMA)


def _table(values: Floats, labels: tuple[str, ...], items: tuple[str, ...]) -> pa.Table:
    return pool_table(significant(values), labels, items)
