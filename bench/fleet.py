"""A whole fleet from the panel to written forecasts: seconds by phase, CPU of the process tree, greatest resident memory, error against the truth.

Belongs here: one run of the product's own path on the generator's world. Does not belong here: figures that a test relies on, peers.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from bench import results
from bench.generator import FIRST, HORIZON, PROFILES, Profile, World, blocks
from bench.rows import COVARIATES
from bench.watch import Watch
from ml_platform.compute import Compute, LocalCompute, Report
from ml_platform.forecasting import ForecastConfig, predict
from ml_platform.lake import Lake, TableSpec
from ml_platform.lake.names import SERIES_PANEL
from ml_platform.panel import read_panel
from ml_platform.registry import fleet_tables
from ml_platform.series import series_id, shard_of
from ml_platform.training import train_fleet

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
            "days_before_fold": (past[:, :-HORIZON] >= 0).sum(axis=1),
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


@dataclass(frozen=True)
class Weighing(LocalCompute):
    """Local processes that also say how large the files are which they hand over: bytes by kind (shard, pools, part)."""

    handed: dict[str, int] = field(default_factory=dict)

    def run(self, job: str, argument_lists: Sequence[Sequence[str]]) -> list[Report]:
        reports = super().run(job, argument_lists)
        folder = Path(argument_lists[0][argument_lists[0].index("--work") + 1])
        for kind in ("shard", "pools", "part"):
            files = [path for path in folder.glob(f"{kind}_*") if path.stem != "pools_all"]
            self.handed[kind] = sum(path.stat().st_size for path in files)
        return reports


def measure(profile: Profile, config: ForecastConfig, workers: int) -> dict[str, object]:
    """Make a world, train, forecast, write: seconds by phase, cost of it all, bytes handed over, errors."""
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as folder:
        lake, as_of = Lake(str(Path(folder) / "lake")), FIRST + timedelta(days=profile.days - 1)
        catalogue, mean, units = write_world(lake, profile)
        compute = Weighing(workers)
        with Watch() as watch:
            seconds, forecasts = run(lake, catalogue, config, as_of, compute)
        rows = lake.count(SERIES_PANEL, pc.field("date") <= as_of)
    return {
        "series": profile.series,
        "days": profile.days,
        "rows": rows,
        "workers": workers,
        "wall": watch.wall,
        "cpu": watch.cpu,
        "peak": watch.peak,
        "seconds": {name: round(took, 2) for name, took in seconds.items()},
        "handed": compute.handed,
        **errors(forecasts, catalogue, mean, units),
    }


def main() -> None:
    """Measure one fleet, print it and write docs/benchmarks/fleet.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", choices=PROFILES, default="S")
    parser.add_argument("--families", default="mean_56,ses_05,ridge", help="comma-separated, or default")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    about = results.circumstances()
    config = configuration("default" if options.families == "default" else options.families.split(","))
    row = measure(PROFILES[options.profile], config, options.workers)
    for name, value in row.items():
        print(f"{name:10s} {value}")
    print(f"written: {results.write('fleet', {**about, 'profile': options.profile}, [row]).relative_to(results.ROOT)}")


def run(
    lake: Lake, catalogue: pa.Table, config: ForecastConfig, as_of: date, compute: Compute
) -> tuple[dict[str, float], pa.Table]:
    """Train as of a day and write the forecasts after it; seconds by phase, and the forecasts."""
    report = train_fleet(lake, catalogue, config, as_of, compute)
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


def errors(forecasts: pa.Table, catalogue: pa.Table, mean: np.ndarray, units: np.ndarray) -> dict[str, object]:
    """Bias, absolute error and coverage on days that nobody saw; the error of the true mean beside it."""
    frame = forecasts.to_pandas()
    row = pd.Index(catalogue["series_id"].to_pandas()).get_indexer(frame["series_id"])
    step = frame["step"].to_numpy() - 1
    actual, truth = units[row, step], mean[row, step]
    alive = actual >= 0
    said, actual, truth = frame["mean"].to_numpy()[alive], actual[alive], truth[alive]
    inside = (frame["lo_80"].to_numpy()[alive] <= actual) & (actual <= frame["hi_80"].to_numpy()[alive])
    dense = truth >= 1.0
    return {
        "bias": float(said.sum() / actual.sum() - 1),
        "wape": float(np.abs(said - actual).sum() / actual.sum()),
        "wape_of_the_true_mean": float(np.abs(truth - actual).sum() / actual.sum()),
        "to_the_true_mean": float(np.abs(said - truth).sum() / truth.sum()),
        "covers_dense_80": float(inside[dense].mean()),
    }


if __name__ == "__main__":
    main()
