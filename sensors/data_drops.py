"""The sensor on new drops: what lands is brought to forecasts without a click.

Belongs here: which drops are due, as one run per batch, and patience after a failure. Does not belong here: deciding a drop's
fate; the ledger remembers, not the run key (a failed first run would block a run key for ever).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from itertools import islice
from typing import Any

import dagster as dg

from ml_platform.contracts import Contracts
from ml_platform.ingestion import Ingestion
from ml_platform.lake import Lake, ledger
from ml_platform.landing import Drop
from ml_platform.settings import Settings
from sensors.jobs import range_tags

MAX_DROPS = 5000
ATTEMPTS = 3
BATCH_TAG = "ml_platform/batch"
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


@dataclass(frozen=True)
class Cursor:
    """The batch that was asked for last, and how often."""

    batch: str = ""
    attempts: int = 0

    @classmethod
    def read(cls, text: str | None) -> "Cursor":
        return cls(**json.loads(text)) if text else cls()

    def text(self) -> str:
        return json.dumps(asdict(self))

    def asked(self, batch: str) -> "Cursor":
        return replace(self, attempts=self.attempts + 1) if batch == self.batch else Cursor(batch, 1)


def data_drops(job: Any, settings: Settings, contracts: Contracts) -> dg.SensorDefinition:
    """Looks at the landing folder and the ledger; at most `MAX_DROPS` drops become one run request."""

    @dg.sensor(
        job=job,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="New files under landing/ become one run per batch: bronze, silver, panel, forecasts by the champion, marts.",
    )
    def data_drops(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        if context.instance.get_runs_count(dg.RunsFilter(job_name=job.name, statuses=UNFINISHED)):
            return dg.SkipReason("a run with earlier drops is still at work: what landed since then comes after it")
        due = due_drops(settings, contracts)
        if not due:
            return dg.SkipReason("every file under landing/ is in the ledger")
        cursor = Cursor.read(context.cursor).asked(batch_of(due))
        if cursor.attempts > ATTEMPTS:
            return dg.SkipReason(
                f"{len(due)} drops failed {ATTEMPTS} times and wait for new files or a manual run of `{job.name}`: see the alerts"
            )
        first, last = days_of(due, settings, contracts)
        run_key = f"{cursor.batch}-{cursor.attempts}-{context.instance.get_runs_count(dg.RunsFilter(tags={BATCH_TAG: cursor.batch}))}"
        tags = {
            **range_tags(first.isoformat(), last.isoformat()),
            BATCH_TAG: cursor.batch,
            "ml_platform/drops": str(len(due)),
        }
        return dg.SensorResult([dg.RunRequest(run_key=run_key, tags=tags)], cursor=cursor.text())

    return data_drops


def due_drops(settings: Settings, contracts: Contracts) -> list[Drop]:
    """Drops that the ledger does not know, oldest first, at most MAX_DROPS."""
    lake, calendar = Lake(settings.lake), (settings.first_day, settings.last_day or date.max)
    pending = (
        Ingestion(lake, settings.landing, source, run_id="").due(*calendar, calendar) for source in contracts.sources
    )
    return list(islice((drop for drops in pending for drop in drops), MAX_DROPS))


def batch_of(drops: Sequence[Drop]) -> str:
    """A name for a set of drops, the same for the same set."""
    return hashlib.sha256("|".join(sorted(drop.drop_id for drop in drops)).encode()).hexdigest()[:16]


def days_of(drops: Sequence[Drop], settings: Settings, contracts: Contracts) -> tuple[date, date]:
    """Days of the run: from the first drop day to the newest day that will be complete, inside the calendar.

    Drops without a day in their name, and snapshots, come along with any day.
    """
    target = contracts.target
    complete = ledger.complete_days(Lake(settings.lake), target.name, target.drops_per_day)
    last_day = settings.last_day or date.max
    dated = [
        drop.day
        for drop in drops
        if drop.named and settings.first_day <= drop.day <= last_day and contracts[drop.source].kind == "events"
    ]
    newest = max(
        [*(drop.day for drop in drops if drop.source == target.name and drop.day in dated), *complete[-1:]],
        default=None,
    )
    days = [*dated, *([newest] if newest else [])] or [settings.first_day]
    return min(days), max(days)
