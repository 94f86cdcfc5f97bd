"""Selection: how much of each family a series gets, shrunk to its segment and proven on folds that did not choose.

Belongs here: error products of folds, blends on the simplex, the nested choice of a strategy. Does not belong here: forecasts.
"""

from dataclasses import dataclass

import numpy as np

from ml_platform.forecasting.arrays import sum_by
from ml_platform.forecasting.backtest import Backtest
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.pools import Setup

STRATEGIES = ("fleet_family", "fleet_blend", "segment_family", "segment_blend", "series_blend")
SERIES_FOLDS = 40.0  # folds of the segment that a series' choice counts for its own
SEGMENT_SHARE = 0.05  # weight of the fleet's errors in a segment's choice, as a share of the fleet


@dataclass(frozen=True)
class Selection:
    """Chosen weights by series (N, F) and by segment (G, F), the strategy and the nested score of every strategy."""

    series: Floats
    segment: Floats
    strategy: str
    scores: dict[str, float]


def error_products(backtest: Backtest, setup: Setup) -> Floats:
    """Mean products of scaled errors of each pair of families, (N, folds, F, F); a quadratic form gives any blend's error."""
    places = [setup.plan.evaluated.index(back) for back in setup.plan.folds]
    past, actual, scale = backtest.past[:, places], backtest.actual[:, places], backtest.scale[:, places]
    seen = ~np.isnan(actual) & backtest.begun[:, places, None]
    if setup.log:
        choosing = len(setup.plan.choosing)  # the judging fold must not reach the errors of those that choose
        known, cells = np.where(seen, actual, 0.0)[:, :choosing], seen[:, :choosing].sum(axis=(1, 2), keepdims=True)
        floor = 0.02 * np.maximum(known.sum(axis=(1, 2), keepdims=True) / np.maximum(cells, 1), 1e-12)
        error = np.log(np.maximum(past, np.asarray(floor)[..., None])) - np.log(np.maximum(actual, floor))[..., None]
    else:
        good = scale > 0
        error = (past - actual[..., None]) / np.sqrt(np.where(good, scale, 1.0))[:, :, None, None]
        seen &= good[:, :, None]
    error = np.where(seen[..., None], error, 0.0)
    rows = np.maximum(seen.sum(axis=2), 1)[..., None, None]
    return np.asarray(error.transpose(0, 1, 3, 2) @ error / rows)


def simplex_projection(v: Floats) -> Floats:
    """The nearest point with non-negative entries that sum to 1, for each row (Duchi et al. 2008)."""
    ordered = -np.sort(-v, axis=1)
    excess = (np.cumsum(ordered, axis=1) - 1.0) / np.arange(1, v.shape[1] + 1)
    count = (ordered > excess).sum(axis=1)
    return np.asarray(np.maximum(v - excess[np.arange(len(v)), count - 1][:, None], 0.0))


def best_blend(quadratic: Floats, start: Floats, steps: int) -> Floats:
    """Weights on the simplex that minimise w'Qw, (N, F), by accelerated projected gradient from `start`."""
    size = quadratic.shape[1]
    centred = quadratic - quadratic.mean(axis=1, keepdims=True)
    centred = centred - centred.mean(axis=2, keepdims=True)
    rate = 1.0 / np.maximum(np.trace(centred, axis1=1, axis2=2), 1e-12)[:, None]
    weights, point, inertia = start, start, 1.0
    for _ in range(steps if size > 1 else 0):
        moved = simplex_projection(point - rate * (quadratic @ point[:, :, None])[:, :, 0])
        following = (1.0 + np.sqrt(1.0 + 4.0 * inertia**2)) / 2.0
        point = moved + (inertia - 1.0) / following * (moved - weights)
        weights, inertia = moved, following
    return weights


def _best_single(quadratic: Floats) -> Floats:
    return np.asarray(np.eye(quadratic.shape[1])[np.argmin(np.diagonal(quadratic, axis1=1, axis2=2), axis=1)])


def _weigh(products: Floats, weight: Floats, segment: Ints, groups: int) -> tuple[Floats, Floats]:
    """Weighted mean error products of the fleet (1, F, F) and of each segment, drawn to the fleet's (G, F, F)."""
    share = weight / np.maximum(weight.sum(axis=0), 1e-300)
    rows = np.einsum("nk,nkfg->nfg", share, products) / products.shape[1]
    by_segment, mass = sum_by(rows, segment, groups), sum_by(share.mean(axis=1), segment, groups)
    fleet = by_segment.sum(axis=0, keepdims=True)
    drawn = (by_segment + SEGMENT_SHARE * fleet) / (mass + SEGMENT_SHARE)[:, None, None]
    return fleet, drawn


def _choose(strategy: str, products: Floats, weight: Floats, segment: Ints, groups: int) -> tuple[Floats, Floats]:
    """Weights by series and by segment that a strategy learns from folds (N, K, F, F)."""
    fleet, drawn = _weigh(products, weight, segment, groups)
    quadratic = np.repeat(fleet, groups, axis=0) if strategy.startswith("fleet") else drawn
    uniform = np.full(quadratic.shape[:2], 1.0 / quadratic.shape[1])
    chosen = _best_single(quadratic) if strategy.endswith("family") else best_blend(quadratic, uniform, 300)
    if strategy != "series_blend":
        return chosen[segment], chosen
    own = products.sum(axis=1) + SERIES_FOLDS * drawn[segment]
    return best_blend(own, chosen[segment], 30), chosen


def select(products: Floats, weight: Floats, segment: Ints, groups: int) -> Selection:
    """Choose with all K choosing folds (N, K, F, F) the way that did best on folds it had not seen; weight (N, K)."""
    folds = products.shape[1]
    scores: dict[str, float] = {}
    for strategy in STRATEGIES if folds > 1 and len(products) else ():
        losses = []
        for k in range(1, folds):
            chosen, _ = _choose(strategy, products[:, :k], weight[:, :k], segment, groups)
            loss = np.einsum("nf,nfg,ng->n", chosen, products[:, k], chosen, optimize=True)
            losses.append(float(weight[:, k] @ loss / max(weight[:, k].sum(), 1e-300)))
        scores[strategy] = float(np.sqrt(np.mean(losses)))
    strategy = min(scores, key=scores.__getitem__) if scores else "fleet_blend"
    if not folds:
        uniform = np.full((groups, products.shape[2]), 1.0 / products.shape[2])
        return Selection(uniform[segment], uniform, "none", scores)
    series, by_segment = _choose(strategy, products, weight, segment, groups)
    return Selection(series, by_segment, strategy, scores)


def blend(forecasts: Floats, weights: Floats, log: bool) -> Floats:
    """Weighted families, (N, ..., F) with (N, F) to (N, ...); geometric in logs."""
    shape = (len(weights), *(1,) * (forecasts.ndim - 2), weights.shape[1])
    spread = weights.reshape(shape)
    if not log:
        return np.asarray((forecasts * spread).sum(axis=-1))
    tiny = 1e-3 * np.maximum(forecasts.max(axis=-1, keepdims=True, initial=0.0), 1e-12)
    return np.asarray(np.exp((np.log(np.maximum(forecasts, tiny)) * spread).sum(axis=-1)))
