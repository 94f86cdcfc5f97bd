"""From a blob and its event to the ledger: a container and a queue of Azurite, the drop sensor, and the run that it asks for."""

import io
import time
import uuid
from dataclasses import dataclass
from datetime import date
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient
from pydantic import SecretStr

from ml_platform.configuration import load_configuration
from ml_platform.emulation.event_grid import Event, EventGrid, cloud_event, message
from ml_platform.settings import Settings
from sensors import build_triggers
from sensors.data_drops import Cursor

HEADER = "household_id,store_id,basket_id,product_id,quantity,sales_value,transaction_timestamp"
DAY = date(2017, 3, 1)
SALES = f"sales/sales_{DAY}.csv"
PRODUCTS = {
    "product_id": [1],
    "manufacturer_id": [7],
    "department": ["GROCERY"],
    "brand": ["National"],
    "product_category": ["SOUP"],
    "product_type": ["TINS"],
    "package_size": ["1"],
}


@dataclass
class Cloud:
    """A platform whose files land in a container that announces them."""

    platform: Any
    container: ContainerClient
    queue: QueueClient
    grid: EventGrid
    cursor: str

    def upload(self, name: str, data: bytes) -> Event:
        found = self.container.upload_blob(f"in/{name}", data, overwrite=True).get_blob_properties()
        return self.grid.created(f"in/{name}", found.etag, found.size)

    def sell(self, *units: int) -> Event:
        """A version of the day's sales, one basket per number."""
        rows = [f"1,5,{100 + n},1,{one},3.50,{DAY}T17:00:00Z" for n, one in enumerate(units)]
        return self.upload(SALES, "\n".join([HEADER, *rows, ""]).encode())

    def send(self, *texts: str) -> None:
        for text in texts:
            self.queue.send_message(text)

    def tick(self) -> dg.SensorResult:
        settings = self.platform.settings
        triggers = build_triggers(settings, *load_configuration(settings.configs))
        sensor = next(one for one in triggers.sensors if one.name == "data_drops")
        result = sensor(dg.build_sensor_context(instance=self.platform.instance, cursor=self.cursor))
        self.cursor = result.cursor
        return result

    def run(self, result: dg.SensorResult) -> None:
        """The days that a tick asked for, up to silver: forecasts need a champion, and other tests make one."""
        (asked,) = result.run_requests
        first, last = (asked.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))
        self.platform.succeed("ingest", date.fromisoformat(first), date.fromisoformat(last))

    def ledger(self) -> dict[tuple[str, str], dict[str, Any]]:
        rows = self.platform.lake.read("ops/ledger").to_pylist()
        return {(row["path"], row["etag"]): row for row in rows}

    def outcomes(self) -> list[str]:
        return sorted(self.platform.lake.read("ops/storage_events")["outcome"].to_pylist())


@pytest.fixture
def cloud(azurite_server, tmp_path, monkeypatch, open_platform):
    name, server = f"c{uuid.uuid4().hex}", azurite_server
    monkeypatch.setenv("ML_PLATFORM_STORAGE_KEY", server.key)
    settings = Settings(
        home=tmp_path / "home",
        workers=1,
        shards=2,
        landing_url=f"{server.blob_url}/{name}/in",
        events_queue_url=f"{server.queue_url}/{name}",
        storage_key=SecretStr(server.key),
    )
    with (
        ContainerClient(server.blob_url, name, credential=server.key) as container,
        QueueClient(server.queue_url, name, credential=server.key) as queue,
        open_platform(settings) as platform,
    ):
        container.create_container()
        queue.create_queue()
        listed_now = Cursor(listed_at=time.time()).text()
        yield Cloud(platform, container, queue, EventGrid(server.account, name), listed_now)


def products() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(PRODUCTS), out)
    return out.getvalue()


def test_what_is_announced_is_ingested_and_the_newest_version_wins(cloud, monkeypatch):
    """Events come twice, in the wrong order, in both envelopes and beside a broken one; nothing is listed by the sensor."""
    monkeypatch.setattr("ml_platform.backlog.look", lambda *_: pytest.fail("the sensor must not list"))
    sold, known = cloud.sell(2, 3), cloud.upload("products/products.parquet", products())
    begun = cloud.grid.created(f"in/{SALES}", "0x0", 0, api="CreateFile")
    silent = cloud.upload("sales/.sales_2017-03-02.csv", b"unfinished")
    cloud.send(message(sold, begun), "poison", message(silent), message(known, packed=True))
    cloud.send(message(cloud_event(sold), packed=True), message(sold))
    cloud.run(cloud.tick())

    rows = cloud.ledger()
    etag, sequencer = sold["data"]["eTag"].strip('"'), sold["data"]["sequencer"]
    assert [(path, row["state"]) for (path, _), row in sorted(rows.items())] == [
        ("products/products.parquet", "loaded"),
        (SALES, "loaded"),
    ]
    assert rows[SALES, etag]["sequencer"] == sequencer
    assert cloud.platform.lake.count("ops/dead_letters") == 1
    assert not cloud.tick().run_requests
    assert cloud.outcomes() == ["ignored(hidden_name)", "ignored(not_committed)", "settled", "settled"]

    middle, newest = cloud.sell(4), cloud.sell(5, 6, 7)
    cloud.send(message(newest), message(middle), message(sold))
    cloud.run(cloud.tick())
    rows = cloud.ledger()
    last = rows[SALES, newest["data"]["eTag"].strip('"')]
    assert (last["state"], last["rows_loaded"], last["sequencer"]) == ("loaded", 3, newest["data"]["sequencer"])
    assert (rows[SALES, etag]["state"], len(rows)) == ("replaced", 3)
    assert not cloud.tick().run_requests
    assert cloud.outcomes()[-2:] == ["settled", "superseded"]
    assert cloud.queue.get_queue_properties().approximate_message_count == 0


def test_what_no_event_told_of_is_found_by_the_next_listing(cloud):
    lost = cloud.sell(1)
    known = cloud.upload("products/products.parquet", products())
    cloud.send(message(known))
    cloud.cursor = Cursor(listed_at=time.time() - cloud.platform.settings.listing_seconds - 1).text()
    cloud.run(cloud.tick())
    row = cloud.ledger()[SALES, lost["data"]["eTag"].strip('"')]
    assert (row["state"], row["sequencer"]) == ("loaded", None)
    cloud.send(message(lost))
    assert not cloud.tick().run_requests, "an event that comes after its listing asks for nothing"
    assert cloud.outcomes() == ["settled", "settled"]
