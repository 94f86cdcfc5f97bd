"""Blends and their choice: optimal on the simplex, shrunk, proven on folds that did not choose."""

import numpy as np
import pytest

from ml_platform.forecasting.selection import STRATEGIES, best_blend, blend, select, simplex_projection


def test_projection_is_the_nearest_point_of_the_simplex() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 4))
    projected = simplex_projection(points)
    np.testing.assert_allclose(projected.sum(axis=1), 1.0)
    assert (projected >= 0).all()
    others = rng.dirichlet(np.ones(4), size=500)
    for point, near in zip(points, projected, strict=True):
        assert ((point - near) ** 2).sum() <= ((point - others) ** 2).sum(axis=1).min() + 1e-12


def test_a_blend_beats_a_search_over_the_simplex() -> None:
    rng = np.random.default_rng(1)
    error = rng.normal(size=(5, 40, 3)) + rng.normal(size=(5, 40, 1))
    quadratic = error.transpose(0, 2, 1) @ error / 40
    weights = best_blend(quadratic, np.full((5, 3), 1 / 3), 500)
    losses = np.einsum("nf,nfg,ng->n", weights, quadratic, weights)
    grid = rng.dirichlet(np.ones(3), size=4000)
    searched = np.einsum("kf,nfg,kg->nk", grid, quadratic, grid).min(axis=1)
    assert (losses <= searched + 1e-6).all()


def products(errors: np.ndarray) -> np.ndarray:
    """(N, K, H, F) errors to (N, K, F, F) products."""
    return errors.transpose(0, 1, 3, 2) @ errors / errors.shape[2]


def test_one_clearly_better_family_gets_nearly_all_weight() -> None:
    errors = np.random.default_rng(2).normal(size=(40, 4, 14, 3)) * np.array([0.2, 1.0, 1.5])
    chosen = select(products(errors), np.ones((40, 4)), np.zeros(40, dtype=np.int64), 1)
    assert (chosen.series[:, 0] > 0.9).all()
    assert set(chosen.scores) == {*STRATEGIES, "chosen"}
    assert sum(chosen.by_strategy.values()) == 1


def test_segments_that_differ_choose_differently() -> None:
    scale = np.where((np.arange(60) < 30)[:, None], [0.3, 1.0], [1.0, 0.3])
    errors = np.random.default_rng(3).normal(size=(60, 4, 14, 2)) * scale[:, None, None, :]
    chosen = select(products(errors), np.ones((60, 4)), (np.arange(60) >= 30).astype(np.int64), 2)
    assert chosen.segment[0, 0] > 0.75
    assert chosen.segment[1, 1] > 0.75


def test_the_choice_never_scores_worse_nested_than_the_simplest_way() -> None:
    errors = np.random.default_rng(4).normal(size=(90, 4, 7, 5))
    chosen = select(products(errors), np.ones((90, 4)), np.repeat(np.arange(3), 30), 3)
    assert chosen.scores["chosen"] <= chosen.scores[STRATEGIES[0]]


def test_another_way_than_the_simplest_is_taken_where_it_is_clearly_better() -> None:
    liking = np.eye(3)[np.arange(90) % 3]  # each series has a family of its own, which no other way can know
    errors = np.random.default_rng(8).normal(size=(90, 6, 14, 3)) * (1.5 - 1.3 * liking)[:, None, None, :]
    chosen = select(products(errors), np.ones((90, 6)), np.zeros(90, dtype=np.int64), 1)
    assert chosen.by_strategy["series_blend"] == 1
    assert chosen.scores["chosen"] == chosen.scores["series_blend"] < chosen.scores["segment_blend"]


def test_no_segment_knows_of_another() -> None:
    rng = np.random.default_rng(9)
    errors, weight = rng.normal(size=(60, 4, 7, 3)), rng.uniform(1, 5, (60, 4))
    segment = np.repeat([0, 1], [40, 20])
    alone = select(products(errors)[:40], weight[:40], segment[:40], 2)
    both = select(products(errors * np.where(segment == 1, 9.0, 1.0)[:, None, None, None]), weight, segment, 2)
    np.testing.assert_allclose(both.series[:40], alone.series, rtol=1e-12)


def test_noise_alone_does_not_make_a_winner_per_series() -> None:
    errors = np.random.default_rng(5).normal(size=(300, 4, 7, 4))
    chosen = select(products(errors), np.ones((300, 4)), np.zeros(300, dtype=np.int64), 1)
    assert chosen.series.max() < 0.5


@pytest.mark.parametrize("folds", [0, 1])
def test_few_folds_still_give_weights(folds: int) -> None:
    errors = np.random.default_rng(6).normal(size=(5, folds, 7, 3))
    chosen = select(products(errors), np.ones((5, folds)), np.zeros(5, dtype=np.int64), 2)
    np.testing.assert_allclose(chosen.series.sum(axis=1), 1.0)
    np.testing.assert_allclose(chosen.segment.sum(axis=1), 1.0)


def test_blends_are_arithmetic_or_geometric() -> None:
    forecasts = np.array([[[2.0, 8.0]]])
    weights = np.array([[0.5, 0.5]])
    assert blend(forecasts, weights, log=False)[0, 0] == pytest.approx(5.0)
    assert blend(forecasts, weights, log=True)[0, 0] == pytest.approx(4.0)
