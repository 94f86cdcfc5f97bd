"""Updating: the fleet of an earlier day takes in the days since, without being trained again.

Belongs here: which fleet and statistics a day starts from, what it writes. Does not belong here: the increment itself (forecasting), training.
Priors, penalties, selection and intervals stay those of the last training, which renews all of them.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform import __version__
from ml_platform.forecasting import Fleet, ForecastConfig
from ml_platform.forecasting.arrays import Bools, Shard
from ml_platform.forecasting.calendar import last_whole_day
from ml_platform.forecasting.fleet import META
from ml_platform.forecasting.fleet_statistics import Statistics
from ml_platform.forecasting.pipeline import CHUNK
from ml_platform.forecasting.predict import fleet_places
from ml_platform.forecasting.recorded import row_digests
from ml_platform.forecasting.statistics_table import joined, replaced
from ml_platform.lake import Lake
from ml_platform.panel import read_panel
from ml_platform.registry import fleet_tables
from ml_platform.training import KERNEL_VERSION
from ml_platform.training_tables import CANDIDATE_FLEET, FAILED, FLEET_POOLS, FOLD_METRICS, fleet_rows, pool_rows
from ml_platform.updating_tables import FLEET_STATISTICS, read_statistics, statistics_rows


class UpdateError(ValueError):
    """A day whose fleet cannot come from an earlier one; names the day and the way out."""


@dataclass(frozen=True)
class UpdateReport:
    """What an update did: the day of the fleet it came from, series by state, how many took in steps (`advanced`) or were made from
    their whole history (`made_anew`: new, corrected, or nothing to start from), the recorded rows' digest, table versions.

    unchanged: a fleet with this fingerprint was there, nothing was written.
    """

    as_of: date
    since: date
    fingerprint: str
    unchanged: bool
    states: Mapping[str, int]
    advanced: int
    made_anew: int
    recorded: str
    seconds: float
    versions: Mapping[str, int] = field(default_factory=dict)


def update_fleet(lake: Lake, catalogue: pa.Table, config: ForecastConfig, as_of: date) -> UpdateReport:
    """Bring the newest earlier fleet to `as_of` and write it: gold/fleet_pools, gold/fleet_statistics, gold/candidate_fleet.

    `catalogue` holds the series as of that day, `config` is that of the training. States: `fitted` where a step was observed since,
    `carried_over` where none was, `fallback` and `quarantined` as in the fleet it came from. Raises UpdateError where no earlier fleet is
    there or the day has a trained one, PanelError where panel and catalogue do not fit.
    """
    start = time.perf_counter()
    since, old = _newest_before(lake, config, as_of)
    panel = read_panel(lake, catalogue, config, as_of)
    base = _known_to(old, panel.shard)
    statistics, advanced = _brought_forward(lake, base, panel.shard, config, since)
    fleet, recorded = statistics.fleet(), statistics.recorded.digest
    fingerprint = _fingerprint(lake, since, config, as_of, recorded, panel.refused)
    rows = fleet_rows(fleet, panel.refused, _failed(lake, since, fleet), as_of, fingerprint).sort_by("series_id")
    versions: dict[str, int] = {}
    unchanged = _fingerprints(lake, as_of) == [fingerprint]
    if not unchanged:
        lake.migrate(CANDIDATE_FLEET)
        kept = f"as_of <= '{as_of}'"  # each day starts from the newest statistics: those of older days are of no use
        versions[FLEET_POOLS.name] = lake.replace(FLEET_POOLS, pool_rows(fleet, as_of), f"as_of = '{as_of}'")
        versions[FLEET_STATISTICS.name] = lake.replace(FLEET_STATISTICS, statistics_rows(statistics, as_of), kept)
        versions[CANDIDATE_FLEET.name] = lake.replace(CANDIDATE_FLEET, rows, f"as_of = '{as_of}'")
    states = dict(sorted(Counter(rows["state"].to_pylist()).items()))
    seconds, anew = round(time.perf_counter() - start, 3), len(statistics) - advanced
    return UpdateReport(as_of, since, fingerprint, unchanged, states, advanced, anew, recorded, seconds, versions)


def _newest_before(lake: Lake, config: ForecastConfig, as_of: date) -> tuple[date, Fleet]:
    """The newest fleet that is older than a day, and its day."""
    days = lake.read(CANDIDATE_FLEET.name, ["as_of"])["as_of"].unique().to_pylist() if _trained(lake) else []
    older = [day for day in days if day < as_of]
    if not older:
        raise UpdateError(f"no fleet is older than {as_of}: train one of an earlier day, or train this day")
    today = pc.field("as_of") == pa.scalar(as_of)
    if lake.exists(FOLD_METRICS.name) and lake.count(FOLD_METRICS.name, today):
        raise UpdateError(f"the fleet of {as_of} was trained, which an update would undo: score with it as it is")
    where = pc.field("as_of") == pa.scalar(max(older))
    fleet = fleet_tables(lake.read(CANDIDATE_FLEET.name, where=where), lake.read(FLEET_POOLS.name, where=where), config)
    steps = fleet.pools["steps"]["item"].unique()
    if len(steps) != config.horizon or not set(META) <= set(fleet.pools["meta"]["item"].to_pylist()):
        raise UpdateError(f"the fleet of {max(older)} was trained with another configuration or release: train {as_of}")
    return max(older), fleet


def _failed(lake: Lake, since: date, fleet: Fleet) -> dict[str, str]:
    """Why series of a fleet failed in the training that it comes from, as the fleet of an earlier day says."""
    rows = lake.read(CANDIDATE_FLEET.name, where=pc.field("as_of") == pa.scalar(since))
    there = rows.filter(pc.is_in(rows["series_id"], fleet.rows["series_id"].combine_chunks()))
    return {row["series_id"]: row["detail"] for row in there.to_pylist() if row["reason"] == FAILED}


def _trained(lake: Lake) -> bool:
    return lake.exists(CANDIDATE_FLEET.name) and lake.exists(FLEET_POOLS.name)


def _known_to(fleet: Fleet, shard: Shard) -> Fleet:
    """The fleet without the series that are expected no more, or whose values cannot be used today."""
    usable = pa.array(shard.series_id, pa.string())
    return replace(fleet, rows=fleet.rows.filter(pc.is_in(fleet.rows["series_id"], usable)))


def _brought_forward(
    lake: Lake, fleet: Fleet, shard: Shard, config: ForecastConfig, since: date
) -> tuple[Statistics, int]:
    """Statistics of all series of a shard after its last step, and how many of them came from those of an earlier day."""
    stored = read_statistics(lake, since, fleet)
    kept = None if stored is None else _still_true(stored, shard)
    if kept is None or not len(kept):
        after = np.datetime64(last_whole_day(since, config.frequency) + timedelta(days=1))
        first = int(np.searchsorted(shard.times, after))
        return _from_history(fleet, shard, first), 0
    place = pd.Index(shard.series_id).get_indexer(pd.Index(kept.series_id))
    for at in range(kept.steps, shard.steps):
        kept = kept.advanced(shard.y[place, at], shard.known[:, :, at : at + 1 + config.horizon][place])
    expected = fleet_places(fleet, shard)[1] != "quarantined"
    others = np.setdiff1d(np.flatnonzero(expected), place)
    if not len(others):
        return kept, len(kept)
    return replaced(kept, _from_history(fleet, shard.take(others), 0)), len(kept)


def _from_history(fleet: Fleet, shard: Shard, first: int) -> Statistics:
    """Statistics from the whole history; a series is touched where it has a value from the step `first` on, or older ones were corrected."""
    made = joined([Statistics.of(fleet, chunk) for chunk in shard.chunks(CHUNK)])
    place = pd.Index(shard.series_id).get_indexer(pd.Index(made.series_id))
    observed = (~np.isnan(shard.y[place, first:])).any(axis=1)
    return made.with_touched(observed | made.moved())


def _still_true(stored: Statistics, shard: Shard) -> Statistics | None:
    """Those of the stored series whose rows are still what was taken in; None where the calendar begins elsewhere now."""
    if stored.begin != shard.position or stored.steps > shard.steps:
        return None
    place = pd.Index(shard.series_id).get_indexer(pd.Index(stored.series_id))
    past = shard.take(np.maximum(place, 0))
    digests = row_digests(past.y[:, : stored.steps], past.covariates(0, stored.steps), shard.position)
    names = np.asarray(past.segments, dtype=object)[past.segment]
    same: Bools = (place >= 0) & (digests == stored.digests) & (names == stored.segment)
    return stored.take(same)


def _fingerprint(
    lake: Lake, since: date, config: ForecastConfig, as_of: date, recorded: str, refused: tuple[str, ...]
) -> str:
    """sha256 over the fleet it came from, the rows it holds, the day, configuration and code."""
    before = _fingerprints(lake, since)
    text = f"{before}|{recorded}|{as_of}|{refused}|{config.model_dump_json()}|{__version__}|{KERNEL_VERSION}"
    return hashlib.sha256(text.encode()).hexdigest()


def _fingerprints(lake: Lake, as_of: date) -> list[str]:
    rows = lake.read(CANDIDATE_FLEET.name, ["fingerprint"], pc.field("as_of") == pa.scalar(as_of))
    return sorted(rows["fingerprint"].unique().to_pylist())
