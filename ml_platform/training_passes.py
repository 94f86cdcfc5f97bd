"""Both passes of a training over the shards of a panel, in jobs wherever they run.

Belongs here: dealing shards to jobs, the passes in order, series that fail by themselves. Does not belong here: tables and their commits (training),
models (forecasting).
"""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform.compute import Compute
from ml_platform.dealing import FailedSeriesError, run_shards
from ml_platform.forecasting import Fleet
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import Times
from ml_platform.forecasting.cohorts import Cohort, cohorts
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.incumbent import Incumbent
from ml_platform.forecasting.pipeline import Part, Trained, assembled, finish
from ml_platform.forecasting.pools import Pools, combine_pools, derive_pools, taught
from ml_platform.forecasting.selection import KEPT, WAYS
from ml_platform.forecasting.sum_pools import SumHistory, sum_pools
from ml_platform.jobs.exchange import COHORT, WorkFolder
from ml_platform.lake import Lake
from ml_platform.panel import Panel, read_panel, without
from ml_platform.sums import catalogue_sums


@dataclass(frozen=True)
class Stands:
    """The champion's choice: whether there is one, and whether the fleet has to keep it."""

    incumbent: Incumbent | None = None
    keep: bool = False


@dataclass(frozen=True)
class Fitted:
    """A fleet after both passes, with its cohorts, and beside each what the champion's choice says of it (None: there is no champion)."""

    fleet: Fleet
    trained: tuple[Trained, ...]
    beside: tuple[Trained | None, ...]
    times: Times
    refused: tuple[str, ...]
    failed: Mapping[str, str]


class Watch:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds to the seconds of a stage, also of one that is repeated."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 3)


@dataclass(frozen=True)
class Passes:
    """What a training reads and where its jobs run."""

    lake: Lake
    catalogue: pa.Table
    config: ForecastConfig
    as_of: date
    compute: Compute

    def read(self, failed: Mapping[str, str] | None = None) -> Panel:
        """The panel up to the day, without the series that failed."""
        return read_panel(self.lake, without(self.catalogue, failed or {}), self.config, self.as_of, judging=True)

    def run(self, held: list[Panel], stands: Stands, watch: Watch) -> Fitted:
        """Fit the fleet. Series that fail by themselves are left out, and the rest is fitted as if they did not exist.

        The list holds the panel, and is emptied: once the jobs have its arrays, the driver needs the room for theirs.
        """
        failed: dict[str, str] = {}
        while True:
            with tempfile.TemporaryDirectory(prefix="ml-platform-train-") as folder:
                work = WorkFolder(Path(folder))
                with watch.stage("share"):
                    dealt = _share(held.pop(), self.catalogue, self.config, work, stands.incumbent)
                try:
                    return _fit(dealt, stands, failed, self.compute, work, watch)
                except FailedSeriesError as error:
                    failed |= error.details
                    with watch.stage("read"):
                        held.append(self.read(failed))


def _shard_rows(catalogue: pa.Table, shard: Shard) -> list[np.ndarray]:
    """Rows of the series that belong to each shard, in order of shard."""
    place = pc.index_in(pa.array(shard.series_id, pa.string()), catalogue["series_id"].combine_chunks())
    numbers = catalogue["shard"].take(place).to_numpy()
    return [np.flatnonzero(numbers == number) for number in np.unique(numbers)]


@dataclass(frozen=True)
class _Dealt:
    """What the driver keeps of a fleet whose shards lie in the work folder."""

    config: ForecastConfig
    cohorts: tuple[Cohort, ...]
    shards: tuple[int, ...]
    segments: tuple[str, ...]
    position: int
    times: Times
    refused: tuple[str, ...]
    series_id: np.ndarray
    sums: tuple[SumHistory, ...]


def _share(
    panel: Panel, catalogue: pa.Table, config: ForecastConfig, work: WorkFolder, incumbent: Incumbent | None
) -> _Dealt:
    """Write the arrays of every shard for the jobs."""
    shard = panel.shard
    found, numbers = cohorts([shard], config, judging=True, incumbent=incumbent), list[int]()
    work.write_cohorts(found)
    for place, own in enumerate(_shard_rows(catalogue, shard)):
        dealt = shard.take(own)
        for number, cohort in enumerate(found):
            rows = cohort.of(dealt)
            if len(rows):
                numbers.append(number * COHORT + place)
                work.write_shard(numbers[-1], dealt.take(rows))
    levels = catalogue_sums(catalogue, shard.series_id, config.sums)
    sums = tuple(SumHistory.of(one, shard, config) for one in levels)
    return _Dealt(
        config,
        found,
        tuple(numbers),
        shard.segments,
        shard.position,
        shard.times,
        panel.refused,
        shard.series_id,
        sums,
    )


def _fit(
    dealt: _Dealt, stands: Stands, failed: Mapping[str, str], compute: Compute, work: WorkFolder, watch: Watch
) -> Fitted:
    with watch.stage("pools"):
        shards = run_shards("pools", dealt.shards, work, compute)
        pools = [_pooled(place, cohort, shards, work) for place, cohort in enumerate(dealt.cohorts)]
    with watch.stage("backtest"):
        shards = run_shards("fit", shards, work, compute)
        parts = [[work.read_part(n) for n in shards if work.cohort(n) == place] for place in range(len(pools))]
    with watch.stage("select"):
        both = [
            _finish(own, shared, cohort, dealt, stands)
            for own, shared, cohort in zip(parts, pools, dealt.cohorts, strict=True)
        ]
    trained = tuple(one for one, _ in both)
    with watch.stage("sums"):
        of_sums = sum_pools(dealt.sums, trained, dealt.series_id, dealt.config, judging=True)
    fleet = assembled(trained, dealt.config)
    fleet = replace(fleet, pools={**fleet.pools, **of_sums})
    return Fitted(fleet, trained, tuple(one for _, one in both), dealt.times, dealt.refused, failed)


def _finish(
    parts: list[Part], pools: Pools, cohort: Cohort, dealt: _Dealt, stands: Stands
) -> tuple[Trained, Trained | None]:
    """The cohort as it chose, and as the champion would have it."""
    trained = finish(parts, pools, cohort, dealt.segments, dealt.position, stands.incumbent, stands.keep)
    if stands.incumbent is None or set(trained.selection.strategies.tolist()) <= {-1, WAYS.index(KEPT)}:
        return trained, trained if stands.incumbent else None
    return trained, finish(parts, pools, cohort, dealt.segments, dealt.position, stands.incumbent, keep=True)


def _pooled(place: int, cohort: Cohort, shards: Sequence[int], work: WorkFolder) -> Pools:
    """What the series of a cohort share; leaves it in the work folder for its shards."""
    own = [number for number in shards if work.cohort(number) == place]
    sums = combine_pools([work.read_pools(str(number)) for number in own])
    work.write_pools(f"all_{place}", sums)
    pools = derive_pools(sums, cohort.setup)
    if cohort.setup.with_trees:
        pools = taught(pools, [work.read_lessons(number) for number in own], cohort.setup)
    work.write_models(place, pools.models)
    return pools
