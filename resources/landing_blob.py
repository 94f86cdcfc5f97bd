"""The landing area in a container of blob storage.

Belongs here: the client that Dagster's integration builds, and its credential. Does not belong here: what is done with it (ml_platform.landing).
"""

import atexit
import functools
from contextlib import ExitStack

from azure.storage.blob import ContainerClient
from dagster_azure.blob import (
    AzureBlobStorageDefaultCredential,
    AzureBlobStorageKeyCredential,
    AzureBlobStorageResource,
)

from ml_platform.addresses import BlobAddress
from ml_platform.landing import LandingStore, require_key
from ml_platform.landing.blob import BlobLanding
from ml_platform.settings import read_settings
from resources.landing import LandingResource

OPEN = ExitStack()
atexit.register(OPEN.close)


class BlobLandingResource(LandingResource):
    """A container with one folder per source below `folder`, which is the prefix of its names.

    It is reached by the identity of the process, or by the key in the settings; the key is no field, because the UI shows fields.
    """

    account_url: str
    container: str

    def vend(self) -> LandingStore:
        key = read_settings().storage_key
        address = BlobAddress(self.account_url, self.container, self.folder)
        return BlobLanding(_client(address, key.get_secret_value() if key else None), self.folder)


@functools.cache
def _client(address: BlobAddress, key: str | None) -> ContainerClient:
    """One per process, closed at its end: steps of a run, and looks of a sensor, share its connections and its token."""
    require_key(address, key)
    credential = AzureBlobStorageKeyCredential(key=key) if key else AzureBlobStorageDefaultCredential()
    storage = AzureBlobStorageResource(account_url=address.account_url, credential=credential)
    return OPEN.enter_context(storage.get_client()).get_container_client(address.container)
