"""Grams: what ridge rows add up to per series, row by row.

Belongs here: rows with features and response, their running weighted products. Does not belong here: features and solves (ridge).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from ml_platform.forecasting.calendar import Floats, Ints


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
        rows = self._fade(block.rows, first)
        both = np.concatenate([block.x, block.z[:, :, None]], axis=2)
        self.gram += (both * rows[:, :, None]).transpose(0, 2, 1) @ both
        self.weight += rows.sum(axis=1)

    def _fade(self, rows: Floats, first: int) -> Floats:
        """Fade what is there to the newest of these rows (S, n); returns how much of each is left."""
        steps = first + np.arange(rows.shape[1])
        newest = np.maximum(np.where(rows > 0, steps, -1).max(axis=1, initial=-1), self.last)
        if self.decay > 0:
            keep = (1.0 - self.decay) ** (newest - self.last)
            self.gram *= keep[:, None, None]
            self.weight *= keep
            rows = rows * (1.0 - self.decay) ** np.maximum(newest[:, None] - steps, 0)
        self.last = newest
        return rows

    def until(self, origin: int) -> tuple[Floats, Floats]:
        """Gram and weight faded to the last step before an origin, for sums over series."""
        if self.decay == 0:
            return self.gram, self.weight
        keep = (1.0 - self.decay) ** np.maximum(origin - 1 - self.last, 0)
        return self.gram * keep[:, None, None], self.weight * keep


def upper_triangle(matrices: Floats) -> Floats:
    """Values on and above the diagonal of symmetric matrices (N, F, F), row by row: (N, F (F + 1) / 2)."""
    return np.asarray(matrices[:, *np.triu_indices(matrices.shape[1])])


def symmetric(triangles: Floats, width: int) -> Floats:
    """Symmetric matrices (N, F, F) from what upper_triangle gave."""
    out, (row, column) = np.zeros((len(triangles), width, width)), np.triu_indices(width)
    out[:, row, column] = triangles
    out[:, column, row] = triangles
    return out
