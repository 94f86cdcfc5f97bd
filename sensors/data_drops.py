"""The sensor on new drops: what lands is brought to forecasts without a click.

Belongs here: which work is due, as one run per batch, and patience after a failure. Does not belong here: deciding a drop's
fate; the tables remember, not the run key (a failed first run would block a run key for ever).
"""

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import dagster as dg

from ml_platform import backlog
from ml_platform.contracts import Contracts
from ml_platform.lake import Lake
from ml_platform.landing import Drop, in_words
from ml_platform.settings import Settings
from ml_platform.warehouse import DuckDBWarehouse
from sensors.announced_drops import drained, look
from sensors.jobs import range_tags

ATTEMPTS = 3
BATCH_TAG = "ml_platform/batch"
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


@dataclass(frozen=True)
class Batch:
    """Work for one run: a name that is the same for the same work, its days, and what it is in words."""

    name: str
    days: tuple[date, date]
    what: str


@dataclass(frozen=True)
class Cursor:
    """Where the look at the landing folder goes on, how often each batch that is still due was asked for, and when the last full listing ended."""

    position: str = ""
    attempts: Mapping[str, int] = field(default_factory=dict)
    listed_at: float = 0.0

    @classmethod
    def read(cls, text: str | None) -> "Cursor":
        return cls(**json.loads(text)) if text else cls()

    def text(self) -> str:
        return json.dumps(asdict(self))

    def lists(self, settings: Settings) -> bool:
        """Whether this tick lists: always without events, else as a back-fill for events that were lost, until everything was seen."""
        since = time.time() - self.listed_at
        return not settings.events_queue_url or not 0 <= since < settings.listing_seconds

    def after(self, due: Sequence[Batch], asked: Batch | None, position: str, *, listed: bool) -> "Cursor":
        """The cursor once a batch was asked for; a look at everything forgets the attempts of what is no longer due."""
        everything = listed and not self.position and not position
        counts = {} if everything else dict(self.attempts)
        counts |= {one.name: self.attempts.get(one.name, 0) + (one == asked) for one in due}
        listed_at = time.time() if listed and not position else self.listed_at
        return Cursor(position, {name: count for name, count in counts.items() if count}, listed_at)


def data_drops(job: Any, settings: Settings, contracts: Contracts) -> dg.SensorDefinition:
    """Looks at the landing folder, the ledger and what is published; what is due becomes one run request at a time."""

    @dg.sensor(
        job=job,
        minimum_interval_seconds=settings.sensor_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="New files under landing/ become one run per batch: bronze, silver, panel, forecasts by the champion, marts. Complete days whose forecasts are missing are asked for again.",
    )
    def data_drops(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        lake = Lake(settings.lake)
        trouble = drained(context, lake, settings, contracts)
        if _at_work(context, job.name):
            return dg.SkipReason(
                f"a run with earlier drops is still at work: what landed since then comes after it{trouble}"
            )
        cursor = Cursor.read(context.cursor)
        lists = cursor.lists(settings)
        seen = look(lake, settings, contracts, cursor.position, lists=lists)
        due = list(due_batches(seen.drops, settings, contracts, quiet=not _at_work(context)))
        asked = next((one for one in due if cursor.attempts.get(one.name, 0) < ATTEMPTS), None)
        after = cursor.after(due, asked, seen.position, listed=lists).text()
        if asked is None:
            return dg.SensorResult(skip_reason=_why(due, seen, job.name, lists=lists) + trouble, cursor=after)
        return dg.SensorResult([_request(context, asked, cursor.attempts.get(asked.name, 0) + 1, seen)], cursor=after)

    return data_drops


def due_batches(drops: Sequence[Drop], settings: Settings, contracts: Contracts, quiet: bool) -> Iterator[Batch]:
    """Drops that are not in the ledger; then, where no run is at work (`quiet`), complete days whose forecasts were not published and drops that silver has not seen.

    The ledger knows their drops already: they are what a run left that ended between its bronze commit and its marts, or between the two
    steps of publishing, and what a release from quarantine changed. A run for missing forecasts makes silver anew, too.
    """
    lake = Lake(settings.lake)
    complete = backlog.complete_days(lake, contracts.target, settings.calendar)
    if drops:
        days = backlog.days_of(drops, complete, contracts, settings.calendar) or [settings.first_day]
        yield Batch(_name(drop.drop_id for drop in drops), (min(days), max(days)), f"{len(drops)} drops")
    if quiet:
        yield from _left_behind(lake, complete, settings, contracts)


def _left_behind(lake: Lake, complete: Sequence[date], settings: Settings, contracts: Contracts) -> Iterator[Batch]:
    """What no drop asks for any more: days without forecasts, silver behind bronze, a warehouse that waits to be switched to."""
    if missing := backlog.unpublished(lake, complete):
        name = _name(day.isoformat() for day in missing)
        yield Batch(name, (missing[0], missing[-1]), f"forecasts of {len(missing)} days")
    if behind := backlog.unprepared(lake, contracts):
        days = backlog.days_behind(behind, complete, contracts, settings.calendar)
        name = _name(f"{row.transaction}@{row.table_version}" for row in behind)
        yield Batch(name, (min(days), max(days)), f"silver for {len(behind)} drops")
    if complete and DuckDBWarehouse(settings.warehouse).is_staged():
        yield Batch(_name(["staged", str(complete[-1])]), (complete[-1], complete[-1]), "a staged warehouse")


def _at_work(context: dg.SensorEvaluationContext, job: str | None = None) -> int:
    return context.instance.get_runs_count(dg.RunsFilter(job_name=job, statuses=UNFINISHED))


def _request(context: dg.SensorEvaluationContext, batch: Batch, attempt: int, seen: backlog.Look) -> dg.RunRequest:
    """Its key counts the runs of the batch, so that a lost cursor does not meet the key of a failed run."""
    runs = context.instance.get_runs_count(dg.RunsFilter(tags={BATCH_TAG: batch.name}))
    first, last = (day.isoformat() for day in batch.days)
    tags = {**range_tags(first, last), BATCH_TAG: batch.name, "ml_platform/work": batch.what}
    if seen.held:
        tags["ml_platform/waits"] = in_words(seen.held)
    return dg.RunRequest(run_key=f"{batch.name}-{attempt}-{runs}", tags=tags)


def _why(due: Sequence[Batch], seen: backlog.Look, job: str, *, lists: bool) -> str:
    """Why nothing is asked for, and what waits."""
    waits = f"; files that wait, not due yet: {in_words(seen.held)}" if seen.held else ""
    return _why_nothing(due, seen, job, lists=lists) + waits


def _why_nothing(due: Sequence[Batch], seen: backlog.Look, job: str, *, lists: bool) -> str:
    if due:
        what = " and ".join(one.what for one in due)
        return f"{what} failed {ATTEMPTS} times and wait for new files or a manual run of `{job}`: see the alerts"
    if not lists:
        return (
            "everything that was announced is in the ledger; a full listing follows every ML_PLATFORM_LISTING_SECONDS"
        )
    if seen.position:
        return f"{seen.seen} files looked at in this tick, the next one goes on from there"
    return "every whole file under landing/ is in the ledger, and every complete day since the champion is published"


def _name(parts: Iterable[str]) -> str:
    """A name for a set of things, the same for the same set."""
    return hashlib.sha256("|".join(sorted(parts)).encode()).hexdigest()[:16]
