"""The sensor on needs: a training beside the schedule, where something has happened that asks for one.

Belongs here: when the job `retrain` runs for a need, and saying why. Does not belong here: the needs (ml_platform.retraining).
"""

from pathlib import Path
from typing import Any

import dagster as dg

from assets.metadata import REASON_TAG
from ml_platform.backlog import complete_days
from ml_platform.contracts import Contracts
from ml_platform.forecasting import ForecastConfig
from ml_platform.lake import Lake
from ml_platform.retraining import FILE, load_limits, needs
from ml_platform.settings import Settings
from sensors.data_drops import ATTEMPTS, UNFINISHED

NEED_TAG = "ml_platform/need"


def trained_elsewhere(settings: Settings) -> dg.SkipReason | None:
    """Why nothing is trained in an environment that receives its releases; None where it trains them."""
    if settings.environment == "dev":
        return None
    return dg.SkipReason(
        f"releases come to {settings.environment} from the environment before it: nothing is trained here"
    )


def retraining_needs(job: Any, settings: Settings, contracts: Contracts, config: ForecastConfig) -> dg.SensorDefinition:
    """Looks at what has happened since the champion was trained; one run at a time, and not more than a few for one day."""

    @dg.sensor(
        job=job,
        minimum_interval_seconds=max(settings.sensor_seconds, 60),
        default_status=dg.DefaultSensorStatus.RUNNING
        if settings.environment == "dev"
        else dg.DefaultSensorStatus.STOPPED,
        description="Retrains the newest complete day where new or corrected data, the champion's age or a failed rule ask for it; the run's tags say why.",
    )
    def retraining_needs(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if skipped := trained_elsewhere(settings):
            return skipped
        lake = Lake(settings.lake)
        days = complete_days(lake, contracts.target, settings.calendar)
        found = needs(lake, config, load_limits(Path(settings.configs) / FILE), days[-1]) if days else []
        if not found:
            return dg.SkipReason("nothing asks for a training")
        day = found[0].day.isoformat()
        why = "; ".join(one.why for one in found)
        runs = context.instance.get_runs(dg.RunsFilter(tags={NEED_TAG: day}), limit=ATTEMPTS)
        if context.instance.get_runs_count(dg.RunsFilter(statuses=UNFINISHED)):
            return dg.SkipReason(f"a run is at work; after it: {why}")
        if len(runs) >= ATTEMPTS:
            return dg.SkipReason(
                f"{day} was asked for {ATTEMPTS} times: {why}; look at its runs, then ml-platform run retrain"
            )
        tags = {NEED_TAG: day, REASON_TAG: why, "ml_platform/needs": ", ".join(one.name for one in found)}
        return dg.RunRequest(run_key=None, partition_key=day, tags=tags)

    return retraining_needs
