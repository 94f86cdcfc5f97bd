"""Silver: one asset per source, generated from its contract.

Belongs here: wiring bronze to preparation. Does not belong here: fates of rows (ml_platform.preparation).
"""

from typing import Any

import dagster as dg

from assets import column_lineage
from assets.metadata import (
    Events,
    check_specs,
    counts,
    guarded,
    open_refusals,
    picture,
    table_definition,
    table_metadata,
)
from assets.partitions import POLICY
from ml_platform import plots_drops
from ml_platform.accounts import fates_of
from ml_platform.contracts import Contracts, SourceContract
from ml_platform.lake import ledger
from ml_platform.preparation import CHECKS, Preparation, PreparationReport, silver_spec
from resources.configuration import ConfigurationResource
from resources.lake import LakeResource
from resources.spark import SparkResource


def silver_asset(
    source: SourceContract, contracts: Contracts, days: dg.DailyPartitionsDefinition
) -> dg.AssetsDefinition:
    """`<source>_history` for rows that happened on a day; `<source>_current` or `<source>_history` without days for the others."""
    daily = source.time is not None
    spec = silver_spec(source, contracts)

    @dg.asset(
        name=source.silver,
        deps=[source.bronze, *(contracts[lookup.source].silver for lookup in source.lookups)],
        group_name="silver",
        owners=[source.owner],
        kinds={"deltalake", "spark"},
        description=f"{source.description} Typed, keyed, deduplicated; every row that is not here has a counted fate.",
        partitions_def=days if daily else None,
        backfill_policy=POLICY if daily else None,
        check_specs=check_specs(source.silver, CHECKS),
        metadata=table_definition(
            spec,
            {name: column.description for name, column in source.columns.items()},
            column_lineage.of_silver(source, contracts),
        ),
    )
    def silver(
        context: dg.AssetExecutionContext,
        configuration: ConfigurationResource,
        lake: LakeResource,
        spark: SparkResource,
    ) -> Events:
        store, declared = lake.vend(), configuration.contracts()
        series = configuration.forecast().series
        preparation = spark.preparation(store, declared, declared[source.name], context.log.info, series)
        yield from guarded(context, preparation.run, CHECKS, lambda report: _metadata(preparation, report))

    return silver


def _metadata(preparation: Preparation, report: PreparationReport) -> dict[str, Any]:
    lake, source = preparation.lake, preparation.contract.name
    found = {
        "months_made_anew": ", ".join(report.months) or "none: nothing had changed",
        "rows_by_fate": counts(report.fates),
        "open_refusals": open_refusals(lake, source, "silver"),
    }
    if report.months:
        balance = plots_drops.fate_balance(ledger.table_of(lake, source), fates_of(lake, source))
        found["balance_of_rows"] = picture(balance)
    return table_metadata(lake, preparation.spec.name, **found)
