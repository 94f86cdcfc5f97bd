"""What a whole fleet remembers: statistics of its cohorts, side by side.

Belongs here: which series belong to which cohort's statistics, one order for all of them. Does not belong here: what is remembered (increment).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from ml_platform.forecasting.arrays import Bools, Shard
from ml_platform.forecasting.calendar import Floats, Ints
from ml_platform.forecasting.fleet import ROWS_SCHEMA, Fleet
from ml_platform.forecasting.increment import CohortStatistics
from ml_platform.forecasting.predict import cohort_rows, fleet_places, in_order
from ml_platform.forecasting.recorded import Digests, RowSet


@dataclass(frozen=True)
class Statistics:
    """All that forecasts of S series need, and the next step, at frozen priors, penalties and selection of a fleet.

    parts: of its cohorts. places: of each part's series among all, which have one order.
    """

    base: Fleet
    parts: tuple[CohortStatistics, ...]
    places: tuple[Ints, ...]

    def __len__(self) -> int:
        return sum(len(one) for one in self.parts)

    @classmethod
    def of(cls, fleet: Fleet, shard: Shard) -> "Statistics":
        """From the whole history of a shard; series that the fleet quarantines are left out.

        Raises ValueError where no step was observed yet.
        """
        rows = cohort_rows(fleet, shard, fleet_places(fleet, shard)[1])
        parts = tuple(CohortStatistics.of(fleet, number, shard.take(own).working()) for number, own in rows.items())
        return cls(fleet, parts, places_among(list(rows.values())))

    def advanced(self, y: Floats, known: Floats) -> "Statistics":
        """After one more step with these values (S,), NaN where not observed, and covariates and means (S, 2 K, 1 + H) of it and the steps after it."""
        both = zip(self.parts, self.places, strict=True)
        return replace(self, parts=tuple(one.advanced(y[own], known[own]) for one, own in both))

    def take(self, rows: Bools) -> "Statistics":
        """Of some of the series."""
        both = [(one.take(rows[own]), own[rows[own]]) for one, own in zip(self.parts, self.places, strict=True)]
        kept = [(one, own) for one, own in both if len(one)] or both[:1]
        return Statistics(self.base, tuple(one for one, _ in kept), places_among([own for _, own in kept]))

    def with_touched(self, touched: Bools) -> "Statistics":
        """With other marks of what was observed, (S,)."""
        both = zip(self.parts, self.places, strict=True)
        return replace(self, parts=tuple(replace(one, touched=touched[own]) for one, own in both))

    def kept(self) -> "Statistics":
        """With the coefficients that the fleet holds, in its digits: forecasts are those of predict with that fleet."""
        return replace(self, parts=tuple(one.kept() for one in self.parts))

    def forecasts(self) -> pa.Table:
        """The table of predict for the steps after the last one. Raises AdapterError where an adapter weighs something."""
        tables = [one.forecasts() for one in self.parts]
        return in_order(tables, np.concatenate(self.places), self.base.config.horizon)

    def moved(self) -> Bools:
        """Series whose ridge coefficients are no longer those of the fleet, (S,)."""
        return np.asarray(self._whole([one.moved() for one in self.parts]))

    @property
    def series_id(self) -> np.ndarray:
        return self._whole([one.standing.shard.series_id for one in self.parts])

    @property
    def segment(self) -> np.ndarray:
        """Segments by name, (S,)."""
        return self._whole([np.asarray(one.segments, dtype=object)[one.segment] for one in self._shards])

    @property
    def static(self) -> Floats:
        """Attributes of each series, (S, A)."""
        return self._whole([one.static for one in self._shards])

    @property
    def digests(self) -> Digests:
        return np.asarray(self._whole([one.digests for one in self.parts]))

    @property
    def touched(self) -> Bools:
        """Whether a value was observed since these statistics were made from a history or a table, (S,)."""
        return np.asarray(self._whole([one.touched for one in self.parts]))

    @property
    def largest(self) -> Floats:
        """The largest absolute value of each series, (S,)."""
        return np.asarray(self._whole([one.standing.largest for one in self.parts]))

    @property
    def counts(self) -> Ints:
        """Observed steps of each series, (S,)."""
        return np.asarray(self._whole([one.counts for one in self.parts]))

    @property
    def room(self) -> Ints:
        """Empty steps of its segment before the first one of each series, see Shard, (S,)."""
        return np.asarray(self._whole([one.standing.shard.room for one in self.parts]))

    @property
    def latest_known(self) -> Floats:
        """Covariates of the last step, and their means, the unknown ones as last known, (S, 2 K)."""
        return np.asarray(self._whole([one.standing.shard.known[:, :, 0] for one in self.parts]))

    @property
    def steps(self) -> int:
        """Steps of the whole history."""
        return self.parts[0].steps

    @property
    def begin(self) -> int:
        """Number of the first step of the whole history since the epoch."""
        held = self._shards[0]
        return held.position + held.steps - self.steps

    @property
    def recorded(self) -> RowSet:
        """The observed steps that these statistics hold."""
        last = self._shards[0]
        times = self.parts[0].first, last.times[last.steps - 1]
        return RowSet.of(self.series_id, times, self.counts, self.digests)

    def fleet(self) -> Fleet:
        """The fleet after these steps, see CohortStatistics.rows; series that are not here stay as they are, new ones come last."""
        own: Mapping[str | None, dict[str, str | None]] = {
            row["series_id"]: row for row in self._whole([_objects(one.rows()) for one in self.parts])
        }
        old = self.base.rows.to_pylist()
        known = {row["series_id"] for row in old}
        rows = [own.get(row["series_id"], row) for row in old]
        rows += [row for name, row in own.items() if name not in known]
        return replace(self.base, rows=pa.Table.from_pylist(rows, ROWS_SCHEMA))

    @property
    def _shards(self) -> list[Shard]:
        return [one.standing.shard for one in self.parts]

    def _whole(self, values: Sequence[np.ndarray]) -> np.ndarray:
        """Values of all parts in the one order."""
        both = np.concatenate(values)
        out = np.empty_like(both)
        out[np.concatenate(self.places)] = both
        return out


def places_among(rows: Sequence[Ints]) -> tuple[Ints, ...]:
    """Different numbers as their places among all of them."""
    ordered = np.sort(np.concatenate(rows))
    return tuple(np.searchsorted(ordered, own).astype(np.int64) for own in rows)


def _objects(rows: list[dict[str, str | None]]) -> np.ndarray:
    out = np.empty(len(rows), dtype=object)
    out[:] = rows
    return out
