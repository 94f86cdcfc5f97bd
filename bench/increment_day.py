"""One more day of ten thousand series with four thousand days each: read what yesterday wrote, take the day in, forecast, write.

Belongs here: seconds of each phase on the generator's world, and how far the result is from the whole history. Does not belong here: figures that a
test relies on, the lake (update_day). Packages are imported and the fleet is trained before the clock starts.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow import feather

from bench import results
from bench.clock import Clock
from bench.fleet import configuration
from bench.generator import FIRST, HORIZON, PRODUCTS, Profile, blocks
from bench.rows import COVARIATES
from ml_platform.forecasting import ForecastConfig
from ml_platform.forecasting.arrays import Shard
from ml_platform.forecasting.fleet_statistics import Statistics
from ml_platform.forecasting.layout import Cells, lay_out
from ml_platform.forecasting.pipeline import train
from ml_platform.forecasting.statistics_table import from_table, joined, to_table
from ml_platform.memory import keep_memory


def world(profile: Profile, config: ForecastConfig) -> Shard:
    """The generator's sales as arrays, in one piece."""
    worlds = list(blocks(profile))
    whole: dict[str, np.ndarray] = {}
    for name in ("units", "product", *COVARIATES):
        whole[name] = np.concatenate([getattr(one, name) for one in worlds])
        for one in worlds:
            object.__setattr__(one, name, None)
    y = whole.pop("units")[:, : profile.days].astype(np.float64)
    y[y < 0] = np.nan
    known = np.full((profile.series, 2 * len(COVARIATES), profile.days + HORIZON), np.nan)
    for place, name in enumerate(COVARIATES):
        known[:, place] = whole.pop(name)
    times = np.asarray(pd.date_range(FIRST, periods=profile.days + HORIZON))
    ids = np.asarray([f"{number:06d}" for number in range(profile.series)], dtype=object)
    segments = tuple(f"{product:02d}" for product in range(PRODUCTS))
    cells = Cells(y, known, None, (~np.isnan(y)).sum(axis=1), np.zeros((profile.series, 0)))
    return lay_out(ids, cells, (whole["product"].astype(np.int64), segments), times, config)


def until(shard: Shard, steps: int) -> Shard:
    """The shard as it was after so many steps."""
    end = steps + HORIZON
    return replace(shard, y=shard.y[:, :steps], known=shard.known[:, :, :end], times=shard.times[:end])


def days(shard: Shard, first: int, statistics: Path, fleet: Any) -> Iterator[tuple[dict[str, float], Statistics]]:
    """Day after day from `first` on, each from what the one before wrote."""
    for at in range(first, shard.steps):
        clock = Clock()
        table = clock("read", lambda: feather.read_table(statistics, memory_map=False))
        known = clock("rows to statistics", lambda table=table: from_table(table, fleet))
        y, covariates = shard.y[:, at].copy(), shard.known[:, :, at : at + 1 + HORIZON].copy()
        later = clock("advance", lambda known=known, y=y, x=covariates: known.advanced(y, x))
        clock("forecast", later.forecasts)
        rows = clock("statistics to rows", lambda later=later: to_table(later))
        clock("write", lambda rows=rows: feather.write_feather(rows, statistics, compression="uncompressed"))
        yield clock.report(), later


def farthest(one: Statistics, other: Statistics) -> float:
    """Greatest difference of two forecasts, relative to the series' largest value."""
    size = np.maximum(other.largest, 1e-12)
    means = [each.forecasts()["mean"].to_numpy().reshape(len(each), -1) for each in (one, other)]
    return float((np.abs(means[0] - means[1]) / size[:, None]).max())


def main() -> None:
    """Train, make the statistics of a day, bring them forward; print and write docs/benchmarks/increment_day.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=10_000)
    parser.add_argument("--days", type=int, default=4_000)
    parser.add_argument("--turns", type=int, default=3, help="days that are taken in")
    parser.add_argument("--families", default="mean_56,ses_05,ridge", help="comma-separated, or default")
    options = parser.parse_args()
    about, found = results.circumstances(), list[dict[str, object]]()
    keep_memory()
    config = configuration("default" if options.families == "default" else options.families.split(","))
    shard = world(Profile(options.series, options.days + options.turns), config)
    start = time.perf_counter()
    fleet = train(until(shard, options.days), config)[0]
    print(f"{options.series:,} series x {options.days:,} days: trained in {time.perf_counter() - start:.1f} s")
    start = time.perf_counter()
    before = joined([Statistics.of(fleet, chunk) for chunk in until(shard, options.days).chunks()])
    rows = to_table(before)
    print(
        f"statistics of the history in {time.perf_counter() - start:.1f} s; {rows.nbytes / len(before):,.0f} bytes per series"
    )
    with tempfile.TemporaryDirectory(prefix="bench-increment-") as folder:
        path = Path(folder) / "statistics.arrow"
        feather.write_feather(rows, path, compression="uncompressed")
        later = before
        for report, last in days(shard, options.days, path, fleet):
            print(json.dumps(report), flush=True)
            found.append({"series": options.series, "days": options.days + len(found), **report})
            later = last
    again = joined([Statistics.of(fleet, chunk) for chunk in shard.chunks()])
    about |= {"bytes": rows.nbytes, "farthest": farthest(later, again), "same_rows": later.recorded == again.recorded}
    print(
        f"farthest from the whole history {about['farthest']:.1e} of a series' largest value; same rows: {about['same_rows']}"
    )
    print(f"written: {results.write('increment_day', about, found).relative_to(results.ROOT)}")


if __name__ == "__main__":
    main()
