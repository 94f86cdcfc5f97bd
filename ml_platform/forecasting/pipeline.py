"""The passes in order: pools, backtest, selection, intervals, fleet.

Belongs here: how the passes join, for one process or many. Does not belong here: tables people read (api, training).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from ml_platform.forecasting import boosted
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.backtest import Backtest, fit_shard
from ml_platform.forecasting.calendar import Floats, Ints, plan_folds
from ml_platform.forecasting.choice import Traits, choose
from ml_platform.forecasting.config import FLOORS, ForecastConfig
from ml_platform.forecasting.fleet import (
    KINDS,
    POOL_SCHEMA,
    ROWS_SCHEMA,
    Fleet,
    Recipe,
    parameter_rows,
    pool_table,
    quantile_items,
    step_items,
    text_table,
)
from ml_platform.forecasting.intervals import Spreads, measure
from ml_platform.forecasting.levels import LEVELS, History, plain_floor
from ml_platform.forecasting.pools import (
    Pools,
    Setup,
    cell_counts,
    combine_pools,
    derive_pools,
    fleet_kind,
    lessons,
    pool_sums,
    taught,
)
from ml_platform.forecasting.selection import Selection, blend, error_products, select

CHUNK = 2048  # series whose arrays are worked on at once: bounds memory, changes no result beyond the last digits
MIN_FOLDS = 3


@dataclass(frozen=True)
class Part:
    """One shard's identity and its backtest, with error products (N, folds, F, F) and, where a fold judges, floors (N, H, 5)."""

    series_id: np.ndarray
    segment: Ints
    active: Ints
    weight: Floats
    backtest: Backtest
    products: Floats
    floors: Floats


@dataclass(frozen=True)
class Trained:
    """The fleet, how it was selected, and the blend's forecasts (N, E, H) of the judged series of each part."""

    fleet: Fleet
    selection: Selection
    spreads: Spreads
    means: tuple[Floats, ...]


def make_setup(shards: Sequence[Shard], config: ForecastConfig, judging: bool) -> Setup:
    """What all passes agree on, from all shards of the fleet."""
    observed, positive, negative = np.asarray([cell_counts(shard) for shard in shards]).sum(axis=0).tolist()
    chosen = choose(config, Traits(observed, positive, negative, config.season))
    config = config.model_copy(update={"families": tuple(one.family for one in chosen if one.runs)})
    plan = plan_folds(config, shards[0].steps, judging)
    return Setup(config, plan, fleet_kind(observed, positive, negative), len(shards[0].segments), chosen, observed)


def fit_part(shard: Shard, pools: Pools, setup: Setup) -> Part:
    """Pass two over one shard or chunk."""
    backtest = fit_shard(shard, pools, setup)
    products, floors = error_products(backtest, setup), _judged_floors(shard.take(backtest.rows), setup)
    return Part(shard.series_id, shard.segment, shard.active, shard.weight, backtest, products, floors)


def _judged_floors(shard: Shard, setup: Setup) -> Floats:
    """The gate's naive floors on the judging fold, (N, H, floors); no floors where no fold judges."""
    plan = setup.plan
    if not plan.judging:
        return np.zeros((len(shard), plan.horizon, 0))
    history, origin = History(shard, setup.config.missing), plan.origin(plan.judging)
    return np.stack([plain_floor(history, name, origin, plan.horizon, plan.season) for name in FLOORS], axis=2)


def train(shard: Shard, config: ForecastConfig, judging: bool = False) -> tuple[Trained, list[Part], Setup]:
    """Both passes over a whole fleet in one process, chunk by chunk."""
    chunks = shard.chunks(CHUNK)
    setup = make_setup(chunks, config, judging)
    pools = derive_pools(combine_pools([pool_sums(chunk, setup) for chunk in chunks]), setup)
    if setup.with_trees:
        pools = taught(pools, [lessons(chunk, setup) for chunk in chunks], setup)
    parts = [fit_part(chunk, pools, setup) for chunk in chunks]
    return finish(parts, pools, setup, shard.segments, shard.position), parts, setup


def finish(parts: Sequence[Part], pools: Pools, setup: Setup, segments: tuple[str, ...], position: int) -> Trained:
    """After pass two of all shards: choose, measure the residuals, write the fleet."""
    plan = setup.plan
    segment = np.concatenate([part.segment[part.backtest.rows] for part in parts])
    products = np.concatenate([part.products for part in parts])[:, : len(plan.choosing)]
    weight = np.concatenate([part.weight[part.backtest.rows][:, list(plan.choosing)] for part in parts])
    selection = select(products, weight, segment, setup.segments)
    bounds = np.cumsum([0, *(len(part.backtest.rows) for part in parts)])
    own = [selection.series[start:end] for start, end in pairwise(bounds)]
    means = tuple(blend(part.backtest.past, weights, setup.log) for part, weights in zip(parts, own, strict=True))
    places = [plan.evaluated.index(back) for back in plan.interval]
    spreads = measure(
        np.concatenate([mean[:, places] for mean in means]),
        np.concatenate([part.backtest.actual[:, places] for part in parts]),
        np.concatenate([part.backtest.begun[:, places] for part in parts]),
        np.concatenate([_newest_scale(part, places) for part in parts]),
        segment,
        setup,
    )
    rows = _rows(parts, selection, spreads, bounds, setup)
    tables = _pool_tables(pools, selection, spreads, setup, segments, position)
    return Trained(Fleet(rows, tables, setup.config), selection, spreads, means)


