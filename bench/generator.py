"""Seeded daily sales whose truth is known: every value is a draw around a mean that is kept beside it.

Belongs here: the world that benchmarks forecast, any slice of it at a time. Does not belong here: measuring. Series come in blocks of BLOCK
with a seed of their own, so that a slice is the same whatever else is made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

BLOCK, PRODUCTS, KINDS = 100, 50, 4  # series per block; products per store; kinds of stores
FIRST, HORIZON = date(2015, 1, 1), 28
SIZE = 5.0  # of the negative binomial: variance = mean + mean^2 / SIZE
HOLIDAYS = (1, 14, 45, 90, 121, 150, 185, 230, 280, 330, 359, 365)  # days of a year
SPARSE, LATE, ENDED, BROKEN, OUT, TREND = 0.20, 0.10, 0.03, 0.02, 0.01, 0.50  # shares of series
GROWTH = 0.05  # spread of a trend per year, in logs


@dataclass(frozen=True)
class Profile:
    """How many series, and how many days of history each."""

    series: int
    days: int


PROFILES = {
    "XS": Profile(100, 400),
    "S": Profile(1_000, 1_000),
    "M": Profile(1_250, 4_000),
    "L": Profile(10_000, 4_000),
}


@dataclass(frozen=True)
class World:
    """A block of series over days (S, T + H): units sold, their true mean, log of price to the usual one, promotion, holiday; days outside a series' life are -1.

    store and product (S,) are the key.
    """

    store: npt.NDArray[np.int64]
    product: npt.NDArray[np.int64]
    units: npt.NDArray[np.int32]
    mean: Floats
    price: Floats
    promotion: npt.NDArray[np.bool_]
    holiday: npt.NDArray[np.bool_]


def blocks(profile: Profile, seed: int = 1) -> Iterator[World]:
    """The world of a profile, BLOCK series at a time."""
    for first in range(0, profile.series, BLOCK):
        yield block(np.arange(first, min(first + BLOCK, profile.series)), profile.days + HORIZON, seed)


def block(number: npt.NDArray[np.int64], days: int, seed: int) -> World:
    """The series of these numbers, which are of one block."""
    rng = np.random.default_rng([seed, 0, int(number[0]) // BLOCK])
    store, product = number // PRODUCTS, number % PRODUCTS
    day, shape = np.arange(days), (len(number), days)
    promotion = np.repeat(rng.random((len(number), -(-days // 7))) < 0.08, 7, axis=1)[:, :days]
    price = np.where(promotion, np.log(0.8), 0.0) + np.where(rng.random(shape) < 0.02, np.log(1.1), 0.0)
    holiday = np.isin(day % 365 + 1, HOLIDAYS)
    level = _store(store, days, seed) + _product(product, day, seed) + rng.normal(0.0, 0.5, (len(number), 1))
    level += _trend(number, day, seed)
    level += np.cumsum(rng.normal(0.0, 0.01, shape), axis=1) + _weekday(store % KINDS, day, seed)
    level += price * rng.normal(-1.8, 0.5, (len(number), 1)) + promotion * rng.normal(0.6, 0.2, (len(number), 1))
    level += holiday * rng.normal(0.3, 0.3, (len(number), 1))
    mean, alive = np.exp(np.minimum(level, 8.0)), _lives(rng, shape)
    mean *= _fates(rng, shape)
    units = rng.negative_binomial(SIZE, SIZE / (SIZE + np.maximum(mean, 1e-9)))
    units = np.where(_stock_outs(rng, shape), 0, units)
    return World(
        store,
        product,
        np.where(alive, units, -1).astype(np.int32),
        np.where(alive, mean, 0.0).astype(np.float32),
        price.astype(np.float32),
        promotion,
        np.broadcast_to(holiday, shape),
    )


def _store(store: npt.NDArray[np.int64], days: int, seed: int) -> npt.NDArray[np.float64]:
    """Level of a store and its shocks by day, which its series share: (S, T)."""
    found = {one: np.random.default_rng([seed, 1, one]).normal(0.0, 1.0, days + 1) for one in np.unique(store).tolist()}
    return np.stack([0.5 * found[one][0] + 0.05 * found[one][1:] for one in store.tolist()])


def _product(product: npt.NDArray[np.int64], day: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float64]:
    """Level of a product and its two harmonics of the year, (S, T)."""
    rng = np.random.default_rng([seed, 2])
    level, waves = rng.normal(0.8, 0.7, PRODUCTS), rng.normal(0.0, 0.15, (PRODUCTS, 4))
    angle = 2 * np.pi * np.outer([1, 2], day) / 365.25
    return np.asarray(level[product][:, None] + waves[product] @ np.concatenate([np.sin(angle), np.cos(angle)]))


def _trend(number: npt.NDArray[np.int64], day: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float64]:
    """Straight lines in logs, (S, T), flat for the series without a trend; 0 in the middle of the first year."""
    rng = np.random.default_rng([seed, 4, int(number[0]) // BLOCK])
    slope = np.where(rng.random(len(number)) < TREND, rng.normal(0.0, GROWTH, len(number)), 0.0)
    return np.asarray(np.outer(slope, day / 365.25 - 0.5))


def _weekday(kind: npt.NDArray[np.int64], day: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.float64]:
    profiles = np.random.default_rng([seed, 3]).normal(0.0, 0.25, (KINDS, 7))
    return np.asarray(profiles[kind][:, day % 7])


def _lives(rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Days of each series' life: some begin late, some end early."""
    series, days = shape
    begins = np.where(rng.random(series) < LATE, rng.integers(0, days - 3 * HORIZON, series), 0)
    ends = np.where(rng.random(series) < ENDED, days - rng.integers(HORIZON, 7 * HORIZON, series), days)
    day = np.arange(days)
    return (day >= begins[:, None]) & (day < np.maximum(ends, begins + HORIZON)[:, None])


def _fates(rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Factors (S, T): series that hardly sell, and levels that break."""
    series, days = shape
    sparse = np.where(rng.random(series) < SPARSE, 0.04, 1.0)
    at = np.where(rng.random(series) < BROKEN, rng.integers(days // 2, days, series), days)
    after = np.exp(rng.normal(0.0, 0.7, series))
    return sparse[:, None] * np.where(np.arange(days) >= at[:, None], after[:, None], 1.0)


def _stock_outs(rng: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Runs of two weeks in which nothing could be sold, of a few series; none within the horizon."""
    series, days = shape
    begins = np.where(rng.random(series) < OUT, rng.integers(0, days - HORIZON - 14, series), days)
    day = np.arange(days)
    return np.asarray((day >= begins[:, None]) & (day < begins[:, None] + 14))
