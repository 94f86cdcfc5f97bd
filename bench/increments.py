"""What one more small drop costs, from landing to silver, after many of them: JSON lines, one batch per drop.

Belongs here: one table, printed. Does not belong here: figures that a test relies on. Every drop before is brought in as it would have
been, in a run of its own, so that tables have the versions, files and logs of a real stream; engine and suites are imported before the
clock starts.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from ml_platform.backlog import look
from ml_platform.calendar import Calendar
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.expectations import import_great_expectations
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake
from ml_platform.lake.names import LEDGER
from ml_platform.landing import LocalLanding
from ml_platform.preparation import Preparation

DAY = date(2024, 1, 5)
CONTRACT = SourceContract.model_validate(
    {
        "name": "readings",
        "kind": "events",
        "description": "Readings.",
        "owner": "team:grid",
        "path": "{day}/*.jsonl",
        "format": {"type": "jsonl"},
        "columns": {
            "reading_id": {"type": "int64"},
            "meter_id": {"type": "int64"},
            "units": {"type": "int64", "min": 0},
            "read_at": {"type": "timestamp"},
        },
        "key": ["reading_id"],
        "time": {"column": "read_at"},
        "panel": {"target": True},
    }
)
CONTRACTS = Contracts(sources=(CONTRACT,))
STAGES = ("look", "ingest", "silver")


class Stream:
    """A home into which one drop after the other lands."""

    def __init__(self, home: Path, rows: int) -> None:
        self.home, self.rows, self.landed = home, rows, 0
        self.lake = Lake(str(home / "lake"))

    def land(self) -> None:
        """A few rows more, under a name of their own."""
        path = self.home / "landing" / "readings" / f"{DAY}" / f"drop-{self.landed:06}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        at = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC) + timedelta(seconds=self.landed)
        first = self.landed * self.rows
        rows = [
            {"reading_id": first + n, "meter_id": n, "units": n % 7, "read_at": at.isoformat()}
            for n in range(self.rows)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self.landed += 1

    def look(self) -> None:
        """As the sensor finds it."""
        assert len(look(self.lake, self.home / "landing", CONTRACTS).drops) == 1

    def ingest(self) -> None:
        """As a run of the sensor does it."""
        one = Ingestion(self.lake, LocalLanding(self.home / "landing"), CONTRACT, "bench", Calendar(DAY, None))
        assert one.run(one.due(DAY, DAY)).total("rows_loaded") == self.rows

    def silver(self) -> None:
        """Silver of the month, and a check that every row has come that far."""
        Preparation(self.lake, CONTRACTS, CONTRACT, "sail").run()
        assert self.lake.count(f"silver/{CONTRACT.silver}") == self.landed * self.rows

    def sizes(self, name: str) -> str:
        """Versions, data files and files of the log of a table."""
        log = sum(1 for _ in (Path(self.lake.uri(name)) / "_delta_log").iterdir())
        return f"{self.lake.version(name)}/{len(self.lake.table(name).file_uris())}/{log}"


def milliseconds(work: Callable[[], None]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1000


def measure(stream: Stream, turns: int) -> dict[str, float]:
    """The fastest of some further drops, stage by stage."""
    found = []
    for _ in range(turns):
        stream.land()
        found.append([milliseconds(getattr(stream, stage)) for stage in STAGES])
    return {stage: min(times) for stage, times in zip(STAGES, zip(*found, strict=True), strict=True)}


def main() -> None:
    """One line per number of earlier drops."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--earlier", type=int, nargs="+", default=[0, 1000, 5000], help="drops before the measured ones"
    )
    parser.add_argument("--rows", type=int, default=50, help="rows of a drop")
    parser.add_argument("--turns", type=int, default=5, help="drops measured at each point; the fastest counts")
    options = parser.parse_args()
    import_great_expectations()
    silver, bronze = f"silver/{CONTRACT.silver}", CONTRACT.bronze_spec.name
    print(
        f"one drop of {options.rows} rows more, ms, the fastest of {options.turns}; versions/files/log files of tables"
    )
    with tempfile.TemporaryDirectory() as folder:
        stream = Stream(Path(folder), options.rows)
        stream.land()
        stream.ingest()
        stream.silver()  # the engine has started
        for earlier in sorted(options.earlier):
            while stream.landed < earlier:
                stream.land()
                stream.ingest()
            found = measure(stream, options.turns)
            times = "  ".join(f"{stage} {found[stage]:7.1f}" for stage in STAGES)
            sizes = "  ".join(f"{name} {stream.sizes(name)}" for name in (bronze, LEDGER, silver))
            print(f"{earlier:6,} earlier  {times}  {sizes}", flush=True)


if __name__ == "__main__":
    main()
