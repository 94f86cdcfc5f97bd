"""The warehouse: forecasts in SQL, and the marts over them, switched to at once.

Belongs here: wiring forecasts to the warehouse and to dbt. Does not belong here: SQL (dbt/), filling and switching (ml_platform.warehouse).
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DagsterDbtTranslatorSettings, DbtCliResource, dbt_assets

from assets import column_lineage
from assets.metadata import FORECASTING, LINEAGE, column_schema, counts, materialized
from assets.partitions import POLICY, complete_days_in
from assets.training import NOTHING_DUE
from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import Lake
from ml_platform.lake.schemas import PUBLISHED
from ml_platform.registry import champion_as_of
from ml_platform.scoring import forecasts_spec
from ml_platform.warehouse.marts import dbt_arguments
from resources.configuration import ConfigurationResource
from resources.lake import LakeResource
from resources.marts import manifest
from resources.warehouse import WarehouseResource

# every dbt source is filled by the one asset `warehouse_forecasts`
TRANSLATOR = DagsterDbtTranslator(DagsterDbtTranslatorSettings(enable_duplicate_source_asset_keys=True))


def warehouse_asset(config: ForecastConfig, days: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """`warehouse_forecasts` by as-of day: a warehouse beside the live one, staged and not yet shown."""
    origins = column_lineage.of_warehouse(config)

    @dg.asset(
        deps=["forecasts"],
        group_name="warehouse",
        owners=[FORECASTING],
        kinds={"duckdb"},
        description="The forecasts of the as-of day and what the marts need, staged beside the live warehouse and compared with the lake.",
        partitions_def=days,
        backfill_policy=POLICY,
        metadata={
            "dagster/table_name": "warehouse.lake.forecasts",
            "dagster/column_schema": column_schema(forecasts_spec(config).schema, lineage=origins),
            LINEAGE: origins,
        },
    )
    def warehouse_forecasts(
        context: dg.AssetExecutionContext,
        configuration: ConfigurationResource,
        lake: LakeResource,
        warehouse: WarehouseResource,
    ) -> dg.MaterializeResult[Any]:
        store, target = lake.vend(), configuration.contracts().target
        due = complete_days_in(context, store, target)
        champions = {day: one.release_id for day in due if (one := champion_as_of(store, day, same_day=True))}
        if not champions:
            return dg.MaterializeResult(
                metadata={"reason": f"no release is promoted as of {due[-1]}" if due else NOTHING_DUE}
            )
        staged, newest = warehouse.vend().stage(store, config, champions), max(champions)
        found: dict[str, Any] = {
            "dagster/row_count": staged.rows["forecasts"],
            "table_version": store.version(forecasts_spec(config).name) or 0,
            "as_of": newest.isoformat(),
            "release_id": champions[newest],
        }
        found |= {"staged": dg.MetadataValue.path(str(staged.path)), "rows": counts(staged.rows)}
        return materialized(context, found)

    return warehouse_forecasts


def marts_assets(config: ForecastConfig) -> dg.AssetsDefinition:
    """The marts: dbt builds them in the staged warehouse, which then takes the place of the live one."""

    @dbt_assets(manifest=manifest(config), name="marts", dagster_dbt_translator=TRANSLATOR)
    def marts(
        context: dg.AssetExecutionContext, dbt: DbtCliResource, lake: LakeResource, warehouse: WarehouseResource
    ) -> Iterator[Any]:
        store, target = lake.vend(), warehouse.vend()
        if not target.is_staged():  # nothing is promoted yet, or only the marts were asked for
            target.stage(store, config)
        os.environ.update(target.environment())
        build, built = dbt.cli(["build", *dbt_arguments(config)], context=context, target_path=target.build_folder), []
        for event in build.stream():
            if isinstance(event, dg.Output):
                built.append(event)  # a mart is materialized once it is published
            else:
                yield event
        rows = target.mart_rows()
        for pointer in target.publish(store):
            context.log.info(f"published {pointer.release_id} as of {pointer.as_of}")
        yield from (_with_rows(output, rows, store) for output in built)

    return marts


def _with_rows(mart: dg.Output[Any], rows: Mapping[str, int], lake: Lake) -> dg.Output[Any]:
    """A built mart with its rows and the version of the pointer that it shows.

    dagster-dbt's own counting opens the staged file a second time in this process, which DuckDB refuses.
    """
    more = {"dagster/row_count": rows[mart.output_name], "table_version": lake.version(PUBLISHED.name) or 0}
    return dg.Output(mart.value, mart.output_name, metadata={**mart.metadata, **more})
