"""Bronze: one asset per source, generated from its contract.

Belongs here: wiring drops to ingestion. Does not belong here: what becomes of a drop (ml_platform.ingestion).
"""

from collections import Counter
from functools import cache
from typing import Any

import dagster as dg

from assets.metadata import (
    Events,
    check_specs,
    counts,
    guarded,
    open_refusals,
    picture,
    table_definition,
    table_metadata,
    warning_specs,
)
from assets.partitions import POLICY, days_in
from ml_platform import drop_warnings, plots_drops
from ml_platform.contracts import SourceContract
from ml_platform.drop_warnings import DropHistory, read_history
from ml_platform.ingestion import CHECKS, Ingestion, IngestionReport
from ml_platform.lake import ledger
from resources.configuration import ConfigurationResource
from resources.erasure import eraser_of
from resources.lake import LakeResource
from resources.landing import LandingResource
from resources.spark import SparkResource


def bronze_asset(
    source: SourceContract, days: dg.DailyPartitionsDefinition, *, zeros: bool = False
) -> dg.AssetsDefinition:
    """`raw_<source>`: rows as landed, with the ledger rows of their drops in the same commit.

    `zeros`: whether a day without a file counts as observed zeros.
    """
    daily = source.kind == "events"

    @dg.asset(
        name=source.bronze,
        group_name="bronze",
        owners=[source.owner],
        kinds={"deltalake", source.format.type},
        description=f"{source.description} Rows as landed, with drop, row number and time of ingestion.",
        partitions_def=days if daily else None,
        backfill_policy=POLICY if daily else None,
        check_specs=[*check_specs(source.bronze, CHECKS), *warning_specs(source.bronze, drop_warnings.CHECKS)],
        metadata=table_definition(
            source.bronze_spec, {name: column.description for name, column in source.columns.items()}
        ),
    )
    def bronze(
        context: dg.AssetExecutionContext,
        configuration: ConfigurationResource,
        landing: LandingResource,
        lake: LakeResource,
        spark: SparkResource,
    ) -> Events:
        contract, store = configuration.contracts()[source.name], lake.vend()
        eraser_of(store, configuration, landing, spark, context.run.run_id, context.log.info).complete(source.name)
        ingestion = landing.ingestion(store, contract, context.run.run_id, spark.suite_rows, context.log.info)
        history = cache(lambda: read_history(store, contract, ingestion.calendar, zeros=zeros))
        asked = days_in(context) if daily else [ingestion.calendar.first, ingestion.calendar.last]
        yield from guarded(
            context,
            lambda: ingestion.run(ingestion.due(asked[0], asked[-1])),
            CHECKS,
            lambda report: _metadata(ingestion, report, history()),
            lambda report: history().checks({row.drop_day for row in report.rows}),
        )

    return bronze


def _metadata(ingestion: Ingestion, report: IngestionReport, history: DropHistory) -> dict[str, Any]:
    lake, source = ingestion.lake, ingestion.contract
    refused = [f"{row.path}: {row.reason}" for row in report.rows if row.state == ledger.QUARANTINED]
    found = {
        "drops_settled": len(report.rows),
        "drops_by_state": counts(Counter(row.state for row in report.rows)),
        **{
            name: report.total(name)
            for name in ("rows_in", "rows_loaded", "rows_quarantined", "rows_duplicate", "rows_erased")
        },
        "files_left": dg.MetadataValue.md(
            "\n".join(f"- {one.path} ({one.reason}): {one.words}" for one in report.left[:50]) or "none"
        ),
        "files_left_count": len(report.left),
        "refused_files": dg.MetadataValue.md("\n".join(f"- {line}" for line in refused[:50]) or "none"),
        "open_refusals": open_refusals(lake, source.name, "bronze"),
    }
    if report.rows:
        found["drops_per_day"] = picture(plots_drops.drops_per_day(ledger.table_of(lake, source.name), history))
    return table_metadata(lake, source.bronze_spec.name, **found)
