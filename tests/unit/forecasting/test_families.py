"""Every family against a plain loop over one series, written from its definition."""

from dataclasses import replace

import numpy as np
import pytest
from statsforecast.models import CrostonClassic, CrostonSBA

from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import plan_folds
from ml_platform.forecasting.grams import solve, solve_series
from ml_platform.forecasting.lags import training_origins
from ml_platform.forecasting.levels import (
    BEFORE_FIRST,
    LEVELS,
    History,
    SeasonSums,
    level_array,
    plain_floor,
    seasonal_naive,
)

SEASON, STEPS, HORIZON = 7, 90, 10


def shard_of(y: np.ndarray) -> Shard:
    """A bare shard around an array (S, T)."""
    size, steps = y.shape
    seen = ~np.isnan(y)
    return Shard(
        series_id=np.asarray([str(s) for s in range(size)], dtype=object),
        y=y,
        known=np.zeros((size, 0, steps + HORIZON)),
        first=np.where(seen.any(axis=1), seen.argmax(axis=1), steps),
        room=np.where(seen.any(axis=1), seen.argmax(axis=1), 0),
        active=seen.sum(axis=1),
        weight=np.ones((size, 6)),
        static=np.zeros((size, 0)),
        segment=np.zeros(size, dtype=np.int64),
        segments=("all",),
        times=np.arange(steps + HORIZON).astype("datetime64[D]").astype("datetime64[ns]"),
        position=0,
    )


def sparse(gap: bool) -> np.ndarray:
    """Counts of series that begin at different steps; with gaps, a third of the cells is not observed."""
    rng = np.random.default_rng(5)
    y = rng.poisson(0.8, (4, STEPS)).astype(float)
    for row, begin in enumerate((0, 11, 40, 83)):
        y[row, :begin] = np.nan
    if gap:
        y[rng.random(y.shape) < 0.33] = np.nan
    return y


def mean_by_hand(y: np.ndarray, origin: int, width: int, gap: bool) -> float:
    start = max(0, origin - width)
    inside = [v for v in y[start:origin] if not np.isnan(v)]
    if gap:
        return float(np.mean(inside)) if inside else float(np.nanmean(y[:origin]))
    return sum(inside) / min(len(inside) + BEFORE_FIRST, origin - start)


def smooth_by_hand(values: list[float], rate: float, origin: int, gap: bool) -> float:
    """Weighted mean with weights rate (1 - rate)^age; under `zero`, empty steps before the first have their weight too."""
    weights = [rate * (1 - rate) ** age for age in range(len(values))][::-1]
    below = sum(weights)
    if not gap:
        below = min(below + BEFORE_FIRST * rate, 1 - (1 - rate) ** origin)
    return float(np.dot(weights, values) / below)


def by_hand(name: str, y: np.ndarray, origin: int, gap: bool) -> float:
    past = [v for v in y[:origin] if not np.isnan(v)]
    if name.startswith("mean_"):
        return mean_by_hand(y, origin, int(name.removeprefix("mean_")), gap)
    if name.startswith("ses_"):
        return smooth_by_hand(past, int(name.removeprefix("ses_")) / 100, origin, gap)
    if name in ("croston", "sba"):
        peer = CrostonClassic() if name == "croston" else CrostonSBA()
        return float(peer.forecast(np.asarray(past), h=1)["mean"][0]) if any(past) else 0.0
    sizes = [v for v in past if v != 0]
    often = smooth_by_hand([float(v != 0) for v in past], 0.02, origin, gap)
    return often * smooth_by_hand(sizes, 0.05, origin, True) if sizes else 0.0


@pytest.mark.parametrize("gap", [False, True])
@pytest.mark.parametrize("name", LEVELS)
def test_levels_equal_a_loop_over_each_series(name: str, gap: bool) -> None:
    y = sparse(gap)
    origins = [45, 70, STEPS]
    got = level_array(History.of(shard_of(y), "gap" if gap else "zero"), origins, SEASON)[:, :, LEVELS.index(name)]
    for row in range(len(y)):
        for column, origin in enumerate(origins):
            if np.isnan(y[row, :origin]).all():
                continue
            assert got[row, column] == pytest.approx(by_hand(name, y[row], origin, gap), rel=1e-10), (row, origin)


