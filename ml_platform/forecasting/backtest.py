"""Backtest: what every family would have forecast at past origins.

Belongs here: family forecasts of a shard at one or many origins, their errors. Does not belong here: choosing between families.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ml_platform.forecasting import adapted, boosted, ets, lags, ridge, sparse, theta
from ml_platform.forecasting.adapted import Texts
from ml_platform.forecasting.arrays import Bools, Shard
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.grams import DECAY, solve_series
from ml_platform.forecasting.lags import LagData, respond, running_grams
from ml_platform.forecasting.levels import LEVELS, History, LevelTable, SeasonSums, responses, seasonal_naive, shut
from ml_platform.forecasting.pools import (
    PROFILE_VARIANCE,
    Pools,
    Setup,
    Shared,
    needed_levels,
    shrunk_profile,
    usable,
)
from ml_platform.forecasting.ridge import Moments
from ml_platform.forecasting.walk import Walk

RIDGE_ROWS = {
    "counts": 250.0,
    "real": 100.0,
    "positive": 40.0,
}  # rows that say what the segment says, per unit of noise

WALKS: Mapping[str, Walk] = {"ets": ets, "theta": theta}


@dataclass(frozen=True)
class Backtest:
    """Forecasts of N judged series at E past origins, oldest first.

    rows (N,): places in the shard. past (N, E, H, F); actual (N, E, H), NaN where not observed. begun (N, E): whether
    the series had begun. scale (N, E): see difference_scale. grain (N,): unit of a sparse series, 0 of others. constants (N, C): what
    families fitted to each series, by name, as it is at the end. failed (N,): which adapters failed, '' where none did.
    """

    rows: Ints
    past: Floats
    actual: Floats
    begun: Bools
    scale: Floats
    grain: Floats
    constants: Mapping[str, Floats]
    failed: Texts


def fit_shard(shard: Shard, pools: Pools, setup: Setup) -> Backtest:
    """Pass two over a shard: every family at every evaluated past origin, and the newest ridge coefficients."""
    plan, rows = setup.plan, np.flatnonzero(usable(shard, setup.config))
    judged = shard.take(rows)
    history = History.of(judged, setup.config.missing)
    origins = [plan.origin(back) for back in plan.evaluated[:-1]]
    past = np.zeros((len(rows), len(origins), plan.horizon, len(setup.config.family_names)))
    actual = np.zeros(past.shape[:3])
    levels = needed_levels(history, setup)
    seasons = SeasonSums(history, plan.season)
    for e, origin in enumerate(origins):
        shared = pools.at(e, judged.segment)
        past[:, e] = family_forecasts(history, seasons.at(origin), levels.at(origin), shared, origin, setup)
        actual[:, e] = judged.y[:, origin : origin + plan.horizon]
    constants = {name: _walk(name, history, setup, past) for name in WALKS if name in setup.config.family_names}
    if setup.with_moments:
        slopes = _regressed(history, pools, setup, past)
        constants |= {ridge.NAME: slopes} if setup.with_ridge else {}
    if setup.with_lags:
        constants[lags.NAME] = _lags(history, levels, pools, setup, past)
    failed = adapted.joined(_adapted(history, levels, setup, past), len(rows))
    for e, origin in enumerate(origins):
        clip_forecasts(past[:, e], largest_value(judged.y[:, :origin]), setup.kind)
        if setup.kind == "counts":
            active = (judged.y[:, :origin] > 0).sum(axis=1)
            past[:, e][shut(seasons.at(origin), active, origin + np.arange(plan.horizon), plan.season)] = 0.0
    begun = judged.first[:, None] < np.asarray(origins, dtype=int)[None, :]
    before = judged.y[:, : plan.origin(plan.judging)]
    grain = sparse.grains(before) if setup.kind == "counts" else np.zeros(len(rows))
    return Backtest(rows, past, actual, begun, difference_scale(judged.y, origins), grain, constants, failed)


def _walk(name: str, history: History, setup: Setup, past: Floats) -> Floats:
    """Write a family's column of `past` from one walk over the history; returns its constants at the end, (S, C)."""
    plan = setup.plan
    origins = [plan.origin(back) for back in plan.evaluated]
    y = responses(history, setup.log)
    forecasts, constants = WALKS[name].fit(y, origins, plan.horizon, plan.season, logs=setup.log)
    past[..., setup.config.family_names.index(name)] = outspoken(forecasts[:, :-1], setup)
    return constants


def _adapted(history: History, levels: LevelTable, setup: Setup, past: Floats) -> list[list[str]]:
    """Write the adapters' columns of `past`; returns for each of them what failed, by series. The end is tried, too: it is what comes next."""
    sentences = []
    for adapter in setup.config.adapters:
        told = adapted.run(adapter, history, levels, setup.plan.evaluated, setup)
        past[..., setup.config.family_names.index(adapter.name)] = told.forecasts[:, :-1]
        sentences.append(told.failures(adapter.name))
    return sentences


def outspoken(forecasts: Floats, setup: Setup) -> Floats:
    """Forecasts of a walk in the units of the series."""
    return np.exp(np.minimum(forecasts, 50.0)) if setup.log else forecasts


def family_forecasts(
    history: History, seasons: tuple[Floats, Floats], levels: Floats, shared: Shared, origin: int, setup: Setup
) -> Floats:
    """Every family of levels after an origin, (S, H, F), before clipping; levels (S, L) and seasons (see SeasonSums) of that origin."""
    plan, names = setup.plan, setup.config.family_names
    filled = np.where(np.isnan(levels), shared.mean[:, None], levels)
    profile = _own_profile(seasons, shared, origin, setup)
    out = np.zeros((len(levels), plan.horizon, len(names)))
    for column, name in enumerate(names):
        if name in LEVELS:
            place = LEVELS.index(name)
            out[:, :, column] = (filled[:, place] * shared.drift[:, place])[:, None] * profile
        elif name == "seasonal_naive":
            out[:, :, column] = seasonal_naive(history, origin, plan.horizon, plan.season, filled[:, 0])
    return out


