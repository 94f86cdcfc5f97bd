"""What an asset shows of itself: schema, rows, version, checks, pictures.

Belongs here: turning plain results into Dagster's metadata and check results. Does not belong here: computing them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import dagster as dg
import pandas as pd
import pyarrow as pa

from ml_platform.checks import Blocked, CheckResult
from ml_platform.lake import Lake, TableSpec
from ml_platform.status import refusals_at

FORECASTING = "team:forecasting"
REASON_TAG = "ml_platform/reason"  # of a run: why it was asked for
LINEAGE = "dagster/column_lineage"
SHOWN_RULES = 10
SHOWN_STEPS = 31


class Report(Protocol):
    """What a guarded stage returns: its checks, empty where nothing had changed."""

    @property
    def checks(self) -> tuple[CheckResult, ...]: ...


R = TypeVar("R", bound=Report)
Events = Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]


OWN_COLUMNS = {
    "drop_id": "Version of the landed file that the row came with",
    "drop_day": "Business day in the file's path, else the day of its arrival",
    "row_number": "Place in the file, from its header on",
    "ingested_at": "When the row was brought to bronze",
    "_rescued": "Values of columns that the contract does not know, as JSON",
    "month": "Month of the date, by which the table is partitioned",
    "series_id": "Identity of the series: a hash of its key",
    "shard": "Hash bucket of the series, the unit of parallel work",
    "as_of": "Last business day whose data were seen",
    "release_id": "Release that made the row",
    "step": "Steps after the as-of day",
}


def column_schema(
    schema: pa.Schema, descriptions: Mapping[str, str] | None = None, lineage: dg.TableColumnLineage | None = None
) -> dg.TableSchema:
    """An Arrow schema as Dagster shows it. Each column says where it comes from: the open-source UI draws no graph of columns."""
    known, origins = {**OWN_COLUMNS, **(descriptions or {})}, lineage.deps_by_column if lineage else {}
    return dg.TableSchema(
        [
            dg.TableColumn(field.name, str(field.type), _described(known.get(field.name), origins.get(field.name, ())))
            for field in schema
        ]
    )


def _described(text: str | None, origins: Sequence[dg.TableColumnDep]) -> str | None:
    """What a column means, and the columns that it comes from."""
    found = ", ".join(f"{one.asset_key.to_user_string()}.{one.column_name}" for one in origins)
    words = [text.rstrip(".")] if text else []
    return ". ".join([*words, f"From {found}"]) if found else text


def table_definition(
    spec: TableSpec, descriptions: Mapping[str, str] | None = None, lineage: dg.TableColumnLineage | None = None
) -> dict[str, Any]:
    """Metadata of an asset's definition: the table it is, its columns, and the columns that they come from."""
    found: dict[str, Any] = {
        "dagster/table_name": spec.name.replace("/", "."),
        "dagster/column_schema": column_schema(spec.schema, descriptions, lineage),
    }
    return found | ({LINEAGE: lineage} if lineage else {})


def table_metadata(lake: Lake, name: str, **more: Any) -> dict[str, Any]:
    """Metadata of a materialization: all rows of the table, its version and place, and whatever else is worth seeing."""
    found: dict[str, Any] = {
        "dagster/row_count": lake.count(name),
        "dagster/uri": lake.uri(name),
        "table_version": lake.version(name) or 0,
    }
    return {**found, **more}


def picture(markdown: str) -> dg.MarkdownMetadataValue:
    """A plot of ml_platform.plots as metadata."""
    return dg.MetadataValue.md(markdown)


def calibration(found: pd.DataFrame) -> dg.MarkdownMetadataValue:
    """Nominal against actual coverage of all rows, of the classes of level and of the steps, where these are few."""
    shown = found[
        (found["by"] != "step") | (found["by"].eq("step").groupby(found["nominal"]).transform("sum") <= SHOWN_STEPS)
    ]
    lines = [
        f"| {'all' if one.by == 'all' else f'{one.by} {one.group}'} | {one.nominal} % | {one.covered:.1%} | {one.below:.1%} | {one.above:.1%} | {one.rows:,} |"
        for one in shown.itertuples()
    ]
    head = ["| rows | interval | held | below it | above it | counted |", "|---|---|---|---|---|---|"]
    return dg.MetadataValue.md("\n".join([*head, *lines]) if lines else "no fold judges: the history is too short")


def counts(values: Mapping[str, int]) -> dg.TableMetadataValue:
    """Counts as a table with the columns what and rows; it may be empty."""
    records = [dg.TableRecord({"what": what, "rows": rows}) for what, rows in values.items()]
    return dg.MetadataValue.table(
        records, dg.TableSchema([dg.TableColumn("what", "string"), dg.TableColumn("rows", "int")])
    )


