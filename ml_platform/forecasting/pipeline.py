"""The passes in order: pools, backtest, selection, intervals, fleet.

Belongs here: how the passes join, for one process or many. Does not belong here: tables people read (api, training).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from ml_platform.forecasting import boosted
from ml_platform.forecasting.adapted import FAILED, rows_of
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.backtest import Backtest, fit_shard
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.cohorts import Cohort, cohorts
from ml_platform.forecasting.config import FLOORS, ForecastConfig
from ml_platform.forecasting.fleet import (
    KINDS,
    META,
    ROWS_SCHEMA,
    Fleet,
    Recipe,
    class_items,
    parameter_rows,
    pool_table,
    quantile_items,
    step_items,
    text_table,
    triangle_items,
)
from ml_platform.forecasting.grams import upper_triangle
from ml_platform.forecasting.incumbent import Incumbent
from ml_platform.forecasting.intervals import CLASSES, Residuals, Spreads, measure
from ml_platform.forecasting.levels import LEVELS, History, plain_floor
from ml_platform.forecasting.pools import (
    Pools,
    Setup,
    combine_pools,
    derive_pools,
    lessons,
    pool_sums,
    taught,
)
from ml_platform.forecasting.selection import Selection, blend, error_products, select

MIN_FOLDS = 3


@dataclass(frozen=True)
class Part:
    """One shard's identity and its backtest, with error products (see error_products) and, where a fold judges, floors (N, H, 5)."""

    series_id: np.ndarray
    segment: Ints
    weight: Floats
    backtest: Backtest
    products: Floats
    floors: Floats


@dataclass(frozen=True)
class Trained:
    """A trained cohort: its parts, its models as a fleet, how they were selected, and the blend's forecasts (N, E, H) of the judged series of each part."""

    cohort: Cohort
    parts: tuple[Part, ...]
    fleet: Fleet
    selection: Selection
    spreads: Spreads
    means: tuple[Floats, ...]


def fit_part(shard: Shard, pools: Pools, setup: Setup) -> Part:
    """Pass two over one shard or chunk."""
    backtest = fit_shard(shard, pools, setup)
    products, floors = error_products(backtest, setup), _judged_floors(shard.take(backtest.rows), setup)
    return Part(shard.series_id, shard.segment, shard.weight, backtest, products, floors)


def _judged_floors(shard: Shard, setup: Setup) -> Floats:
    """The gate's naive floors on the judging fold, (N, H, floors); no floors where no fold judges."""
    plan = setup.plan
    if not plan.judging:
        return np.zeros((len(shard), plan.horizon, 0))
    history, origin = History.of(shard, setup.config.missing), plan.origin(plan.judging)
    return np.stack([plain_floor(history, name, origin, plan.horizon, plan.season) for name in FLOORS], axis=2)


def train(shard: Shard, config: ForecastConfig, judging: bool = False) -> tuple[Fleet, list[Trained]]:
    """Both passes over a whole fleet in one process, cohort by cohort and chunk by chunk."""
    found = cohorts(list(shard.chunks()), config, judging)
    trained = [_train(shard if len(found) == 1 else shard.take(cohort.of(shard)), cohort) for cohort in found]
    return assembled(trained, config), trained


def _train(shard: Shard, cohort: Cohort) -> Trained:
    chunks, setup = list(shard.chunks()), cohort.setup
    pools = derive_pools(combine_pools([pool_sums(chunk, setup) for chunk in chunks]), setup)
    if setup.with_trees:
        pools = taught(pools, [lessons(chunk, setup) for chunk in chunks], setup)
    parts = [fit_part(chunk, pools, setup) for chunk in chunks]
    return finish(parts, pools, cohort, shard.segments, shard.position)


