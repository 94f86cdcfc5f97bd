"""The proxy that fails on purpose: it changes nothing where it does not fail, and fails as it says."""

import http.client
import random
import uuid

import pyarrow as pa
import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobServiceClient, ContainerClient
from deltalake import DeltaTable, write_deltalake

from ml_platform.emulation.azurite import Azurite
from ml_platform.emulation.fault_proxy import Chance, Fault, Faults, fault_proxy

CONTENT = random.Random(1).randbytes(3_000_000)


def container(server: Azurite, port: int) -> ContainerClient:
    url = server.blob_url.replace(str(server.blob_port), str(port))
    return BlobServiceClient(url, server.key, retry_total=0).get_container_client(f"c{uuid.uuid4().hex}")


def test_without_faults_it_changes_nothing(azurite_server: Azurite) -> None:
    with fault_proxy(azurite_server.blob_port) as proxy:
        blobs = container(azurite_server, proxy.port)
        blobs.create_container()
        blobs.upload_blob("a b/é.bin", CONTENT)
        assert blobs.download_blob("a b/é.bin").readall() == CONTENT
        uri, options = f"az://{blobs.container_name}/t", azurite_server.storage_options(proxy.port)
        write_deltalake(uri, pa.table({"a": range(1000)}), storage_options=options)
        assert DeltaTable(uri, storage_options=options).to_pyarrow_table().num_rows == 1000


@pytest.mark.parametrize(("kind", "done"), [("busy", False), ("cut_before", False), ("cut_after", True)])
def test_whether_the_server_did_it(azurite_server: Azurite, kind: Fault, done: bool) -> None:
    with fault_proxy(azurite_server.blob_port) as proxy:
        blobs = container(azurite_server, proxy.port)
        blobs.create_container()
        proxy.set(Faults(1.0, (kind,), "^PUT .*/b.bin"))
        with pytest.raises(HttpResponseError) if kind == "busy" else pytest.raises(Exception, match=r"(?i)connection"):
            blobs.upload_blob("b.bin", b"content")
        assert blobs.get_blob_client("b.bin").exists() is done
        assert proxy.set(Faults()) == {kind: 1}


def test_half_an_answer(azurite_server: Azurite) -> None:
    with fault_proxy(azurite_server.blob_port) as proxy:
        blobs = container(azurite_server, proxy.port)
        blobs.create_container()
        blobs.upload_blob("c.bin", CONTENT)
        proxy.set(Faults(1.0, ("half_answer",), "^GET"))
        with pytest.raises(Exception, match=r"(?i)connection|incomplete|expected"):
            blobs.download_blob("c.bin").readall()


def test_the_same_seed_meets_the_same_faults() -> None:
    kinds: tuple[Fault, ...] = ("busy", "cut_after")
    first, second = (Chance(Faults(0.5, kinds, seed=7)) for _ in range(2))
    assert [first.of("GET /") for _ in range(50)] == [second.of("GET /") for _ in range(50)]
    assert len({*first.injected}) == 2


def test_faults_end_after_their_time() -> None:
    away, back = Chance(Faults(1.0, seconds=60)), Chance(Faults(1.0, seconds=0))
    assert (away.of("GET /"), back.of("GET /")) == ("busy", None)


def test_a_server_that_is_not_there_is_a_cut_connection() -> None:
    with fault_proxy(9) as proxy:
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        connection.request("GET", "/")
        with pytest.raises((http.client.BadStatusLine, ConnectionError)):
            connection.getresponse()
