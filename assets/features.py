"""Series and panel: the catalogue, and the table that models are trained on.

Belongs here: wiring silver to catalogue and panel. Does not belong here: making them (ml_platform.catalogue, ml_platform.features).
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import dagster as dg

from assets import column_lineage
from assets.metadata import (
    FORECASTING,
    Events,
    check_specs,
    counts,
    guarded,
    materialized,
    picture,
    table_definition,
    table_metadata,
)
from ml_platform import plots
from ml_platform.catalogue import catalogue_spec, write_catalogue
from ml_platform.features import CHECKS, PanelReport, panel_spec, target_per_day, write_panel
from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import Lake
from ml_platform.lake.names import SERIES_CATALOGUE, SERIES_PANEL
from ml_platform.panel_inputs import PanelInputs
from resources.configuration import ConfigurationResource
from resources.lake import LakeResource
from resources.spark import SparkResource


def catalogue_asset(inputs: PanelInputs) -> dg.AssetsDefinition:
    """`series_catalogue`, up to the newest complete day."""

    @dg.asset(
        deps=[inputs.target.silver],
        group_name="silver",
        owners=[FORECASTING],
        kinds={"deltalake", "spark"},
        description="Every series as of the newest complete day: key, shard, first and last day, active days, state with its reason.",
        metadata=table_definition(catalogue_spec(inputs), lineage=column_lineage.of_catalogue(inputs)),
        output_required=False,  # without a complete day this asset and all after it are skipped, which is no failure
    )
    def series_catalogue(
        context: dg.AssetExecutionContext,
        configuration: ConfigurationResource,
        lake: LakeResource,
        spark: SparkResource,
    ) -> Iterator[dg.MaterializeResult[Any]]:
        store = lake.vend()
        own = spark.panel_inputs(store, configuration.contracts(), configuration.forecast())
        if not own.complete_days():
            context.log.info(f"no day of source '{own.target.name}' is complete yet: nothing to catalogue or forecast")
            return
        as_of = own.newest_day()
        states = Counter(write_catalogue(own, as_of)["state"].to_pylist())
        found = table_metadata(store, SERIES_CATALOGUE, as_of=as_of.isoformat(), series_by_state=counts(states))
        yield materialized(context, found)

    return series_catalogue


def panel_asset(inputs: PanelInputs) -> dg.AssetsDefinition:
    """`series_panel`, up to the newest complete day."""

    @dg.asset(
        deps=["series_catalogue", *(source.silver for source, _ in inputs.covariates)],
        group_name="gold",
        owners=[FORECASTING],
        kinds={"deltalake", "spark"},
        description="One row per series and step on a complete calendar: target, weight, known-future covariates; never a target of the future.",
        check_specs=check_specs("series_panel", CHECKS),
        metadata=table_definition(panel_spec(inputs), lineage=column_lineage.of_panel(inputs)),
    )
    def series_panel(
        context: dg.AssetExecutionContext,
        configuration: ConfigurationResource,
        lake: LakeResource,
        spark: SparkResource,
    ) -> Events:
        store = lake.vend()
        found = spark.panel_inputs(store, configuration.contracts(), configuration.forecast(), context.log.info)
        yield from guarded(
            context,
            lambda: write_panel(found, found.newest_day()),
            CHECKS,
            lambda report: _panel_metadata(store, inputs.config, report),
        )

    return series_panel


def _panel_metadata(lake: Lake, config: ForecastConfig, report: PanelReport) -> dict[str, Any]:
    volume = plots.volume_per_day(target_per_day(lake, report.as_of), value="target", what=config.target)
    months = ", ".join(report.months) or "none: nothing had changed"
    return table_metadata(
        lake, SERIES_PANEL, as_of=report.as_of.isoformat(), months_made_anew=months, target_per_day=picture(volume)
    )
