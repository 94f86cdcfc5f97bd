"""Files of readings, good, broken and changing, and the process that takes them into a lake and may be killed.

Belongs here: making files with a seed, one ingestion per process. Does not belong here: what must hold (checker).
"""

import contextlib
import os
import random
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

from fault_checker import COLUMNS, History

from ml_platform import failpoints
from ml_platform.calendar import Calendar
from ml_platform.contracts import SourceContract
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake

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
    }
)
CALENDAR = Calendar(date(2024, 1, 1), date(2024, 12, 31))
ROOT = Path(__file__).resolve().parents[2]


class Feed:
    """A home with a landing folder that changes by chance, but by the same chance for the same seed."""

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
        rows = [",".join(COLUMNS)]
        for _ in range(self.chance.randrange(1, 30)):
            self.number += 1
            units = self.number if self.chance.random() < 0.9 else self.chance.choice(["-1", "many", ""])
            rows.append(f"{self.number},2024-01-0{self.chance.randrange(1, 9)}T00:00:00Z,{units}")
        return ("\n".join(rows) + "\n").encode()

    def ingest(self, failpoint: str = "", visit: int = 1, after: float | None = None) -> int:
        """Take everything that is due in a process of its own, killed at a failpoint or after so many seconds; its exit code."""
        command = [sys.executable, __file__, str(self.home), failpoint, str(visit)]
        with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
            if after is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(after)
                process.kill()
            return process.wait(60)


def ingest(home: str, failpoint: str = "", visit: int = 1) -> None:
    """What a run of the bronze asset does."""
    if failpoint:
        failpoints.arm(failpoint, visit)
    lake = Lake(f"{home}/lake")
    one = Ingestion(lake, Path(home) / "landing", CONTRACT, "run", CALENDAR, batch_rows=40)
    one.run(one.due(CALENDAR.first, CALENDAR.last))


if __name__ == "__main__":
    ingest(sys.argv[1], sys.argv[2], int(sys.argv[3]))
