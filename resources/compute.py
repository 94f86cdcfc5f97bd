"""Where shard jobs run.

Belongs here: the choice of a backend. Does not belong here: the jobs.
"""

from typing import Any, Literal

import dagster as dg

from ml_platform.compute import Compute, LocalCompute, Progress, SparkCompute


class ComputeResource(dg.ConfigurableResource[Any]):
    """At most `workers` jobs at a time: processes of this machine, or where it says `spark`, queries of `engine`."""

    workers: int = 1
    where: Literal["local", "spark"] = "local"
    engine: str = "sail"

    def vend(self, progress: Progress = lambda text: None) -> Compute:
        """The backend; `progress` takes a line per shard."""
        if self.where == "spark":
            return SparkCompute(self.engine, self.workers, progress)
        return LocalCompute(self.workers, progress)
