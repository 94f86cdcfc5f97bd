"""Shard jobs as processes of this machine.

Belongs here: starting, waiting, collecting reports. Does not belong here: splitting work (training) or doing it (jobs).
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ml_platform.compute.protocol import JobError, Report

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
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **ONE_THREAD}, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        end = "\n".join(done.stderr.strip().splitlines()[-15:])
        raise JobError(f"job {job} {' '.join(arguments)} ended with code {done.returncode}: {end or 'no message'}")
    report: Report = json.loads(lines[-1])
    return report
