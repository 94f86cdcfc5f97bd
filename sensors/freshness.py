"""The sensor on silence: a feed from which nothing comes starts no run, so that no run can say that it is late.

Belongs here: telling the UI when what is missing or late has changed. Does not belong here: judging it (ml_platform.drop_warnings).
"""

import json

import dagster as dg

from ml_platform.checks import CheckResult
from ml_platform.contracts import Contracts
from ml_platform.drop_warnings import FRESH, read_history
from ml_platform.forecasting import load_config
from ml_platform.lake import Lake
from ml_platform.settings import Settings

SECONDS = 900


def silent_feeds(settings: Settings, contracts: Contracts) -> dg.SensorDefinition:
    """Renews the check `freshness` of a bronze asset whenever it would say something else than before."""

    @dg.sensor(
        name="silent_feeds",
        minimum_interval_seconds=SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="A day that should have come and has not becomes a warning on its bronze asset, although no run looks at it.",
    )
    def silent_feeds(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        said: dict[str, str] = json.loads(context.cursor or "{}")
        found = {source: _freshness(settings, contracts, source) for source in _judged(contracts)}
        news = {name: one for name, one in found.items() if _is_news(one, said.get(name))}
        if not news:
            return dg.SkipReason("no feed is later, or less late, than at the last look")
        cursor = said | {name: one.description for name, one in news.items()}
        return dg.SensorResult(
            asset_events=[_evaluation(contracts[name].bronze, one) for name, one in news.items()],
            cursor=json.dumps(cursor),
        )

    return silent_feeds


def _is_news(one: CheckResult, said: str | None) -> bool:
    """Whether a result differs from what was said; a source that was always fine has nothing to take back."""
    return not one.passed if said is None else one.description != said


def _judged(contracts: Contracts) -> list[str]:
    return [source.name for source in contracts.sources if source.kind == "events" and source.expect.warn]


def _freshness(settings: Settings, contracts: Contracts, name: str) -> CheckResult:
    source = contracts[name]
    zeros = source.panel.target and load_config(settings.configs / "forecast.yaml").missing == "zero"
    checks = read_history(Lake(settings.lake), source, settings.calendar, zeros=zeros).checks()
    return next(one for one in checks if one.name == FRESH)


def _evaluation(asset: str, one: CheckResult) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(asset),
        check_name=one.name,
        passed=one.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=one.description,
        metadata=dict(one.figures),
        blocking=False,
    )
