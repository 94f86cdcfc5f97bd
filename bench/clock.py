"""Named steps of one piece of work, and how long each takes.

Belongs here: seconds by step. Does not belong here: memory, processes below this one (watch).
"""

import time
from collections.abc import Callable
from typing import Any


class Clock:
    """Seconds of named phases, and CPU seconds of all."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.cpu = 0.0

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        start, cpu = time.perf_counter(), time.process_time()
        done = work()
        self.seconds[name] = round(time.perf_counter() - start, 4)
        self.cpu += time.process_time() - cpu
        return done

    def report(self) -> dict[str, float]:
        """Phases, all of them, and CPU seconds."""
        return {**self.seconds, "all": round(sum(self.seconds.values()), 3), "cpu": round(self.cpu, 3)}
