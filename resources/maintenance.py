"""Maintenance.

Belongs here: the home, and how long its past is kept. Does not belong here: what is removed (ml_platform.maintenance).
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from ml_platform.lake import Lake
from ml_platform.maintenance import Maintenance


class MaintenanceResource(dg.ConfigurableResource[Any]):
    """The home as a folder; old versions and intermediates are kept for `days`."""

    home: str
    days: int

    def vend(self, lake: Lake, run_id: str, progress: Callable[[str], None]) -> Maintenance:
        return Maintenance(lake, Path(self.home), timedelta(days=self.days), run_id, progress)
