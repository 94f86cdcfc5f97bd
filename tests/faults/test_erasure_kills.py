"""Kill -9 while a person's key is erased: the same command again, and the key is nowhere, all other rows are as they were."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fault_feed import CONTRACT, Feed
from fault_worker import ERASED, KILLED, worker

from ml_platform.lake import Lake, erasures, ledger

pytestmark = pytest.mark.faults
KILLS = 20


def rows(lake: Lake, table: str) -> Counter[tuple[int, int]]:
    found = lake.read(table, ["meter", "units"])
    return Counter(zip(found["meter"].to_pylist(), found["units"].to_pylist(), strict=True))


def without(known: Counter[tuple[int, int]], meter: int) -> Counter[tuple[int, int]]:
    return Counter({row: times for row, times in known.items() if row[0] != meter})


def files_with(lake: Path, meter: int) -> list[str]:
    """Data files of every version that is left, and of none, with a row of the key."""
    files = [path for path in sorted(lake.rglob("*.parquet")) if "_delta_log" not in path.parts]
    there = [path for path in files if "meter" in pq.read_schema(path).names]
    return [path.name for path in there if meter in pq.ParquetFile(path).read(["meter"])["meter"].to_pylist()]


def test_an_erasure_that_is_killed_at_random_is_completed_and_takes_nothing_else(tmp_path: Path) -> None:
    feed, killed = Feed(tmp_path, seed=31), 0
    lake = Lake(str(feed.lake))
    with worker() as crew:
        for meter in range(60):
            if meter % 10 == 0:
                feed.land(12)
                assert crew.do("ingest", feed.home) == crew.do("prepare", feed.home) == 0
            tables = [CONTRACT.bronze_spec.name, f"silver/{CONTRACT.silver}"]
            before = {name: rows(lake, name) for name in tables}
            (feed.home / ERASED).write_text(str(meter))
            killed += crew.do_for(feed.chance.uniform(0.02, 0.8), "erase", feed.home) == KILLED
            assert crew.do("erase", feed.home) == 0
            assert erasures.pending(lake) == []
            assert {name: rows(lake, name) for name in tables} == {
                name: without(known, meter) for name, known in before.items()
            }
            assert files_with(feed.lake, meter) == []
            assert all(row.balanced for row in ledger.of_source(lake, CONTRACT.name))
            if killed == KILLS:
                break
    assert killed == KILLS
