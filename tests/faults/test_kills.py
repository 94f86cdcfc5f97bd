"""Kill -9 at named places and at random moments: a restart alone brings the lake to what the files say (R1 to R5, R8)."""

import signal
from pathlib import Path

import pytest
from fault_checker import violations
from fault_feed import Feed

from ml_platform import failpoints

AT_INGESTION = [name for name in failpoints.NAMES if name.startswith(("ingestion.", "ledger."))]
KILLS, RANDOM_KILLS = 20, 60


def settle(feed: Feed) -> list[str]:
    """Restart until nothing is due (a duplicate may become due by what is loaded), and look."""
    for _ in range(4):
        assert feed.ingest() == 0
    return violations(feed.lake, feed.landing, feed.history)


@pytest.mark.parametrize("name", AT_INGESTION)
def test_a_kill_at_a_named_place_loses_and_doubles_nothing(tmp_path: Path, name: str) -> None:
    feed, killed = Feed(tmp_path, seed=AT_INGESTION.index(name)), 0
    for round_ in range(3 * KILLS):
        feed.land()
        killed += feed.ingest(name, visit=1 + round_ % 2) == -signal.SIGKILL
        if killed == KILLS:
            break
    assert killed == KILLS
    assert settle(feed) == []


def test_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path) -> None:
    feed, killed = Feed(tmp_path, seed=4711), 0
    for _ in range(3 * RANDOM_KILLS):
        feed.land(8)
        killed += feed.ingest(after=feed.chance.uniform(0.02, 0.5)) == -signal.SIGKILL
        if killed == RANDOM_KILLS:
            break
    assert killed == RANDOM_KILLS
    assert settle(feed) == []
