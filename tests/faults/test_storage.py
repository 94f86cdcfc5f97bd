"""A lake on storage that answers with errors, not at all, or not to its end: nothing is lost, doubled, or called failed that was done."""

import time
import uuid
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient
from deltalake.exceptions import DeltaError
from fault_checker import violations
from fault_feed import Feed, ingest, ingestion

from ml_platform.emulation.azurite import Azurite
from ml_platform.emulation.fault_proxy import Fault, Faults, fault_proxy
from ml_platform.lake import Lake

pytestmark = pytest.mark.faults
ROUNDS, MOST_FAILURES = 6, 60
AWAY_SECONDS = 60
# delta-rs waits up to 15 s between tries and three minutes in all by default: nobody has to wait for that here
QUICK = {"backoff_config.init_backoff": "5 ms", "backoff_config.max_backoff": "100 ms"}


def container(server: Azurite) -> str:
    name = f"c{uuid.uuid4().hex}"
    BlobServiceClient(server.blob_url, server.key).create_container(name)
    return f"az://{name}/lake"


def lake_at(server: Azurite, root: str, port: int | None = None, **more: str) -> Lake:
    return Lake(root, {**server.storage_options(port), **QUICK, **more})


@pytest.mark.parametrize(
    ("kinds", "where"),
    [(("busy",), ""), (("cut_before",), ""), (("cut_after",), "^PUT .*_delta_log")],
    ids=["busy", "cut_before", "cut_after_commit"],
)
def test_every_fifth_request_fails_and_no_run_does(
    azurite_server: Azurite, tmp_path: Path, kinds: tuple[Fault, ...], where: str
) -> None:
    """Also where the answer to a commit is cut off: the commit is found by reading."""
    assert runs_that_failed(azurite_server, Feed(tmp_path, seed=21), Faults(0.2, kinds, where, seed=5)) == 0


@pytest.mark.parametrize(
    "faults",
    [
        Faults(0.2, ("cut_after",), "^PUT", seed=5),
        Faults(0.05, ("busy", "cut_before", "cut_after", "half_answer"), seed=5),
    ],
    ids=["cut_after_put", "all_kinds"],
)
def test_a_run_that_storage_fails_is_completed_by_the_next(
    azurite_server: Azurite, tmp_path: Path, faults: Faults
) -> None:
    """Clients do not try again where half of an answer came, or where a file of several blocks was there already."""
    runs_that_failed(azurite_server, Feed(tmp_path, seed=22), faults)


def runs_that_failed(server: Azurite, feed: Feed, faults: Faults) -> int:
    """Land and ingest round after round through a failing proxy, until every round came through; then all promises must hold."""
    root, failed = container(server), 0
    with fault_proxy(server.blob_port) as proxy:
        lake = lake_at(server, root, proxy.port)
        proxy.set(faults)
        for _ in range(ROUNDS):
            feed.land()
            while not came_through(lake, feed):
                failed += 1
                assert failed < MOST_FAILURES
        assert sum(proxy.set(Faults()).values()) >= ROUNDS
    for _ in range(3):
        ingest(lake_at(server, root), feed.landing)
    assert violations(root, feed.landing, feed.history, options=server.storage_options()) == []
    return failed


def came_through(lake: Lake, feed: Feed) -> bool:
    try:
        ingest(lake, feed.landing)
    except (OSError, DeltaError):
        return False
    return True


def test_storage_that_is_away_is_an_error_and_heals(azurite_server: Azurite, tmp_path: Path) -> None:
    feed, root = Feed(tmp_path, seed=22), container(azurite_server)
    with fault_proxy(azurite_server.blob_port) as proxy:
        lake = lake_at(azurite_server, root, proxy.port, retry_timeout="8s", timeout="4s")
        feed.land()
        ingest(lake, feed.landing)
        feed.land()
        proxy.set(Faults(1.0))
        with pytest.raises(OSError, match=r"(?i)503|busy|retr"):
            ingest(lake, feed.landing)
        proxy.set(Faults())
        for _ in range(3):
            ingest(lake, feed.landing)
    assert violations(root, feed.landing, feed.history, options=azurite_server.storage_options()) == []


def test_a_minute_without_storage_is_outlasted(azurite_server: Azurite, tmp_path: Path) -> None:
    """With the platform's own patience: the run takes as long as storage is away, and does not fail."""
    feed, root = Feed(tmp_path, seed=24), container(azurite_server)
    with fault_proxy(azurite_server.blob_port) as proxy:
        lake = Lake(root, azurite_server.storage_options(proxy.port))
        feed.land()
        ingest(lake, feed.landing)
        feed.land()
        proxy.set(Faults(1.0, seconds=AWAY_SECONDS))
        began = time.monotonic()
        for _ in range(3):
            ingest(lake, feed.landing)
    assert AWAY_SECONDS <= time.monotonic() - began <= 90
    assert violations(root, feed.landing, feed.history, options=azurite_server.storage_options()) == []


def test_a_cut_answer_is_resolved_by_reading(azurite_server: Azurite, tmp_path: Path) -> None:
    """Every commit to bronze loses its answer: each is found, none is repeated."""
    feed, root = Feed(tmp_path, seed=23), container(azurite_server)
    with fault_proxy(azurite_server.blob_port) as proxy:
        lake = lake_at(azurite_server, root, proxy.port)
        feed.land()
        ingest(lake, feed.landing)
        before = lake.version("bronze/raw_readings") or 0
        proxy.set(Faults(1.0, ("cut_after",), "^PUT .*raw_readings/_delta_log/0"))
        feed.land(6)
        one = ingestion(lake, feed.landing, batch_rows=1_000_000)
        settled = one.run(one.due(one.calendar.first, one.calendar.last)).rows
        assert settled
        assert proxy.set(Faults())["cut_after"] >= 1
        assert lake.version("bronze/raw_readings") == before + 1
    assert violations(root, feed.landing, feed.history, options=azurite_server.storage_options()) == []
