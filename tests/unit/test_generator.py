"""The world of the benchmarks: the same whatever slice of it is made, and its truth is the mean of what is drawn."""

import numpy as np
import pytest

from bench import generator
from bench.generator import BLOCK, HOLIDAYS, HORIZON, PRODUCTS, PROFILES, Profile, World, block, blocks

SMALL = Profile(2 * BLOCK, 400)


def joined(worlds: list[World], name: str) -> np.ndarray:
    return np.concatenate([getattr(world, name) for world in worlds])


def test_a_block_is_the_same_alone_and_among_others() -> None:
    _, second = blocks(SMALL)
    alone = block(np.arange(BLOCK, 2 * BLOCK), SMALL.days + HORIZON, 1)
    other = block(np.arange(BLOCK, 2 * BLOCK), SMALL.days + HORIZON, 2)
    np.testing.assert_array_equal(second.units, alone.units)
    np.testing.assert_array_equal(second.mean, alone.mean)
    assert (second.units != other.units).mean() > 0.3


def test_keys_are_stores_and_products_and_occur_once() -> None:
    worlds = list(blocks(SMALL))
    keys = set(zip(joined(worlds, "store").tolist(), joined(worlds, "product").tolist(), strict=True))
    assert len(keys) == SMALL.series
    assert joined(worlds, "product").max() == PRODUCTS - 1


def test_the_truth_is_the_mean_of_what_is_drawn() -> None:
    worlds = list(blocks(SMALL))
    units, mean = joined(worlds, "units"), joined(worlds, "mean")
    alive = units >= 0
    assert 0.98 < units[alive].sum() / mean[alive].sum() < 1.02
    assert (mean[~alive] == 0).all()
    assert 0.03 < (~alive).mean() < 0.15, "some begin late or end early"
    promotion, price = joined(worlds, "promotion"), joined(worlds, "price")
    assert mean[promotion & alive].mean() > 1.5 * mean[~promotion & alive].mean()
    assert price[promotion].mean() < price[~promotion].mean()
    assert 0.1 < ((units == 0) & alive).mean() < 0.6


@pytest.fixture(scope="module")
def years() -> dict[str, np.ndarray]:
    """Four hundred series over three years, every array of them."""
    worlds = list(blocks(Profile(4 * BLOCK, 3 * 365)))
    return {name: joined(worlds, name) for name in World.__dataclass_fields__}


def effect(years: dict[str, np.ndarray], on: np.ndarray) -> np.ndarray:
    """Log of the true mean where `on` against where not, per series that lives all the time and sells often."""
    mean = years["mean"]
    dense = (years["units"] >= 0).all(axis=1) & (mean.min(axis=1) > 0.05)
    logs, on = np.log(mean[dense]), np.broadcast_to(on, mean.shape)[dense]
    return (logs * on).sum(axis=1) / on.sum(axis=1) - (logs * ~on).sum(axis=1) / (~on).sum(axis=1)


def test_weeks_and_years_have_a_season(years: dict[str, np.ndarray]) -> None:
    day = np.arange(years["mean"].shape[1])
    by_weekday = np.stack([effect(years, day % 7 == k) for k in range(7)])
    by_quarter = np.stack([effect(years, day % 365.25 // 91.4 == k) for k in range(4)])
    by_ninth_day = np.stack([effect(years, day % 9 == k) for k in range(9)])
    assert by_weekday.std() > 0.15
    assert by_quarter.std() > 0.1
    assert by_ninth_day.std() < 0.05, "a cycle that is not there"


def test_holidays_promotions_and_prices_move_sales(years: dict[str, np.ndarray]) -> None:
    day = np.arange(years["mean"].shape[1])
    assert (years["holiday"] == np.isin(day % 365 + 1, HOLIDAYS)).all()
    assert 0.2 < effect(years, np.isin(day % 365 + 1, HOLIDAYS)).mean() < 0.4
    cheap = years["promotion"] & (years["price"] < -0.2)
    assert 0.8 < effect(years, cheap).mean() < 1.2, "a lift of 0.6 and -1.8 times the log of 0.8"
    dear = ~years["promotion"] & (years["price"] > 0)
    assert -0.35 < effect(years, dear).mean() < -0.1


def test_half_of_the_series_have_a_trend() -> None:
    day = np.arange(1000)
    lines = np.concatenate([generator._trend(np.arange(k, k + BLOCK), day, 1) for k in range(0, 10 * BLOCK, BLOCK)])
    assert np.allclose(np.diff(lines, n=2, axis=1), 0)
    assert 0.45 < (lines != 0).any(axis=1).mean() < 0.55
    assert 0.02 < (lines[:, 730] - lines[:, 365]).std() < 0.05


def test_shares_of_sparse_late_ended_and_sold_out_series(years: dict[str, np.ndarray]) -> None:
    units, mean = years["units"], years["mean"]
    alive = units >= 0
    assert 0.05 < (~alive[:, 0]).mean() < 0.15
    assert 0.01 < (~alive[:, -1]).mean() < 0.06
    average = mean.sum(axis=1) / np.maximum(alive.sum(axis=1), 1)
    assert 0.13 < (average < 0.35).mean() < 0.35
    runs = np.lib.stride_tricks.sliding_window_view((units == 0) & (mean > 2), 14, axis=1).all(axis=2)
    sold_out = runs.any(axis=1)
    assert 1 <= sold_out.sum() <= 12
    assert not runs[:, -HORIZON:].any(), "none in the days ahead"


def test_profiles_have_the_promised_rows() -> None:
    cells = {name: profile.series * profile.days for name, profile in PROFILES.items()}
    assert (cells["XS"], cells["S"], cells["M"], cells["L"]) == (40_000, 1_000_000, 5_000_000, 40_000_000)
