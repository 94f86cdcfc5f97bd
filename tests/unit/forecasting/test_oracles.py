"""The kernel against packages that others wrote, on the same rows, constants and variances."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hierarchicalforecast.methods import BottomUp, MinTrace
from sklearn.linear_model import Ridge
from statsforecast.ets import pegelsresid_C
from statsforecast.theta import auto_theta, forecast_theta

from ml_platform.forecasting import ets, ridge, theta
from ml_platform.forecasting.arrays import Shard, sum_by
from ml_platform.forecasting.cohorts import cohorts
from ml_platform.forecasting.frames import prepare
from ml_platform.forecasting.grams import DECAY, JITTER, solve_series
from ml_platform.forecasting.hierarchy import Level, reconciled
from ml_platform.forecasting.lags import LagData, running_grams, training_origins
from ml_platform.forecasting.levels import History, LevelTable, responses
from ml_platform.forecasting.pools import Setup, block_levels, derive_pools, pool_sums
from ml_platform.forecasting.ridge import RECENT, SLOW, Moments
from ml_platform.forecasting.walk import Walk

SEASON, HORIZON = 7, 14


def walks(series: int, steps: int, season: int, seed: int = 1) -> np.ndarray:
    """Levels that wander, a season, noise."""
    rng, at = np.random.default_rng(seed), np.arange(steps)
    wander = np.cumsum(rng.normal(0, 0.3, (series, steps)), axis=1)
    return 20 + wander + 3 * rng.normal(0, 1, (series, season))[:, at % season] + rng.normal(0, 1, (series, steps))


FORMS = {  # alpha, beta, phi, gamma, begun of ours; trend, season of theirs
    "ANN": ((0.16, 0.0, 0.0, ets.NO_SEASON, 0.0), "N", "N"),
    "AAdN": ((0.16, 0.008, 0.9, ets.NO_SEASON, 0.0), "A", "N"),
    "ANA": ((0.16, 0.0, 0.0, 0.12, 0.0), "N", "A"),
    "AAdA": ((0.3, 0.06, 0.98, 0.12, 0.0), "A", "A"),
    "AAdA, begun": ((0.3, 0.06, 0.98, 0.12, 1.0), "A", "A"),
}


def ahead(walk: Walk, y: np.ndarray, constants: np.ndarray, season: int) -> np.ndarray:
    """Forecasts after the end of y with known constants."""
    states = walk.advance(np.zeros((len(y), walk.width(season))), 0, y, constants, season)
    return walk.ahead(states, y.shape[1], constants, HORIZON, season)


@pytest.mark.parametrize("form", FORMS)
def test_ets_has_the_states_of_statsforecast(form: str) -> None:
    """After 3,000 steps nothing is left of how states began.

    The forecasts are written out from their states: up to 2.1.1 statsforecast adds phi twice to a damped trend
    (its pull request 1219), so that its own are ours without a trend and at the first step alone.
    """
    (alpha, beta, phi, gamma, begun), trend, season = FORMS[form]
    y = walks(4, 3000, SEASON)
    ours = ahead(ets, y, np.tile([alpha, beta, phi, gamma, begun], (4, 1)), SEASON)
    reach = np.cumsum((phi or 1.0) ** np.arange(1, HORIZON + 1))
    for row in range(4):
        start = np.array([y[row, 0], *[0.0] * (trend == "A"), *[0.0] * SEASON * (season == "A")])
        states = pegelsresid_C(
            y[row].copy(), SEASON, start, "A", trend, season, trend == "A", alpha, beta, max(gamma, 0.0), phi, 3
        )[2][-1]
        said = np.full(HORIZON, states[0])
        if trend == "A":
            said += reach * states[1]
        if season == "A":
            newest_first = states[-SEASON:]
            said += newest_first[::-1][np.arange(HORIZON) % SEASON]
        np.testing.assert_allclose(ours[row], said, rtol=1e-9)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9])
def test_theta_forecasts_like_statsforecast(alpha: float) -> None:
    """The standard theta model (STM) with the same constant; 300 steps on, the level that it began with is forgotten."""
    y = walks(5, 300, 1) + 0.05 * np.arange(300)
    ours = ahead(theta, y, np.tile([alpha, theta.CYCLES[0]], (5, 1)), 1)
    for row in range(5):
        model = auto_theta(y[row].copy(), 1, model="STM", alpha=alpha, initial_smoothed=y[row, 0])
        np.testing.assert_allclose(ours[row], forecast_theta(model, HORIZON)["mean"], rtol=1e-9)


@pytest.fixture
def shard(make) -> Shard:
    history = make.counts(series=8)
    return prepare(history, None, make.kinds(history), None, make.config()).shard


def ridge_rows(data: LagData, levels: LevelTable, s: int, end: int, decay: float) -> tuple[np.ndarray, ...]:
    """Features, responses and weights of all rows of a series before a step, written one under the other."""
    origins, found = training_origins(data.plan), []
    for origin, following in pairwise((*origins, data.plan.steps)):
        size = min(following, end) - origin
        if size > 0:
            block = data.rows(origin, levels.at(origin), 0, size)
            found.append(
                (block.x[s], block.z[s], block.rows[s] * (1.0 - decay) ** (end - 1 - origin - np.arange(size)))
            )
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


@pytest.mark.parametrize("decay", [0.0, DECAY["positive"]])
def test_a_ridge_on_lags_has_the_coefficients_of_scikit_learn(shard: Shard, make, decay: float) -> None:
    """Same rows, weights and penalty."""
    setup: Setup = cohorts([shard], make.config(families=["ridge_lags"]), judging=False)[0].setup
    pools, history = derive_pools(pool_sums(shard, setup), setup), History.of(shard, "zero")
    data, levels = LagData(history, setup.plan, setup.log), block_levels(history, setup.plan)
    prior, prior_gram = pools.prior[shard.segment, -1], pools.prior_gram[shard.segment, -1]
    for back, grams in running_grams(data, levels, decay):
        if back not in (0, 3):
            continue
        ours = solve_series(grams.gram, prior, prior_gram, np.full(len(shard), 40.0))
        for s in range(len(shard)):
            x, z, weight = ridge_rows(data, levels, s, setup.plan.origin(back), decay)
            pull = 40.0 * prior_gram[s]
            np.testing.assert_allclose(ours[s], peer_coefficients(x, z, weight, pull, prior[s]), rtol=1e-8, atol=1e-8)


def peer_coefficients(
    x: np.ndarray, z: np.ndarray, weight: np.ndarray, pull: np.ndarray, prior: np.ndarray
) -> np.ndarray:
    """Of scikit-learn: a penalty towards a prior is one towards 0 of what is left, in coordinates in which it is round."""
    penalty = pull + np.diag(JITTER * np.diag((x * weight[:, None]).T @ x + pull))
    centre, root = np.linalg.solve(penalty, pull @ prior), np.linalg.cholesky(penalty)
    peer = Ridge(alpha=1.0, fit_intercept=False, solver="cholesky").fit(
        np.linalg.solve(root, x.T).T, z - x @ centre, weight
    )
    return centre + np.linalg.solve(root.T, peer.coef_)


@pytest.mark.parametrize("kind", ["counts", "real", "positive"])
def test_ridge_has_the_slopes_of_scikit_learn_and_levels_of_what_they_leave(shard: Shard, make, kind: str) -> None:
    """Slopes of what is left of features and response without their weighted means; of counts they say factors on the level."""
    found: Setup = cohorts([shard], make.config(families=["ridge"]), judging=False)[0].setup
    setup = replace(found, kind=kind)
    decay, plan, history = DECAY[kind], setup.plan, History.of(shard, "zero")
    pools = derive_pools(pool_sums(shard, setup), setup)
    prior, pull = pools.slopes[shard.segment, -1], pools.slope_gram[shard.segment, -1]
    begun = Moments.empty(shard, plan, kind, teaches=True)
    (moments,) = ridge.walk(history, plan, setup.log, begun, [plan.steps])
    slopes, z = moments.slopes(prior, pull, np.full(len(shard), 40.0), kind), responses(history, setup.log)
    x, window = ridge.features(shard, plan, 0, plan.steps + plan.horizon), 4 * plan.season
    said = moments.forecast(x[:, :, plan.steps :], slopes, np.zeros(len(shard)), kind)
    for s in range(len(shard)):
        seen = np.flatnonzero(~np.isnan(z[s]))
        fading = (seen[-1] - seen).astype(float)
        weight, *means = ((1.0 - one) ** fading for one in (decay, 2 / (SLOW * window + 1), 2 / (window + 1)))
        own, response = x[s][:, seen].T, z[s, seen]
        mean = np.average(response, weights=weight)
        scale = {"counts": mean, "real": np.sqrt(np.average(response**2, weights=weight)), "positive": 1.0}[kind]
        rows = weight * (1.0 if kind == "positive" else scale)
        centred, rest = own - np.average(own, axis=0, weights=weight), (response - mean) / scale
        free = slice(0, own.shape[1] - shard.width)  # slopes of means are the segment's
        rest = rest - centred[:, free.stop :] @ prior[s, free.stop :]
        peer = prior[s].copy()
        peer[free] = peer_coefficients(centred[:, free], rest, rows, 40.0 * pull[s][free, free], prior[s, free])
        np.testing.assert_allclose(slopes[s], peer, rtol=1e-7, atol=1e-8)
        ahead = peer @ x[s][:, plan.steps :]
        if kind == "counts":
            centre = np.average(own, axis=0, weights=weight) @ peer
            slow, fast = (
                np.average(response, weights=one) / (1 + np.average(own, axis=0, weights=one) @ peer - centre)
                for one in means
            )
            expected = (slow + RECENT * (fast - slow)) * (1 + ahead - centre)
        else:
            slow, fast = (np.average(response - scale * own @ peer, weights=one) for one in means)
            expected = slow + RECENT * (fast - slow) + scale * ahead
        np.testing.assert_allclose(said[s], expected, rtol=1e-7, atol=1e-8)


STORES, ITEMS = 4, 6


def hierarchy(seed: int = 1) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Forecasts of series (S, H), codes of the sums of two levels and the total, forecasts of these sums, and the summing matrix."""
    rng = np.random.default_rng(seed)
    base = rng.gamma(3.0, 2.0, (STORES * ITEMS, HORIZON))
    codes = [
        np.repeat(np.arange(STORES), ITEMS),
        np.tile(np.arange(ITEMS), STORES),
        np.zeros(STORES * ITEMS, dtype=int),
    ]
    said = [sum_by(base, one, one.max() + 1) * rng.uniform(0.8, 1.2, (one.max() + 1, HORIZON)) for one in codes]
    summing = np.concatenate([*(np.eye(one.max() + 1)[one].T for one in codes), np.eye(len(base))])
    return base, codes, said, summing


