"""A feed on its way into bronze: files land, are ingested, and an account is kept.

Belongs here: landing, ingesting, balancing (R5). Does not belong here: what becomes of drops (tests).
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import feeds
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml_platform.contracts import SourceContract
from ml_platform.ingestion import Ingestion, IngestionReport
from ml_platform.lake import ledger
from ml_platform.lake.ledger import LOADED, LedgerRow
from ml_platform.lake.schemas import QUARANTINE

READINGS: dict[str, Any] = {
    **feeds.READINGS,
    "columns": {
        "meter": {"type": "int64"},
        "at": {"type": "timestamp"},
        "units": {"type": "int64", "min": 0},
    },
}
EVENTS = SourceContract.model_validate(READINGS)
SNAPSHOT = SourceContract.model_validate(
    {**READINGS, "kind": "snapshot", "path": "*.parquet", "format": {"type": "parquet"}, "time": None, "key": ["meter"]}
)
YEAR = (date(2024, 1, 1), date(2024, 12, 31))
AT = "2024-01-05T10:00:00Z"
A, B = f"1,{AT},5", f"1,{AT},6\n2,{AT},7"
CLOCK = iter(range(1, 10_000))


@dataclass(frozen=True)
class Feed:
    """A source with its landing folder and lake."""

    root: Path
    one: Ingestion

    def land(self, name: str, *lines: str) -> None:
        """Every landing is a second later than the one before."""
        path = self.root / "landing" / "readings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(["meter,at,units", *lines]) + "\n")
        self.stamp(path)

    def land_parquet(self, name: str, units: Iterable[int]) -> None:
        path = self.root / "landing" / "readings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        values = list(units)
        at = pa.array([datetime(2024, 1, 5, tzinfo=UTC)] * len(values), pa.timestamp("us", tz="UTC"))
        pq.write_table(pa.table({"meter": range(len(values)), "at": at, "units": values}), path)
        self.stamp(path)

    def allowing(self, share: float) -> "Feed":
        """The same under a contract that allows more refused rows."""
        return replace(self, one=replace(self.one, contract=EVENTS.model_copy(update={"max_quarantined": share})))

    def clear(self, name: str) -> None:
        (self.root / "landing" / "readings" / name).unlink(missing_ok=True)

    def stamp(self, path: Path) -> None:
        at = datetime(2024, 6, 1, tzinfo=UTC).timestamp() + next(CLOCK)
        os.utime(path, (at, at))

    def ingest(self, first: date = YEAR[0], last: date = YEAR[1]) -> IngestionReport:
        report = self.one.run(self.one.due(first, last))
        self.balance()
        return report

    def balance(self) -> None:
        """R5: rows in are accounted for per drop, and bronze holds what the ledger calls loaded."""
        for row in self.rows():
            assert row.balanced, row
            in_bronze = self.one.lake.count(self.one.contract.bronze_spec.name, pc.field("drop_id") == row.drop_id)
            assert in_bronze == (row.rows_loaded if row.state == LOADED else 0), row

    def rows(self) -> list[LedgerRow]:
        return sorted(ledger.of_source(self.one.lake, "readings"), key=lambda row: row.settled_at)

    def states(self) -> list[str]:
        return [row.state for row in self.rows()]

    def units(self) -> list[int]:
        return sorted(self.one.lake.read("bronze/raw_readings")["units"].to_pylist())

    def refusals(self) -> list[tuple[str, int | None, str, str | None]]:
        found = self.one.lake.read(QUARANTINE.name).to_pylist() if self.one.lake.exists(QUARANTINE.name) else []
        return sorted((r["path"], r["row_number"], r["rule"], r["value"]) for r in found)
