"""The sensor on requests: an approved release is carried on, one that waits is shown, one that nobody answered lapses.

Belongs here: when the job `release` runs for an approved request. Does not belong here: carrying it (sensors.release_jobs, ml_platform.approvals).
"""

import json

import dagster as dg

from assets.metadata import REASON_TAG
from ml_platform.approvals import APPROVED, PENDING, Request, lapse, requests
from ml_platform.environments import Environment
from ml_platform.settings import Settings
from sensors.data_drops import ATTEMPTS, UNFINISHED
from sensors.release_jobs import request_metadata

REQUEST_TAG = "ml_platform/release_request"


def approved_releases(settings: Settings, model: str) -> dg.SensorDefinition:
    """Looks at the requests of this environment; runs by default where releases are received."""
    receives = settings.environment != "dev"

    @dg.sensor(
        job_name="release",
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING if receives else dg.DefaultSensorStatus.STOPPED,
        description="Carries an approved release on into this environment; shows what waits as observations of promoted_release, and lets requests lapse.",
    )
    def approved_releases(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if not receives:
            return dg.SkipReason("releases of dev are trained here, nobody asks for them")
        here = Environment.open(settings, settings.environment, model)
        for one in lapse(here):
            context.log.info(
                "the request for release %s lapsed: nobody answered until %s", one.release_id, one.expires_at
            )
        found = requests(here)
        asked = [_carried_on(one) for one in found if one.state == APPROVED and _may_try(context, one)]
        waiting = json.dumps({one.request_id: len(one.approved_by) for one in found if one.state == PENDING})
        seen = waiting == (context.cursor or "{}")
        events = [] if seen else [_observed(one) for one in found if one.state == PENDING]
        if not (asked or events):
            why = f"{len(json.loads(waiting))} requests wait for approval, none is approved and not carried on"
            return dg.SensorResult(skip_reason=why, cursor=waiting)
        return dg.SensorResult(run_requests=asked, asset_events=events, cursor=waiting)

    return approved_releases


def _may_try(context: dg.SensorEvaluationContext, one: Request) -> bool:
    """Whether no run is at work on a request, and not too many have failed."""
    runs = context.instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: one.request_id}), limit=ATTEMPTS)
    return len(runs) < ATTEMPTS and not any(run.status in UNFINISHED for run in runs)


def _carried_on(one: Request) -> dg.RunRequest:
    # no run key: a run that failed would block it for ever
    config = {"action": "promote", "release": one.release_id, "by": one.asked_by, "reason": one.reason}
    return dg.RunRequest(
        run_key=None,
        run_config={"ops": {"decide_release": {"config": config}}},
        tags={REQUEST_TAG: one.request_id, REASON_TAG: f"release {one.release_id} was approved"},
    )


def _observed(one: Request) -> dg.AssetObservation:
    return dg.AssetObservation(
        "promoted_release",
        description=f"release {one.release_id} waits for approval",
        metadata=request_metadata(one),
        partition=one.as_of.isoformat(),
    )
