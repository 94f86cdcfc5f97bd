"""Shard jobs as processes of this machine.

Belongs here: starting, waiting, collecting reports. Does not belong here: splitting work (dealing) or doing it (jobs).
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ml_platform.compute.protocol import JobError, Progress, Report
from ml_platform.compute.threads import side_by_side

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
LAST_LINES = 15


@dataclass(frozen=True)
class LocalCompute:
    """At most `workers` processes at a time, each with one BLAS thread; what they say on standard error is their progress."""

    workers: int = 1
    progress: Progress = lambda text: None

    def run(self, job: str, argument_lists: Sequence[Sequence[str]]) -> list[Report | JobError]:
        """See Compute.run; the report is the last line that a job prints, as JSON."""
        return side_by_side(partial(_run, job), argument_lists, self.workers, self.progress)


def _run(job: str, arguments: Sequence[str], progress: Progress) -> Report | JobError:
    command = [sys.executable, "-m", f"ml_platform.jobs.{job}", *arguments]
    last: deque[str] = deque(maxlen=LAST_LINES)
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as out,  # a pipe that nobody reads yet would stop the job
        subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.PIPE,
            env={**os.environ, **ONE_THREAD},
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        for line in process.stderr or ():
            last.append(line.rstrip())
            progress(f"{job} {last[-1]}")
        process.wait()
        out.seek(0)
        printed = out.read().strip().splitlines()
    report = _report(printed)
    if report is not None:
        return report
    error = JobError(job, arguments, _end(process.returncode), "\n".join(last) or "no message")
    progress(f"{job} {error.reason}")
    return error


def _report(printed: Sequence[str]) -> Report | None:
    """The report in the last line; a job that was stopped while it wrote leaves none."""
    try:
        report: object = json.loads(printed[-1]) if printed else None
    except json.JSONDecodeError:
        return None
    return report if isinstance(report, dict) else None


def _end(code: int) -> str:
    if code >= 0:
        return f"ended with code {code} and without a report"
    name = signal.Signals(-code).name
    return f"was ended by {name}" + (" (out of memory, most often)" if name == "SIGKILL" else "")
