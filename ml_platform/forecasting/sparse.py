"""Sparse counts: a negative binomial around the mean, whose quantiles are whole numbers and mostly 0.

Belongs here: which series are sparse, the distribution, its calibration by what past origins held. Does not belong here: intervals of
other series (intervals). With variance = spread x mean (the form NB1 of Cameron, Trivedi 1986) one number per series says how clumped its
values are. Calibration by the histogram of probability integral transforms that Czado, Gneiting, Held 2009 give for counts: a value with
an atom counts evenly for all probabilities that the atom covers, so that nothing is drawn at random.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np

from ml_platform.forecasting.arrays import Bools, sum_by
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.choice import OFTEN_ZERO

LOTS = 3.0  # values of usual size are about so many grains
MOST_LOTS = 120.0  # at most, where errors are so small
LARGEST = 400  # grains that are told apart
USUAL = 12.0  # grains beyond which a value says nothing of how clumped the others are
LEAST_SPREAD = 1.02  # Poisson, nearly
SERIES_CELLS = 30.0  # cells of its class that a series' spread counts for its own
EVEN_CELLS = 50.0  # cells that say the distribution is right as it is
BINS = 500  # of the probability integral transform


@dataclass(frozen=True)
class Tally:
    """What says how a series is counted, by series (S,): steps since its first value that is not 0, values more than 0 and the sum of their
    logarithms, and values that are no whole numbers.
    """

    steps: Floats
    sold: Floats
    logs: Floats
    odd: Floats

    @classmethod
    def of(cls, y: Floats, begun: Bools | bool = False) -> Self:
        """Of values (S, T), NaN unknown; begun (S,): series that had a value before them."""
        known, started = ~np.isnan(y), np.maximum.accumulate(np.nan_to_num(y) != 0, axis=1)
        whole = np.where(known, y, 0.0)
        steps = known & (started | np.asarray(begun)[..., None])
        logs = np.log(np.where(whole > 0, whole, 1.0))
        return cls(*(each.sum(axis=1).astype(float) for each in (steps, whole > 0, logs, whole != np.floor(whole))))

    @classmethod
    def from_rows(cls, rows: Floats) -> Self:
        """From one row per series (S, 4)."""
        return cls(*rows.T.copy())

    def rows(self) -> Floats:
        """One row per series (S, 4)."""
        return np.stack([self.steps, self.sold, self.logs, self.odd], axis=1)

    def later(self, y: Floats) -> "Tally":
        """With the values of one more step (S,)."""
        return Tally.from_rows(self.rows() + Tally.of(y[:, None], self.steps > 0).rows())

    def grains(self) -> Floats:
        """The unit in which each series is counted (S,), whole where its values are, 0 where it is not sparse."""
        size = np.exp(self.logs / np.maximum(self.sold, 1.0))  # one odd value is not the usual size
        often = self.steps - self.sold > OFTEN_ZERO * np.maximum(self.steps, 1.0)
        grain = np.where(self.odd > 0, size / LOTS, np.maximum(np.round(size / LOTS), 1.0))
        return np.asarray(np.where(often | (self.steps == 0), grain, 0.0))


def grains(y: Floats) -> Floats:
    """The unit in which each series is counted (S,), see Tally.grains; y (S, T), NaN unknown."""
    return Tally.of(y).grains()


@dataclass(frozen=True)
class Counts:
    """Negative binomials of S sparse series: grain (S,), spread (S,) = variance over mean in grains, probabilities (S, Q) of the bounds.

    A spread below that of Poisson's distribution asks for finer grains, see `finer`.
    """

    grain: Floats
    spread: Floats
    levels: Floats

    def take(self, rows: Ints) -> "Counts":
        """Those of some series."""
        return Counts(self.grain[rows], self.spread[rows], self.levels[rows])

    def quantiles(self, mean: Floats) -> Floats:
        """The least value whose probability reaches each level, (S, H, Q), for means (S, H)."""
        grain, finest = finer(self.grain, self.spread)
        lots = mean / grain[:, None]
        shape = (*lots.shape, self.levels.shape[1])
        level = np.broadcast_to(self.levels[:, None, :], shape).reshape(-1, shape[2])
        found = _least(lots.ravel(), np.repeat(finest, shape[1]), level).reshape(shape)
        return np.asarray(found * grain[:, None, None])


def finer(grain: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """Grains (S,) so fine that the spread in them is one that a negative binomial can have, and that spread (S,).

    What rests at weekends has many zeros and regular values on other days: a third of those is too coarse for it. Whole grains stay whole.
    """
    fine = np.maximum(grain * np.minimum(spread / LEAST_SPREAD, 1.0), grain * LOTS / MOST_LOTS)
    whole = grain == np.round(grain)
    fine = np.where(whole, np.maximum(np.floor(fine), np.minimum(grain, 1.0)), fine)
    return fine, np.maximum(spread * grain / np.where(fine > 0, fine, 1.0), LEAST_SPREAD)


def _least(mean: Floats, spread: Floats, levels: Floats) -> Floats:
    """Quantiles (C, Q) of cells with these means and spreads (C,)."""
    found = np.zeros(levels.shape)
    for k, (cells, _, reached) in enumerate(
        _walk(mean, spread, np.full(len(mean), LARGEST), levels.max(axis=1, initial=0.0))
    ):
        found[cells] += reached[:, None] < levels[cells] if k < LARGEST else 0.0
    return found


def _walk(mean: Floats, spread: Floats, last: Ints, enough: Floats) -> Iterator[tuple[Ints, Floats, Floats]]:
    """For k = 0, 1, ...: the cells that are not done (C,), and P(Y < k), P(Y <= k) of them; a cell is done after `last`, or once P reaches `enough`."""
    cells = np.arange(len(mean))
    odds = 1.0 - 1.0 / spread
    shape = mean / (spread - 1.0)
    chance = np.exp(-shape * np.log(spread))
    below, reached, k = np.zeros(len(mean)), chance.copy(), 0
    while len(cells):
        yield cells, below, reached
        left = (k < last[cells]) & (reached < enough[cells])
        cells, below = cells[left], reached[left]
        shape, odds = shape[left], odds[left]
        chance = chance[left] * (k + shape) * odds / (k + 1.0)
        reached, k = below + chance, k + 1


def transforms(mean: Floats, actual: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """P(Y < actual) and P(Y <= actual) of cells (C,), in grains."""
    low, high = np.zeros(len(mean)), np.ones(len(mean))
    last = np.minimum(np.ceil(actual), LARGEST).astype(np.int64)
    for k, (cells, below, reached) in enumerate(_walk(mean, spread, last, np.full(len(mean), 2.0))):
        here = last[cells] == k
        low[cells[here]], high[cells[here]] = below[here], reached[here]
    return np.minimum(low, 1.0), np.minimum(high, 1.0)


def calibrated(low: Floats, high: Floats, code: Ints, groups: int, probabilities: tuple[float, ...]) -> Floats:
    """For each group the level that as many actual values stayed below as each probability says, (G, Q); cells (C,)."""
    start = np.minimum((low * BINS).astype(np.int64), BINS - 1)
    end = np.maximum(np.ceil(high * BINS).astype(np.int64), start + 1)
    mass = 1.0 / (end - start)
    width, both = BINS + 1, groups * (BINS + 1)
    rise = np.bincount(code * width + start, mass, both) - np.bincount(code * width + end, mass, both)
    density = np.cumsum(rise.reshape(groups, width), axis=1)[:, :BINS] + EVEN_CELLS / BINS
    reached = np.cumsum(density, axis=1) / density.sum(axis=1, keepdims=True)
    grid = np.arange(BINS + 1) / BINS
    return np.stack([np.interp(probabilities, np.concatenate([[0.0], row]), grid) for row in reached])


def spreads(mean: Floats, actual: Floats, seen: Bools, code: Ints, groups: int) -> tuple[Floats, Floats]:
    """Variance over mean of series (N,) and of their groups (G,) from cells (N, J, H) in grains; code (N,)."""
    told, held = np.minimum(mean, USUAL), np.minimum(actual, USUAL)
    total, squares = (
        np.where(seen, told, 0.0).sum(axis=(1, 2)),
        np.where(seen, (held - told) ** 2, 0.0).sum(axis=(1, 2)),
    )
    group = (sum_by(squares, code, groups) + 1e-9) / (sum_by(total, code, groups) + 1e-9)
    prior = SERIES_CELLS * total / np.maximum(seen.sum(axis=(1, 2)), 1)
    own = np.where(total > 0, (squares + prior * group[code]) / np.maximum(total + prior, 1e-12), group[code])
    return own, group
