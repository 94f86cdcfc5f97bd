"""Leases: one process of this machine at a time writes a table, or does whatever else must not happen twice at once.

Belongs here: taking turns on a local disk. Does not belong here: what is done in turn; storage elsewhere, where Delta's own commit decides.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def leased(root: str, name: str) -> Iterator[None]:
    """Wait for the turn of `name` below a lake's root; the system gives it back where a process dies. No turns at a URL."""
    if "://" in root:
        yield
        return
    place = Path(root, f"ops/.{name}.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a") as lease:
        fcntl.flock(lease, fcntl.LOCK_EX)
        yield
