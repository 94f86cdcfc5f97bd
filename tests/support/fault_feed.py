"""Files of readings, good, broken and changing, landed by chance with a seed.

Belongs here: what lands, and its history. Does not belong here: who takes it into a lake (fault_worker), what must hold then (fault_checker).
"""

import random
from datetime import date, timedelta
from pathlib import Path

from fault_checker import COLUMNS, History

from ml_platform.calendar import Calendar
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.erasure.eraser import Eraser, Request
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake
from ml_platform.landing import LocalLanding
from ml_platform.preparation import Preparation

CONTRACT = SourceContract.model_validate(
    {
        "name": "readings",
        "kind": "events",
        "description": "Readings.",
        "owner": "team:grid",
        "path": "readings_{day}_*.csv",
        "format": {"type": "csv"},
        "columns": {"meter": {"type": "int64"}, "at": {"type": "timestamp"}, "units": {"type": "int64", "min": 0}},
        "key": ["meter", "at"],
        "time": {"column": "at"},
        "panel": {"target": True},
        "personal": ["meter"],
    }
)
CALENDAR = Calendar(date(2024, 1, 1), date(2024, 12, 31))


def ingestion(lake: Lake, landing: Path, batch_rows: int = 40) -> Ingestion:
    return Ingestion(lake, LocalLanding(landing), CONTRACT, "run", CALENDAR, batch_rows=batch_rows)


def ingest(lake: Lake, landing: Path, batch_rows: int = 40) -> None:
    """What a run of the bronze asset does."""
    one = ingestion(lake, landing, batch_rows)
    one.run(one.due(CALENDAR.first, CALENDAR.last))


def prepare(lake: Lake) -> None:
    """What a run of the silver asset does."""
    _preparation(lake).run()


def erase(lake: Lake, landing: Path, meter: int) -> None:
    """What the command does; where one before it was cut off, that one first."""
    eraser = Eraser(
        lake,
        Contracts(sources=(CONTRACT,)),
        lambda contract: ingestion(lake, landing),
        lambda contract: _preparation(lake),
    )
    eraser.erase(Request(CONTRACT.name, "meter", "Ada", "request 17", value=str(meter)))


def _preparation(lake: Lake) -> Preparation:
    return Preparation(lake, Contracts(sources=(CONTRACT,)), CONTRACT, "sail")


class Feed:
    """A home with a landing folder that changes by chance, and by the same chance for the same seed."""

    def __init__(self, home: Path, seed: int) -> None:
        self.home, self.chance, self.history, self.number = home, random.Random(seed), History(), 0
        (self.landing / "readings").mkdir(parents=True)

    @property
    def landing(self) -> Path:
        return self.home / "landing"

    @property
    def lake(self) -> Path:
        return self.home / "lake"

    def land(self, files: int = 4) -> None:
        """New files, overwritten files, files with the bytes of another, broken files."""
        for _ in range(files):
            kind = self.chance.choice(["new", "new", "new", "overwrite", "twin", "broken", "same"])
            known = sorted(self.history.versions)
            path = self.chance.choice(known) if known and kind in ("overwrite", "same") else self._path()
            content = self._content(kind)
            if known and kind in ("twin", "same"):
                source = path if kind == "same" else self.chance.choice(known)
                content = self.history.versions[source][-1]
                path = path if kind == "same" else source.replace(".csv", f"t{self.number}.csv")
            self.write(path, content)

    def write(self, path: str, content: bytes) -> None:
        target = self.landing / path
        hidden = target.with_name(f".{target.name}")
        hidden.write_bytes(content)
        hidden.replace(target)
        self.history.landed(path, content)

    def _path(self) -> str:
        self.number += 1
        day = CALENDAR.first + timedelta(days=self.chance.randrange(20))
        return f"readings/readings_{day}_{self.number}.csv"

    def _content(self, kind: str) -> bytes:
        if kind == "broken":
            return self.chance.choice([b"", b"a,b\n1,2\n", b"meter,at\n1,2024-01-01T00:00:00Z\n"])
        rows = [self._row() for _ in range(self.chance.randrange(1, 30))]
        return ("\n".join([",".join(COLUMNS), *rows]) + "\n").encode()

    def _row(self) -> str:
        """Keys come again, within a file and across files; every tenth row breaks the contract."""
        self.number += 1
        units = str(self.number) if self.chance.random() < 0.9 else self.chance.choice(["-1", "many", ""])
        return f"{self.chance.randrange(60)},2024-01-0{self.chance.randrange(1, 9)}T00:00:00Z,{units}"
