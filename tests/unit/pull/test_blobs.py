"""Pulls into a landing area on blob storage: Azurite in the place of Azure."""

import uuid
from dataclasses import replace
from typing import Any

from azure.storage.blob import ContainerClient

from ml_platform.ingestion import Ingestion
from ml_platform.landing.blob import BlobLanding


def test_rows_land_in_a_container_as_in_a_folder(shop: Any, azurite_server: Any) -> None:
    name = f"c{uuid.uuid4().hex}"
    with ContainerClient(azurite_server.blob_url, name, credential=azurite_server.key) as container:
        container.create_container()
        store = BlobLanding(container, "in/")
        puller = replace(shop.having(rows_per_file=4).puller(), landing=store)
        shop.insert(*range(1, 11))
        report = puller.run()
        assert [one.rows for one in report.files] == [4, 4, 2]
        assert {blob.name for blob in container.list_blobs()} == {f"in/{one.path}" for one in report.files}
        assert puller.run().files == ()
        ingestion = Ingestion(shop.lake, store, shop.contract, "run", shop.calendar)
        ingestion.run(ingestion.due(shop.calendar.first, shop.calendar.last))
        assert sorted(shop.lake.read("bronze/raw_orders")["order_id"].to_pylist()) == list(range(1, 11))
        for blob in container.list_blobs():
            container.delete_blob(blob.name)
        shop.insert(11)
        assert puller.run().rows == 1