def finish(
    parts: Sequence[Part],
    pools: Pools,
    cohort: Cohort,
    segments: tuple[str, ...],
    position: int,
    incumbent: Incumbent | None = None,
    keep: bool = False,
) -> Trained:
    """After pass two of all shards of a cohort: choose, measure the residuals, write its models.

    The choice of the `incumbent` stands where no other is better beyond noise, and everywhere with `keep`.
    """
    setup, plan = cohort.setup, cohort.setup.plan
    segment = np.concatenate([part.segment[part.backtest.rows] for part in parts])
    products = np.concatenate([part.products for part in parts])
    older = [*plan.choosing[:1]] * (products.shape[1] - len(plan.choosing))
    weight = np.concatenate([part.weight[part.backtest.rows][:, [*older, *plan.choosing]] for part in parts])
    judged = np.concatenate([part.series_id[part.backtest.rows] for part in parts])
    own_families, named = setup.config.family_names, np.asarray(segments, dtype=object)[segment]
    stands = incumbent.shares(judged, named, segments, own_families) if incumbent else None
    selection = select(products, weight, segment, setup.segments, stands, keep)
    bounds = np.cumsum([0, *(len(part.backtest.rows) for part in parts)])
    own = [selection.series[start:end] for start, end in pairwise(bounds)]
    means = tuple(blend(part.backtest.past, weights, setup.log) for part, weights in zip(parts, own, strict=True))
    spreads = measure(residuals(parts, means, plan.interval, setup), setup)
    rows = _rows(parts, selection, spreads, bounds, setup)
    tables = _pool_tables(pools, selection, spreads, cohort, segments, position)
    return Trained(cohort, tuple(parts), Fleet(rows, tables, setup.config), selection, spreads, means)


def assembled(trained: Sequence[Trained], config: ForecastConfig) -> Fleet:
    """The fleet of all cohorts."""
    names = dict.fromkeys(name for one in trained for name in one.fleet.pools)
    pools = {
        name: pa.concat_tables([one.fleet.pools[name] for one in trained if name in one.fleet.pools]) for name in names
    }
    return Fleet(pa.concat_tables([one.fleet.rows for one in trained]).sort_by("series_id"), pools, config)


def residuals(parts: Sequence[Part], means: Sequence[Floats], backs: Sequence[int], setup: Setup) -> Residuals:
    """What the judged series of all parts said (N, E, H) and held at some origins."""
    places = [setup.plan.evaluated.index(back) for back in backs]
    tests = [part.backtest for part in parts]
    actual = [np.where(one.begun[:, places, None], one.actual[:, places], np.nan) for one in tests]
    return Residuals(
        mean=np.concatenate([mean[:, places] for mean in means]),
        actual=np.concatenate(actual),
        scale=np.concatenate([one.scale[:, places[-1]] if places else np.zeros(len(one.rows)) for one in tests]),
        grain=np.concatenate([one.grain for one in tests]),
        segment=np.concatenate([part.segment[part.backtest.rows] for part in parts]),
    )


def _rows(parts: Sequence[Part], selection: Selection, spreads: Spreads, bounds: Ints, setup: Setup) -> pa.Table:
    tables, measured = [], [setup.plan.evaluated.index(back) for back in setup.plan.interval]
    for part, start, end in zip(parts, bounds[:-1], bounds[1:], strict=True):
        judged = part.backtest.rows
        weights, constants = selection.segment[part.segment], _of_all(part)
        quantiles, point = np.zeros((len(part.segment), spreads.series.shape[1])), np.ones(len(part.segment))
        spread, origins = np.zeros(len(part.segment)), np.zeros(len(part.segment), dtype=np.int64)
        states, reasons = _states(part, setup)
        fitted = states == "fitted"
        weights[judged] = selection.series[start:end]
        quantiles[judged], point[judged] = spreads.series[start:end], spreads.point[start:end]
        spread[judged] = spreads.spread[start:end]
        origins[judged] = part.backtest.begun[:, measured].sum(axis=1)
        weights[~fitted] = selection.segment[part.segment[~fitted]]
        family = np.asarray(setup.config.family_names, dtype=object)[
            np.round(weights, 9).argmax(axis=1)
        ]  # the first of equals
        failed = rows_of(judged, len(part.segment), part.backtest.failed)
        recipe = Recipe(weights, constants, quantiles, point, spread, origins, failed)
        parameters = parameter_rows(recipe, fitted, setup.config.family_names)
        columns = [part.series_id, family, states, reasons, parameters]
        tables.append(pa.table([pa.array(column, pa.string()) for column in columns], ROWS_SCHEMA))
    return pa.concat_tables(tables)


