"""Selection: how much of each family a series gets, shrunk to its segment and proven on folds that did not choose.

Belongs here: error products of folds, blends on the simplex, the nested choice of a strategy. Does not belong here: forecasts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml_platform.forecasting.arrays import sum_by
from ml_platform.forecasting.backtest import Backtest
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.incumbent import Shares
from ml_platform.forecasting.pools import Setup

STRATEGIES = ("segment_blend", "segment_family", "series_blend")  # the simplest that is as good is taken
KEPT = "champion"  # the choice of an earlier fleet stands
WAYS = (*STRATEGIES, KEPT)
SERIES_FOLDS = 40.0  # folds of the segment that a series' choice counts for its own
NEAR = (
    1.05  # a family whose error is larger by more than this factor is in no blend: few folds cannot tell what it adds
)
ERRORS = 2.0  # standard errors by which another way than the simplest must be better
LEAVING, MATERIAL, ENOUGH_FOLDS = 3.0, 0.01, 40.0
# the same, and the share of the squared error, by which another must be better than a choice that stands, and from how many folds that must be told
EVEN_FOLDS = 1.0  # folds of one series that say all families are as good as each other


@dataclass(frozen=True)
class Selection:
    """Chosen weights by series (N, F) and by segment (G, F).

    strategies (G,): the way each segment chose, an index into WAYS, -1 where nothing was to choose from. scores: nested score of every
    way if all segments took it, and `chosen` of what they took. mass: total weight that the scores are of.
    """

    series: Floats
    segment: Floats
    strategies: Ints
    scores: dict[str, float]
    mass: float

    @property
    def by_strategy(self) -> dict[str, int]:
        """How many segments chose each way."""
        return {name: int((self.strategies == place).sum()) for place, name in enumerate(WAYS)}


def error_products(backtest: Backtest, setup: Setup) -> Floats:
    """Mean products of scaled errors of each pair of families, (N, K, F, F); a quadratic form gives any blend's error.

    K: origins older than the folds that choose, which together count as one fold (there are none in a short history), then these folds.
    """
    plan = setup.plan
    before = [plan.evaluated.index(back) for back in plan.interval if back > max(plan.choosing, default=0)]
    places = [*before, *(plan.evaluated.index(back) for back in plan.choosing)]
    past, actual, scale = backtest.past[:, places], backtest.actual[:, places], backtest.scale[:, places]
    seen = ~np.isnan(actual) & backtest.begun[:, places, None]
    if setup.log:
        known, cells = np.where(seen, actual, 0.0), seen.sum(axis=(1, 2), keepdims=True)
        floor = 0.02 * np.maximum(known.sum(axis=(1, 2), keepdims=True) / np.maximum(cells, 1), 1e-12)
        error = np.log(np.maximum(past, np.asarray(floor)[..., None])) - np.log(np.maximum(actual, floor))[..., None]
    else:
        good = scale > 0
        error = (past - actual[..., None]) / np.sqrt(np.where(good, scale, 1.0))[:, :, None, None]
        seen &= good[:, :, None]
    error = np.where(seen[..., None], error, 0.0)
    told, rows = error.transpose(0, 1, 3, 2) @ error, seen.sum(axis=2)[..., None, None]
    choosing = np.asarray(told[:, len(before) :] / np.maximum(rows[:, len(before) :], 1))
    if not before:
        return choosing
    older = told[:, : len(before)].sum(axis=1) / np.maximum(rows[:, : len(before)].sum(axis=1), 1)
    told = older if setup.log else _no_larger(older, choosing.mean(axis=1))
    return np.concatenate([told[:, None], choosing], axis=1)


def _no_larger(older: Floats, choosing: Floats) -> Floats:
    """Products (N, F, F) whose least error is that of the folds that choose at most: what was odd long ago shall not decide."""
    large, usual = (np.diagonal(one, axis1=1, axis2=2).min(axis=1) for one in (older, choosing))
    return np.asarray(older * np.minimum(1.0, usual / np.where(large > 0, large, 1.0))[:, None, None])


def simplex_projection(v: Floats) -> Floats:
    """The nearest point with non-negative entries that sum to 1, for each row (Duchi et al. 2008)."""
    ordered = -np.sort(-v, axis=1)
    excess = (np.cumsum(ordered, axis=1) - 1.0) / np.arange(1, v.shape[1] + 1)
    count = (ordered > excess).sum(axis=1)
    return np.asarray(np.maximum(v - excess[np.arange(len(v)), count - 1][:, None], 0.0))


def best_blend(quadratic: Floats, start: Floats, steps: int) -> Floats:
    """Weights on the simplex that minimise w'Qw, (N, F), by accelerated projected gradient from `start`; what weighs nothing there stays out."""
    size, there = quadratic.shape[1], start > 0
    centred = quadratic - quadratic.mean(axis=1, keepdims=True)
    centred = centred - centred.mean(axis=2, keepdims=True)
    rate = 1.0 / np.maximum(np.trace(centred, axis1=1, axis2=2), 1e-12)[:, None]
    weights, point, inertia = start, start, 1.0
    for _ in range(steps if size > 1 else 0):
        moved = simplex_projection(np.where(there, point - rate * (quadratic @ point[:, :, None])[:, :, 0], -np.inf))
        following = (1.0 + np.sqrt(1.0 + 4.0 * inertia**2)) / 2.0
        point = moved + (inertia - 1.0) / following * (moved - weights)
        weights, inertia = moved, following
    return weights