@pytest.mark.parametrize("method", ["ols", "wls_var"])
def test_series_and_sums_are_reconciled_like_hierarchicalforecast(method: str) -> None:
    base, codes, said, summing = hierarchy()
    rng, rows = np.random.default_rng(2), len(summing)
    residuals = rng.normal(size=(rows, 60)) * rng.uniform(0.5, 3.0, (rows, 1))
    actual = rng.gamma(3.0, 2.0, residuals.shape)
    peer = MinTrace(method).fit_predict(
        S=summing, y_hat=np.concatenate([*said, base]), y_insample=actual, y_hat_insample=actual - residuals
    )["mean"]
    variance = np.ones(rows) if method == "ols" else (residuals**2).mean(axis=1)
    ends = np.cumsum([0, *(len(one) for one in said)])
    levels = [
        Level(one, own, variance[start : start + len(own)]) for one, own, start in zip(codes, said, ends, strict=False)
    ]
    ours = reconciled(base, variance[ends[-1] :], levels)
    np.testing.assert_allclose(ours, peer[ends[-1] :], rtol=1e-6)
    np.testing.assert_allclose(
        np.concatenate([sum_by(ours, one, one.max() + 1) for one in codes]), peer[: ends[-1]], rtol=1e-6
    )


def test_sums_from_below_are_those_of_hierarchicalforecast() -> None:
    base, codes, said, summing = hierarchy()
    peer = BottomUp().fit_predict(S=summing, y_hat=np.concatenate([*said, base]))["mean"]
    ours = np.concatenate([*(sum_by(base, one, one.max() + 1) for one in codes), base])
    np.testing.assert_allclose(ours, peer, rtol=1e-12)
