"""A small fleet in a lake: twelve orchards in three valleys, boxes of fruit per day, in four shards.

Belongs here: panel and catalogue for tests of where and how training runs. Does not belong here: what they ask of it.
"""

import datetime as dt
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ml_platform.compute import Compute, JobError, Report
from ml_platform.forecasting import ForecastConfig
from ml_platform.jobs.exchange import WorkFolder
from ml_platform.jobs.train import read_task, run_step
from ml_platform.lake import Lake, TableSpec
from ml_platform.training import TrainingReport, train_fleet

FIRST, DAYS, SHARDS = dt.date(2023, 5, 1), 90, 4
AS_OF = FIRST + dt.timedelta(days=DAYS - 1)
ORCHARDS = [f"orchard-{number:02d}" for number in range(12)]
CONFIG = ForecastConfig(
    series=("orchard",),
    time="date",
    target="boxes",
    frequency="D",
    horizon=7,
    static=("valley",),
    segments=("valley",),
    interval_origins=4,
)
ORDER = {
    "candidate_fleet": ("series_id",),
    "fold_metrics": ("series_id", "family", "fold"),
    "judged_fold": ("series_id", "step"),
    "fleet_pools": ("name", "segment", "item"),
}


class InProcess:
    """Runs shard jobs in this process: fast, and seen by coverage."""

    workers = 2

    def run(self, job: str, argument_lists: Sequence[Sequence[str]]) -> list[Report | JobError]:
        tasks = [read_task(arguments) for arguments in argument_lists]
        return [run_step(task.step, task.work, task.shards) for task in tasks]


def catalogue(without: Collection[str] = ()) -> pa.Table:
    places = [place for place, one in enumerate(ORCHARDS) if one not in without]
    return pa.table(
        {
            "series_id": [ORCHARDS[place] for place in places],
            "orchard": [ORCHARDS[place] for place in places],
            "shard": pa.array([place % SHARDS for place in places], pa.int32()),
            "first_date": pa.array([_begin(place) for place in places], pa.date32()),
            "active_days": pa.array([(AS_OF - _begin(place)).days + 1 for place in places], pa.int64()),
            "days_before_fold": pa.array([(AS_OF - _begin(place)).days - 6 for place in places], pa.int64()),
            "valley": [f"valley {place % 3}" for place in places],
            "state": ["active"] * len(places),
        }
    )


def _begin(place: int) -> dt.date:
    """The first orchard alone is there from the first day: without it the calendar begins later."""
    return FIRST if place == 0 else FIRST + dt.timedelta(days=3)


def filled(folder: Path) -> Lake:
    """A lake with the panel of all orchards."""
    lake, tables = Lake(str(folder)), []
    for place, one in enumerate(ORCHARDS):
        rng, size = np.random.default_rng(place), (AS_OF - _begin(place)).days + 1
        days = [_begin(place) + dt.timedelta(days=day) for day in range(size)]
        boxes = rng.poisson(2 + place % 5 + 3 * (np.arange(size) % 7 >= 5))
        columns = {
            "series_id": [one] * size,
            "date": pa.array(days, pa.date32()),
            "target": pa.array(boxes, pa.int64()),
            "known_from": pa.array([FIRST] * size, pa.date32()),
            "month": [f"{day:%Y-%m}" for day in days],
        }
        tables.append(pa.table(columns))
    panel = pa.concat_tables(tables)
    lake.append(TableSpec("gold/series_panel", panel.schema, ("month",)), panel)
    return lake


def trained(
    folder: Path, compute: Compute, without: Collection[str] = (), families: Sequence[str] | None = None
) -> tuple[TrainingReport, dict[str, pa.Table]]:
    """Train in a new lake; the report and the four gold tables, rows in a fixed order."""
    lake, config = filled(folder), CONFIG.model_copy(update={"families": tuple(families)} if families else {})
    report = train_fleet(lake, catalogue(without), config, AS_OF, compute)
    return report, gold(lake)


def gold(lake: Lake) -> dict[str, pa.Table]:
    tables = {name: lake.read(f"gold/{name}") for name in ORDER}
    return {name: table.sort_by([(key, "ascending") for key in ORDER[name]]) for name, table in tables.items()}


def poison(work: WorkFolder, series: Collection[str]) -> None:
    """Give series in the shards of a folder a segment that does not exist, at which every pass stumbles."""
    for number in work.shards():
        shard = work.read_shard(number)
        hit = np.isin(shard.series_id.astype(str), list(series))
        if hit.any():
            shard.segment[hit] = 1_000_000
            work.write_shard(number, shard)


class Poisoned:
    """A compute before whose jobs of a step the arrays of some series are spoiled."""

    def __init__(self, compute: Compute, series: Collection[str], step: str = "pools") -> None:
        self.compute, self.series, self.step = compute, series, step
        self.asked: list[Any] = []

    @property
    def workers(self) -> int:
        return self.compute.workers

    def run(self, job: str, argument_lists: Sequence[Sequence[str]]) -> list[Report | JobError]:
        tasks = [read_task(arguments) for arguments in argument_lists]
        if any(task.step == self.step for task in tasks):
            poison(tasks[0].work, self.series)
        self.asked += [(task.step, task.shards) for task in tasks]
        return self.compute.run(job, argument_lists)
