"""Both landing areas behind one fixture: whatever is promised of one is asked of the other.

Belongs here: an area to land in, and contracts. Does not belong here: what is promised (tests).
"""

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.storage.blob import ContainerClient
from feeds import READINGS

from ml_platform.contracts import SourceContract
from ml_platform.emulation.azurite import Azurite
from ml_platform.landing import LandingStore, LocalLanding
from ml_platform.landing.blob import BlobLanding

STORES = ("local", "azurite")


@dataclass(frozen=True)
class Area:
    """A landing area as its senders see it: they write and delete by path, and ask nobody."""

    store: LandingStore
    write: Callable[[str, bytes], None]
    delete: Callable[[str], None]

    def land(self, *paths: str) -> None:
        """Files with their own path as content."""
        for path in paths:
            self.write(path, path.encode())


def local_area(root: Path) -> Area:
    def write(path: str, data: bytes) -> None:
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        before = place.stat().st_ctime_ns if place.exists() else 0
        place.write_bytes(data)
        while place.stat().st_ctime_ns == before:  # the clock of a file system ticks every few milliseconds
            os.utime(place)

    return Area(LocalLanding(root), write, lambda path: (root / path).unlink())


def blob_area(container: ContainerClient, prefix: str) -> Area:
    def write(path: str, data: bytes) -> None:
        container.upload_blob(prefix + path, data, overwrite=True)

    return Area(BlobLanding(container, prefix), write, lambda path: container.delete_blob(prefix + path))


@pytest.fixture
def container(azurite_server: Azurite) -> Iterator[ContainerClient]:
    """An empty container of the test's own."""
    name = f"c{uuid.uuid4().hex}"
    with ContainerClient(azurite_server.blob_url, name, credential=azurite_server.key) as client:
        client.create_container()
        yield client


@pytest.fixture(params=STORES)
def area(request: pytest.FixtureRequest, tmp_path: Path) -> Area:
    if request.param == "local":
        return local_area(tmp_path / "landing")
    return blob_area(request.getfixturevalue("container"), "in/here/")


@pytest.fixture
def readings() -> SourceContract:
    return SourceContract.model_validate(READINGS)
