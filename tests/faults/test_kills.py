"""Kill -9 at named places and at random moments: a restart alone brings the lake to what the files say (R1 to R5, R8)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fault_checker import violations
from fault_feed import Feed
from fault_worker import KILLED, Worker, worker

from ml_platform import failpoints

pytestmark = pytest.mark.faults
AT_INGESTION = [name for name in failpoints.NAMES if name.startswith(("ingestion.", "ledger."))]
AT_SILVER = [name for name in failpoints.NAMES if name.startswith("silver.")]
KILLS, RANDOM_KILLS = 20, 60


@pytest.fixture(scope="module")
def crew() -> Iterator[Worker]:
    with worker() as one:
        yield one


def settle(feed: Feed, crew: Worker) -> list[str]:
    """Restart until nothing is due (a duplicate may become due by what is loaded), and look."""
    for _ in range(4):
        assert crew.do("ingest", feed.home) == 0
    assert crew.do("prepare", feed.home) == 0
    return violations(feed.lake, feed.landing, feed.history)


@pytest.mark.parametrize("name", AT_INGESTION)
def test_a_kill_at_a_named_place_of_ingestion_loses_and_doubles_nothing(
    tmp_path: Path, crew: Worker, name: str
) -> None:
    feed, killed = Feed(tmp_path, seed=AT_INGESTION.index(name)), 0
    for round_ in range(3 * KILLS):
        feed.land()
        killed += crew.do("ingest", feed.home, name, visit=1 + round_ % 2) == KILLED
        if killed == KILLS:
            break
    assert killed == KILLS
    assert settle(feed, crew) == []


@pytest.mark.parametrize("name", AT_SILVER)
def test_a_kill_at_a_named_place_of_silver_loses_and_doubles_nothing(tmp_path: Path, crew: Worker, name: str) -> None:
    feed, killed = Feed(tmp_path, seed=100 + AT_SILVER.index(name)), 0
    while killed < KILLS:
        feed.write(
            f"readings/readings_2024-01-01_{killed}.csv",
            f"meter,at,units\n{killed % 7},2024-01-01T00:00:00Z,1\n".encode(),
        )
        feed.land(2)
        assert crew.do("ingest", feed.home) == 0
        assert crew.do("prepare", feed.home, name) == KILLED
        killed += 1
    assert settle(feed, crew) == []


def test_kills_at_random_moments_lose_and_double_nothing(tmp_path: Path, crew: Worker) -> None:
    feed, killed = Feed(tmp_path, seed=4711), 0
    for _ in range(5 * RANDOM_KILLS):
        feed.land(8)
        order = feed.chance.choice(["ingest", "ingest", "prepare"])
        killed += crew.do_for(feed.chance.uniform(0.02, 0.5), order, feed.home) == KILLED
        if killed == RANDOM_KILLS:
            break
    assert killed == RANDOM_KILLS
    assert settle(feed, crew) == []
