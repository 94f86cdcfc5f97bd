"""Sparse counts: the right distribution, quantiles that are whole numbers, and probabilities that hold for fresh draws."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import nbinom

from ml_platform.forecasting import ForecastConfig, forecast
from ml_platform.forecasting.sparse import Counts, calibrated, grains, spreads, transforms

TENTHS = tuple(np.arange(1, 10) / 10)


def cells(size: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return np.exp(rng.normal(-0.5, 1.2, size)), rng.uniform(1.02, 6.0, size)


def test_the_distribution_is_scipys_negative_binomial() -> None:
    mean, spread = cells()
    actual = np.random.default_rng(2).integers(0, 60, len(mean)).astype(float)
    low, high = transforms(mean, actual, spread)
    peer = nbinom(mean / (spread - 1.0), 1.0 / spread)
    np.testing.assert_allclose(low, peer.cdf(actual - 1), atol=1e-12)
    np.testing.assert_allclose(high, peer.cdf(actual), atol=1e-12)


def test_quantiles_are_scipys_in_grains() -> None:
    mean, spread = cells()
    grain = np.where(np.arange(len(mean)) % 2, 1.0, 4.0)
    levels = np.tile(TENTHS, (len(mean), 1))
    got = Counts(grain, spread, levels).quantiles((mean * grain)[:, None])[:, 0]
    peer = nbinom.ppf(levels, (mean / (spread - 1.0))[:, None], (1.0 / spread)[:, None])
    np.testing.assert_array_equal(got, peer * grain[:, None])


def test_levels_make_up_for_a_spread_that_is_wrong() -> None:
    rng, (mean, _) = np.random.default_rng(3), cells(200_000)
    actual = rng.negative_binomial(mean / 1.5, 1.0 / 2.5).astype(float)
    said = np.full(len(mean), 1.2)  # the draws are wider
    low, high = transforms(mean, actual, said)
    (levels,) = calibrated(low, high, np.zeros(len(mean), dtype=np.int64), 1, TENTHS)
    fresh = rng.negative_binomial(mean / 1.5, 1.0 / 2.5).astype(float)
    low, high = transforms(mean, fresh, said)
    below = [np.clip((level - low) / np.maximum(high - low, 1e-12), 0.0, 1.0).mean() for level in levels]
    np.testing.assert_allclose(below, TENTHS, atol=0.01)
    assert abs(levels[-1] - 0.9) > 0.02


def test_a_spread_is_its_own_where_it_was_seen_and_its_groups_where_it_was_not() -> None:
    actual = np.random.default_rng(5).negative_binomial(0.25, 1.0 / 3.0, (3, 200, 7)).astype(float)
    mean = np.full(actual.shape, 0.5)
    mean[1:], actual[1:] = 0.0, 0.0
    own, group = spreads(mean, actual, np.ones(actual.shape, dtype=bool), np.array([0, 0, 1]), 2)
    assert group.tolist() == pytest.approx([3.0, 1.02], rel=0.15)
    assert own.tolist() == pytest.approx([3.0, 3.0, 1.02], rel=0.15)


def test_series_are_sparse_that_are_often_zero_and_their_unit_is_whole_where_they_are() -> None:
    nan = np.nan
    y = np.array(
        [
            [0, 2, 0, 0, 1, 0],  # sparse
            [3, 2, 0, 4, 1, 2],  # hardly ever zero
            [0, 2.5, 0, 0, 1, 0],  # not whole
            [0, 0, 0, 0, 0, 0],  # never sold
            [nan, 90, 0, nan, 90, 0],  # by the dozen
            [0, -1, 0, 0, 1, 0],  # with a return
        ],
        dtype=float,
    )
    assert grains(y) == pytest.approx([1.0, 0.0, np.sqrt(2.5) / 3, 1.0, 30.0, 1.0])


def history_of(units: np.ndarray, first: str) -> pd.DataFrame:
    """A row per shop and day of units (S, T)."""
    shops, days = units.shape
    return pd.DataFrame(
        {
            "shop": np.repeat(np.arange(shops), days),
            "day": np.tile(pd.date_range(first, periods=days), shops),
            "units": units.ravel(),
        }
    )


def bounds_of(history: pd.DataFrame) -> np.ndarray:
    """99 bounds of the forecasts of the next week, (R, 99)."""
    levels = tuple(range(2, 100, 2))
    config = ForecastConfig(
        series=("shop",), time="day", target="units", frequency="D", horizon=7, objective="wape", intervals=levels
    )
    made = forecast(history, config=config).forecasts
    names = [*(f"lo_{level}" for level in levels[::-1]), "point", *(f"hi_{level}" for level in levels)]
    return made[names].to_numpy()


def tenths_of(bounds: np.ndarray, actual: np.ndarray) -> np.ndarray:
    """Share of actual values (R, 1) in each tenth of distributions given by 99 bounds (R, 99); one with an atom counts evenly for all that it covers."""
    first, last = (bounds < actual).sum(axis=1), (bounds <= actual).sum(axis=1)
    shares = [((first <= k) & (k <= last)) / (last - first + 1) for k in range(100)]
    return np.mean(shares, axis=1).reshape(10, 10).sum(axis=1)


@pytest.mark.parametrize("size", [1, 12])
def test_each_tenth_of_a_forecast_holds_a_tenth_of_what_comes(size: int) -> None:
    rng, days, shops = np.random.default_rng(4), 250, 150
    rate = rng.uniform(0.05, 0.9, (shops, 1)) * (1.0 + 0.5 * (np.arange(days + 7) % 7 > 4))
    units = rng.poisson(rate) * rng.integers(1, 2 * size, (shops, days + 7))
    bounds = bounds_of(history_of(units[:, :days], "2022-01-03"))
    assert (bounds == np.floor(bounds)).all()
    tenths = tenths_of(bounds, units[:, days:].ravel()[:, None])
    assert tenths.min() > 0.08
    assert tenths.max() < 0.12


@pytest.mark.parametrize("open_days", [4, 5])
def test_regular_sales_of_a_shop_that_is_often_closed_have_narrow_intervals(open_days: int) -> None:
    """Poisson of 20 to 200 on some days of the week, nothing on the others: as wide as Poisson's, and every tenth holds a tenth."""
    rng, days, shops = np.random.default_rng(4), 364, 60
    units = rng.poisson((np.arange(days + 14) % 7 < open_days) * rng.uniform(20, 200, (shops, 1)))
    history = history_of(units[:, :days], "2021-01-04")
    config = {"series": ["shop"], "time": "day", "target": "units", "frequency": "D", "horizon": 14}
    made, actual = forecast(history, config=config).forecasts, units[:, days:].ravel()
    opened = actual > 0
    held = (made["lo_80"] <= actual) & (actual <= made["hi_80"])
    assert 0.75 < held[opened].mean() < 0.88
    width = (made["hi_80"] - made["lo_80"])[opened].mean() / actual[opened].mean()
    assert width < 1.4 * 2 * 1.2816 * np.sqrt(actual[opened]).mean() / actual[opened].mean()


def test_sparse_amounts_have_no_bell_either() -> None:
    """Half of the days nothing, else a gamma with decimals."""
    rng, days, shops = np.random.default_rng(2), 250, 400
    units = np.round((rng.random((shops, days + 7)) < 0.5) * rng.gamma(2.0, 4.0, (shops, days + 7)), 3)
    tenths = tenths_of(bounds_of(history_of(units[:, :days], "2022-01-03")), units[:, days:].ravel()[:, None])
    assert tenths.min() > 0.08
    assert tenths.max() < 0.12
