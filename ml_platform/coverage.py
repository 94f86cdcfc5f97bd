"""Coverage: is every expected series accounted for, exactly once, with a reason where it has no model of its own?

Belongs here: counting series of catalogue, fleet and forecasts. Does not belong here: how good a forecast is (evaluation).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

STATES = ("fitted", "fallback", "quarantined", "carried_over")
NOT_EXPECTED = ("excluded", "quarantined")


@dataclass(frozen=True)
class Coverage:
    """Expected series against what the fleet says of them: exact when every one has one row, in a known state, with its reason."""

    expected: int
    states: Mapping[str, int]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    doubled: int = 0
    unexplained: int = 0

    @property
    def share(self) -> float:
        """Share of the expected series that are accounted for."""
        return 1.0 if not self.expected else 1.0 - len(self.missing) / self.expected

    @property
    def exact(self) -> bool:
        return not (self.missing or self.unexpected or self.doubled or self.unexplained)


def count_states(fleet: pa.Table) -> pa.Table:
    """state, reason, family and how many series of a fleet have them."""
    keys = ["state", "reason", "family"]
    return fleet.select(keys).group_by(keys).aggregate([([], "count_all")]).rename_columns([*keys, "series"])


def count_coverage(catalogue: pa.Table, fleet: pa.Table) -> Coverage:
    """Compare the catalogue as of a day (series_id, state) with the fleet of that day (series_id, state, reason)."""
    states = dict(zip(catalogue["series_id"].to_pylist(), catalogue["state"].to_pylist(), strict=True))
    expected = {one for one, state in states.items() if state not in NOT_EXPECTED}
    there = fleet["series_id"].to_pylist()
    strangers = {one for one in there if one not in states or states[one] == "excluded"}
    counted = pc.value_counts(fleet["state"]).to_pylist()
    bare = pc.equal(pc.fill_null(fleet["reason"], ""), "")
    silent = pc.and_(pc.is_in(fleet["state"], pa.array(["fallback", "quarantined"])), bare)
    strange = pc.invert(pc.is_in(fleet["state"], pa.array(STATES)))
    return Coverage(
        expected=len(expected),
        states={one["values"]: one["counts"] for one in sorted(counted, key=lambda one: str(one["values"]))},
        missing=tuple(sorted(expected - set(there))),
        unexpected=tuple(sorted(strangers)),
        doubled=len(there) - len(set(there)),
        unexplained=int(pc.sum(pc.or_(silent, strange)).as_py() or 0),
    )
