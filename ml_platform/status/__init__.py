"""The state of a home in figures: drops, rows, series, errors, release, freshness.

Belongs here: the dataclasses and the functions that read them from the lake. Does not belong here: printing them (console) or changing
anything.
"""

from ml_platform.status.model import (
    Fate,
    FleetStatus,
    PublishedStatus,
    Refusal,
    ReleaseStatus,
    Score,
    SourceStatus,
    Status,
    Verdict,
)
from ml_platform.status.read import (
    complete_day,
    fates,
    fleet,
    published,
    read_status,
    refusals,
    releases,
    scores,
    sources,
    verdicts,
)

__all__ = [
    "Fate",
    "FleetStatus",
    "PublishedStatus",
    "Refusal",
    "ReleaseStatus",
    "Score",
    "SourceStatus",
    "Status",
    "Verdict",
    "complete_day",
    "fates",
    "fleet",
    "published",
    "read_status",
    "refusals",
    "releases",
    "scores",
    "sources",
    "verdicts",
]
