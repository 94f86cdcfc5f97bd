"""The lake.

Belongs here: its root and storage options. Does not belong here: tables.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from ml_platform.lake import Lake


class LakeResource(dg.ConfigurableResource[Any]):
    """Delta tables below `root`: a folder, or an abfss:// URL with the storage options of delta-rs."""

    root: str
    storage_options: dict[str, str] = Field(default_factory=dict)

    def vend(self) -> Lake:
        return Lake(self.root, self.storage_options)
