"""Forecasts: the champion as of a day meets the panel of that day.

Belongs here: wiring releases and panel to scoring. Does not belong here: predicting (forecasting), covering (ml_platform.scoring).
"""

from datetime import date
from typing import Any

import dagster as dg

from assets import column_lineage
from assets.metadata import FORECASTING, Events, check_specs, counts, guarded, picture, table_definition, table_metadata
from assets.partitions import POLICY, complete_days_in, days_in
from assets.training import NOTHING_DUE
from ml_platform import plots
from ml_platform.catalogue import catalogue_as_of
from ml_platform.examples import example_forecasts, example_sums
from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import Lake
from ml_platform.scoring import CHECKS, ScoringReport, forecasts_spec, score, settled, sums_spec
from resources.configuration import ConfigurationResource
from resources.lake import LakeResource
from resources.registry import RegistryResource
from resources.spark import SparkResource

SUMS = "History and forecast of the total and the largest sums"

FORECAST_COLUMNS = {
    "date": "The date that is forecast",
    "mean": "Expected value; sums of it are expected sums",
    "point": "Best single number for the configured objective",
    "family": "Family with the greatest weight in the series' model",
}


def forecasts_asset(config: ForecastConfig, days: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    """`forecasts`, partitioned by as-of day; history is kept for ever."""
    spec = forecasts_spec(config)
    columns = FORECAST_COLUMNS | {
        f"{side}_{level}": f"{end} end of the central {level} % interval"
        for level in config.intervals
        for side, end in (("lo", "Lower"), ("hi", "Upper"))
    }

    @dg.asset(
        deps=["series_panel", "promoted_release"],
        group_name="forecasts",
        owners=[FORECASTING],
        kinds={"deltalake", "python"},
        description="Every series' steps after the as-of day: mean, point, intervals, release and family; sums of series that agree with them lie in "
        "gold/forecast_sums. Made by the champion as of that day, verified first.",
        partitions_def=days,
        backfill_policy=POLICY,
        check_specs=check_specs("forecasts", CHECKS),
        metadata=table_definition(spec, columns, column_lineage.of_forecasts(config)),
    )
    def forecasts(
        context: dg.AssetExecutionContext,
        configuration: ConfigurationResource,
        lake: LakeResource,
        spark: SparkResource,
        registry: RegistryResource,
    ) -> Events:
        store, releases = lake.vend(), registry.vend(config.name)
        inputs = spark.panel_inputs(store, configuration.contracts(), config)
        days_due = complete_days_in(context, store, inputs.target)

        def run() -> ScoringReport:
            report = ScoringReport(days_in(context)[-1], None, 0, written=False, reason=NOTHING_DUE)
            for as_of in days_due:
                report = settled(store, config, as_of) or score(
                    store, releases, catalogue_as_of(inputs, as_of), config, as_of
                )
                context.log.info(f"{as_of}: {report.reason or f'{report.rows} forecasts by {report.release_id}'}")
                if report.untrained:
                    context.log.warning(
                        f"no sums by {', '.join(report.untrained)}: {report.release_id} was trained without them"
                    )
            return report

        yield from guarded(context, run, CHECKS, lambda report: _metadata(store, config, report))

    return forecasts


def _metadata(lake: Lake, config: ForecastConfig, report: ScoringReport) -> dict[str, Any]:
    name = forecasts_spec(config).name
    if report.release_id is None:
        return {"as_of": report.as_of.isoformat(), "reason": report.reason or "", "rows": 0}
    return table_metadata(
        lake,
        name,
        as_of=report.as_of.isoformat(),
        release_id=report.release_id,
        rows=report.rows,
        written=report.written,
        series=counts(report.series),
        families=counts(report.families),
        examples=picture(plots.example_series(*example_forecasts(lake, config, report.as_of, report.release_id))),
        **_of_sums(lake, config, report.as_of, report.release_id, report),
    )


def _of_sums(lake: Lake, config: ForecastConfig, as_of: date, release_id: str, report: ScoringReport) -> dict[str, Any]:
    """What the day's forecasts of sums are like; nothing where the configuration asks for none."""
    if not config.sums:
        return {}
    missing = dict.fromkeys(report.untrained, 0)
    found: dict[str, Any] = {"sums": counts({**report.sums, **missing})}
    if report.sums:
        found["sums_version"] = lake.version(sums_spec(config).name) or 0
        found["example_sums"] = picture(
            plots.example_series(*example_sums(lake, config, as_of, release_id), title=SUMS)
        )
    return found
