"""What a forecast is worth: errors on days that nobody saw, the true mean beside it, and whether its time counts.

Belongs here: measures and the gate. Does not belong here: forecasts, the platform's own evaluation.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.rows import Truth

BIAS = 0.25  # a method whose sum is off by more is broken, not weak

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """Weighted RMSSE (root once), WAPE, bias, and regret: the weighted RMSSE over that of the true mean, minus 1."""

    rmsse: float
    wape: float
    bias: float
    regret: float


class Incomplete(ValueError):
    """A contender's output lacks cells, repeats them or is not finite; names how many."""


def cells(output: pd.DataFrame, truth: Truth) -> Floats:
    """Means (S, H) of the truth's series. Raises Incomplete unless there is exactly one finite value per series and step."""
    row = pd.Index(truth.series).get_indexer(pd.Index(output["unique_id"]))
    own = output[row >= 0]
    said = np.full(truth.units.shape, np.nan)
    said[row[row >= 0], own["step"].to_numpy() - 1] = own["mean"].to_numpy()
    lost = int((~np.isfinite(said)).sum())
    if lost or len(own) != said.size:
        raise Incomplete(f"{lost} of {said.size} cells are missing or not finite, {len(own)} rows came")
    return said


def judge(said: Floats, truth: Truth) -> Verdict:
    """Errors of forecasts (S, H) in the cells where a series still lives."""
    error = weighted_rmsse(said, truth)
    alive = truth.units >= 0
    actual = truth.units[alive]
    return Verdict(
        error,
        float(np.abs(said[alive] - actual).sum() / actual.sum()),
        float(said[alive].sum() / actual.sum() - 1),
        error / weighted_rmsse(truth.mean, truth) - 1,
    )


def weighted_rmsse(said: npt.NDArray[np.floating], truth: Truth) -> float:
    """Root, taken once, of the mean scaled squared error weighted by what the series sold lately."""
    alive = truth.units >= 0
    squares = np.where(alive, (said - truth.units) ** 2, 0.0).sum(axis=1) / np.maximum(alive.sum(axis=1), 1)
    good = alive.any(axis=1) & (truth.scale > 0)
    weight = truth.weight[good]
    return float(np.sqrt((weight * squares[good] / truth.scale[good]).sum() / weight.sum()))


def objection(verdict: Verdict, truth: Truth) -> str:
    """Why a contender's time does not count; empty where it does."""
    floor = weighted_rmsse(truth.naive, truth)
    if verdict.rmsse > floor:
        return f"weighted RMSSE {verdict.rmsse:.4f} is above {floor:.4f} of the last season again"
    return f"bias {verdict.bias:+.1%} is beyond {BIAS:.0%}" if abs(verdict.bias) > BIAS else ""
