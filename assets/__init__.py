"""Assets: what exists, stage by stage; thin glue between Dagster and the library.

Belongs here: one module per stage, and `build_assets`. Does not belong here: computing (ml_platform), deciding when (sensors).
"""

import dagster as dg

from assets import features, ingestion, preparation, promotion, scoring, training, updating, warehouse
from assets.partitions import days_of
from ml_platform.contracts import Contracts
from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import Lake
from ml_platform.panel_inputs import PanelInputs
from ml_platform.settings import Settings


def build_assets(settings: Settings, contracts: Contracts, config: ForecastConfig) -> list[dg.AssetsDefinition]:
    """Every asset of one fleet; bronze and silver follow from the contracts."""
    days, zeros = days_of(settings.first_day, settings.last_day), config.missing == "zero"
    inputs = PanelInputs(Lake(settings.lake), contracts, config, settings.engine)  # its schemas; runs have their own
    return [
        *(ingestion.bronze_asset(source, days, zeros=zeros and source.panel.target) for source in contracts.sources),
        *(preparation.silver_asset(source, contracts, days) for source in contracts.sources),
        features.catalogue_asset(inputs),
        features.panel_asset(inputs),
        training.fleet_asset(config, days),
        training.evaluation_asset(config, days),
        updating.updated_asset(config, days),
        *promotion.promotion_assets(config, days),
        scoring.forecasts_asset(config, days),
        warehouse.warehouse_asset(config, days),
        warehouse.marts_assets(config),
    ]
