"""Families that walk over a history once, with constants of their own per series.

Belongs here: what the kernel asks of such a family. Does not belong here: any of them (ets, theta), families of levels (levels), ridge.
"""

from collections.abc import Sequence
from typing import Protocol

from ml_platform.forecasting.calendar import Floats


class Walk(Protocol):
    """A family whose forecasts after an origin need nothing from after it, and nothing from other series."""

    DEFAULT: tuple[float, ...]  # constants of a series that was not fitted

    def fit(
        self, y: Floats, origins: Sequence[int], horizon: int, season: int, /, *, logs: bool
    ) -> tuple[Floats, Floats]:
        """Forecasts (S, O, H) after origins of y (S, T), NaN where not observed, and constants (S, C) at the last one; y may be logs."""

    def width(self, season: int, /) -> int:
        """Numbers in the state of one series; all are 0 before its first step."""

    def advance(self, states: Floats, first: int, y: Floats, constants: Floats, season: int, /) -> Floats:
        """States (S, N) that have also taken in y (S, n), whose first step has the number `first`, with known constants (S, C)."""

    def ahead(self, states: Floats, origin: int, constants: Floats, horizon: int, season: int, /) -> Floats:
        """Forecasts (S, H) after an origin from the states there."""