def open_refusals(lake: Lake, source: str, stage: str) -> dg.MarkdownMetadataValue:
    """Undecided refusals of a stage by rule, with the command that lists them; values of rows stay out of the UI."""
    found = refusals_at(lake, source, stage)
    lines = [
        f"| {one.rule} | {one.count:,} | `ml-platform quarantine list --source {source} --rule {one.rule}` |"
        for one in found[:SHOWN_RULES]
    ]
    more = [f"\nand {len(found) - SHOWN_RULES} more rules"] if len(found) > SHOWN_RULES else []
    head = ["| rule | open | look at them |", "|---|---|---|"]
    return dg.MetadataValue.md("\n".join([*head, *lines, *more]) if found else "none")


def check_specs(asset: str, names: Sequence[str]) -> list[dg.AssetCheckSpec]:
    """Blocking checks that run on staged data inside the asset, before its commit."""
    return [dg.AssetCheckSpec(name, asset=asset, blocking=True, description=CHECK_TEXTS[name]) for name in names]


def warning_specs(asset: str, names: Sequence[str]) -> list[dg.AssetCheckSpec]:
    """Checks that warn about what was committed and stop nothing."""
    return [dg.AssetCheckSpec(name, asset=asset, description=WARNING_TEXTS[name]) for name in names]


def materialized(context: dg.AssetExecutionContext, metadata: Mapping[str, Any]) -> dg.MaterializeResult[Any]:
    """The materialization with its metadata; in a run over many days the pictures lie in one observation, not in a copy per day."""
    plain = dict(metadata)
    if context.has_partition_key_range and len(context.partition_keys) > 1:
        pictures = {
            name: plain.pop(name) for name, value in metadata.items() if isinstance(value, dg.MarkdownMetadataValue)
        }
        if pictures:
            context.log_event(dg.AssetObservation(context.asset_key, metadata=pictures))
    return dg.MaterializeResult(metadata=with_lineage(context, plain))


def with_lineage(context: dg.AssetExecutionContext, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata of a materialization with the lineage that its definition names: the UI looks for it there."""
    declared = context.assets_def.metadata_by_key.get(context.asset_key, {}).get(LINEAGE)
    return {**metadata, **({LINEAGE: declared} if declared else {})}


def guarded(
    context: dg.AssetExecutionContext,
    run: Callable[[], R],
    names: Sequence[str],
    describe: Callable[[R], Mapping[str, Any]],
    warn: Callable[[R], Iterable[CheckResult]] = lambda report: (),
) -> Events:
    """Run a stage that checks before it commits: record every check, then materialize, or fail where one blocked the commit.

    `warn`: results of the checks that look at what was committed; they never fail a run.
    """
    try:
        report = run()
    except Blocked as why:
        done = {result.name for result in why.results}
        yield from (_check_result(result) for result in why.results)
        yield from (_not_reached(name) for name in names if name not in done)
        raise dg.Failure(str(why), metadata={"nothing_was_committed": True}) from None
    unchanged = [
        CheckResult(name, True, "nothing has changed since the last commit, whose check holds") for name in names
    ]
    yield from (_check_result(result) for result in report.checks or unchanged)
    yield from (_check_result(result, dg.AssetCheckSeverity.WARN) for result in warn(report))
    yield materialized(context, describe(report))


def _check_result(
    result: CheckResult, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=result.name,
        passed=result.passed,
        severity=severity,
        description=result.description,
        metadata=dict(result.figures),
    )


def _not_reached(name: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name, passed=False, description="not reached: another check blocked the commit"
    )


CHECK_TEXTS = {
    "row_balance": "Rows in = loaded + quarantined + duplicate + erased, for every drop.",
    "row_fates": "Every row that came in has exactly one fate.",
    "unique_key": "The key occurs once.",
    "complete_calendar": "Every series has a row for every step from its first one on.",
    "target_balance": "The panel's target adds up to what its history holds.",
    "no_future_target": "No row after the as-of day has a target.",
    "reader_version": "The table can be read by every reader (Delta reader version 1).",
    "expectations": "A Great Expectations suite, generated from the contract, on a sample of the staged rows.",
    "coverage": "Every expected series is accounted for, with a reason where it has no model of its own.",
}

WARNING_TEXTS = {
    "usual_rows": "The rows of a drop day lie in the range that is usual for its weekday.",
    "usual_refusals": "No larger share of a day's rows is quarantined or duplicate than usual.",
    "usual_files": "A day has as many files as usual, and its rows as many bytes.",
    "freshness": "Days come when they usually come, and none that should be there is missing.",
}
