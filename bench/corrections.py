"""Speed of a correction of 30 days in silver of five million rows: merges row by row, and the month made anew as the platform does it.

Belongs here: one comparison, printed. Does not belong here: figures that a test relies on. All ways end in the same values; each is
as fast as its best turn.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from ml_platform.calendar import Calendar
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.expectations import import_great_expectations
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake
from ml_platform.landing import LocalLanding
from ml_platform.preparation import Preparation

FIRST, DAYS, METERS = date(2014, 1, 1), 30, 1_250
KEY = "target.meter = source.meter AND target.at = source.at"
CONTRACT = SourceContract.model_validate(
    {
        "name": "readings",
        "kind": "events",
        "description": "Readings.",
        "owner": "team:grid",
        "path": "{day}.parquet",
        "format": {"type": "parquet"},
        "columns": {"meter": {"type": "int64"}, "at": {"type": "timestamp"}, "units": {"type": "int64", "min": 0}},
        "key": ["meter", "at"],
        "time": {"column": "at"},
        "panel": {"target": True},
    }
)


def month(number: int, units: int) -> pa.Table:
    """30 days of all meters, hourly spread over the day, inside one calendar month."""
    first = start(number)
    midnight = int(datetime(first.year, first.month, 1, 1, tzinfo=UTC).timestamp())
    days = min(DAYS, 28) if first.month == 2 else DAYS
    at = np.repeat(midnight + 86_400 * np.arange(days), METERS) * 1_000_000
    rows = days * METERS
    columns = {"meter": np.tile(np.arange(METERS), days), "units": np.full(rows, units) + np.arange(rows) % 50}
    return pa.table(
        {"meter": columns["meter"], "at": pa.array(at, pa.timestamp("us", tz="UTC")), "units": columns["units"]}
    )


def start(number: int) -> date:
    """The first day of a month, counted from the first one."""
    return date(FIRST.year + number // 12, 1 + number % 12, 1)


def best(work: Callable[[int], object], turns: int) -> float:
    """Seconds of the best turn; each turn corrects to other values."""
    times = list[float]()
    for turn in range(turns):
        begin = time.perf_counter()
        work(1_000 * (turn + 1))
        times.append(time.perf_counter() - begin)
    return min(times)


def merges(folder: Path, months: int, turns: int) -> dict[str, float]:
    """Delta's own merge into one table partitioned by month, without and with the month in its condition."""
    uri = str(folder / "merged")
    for number in range(months):
        rows = month(number, 0)
        write_deltalake(
            uri, rows.append_column("month", pc.strftime(rows["at"], "%Y-%m")), partition_by=["month"], mode="append"
        )
    corrected = f"{start(months // 2):%Y-%m}"

    def merge(condition: str) -> Callable[[int], object]:
        def once(units: int) -> object:
            rows = month(months // 2, units)
            source = rows.append_column("month", pa.repeat(corrected, rows.num_rows))
            merged = DeltaTable(uri).merge(source, condition, source_alias="source", target_alias="target")
            return merged.when_matched_update_all().when_not_matched_insert_all().execute()

        return once

    pruned = f"target.month = '{corrected}' AND {KEY}"
    return {"merge, not pruned": best(merge(KEY), turns), "merge, pruned by month": best(merge(pruned), turns)}


def made_anew(folder: Path, months: int, turns: int) -> dict[str, float]:
    """A corrected file lands, is ingested, and its month of silver is made anew, with fates, checks and suite."""
    lake, landing = Lake(str(folder / "lake")), folder / "landing"
    (landing / "readings").mkdir(parents=True)
    for number in range(months):
        pq.write_table(month(number, 0), landing / "readings" / f"{start(number)}.parquet")
    said = list[float]()
    silver = Preparation(
        lake, Contracts(sources=(CONTRACT,)), CONTRACT, "sail", progress=lambda text: said.append(time.perf_counter())
    )
    ingest(lake, landing)
    silver.run()
    turns_of = list[dict[str, float]]()
    for turn in range(turns):
        pq.write_table(month(months // 2, 1_000 * (turn + 1)), landing / "readings" / f"{start(months // 2)}.parquet")
        begin = time.perf_counter()
        ingest(lake, landing)
        ingested = time.perf_counter()
        said.clear()
        silver.run()
        end, (scoped, judged, accounted) = time.perf_counter(), said
        turns_of.append(
            {
                "file to bronze": ingested - begin,
                "silver: judged and written": judged - scoped,
                "silver: commit": end - accounted,
                "silver: all, with checks": end - ingested,
            }
        )
    assert lake.count(silver.spec.name, pc.field("units") >= 1_000 * turns) == month(months // 2, 0).num_rows
    return {name: min(one[name] for one in turns_of) for name in turns_of[0]}


def ingest(lake: Lake, landing: Path) -> None:
    """Everything that is due."""
    one = Ingestion(lake, LocalLanding(landing), CONTRACT, "bench", Calendar(FIRST, None))
    one.run(one.due(FIRST, FIRST + timedelta(days=9_999)))


def main() -> None:
    """Print seconds per way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", type=int, default=134)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    import_great_expectations()
    with tempfile.TemporaryDirectory() as folder:
        found = merges(Path(folder), options.months, options.turns)
        found |= made_anew(Path(folder), options.months, options.turns)
    print(f"{options.months} months of {DAYS * METERS:,} rows, one of them corrected")
    for name, seconds in found.items():
        print(
            f"{name:28s} {seconds:.3f} s, unpruned merge takes {found['merge, not pruned'] / seconds:.1f} times as long"
        )


if __name__ == "__main__":
    main()
