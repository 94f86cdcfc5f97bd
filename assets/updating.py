"""The updated fleet: the champion's fleet takes in a day without being trained again.

Belongs here: wiring champion and panel to the update, day by day. Does not belong here: the update (ml_platform.updating), its verdict (promotion).
"""

from datetime import date
from typing import Any

import dagster as dg

from assets.metadata import FORECASTING, counts, materialized, table_definition, table_metadata
from assets.partitions import POLICY, complete_days_in
from assets.training import NOTHING_DUE
from ml_platform.catalogue import catalogue_as_of
from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import Lake
from ml_platform.memory import keep_memory
from ml_platform.registry import Registry
from ml_platform.training_tables import CANDIDATE_FLEET
from ml_platform.updating import TrainedError, UpdateError, UpdateReport, update_fleet
from ml_platform.updating_tables import FLEET_STATISTICS
from resources.configuration import ConfigurationResource
from resources.lake import LakeResource
from resources.registry import RegistryResource
from resources.spark import SparkResource


def updated_asset(config: ForecastConfig, days: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """`updated_fleet`, partitioned by as-of day."""

    @dg.asset(
        deps=["series_panel"],
        group_name="fleet",
        owners=[FORECASTING],
        kinds={"deltalake", "python"},
        description="The champion's fleet with the steps since taken in: fresh coefficients in seconds, nothing trained. Selection, priors, penalties "
        "and intervals stay those of its training. Its rows lie in gold/candidate_fleet; `promoted_release` judges them.",
        partitions_def=days,
        backfill_policy=POLICY,
        metadata=table_definition(FLEET_STATISTICS),
    )
    def updated_fleet(
        context: dg.AssetExecutionContext,
        configuration: ConfigurationResource,
        lake: LakeResource,
        spark: SparkResource,
        registry: RegistryResource,
    ) -> dg.MaterializeResult[Any]:
        keep_memory()
        store, releases = lake.vend(), registry.vend(config.name)
        inputs, report, why = spark.panel_inputs(store, configuration.contracts(), config), None, NOTHING_DUE
        for as_of in complete_days_in(context, store, inputs.target):
            try:
                report = update_fleet(store, releases, catalogue_as_of(inputs, as_of), config, as_of)
            except TrainedError as trained:
                why = str(trained)
                context.log.info(why)
            except UpdateError as nothing_to_start_from:
                raise dg.Failure(str(nothing_to_start_from)) from None
            else:
                context.log.info(_sentence(report))
        return materialized(context, _metadata(store, releases, report) if report else {"reason": why})

    return updated_fleet


def _sentence(report: UpdateReport) -> str:
    unchanged = ", unchanged" if report.unchanged else ""
    return (
        f"fleet of {report.since} (release {report.release_id}) brought to {report.as_of}: {report.advanced} series took in what was new, "
        f"{report.made_anew} were made from their history, {dict(report.states)}, {report.seconds} s{unchanged}"
    )


def _metadata(lake: Lake, releases: Registry, report: UpdateReport) -> dict[str, Any]:
    recorded = report.recorded
    return table_metadata(
        lake,
        CANDIDATE_FLEET.name,
        as_of=report.as_of.isoformat(),
        since=report.since.isoformat(),
        updated_from=report.release_id,
        release_folder=dg.MetadataValue.path(str(releases.root / report.release_id)),
        came_from=_partition(report.since),
        unchanged=report.unchanged,
        series_by_state=counts(report.states),
        carried_over=report.states.get("carried_over", 0),
        advanced=report.advanced,
        made_anew=report.made_anew,
        rows_in=recorded.rows,
        rows_from=str(recorded.first),
        rows_to=str(recorded.last),
        recorded_rows=recorded.digest,
        fingerprint=report.fingerprint,
        seconds=report.seconds,
    )


def _partition(day: date) -> dg.UrlMetadataValue:
    """The page of the release that the fleet came from."""
    return dg.MetadataValue.url(f"/assets/promoted_release?view=partitions&partition={day.isoformat()}")
