"""A home with a quarantine, and the account of each of its files that is kept beside the platform.

Belongs here: landing, ingesting, deciding, balancing. Does not belong here: what a decision must leave (tests).
"""

import csv
import os
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import feeds
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ml_platform.calendar import Calendar
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake, ledger
from ml_platform.lake.ledger import LOADED
from ml_platform.landing import LocalLanding
from ml_platform.quarantine import (
    Order,
    Outcome,
    Quarantine,
    Record,
    read_records,
)

READINGS: dict[str, Any] = {
    **feeds.READINGS,
    "columns": {
        "meter": {"type": "int64"},
        "at": {"type": "timestamp"},
        "units": {"type": "int64", "min": 0, "unit": "kWh"},
        "note": {"type": "string", "nullable": True, "allowed": ["ok", "guess"]},
    },
    "panel": {"target": True},
}
RELAXED = {**READINGS, "columns": {**READINGS["columns"], "units": {"type": "int64"}}}
PARQUET = {**READINGS, "path": "readings_{day}*.parquet", "format": {"type": "parquet"}}
SNAPSHOT = {**READINGS, "kind": "snapshot", "path": "*.csv", "time": None, "panel": {}}
TARGET = {**READINGS, "name": "others"}
YEARS = timedelta(days=1000)
YEAR = Calendar(date(2024, 1, 1), date(2024, 12, 31))
AT = "2024-01-05T10:00:00Z"
FIFTH = "readings_2024-01-05.csv"
GOOD, MANY, MINUS, SHORT = f"1,{AT},5,ok", f"2,{AT},many,ok", f"3,{AT},-4,", f"4,{AT}"
CLOCK = iter(range(1, 10_000))


class Crash(BaseException):
    """The process dies here: nothing may catch it."""


def crash(*arguments: object, **named: object) -> None:
    raise Crash


@dataclass(frozen=True)
class Home:
    """A source with landing, lake and quarantine; `contract` is today's."""

    root: Path
    contract: SourceContract

    @property
    def lake(self) -> Lake:
        return Lake(str(self.root / "lake"))

    @property
    def quarantine(self) -> Quarantine:
        declared = [self.contract]
        if not self.contract.panel.target:
            declared.append(SourceContract.model_validate(TARGET))
        return Quarantine(Contracts(sources=tuple(declared)), self.door)

    def door(self, contract: SourceContract, calendar: Calendar = YEAR) -> Ingestion:
        return Ingestion(self.lake, LocalLanding(self.root / "landing"), contract, "by hand", calendar)

    def under(self, contract: dict[str, Any]) -> "Home":
        return replace(self, contract=SourceContract.model_validate(contract))

    def land(self, name: str, *lines: str, header: str = "meter,at,units,note") -> Path:
        """Every landing is a second later than the one before."""
        path = self.root / "landing" / "readings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([header, *lines]) + "\n")
        return self.stamp(path)

    def stamp(self, path: Path) -> Path:
        at = datetime(2024, 6, 1, tzinfo=UTC).timestamp() + next(CLOCK)
        os.utime(path, (at, at))
        return path

    def ingest(self, calendar: Calendar = YEAR) -> None:
        door = self.door(self.contract, calendar)
        door.run(door.due(calendar.first, calendar.last))
        self.balance()

    def decide(self, order: Order, *wanted: Record) -> list[Outcome]:
        outcomes = self.quarantine.decide(order, wanted)
        self.balance()
        return outcomes

    def all(self) -> list[Record]:
        return read_records(self.lake)

    def one(self, rule: str, state: str = "open") -> Record:
        (found,) = (record for record in self.all() if (record.rule, record.state) == (rule, state))
        return found

    def states(self) -> list[tuple[int | None, str, str]]:
        return sorted(((one.row_number, one.rule, one.state) for one in self.all()), key=str)

    def units(self) -> list[int]:
        return sorted(self.lake.read("bronze/raw_readings")["units"].to_pylist())

    def row(self) -> ledger.LedgerRow:
        (found,) = ledger.of_source(self.lake, "readings")
        return found

    def balance(self) -> None:
        """R5, counted from the files: every line of a loaded file is a row of bronze or a refusal that was not released."""
        for drop in ledger.of_source(self.lake, "readings"):
            assert drop.balanced, drop
            bronze = self.lake.count("bronze/raw_readings", pc.field("drop_id") == drop.drop_id)
            assert bronze == (drop.rows_loaded if drop.state == LOADED else 0)
            left = [one for one in self.all() if one.drop_id == drop.drop_id and one.state != "released"]
            if drop.state == LOADED:
                assert drop.rows_quarantined == len([one for one in left if not one.whole])
                assert drop.rows_in == self.lines(drop.path) == bronze + drop.rows_quarantined
        numbers = self.lake.read("bronze/raw_readings", ["drop_id", "row_number"]).to_pylist()
        assert len({(row["drop_id"], row["row_number"]) for row in numbers}) == len(numbers), "no row is there twice"

    def lines(self, path: str) -> int:
        file = self.root / "landing" / path
        if file.suffix == ".parquet":
            return int(pq.read_metadata(file).num_rows)
        with file.open(newline="") as text:
            return sum(1 for _ in csv.reader(text)) - 1


def release(**corrections: str) -> Order:
    return Order("release", "Ada", "the meter was read again", corrections)


DISCARD = Order("discard", "Ada", "a broken meter")


def words_of(outcomes: list[Outcome]) -> str:
    (found,) = outcomes
    return found.words
