"""Leases: one process of this machine at a time writes a table, or does whatever else must not happen twice at once.

Belongs here: taking turns on a local disk. Does not belong here: what is done in turn; storage elsewhere, where Delta's own commit decides.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ml_platform.lake.errors import LakeError


@contextmanager
def leased(root: str, name: str, wait: bool = True) -> Iterator[None]:
    """Wait for the turn of `name` below a lake's root; the system gives it back where a process dies. No turns at a URL.

    Without `wait` LakeError where another process has it.
    """
    if "://" in root:
        yield
        return
    place = Path(root, f"ops/.{name}.lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a") as lease:
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise LakeError(f"{name} is at work on {root} in another process: wait until it has ended") from None
        yield
