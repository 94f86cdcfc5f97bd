"""Where shard jobs run.

Belongs here: the choice of a backend. Does not belong here: the jobs.
"""

from typing import Any

import dagster as dg

from ml_platform.compute import Compute, LocalCompute


class ComputeResource(dg.ConfigurableResource[Any]):
    """At most `workers` processes of this machine."""

    workers: int = 1

    def vend(self) -> Compute:
        return LocalCompute(self.workers)