def _newest_scale(part: Part, places: Sequence[int]) -> Floats:
    scale = part.backtest.scale
    return scale[:, places[-1]] if places else np.zeros(len(scale))


def _rows(parts: Sequence[Part], selection: Selection, spreads: Spreads, bounds: Ints, setup: Setup) -> pa.Table:
    tables = []
    for part, start, end in zip(parts, bounds[:-1], bounds[1:], strict=True):
        judged = part.backtest.rows
        weights, constants = selection.segment[part.segment], _of_all(part)
        quantiles, point = np.zeros((len(part.segment), spreads.series.shape[1])), np.ones(len(part.segment))
        states, reasons = _states(part, setup)
        fitted = states == "fitted"
        weights[judged] = selection.series[start:end]
        quantiles[judged], point[judged] = spreads.series[start:end], spreads.point[start:end]
        weights[~fitted] = selection.segment[part.segment[~fitted]]
        family = np.asarray(setup.config.family_names, dtype=object)[weights.argmax(axis=1)]
        parameters = parameter_rows(Recipe(weights, constants, quantiles, point), fitted, setup.config.family_names)
        columns = [part.series_id, family, states, reasons, parameters]
        tables.append(pa.table([pa.array(column, pa.string()) for column in columns], ROWS_SCHEMA))
    return pa.concat_tables(tables)


def _of_all(part: Part) -> dict[str, Floats]:
    """Constants of the judged series in the place of all series of a part."""
    out = {name: np.zeros((len(part.segment), own.shape[1])) for name, own in part.backtest.constants.items()}
    for name, own in part.backtest.constants.items():
        out[name][part.backtest.rows] = own
    return out


def _states(part: Part, setup: Setup) -> tuple[np.ndarray, np.ndarray]:
    """State and reason of each series: fitted, or fallback(too_few_active_days | too_short)."""
    needed = min(MIN_FOLDS, max(1, len(setup.plan.folds)))
    places = [setup.plan.evaluated.index(back) for back in setup.plan.folds]
    states = np.full(len(part.segment), "fallback", dtype=object)
    reasons = np.full(len(part.segment), "too_few_active_days", dtype=object)
    enough = part.backtest.begun[:, places].sum(axis=1) >= needed
    states[part.backtest.rows] = np.where(enough, "fitted", "fallback")
    reasons[part.backtest.rows] = np.where(enough, np.asarray(None, dtype=object), "too_short")
    return states, reasons


def _pool_tables(
    pools: Pools, selection: Selection, spreads: Spreads, setup: Setup, segments: tuple[str, ...], position: int
) -> dict[str, pa.Table]:
    season = setup.plan.season
    profile = np.roll(pools.profile[:, -1], position % season, axis=1)  # from step index to season position
    prior = pools.prior[:, -1]
    factors = [spreads.mean, spreads.group_point, pools.dispersion[:, -1], pools.mean[:, -1]]
    arrays: dict[str, tuple[Floats, tuple[str, ...]]] = {
        "profile": (profile, tuple(str(k) for k in range(season))),
        "drift": (pools.drift[:, -1], LEVELS),
        "prior": (prior, tuple(str(k) for k in range(prior.shape[1]))),
        "weights": (selection.segment, setup.config.family_names),
        "steps": (spreads.steps, step_items(setup.plan.horizon)),
        "factors": (np.stack(factors, axis=1), ("mean", "point", "dispersion", "level")),
        "quantiles": (spreads.group, quantile_items(spreads.group.shape[2])),
    }
    tables = {name: pool_table(values, segments, items) for name, (values, items) in arrays.items()}
    edges = {f"edge_{k}": float(value) for k, value in enumerate(spreads.edges)}
    meta = {"kind": float(KINDS.index(setup.kind)), "harmonics": float(setup.plan.harmonics), **edges}
    empty = [pa.array([""] * len(meta), pa.string()), pa.array(list(meta), pa.string()), pa.array(list(meta.values()))]
    if 0 in pools.models:
        tables[boosted.NAME] = text_table(pools.models[0])
    tables["meta"] = pa.table(empty, POOL_SCHEMA)
    return tables
