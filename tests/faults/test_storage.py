"""A lake on storage that answers with errors, not at all, or not to its end: nothing is lost, doubled, or called failed that was done."""

import uuid
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient
from fault_checker import violations
from fault_feed import Feed, ingest, ingestion

from ml_platform.emulation.azurite import Azurite
from ml_platform.emulation.fault_proxy import Fault, Faults, fault_proxy
from ml_platform.lake import Lake

pytestmark = pytest.mark.faults
ROUNDS = 12


def container(server: Azurite) -> str:
    name = f"c{uuid.uuid4().hex}"
    BlobServiceClient(server.blob_url, server.key).create_container(name)
    return f"az://{name}/lake"


def fast(options: dict[str, str]) -> dict[str, str]:
    """Give up within seconds where storage is away: the default of delta-rs is three minutes."""
    return {**options, "retry_timeout": "8s", "timeout": "4s"}


@pytest.mark.parametrize(
    ("kinds", "where"),
    [
        (("busy",), ""),
        (("cut_before",), ""),
        (("cut_after",), "^PUT .*_delta_log"),
        (("cut_after",), "^PUT"),
        (("busy", "cut_before", "cut_after", "half_answer"), ""),
    ],
    ids=["busy", "cut_before", "cut_after_commit", "cut_after_put", "all_kinds"],
)
def test_every_fifth_request_fails_and_nobody_notices(
    azurite_server: Azurite, tmp_path: Path, kinds: tuple[Fault, ...], where: str
) -> None:
    """Also a commit whose answer was cut off: the run that made it does not fail."""
    feed, root = Feed(tmp_path, seed=21), container(azurite_server)
    with fault_proxy(azurite_server.blob_port) as proxy:
        lake = Lake(root, azurite_server.storage_options(proxy.port))
        proxy.set(Faults(0.2, kinds, where, seed=5))
        for _ in range(ROUNDS):
            feed.land()
            ingest(lake, feed.landing)
        assert sum(proxy.set(Faults()).values()) >= ROUNDS
    direct = Lake(root, azurite_server.storage_options())
    for _ in range(3):
        ingest(direct, feed.landing)
    assert violations(root, feed.landing, feed.history, options=azurite_server.storage_options()) == []


def test_storage_that_is_away_is_an_error_and_heals(azurite_server: Azurite, tmp_path: Path) -> None:
    feed, root = Feed(tmp_path, seed=22), container(azurite_server)
    with fault_proxy(azurite_server.blob_port) as proxy:
        lake = Lake(root, fast(azurite_server.storage_options(proxy.port)))
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


def test_a_cut_answer_is_resolved_by_reading(azurite_server: Azurite, tmp_path: Path) -> None:
    """Every commit to bronze loses its answer: each is found, none is repeated."""
    feed, root = Feed(tmp_path, seed=23), container(azurite_server)
    with fault_proxy(azurite_server.blob_port) as proxy:
        lake = Lake(root, azurite_server.storage_options(proxy.port))
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
