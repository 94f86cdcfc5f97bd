"""A full disk: a clear error, tables that can be read, and all of it once there is room."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_checker import violations
from fault_feed import Feed, ingest

from ml_platform.lake import Lake

pytestmark = pytest.mark.faults
ROUNDS = 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid():
        pytest.skip("needs root: a small disk is a tmpfs that the test mounts")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """A file that takes all but `leave` bytes."""
    ballast, free = disk / "ballast", os.statvfs(disk)
    ballast.write_bytes(b"x" * max(free.f_bavail * free.f_frsize - leave, 0))
    return ballast


def test_a_full_disk_breaks_no_table_and_ingestion_goes_on_with_room(tmp_path: Path, small_disk: Path) -> None:
    feed, said = Feed(tmp_path, seed=31), list[str]()
    lake = Lake(str(small_disk / "lake"))
    feed.land()
    ingest(lake, feed.landing)
    for round_ in range(ROUNDS):
        feed.land()
        ballast = fill(small_disk, leave=4096 * round_)
        try:
            ingest(lake, feed.landing)
        except Exception as why:  # noqa: BLE001  whatever it is, it has to say what is the matter
            said.append(str(why))
        rows = lake.count("bronze/raw_readings")
        ballast.unlink()
        assert rows == lake.count("bronze/raw_readings") > 0
    assert said
    assert [words for words in said if not re.search(r"No space left on device|os error 28", words)] == []
    for _ in range(3):
        ingest(lake, feed.landing)
    assert violations(small_disk / "lake", feed.landing, feed.history) == []