def _best_single(quadratic: Floats) -> Floats:
    return np.asarray(np.eye(quadratic.shape[1])[np.argmin(np.diagonal(quadratic, axis1=1, axis2=2), axis=1)])


def _near(quadratic: Floats) -> Floats:
    """Even weights (N, F) for the families that are not far behind the best one."""
    errors = np.diagonal(quadratic, axis1=1, axis2=2)
    near = errors <= NEAR**2 * errors.min(axis=1, keepdims=True)
    return np.asarray(near / near.sum(axis=1, keepdims=True))


def _weigh(products: Floats, weight: Floats, segment: Ints, groups: int) -> Floats:
    """Weighted mean error products of each segment, drawn to families that are as good as each other and independent, (G, F, F)."""
    share = weight / np.maximum(sum_by(weight, segment, groups), 1e-300)[segment]
    folds, families = products.shape[1:3]
    mean = sum_by(np.einsum("nk,nkfg->nfg", share, products), segment, groups) / max(folds, 1)
    told = 1.0 / np.maximum(
        sum_by((share / max(folds, 1)) ** 2, segment, groups).sum(axis=1), 1e-300
    )  # effective folds
    usual = np.diagonal(mean, axis1=1, axis2=2).min(axis=1)
    return np.asarray(mean + (EVEN_FOLDS / told * usual)[:, None, None] * np.eye(families))


def _choose(strategy: str, products: Floats, weight: Floats, segment: Ints, groups: int) -> tuple[Floats, Floats]:
    """Weights by series and by segment that a strategy learns from folds (N, K, F, F)."""
    drawn = _weigh(products, weight, segment, groups)
    chosen = _best_single(drawn) if strategy == "segment_family" else best_blend(drawn, _near(drawn), 300)
    if strategy != "series_blend":
        return chosen[segment], chosen
    own = products.sum(axis=1) + SERIES_FOLDS * drawn[segment]
    return best_blend(own, chosen[segment], 30), chosen


def select(
    products: Floats, weight: Floats, segment: Ints, groups: int, stands: Shares | None = None, keep: bool = False
) -> Selection:
    """Choose for each segment, with all K choosing folds (N, K, F, F), the way that did best on folds it had not seen; weight (N, K).

    No segment's choice knows of another. Where an earlier choice `stands`, it is the way that another must be better than, and with `keep` no
    other is tried.
    """
    folds, families = products.shape[1:3]
    if not folds:
        even = np.full((groups, families), 1.0 / families)
        series, by_segment = _standing(stands, even[segment], even) if stands else (even[segment], even)
        return Selection(series, by_segment, np.full(groups, -1), {}, 0.0)
    ways = [*STRATEGIES]
    losses = [_nested(strategy, products, weight, segment, groups) for strategy in STRATEGIES]
    found = [_choose(strategy, products, weight, segment, groups) for strategy in STRATEGIES]
    if stands is not None:
        own, shared = _standing(stands, *found[0])
        known = np.asarray(np.isfinite(stands.segment).all(axis=1))[segment]
        ways, found = [KEPT, *ways], [(own, shared), *found]
        losses = [np.where(known[:, None], _loss(own, products[:, 1:]), losses[0]), *losses]
    limits = (LEAVING, MATERIAL, ENOUGH_FOLDS) if stands else (ERRORS, 0.0, 0.0)
    taken = _simplest(losses, weight[:, 1:], segment, groups, limits)
    taken = np.zeros_like(taken) if keep and stands else taken
    series = np.stack([one for one, _ in found])[taken[segment], np.arange(len(segment))]
    by_segment = np.stack([drawn for _, drawn in found])[taken, np.arange(groups)]
    chosen = np.stack(losses)[taken[segment], np.arange(len(segment))]
    scores = {
        name: _score(loss, weight[:, 1:]) for name, loss in zip((*ways, "chosen"), (*losses, chosen), strict=True)
    }
    return Selection(
        series, by_segment, _named(taken, ways, segment, stands), scores if folds > 1 else {}, float(weight.sum())
    )


