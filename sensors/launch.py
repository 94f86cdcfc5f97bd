"""One run of a job over a range of days, in this process, with its events as JSON lines.

Belongs here: `python -m sensors.launch JOB --from DAY --to DAY`, which the CLI calls. Does not belong here: what a job makes.
"""

import argparse
import json
import sys
import threading
import time
from datetime import date
from typing import Any

import dagster as dg

from ml_platform.settings import Settings
from sensors.home import OWNER_TAG, end_ghost_runs, owner, prepare
from sensors.jobs import range_tags

POLL_SECONDS = 0.5


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m sensors.launch", description="Run a job over days and print its events."
    )
    parser.add_argument("job", choices=["ingest", "retrain", "score", "everything"])
    parser.add_argument("--from", dest="first", type=date.fromisoformat, required=True)
    parser.add_argument("--to", dest="last", type=date.fromisoformat, required=True)
    asked = parser.parse_args(arguments)
    prepare(Settings())
    with dg.DagsterInstance.get() as instance:
        end_ghost_runs(instance)
        return 0 if run(instance, asked.job, asked.first, asked.last) else 1


def run(instance: dg.DagsterInstance, job: str, first: date, last: date) -> bool:
    """Execute a job of definitions.py in one run; True where it succeeded."""
    mark, start = owner(), time.monotonic()
    stop, teller = threading.Event(), None
    tags = {**range_tags(first.isoformat(), last.isoformat()), OWNER_TAG: mark}
    teller = threading.Thread(target=_tell, args=(instance, mark, time.time(), stop), daemon=True)
    teller.start()
    result = dg.execute_job(dg.build_reconstructable_job("sensors.launch", "job_named", (job,)), instance, tags=tags)
    stop.set()
    teller.join()
    _say(
        "run_end", seconds=time.monotonic() - start, success=result.success, run_id=result.run_id, message=_why(result)
    )
    return result.success


def job_named(name: str) -> dg.JobDefinition:
    """The job as definitions.py declares it (Dagster imports this by name)."""
    from definitions import defs

    return defs.resolve_job_def(name)


def _tell(instance: dg.DagsterInstance, mark: str, since: float, stop: threading.Event) -> None:
    """Follow the run's event log until it is told to stop, and to its end."""
    run_id, cursor, last = None, None, False
    while not last:
        last = stop.wait(POLL_SECONDS)
        if run_id is None:
            runs = instance.get_runs(dg.RunsFilter(tags={OWNER_TAG: mark}), limit=1)
            run_id = runs[0].run_id if runs else None
        if run_id is not None:
            page = instance.get_records_for_run(run_id, cursor=cursor, limit=2000)
            cursor = page.cursor
            for record in page.records:
                _tell_one(record.event_log_entry)
            last = last and not page.has_more


def _tell_one(entry: dg.EventLogEntry) -> None:
    event = entry.dagster_event
    if event is None:
        if entry.level <= 20 and entry.step_key:
            _say("progress", step=entry.step_key, message=entry.user_message)
    elif event.event_type == dg.DagsterEventType.STEP_START:
        _say("step_start", step=event.step_key)
    elif event.event_type == dg.DagsterEventType.STEP_SUCCESS:
        _say("step_end", step=event.step_key, seconds=event.step_success_data.duration_ms / 1000, success=True)
    elif event.event_type == dg.DagsterEventType.STEP_FAILURE:
        error = event.step_failure_data.error
        _say("step_end", step=event.step_key, success=False, message=error.message.strip() if error else event.message)


def _why(result: dg.ExecuteInProcessResult | Any) -> str:
    failed = [event for event in result.all_events if event.event_type == dg.DagsterEventType.STEP_FAILURE]
    errors = [
        event.step_failure_data.error for event in failed if event.step_failure_data and event.step_failure_data.error
    ]
    return "; ".join(
        f"{event.step_key}: {(error.cause or error).message.strip()}"
        for event, error in zip(failed, errors, strict=False)
    )


def _say(event: str, **more: Any) -> None:
    print(
        json.dumps({"event": event, **{name: value for name, value in more.items() if value is not None}}), flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
