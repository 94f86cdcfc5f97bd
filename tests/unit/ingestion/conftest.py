"""Fixtures of ingestion: a feed of events and one of snapshots.

Belongs here: the feed of a test. Does not belong here: what it can do (tests/support/ingestion_feed.py).
"""

from pathlib import Path

import pytest
from ingestion_feed import EVENTS, SNAPSHOT, YEAR, Feed

from ml_platform.calendar import Calendar
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake
from ml_platform.landing import LocalLanding


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    return Feed(
        tmp_path,
        Ingestion(Lake(str(tmp_path / "lake")), LocalLanding(tmp_path / "landing"), EVENTS, "run-1", Calendar(*YEAR)),
    )


@pytest.fixture
def snapshot(tmp_path: Path) -> Feed:
    return Feed(
        tmp_path,
        Ingestion(Lake(str(tmp_path / "lake")), LocalLanding(tmp_path / "landing"), SNAPSHOT, "run-1", Calendar(*YEAR)),
    )
