"""Threads of linear algebra: one per job, because jobs run side by side and sums must not depend on how many threads made them.

Belongs here: the bound. Does not belong here: jobs.
"""

from threadpoolctl import threadpool_limits


def one_thread() -> threadpool_limits:
    """A context in which this process's numerical libraries use one thread; where several threads enter it, one must hold it around all."""
    return threadpool_limits(limits=1)
