"""Sensors: everything that decides when - jobs, schedules, sensors, and how a run is started.

Belongs here: one module per trigger, and `build_triggers`. Does not belong here: what a run makes (assets).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from ml_platform.contracts import Contracts
from ml_platform.forecasting import ForecastConfig
from ml_platform.pull import pulled
from ml_platform.settings import Settings
from sensors.alerts import run_failures
from sensors.data_drops import data_drops
from sensors.erasure_job import erasure_job
from sensors.freshness import silent_feeds
from sensors.jobs import build_jobs
from sensors.pulls import pull_job, pulls
from sensors.quarantine_job import quarantine_job
from sensors.release_jobs import release_job, rollback_job
from sensors.requests import approved_releases
from sensors.retention_job import daily_retention, retention_job
from sensors.retraining import retraining_needs
from sensors.schedules import daily_retraining, daily_update


@dataclass(frozen=True)
class Triggers:
    """What Definitions takes beside assets and resources."""

    jobs: Sequence[Any]
    schedules: Sequence[dg.ScheduleDefinition]
    sensors: Sequence[dg.SensorDefinition]


def build_triggers(settings: Settings, contracts: Contracts, config: ForecastConfig) -> Triggers:
    """Jobs, schedules and sensors of one fleet; all but the one that removes things and the one that updates run by default."""
    jobs, retention = build_jobs(contracts), retention_job()
    pulling = bool(pulled(contracts))  # most homes have files alone
    return Triggers(
        [
            *jobs.values(),
            quarantine_job(),
            erasure_job(),
            retention,
            release_job(),
            rollback_job(),
            *([pull_job(settings)] if pulling else []),
        ],
        [
            daily_retraining(jobs["retrain"], settings, contracts),
            daily_update(jobs["update"], settings, contracts),
            daily_retention(retention, contracts),
        ],
        [
            data_drops(jobs["score"], settings, contracts),
            silent_feeds(settings, contracts),
            approved_releases(settings, config.name),
            retraining_needs(jobs["retrain"], settings, contracts, config),
            run_failures(settings),
            *([pulls(contracts)] if pulling else []),
        ],
    )
