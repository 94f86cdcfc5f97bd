"""Forecasts in SQL: a warehouse is filled beside the live one, checked, then switched to in one step.

Belongs here: the protocol of a warehouse and its local implementation. Does not belong here: the marts' SQL (dbt/), forecasting.
"""

from ml_platform.warehouse.duckdb import DuckDBWarehouse
from ml_platform.warehouse.protocol import Staged, Warehouse, WarehouseError

__all__ = ["DuckDBWarehouse", "Staged", "Warehouse", "WarehouseError"]
