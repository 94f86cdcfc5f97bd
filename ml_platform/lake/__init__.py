"""The lake: Delta tables below one root, written only through here.

Belongs here: schemas, commits, the ledger and the quarantine. Does not belong here: what a source or a forecast means.
"""

from ml_platform.lake.errors import AlreadyCommittedError, GoneError, LakeError
from ml_platform.lake.store import Lake, TableSpec

__all__ = ["AlreadyCommittedError", "GoneError", "Lake", "LakeError", "TableSpec"]
