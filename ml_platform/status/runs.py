"""What one run came to: the drops that it settled, and what was decided about the fleets of its days.

Belongs here: finding them in ledger and verdicts. Does not belong here: the whole home (read), showing it (console_run).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow.compute as pc

from ml_platform.lake import Lake, names
from ml_platform.launch import Plan
from ml_platform.status.model import PublishedStatus, ReleaseStatus
from ml_platform.status.read import COUNTED, published, releases


@dataclass(frozen=True)
class RunOutcome:
    """Drops by state and rows by account that a run settled; verdicts on fleets of its days, the newest first; what is published now."""

    drops: Mapping[str, int]
    rows: Mapping[str, int]
    judged: tuple[ReleaseStatus, ...]
    published: PublishedStatus | None


def run_outcome(lake: Lake, plan: Plan, run_id: str) -> RunOutcome:
    """What a run over the days of a plan came to; a job shows only what it makes."""
    drops, rows = Counter[str](), dict.fromkeys(COUNTED, 0)
    if plan.job not in ("retrain", "update") and lake.exists(names.LEDGER):
        own = lake.read(names.LEDGER, ["state", *COUNTED], pc.field("run_id") == run_id)
        drops = Counter(own["state"].to_pylist())
        rows = {name: pc.sum(own[name]).as_py() or 0 for name in COUNTED}
    judges = plan.job in ("retrain", "update", "everything")
    judged = tuple(one for one in releases(lake) if plan.first <= one.as_of <= plan.last) if judges else ()
    return RunOutcome(drops, rows, judged, None if plan.job == "ingest" else published(lake))