def _standing(stands: Shares, series: Floats, segment: Floats) -> tuple[Floats, Floats]:
    """The choice that stands, and that of the simplest way where none does."""
    return np.where(np.isnan(stands.series), series, stands.series), np.where(
        np.isnan(stands.segment), segment, stands.segment
    )


def _named(taken: Ints, ways: Sequence[str], segment: Ints, stands: Shares | None) -> Ints:
    """Which of WAYS each segment took (G,), -1 for one without series."""
    place = np.asarray([WAYS.index(one) for one in ways])[taken]
    if stands is not None:  # where nothing stands the first way is the simplest
        place = np.where((taken == 0) & np.isnan(stands.segment).any(axis=1), 0, place)
    return np.where(np.bincount(segment, minlength=len(taken)) > 0, place, -1)


def _loss(weights: Floats, products: Floats) -> Floats:
    """Error of weights (N, F) on each fold (N, K, F, F), (N, K)."""
    return np.asarray(np.einsum("nf,nkfg,ng->nk", weights, products, weights, optimize=True))


def overall(parts: Sequence[Selection]) -> tuple[dict[str, int], dict[str, float]]:
    """How many segments of all cohorts chose each way, and the scores of all by weight; no scores where one cohort has none."""
    ways = {name: sum(part.by_strategy[name] for part in parts) for name in WAYS}
    mass = sum(part.mass for part in parts)
    names = parts[0].scores if mass > 0 and all(part.scores for part in parts) else {}
    squares = {name: sum(part.mass * part.scores[name] ** 2 for part in parts) for name in names}
    return ways, {name: float(np.sqrt(total / mass)) for name, total in squares.items()}


def _nested(strategy: str, products: Floats, weight: Floats, segment: Ints, groups: int) -> Floats:
    """Error of each series on each fold but the oldest, chosen with the folds before it, (N, K - 1)."""
    losses = np.zeros((len(products), products.shape[1] - 1))
    for k in range(1, products.shape[1]):
        chosen, _ = _choose(strategy, products[:, :k], weight[:, :k], segment, groups)
        losses[:, k - 1] = _loss(chosen, products[:, k : k + 1])[:, 0]
    return losses


def _simplest(
    losses: list[Floats], weight: Floats, segment: Ints, groups: int, limits: tuple[float, float, float]
) -> Ints:
    """For each segment the first way, or the one that is better than it by most, (G,).

    limits: by so many standard errors and by such a share, or by half, as at least so many folds tell.
    """
    errors, least, fewest = limits
    share = (weight / np.maximum(sum_by(weight, segment, groups), 1e-300)[segment]) / max(weight.shape[1], 1)
    taken, best = np.zeros(groups, dtype=np.int64), np.zeros(groups)
    told = 1.0 / np.maximum(sum_by((share**2).sum(axis=1), segment, groups), 1e-300)  # effective folds
    usual = sum_by((share * losses[0]).sum(axis=1), segment, groups)
    for place, loss in enumerate(losses):
        gain = losses[0] - loss
        mean = sum_by((share * gain).sum(axis=1), segment, groups)
        error = np.sqrt(sum_by((share**2 * (gain - mean[segment][:, None]) ** 2).sum(axis=1), segment, groups))
        beyond = (mean > errors * error) & (mean > least * usual)
        better = (beyond | (mean > usual / 2.0)) & (mean > best) & (told >= fewest)
        taken, best = np.where(better, place, taken), np.where(better, mean, best)
    return taken


def _score(loss: Floats, weight: Floats) -> float:
    """Root of the weighted mean of errors (N, K), every fold counting the same."""
    share = weight / np.maximum(weight.sum(axis=0), 1e-300)
    return float(np.sqrt((share * loss).sum() / max(loss.shape[1], 1)))


def blend(forecasts: Floats, weights: Floats, log: bool) -> Floats:
    """Weighted families, (N, ..., F) with (N, F) to (N, ...); geometric in logs."""
    shape = (len(weights), *(1,) * (forecasts.ndim - 2), weights.shape[1])
    spread = weights.reshape(shape)
    if not log:
        return np.asarray((forecasts * spread).sum(axis=-1))
    tiny = 1e-3 * np.maximum(forecasts.max(axis=-1, keepdims=True, initial=0.0), 1e-12)
    return np.asarray(np.exp((np.log(np.maximum(forecasts, tiny)) * spread).sum(axis=-1)))
