"""Starting Dagster work as a subprocess and following it: the library never imports Dagster.

Belongs here: finding the project, the subprocess, its events. Does not belong here: what a job does (sensors) or how progress looks
(console).
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from ml_platform.settings import Settings

WORKSPACE = "workspace.yaml"
Job = Literal["ingest", "retrain", "update", "score", "everything"]
JOBS: tuple[str, ...] = (*get_args(Job), "publish")  # the last one is started by other commands
LAST_LINES = 5
TRACEBACK_FRAME = re.compile(r"^  File \".*\n(?:    .*\n)*", re.MULTILINE)


class LaunchError(RuntimeError):
    """Dagster work could not be started; names what is missing."""


@dataclass(frozen=True)
class Event:
    """One thing that happened in a run: kind is run_start, step_start, step_end, progress or run_end; seconds are of the step or the run."""

    kind: str
    step: str = ""
    seconds: float | None = None
    message: str = ""
    success: bool | None = None
    run_id: str = ""


def find_project(start: Path | None = None) -> Path | None:
    """The nearest folder from `start` (the current one) upwards that holds workspace.yaml; None where there is none."""
    here = (start or Path.cwd()).resolve()
    return next((folder for folder in (here, *here.parents) if (folder / WORKSPACE).is_file()), None)


def require_project(start: Path | None = None) -> Path:
    """As `find_project`, with LaunchError where there is none."""
    if found := find_project(start):
        return found
    raise LaunchError(f"no {WORKSPACE} in {(start or Path.cwd()).resolve()} or above: change into the project's folder")


@dataclass(frozen=True)
class Plan:
    """A job and the days, both included, that one run of it covers."""

    job: str
    first: date
    last: date

    def __str__(self) -> str:
        return f"{self.job}:{self.first.isoformat()}:{self.last.isoformat()}"

    @classmethod
    def read(cls, text: str) -> "Plan":
        """From JOB:FROM:TO, as `str` writes it; ValueError for an unknown job or no date."""
        job, first, last = text.split(":")
        if job not in JOBS:
            raise ValueError(f"job '{job}' is unknown: use {', '.join(JOBS)}")
        return cls(job, date.fromisoformat(first), date.fromisoformat(last))


def log_path(settings: Settings) -> Path:
    """Where the human log of a launch goes; the folder is made."""
    folder = settings.dagster_home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.log"


def run_jobs(settings: Settings, project: Path, plans: Sequence[Plan], log: Path) -> Generator[Event, None, None]:
    """Run jobs one after the other in one process and yield their events as they happen; what they log goes to `log`.

    Each run ends with `run_end`; where the process ends without one, that is reported as a failure. Leaving the loop early ends the
    process and its children.
    """
    command = [sys.executable, "-m", "sensors.launch", *(str(plan) for plan in plans)]
    # absolute, because the process works in the project's folder and the person may not
    places = {
        "ML_PLATFORM_HOME": str(settings.base),
        "ML_PLATFORM_ENVIRONMENT": settings.environment,
        "ML_PLATFORM_HOMES": json.dumps({name: str(one.absolute()) for name, one in settings.homes.items()}),
        "ML_PLATFORM_CONFIGS": str(settings.configs.absolute()),
    }
    yield from follow(command, project, {**os.environ, **places}, log)


def follow(command: list[str], folder: Path, environment: dict[str, str], log: Path) -> Generator[Event, None, None]:
    """Run any command that prints events, one JSON object per line; other lines go to the log.

    Where it ends without its last event, the failure that is reported shows the end of the log.
    """
    ended, patience, start = False, 0.0, log.stat().st_size if log.exists() else 0
    with log.open("a", encoding="utf-8", buffering=1) as out:  # by lines: its end is what happened last
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=out, text=True, start_new_session=True
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                event = parse_event(line)
                if event is None:
                    out.write(line)
                    continue
                ended = event.kind == "run_end"
                yield event
            patience = 30.0  # its output is closed: it is on its way out by itself
        finally:
            code = _end(process, patience)
            process.stdout.close()
    if not ended:
        words = f"the process ended with exit code {code} and no word{_last_words(log, start)}"
        yield Event("run_end", message=words, success=False)


def _last_words(log: Path, start: int) -> str:
    """The last lines that were written to a log from `start` (bytes) on; of a traceback, what follows its last frame."""
    text = log.read_bytes()[start:].decode(errors="replace")
    lines = [line.rstrip() for line in TRACEBACK_FRAME.split(text)[-1].splitlines() if line.strip()]
    return "".join(f"\n    {line[:300]}" for line in lines[-LAST_LINES:])


def parse_event(line: str) -> Event | None:
    """An event from its line of JSON; None where the line is something else."""
    with contextlib.suppress(ValueError):
        found: Any = json.loads(line)
        if isinstance(found, dict) and isinstance(found.get("event"), str):
            known = {name: found[name] for name in Event.__dataclass_fields__ if found.get(name) is not None}
            return Event(found["event"], **known)
    return None


def _end(process: subprocess.Popen[str], patience: float) -> int:
    """Wait for the process so many seconds; then end it and its children, first politely, then surely. Returns its exit code."""
    for seconds, force in ((patience, signal.SIGTERM), (20.0, signal.SIGKILL)):
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, force)
    return process.wait()
