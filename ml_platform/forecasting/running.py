"""Running: what exponential means and sparse demand remember of a history, one step after the other.

Belongs here: their one recursion, for past origins and for the newest day alike. Does not belong here: levels that need a window (levels).
"""

from typing import Self

import numpy as np
import numpy.typing as npt

from ml_platform.forecasting.arrays import Bools
from ml_platform.forecasting.calendar import Floats, Ints

SMOOTHING = {"ses_01": 0.01, "ses_05": 0.05, "ses_20": 0.2}
SPARSE = ("tsb", "croston", "sba")
OCCURRENCE, SIZE = 0.02, 0.05  # smoothing of TSB: how often, and how much at a time
DEMAND = 0.1  # Croston's smoothing of sizes and of the steps between them
RATES = np.array([*SMOOTHING.values(), OCCURRENCE])[:, None]
MEANS = len(RATES)


class Running:
    """State (13, S) of S series after `steps` steps: exponential sums and their weights, TSB's size, Croston's size, gap and steps since.

    One step changes it in place: a walk over thousands of steps makes no copies.
    """

    WIDTH = 2 * MEANS + 5

    def __init__(self, state: Floats, steps: int) -> None:
        self.state, self.steps = state, steps
        self._value, self._weight = state[:MEANS], state[MEANS : 2 * MEANS]
        self._amount, self._amount_weight, self._size, self._gap, self._since = state[2 * MEANS :]

    @classmethod
    def begun(cls, size: int) -> Self:
        """Before the first step."""
        return cls(np.zeros((cls.WIDTH, size)), 0)

    @classmethod
    def from_rows(cls, rows: Floats, steps: int) -> Self:
        """From one row per series (S, 13), which stay as they are."""
        return cls(np.array(rows.T, order="C"), steps)

    def rows(self) -> Floats:
        """One row per series (S, 13)."""
        return np.ascontiguousarray(self.state.T)

    def step(self, y: Floats, seen: Bools) -> None:
        """Take in the values of one step (S,), 0 where not seen."""
        occurs = y != 0
        inputs = np.stack([y, y, y, occurs.astype(float)])
        rates = RATES * seen
        self._value += rates * (inputs - self._value)
        self._weight += rates * (1.0 - self._weight)
        self._amount += SIZE * occurs * (y - self._amount)
        self._amount_weight += SIZE * occurs * (1.0 - self._amount_weight)
        self._since += seen
        rate = np.where(self._gap > 0, DEMAND, 1.0) * occurs
        self._size += rate * (y - self._size)
        self._gap += rate * (self._since - self._gap)
        self._since[occurs] = 0.0
        self.steps += 1

    def smoothed(self, gap: bool, room: Ints, lead: float) -> Floats:
        """Exponential means and how often (4, S); NaN where nothing was seen. `gap`: a step without a value is not an empty one; else room (S,), see Shard.

        lead: so many empty steps before the first value count, at most.
        """
        weight = self._weight
        if not gap:
            full = 1.0 - (1.0 - weight) * (1.0 - RATES) ** room
            weight = np.minimum(weight + lead * RATES, np.maximum(full, 1e-12))
        return np.divide(self._value, weight, out=np.full_like(weight, np.nan), where=weight > 0)

    def demand(self, often: Floats) -> list[Floats]:
        """TSB, Croston and SBA (Syntetos, Boylan 2005), each (S,); `often` (S,): the share of steps with a demand."""
        nothing: npt.NDArray[np.float64] = np.zeros_like(often)
        size = np.divide(self._amount, self._amount_weight, out=nothing.copy(), where=self._amount_weight > 0)
        croston = np.divide(self._size, self._gap, out=nothing, where=self._gap > 0)
        return [often * size, croston, (1.0 - DEMAND / 2.0) * croston]
