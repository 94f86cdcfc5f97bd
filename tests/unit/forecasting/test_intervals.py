"""Intervals: quantiles as numpy has them, coverage as promised, points as the objective wants them."""

import numpy as np
import pytest

from ml_platform.forecasting.bounds import hold_bounds, least_amount, quantile_levels, unit
from ml_platform.forecasting.calendar import plan_folds
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.intervals import Residuals, Spreads, measure, row_quantiles
from ml_platform.forecasting.pools import Kind, Setup


def setup_of(kind: Kind, **changes: object) -> Setup:
    values = {"series": ["a"], "time": "t", "target": "y", "frequency": "D", "horizon": 6} | changes
    config = ForecastConfig.model_validate(values)
    return Setup(config, plan_folds(config, 100, False), kind, 2)


def told(mean: np.ndarray, actual: np.ndarray, segment: np.ndarray | None = None) -> Residuals:
    none = np.zeros(len(mean))
    return Residuals(
        mean, actual, none + 40.0, none, np.zeros(len(mean), dtype=np.int64) if segment is None else segment
    )


def spreads_of(mean: np.ndarray, actual: np.ndarray, setup: Setup) -> Spreads:
    return measure(told(mean, actual), setup)


def test_quantiles_ignore_what_is_unknown() -> None:
    values = np.random.default_rng(0).normal(size=(6, 31))
    values[2, 5:] = np.nan
    values[4, :] = np.nan
    got, count = row_quantiles(values, (0.1, 0.5, 0.9))
    for row in (0, 1, 2, 3, 5):
        np.testing.assert_allclose(got[row], np.nanquantile(values[row], (0.1, 0.5, 0.9)))
    assert np.isnan(got[4]).all()
    assert count.tolist() == [31, 31, 5, 31, 0, 31]


def test_levels_run_from_the_lowest_bound_to_the_highest_then_the_median() -> None:
    config = setup_of("counts").config
    assert quantile_levels(config) == pytest.approx((0.025, 0.1, 0.9, 0.975, 0.5))


@pytest.mark.parametrize("kind", ["counts", "positive", "real"])
def test_bounds_cover_fresh_draws(kind: Kind) -> None:
    rng = np.random.default_rng(1)
    mean = np.repeat(rng.uniform(5, 50, (200, 1, 1)), 16, axis=1).repeat(6, axis=2)
    actual = mean + np.sqrt(mean) * rng.normal(size=mean.shape)
    segment, setup = (np.arange(200) % 2).astype(np.int64), setup_of(kind)
    known = told(mean, actual, segment)
    spreads = measure(known, setup)
    said = mean[:, 0] * spreads.mean[segment][:, None]
    bounds = spreads.law(known, actual.max(axis=(1, 2))).bounds(said, setup)
    fresh = mean[:, 0] + np.sqrt(mean[:, 0]) * rng.normal(size=said.shape)
    inside = (bounds[:, :, 1] <= fresh) & (fresh <= bounds[:, :, 2])
    assert 0.75 < inside.mean() < 0.85


def drawn(rng: np.random.Generator, origins: int, shared: float) -> tuple[np.ndarray, np.ndarray]:
    """Means (120, J, 6), and actual values whose errors of an origin have so much of their variance in common."""
    mean = np.full((120, origins, 6), 30.0)
    common = rng.normal(size=(1, origins, 1)) * np.sqrt(shared)
    return mean, mean + 5.0 * (common + rng.normal(size=mean.shape) * np.sqrt(1.0 - shared))


def test_fewer_origins_make_wider_intervals_the_more_their_errors_have_in_common() -> None:
    setup = setup_of("real")

    def widths(origins: int, shared: float) -> tuple[float, float]:
        """Mean width of the 80 % interval over what the residuals alone say, and how often it holds what the next origin brings."""
        ratios, held = [], []
        for seed in range(60):
            rng = np.random.default_rng([seed, origins])
            mean, actual = drawn(rng, origins, shared)
            known = told(mean, actual)
            bounds = measure(known, setup).law(known, np.full(120, 100.0)).bounds(mean[:, 0], setup)
            alone = np.subtract(*np.quantile((actual - mean).ravel(), (0.9, 0.1)))
            _, fresh = drawn(rng, 1, shared)
            ratios.append(float((bounds[:, :, 2] - bounds[:, :, 1]).mean() / alone))
            held.append(float(((bounds[:, :, 1] <= fresh[:, 0]) & (fresh[:, 0] <= bounds[:, :, 2])).mean()))
        return float(np.mean(ratios)), float(np.mean(held))

    (many, covers_many), (few, covers_few) = widths(16, 0.6), widths(3, 0.6)
    assert few > 1.05 * many
    assert covers_few > 0.70
    apart, covers_apart = widths(3, 0.0)
    assert apart < 1.02 * widths(16, 0.0)[0]
    assert all(0.76 < one < 0.84 for one in (covers_many, covers_apart))
    assert widths(1, 0.0)[0] > 1.05 * apart  # one origin does not tell what it has in common


