"""The world of the benchmarks: the same whatever slice of it is made, and its truth is the mean of what is drawn."""

import numpy as np

from bench.generator import BLOCK, HORIZON, PRODUCTS, Profile, World, block, blocks

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
