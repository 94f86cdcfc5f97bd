"""Training: the panel of an as-of day becomes a candidate fleet in the lake, shard by shard.

Belongs here: what is read, the two passes over shards, the commits. Does not belong here: the models (forecasting), where jobs run (compute).
"""

import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ml_platform import __version__
from ml_platform.compute import Compute
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.calendar import Times
from ml_platform.forecasting.config import ForecastConfig
from ml_platform.forecasting.pipeline import Trained, finish, make_setup
from ml_platform.forecasting.pools import Setup, combine_pools, derive_pools, taught
from ml_platform.jobs.exchange import WorkFolder
from ml_platform.lake import Lake, TableSpec
from ml_platform.panel import Panel, read_panel
from ml_platform.training_tables import (
    CANDIDATE_FLEET,
    FLEET_POOLS,
    FOLD_METRICS,
    fleet_rows,
    fold_rows,
    judged_fold,
    judged_rows,
    pool_rows,
)

KERNEL_VERSION = "4"  # raise when the same inputs give another fleet


@dataclass(frozen=True)
class TrainingReport:
    """What a training did: series by state and by family, the selection, seconds per stage, table versions.

    unchanged: a fleet with this fingerprint was there, nothing was written. scores: nested weighted RMSSE per strategy.
    """

    as_of: date
    fingerprint: str
    unchanged: bool
    states: Mapping[str, int]
    families: Mapping[str, int]
    strategy: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)


class _Watch:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def train_fleet(
    lake: Lake, catalogue: pa.Table, config: ForecastConfig, as_of: date, compute: Compute
) -> TrainingReport:
    """Train the fleet of an as-of day from gold/series_panel and write its four gold tables.

    `catalogue` holds the series as of that day. A fleet with the same fingerprint (configuration, code, arrays read) is
    kept and nothing is committed. Raises PanelError where panel and catalogue do not fit, JobError where a shard fails.
    """
    watch = _Watch()
    with watch.stage("read"):
        panel = read_panel(lake, catalogue, config, as_of)
        fingerprint = _fingerprint(panel, config, as_of)
    kept = _kept(lake, as_of, fingerprint)
    if kept is not None:
        return _report(as_of, fingerprint, kept, watch, unchanged=True)
    with tempfile.TemporaryDirectory(prefix="ml-platform-train-") as folder:
        work = WorkFolder(Path(folder))
        with watch.stage("share"):
            dealt = _share(panel, catalogue, config, work)
        del panel  # the jobs have its arrays now, and the driver needs the room for theirs
        trained, tables = _train(dealt, as_of, fingerprint, compute, work, watch)
    with watch.stage("write"):
        versions = {spec.name: lake.replace(spec, table, f"as_of = '{as_of}'") for spec, table in tables}
    return _report(as_of, fingerprint, tables[-1][1], watch, trained=trained, versions=versions)


def _fingerprint(panel: Panel, config: ForecastConfig, as_of: date) -> str:
    """sha256 over the configuration, the code's version, the day and the arrays that training reads."""
    shard = panel.shard
    digest = hashlib.sha256(
        f"{config.model_dump_json()}|{__version__}|{KERNEL_VERSION}|{as_of}|{shard.segments}|{panel.refused}".encode()
    )
    digest.update("|".join(shard.series_id).encode())
    for array in (shard.y, shard.known, shard.active, shard.weight, shard.segment, shard.times):
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _kept(lake: Lake, as_of: date, fingerprint: str) -> pa.Table | None:
    if not lake.exists(CANDIDATE_FLEET.name):
        return None
    rows = lake.read(CANDIDATE_FLEET.name, ["family", "state", "fingerprint"], pc.field("as_of") == pa.scalar(as_of))
    return rows if rows.num_rows and set(rows["fingerprint"].unique().to_pylist()) == {fingerprint} else None


def _shard_rows(catalogue: pa.Table, shard: Shard) -> list[np.ndarray]:
    """Rows of the series that belong to each shard, in order of shard."""
    place = pc.index_in(pa.array(shard.series_id, pa.string()), catalogue["series_id"].combine_chunks())
    numbers = catalogue["shard"].take(place).to_numpy()
    return [np.flatnonzero(numbers == number) for number in np.unique(numbers)]


@dataclass(frozen=True)
class _Dealt:
    """What the driver keeps of a fleet whose shards lie in the work folder."""

    setup: Setup
    shards: int
    segments: tuple[str, ...]
    position: int
    times: Times
    refused: tuple[str, ...]


def _share(panel: Panel, catalogue: pa.Table, config: ForecastConfig, work: WorkFolder) -> _Dealt:
    """Write the arrays of every shard for the jobs."""
    shard = panel.shard
    setup, rows = make_setup([shard], config, judging=True), _shard_rows(catalogue, shard)
    work.write_setup(setup)
    for number, own in enumerate(rows):
        work.write_shard(number, shard.take(own))
    return _Dealt(setup, len(rows), shard.segments, shard.position, shard.times, panel.refused)


def _train(
    dealt: _Dealt, as_of: date, fingerprint: str, compute: Compute, work: WorkFolder, watch: _Watch
) -> tuple[Trained, list[tuple[TableSpec, pa.Table]]]:
    """Run both passes; returns the fleet and its tables, candidate_fleet last: its commit completes the training."""
    setup, config = dealt.setup, dealt.setup.config
    with watch.stage("pools"):
        _run(compute, "pools", work, dealt.shards)
        sums = combine_pools([work.read_pools(str(number)) for number in range(dealt.shards)])
        work.write_pools("all", sums)
        pools = derive_pools(sums, setup)
        if setup.with_trees:
            pools = taught(pools, [work.read_lessons(number) for number in range(dealt.shards)], setup)
            work.write_models(pools.models)
    with watch.stage("backtest"):
        _run(compute, "fit", work, dealt.shards)
        parts = [work.read_part(number) for number in range(dealt.shards)]
    with watch.stage("select"):
        trained = finish(parts, pools, setup, dealt.segments, dealt.position)
    with watch.stage("tables"):
        tables = [
            (FOLD_METRICS, fold_rows(parts, setup, as_of)),
            (judged_fold(config), judged_rows(parts, trained, setup, dealt.times, as_of)),
            (FLEET_POOLS, pool_rows(trained.fleet, as_of)),
            (CANDIDATE_FLEET, fleet_rows(trained.fleet, dealt.refused, as_of, fingerprint).sort_by("series_id")),
        ]
    return trained, tables


def _run(compute: Compute, step: str, work: WorkFolder, shards: int) -> None:
    """Deal the shards out to as many jobs as there are workers."""
    hands = [range(first, shards, compute.workers) for first in range(min(compute.workers, shards))]
    arguments = [["--step", step, "--work", str(work.path), "--shards", ",".join(map(str, hand))] for hand in hands]
    compute.run("train", arguments)


def _report(
    as_of: date, fingerprint: str, rows: pa.Table, watch: _Watch, *,
    unchanged: bool = False, trained: Trained | None = None, versions: Mapping[str, int] | None = None,
) -> TrainingReport:  # fmt: skip
    states, families = (Counter(rows[name].to_pylist()) for name in ("state", "family"))
    selection = trained.selection if trained else None
    return TrainingReport(
        as_of=as_of,
        fingerprint=fingerprint,
        unchanged=unchanged,
        states=dict(sorted(states.items())),
        families=dict(sorted(families.items())),
        strategy=selection.strategy if selection else "",
        scores=selection.scores if selection else {},
        seconds=watch.seconds,
        versions=versions or {},
    )
