"""The forecasting kernel: many series at once, as arrays.

Belongs here: arrays of a shard, families, backtest, selection, intervals, the fleet. Does not belong here: lake,
orchestration, release.
"""

from ml_platform.forecasting.api import ForecastResult, forecast, forecast_with
from ml_platform.forecasting.config import FAMILIES, FLOORS, ConfigError, ForecastConfig, load_config
from ml_platform.forecasting.errors import InputError
from ml_platform.forecasting.fleet import Fleet, fleet_weights
from ml_platform.forecasting.predict import predict

__all__ = [
    "FAMILIES",
    "FLOORS",
    "ConfigError",
    "Fleet",
    "ForecastConfig",
    "ForecastResult",
    "InputError",
    "fleet_weights",
    "forecast",
    "forecast_with",
    "load_config",
    "predict",
]
