"""The protocol of a compute backend.

Belongs here: how a job is asked for and what comes back. Does not belong here: any backend.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

Report = Mapping[str, object]


class JobError(RuntimeError):
    """A shard job ended without its report; names the job, its arguments and the end of its messages."""


class Compute(Protocol):
    """Runs `python -m ml_platform.jobs.<job> <arguments>` somewhere, once per argument list."""

    @property
    def workers(self) -> int:
        """Jobs that run at the same time."""
        ...

    def run(self, job: str, argument_lists: Sequence[Sequence[str]]) -> list[Report]:
        """Run a job for each argument list and return its reports in the same order. Raises JobError when any fails."""
        ...
