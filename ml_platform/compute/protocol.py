"""The protocol of a compute backend.

Belongs here: how a job is asked for and what comes back. Does not belong here: any backend.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

Report = Mapping[str, object]
Progress = Callable[[str], None]


class JobError(RuntimeError):
    """A job ended without its report; names the job, its arguments and the end of its messages. `reason` is the cause in a few words."""

    def __init__(self, job: str, arguments: Sequence[str], reason: str, messages: str = "") -> None:
        super().__init__(f"job {job} {' '.join(arguments)} {reason}" + (f": {messages}" if messages else ""))
        self.reason = reason


class Compute(Protocol):
    """Runs `python -m ml_platform.jobs.<job> <arguments>` somewhere, once per argument list."""

    @property
    def workers(self) -> int:
        """Jobs that run at the same time."""
        ...

    def run(self, job: str, argument_lists: Sequence[Sequence[str]]) -> list[Report | JobError]:
        """Run a job for each argument list; returns, in the same order, its report, or why it ended without one."""
        ...
