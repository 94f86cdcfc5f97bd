"""How dbt is told what the configuration says.

Belongs here: variables of the dbt project. Does not belong here: the marts themselves (dbt/), running dbt (assets).
"""

import json

from ml_platform.forecasting import ForecastConfig


def dbt_arguments(config: ForecastConfig) -> list[str]:
    """Arguments of `dbt build`: the key columns that forecast_latest shows, and the intervals in percent."""
    variables = {"series_keys": list(config.series), "intervals": list(config.intervals)}
    return ["--vars", json.dumps(variables)]
