"""Schedules, in data time: a day is retrained, or updated, when its data are complete, whatever the clock says.

Belongs here: the daily retraining and the daily update. Does not belong here: training and updating (assets).
"""

from datetime import date
from typing import Any

import dagster as dg
import pyarrow.compute as pc

from assets.metadata import REASON_TAG
from ml_platform.backlog import complete_days
from ml_platform.contracts import Contracts
from ml_platform.gate.update import BY_UPDATE
from ml_platform.lake import Lake
from ml_platform.lake.names import PROMOTED_RELEASE
from ml_platform.registry import champion_as_of
from ml_platform.settings import Settings
from sensors.retraining import trained_elsewhere


def daily_retraining(job: Any, settings: Settings, contracts: Contracts) -> dg.ScheduleDefinition:
    """Every morning: the newest complete day that has no judged release yet, or the reason why there is none."""

    @dg.schedule(
        job=job,
        cron_schedule="0 5 * * *",
        execution_timezone=_zone(contracts),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Retrains on the newest complete day of the ledger whose fleet has not been judged yet.",
    )
    def daily_retraining() -> dg.RunRequest | dg.SkipReason:
        if skipped := trained_elsewhere(settings):
            return skipped
        lake = Lake(settings.lake)
        day = _newest_day(lake, settings, contracts)
        if isinstance(day, dg.SkipReason):
            return day
        # a fleet that the gate stopped has its row there, too; one that took the day in without training is no reason to leave it at that
        if lake.count(PROMOTED_RELEASE, (pc.field("as_of") == day) & (pc.field("approved_by") != BY_UPDATE)):
            return dg.SkipReason(f"the newest complete day, {day}, has its release")
        why = {REASON_TAG: f"the schedule: {day} is complete and has no verdict"}
        return dg.RunRequest(run_key=None, partition_key=day.isoformat(), tags=why)

    return daily_retraining


def daily_update(job: Any, settings: Settings, contracts: Contracts) -> dg.ScheduleDefinition:
    """For homes that train less often than daily: the newest complete day that has no release yet, or the reason why there is none."""

    @dg.schedule(
        job=job,
        cron_schedule="30 4 * * *",
        execution_timezone=_zone(contracts),
        description="Off until you switch it on, for days between trainings: the champion's fleet takes in the newest complete day, without training.",
    )
    def daily_update() -> dg.RunRequest | dg.SkipReason:
        lake = Lake(settings.lake)
        day = _newest_day(lake, settings, contracts)
        if isinstance(day, dg.SkipReason):
            return day
        if champion_as_of(lake, day, same_day=False) is None:
            return dg.SkipReason(f"no release older than {day} is promoted: train first, `ml-platform run retrain`")
        if lake.count(PROMOTED_RELEASE, pc.field("as_of") == day):
            return dg.SkipReason(f"the newest complete day, {day}, has its release")
        return dg.RunRequest(run_key=None, partition_key=day.isoformat())

    return daily_update


def _zone(contracts: Contracts) -> str:
    """The time zone of business days."""
    return contracts.target.time.business_timezone if contracts.target.time else "UTC"


def _newest_day(lake: Lake, settings: Settings, contracts: Contracts) -> date | dg.SkipReason:
    """The newest complete day of the target's source, or that there is none."""
    days = complete_days(lake, contracts.target, settings.calendar)
    return days[-1] if days else dg.SkipReason(f"no day of source '{contracts.target.name}' is complete")
