"""The release: a candidate fleet is sealed, passes the gate or does not, and may become champion.

Belongs here: wiring evaluation to release and promotion. Does not belong here: rules (ml_platform.gate), sealing (ml_platform.registry).
"""

from typing import Any

import dagster as dg

from assets.metadata import FORECASTING, counts, materialized, table_definition, table_metadata
from assets.partitions import POLICY, complete_days_in
from assets.training import NOTHING_DUE
from ml_platform.catalogue import catalogue_as_of
from ml_platform.forecasting import ForecastConfig
from ml_platform.gate import explain_day
from ml_platform.lake import Lake
from ml_platform.lake.schemas import PROMOTED_RELEASE
from ml_platform.promotion import Promotion, release_candidate
from resources.configuration import ConfigurationResource
from resources.lake import LakeResource
from resources.registry import RegistryResource
from resources.spark import SparkResource


def promotion_assets(config: ForecastConfig, days: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """`promoted_release`, partitioned by as-of day."""

    @dg.asset(
        deps=["fleet_evaluation", "updated_fleet"],
        group_name="fleet",
        owners=[FORECASTING],
        kinds={"deltalake", "mlflow"},
        description="The sealed release of the day's fleet, every rule of the gate with value and limit, and who or what decided; only here the champion changes.",
        partitions_def=days,
        backfill_policy=POLICY,
        metadata=table_definition(PROMOTED_RELEASE),
    )
    def promoted_release(
        context: dg.AssetExecutionContext,
        configuration: ConfigurationResource,
        lake: LakeResource,
        spark: SparkResource,
        registry: RegistryResource,
    ) -> dg.MaterializeResult[Any]:
        store, releases, gate = lake.vend(), registry.vend(config.name), configuration.gate()
        inputs, made = spark.panel_inputs(store, configuration.contracts(), config), None
        for as_of in complete_days_in(context, store, inputs.target):
            made = release_candidate(store, releases, catalogue_as_of(inputs, as_of), config, gate, as_of)
            context.log.info(f"release {made.release.release_id}: {made.decision.summary}")
        return materialized(context, _metadata(store, made) if made else {"reason": NOTHING_DUE})

    return [promoted_release]


def _metadata(lake: Lake, made: Promotion) -> dict[str, Any]:
    release = made.release
    return table_metadata(
        lake,
        PROMOTED_RELEASE.name,
        release_id=release.release_id,
        release_folder=dg.MetadataValue.path(str(release.folder)),
        promoted=made.decision.promoted,
        summary=made.decision.summary,
        rules=dg.MetadataValue.md(explain_day(made.decision, release.manifest.as_of)),
        series_by_state=counts(made.coverage.states),
        model_version=made.model_version,
    )
