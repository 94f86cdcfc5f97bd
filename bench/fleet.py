"""A whole fleet from the panel to written forecasts: seconds by phase, CPU of the process tree, greatest resident memory, error against the truth.

Belongs here: one run of the product's own path on the generator's world. Does not belong here: figures that a test relies on, peers.
"""

import argparse
import json
import tempfile
import threading
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import psutil
import pyarrow as pa

from bench.generator import FIRST, HORIZON, PROFILES, Profile, World, blocks
from ml_platform.compute import LocalCompute
from ml_platform.forecasting import ForecastConfig, predict
from ml_platform.lake import Lake, TableSpec
from ml_platform.lake.names import SERIES_PANEL
from ml_platform.panel import read_panel
from ml_platform.registry import fleet_tables
from ml_platform.series import series_id, shard_of
from ml_platform.training import train_fleet

COVARIATES = ("price", "promotion", "holiday")
PANEL = TableSpec(
    SERIES_PANEL,
    pa.schema(
        [
            ("series_id", pa.string()),
            ("date", pa.date32()),
            ("month", pa.string()),
            ("target", pa.int32()),
            *((name, pa.float32()) for name in COVARIATES),
            ("known_from", pa.date32()),
        ]
    ),
    ("month",),
)


def configuration(families: list[str] | str) -> ForecastConfig:
    """Sales by store and product, weekly season, four folds, horizon of four weeks."""
    return ForecastConfig.model_validate(
        {
            "series": ["store", "product"],
            "time": "date",
            "target": "target",
            "frequency": "D",
            "horizon": HORIZON,
            "known_future": list(COVARIATES),
            "segments": ["product"],
            "families": families,
        }
    )


def write_world(lake: Lake, profile: Profile) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Fill gold/series_panel; returns the catalogue and the true mean and units of the horizon (S, H) in the order of its series."""
    worlds = list(blocks(profile))
    ids = np.asarray([series_id((str(s), str(p))) for w in worlds for s, p in zip(w.store, w.product, strict=True)])
    joined = {name: np.concatenate([getattr(w, name) for w in worlds]) for name in World.__dataclass_fields__}
    days = [FIRST + timedelta(days=n) for n in range(profile.days + HORIZON)]
    month = np.asarray([f"{day:%Y-%m}" for day in days])
    for one in np.unique(month):
        lake.append(PANEL, _month(ids, joined, np.flatnonzero(month == one), profile.days, one))
    past = joined["units"][:, : profile.days]
    first = (past >= 0).argmax(axis=1)
    catalogue = pa.table(
        {
            "series_id": ids,
            "store": joined["store"].astype(str),
            "product": joined["product"].astype(str),
            "shard": pa.array([shard_of(one, 16) for one in ids], pa.int32()),
            "first_date": pa.array([days[at] for at in first], pa.date32()),
            "active_days": (past >= 0).sum(axis=1),
            "state": ["active"] * len(ids),
        }
    )
    return catalogue, joined["mean"][:, profile.days :], joined["units"][:, profile.days :]


def _month(ids: np.ndarray, world: dict[str, np.ndarray], at: np.ndarray, days: int, month: str) -> pa.Table:
    series, place = np.nonzero(world["units"][:, at] >= 0)
    day, past = at[place], at[place] < days
    columns = {
        "series_id": pa.array(ids).take(pa.array(series)),
        "date": pa.array((np.datetime64(FIRST) + day).astype("datetime64[D]")),
        "month": pa.array([month] * len(day)),
        "target": pa.array(world["units"][series, day], mask=~past),
        **{name: pa.array(world[name][series, day].astype(np.float32)) for name in COVARIATES},
        "known_from": pa.nulls(len(day), pa.date32()),
    }
    return pa.table(columns, PANEL.schema)


class Watch:
    """Greatest resident memory (bytes) of this process and its children, looked at ten times a second, and CPU seconds of all."""

    def __enter__(self) -> Self:
        self.peak, self._over, self._me = 0, threading.Event(), psutil.Process()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._before = self._cpu()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.cpu = self._cpu() - self._before

    def _look(self) -> None:
        while not self._over.wait(0.1):
            total = 0
            for one in (self._me, *self._me.children(recursive=True)):
                try:
                    total += one.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, total)

    def _cpu(self) -> float:
        times = self._me.cpu_times()
        return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Make a world, train, forecast, write, and print what each phase took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, default="S")
    parser.add_argument("--families", default="mean_56,ses_05,ridge", help="comma-separated, or default")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    profile = PROFILES[options.profile]
    config = configuration("default" if options.families == "default" else options.families.split(","))
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder:
        lake, as_of = Lake(str(Path(folder) / "lake")), FIRST + timedelta(days=profile.days - 1)
        start = time.perf_counter()
        catalogue, mean, units = write_world(lake, profile)
        print(f"{profile.series:,} series x {profile.days:,} days made in {time.perf_counter() - start:.1f} s")
        with Watch() as watch:
            start = time.perf_counter()
            seconds, forecasts = run(lake, catalogue, config, as_of, options.workers)
            wall = time.perf_counter() - start
    print(json.dumps({name: round(took, 2) for name, took in seconds.items()}))
    print(
        f"wall {wall:.1f} s, CPU {watch.cpu:.1f} s, greatest memory {watch.peak / 2**30:.2f} GiB, {options.workers} workers"
    )
    show_errors(forecasts, catalogue, mean, units)


def run(
    lake: Lake, catalogue: pa.Table, config: ForecastConfig, as_of: date, workers: int
) -> tuple[dict[str, float], pa.Table]:
    """Train as of a day and write the forecasts after it; seconds by phase, and the forecasts."""
    report = train_fleet(lake, catalogue, config, as_of, LocalCompute(workers))
    start = time.perf_counter()
    fleet = fleet_tables(lake.read("gold/candidate_fleet"), lake.read("gold/fleet_pools"), config)
    made = predict(fleet, read_panel(lake, catalogue, config, as_of).shard)
    predicted = time.perf_counter()
    lake.append(TableSpec("gold/forecasts", made.schema), made)
    return {
        **report.seconds,
        "read and predict": predicted - start,
        "write forecasts": time.perf_counter() - predicted,
    }, made


def show_errors(forecasts: pa.Table, catalogue: pa.Table, mean: np.ndarray, units: np.ndarray) -> None:
    """Bias, weighted error and coverage on days that nobody saw; the error of the true mean beside it."""
    frame = forecasts.to_pandas()
    row = pd.Index(catalogue["series_id"].to_pandas()).get_indexer(frame["series_id"])
    step = frame["step"].to_numpy() - 1
    actual, truth = units[row, step], mean[row, step]
    alive = actual >= 0
    said = frame["mean"].to_numpy()[alive]
    actual, truth = actual[alive], truth[alive]
    inside = (frame["lo_80"].to_numpy()[alive] <= actual) & (actual <= frame["hi_80"].to_numpy()[alive])
    dense = truth >= 1.0
    print(
        f"bias {said.sum() / actual.sum() - 1:+.2%}, WAPE {np.abs(said - actual).sum() / actual.sum():.2%} "
        f"(of the true mean {np.abs(truth - actual).sum() / actual.sum():.2%}), "
        f"to the true mean {np.abs(said - truth).sum() / truth.sum():.2%}, 80 % intervals cover {inside[dense].mean():.1%} of dense cells"
    )


if __name__ == "__main__":
    main()
