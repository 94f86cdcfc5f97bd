"""Cohorts: segments of a fleet whose values behave alike, and which therefore run the same families.

Belongs here: what values of a segment are like, which segments go together. Does not belong here: how a cohort is trained (pipeline).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml_platform.forecasting.arrays import Shard, opened, sum_by
from ml_platform.forecasting.calendar import Floats, Ints, Plan, plan_folds
from ml_platform.forecasting.choice import TREES, Choice, Traits, choose, together
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.incumbent import Incumbent
from ml_platform.forecasting.pools import Kind, Setup

NEARLY_ALWAYS = 0.99  # share of positive values from which on they are modelled in logs
RETURNS, FEW = (
    0.05,
    2,
)  # share, and number, of values below 0 up to which a series is one of counts with a return or two
KEPT = "the champion has it"


@dataclass(frozen=True)
class Cohort:
    """Some segments, by code, and what all passes over their series agree on."""

    codes: Ints
    setup: Setup

    def of(self, shard: Shard) -> Ints:
        """Places of its series in a shard."""
        return np.flatnonzero(np.isin(shard.segment, self.codes))


def kind_of(traits: Traits) -> Kind:
    """How values behave: real where a series is negative more than now and then, positive where nearly all are more than 0, else counts."""
    if traits.negative:
        return "real"
    return "positive" if traits.positive >= NEARLY_ALWAYS * max(traits.observed, 1) else "counts"


def cohorts(
    shards: Sequence[Shard], config: ForecastConfig, judging: bool, incumbent: Incumbent | None = None
) -> tuple[Cohort, ...]:
    """The cohorts of a fleet, in order of their first segment; what a segment is like, and how far back it is known, depends on no other.

    A segment also runs the families that the `incumbent` has in it: whether they are still the best is for the folds to say.
    """
    steps = shards[0].steps
    begun = [opened(one.first, one.segment, len(one.segments), steps) for one in shards]
    known = steps - np.min(begun, axis=0)
    plans = [plan_folds(config, steps, judging, one) for one in known.tolist()]
    judged = np.asarray([plan.judging > 0 for plan in plans])
    cells = _cells(shards, steps - config.horizon * bool(judged.any()))  # the fold that judges chooses nothing
    alone = (cells[:, 0] == 0) | ~judged  # but for segments that are in no other
    if judged.any() and alone.any():
        cells[alone] = _cells(shards, steps)[alone]
    used = _used(shards, incumbent)
    alike: dict[tuple[Kind, tuple[str, ...], Plan], dict[int, Traits]] = {}
    for code, plan in enumerate(plans):
        traits = Traits.of(cells[code].astype(int).tolist(), config.season, int(known[code]))
        families = _families(config, traits, used.get(code, frozenset()))
        alike.setdefault((kind_of(traits), families, plan), {})[code] = traits
    return tuple(_cohort(found, kind, plan, len(plans), config, used) for (kind, _, plan), found in alike.items())


def _used(shards: Sequence[Shard], incumbent: Incumbent | None) -> dict[int, frozenset[str]]:
    """Families that weigh something in the incumbent's series of each segment."""
    if incumbent is None:
        return {}
    known = incumbent.of_series.index.intersection(pd.Index(np.concatenate([one.series_id for one in shards])))
    segment = pd.Series(
        np.concatenate([one.segment for one in shards]), np.concatenate([one.series_id for one in shards])
    )
    weighing = (incumbent.of_series.loc[known] > 0).groupby(segment.loc[known]).any()
    names = np.asarray(weighing.columns)
    return {
        code: frozenset(names[row].tolist())
        for code, row in zip(weighing.index.tolist(), weighing.to_numpy(dtype=bool), strict=True)
    }


def _cells(shards: Sequence[Shard], end: int) -> Floats:
    """Observed and positive cells of each segment before a step, and negative ones of series that often are, (G, 3); dead series have no say."""
    return np.asarray(np.sum([_cells_of(shard, shard.y[:, :end]) for shard in shards], axis=0))


def _cells_of(shard: Shard, y: Floats) -> Floats:
    counted = [(values.sum(axis=1)) for values in (~np.isnan(y), y > 0, y < 0)]
    counted[2] = np.where(counted[2] > np.maximum(RETURNS * counted[0], FEW), counted[2], 0)
    alive = np.asarray(((y > 0) | (y < 0)).any(axis=1))
    return sum_by(np.stack(counted, axis=1) * alive[:, None].astype(float), shard.segment, len(shard.segments))


def _families(config: ForecastConfig, traits: Traits, used: frozenset[str]) -> tuple[str, ...]:
    """Families that a segment asks for; one of all series is no matter of a segment."""
    return tuple(
        one.family for one in choose(config, traits) if (one.runs or one.family in used) and one.family != TREES
    )


def _cohort(
    segments: dict[int, Traits],
    kind: Kind,
    plan: Plan,
    groups: int,
    config: ForecastConfig,
    used: Mapping[int, frozenset[str]],
) -> Cohort:
    codes, traits = np.asarray(list(segments)), together(list(segments.values()))
    there = frozenset[str]().union(*(used.get(code, frozenset()) for code in segments))
    chosen = tuple(
        Choice(one.family, True, KEPT) if one.family in there and not one.runs else one
        for one in choose(config, traits)
    )
    own = config.with_families([one.family for one in chosen if one.runs])
    return Cohort(codes, Setup(own, plan, kind, groups, chosen, traits.observed))
