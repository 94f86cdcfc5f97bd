"""The lake.

Belongs here: its root and storage options. Does not belong here: tables.
"""

import dagster as dg

from ml_platform.lake import Lake


class LakeResource(dg.ConfigurableResource):
    """Delta tables below `root`: a folder, or an abfss:// URL with the storage options of delta-rs."""

    root: str
    storage_options: dict[str, str] = {}

    def vend(self) -> Lake:
        return Lake(self.root, self.storage_options)
