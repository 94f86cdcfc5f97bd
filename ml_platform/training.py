"""Training: the panel of an as-of day becomes a candidate fleet in the lake, shard by shard.

Belongs here: what is read, the two passes over shards, the commits. Does not belong here: the models (forecasting), where jobs run (compute).
"""

import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform import __version__
from ml_platform.compute import Compute
from ml_platform.dealing import FailedSeriesError, run_shards
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import Times
from ml_platform.forecasting.cohorts import Cohort, cohorts
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.pipeline import Trained, assembled, finish
from ml_platform.forecasting.pools import Pools, combine_pools, derive_pools, taught
from ml_platform.forecasting.selection import overall
from ml_platform.forecasting.sum_pools import SumHistory, sum_pools
from ml_platform.forecasting.sums import Sums
from ml_platform.jobs.exchange import COHORT, WorkFolder
from ml_platform.lake import Lake, TableSpec
from ml_platform.panel import Panel, read_panel, without
from ml_platform.sums import catalogue_sums
from ml_platform.training_tables import (
    CANDIDATE_FLEET,
    FAILED,
    FLEET_POOLS,
    FOLD_METRICS,
    fleet_rows,
    fold_rows,
    judged_fold,
    judged_rows,
    pool_rows,
)

KERNEL_VERSION = "13"  # raise when the same inputs give another fleet


@dataclass(frozen=True)
class TrainingReport:
    """What a training did: series by state and by family, the selection, seconds per stage, table versions.

    unchanged: a fleet with this fingerprint was there, nothing was written. strategies: segments by the way they chose. scores: nested
    weighted RMSSE per strategy, and of what was chosen. failed: series that fail by themselves and are quarantined for it, with the reason.
    """

    as_of: date
    fingerprint: str
    unchanged: bool
    states: Mapping[str, int]
    families: Mapping[str, int]
    strategies: Mapping[str, int] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


class _Watch:
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


def train_fleet(
    lake: Lake, catalogue: pa.Table, config: ForecastConfig, as_of: date, compute: Compute
) -> TrainingReport:
    """Train the fleet of an as-of day from gold/series_panel and write its four gold tables.

    `catalogue` holds the series as of that day. A fleet with the same fingerprint (configuration, code, arrays read) is
    kept and nothing is committed, unless series of it failed. Series that fail by themselves are quarantined, and the rest is
    trained as if they did not exist. Raises PanelError where panel and catalogue do not fit, JobError where every shard fails.
    """
    watch = _Watch()
    with watch.stage("read"):
        panel = read_panel(lake, catalogue, config, as_of, judging=True)
        sums = catalogue_sums(catalogue, panel.shard.series_id, config.sums)
        fingerprint = _fingerprint(panel, sums, config, as_of)
    kept = _kept(lake, as_of, fingerprint)
    if kept is not None:
        return _report(as_of, fingerprint, kept, watch, unchanged=True)
    failed: dict[str, str] = {}
    while True:
        with tempfile.TemporaryDirectory(prefix="ml-platform-train-") as folder:
            work = WorkFolder(Path(folder))
            with watch.stage("share"):
                dealt = _share(panel, catalogue, config, work)
            del panel  # the jobs have its arrays now, and the driver needs the room for theirs
            try:
                trained, tables = _train(replace(dealt, failed=failed), as_of, fingerprint, compute, work, watch)
            except FailedSeriesError as error:
                failed |= error.details
                with watch.stage("read"):
                    panel = read_panel(lake, without(catalogue, failed), config, as_of, judging=True)
                continue
        break
    with watch.stage("write"):
        for spec in (CANDIDATE_FLEET, judged_fold(config)):
            lake.migrate(spec)
        versions = {spec.name: lake.replace(spec, table, f"as_of = '{as_of}'") for spec, table in tables}
    report = _report(as_of, fingerprint, tables[-1][1], watch, trained=trained, versions=versions)
    return replace(report, failed=failed)


