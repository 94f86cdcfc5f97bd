"""Noise: how far a difference between two contenders may be chance.

Belongs here: the bootstrap over blocks of judged rows. Does not belong here: errors (losses), limits (gate).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from ml_platform.evaluation.cells import Cells, Codes, Floats
from ml_platform.evaluation.contenders import Contender
from ml_platform.evaluation.losses import Losses, quotient
from ml_platform.forecasting import metrics

DRAWS = 1000
SEED = 20240229  # the same rows give the same noise
MANY = 5  # origins from which on they are drawn whole, too


@dataclass(frozen=True)
class Estimate:
    """A figure, its standard error, and from how many independent units it comes, in effect."""

    value: float
    error: float
    units: float

    def noise(self, confidence: float) -> float:
        """How far the figure may be off to one side by chance, by Student's t: few units tell their own spread badly."""
        if self.error == 0.0:
            return 0.0
        if not (np.isfinite(self.error) and self.units > 1.0):
            return float("inf")
        return float(stdtrit(self.units - 1.0, confidence)) * self.error


NOTHING = Estimate(float("nan"), float("nan"), 0.0)


@dataclass(frozen=True)
class Blocks:
    """Sums over blocks of judged rows (U, 4): loss and mass of the challenger, then of the opponent; and the origin that each lies in (U,)."""

    sums: Floats
    origin: Codes
    root: bool


def blocks(cells: Cells, challenger: Losses, opponent: Losses) -> Blocks:
    """Blocks are segment x week: series of a segment share what happens to them, and days of a week do."""
    size = len(cells.segments) * cells.weeks
    code = cells.row_segment * cells.weeks + cells.row_week
    sums = np.stack([*challenger.sums(code, size), *opponent.sums(code, size)], axis=1)
    return Blocks(sums, np.zeros(size, np.int64), challenger.root)


def joined(found: Sequence[Blocks]) -> Blocks:
    """Those of several origins."""
    origin = [np.full(len(one.sums), place) for place, one in enumerate(found)]
    return Blocks(np.concatenate([one.sums for one in found]), np.concatenate(origin), found[0].root)


def difference(found: Blocks) -> Estimate:
    """Error of the challenger over that of the opponent, less 1, on all blocks; its noise by drawing them, and whole origins where there are enough."""
    told = _ratio(found.sums, found.root)
    origins, code = np.unique(found.origin, return_inverse=True)
    if len(origins) < MANY:
        return told
    by_origin = np.zeros((len(origins), 4))
    np.add.at(by_origin, code, found.sums)
    return max(told, _ratio(by_origin, found.root), key=lambda one: one.noise(0.99))


def difference_by(cells: Cells, challenger: Losses, opponent: Losses, group: Codes, groups: int) -> list[Estimate]:
    """The same for groups of series (N,): what is drawn are series, of which a segment has more than blocks."""
    size = len(cells.ids)
    told = np.stack([*challenger.sums(cells.row_series, size), *opponent.sums(cells.row_series, size)], axis=1)
    return [_ratio(told[group == one], challenger.root) for one in range(groups)]


def _ratio(sums: Floats, root: bool) -> Estimate:
    """Quotient of errors less 1 from sums by unit (U, 4): loss and mass of the challenger, then of the opponent."""
    used = sums[(sums[:, 1] > 0) | (sums[:, 3] > 0)]
    whole = used.sum(axis=0)
    first, second = (float(quotient(whole[place], whole[place + 1], root)) for place in (0, 2))
    if not (np.isfinite(first) and second > 0):
        return NOTHING
    value = first / second - 1.0
    drawn = counts(len(used)) @ used
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = quotient(drawn[:, 0], drawn[:, 1], root) / quotient(drawn[:, 2], drawn[:, 3], root) - 1.0
    apart = ~np.isclose(used[:, 0], used[:, 2], rtol=1e-12, atol=0.0)  # where both say the same, nothing is told
    return Estimate(value, spread(ratios, len(used)), effective(used[apart, 3]))


def counts(units: int) -> Floats:
    """How often each unit is drawn, (DRAWS, units)."""
    return np.random.default_rng(SEED).multinomial(units, np.full(units, 1.0 / max(units, 1)), DRAWS).astype(float)


def spread(drawn: Floats, units: int) -> float:
    """Standard error of a figure: that over the draws which have one, for so many units; what is drawn from few varies less than what they came from."""
    known = drawn[np.isfinite(drawn)]
    return float(known.std() * np.sqrt(units / (units - 1.0))) if len(known) > 1 and units > 1 else float("nan")


def effective(mass: Floats) -> float:
    """How many units of like mass come to the same: (sum)^2 / sum of squares; 2 where none differ."""
    squares = float((mass**2).sum())
    return float(mass.sum() ** 2 / squares) if squares > 0 else 2.0


def excess_bias(
    cells: Cells, challenger: Contender, floor: Contender | None, group: Codes, groups: int
) -> list[tuple[float, Estimate]]:
    """By group of series (N,): the challenger's bias by week (see weekly_errors), and how much more it is than the floor's on the same rows.

    What is drawn are series: it is of these weeks, in which whatever happens to all series happens to the floor, too.
    """
    told = np.stack([weekly_errors(cells, one.forecast) for one in (challenger, floor) if one is not None])
    size = weekly_errors(cells, np.zeros(len(cells.actual)), absolute=True)
    return [_excess(told[:, group == one], size[group == one]) for one in range(groups)]


def _excess(told: Floats, size: Floats) -> tuple[float, Estimate]:
    """From errors of one or two contenders (C, U, W) and sizes (U, W) by unit and week."""
    units, total = size.shape[0], size.sum()
    if not units or total <= 0:
        return float("nan"), NOTHING
    values = np.abs(told.sum(axis=1)).sum(axis=1) / total
    value = float(values[0] - values[1]) if len(values) > 1 else float(values[0])
    drawn = counts(units)
    masses = drawn @ size.sum(axis=1)
    each = [np.abs(drawn @ part).sum(axis=1) / np.where(masses > 0, masses, np.nan) for part in told]
    error = spread(each[0] - each[1] if len(each) > 1 else each[0], units)
    return float(values[0]), Estimate(value, error, effective(size.sum(axis=1)))


def weekly_errors(cells: Cells, forecast: Floats, absolute: bool = False) -> Floats:
    """Sum of forecast less actual by series and week (N, W), or of the sizes of actuals."""
    seen = np.isfinite(cells.actual)
    actual = np.where(seen, cells.actual, 0.0)
    made = np.where(seen & np.isfinite(forecast), forecast, 0.0)
    values = np.abs(actual) if absolute else made - actual
    code = cells.row_series * cells.weeks + cells.row_week
    added = metrics.sums(code, values, len(cells.ids) * cells.weeks)
    return added.reshape(len(cells.ids), cells.weeks)
