"""The Spark engine.

Belongs here: which engine computes, into how many shards. Does not belong here: DataFrames (preparation, features).
"""

from collections.abc import Callable
from typing import Any

import dagster as dg

from ml_platform.contracts import Contracts, SourceContract
from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import Lake
from ml_platform.panel_inputs import PanelInputs
from ml_platform.preparation import Preparation


class SparkResource(dg.ConfigurableResource[Any]):
    """`engine`: sail, jvm or sc://host:port; `shards`: hash buckets of series; `suite_rows`: rows that a suite looks at."""

    engine: str = "sail"
    shards: int = 16
    suite_rows: int = 20_000

    def preparation(
        self,
        lake: Lake,
        contracts: Contracts,
        source: SourceContract,
        progress: Callable[[str], None],
        series: tuple[str, ...] = (),
    ) -> Preparation:
        return Preparation(lake, contracts, source, self.engine, self.suite_rows, progress, series)

    def panel_inputs(
        self,
        lake: Lake,
        contracts: Contracts,
        config: ForecastConfig,
        progress: Callable[[str], None] = lambda text: None,
    ) -> PanelInputs:
        return PanelInputs(lake, contracts, config, self.engine, self.shards, self.suite_rows, progress)