def test_later_steps_are_wider_where_errors_grow() -> None:
    rng = np.random.default_rng(2)
    mean = np.full((300, 10, 6), 20.0)
    actual = mean + rng.normal(size=mean.shape) * np.arange(1, 7)
    spreads = spreads_of(mean, actual, setup_of("counts"))
    assert (np.diff(spreads.steps[0]) > 0).all()


def test_the_point_for_mape_has_the_least_percentage_error() -> None:
    rng = np.random.default_rng(3)
    mean = np.full((1, 200, 6), 10.0)
    actual = mean * np.exp(rng.normal(0, 0.6, mean.shape))
    spreads = spreads_of(mean, actual, setup_of("counts", objective="mape"))
    factors = np.linspace(0.2, 2.0, 181)
    errors = [(np.abs(actual - factor * mean) / actual).mean() for factor in factors]
    assert spreads.point[0] == pytest.approx(factors[int(np.argmin(errors))], abs=0.02)
    assert spreads.point[0] < 1.0


def test_without_residuals_bounds_are_those_of_a_bell_and_as_wide_as_with_one_origin() -> None:
    empty, setup = np.zeros((3, 0, 6)), setup_of("counts")
    spreads = spreads_of(empty, empty, setup)
    wider = np.sqrt(1.5 / (1.0 + 0.5 / 16))  # a quarter of the variance is held to be common
    bell = np.array([-1.960, -1.282, 1.282, 1.960, 0.0])
    assert spreads.series[0].tolist() == pytest.approx((wider * bell).tolist(), abs=0.002)
    assert (spreads.steps == 1).all()


def test_the_least_amount_is_one_value_in_all_steps() -> None:
    values = np.array([[0.0, 4.0, 0.0, 2.0, np.nan], [0.0] * 5, [np.nan] * 5])
    assert least_amount(values, "counts").tolist() == [3.0 / 4, 0.0, 0.0]
    assert least_amount(values, "real").tolist() == pytest.approx([np.sqrt((16 + 16 + 4) / 3 / 3), 0.0, 0.0])


def test_a_unit_is_never_below_the_least() -> None:
    mean, scale, least = np.array([[0.0, 0.01, 9.0]]), np.array([0.0]), np.array([0.04])
    assert unit(mean, scale, "counts", least)[0].tolist() == pytest.approx([0.2, 0.2, 3.0])
    assert unit(mean, scale, "positive", least)[0].tolist() == pytest.approx([0.04, 0.04, 9.0])
    assert unit(mean, scale, "real", least)[0].tolist() == pytest.approx([0.04] * 3)


def test_a_mean_of_zero_at_some_origins_spoils_no_quantile() -> None:
    rng = np.random.default_rng(4)
    actual = rng.poisson(2.0, (50, 16, 6)).astype(float)
    mean = np.where(np.arange(16)[None, :, None] % 4 == 0, 0.0, np.full(actual.shape, 2.0))
    spreads = spreads_of(mean, actual, setup_of("counts"))
    assert np.abs(spreads.series).max() < 100


def test_bounds_stay_as_near_as_the_largest_value_or_four_units() -> None:
    mean, spread = np.array([[1.0], [9.0]]), np.array([[1.0], [3.0]])
    values = np.array([[[-50.0, 3.0, 50.0]], [[-50.0, 3.0, 50.0]]])
    got = hold_bounds(values, mean, spread, np.array([6.0, 2.0]))
    assert got[:, 0].tolist() == [[-5.0, 3.0, 7.0], [-3.0, 3.0, 21.0]]
