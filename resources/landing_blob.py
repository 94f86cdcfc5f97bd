"""The landing area in a container of blob storage.

Belongs here: the client that Dagster's integration builds, and its credential. Does not belong here: what is done with it (ml_platform.landing).
"""

from contextlib import ExitStack
from typing import Any

import dagster as dg
from dagster_azure.blob import (
    AzureBlobStorageDefaultCredential,
    AzureBlobStorageKeyCredential,
    AzureBlobStorageResource,
)
from pydantic import PrivateAttr

from ml_platform.addresses import BlobAddress
from ml_platform.landing import LandingStore
from ml_platform.landing.blob import BlobLanding
from resources.landing import LandingResource


class BlobLandingResource(LandingResource):
    """A container with one folder per source below `folder`, which is the prefix of its names."""

    storage: dg.ResourceDependency[AzureBlobStorageResource]
    container: str
    _open: ExitStack = PrivateAttr(default_factory=ExitStack)

    def vend(self) -> LandingStore:
        service = self._open.enter_context(self.storage.get_client())
        return BlobLanding(service.get_container_client(self.container), self.folder)

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:  # noqa: ARG002  Dagster's signature
        self._open.close()


def blob_storage(address: BlobAddress, *, with_key: bool) -> AzureBlobStorageResource:
    """The account, by the key in the environment (the UI shows its name and not the key) or by the identity of the process."""
    credential: Any = (
        AzureBlobStorageKeyCredential(key=dg.EnvVar("ML_PLATFORM_STORAGE_KEY"))
        if with_key
        else AzureBlobStorageDefaultCredential()
    )
    return AzureBlobStorageResource(account_url=address.account_url, credential=credential)
