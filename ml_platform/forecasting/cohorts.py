"""Cohorts: segments of a fleet whose values behave alike, and which therefore run the same families.

Belongs here: what values of a segment are like, which segments go together. Does not belong here: how a cohort is trained (pipeline).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ml_platform.forecasting.arrays import Shard, sum_by
from ml_platform.forecasting.calendar import Floats, Ints, plan_folds
from ml_platform.forecasting.choice import OFTEN_ZERO, Traits, choose
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.pools import Kind, Setup

NEARLY_ALWAYS = 0.99  # share of positive values from which on they are modelled in logs


@dataclass(frozen=True)
class Cohort:
    """Some segments, by code, and what all passes over their series agree on."""

    codes: Ints
    setup: Setup

    def of(self, shard: Shard) -> Ints:
        """Places of its series in a shard."""
        return np.flatnonzero(np.isin(shard.segment, self.codes))


def kind_of(traits: Traits) -> Kind:
    """How values behave: real where one is negative, positive where nearly all are more than 0, else counts."""
    if traits.negative:
        return "real"
    return "positive" if traits.positive >= NEARLY_ALWAYS * max(traits.observed, 1) else "counts"


def cohorts(shards: Sequence[Shard], config: ForecastConfig, judging: bool) -> tuple[Cohort, ...]:
    """The cohorts of a fleet, in order of their first segment; what a segment is like depends on no other."""
    plan = plan_folds(config, shards[0].steps, judging)
    seen, everything = (
        np.sum([_cells(shard, end) for shard in shards], axis=0) for end in (plan.origin(plan.judging), plan.steps)
    )
    cells = np.where(
        seen[:, :1] > 0, seen, everything
    )  # the fold that judges chooses nothing, but for who is in no other
    alike: dict[tuple[Kind, bool], list[int]] = {}
    for code, (observed, positive, negative) in enumerate(cells.astype(int).tolist()):
        traits = Traits(observed, positive, negative, config.season, plan.steps)
        alike.setdefault((kind_of(traits), traits.zeros > OFTEN_ZERO and config.with_default), []).append(code)
    return tuple(
        _cohort(np.asarray(codes), kind, cells, shards[0], config, judging) for (kind, _), codes in alike.items()
    )


def _cells(shard: Shard, end: int) -> Floats:
    """Observed, positive and negative cells of each segment before a step, (G, 3)."""
    y = shard.y[:, :end]
    counted = [(values.sum(axis=1)) for values in (~np.isnan(y), y > 0, y < 0)]
    return sum_by(np.stack(counted, axis=1).astype(float), shard.segment, len(shard.segments))


def _cohort(codes: Ints, kind: Kind, cells: Floats, shard: Shard, config: ForecastConfig, judging: bool) -> Cohort:
    observed, positive, negative = cells[codes].sum(axis=0).astype(int).tolist()
    chosen = choose(config, Traits(observed, positive, negative, config.season, shard.steps))
    own = config.with_families([one.family for one in chosen if one.runs])
    return Cohort(
        codes, Setup(own, plan_folds(config, shard.steps, judging), kind, len(shard.segments), chosen, observed)
    )
