"""Alerts: a run that fails leaves a record that outlives the UI.

Belongs here: the run-failure sensor. Does not belong here: sending mail; whoever wants that reads ops/alerts.
"""

from datetime import UTC, datetime

import dagster as dg
import pyarrow as pa

from ml_platform.lake import Lake
from ml_platform.lake.schemas import ALERTS
from ml_platform.settings import Settings


def run_failures(settings: Settings) -> dg.SensorDefinition:
    """Writes a row of ops/alerts per failed run."""

    @dg.run_failure_sensor(
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=settings.sensor_seconds,
        description="A failed run becomes a row of ops/alerts: job, run, failed steps, message.",
    )
    def run_failures(context: dg.RunFailureSensorContext) -> None:
        steps = [event.step_key for event in context.get_step_failure_events() if event.step_key]
        row = {
            "raised_at": datetime.now(UTC),
            "job": context.dagster_run.job_name,
            "run_id": context.dagster_run.run_id,
            "steps": ", ".join(steps),
            "message": (context.failure_event.message or "")[:4000],
        }
        Lake(settings.lake).append(ALERTS, pa.Table.from_pylist([row], schema=ALERTS.schema))

    return run_failures
