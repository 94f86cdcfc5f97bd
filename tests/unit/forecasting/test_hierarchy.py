"""Series and their sums: they add up, and lie where the textbook's formula puts them."""

import numpy as np
import pytest

from ml_platform.forecasting.arrays import sum_by
from ml_platform.forecasting.hierarchy import Level, reconciled

STORES, ITEMS, HORIZON = 4, 6, 5


def fleet(seed: int = 1) -> tuple[np.ndarray, np.ndarray, list[Level]]:
    rng = np.random.default_rng(seed)
    base = rng.gamma(3.0, 2.0, (STORES * ITEMS, HORIZON))
    store, item = np.repeat(np.arange(STORES), ITEMS), np.tile(np.arange(ITEMS), STORES)
    levels = []
    for codes, groups in ((store, STORES), (item, ITEMS), (np.zeros_like(store), 1)):
        said = sum_by(base, codes, groups) * rng.uniform(0.8, 1.2, (groups, HORIZON))
        levels.append(Level(codes, said, rng.uniform(0.5, 9.0, groups)))
    return base, rng.uniform(0.5, 4.0, len(base)), levels


def by_formula(base: np.ndarray, variance: np.ndarray, levels: list[Level]) -> np.ndarray:
    """(S' W^-1 S)^-1 S' W^-1 y, with the summing matrix written out."""
    upper = [np.eye(len(one.variance))[one.codes].T for one in levels]
    summing = np.concatenate([*upper, np.eye(len(base))])
    said = np.concatenate([*(one.forecasts for one in levels), base])
    weights = np.diag(1.0 / np.concatenate([*(one.variance for one in levels), variance]))
    return np.linalg.solve(summing.T @ weights @ summing, summing.T @ weights @ said)


def test_it_is_the_least_squares_of_the_textbook() -> None:
    base, variance, levels = fleet()
    assert reconciled(base, variance, levels) == pytest.approx(by_formula(base, variance, levels), rel=1e-10)


def test_what_adds_up_stays() -> None:
    base, variance, levels = fleet()
    true = [Level(one.codes, sum_by(base, one.codes, len(one.variance)), one.variance) for one in levels]
    assert reconciled(base, variance, true) == pytest.approx(base)
    assert np.array_equal(reconciled(base, variance, []), base)


def test_a_sum_that_is_nearly_certain_is_met() -> None:
    base, variance, levels = fleet()
    total = Level(levels[2].codes, levels[2].forecasts, np.full(1, 1e-9))
    assert reconciled(base, variance, [total]).sum(axis=0) == pytest.approx(total.forecasts[0])
