"""Families that walk over a history once, with constants of their own per series.

Belongs here: what the kernel asks of such a family. Does not belong here: any of them (ets, theta), families of levels (levels), ridge.
"""

from collections.abc import Sequence
from typing import Protocol

from ml_platform.forecasting.calendar import Floats


class Walk(Protocol):
    """A family whose forecasts after an origin need nothing from after it, and nothing from other series."""

    DEFAULT: tuple[float, ...]  # constants of a series that was not fitted

    def fit(self, y: Floats, origins: Sequence[int], horizon: int, season: int, /) -> tuple[Floats, Floats]:
        """Forecasts (S, O, H) after origins of y (S, T), NaN where not observed, and constants (S, C) at the last one."""

    def predict(self, y: Floats, constants: Floats, horizon: int, season: int, /) -> Floats:
        """Forecasts (S, H) after the end of y with known constants."""