def test_a_series_that_has_not_begun_has_level_zero_or_none() -> None:
    y = sparse(False)
    zero = level_array(History.of(shard_of(y), "zero"), [45], SEASON)[3, 0]
    gap = level_array(History.of(shard_of(y), "gap"), [45], SEASON)[3, 0]
    assert (zero == 0).all()
    assert np.isnan(gap[: LEVELS.index("tsb")]).all()


@pytest.mark.parametrize("gap", [False, True])
def test_seasonal_naive_repeats_the_last_observed_season(gap: bool) -> None:
    y = sparse(gap)
    otherwise = np.full(len(y), -1.0)
    got = seasonal_naive(History.of(shard_of(y), "gap" if gap else "zero"), 70, HORIZON, SEASON, otherwise)
    for row in range(3):
        for step in range(HORIZON):
            place = [70 - cycle * SEASON + step % SEASON for cycle in range(1, 5 if gap else 2)]
            known = [y[row, at] for at in place if not np.isnan(y[row, at])]
            assert got[row, step] == (known[0] if known else -1.0)


def test_floors_are_plain() -> None:
    y = sparse(False)
    history = History.of(shard_of(y), "zero")
    assert not plain_floor(history, "zero", 70, HORIZON, SEASON).any()
    np.testing.assert_allclose(
        plain_floor(history, "mean_28", 70, HORIZON, SEASON)[:, 3], np.nansum(y[:, 42:70], axis=1) / 28
    )
    np.testing.assert_allclose(plain_floor(history, "seasonal_naive", 70, HORIZON, SEASON)[0, :7], y[0, 63:70])


def test_season_sums_count_by_position() -> None:
    y = sparse(True)
    sums, counts = SeasonSums(History.of(shard_of(y), "gap"), SEASON).at(45)
    for k in range(SEASON):
        cells = y[:, k:45:SEASON]
        np.testing.assert_allclose(sums[:, k], np.nansum(cells, axis=1))
        np.testing.assert_array_equal(counts[:, k], (~np.isnan(cells)).sum(axis=1))


def test_ridge_equals_least_squares_with_added_rows() -> None:
    rng = np.random.default_rng(2)
    x, prior_x = rng.normal(size=(3, 30, 4)), rng.normal(size=(3, 50, 4))
    z, beta = rng.normal(size=(3, 30)), rng.normal(size=(3, 4))
    both = np.concatenate([x, z[:, :, None]], axis=2)
    prior_gram = prior_x.transpose(0, 2, 1) @ prior_x / 50
    got = solve_series(both.transpose(0, 2, 1) @ both, beta, prior_gram, np.full(3, 20.0))
    for row in range(3):
        scale = np.sqrt(20.0 / 50)
        stacked = np.concatenate([x[row], prior_x[row] * scale])
        target = np.concatenate([z[row], prior_x[row] @ beta[row] * scale])
        np.testing.assert_allclose(got[row], np.linalg.lstsq(stacked, target, rcond=None)[0], rtol=1e-4, atol=1e-5)


def test_ridge_survives_constant_and_empty_columns() -> None:
    x = np.ones((1, 10, 3))
    x[:, :, 2] = 0.0
    both = np.concatenate([x, np.full((1, 10, 1), 4.0)], axis=2)
    beta = solve(both.transpose(0, 2, 1) @ both)
    assert np.isfinite(beta).all()
    assert beta[0, :2].sum() == pytest.approx(4.0, rel=1e-4)


@pytest.mark.parametrize("horizon", [1, 5, 7, 28])
def test_blocks_end_with_the_history_and_one_more_step_moves_none(make, horizon: int) -> None:
    plan = plan_folds(make.config(horizon=horizon), 400, judging=True)
    before, after = training_origins(plan), training_origins(replace(plan, steps=401))
    assert (400 - before[-1], np.unique(np.diff(before)).tolist()) == (horizon, [horizon])
    assert after == (*before, 400)
