"""Opening: the landing area that the settings name.

Belongs here: the choice of a store, and the client that reaches it. Does not belong here: what lies there (local, blob).
"""

import atexit
import functools
from typing import TYPE_CHECKING

from ml_platform.addresses import BlobAddress
from ml_platform.landing.drops import StorageError
from ml_platform.landing.local import LocalLanding
from ml_platform.landing.protocol import LandingStore
from ml_platform.settings import Settings

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient


def open_landing(settings: Settings) -> LandingStore:
    """A folder, or a container with the identity of this process (the key, where one is set); StorageError where that cannot be."""
    address = settings.landing_address
    if address is None:
        return LocalLanding(settings.landing)
    try:
        from ml_platform.landing.blob import BlobLanding

        key = settings.storage_key.get_secret_value() if settings.storage_key else None
        return BlobLanding(_container(require_key(address, key), key), address.prefix)
    except ImportError as why:
        raise StorageError(
            f"a landing area on Azure needs more packages ({why}): pip install 'ml-platform[azure]'"
        ) from why


def require_key(address: BlobAddress, key: str | None) -> BlobAddress:
    """The address itself; StorageError where an emulator has no key."""
    if address.is_local and not key:
        raise StorageError("Azurite knows no identities: set ML_PLATFORM_STORAGE_KEY to the key of its account")
    return address


@functools.cache
def _container(address: BlobAddress, key: str | None) -> "ContainerClient":
    """One per process, closed at its end: every look shares its connections and its token."""
    from azure.identity import DefaultAzureCredential
    from azure.storage.blob import ContainerClient

    client = ContainerClient(address.account_url, address.container, credential=key or DefaultAzureCredential())
    atexit.register(client.close)
    return client
