"""Recorded rows: which observed steps statistics hold, so that a replay can prove that it saw the same.

Belongs here: digests of values by series, and of a whole row set. Does not belong here: the statistics (increment).
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from ml_platform.forecasting.calendar import Floats

Digests = npt.NDArray[np.uint64]
_STEP, _VALUE, _COVARIATE = (np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9))
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))  # SplitMix64 (Steele, Lea, Flood 2014)


@dataclass(frozen=True)
class RowSet:
    """Observed steps from the first to the last one: how many, and a hash of series, steps, values and covariates (sha256 of sums by series)."""

    first: pd.Timestamp
    last: pd.Timestamp
    rows: int
    digest: str

    @classmethod
    def of(
        cls,
        series_id: npt.NDArray[np.object_],
        times: tuple[pd.Timestamp, np.datetime64],
        counts: npt.NDArray[np.int64],
        digests: Digests,
    ) -> "RowSet":
        """Of series in any order, with their observed steps (S,) and digests (S,); times of the first and the last step."""
        whole, order = hashlib.sha256(), np.argsort(series_id.astype(str), kind="stable")
        whole.update("|".join(series_id[order]).encode())
        whole.update(np.ascontiguousarray(counts[order], dtype="<i8").data)
        whole.update(np.ascontiguousarray(digests[order], dtype="<u8").data)
        return cls(times[0], pd.Timestamp(times[1]), int(counts.sum()), whole.hexdigest())


def row_digests(y: Floats, known: Floats, number: int) -> Digests:
    """Digest (S,) of the observed steps of y (S, n) with covariates (S, K, n); `number` is that of the first step since the epoch.

    Digests of consecutive steps add up, and that of one step can be taken away again; they detect differences, and do not withstand forgery.
    """
    steps = (number + np.arange(y.shape[1])).astype(np.uint64) * _STEP
    mixed = _bits(y) * _VALUE + steps
    for k in range(known.shape[1]):
        mixed += _bits(known[:, k]) * (_COVARIATE + np.uint64(2 * k))
    for shift, odd in _MIX:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(odd)
    mixed ^= mixed >> np.uint64(31)
    return np.asarray(np.where(np.isnan(y), np.uint64(0), mixed).sum(axis=1, dtype=np.uint64))


def _bits(values: Floats) -> Digests:
    """Bit patterns, the same for both zeros and for every NaN."""
    return np.where(np.isnan(values), np.nan, values + 0.0).view(np.uint64)
