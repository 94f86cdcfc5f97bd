"""A hundred files that grow while the platform looks on: none is read before it is whole, and none is forgotten."""

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from fault_feed import CALENDAR, CONTRACT

from ml_platform.delivery import Delivery
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake, ledger
from ml_platform.landing import LocalLanding

pytestmark = pytest.mark.faults
FILES, SENDERS, ROWS, PAUSES = 100, 10, 40, 4
STABLE_SECONDS = 2  # longer than a sender pauses


def content(file: int) -> bytes:
    lines = [f"{file * ROWS + row},{CALENDAR.first}T00:00:00Z,{row}" for row in range(ROWS)]
    return ("\n".join(["meter,at,units", *lines]) + "\n").encode()


def send(landing: Path, file: int) -> None:
    """Write a file in place, part by part, with pauses in the middle of lines."""
    chance, whole = random.Random(file), content(file)
    cuts = sorted(chance.sample(range(1, len(whole)), PAUSES))
    day = CALENDAR.first + timedelta(days=file % 20)
    with (landing / f"readings/readings_{day}_{file}.csv").open("wb") as target:
        for first, last in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            target.write(whole[first:last])
            target.flush()
            time.sleep(chance.uniform(0, STABLE_SECONDS / 4))


def test_no_file_is_read_in_part(tmp_path: Path) -> None:
    landing, lake = tmp_path / "landing", Lake(str(tmp_path / "lake"))
    (landing / "readings").mkdir(parents=True)
    patient = CONTRACT.model_copy(update={"landing": Delivery(stable_seconds=STABLE_SECONDS)})
    door = Ingestion(lake, LocalLanding(landing), patient, "run", CALENDAR, batch_rows=400)
    looks = 0
    with ThreadPoolExecutor(SENDERS) as senders:
        sent = [senders.submit(send, landing, file) for file in range(FILES)]
        while not all(one.done() for one in sent):
            door.run(door.due(CALENDAR.first, CALENDAR.last))
            looks += 1
    time.sleep(STABLE_SECONDS)
    door.run(door.due(CALENDAR.first, CALENDAR.last))
    rows = ledger.of_source(lake, CONTRACT.name)
    assert looks > FILES / SENDERS
    assert Counter((row.state, row.rows_loaded, row.attempt) for row in rows) == {("loaded", ROWS, 1): FILES}
    assert len({row.path for row in rows}) == FILES
    assert set(lake.read("bronze/raw_readings")["meter"].to_pylist()) == set(range(FILES * ROWS))
