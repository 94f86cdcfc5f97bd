"""Runs of jobs over ranges of days, in this process, with their events as JSON lines.

Belongs here: `python -m sensors.launch JOB:FROM:TO ...`, which the CLI calls. Does not belong here: what a job makes.
"""

import argparse
import json
import logging
import sys
import threading
import time
import uuid
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import dagster as dg

from assets.metadata import REASON_TAG
from ml_platform.launch import JOBS, Plan
from sensors.home import OWNER_TAG, PROJECT, UNFINISHED, end_ghost_runs, owner, prepare, settings_or_exit
from sensors.jobs import range_tags

POLL_SECONDS = 0.5


def main(arguments: list[str] | None = None) -> int:
    """Run the plans; the exit code is 0 where every run succeeded, and nothing runs after one that failed."""
    parser = argparse.ArgumentParser(
        prog="python -m sensors.launch", description="Run jobs over days, one after the other, and print their events."
    )
    parser.add_argument(
        "plans", nargs="+", type=Plan.read, metavar="JOB:FROM:TO", help=f"one of {', '.join(JOBS)} over days"
    )
    plans: list[Plan] = parser.parse_args(arguments).plans
    prepare(settings_or_exit())
    with dg.DagsterInstance.get() as instance:
        end_ghost_runs(instance)
        if busy := instance.get_runs(dg.RunsFilter(statuses=UNFINISHED), limit=1):
            words = f"run {busy[0].run_id[:8]} of job {busy[0].job_name} is still at work on this home: wait until it has ended"
            _say("run_end", success=False, run_id=busy[0].run_id, message=words)
            return 1
        return 0 if all(run(instance, plan) for plan in plans) else 1


def run(instance: dg.DagsterInstance, plan: Plan) -> bool:
    """Execute a job of the code location in one run; True where it succeeded."""
    mark, start, stop = f"{owner()}#{uuid.uuid4().hex[:8]}", time.monotonic(), threading.Event()
    tags = {
        **range_tags(plan.first.isoformat(), plan.last.isoformat()),
        OWNER_TAG: mark,
        REASON_TAG: "asked for on the command line",
    }
    teller = threading.Thread(target=_tell, args=(instance, mark, stop), daemon=True)
    _say("run_start", step=plan.job)
    teller.start()
    job = dg.build_reconstructable_job("sensors.launch", "job_named", (plan.job,))
    with dg.execute_job(job, instance, tags=tags) as result:
        stop.set()
        teller.join()
        seconds = time.monotonic() - start
        _say(
            "run_end",
            step=plan.job,
            seconds=seconds,
            success=result.success,
            run_id=result.run_id,
            message=_why(result),
        )
        return result.success


def job_named(name: str) -> dg.JobDefinition:
    """The job as the code location declares it (Dagster calls this by name)."""
    return code_location().resolve_job_def(name)


@cache
def code_location() -> dg.Definitions:
    """definitions.py, loaded by its path as workspace.yaml does: this room does not import what stands above it."""
    spec = spec_from_file_location("definitions", PROJECT / "definitions.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dg.Definitions = module.defs
    return found


def _tell(instance: dg.DagsterInstance, mark: str, stop: threading.Event) -> None:
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
        if int(entry.level) <= logging.INFO and entry.step_key:
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
