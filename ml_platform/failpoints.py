"""Failpoints: named places at which a test may end this process as a power cut would.

Belongs here: their names, arming one, reaching one. Does not belong here: what must hold afterwards (tests/faults). Unarmed they cost one comparison.
"""

import os
import signal

NAMES = (
    "ingestion.listed",
    "ingestion.read",
    "ingestion.refusals_staged",
    "ingestion.before_commit",
    "ingestion.after_commit",
    "ledger.refusals_projected",
    "ledger.projected",
    "silver.staged",
    "silver.accounts_written",
    "silver.committed",
    "promotion.begun",
    "promotion.sealed",
    "promotion.registered",
    "promotion.challenged",
    "promotion.judged",
    "promotion.decided",
    "promotion.audited",
    "promotion.pointed",
    "takeback.decided",
    "publish.pointer_written",
    "publish.switched",
)

_armed: dict[str, int] = {}


def arm(name: str, visit: int = 1) -> None:
    """End this process with SIGKILL at the n-th visit of a place; ValueError for a name that no place has."""
    if name not in NAMES:
        raise ValueError(f"no failpoint is called '{name}': there are {', '.join(NAMES)}")
    _armed[name] = visit


def reach(name: str) -> None:
    """A place is visited."""
    if name in _armed:
        _armed[name] -= 1
        if _armed[name] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