def _of_all(part: Part) -> dict[str, Floats]:
    """Constants of the judged series in the place of all series of a part."""
    out: dict[str, Floats] = {
        name: np.zeros((len(part.segment), own.shape[1])) for name, own in part.backtest.constants.items()
    }
    for name, own in part.backtest.constants.items():
        out[name][part.backtest.rows] = own
    return out


def _states(part: Part, setup: Setup) -> tuple[np.ndarray, np.ndarray]:
    """State and reason of each series: fitted, with an adapter that failed (family_failed) or not, or fallback(too_few_active_days | too_short)."""
    needed = min(MIN_FOLDS, max(1, len(setup.plan.folds)))
    places = [setup.plan.evaluated.index(back) for back in setup.plan.folds]
    states = np.full(len(part.segment), "fallback", dtype=object)
    reasons = np.full(len(part.segment), "too_few_active_days", dtype=object)
    enough = part.backtest.begun[:, places].sum(axis=1) >= needed
    of_fitted = np.asarray([FAILED if words else None for words in part.backtest.failed], dtype=object)
    states[part.backtest.rows] = np.where(enough, "fitted", "fallback")
    reasons[part.backtest.rows] = np.where(enough, of_fitted, "too_short")
    return states, reasons


def _pool_tables(
    pools: Pools, selection: Selection, spreads: Spreads, cohort: Cohort, segments: tuple[str, ...], position: int
) -> dict[str, pa.Table]:
    setup, plan, codes = cohort.setup, cohort.setup.plan, cohort.codes
    profile = np.roll(pools.profile[:, -1], position % plan.season, axis=1)  # from step index to season position
    prior, slopes = pools.prior[:, -1], pools.slopes[:, -1]
    factors = [spreads.mean, spreads.group_point, pools.dispersion[:, -1], pools.mean[:, -1], spreads.typical]
    begin, number = position + plan.begin, codes.min()
    meta = (KINDS.index(setup.kind), plan.longest, begin, plan.settled, len(plan.interval), number)
    arrays: dict[str, tuple[Floats, tuple[str, ...]]] = {
        "profile": (profile, tuple(str(k) for k in range(plan.season))),
        "drift": (pools.drift[:, -1], LEVELS),
        "slopes": (slopes, tuple(str(k) for k in range(slopes.shape[1]))),
        "slope_gram": (upper_triangle(pools.slope_gram[:, -1]), triangle_items(slopes.shape[1])),
        "prior": (prior, tuple(str(k) for k in range(prior.shape[1]))),
        "prior_gram": (upper_triangle(pools.prior_gram[:, -1]), triangle_items(prior.shape[1])),
        "weights": (selection.segment, setup.config.family_names),
        "steps": (spreads.steps, step_items(plan.horizon)),
        "factors": (np.stack(factors, axis=1), ("mean", "point", "dispersion", "level", "typical")),
        "quantiles": (spreads.group, quantile_items(spreads.group.shape[2])),
        "levels": (spreads.levels, quantile_items(spreads.levels.shape[2])),
        "edges": (spreads.edges, class_items(CLASSES - 1)),
        "spread": (spreads.group_spread, class_items(CLASSES)),
        "meta": (np.stack([*np.tile(meta, (len(segments), 1)).T, np.arange(len(segments))], axis=1), META),
    }
    own = tuple(segments[code] for code in codes)
    tables = {name: pool_table(values[codes], own, items) for name, (values, items) in arrays.items()}
    if 0 in pools.models:
        tables[boosted.NAME] = text_table(pools.models[0], own[0])
    return tables
