"""The release: a candidate fleet is sealed, passes the gate or does not, and may become champion.

Belongs here: wiring evaluation to release and promotion. Does not belong here: rules (ml_platform.gate), sealing (ml_platform.registry).
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import dagster as dg

from assets import column_lineage
from assets.metadata import FORECASTING, counts, materialized, table_definition, table_metadata
from assets.partitions import POLICY, complete_days_in
from assets.training import NOTHING_DUE
from ml_platform.candidates import Candidate
from ml_platform.catalogue import catalogue_as_of
from ml_platform.forecasting import ForecastConfig
from ml_platform.gate import Decision, explain_day
from ml_platform.gate.rules import RULES, TEXTS
from ml_platform.lake import Lake
from ml_platform.lake.schemas import PROMOTED_RELEASE
from ml_platform.promotion import Promotion, release_candidate
from ml_platform.training import train_fleet
from resources.compute import ComputeResource
from resources.configuration import ConfigurationResource
from resources.lake import LakeResource
from resources.registry import RegistryResource
from resources.spark import SparkResource

ASSET = "promoted_release"


def promotion_assets(config: ForecastConfig, days: dg.DailyPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """`promoted_release`, partitioned by as-of day, with a check for every rule of the gate."""

    @dg.asset(
        name=ASSET,
        deps=["fleet_evaluation", "updated_fleet"],
        group_name="fleet",
        owners=[FORECASTING],
        kinds={"deltalake", "mlflow"},
        description="The sealed release of the day's fleet, every rule of the gate with value and limit, and who or what decided; only here the champion changes.",
        partitions_def=days,
        backfill_policy=POLICY,
        metadata=table_definition(PROMOTED_RELEASE, lineage=column_lineage.of_release()),
        check_specs=[dg.AssetCheckSpec(name, asset=ASSET, description=TEXTS[name]) for name in RULES],
    )
    def promoted_release(
        context: dg.AssetExecutionContext,
        configuration: ConfigurationResource,
        lake: LakeResource,
        spark: SparkResource,
        compute: ComputeResource,
        registry: RegistryResource,
    ) -> Iterator[dg.MaterializeResult[Any] | dg.AssetCheckResult]:
        store, gate = lake.vend(), configuration.gate()
        releases = registry.vend(config.name, context.run)
        inputs, made = spark.panel_inputs(store, configuration.contracts(), config), None
        for as_of in complete_days_in(context, store, inputs.target):
            catalogue, jobs = catalogue_as_of(inputs, as_of), compute.vend(context.log.info)
            retrain = partial(train_fleet, store, catalogue, config, as_of, jobs, keep=True)
            made = release_candidate(Candidate(store, releases, catalogue, config, as_of), gate, retrain=retrain)
            for words in _sentences(made):
                context.log.info(words)
        yield from (_checks(made.decision) if made else _nothing_due())
        if made is None:
            yield materialized(context, {"reason": NOTHING_DUE})
            return
        yield materialized(context, _metadata(store, made, registry.link(releases, made.release.release_id)))

    return [promoted_release]


def _sentences(made: Promotion) -> Iterator[str]:
    if made.instead_of is not None:
        yield f"the new recipe was {made.instead_of.summary}; the champion's choice was fitted anew in its place"
    yield f"release {made.release.release_id}: {made.decision.summary}"


def _checks(decision: Decision) -> Iterator[dg.AssetCheckResult]:
    """One result per rule: a rule that does not block is a warning, one that is not of this kind of fleet is not asked."""
    known = {rule.name: rule for rule in decision.rules}
    for name in RULES:
        rule = known.get(name)
        if rule is None:
            words = f"not asked of a fleet of this kind ({decision.kind})"
            yield dg.AssetCheckResult(check_name=name, passed=True, description=words)
            continue
        severity = dg.AssetCheckSeverity.ERROR if rule.blocks else dg.AssetCheckSeverity.WARN
        figures = {key: one for key, one in (("value", rule.value), ("limit", rule.limit)) if one is not None}
        yield dg.AssetCheckResult(
            check_name=name, passed=rule.passed, severity=severity, description=rule.explanation, metadata=figures
        )


def _nothing_due() -> Iterator[dg.AssetCheckResult]:
    return (dg.AssetCheckResult(check_name=name, passed=True, description=NOTHING_DUE) for name in RULES)


def _metadata(lake: Lake, made: Promotion, link: dg.MetadataValue[Any]) -> dict[str, Any]:
    release = made.release
    card = (release.folder / "card.md").read_text(encoding="utf-8")
    return table_metadata(
        lake,
        PROMOTED_RELEASE.name,
        release_id=release.release_id,
        release_folder=dg.MetadataValue.path(str(release.folder)),
        promoted=made.decision.promoted,
        kind=made.decision.kind,
        summary=made.decision.summary,
        rules=dg.MetadataValue.md(explain_day(made.decision, release.manifest.as_of)),
        series_by_state=counts(made.coverage.states),
        model_version=made.model_version,
        mlflow_run=link,
        model_card=dg.MetadataValue.md(card),
    )