def _own_profile(seasons: tuple[Floats, Floats], shared: Shared, origin: int, setup: Setup) -> Floats:
    """Profile of each series, shrunk to its segment's, for the steps after the origin: (S, H)."""
    steps = (origin + np.arange(setup.plan.horizon)) % setup.plan.season
    if setup.kind == "real":
        return shared.profile[:, steps]
    return shrunk_profile(*seasons, shared.profile, shared.dispersion / PROFILE_VARIANCE)[:, steps]


def _regressed(history: History, pools: Pools, setup: Setup, past: Floats) -> Floats:
    """Write the columns of ridge and of the model of all series, as far as they run, from one walk over the history; returns ridge's newest slopes.

    Each origin has its own moments, the newest slopes fitted before it and the newest model trained before it.
    """
    plan, shard, segment = setup.plan, history.shard, history.shard.segment
    names, origins = setup.config.family_names, [plan.origin(back) for back in plan.evaluated]
    begun, read = Moments.empty(shard, plan, setup.kind, teaches=True), dict[str | None, boosted.Trees]()
    slopes: Floats = np.zeros((len(shard), 0))
    for e, moments in enumerate(ridge.walk(history, plan, setup.log, begun, origins)):
        still = standstill(pools.mean[segment, e], setup)
        if setup.with_ridge and plan.evaluated[e] in plan.refit:
            refit, strength = plan.refit.index(plan.evaluated[e]), ridge_strength(pools.dispersion[segment, e], setup)
            slopes = moments.slopes(
                pools.slopes[segment, refit], pools.slope_gram[segment, refit], strength, setup.kind
            )
        if origins[e] == plan.steps:  # the future has no column
            break
        if setup.with_ridge:
            ahead = ridge.features(shard, plan, origins[e], origins[e] + plan.horizon)
            said = moments.forecast(ahead, slopes, still, setup.kind)
            past[:, e, :, names.index(ridge.NAME)] = outspoken(said, setup)
        if setup.with_trees:
            text = boosted.newest(pools.models, plan.evaluated[e])
            if text not in read:
                read[text] = boosted.Trees(text)
            view = boosted.View.of(history, plan, setup.kind, moments, origins[e], segment)
            past[:, e, :, names.index(boosted.NAME)] = outspoken(read[text].responses(view, still), setup)
    return slopes


def standstill(mean: Floats, setup: Setup) -> Floats:
    """The response (S,) of series that stay at these means (S,)."""
    return np.log(np.maximum(mean, 1e-12)) if setup.log else mean


def _lags(history: History, levels: LevelTable, pools: Pools, setup: Setup, past: Floats) -> Floats:
    """Write the column of the ridge on lags, each origin with the newest coefficients fitted before it; returns the last."""
    plan, segment = setup.plan, history.shard.segment
    column = setup.config.family_names.index(lags.NAME)
    betas = pools.prior[segment, 0]
    data = LagData(history, plan, setup.log)
    refits = running_grams(data, levels, DECAY[setup.kind])
    for e, back in enumerate(plan.evaluated):
        if back in plan.refit:
            refit, (_, grams) = plan.refit.index(back), next(refits)
            strength = ridge_strength(pools.dispersion[segment, e], setup)
            betas = solve_series(grams.gram, pools.prior[segment, refit], pools.prior_gram[segment, refit], strength)
        if back > 0:
            block = data.block(back, levels.at(plan.origin(back)))
            past[:, e, :, column] = respond(block.x, betas, block.scale, setup.log)
    return np.asarray(betas)


def ridge_strength(dispersion: Floats, setup: Setup) -> Floats:
    """Rows (S,) that say what the segment says, for series of a segment with this dispersion (S,)."""
    return RIDGE_ROWS[setup.kind] * (np.ones_like(dispersion) if setup.log else dispersion)


def difference_scale(y: Floats, origins: list[int]) -> Floats:
    """Mean squared difference of neighbouring observed values since the first that is not 0, (S, O); NaN without any."""
    started = np.maximum.accumulate(np.nan_to_num(y) != 0, axis=1)
    both = started[:, :-1] & ~np.isnan(y[:, 1:]) & ~np.isnan(y[:, :-1])
    squares = np.cumsum(np.where(both, np.diff(y, axis=1) ** 2, 0.0), axis=1)
    counts = np.cumsum(both, axis=1)
    if not both.shape[1]:
        return np.full((len(y), len(origins)), np.nan)
    ends = np.asarray(origins, dtype=int) - 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts[:, ends] > 0, squares[:, ends] / counts[:, ends], np.nan)


def largest_value(y: Floats) -> Floats:
    """The largest absolute value of each series, (S,)."""
    return np.asarray(np.abs(np.nan_to_num(y)).max(axis=1, initial=0.0))


def clip_forecasts(forecasts: Floats, largest: Floats, kind: str) -> Floats:
    """In place: nothing below 0 where no value of the fleet was, nothing beyond three times a series' largest value (S,)."""
    top = 3.0 * largest.reshape(len(largest), *(1,) * (forecasts.ndim - 1))
    np.nan_to_num(forecasts, copy=False, nan=0.0)
    return np.clip(forecasts, -top if kind == "real" else 0.0, top, out=forecasts)
