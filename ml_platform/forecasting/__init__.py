"""The forecasting kernel: many series at once, as arrays.

Belongs here: arrays of a shard, families, backtest, selection, intervals, the fleet. Does not belong here: lake,
orchestration, release.
"""

from ml_platform.forecasting.config import FAMILIES, FLOORS, ConfigError, ForecastConfig, load_config

__all__ = ["FAMILIES", "FLOORS", "ConfigError", "ForecastConfig", "load_config"]
