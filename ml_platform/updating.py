"""Updating: the champion's fleet takes in the days since, without being trained again.

Belongs here: what of the panel is read, what a day writes. Does not belong here: the increment itself (forecasting), which fleet it begins with
(updating_start), whether it is released (promotion). Priors, penalties, selection and intervals stay those of the last training, which renews all of them.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.forecasting import Fleet, ForecastConfig
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import last_whole_day
from ml_platform.forecasting.fleet_statistics import Statistics
from ml_platform.forecasting.recorded import RowSet
from ml_platform.forecasting.statistics_table import joined, replaced
from ml_platform.lake import Lake
from ml_platform.lake.names import SERIES_PANEL
from ml_platform.panel import expected_series, read_panel, without_failed
from ml_platform.panel_news import News, Stored, read_news
from ml_platform.panel_rows import PanelError
from ml_platform.registry import Registry
from ml_platform.training import KERNEL
from ml_platform.training_tables import CANDIDATE_FLEET, FLEET_POOLS, Made, fleet_rows, pool_rows
from ml_platform.updating_start import Start, TrainedError, UpdateError, find_start
from ml_platform.updating_tables import FLEET_STATISTICS, read_statistics, statistics_rows

__all__ = ["TrainedError", "UpdateError", "UpdateReport", "update_fleet"]


@dataclass(frozen=True)
class UpdateReport:
    """What an update did: the day and release that the fleet came from, series by state, how many took in steps (`advanced`) or were made from
    their whole history (`made_anew`: new, corrected, or nothing to start from), the rows that are in, table versions.

    unchanged: a fleet with this fingerprint was there, nothing was written.
    """

    as_of: date
    since: date
    release_id: str
    fingerprint: str
    unchanged: bool
    states: Mapping[str, int]
    advanced: int
    made_anew: int
    recorded: RowSet
    seconds: float
    versions: Mapping[str, int] = field(default_factory=dict)


def update_fleet(
    lake: Lake, registry: Registry, catalogue: pa.Table, config: ForecastConfig, as_of: date
) -> UpdateReport:
    """Bring the champion's fleet to `as_of` and write it: gold/fleet_pools, gold/fleet_statistics, gold/candidate_fleet.

    `catalogue` holds the series as of that day, `config` is that of the training. States: `fitted` where a step was observed since,
    `carried_over` where none was, `fallback` and `quarantined` as in the fleet it came from. Raises TrainedError and UpdateError as find_start,
    PanelError where panel and catalogue do not fit.
    """
    begun = time.perf_counter()
    start = find_start(lake, registry, config, as_of)
    made = _Update(lake, catalogue, config, as_of, start, _panel_version(lake)).run()
    fleet, recorded = made.fleet(), made.stored.statistics.recorded
    there = set(fleet.rows["series_id"].to_pylist())
    failed = {series: why for series, why in start.failed.items() if series in there}
    rows = fleet_rows(fleet, made.refused, failed, as_of, Made("", updated_from=start.release_id)).sort_by("series_id")
    fingerprint = _fingerprint(start, config, as_of, recorded, rows)
    place = rows.schema.get_field_index("fingerprint")
    rows = rows.set_column(place, "fingerprint", pa.repeat(pa.scalar(fingerprint), rows.num_rows))
    unchanged = _fingerprints(lake, as_of) == [fingerprint]
    versions = {} if unchanged else _write(lake, made.stored, fleet, rows, start.as_of)
    return UpdateReport(
        as_of=as_of,
        since=start.as_of,
        release_id=start.release_id,
        fingerprint=fingerprint,
        unchanged=unchanged,
        states=dict(sorted(Counter(rows["state"].to_pylist()).items())),
        advanced=made.advanced,
        made_anew=len(made.stored.statistics) - made.advanced,
        recorded=recorded,
        seconds=round(time.perf_counter() - begun, 3),
        versions=versions,
    )


def _panel_version(lake: Lake) -> int:
    version = lake.version(SERIES_PANEL)
    if version is None:
        raise PanelError(f"there is no table {SERIES_PANEL}: materialize series_panel first")
    return version


def _write(lake: Lake, stored: Stored, fleet: Fleet, rows: pa.Table, since: date) -> dict[str, int]:
    """The fleet last: its commit completes the update. What the day it came from remembers stays, so that the day can be made again."""
    day, fingerprint = f"as_of = '{stored.as_of}'", rows["fingerprint"][0].as_py()
    for spec in (CANDIDATE_FLEET, FLEET_STATISTICS):
        lake.migrate(spec)
    remembered, over = statistics_rows(stored, fingerprint), f"{day} OR as_of < '{since}'"
    return {
        FLEET_POOLS.name: lake.replace(FLEET_POOLS, pool_rows(fleet, stored.as_of), day),
        FLEET_STATISTICS.name: lake.replace(FLEET_STATISTICS, remembered, over),
        CANDIDATE_FLEET.name: lake.replace(CANDIDATE_FLEET, rows, day),
    }


@dataclass(frozen=True)
class _Made:
    """Statistics of a day, how many of them came from those of an earlier one, which series are expected, and whose values cannot be used."""

    stored: Stored
    advanced: int
    expected: pa.Array
    refused: tuple[str, ...]

    def fleet(self) -> Fleet:
        """The fleet of the day, without series that are expected no more or cannot be used."""
        made = self.stored.statistics.fleet()
        usable = self.expected.filter(pc.invert(pc.is_in(self.expected, pa.array(self.refused, pa.string()))))
        return replace(made, rows=made.rows.filter(pc.is_in(made.rows["series_id"], usable)))


@dataclass(frozen=True)
class _Update:
    """One day of one fleet, from one version of the panel."""

    lake: Lake
    catalogue: pa.Table
    config: ForecastConfig
    as_of: date
    start: Start
    panel: int

    def run(self) -> _Made:
        """From what the earlier day remembers, and else from the history."""
        expected = expected_series(self.catalogue)["series_id"].combine_chunks()
        stored = read_statistics(self.lake, self.start.as_of, self.start.fleet, self.start.fingerprint)
        news = read_news(self.lake, self._readable, self.config, self.as_of, stored, self.panel) if stored else None
        if stored is None or news is None or not news.same.any():
            made, refused = self._from_history(None)
            if made is None:
                raise UpdateError(f"no series of {self.as_of} has values that can be used: look at {SERIES_PANEL}")
            return _Made(self._stored(made), 0, expected, refused)
        kept = _taken_in(stored.statistics.take(news.same), news)
        others = _others(expected, self.start.fleet, kept)
        if not len(others):
            return _Made(self._stored(kept), len(kept), expected, ())
        made, refused = self._from_history(others)
        whole = kept if made is None else replaced(kept, made)
        return _Made(self._stored(whole), len(kept), expected, refused)

    @cached_property
    def _readable(self) -> pa.Table:
        return without_failed(self.catalogue, self.start.fleet)

    def _stored(self, statistics: Statistics) -> Stored:
        return Stored(statistics, self.as_of, self.panel)

    def _from_history(self, only: pa.Array | None) -> tuple[Statistics | None, tuple[str, ...]]:
        """Statistics of series (all of them by default) from their whole history, None where no series has one, and those whose values cannot be used.

        A series is touched where it has a value since the earlier day, or older ones were corrected.
        """
        read = read_panel(self.lake, self._readable, self.config, self.as_of, only=only, version=self.panel)
        shard, fleet = read.shard, self.start.fleet
        if not len(shard):
            return None, read.refused
        made = joined([Statistics.of(fleet, chunk) for chunk in shard.chunks()])
        place = pd.Index(shard.series_id).get_indexer(pd.Index(made.series_id))
        observed = (~np.isnan(shard.y[place, self._first_new(shard) :])).any(axis=1)
        return made.with_touched(observed | made.moved()), read.refused

    def _first_new(self, shard: Shard) -> int:
        after = last_whole_day(self.start.as_of, self.config.frequency) + timedelta(days=1)
        return int(np.searchsorted(shard.times, np.datetime64(after)))


def _taken_in(statistics: Statistics, news: News) -> Statistics:
    """After the steps of the news."""
    y, known = news.y[news.same].astype(np.float64), news.known[news.same]
    for at in range(y.shape[1]):
        statistics = statistics.advanced(y[:, at], known[:, :, at : at + 1 + statistics.base.config.horizon])
    return statistics


def _others(expected: pa.Array, fleet: Fleet, kept: Statistics) -> pa.Array:
    """Expected series that are not among those kept, and that the fleet does not quarantine."""
    out_of_it = fleet.quarantined["series_id"].combine_chunks()
    done = pa.concat_arrays([out_of_it, pa.array(kept.series_id, pa.string())])
    return expected.filter(pc.invert(pc.is_in(expected, done)))


def _fingerprint(start: Start, config: ForecastConfig, as_of: date, recorded: RowSet, rows: pa.Table) -> str:
    """sha256 over the fleet it came from, the rows it holds, who is in it and how, the day, configuration and code."""
    states = "|".join(
        f"{one}:{state}" for one, state in zip(*(rows[n].to_pylist() for n in ("series_id", "state")), strict=True)
    )
    before = f"{start.release_id}|{start.fingerprint}|{recorded.digest}|{as_of}|{config.model_dump_json()}"
    return hashlib.sha256(f"{before}|{KERNEL}|{states}".encode()).hexdigest()


def _fingerprints(lake: Lake, as_of: date) -> list[str]:
    if not lake.exists(CANDIDATE_FLEET.name):
        return []
    rows = lake.read(CANDIDATE_FLEET.name, ["fingerprint"], pc.field("as_of") == pa.scalar(as_of))
    return sorted(rows["fingerprint"].unique().to_pylist())
