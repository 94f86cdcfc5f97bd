"""Memory of a process that makes large arrays one after the other.

Belongs here: what the allocator does with freed memory. Does not belong here: what is in it.
"""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's mallopt
KEPT, LARGEST_KEPT = 2_000_000_000, 32 * 2**20  # bytes; glibc takes no larger threshold for single pieces


def keep_memory() -> bool:
    """This process keeps freed memory for its next arrays, which are as large; whether the C library can be told so (glibc).

    New pages from the system took a third of a shard job's time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return bool(mallopt and mallopt(TRIM_THRESHOLD, KEPT) and mallopt(MMAP_THRESHOLD, LARGEST_KEPT))
