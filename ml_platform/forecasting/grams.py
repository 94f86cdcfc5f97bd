"""Grams: what rows of regressions add up to per series, row by row, and batched solves.

Belongs here: rows with features and response, their running weighted products, how they fade. Does not belong here: features (ridge, lags).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from ml_platform.forecasting.arrays import Bools
from ml_platform.forecasting.calendar import Floats, Ints

JITTER = 1e-6
DECAY = {"counts": 0.0, "real": 0.0, "positive": 0.01}  # of a row with every step after it, by kind of values


@dataclass(frozen=True)
class Block:
    """Features x (S, n, F) of n steps, scale (S,) of the series at the origin, response z (S, n) and its row weights (S, n)."""

    x: Floats
    scale: Floats
    z: Floats
    rows: Floats


@dataclass
class Grams:
    """Weighted products of features and response, gram (S, F + 1, F + 1), and the weight (S,) of all rows up to `last` (S,).

    A row fades by 1 - `decay` with every step between it and the last row of its series, which `last` names (-1: none): a series
    without new rows stays as it is. The last column of a gram belongs to the response. Rows are added in place.
    """

    gram: Floats
    weight: Floats
    last: Ints
    decay: float

    @classmethod
    def empty(cls, size: int, width: int, decay: float) -> Self:
        """Without rows."""
        return cls(np.zeros((size, width + 1, width + 1)), np.zeros(size), np.full(size, -1, dtype=np.int64), decay)

    def add(self, block: Block, first: int) -> None:
        """Take in the rows of consecutive steps, the first of which is `first`."""
        fading = Fading.of(block.rows > 0, first, self.last, np.asarray([self.decay]))
        rows = block.rows * fading.weights[0] if self.decay else block.rows
        both = np.concatenate([block.x, block.z[:, :, None]], axis=2)
        self.gram *= fading.kept[:, :1, None]
        self.weight *= fading.kept[:, 0]
        self.gram += (both * rows[:, :, None]).transpose(0, 2, 1) @ both * fading.grown[:, :1, None]
        self.weight += rows.sum(axis=1) * fading.grown[:, 0]
        self.last = fading.newest

    def until(self, origin: int) -> tuple[Floats, Floats]:
        """Gram and weight faded to the last step before an origin, for sums over series."""
        if self.decay == 0:
            return self.gram, self.weight
        keep = (1.0 - self.decay) ** np.maximum(origin - 1 - self.last, 0)
        return self.gram * keep[:, None, None], self.weight * keep


@dataclass(frozen=True)
class Fading:
    """How rows of S series fade at D rates by which some of n consecutive steps are added.

    A row fades by its rate with every step between it and the newest row of its series, newest (S,): weights (D, n) fade to the last of the
    steps, times grown (S, D) to the newest row, and sums of older rows are left with kept (S, D).
    """

    weights: Floats
    grown: Floats
    kept: Floats
    newest: Ints

    @classmethod
    def of(cls, seen: Bools, first: int, last: Ints, rates: Floats) -> Self:
        """Of steps that are rows where `seen` (S, n); first: number of the first step; last (S,): that of the newest row before, -1 without any."""
        there, steps = seen.any(axis=1), seen.shape[1]
        after = np.where(there, seen[:, ::-1].argmax(axis=1), 0)  # steps after the newest row
        newest = np.where(there, first + steps - 1 - after, last)
        left = 1.0 - rates
        return cls(
            left[:, None] ** np.arange(steps)[::-1], left ** -after[:, None], left ** (newest - last)[:, None], newest
        )


def solve(gram: Floats) -> Floats:
    """Coefficients (N, F) of bordered grams (N, F + 1, F + 1); a tiny ridge, in each column's own unit, keeps columns that are equal apart."""
    inner = gram[:, :-1, :-1].copy()
    place = np.arange(inner.shape[1])
    diagonal = inner[:, place, place]
    inner[:, place, place] = np.where(diagonal > 0, diagonal * (1 + JITTER), 1.0)
    return np.asarray(np.linalg.solve(inner, gram[:, :-1, -1:])[:, :, 0])


def solve_series(gram: Floats, prior: Floats, prior_gram: Floats, strength: Floats) -> Floats:
    """Coefficients per series (S, F): own rows plus `strength` (S,) units of rows that say what the segment says."""
    extra = strength[:, None, None] * prior_gram
    joined = gram.copy()
    joined[:, :-1, :-1] += extra
    joined[:, :-1, -1] += (extra @ prior[:, :, None])[:, :, 0]
    return solve(joined)


def upper_triangle(matrices: Floats) -> Floats:
    """Values on and above the diagonal of symmetric matrices (N, F, F), row by row: (N, F (F + 1) / 2)."""
    return np.asarray(matrices[:, *np.triu_indices(matrices.shape[1])])


def triangle(width: int) -> int:
    """How many values upper_triangle gives of matrices of a width."""
    return width * (width + 1) // 2


def symmetric(triangles: Floats, width: int) -> Floats:
    """Symmetric matrices (N, F, F) from what upper_triangle gave."""
    out, (row, column) = np.zeros((len(triangles), width, width)), np.triu_indices(width)
    out[:, row, column] = triangles
    out[:, column, row] = triangles
    return out