def _fingerprint(panel: Panel, sums: Sequence[Sums], config: ForecastConfig, as_of: date) -> str:
    """sha256 over the configuration, the code's version, the day, the arrays that training reads and the sums that series belong to."""
    shard = panel.shard
    versions = "".join(f"|{one.version}" for one in config.adapters)
    digest = hashlib.sha256(
        f"{config.model_dump_json()}{versions}|{__version__}|{KERNEL_VERSION}|{as_of}|{shard.segments}|{panel.refused}".encode()
    )
    digest.update("|".join(shard.series_id).encode())
    for array in (shard.y, shard.known, shard.active, shard.weight, shard.segment, shard.times):
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    for one in sums:
        digest.update("|".join(one.labels).encode() + one.codes.tobytes())
    return digest.hexdigest()


def _kept(lake: Lake, as_of: date, fingerprint: str) -> pa.Table | None:
    if not lake.exists(CANDIDATE_FLEET.name):
        return None
    columns = ["family", "state", "reason", "fingerprint"]
    rows = lake.read(CANDIDATE_FLEET.name, columns, pc.field("as_of") == pa.scalar(as_of))
    same = set(rows["fingerprint"].unique().to_pylist()) == {fingerprint}
    return rows if same and FAILED not in rows["reason"].unique().to_pylist() else None


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
    failed: Mapping[str, str] = field(default_factory=dict)


def _share(panel: Panel, catalogue: pa.Table, config: ForecastConfig, work: WorkFolder) -> _Dealt:
    """Write the arrays of every shard for the jobs."""
    shard = panel.shard
    found, numbers = cohorts([shard], config, judging=True), list[int]()
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


def _train(
    dealt: _Dealt, as_of: date, fingerprint: str, compute: Compute, work: WorkFolder, watch: _Watch
) -> tuple[list[Trained], list[tuple[TableSpec, pa.Table]]]:
    """Run both passes; returns the cohorts and the tables of the fleet, candidate_fleet last: its commit completes the training."""
    with watch.stage("pools"):
        shards = run_shards("pools", dealt.shards, work, compute)
        pools = [_pooled(place, cohort, shards, work) for place, cohort in enumerate(dealt.cohorts)]
    with watch.stage("backtest"):
        shards = run_shards("fit", shards, work, compute)
        parts = [[work.read_part(n) for n in shards if work.cohort(n) == place] for place in range(len(pools))]
    with watch.stage("select"):
        trained = [
            finish(own, shared, cohort, dealt.segments, dealt.position)
            for own, shared, cohort in zip(parts, pools, dealt.cohorts, strict=True)
        ]
    with watch.stage("sums"):
        of_sums = sum_pools(dealt.sums, trained, dealt.series_id, dealt.config, judging=True)
    with watch.stage("tables"):
        fleet = assembled(trained, dealt.config)
        fleet = replace(fleet, pools={**fleet.pools, **of_sums})
        rows = fleet_rows(fleet, dealt.refused, dealt.failed, as_of, fingerprint).sort_by("series_id")
        tables = [
            (FOLD_METRICS, fold_rows(trained, as_of)),
            (judged_fold(dealt.config), pa.concat_tables([judged_rows(one, dealt.times, as_of) for one in trained])),
            (FLEET_POOLS, pool_rows(fleet, as_of)),
            (CANDIDATE_FLEET, rows),
        ]
    return trained, tables


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


def _report(
    as_of: date, fingerprint: str, rows: pa.Table, watch: _Watch, *,
    unchanged: bool = False, trained: Sequence[Trained] = (), versions: Mapping[str, int] | None = None,
) -> TrainingReport:  # fmt: skip
    states, families = (Counter(rows[name].drop_null().to_pylist()) for name in ("state", "family"))
    strategies, scores = overall([one.selection for one in trained]) if trained else ({}, {})
    return TrainingReport(
        as_of=as_of,
        fingerprint=fingerprint,
        unchanged=unchanged,
        states=dict(sorted(states.items())),
        families=dict(sorted(families.items())),
        strategies=strategies,
        scores=scores,
        seconds=watch.seconds,
        versions=versions or {},
    )
