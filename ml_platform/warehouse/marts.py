"""How dbt is told what the configuration says.

Belongs here: variables of the dbt project. Does not belong here: the marts themselves (dbt/), running dbt (assets).
"""

import json

from ml_platform.forecasting import ForecastConfig


def dbt_arguments(config: ForecastConfig) -> list[str]:
    """Arguments of `dbt build`: key columns that forecast_latest and forecast_sums_latest show, and the intervals in percent."""
    keys = {"series_keys": list(config.series), "sum_keys": list(config.sum_columns)}
    variables = {**keys, "intervals": list(config.intervals)}
    return ["--vars", json.dumps(variables)]
