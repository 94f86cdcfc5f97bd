"""Where shard jobs run: one protocol, small modules behind it.

Belongs here: the protocol and its backends. Does not belong here: what a job does (jobs).
"""

from ml_platform.compute.local import LocalCompute
from ml_platform.compute.protocol import Compute, JobError, Progress, Report
from ml_platform.compute.spark import SparkCompute

__all__ = ["Compute", "JobError", "LocalCompute", "Progress", "Report", "SparkCompute"]
