"""Speed of landed files to bronze, with every check and the ledger, against a plain read and a plain write of the same files.

Belongs here: one comparison per format, printed. Does not belong here: figures that a test relies on. The suite's package is
imported before the clock starts; both ways run in turn, and each is as fast as its best turn.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import write_deltalake
from pyarrow import csv

from ml_platform.calendar import Calendar
from ml_platform.contracts import SourceContract
from ml_platform.expectations import import_great_expectations
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake
from ml_platform.landing import LocalLanding

FIRST = date(2024, 1, 1)
CENT = pa.scalar(Decimal("0.01"))
COLUMNS = {
    "meter_id": {"type": "int64"},
    "site_id": {"type": "int64", "min": 0},
    "reading_id": {"type": "int64"},
    "units": {"type": "int64", "min": 0},
    "amount": {"type": "decimal(12,2)", "min": 0},
    "kind": {"type": "string", "allowed": ["day", "night"]},
    "read_at": {"type": "timestamp"},
}


def contract(kind: str) -> SourceContract:
    """Readings of meters: seven columns, three bounds and a list of allowed texts."""
    return SourceContract.model_validate(
        {
            "name": "readings",
            "kind": "events",
            "description": "Readings.",
            "owner": "team:grid",
            "path": f"{{day}}.{kind}",
            "format": {"type": kind},
            "columns": COLUMNS,
            "key": ["reading_id"],
            "time": {"column": "read_at"},
        }
    )


def readings(rows: int, day: int) -> pa.Table:
    """One day of seeded readings in the types of the contract."""
    rng = np.random.default_rng(day)
    midnight = int(datetime.combine(FIRST + timedelta(days=day), datetime.min.time(), UTC).timestamp())
    cents = pa.array(rng.integers(0, 100_000, rows)).cast(pa.decimal128(19, 0))
    return pa.table(
        {
            "meter_id": rng.integers(1, 100_000, rows),
            "site_id": rng.integers(1, 500, rows),
            "reading_id": np.arange(rows) + day * rows,
            "units": rng.integers(0, 50, rows),
            "amount": pc.multiply(cents, CENT).cast(pa.decimal128(12, 2)),
            "kind": pa.array(["day", "night"]).take(pa.array(rng.integers(0, 2, rows))),
            "read_at": pa.array((midnight + rng.integers(0, 86_400, rows)) * 1_000_000, pa.timestamp("us", tz="UTC")),
        }
    )  # fmt: skip


def land(folder: Path, kind: str, days: int, rows: int) -> list[Path]:
    """One file per day, as a feed writes them."""
    folder.mkdir(parents=True)
    paths = [folder / f"{FIRST + timedelta(days=day)}.{kind}" for day in range(days)]
    for day, path in enumerate(paths):
        table = readings(rows, day)
        if kind == "csv":
            at = pc.strftime(table["read_at"], format="%Y-%m-%dT%H:%M:%SZ")
            seconds = pc.utf8_replace_slice(at, start=19, stop=26, replacement="") if len(at[0].as_py()) > 20 else at
            csv.write_csv(table.set_column(6, "read_at", seconds), path, csv.WriteOptions(quoting_style="none"))
        else:
            pq.write_table(table, path)
    return paths


def plain(paths: list[Path], kind: str, target: Path) -> int:
    """Read and write, and nothing else: types are guessed, nothing is checked, no file is remembered."""
    rows = 0
    for path in paths:
        table = csv.read_csv(path) if kind == "csv" else pq.read_table(path)
        write_deltalake(str(target), table, mode="append")
        rows += table.num_rows
    return rows


def whole(landing: Path, kind: str, target: Path) -> int:
    """Everything that the platform does before a row is in bronze."""
    one = Ingestion(Lake(str(target)), LocalLanding(landing), contract(kind), "bench", Calendar(FIRST, None))
    return one.run(one.due(FIRST, FIRST + timedelta(days=999))).total("rows_loaded")


def seconds_of(work: Callable[[Path], int], rows: int) -> np.ndarray:
    """Wall and CPU seconds of one turn on an empty lake; all rows must have arrived."""
    with tempfile.TemporaryDirectory() as folder:
        start = np.array([time.perf_counter(), time.process_time()])
        assert work(Path(folder) / "lake") == rows
        return np.array([time.perf_counter(), time.process_time()]) - start


def compare(kind: str, days: int, rows: int, turns: int) -> None:
    """Print rows/s of both ways and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        landing = Path(folder)
        paths = land(landing / "readings", kind, days, rows)
        size = sum(path.stat().st_size for path in paths) / 1e6
        both = [
            (seconds_of(lambda to: plain(paths, kind, to), days * rows),
             seconds_of(lambda to: whole(landing, kind, to), days * rows))
            for _ in range(turns)
        ]  # fmt: skip
    alone, checked = (np.min(times, axis=0) for times in zip(*both, strict=True))
    ratio = alone / checked
    print(
        f"{kind:8s} {days} x {rows:,} rows, {size:.0f} MB: plain {days * rows / alone[0] / 1e6:.2f} M rows/s, "
        f"to bronze {days * rows / checked[0] / 1e6:.2f} M rows/s, ratio {ratio[0]:.2f} (of CPU seconds {ratio[1]:.2f})",
        flush=True,
    )


def main() -> None:
    """Compare both formats, as many small files and as one large one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--days", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    import_great_expectations()
    print("two ways to one Delta table; rows/s of the best turn")
    for kind in ("csv", "parquet"):
        for days in (options.days, 1):
            compare(kind, days, options.rows // days, options.turns)


if __name__ == "__main__":
    main()
