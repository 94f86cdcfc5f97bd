"""Opening: the queue that the settings name, and the place whose events count.

Belongs here: settings as a queue and a scope. Does not belong here: what comes out of the queue (intake).
"""

from ml_platform.contracts import Contracts
from ml_platform.settings import Settings
from ml_platform.storage_events.outcomes import Scope
from ml_platform.storage_events.queue import AzureQueue, EventQueue, QueueUnavailableError


def open_queue(settings: Settings) -> EventQueue | None:
    """The queue, which nothing has asked yet; None where the settings name none. QueueUnavailableError where Azure's packages are missing."""
    if not settings.events_queue_url:
        return None
    try:
        import azure.identity
        import azure.storage.queue  # noqa: F401  asked here, so that the answer has words
    except ImportError as why:
        raise QueueUnavailableError(
            f"a queue of storage events needs more packages ({why}): pip install 'ml-platform[azure]'"
        ) from why
    return AzureQueue(settings.events_queue_url, settings.storage_key)


def scope_of(settings: Settings, contracts: Contracts) -> Scope:
    """The landing area in its account; ValueError where it is no container, which the settings refuse beside a queue."""
    address = settings.landing_address
    if address is None:
        raise ValueError("storage events tell of blobs: set ML_PLATFORM_LANDING_URL")
    declared = frozenset(source.name for source in contracts.sources)
    return Scope(address.container, address.prefix, declared, address.account)
