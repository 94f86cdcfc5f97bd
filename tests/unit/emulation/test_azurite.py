"""Azurite starts from npm and speaks to the clients that the platform uses."""

import uuid
from pathlib import Path

import pyarrow as pa
import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient
from deltalake import DeltaTable, write_deltalake

from ml_platform.emulation import azurite as module
from ml_platform.emulation.azurite import Azurite, AzuriteError, installed


def test_blobs_queues_and_delta_tables(azurite_server: Azurite) -> None:
    name = f"c{uuid.uuid4().hex}"
    blobs = BlobServiceClient(azurite_server.blob_url, azurite_server.key)
    container = blobs.create_container(name)
    container.upload_blob("a.txt", b"landed")
    assert container.download_blob("a.txt").readall() == b"landed"
    with QueueClient(azurite_server.queue_url, name, credential=azurite_server.key) as queue:
        queue.create_queue()
        queue.send_message("told")
        assert [one.content for one in queue.receive_messages()] == ["told"]
    options = azurite_server.storage_options()
    write_deltalake(f"az://{name}/t", pa.table({"a": [1, 2]}), storage_options=options)
    assert DeltaTable(f"az://{name}/t", storage_options=options).to_pyarrow_table().num_rows == 2


def test_the_key_is_its_own_and_shown_nowhere(azurite_server: Azurite) -> None:
    assert azurite_server.key not in repr(azurite_server)
    other = BlobServiceClient(azurite_server.blob_url, "Tm90IHRoZSBrZXk=")
    with pytest.raises(HttpResponseError):
        other.create_container(f"c{uuid.uuid4().hex}")


def test_without_npm_it_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INSTALLED", tmp_path / "emulation")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AzuriteError, match="install Node 20"):
        installed()
