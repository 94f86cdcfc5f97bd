"""The candidate fleet: one model per series, and its judgement on the fold that chose nothing.

Belongs here: wiring panel to training and evaluation, day by day. Does not belong here: models (forecasting), verdicts (promotion).
"""

from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from assets import column_lineage
from assets.metadata import (
    FORECASTING,
    REASON_TAG,
    calibration,
    counts,
    materialized,
    picture,
    table_definition,
    table_metadata,
)
from assets.partitions import POLICY, complete_days_in
from ml_platform import plots
from ml_platform.candidates import Candidate
from ml_platform.catalogue import catalogue_as_of
from ml_platform.forecasting import ForecastConfig
from ml_platform.incumbents import find_incumbent
from ml_platform.judging import Evaluation, judge_candidate
from ml_platform.lake import Lake, schemas
from ml_platform.lake.names import FLEET_EVALUATION, JUDGED_FOLD
from ml_platform.training import TrainingReport, train_fleet
from ml_platform.training_tables import CANDIDATE_FLEET, judged_calibration
from resources.compute import ComputeResource
from resources.configuration import ConfigurationResource
from resources.lake import LakeResource
from resources.registry import RegistryResource
from resources.spark import SparkResource

FLEET_COLUMNS = {
    "family": "Family with the greatest weight",
    "state": "What became of the series",
    "reason": "Why it is in this state, where it is not the usual one",
    "parameters": "Weights and constants of the series' model as JSON",
    "fingerprint": "Hash of all that the training read, its configuration and code",
    "detail": "What the model said where it failed",
    "updated_from": "Release that took in the day without a training, missing for a fleet that was trained",
    "choice": "champion where every series kept the champion's families and weights, else new",
    "settings": "Hash of configuration and code that the fleet was made with",
    "beside": "Recipe of the champion that the fleet was trained beside",
}
NOTHING_DUE = "no day of this run is complete in the ledger: nothing was made"


def fleet_asset(config: ForecastConfig, days: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """`candidate_fleet`, partitioned by as-of day."""

    @dg.asset(
        deps=["series_panel"],
        group_name="fleet",
        owners=[FORECASTING],
        kinds={"deltalake", "python"},
        description="One model per series as of a day: winner family, parameters and state with its reason; the folds of every family lie in gold/fold_metrics.",
        partitions_def=days,
        backfill_policy=POLICY,
        metadata=table_definition(CANDIDATE_FLEET, FLEET_COLUMNS, column_lineage.of_fleet(config)),
    )
    def candidate_fleet(
        context: dg.AssetExecutionContext,
        configuration: ConfigurationResource,
        lake: LakeResource,
        spark: SparkResource,
        compute: ComputeResource,
        registry: RegistryResource,
    ) -> dg.MaterializeResult[Any]:
        store, contracts, releases = lake.vend(), configuration.contracts(), registry.vend(config.name)
        inputs, report = spark.panel_inputs(store, contracts, config), None
        for as_of in complete_days_in(context, store, inputs.target):
            jobs, champion = compute.vend(context.log.info), find_incumbent(store, releases, config, as_of)
            report = train_fleet(store, catalogue_as_of(inputs, as_of), config, as_of, jobs, champion)
            for series, why in report.failed.items():
                context.log.warning(f"series {series} is quarantined, it failed by itself: {why}")
            context.log.info(f"fleet as of {as_of}: {dict(report.states)}{' (unchanged)' if report.unchanged else ''}")
        asked = {"asked_for": context.run.tags.get(REASON_TAG, "in the UI")}
        found = {**_fleet_metadata(store, report, config), **asked} if report else {"reason": NOTHING_DUE}
        return materialized(context, found)

    return candidate_fleet


def evaluation_asset(config: ForecastConfig, days: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """`fleet_evaluation`, partitioned by as-of day."""

    @dg.asset(
        deps=["candidate_fleet"],
        group_name="fleet",
        owners=[FORECASTING],
        kinds={"deltalake", "python"},
        description="Challenger, champion as of the day, families and floors on the newest fold, which chose nothing; by fleet and by segment.",
        partitions_def=days,
        backfill_policy=POLICY,
        metadata=table_definition(
            schemas.fleet_evaluation(config.intervals), lineage=column_lineage.of_evaluation(config)
        ),
    )
    def fleet_evaluation(
        context: dg.AssetExecutionContext,
        configuration: ConfigurationResource,
        lake: LakeResource,
        spark: SparkResource,
        registry: RegistryResource,
    ) -> dg.MaterializeResult[Any]:
        store, releases = lake.vend(), registry.vend(config.name)
        inputs, judged = spark.panel_inputs(store, configuration.contracts(), config), None
        for as_of in complete_days_in(context, store, inputs.target):
            judged = judge_candidate(Candidate(store, releases, catalogue_as_of(inputs, as_of), config, as_of))
            context.log.info(f"judged as of {as_of}: weighted RMSSE {judged.fleet('challenger').get('weighted_rmsse')}")
        return materialized(context, _evaluation_metadata(store, judged) if judged else {"reason": NOTHING_DUE})

    return fleet_evaluation


def _fleet_metadata(lake: Lake, report: TrainingReport, config: ForecastConfig) -> dict[str, Any]:
    rows = lake.read(CANDIDATE_FLEET.name, ["as_of", "family", "state"])
    judged = lake.read(JUDGED_FOLD, where=pc.field("as_of") == pa.scalar(report.as_of, pa.date32()))
    newest = rows.filter(pc.equal(rows["as_of"], pa.scalar(report.as_of, pa.date32())))
    return table_metadata(
        lake,
        CANDIDATE_FLEET.name,
        as_of=report.as_of.isoformat(),
        unchanged=report.unchanged,
        series_by_state=counts(report.states),
        winners=picture(plots.winners(newest)),
        coverage=picture(plots.coverage(rows)),
        selection=dg.MetadataValue.json(dict(report.strategies)) if report.strategies else "as before",
        calibration=calibration(judged_calibration(judged, config)),
        nested_weighted_rmsse=dg.MetadataValue.json(dict(report.scores)),
        seconds=dg.MetadataValue.json(dict(report.seconds)),
    )


def _evaluation_metadata(lake: Lake, judged: Evaluation) -> dict[str, Any]:
    row = judged.fleet("challenger")
    figures = {
        name: float(str(row[name]))
        for name in ("weighted_rmsse", "wape", "wape_week", "bias")
        if row.get(name) is not None
    }
    champion = judged.champion.release_id if judged.champion else "none before this day: the floor alone judges"
    return table_metadata(
        lake,
        FLEET_EVALUATION,
        champion=champion,
        **figures,
        error_by_segment=picture(plots.error_by_segment(judged.table)),
    )
