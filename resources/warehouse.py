"""The warehouse.

Belongs here: the choice of a warehouse. Does not belong here: what is in it (ml_platform.warehouse, dbt).
"""

from pathlib import Path
from typing import Any

import dagster as dg

from ml_platform.warehouse import DuckDBWarehouse, Warehouse


class WarehouseResource(dg.ConfigurableResource[Any]):
    """A DuckDB file."""

    path: str

    def vend(self) -> Warehouse:
        return DuckDBWarehouse(Path(self.path))
