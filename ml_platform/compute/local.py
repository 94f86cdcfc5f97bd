"""Shard jobs as processes of this machine.

Belongs here: starting, waiting, collecting reports. Does not belong here: splitting work (training) or doing it (jobs).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

from ml_platform.compute.protocol import JobError, Report

KEPT_LINES = 15  # of a job's messages, for the error where it fails
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


@dataclass(frozen=True)
class LocalCompute:
    """At most `workers` processes at a time, each with one BLAS thread."""

    workers: int = 1

    def run(self, job: str, argument_lists: Sequence[Sequence[str]]) -> list[Report]:
        """See Compute.run; the report is the last line that a job prints, as JSON."""
        with ThreadPoolExecutor(max_workers=max(1, self.workers)) as pool:
            return list(pool.map(lambda arguments: _run(job, arguments), argument_lists))


def _run(job: str, arguments: Sequence[str]) -> Report:
    command = [sys.executable, "-m", f"ml_platform.jobs.{job}", *arguments]
    with (
        tempfile.TemporaryFile("w+") as out,
        subprocess.Popen(
            command, stdout=out, stderr=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD}
        ) as job_process,
    ):
        messages = _passed_on(job_process.stderr)
        code = job_process.wait()
        out.seek(0)
        lines = out.read().strip().splitlines()
    if code or not lines:
        end = "\n".join(messages)
        raise JobError(f"job {job} {' '.join(arguments)} ended with code {code}: {end or 'no message'}")
    report: Report = json.loads(lines[-1])
    return report


def _passed_on(messages: IO[str] | None) -> deque[str]:
    """The last messages of a job, each of which goes to our own stderr at once: they say how far it is."""
    last = deque[str](maxlen=KEPT_LINES)
    for line in messages or ():
        last.append(line.rstrip())
        print(last[-1], file=sys.stderr, flush=True)
    return last
