"""What each of several processes does at once: here, and not in a test, because a new process has to import it.

Belongs here: one process's part. Does not belong here: how many there are, what must hold (tests).
"""

from pathlib import Path
from threading import Barrier

import pyarrow as pa
from fault_feed import ingest

from ml_platform.expectations import import_great_expectations
from ml_platform.lake import Lake, TableSpec

COMMITS = 50
SPEC = TableSpec("ops/shared", pa.schema([("writer", pa.int64()), ("number", pa.int64())]))


def append_all(root: str, writer: int) -> None:
    lake = Lake(root)
    for number in range(COMMITS):
        lake.append(
            SPEC, pa.table({"writer": [writer], "number": [number]}, schema=SPEC.schema), [f"{writer}-{number}"]
        )


def ingest_at_once(home: str, barrier: Barrier) -> None:
    barrier.wait(60)
    ingest(Lake(f"{home}/lake"), Path(home) / "landing")


def imported() -> None:
    import_great_expectations()
