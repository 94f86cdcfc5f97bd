"""Landing: the area where files arrive, on a folder or on Azure Blob storage behind one small protocol.

Belongs here: naming and dating drops, listing and fetching them, putting files there. Does not belong here: opening them (formats) or
remembering them (ledger). What needs Azure's packages is imported where it is used.
"""

from ml_platform.landing.drops import (
    Changed,
    Drop,
    LandedFile,
    LandingError,
    StorageError,
    Vanished,
    drop_of,
    read_name,
    why_misnamed,
)
from ml_platform.landing.local import LocalLanding
from ml_platform.landing.opening import open_landing, require_key
from ml_platform.landing.protocol import LandingStore, Page
from ml_platform.landing.readiness import Readiness, Waiting, WaitingFiles, Waits, in_words
from ml_platform.landing.work import find_drop, land_files, list_drops, undeclared

__all__ = [
    "Changed",
    "Drop",
    "LandedFile",
    "LandingError",
    "LandingStore",
    "LocalLanding",
    "Page",
    "Readiness",
    "StorageError",
    "Vanished",
    "Waiting",
    "WaitingFiles",
    "Waits",
    "drop_of",
    "find_drop",
    "in_words",
    "land_files",
    "list_drops",
    "open_landing",
    "read_name",
    "require_key",
    "undeclared",
    "why_misnamed",
]
